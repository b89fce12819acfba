from __future__ import annotations

import numpy as np
import pytest

from detectors.queries.rowlog import ROWS, RowLog
from detectors.queries.table import Table
from detectors.types import IntArray


def send(table: Table, keys: IntArray, row: int, log_e: float = 0.0) -> None:
    names, counts = np.unique(keys.astype(np.uint64), return_counts=True)
    at = np.full(len(names), row)
    slots = table.admit(names, at).slots
    table.touch(slots, counts, at, np.full(len(names), log_e))


def flood(table: Table, rows: int, rng: np.random.Generator, begin: int = 0) -> None:
    for row in range(0, rows, table.piece):
        send(table, rng.integers(10**6, 2**62, table.piece), begin + row)


def known(table: Table, key: int) -> bool:
    return key in table.key[table.used].tolist()


def test_flood_of_one_shot_names_evicts_neither_a_heavy_nor_a_suspicious_client() -> None:
    table, rng = Table(256), np.random.default_rng(0)
    send(table, np.repeat(np.arange(1, 11), 5), 0)
    send(table, np.array([11]), 1, log_e=3.0)
    flood(table, 100_000, rng)
    assert all(known(table, key) for key in range(1, 12))
    assert len(table.used) == 256
    assert table.born - table.evicted == 256


def test_new_client_that_keeps_sending_survives_in_the_flood_and_grows() -> None:
    table, rng = Table(256), np.random.default_rng(1)
    flood(table, 10_000, rng)
    for row in range(100):
        at = 10_000 + row * table.piece
        send(table, np.append(rng.integers(10**6, 2**62, table.piece // 2), 5), at)
    assert table.rows[table.key == 5].tolist() == [100]


def test_full_of_light_clients_it_makes_room_for_heavier_ones_and_forgets_the_lightest() -> None:
    table = Table(64)
    for name in range(1, 65):
        send(table, np.full(name, name), name)
    for row in range(200, 400):
        send(table, np.repeat(np.arange(1000, 1010), 2), row)
    assert all(known(table, key) for key in range(1000, 1010))
    assert not known(table, 1)
    assert known(table, 31)


def test_rank_of_a_silent_client_grows_old_with_rows_of_other_old_clients_alone() -> None:
    table, rng = Table(64), np.random.default_rng(2)
    send(table, np.full(10, 1), 0)
    send(table, np.full(10, 2), 0)
    flood(table, 5_000, rng)
    for row in range(1, 3000):
        send(table, np.full(20, 2), row)
    flood(table, 5_000, rng)
    assert known(table, 2)
    assert not known(table, 1)


def test_name_that_comes_back_is_a_new_key() -> None:
    table, rng = Table(64), np.random.default_rng(3)
    send(table, np.array([1]), 0)
    flood(table, 5_000, rng)
    born = table.born
    admitted = table.admit(np.array([1], np.uint64), np.array([9]))
    assert admitted.fresh.tolist() == admitted.slots.tolist()
    assert table.born == born + 1


def test_state_goes_on_exactly() -> None:
    rng, one = np.random.default_rng(4), Table(64)
    flood(one, 1000, rng)
    other = Table(64)
    other.restore(one.state())
    for table in (one, other):
        flood(table, 1000, np.random.default_rng(5))
    assert one.key.tolist() == other.key.tolist()
    assert (one.born, one.evicted) == (other.born, other.evicted)
    with pytest.raises(ValueError, match="room for 64"):
        Table(64).restore(Table(128).state() | {"key": np.zeros(100, np.uint64)})


def test_counts_by_client_are_exact_over_the_rows_remembered() -> None:
    log, rng = RowLog(), np.random.default_rng(6)
    client = rng.integers(0, 5, ROWS + 5000).astype(np.uint64)
    flags, asked = rng.random((len(client), 2)) < 0.3, rng.random((len(client), 2)) < 0.8
    for begin in range(0, len(client), 256):
        some = slice(begin, begin + 256)
        log.add(client[some], flags[some], asked[some])
    since = 30_000
    names, flagged, rows = log.counts(1, since)
    for name, f, n in zip(names, flagged, rows, strict=True):
        mine = (client == name) & (np.arange(len(client)) >= since) & asked[:, 1]
        assert (f, n) == ((mine & flags[:, 1]).sum(), mine.sum())
    assert names.tolist() == [1, 2, 3, 4]
    last = log.telling(np.array([3], np.uint64), 0, 4)
    assert last.tolist() == np.flatnonzero((client == 3) & flags[:, 0] & asked[:, 0])[-4:].tolist()
    assert log.counts(0, 0)[2].sum() == (asked[-ROWS:, 0] & (client[-ROWS:] > 0)).sum()
