"""Rows kept beside findings about senders: the telling ones, whatever the batches, without names, and not too many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from detectors.rows.layout import Rows
from detectors.types import Block
from monitor.security.shown import MOST, REMEMBERED, Shown
from tests.monitor.security_bench import suspicion

HIDDEN = {"client": "who", "source": None}


def rows(clients: list[int]) -> Rows:
    n = len(clients)
    block = Block(np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros(0, np.int64))
    return Rows(block=block, digest=np.arange(n, dtype=np.uint64), client=np.array(clients, np.uint64))


def batch(first: int, clients: list[int]) -> pa.RecordBatch:
    names = [f"name {one}" for one in clients]
    return pa.RecordBatch.from_pydict({"number": list(range(first, first + len(clients))), "who": names})


def filled(number: int, size: int, hidden: dict[str, str | None]) -> Shown:
    """Rows 0, 1, ... of senders 1, 2, 3 in turn."""
    one = Shown(hidden)
    for first in range(0, number, size):
        clients = [1 + i % 3 for i in range(first, first + size)]
        one.add(batch(first, clients), rows(clients), np.arange(size), first)
    return one


def test_telling_rows_are_found_in_any_of_the_newest_batches() -> None:
    one = filled(300, 10, HIDDEN)
    found = one.table([suspicion(1, members=np.array([3, 150, 299]))])
    assert found["number"].to_pylist() == [3, 150, 299]


def test_without_telling_rows_the_senders_newest_are_shown() -> None:
    found = filled(300, 10, HIDDEN).table([suspicion(2)])
    assert found["number"].to_pylist() == list(range(300))[1::3][-MOST:]
    assert set(found["who"].to_pylist()) == {"0000000000000002"}


def test_names_are_left_where_they_may_be_told() -> None:
    found = filled(30, 10, {}).table([suspicion(2)])
    assert set(found["who"].to_pylist()) == {"name 2"}


def test_nothing_at_hand_is_an_empty_table() -> None:
    assert Shown(HIDDEN).table([suspicion(2)]).num_rows == 0
    assert filled(30, 10, HIDDEN).table([suspicion(9)]).num_rows == 0
    assert filled(30, 10, HIDDEN).table([suspicion(9, about="fleet", members=np.array([500]))]).num_rows == 0


def test_only_rows_that_were_looked_at_are_kept() -> None:
    one = Shown(HIDDEN)
    clients = [1, 2, 3, 1]
    one.add(batch(0, clients), rows(clients), np.array([1, 3]), 70)
    found = one.table([suspicion(1, members=np.array([70, 71]))])
    assert found["number"].to_pylist() == [1, 3]
    assert found["who"].to_pylist() == ["0000000000000002", "0000000000000001"]


def test_memory_is_bounded_though_nothing_is_looked_at() -> None:
    one = filled(10 * REMEMBERED, 64, HIDDEN)
    for _ in range(1_000):
        one.add(batch(0, [1]), rows([1]), np.zeros(0, np.int64), 0)
    assert sum(part.rows.num_rows for part in one._parts) < REMEMBERED + 64
    assert len(one._parts) <= REMEMBERED


def test_batches_of_other_columns_are_shown_together() -> None:
    one = filled(10, 10, HIDDEN)
    clients = [1, 1]
    more = batch(10, clients).append_column("more", pa.array([0.5, 0.25]))
    one.add(more, rows(clients), np.arange(2), 10)
    found = one.table([suspicion(1)])
    assert found["more"].to_pylist()[-2:] == [0.5, 0.25]
    assert found.num_rows == 6
