"""Where rows stand: every living row is found, whatever came and went, and few that are not there seem to be."""

from __future__ import annotations

import numpy as np
import pytest

from monitor.outcomes.table import Keys, Live, Table


def keys(rng: np.random.Generator, rows: int) -> Keys:
    return rng.integers(0, 2**64, (rows, 2), dtype=np.uint64)


def hits(table: Table, asked: Keys, wanted: np.ndarray, live: Live) -> int:
    """How many are found under their number."""
    places, rows = table.find(asked, live)
    return len(np.unique(places[rows == wanted[places]]))


@pytest.mark.parametrize("rows", [1, 3, 100, 5000])
def test_every_living_row_is_found_after_many_turns_of_the_table(rows: int) -> None:
    rng, table = np.random.default_rng(rows), Table(rows)
    every = keys(rng, 20 * rows + 3000)
    end, most = 0, max(rows // 20, 1)
    while end < len(every):
        new = min(int(rng.integers(1, most + 1)), len(every) - end)
        live = Live(max(0, end + new - rows), end + new)
        table.insert(every[end : end + new], np.arange(end, end + new), live)
        end += new
        if rng.random() < 0.05 or end == len(every):
            numbers = np.arange(live.first, live.end)
            assert hits(table, every[numbers], numbers, live) == len(numbers)
            gone = np.arange(max(0, live.first - 50), live.first)
            assert hits(table, every[gone], gone, live) == 0


def test_numbers_that_come_round_again_are_not_taken_for_old_ones() -> None:
    rng, table = np.random.default_rng(0), Table(200)
    every = keys(rng, 40_000)
    for start in range(0, len(every), 10):
        live = Live(max(0, start + 10 - 200), start + 10)
        table.insert(every[start : start + 10], np.arange(start, start + 10), live)
    slots = table._slots[table._slots > 0]
    assert len(slots) <= table._slots.size
    old = np.arange(0, len(every) - 200)
    _, rows = table.find(every[old], live)
    assert len(rows) < 0.03 * len(old)  # by their tags alone, which whoever asks compares with the whole id


def test_rows_that_all_leave_at_once_make_room_at_once() -> None:
    rng, table = np.random.default_rng(1), Table(1000)
    for turn in range(50):
        first = turn * 1000
        every = keys(rng, 1000)
        for start in range(0, 1000, 50):
            numbers = np.arange(first + start, first + start + 50)
            table.insert(every[start : start + 50], numbers, Live(first, int(numbers[-1]) + 1))
        assert hits(table, every, np.arange(first, first + 1000), Live(first, first + 1000)) == 1000


def test_an_id_may_have_several_rows() -> None:
    table, same = Table(100), np.full((3, 2), 7, np.uint64)
    table.insert(same, np.arange(3), Live(0, 3))
    assert sorted(set(table.find(same[:1], Live(0, 3))[1].tolist())) == [0, 1, 2]
    assert sorted(set(table.find(same[:1], Live(2, 3))[1].tolist())) == [2]


def test_rows_for_which_no_bucket_has_room_are_found_too() -> None:
    table, same = Table(1000), np.full((60, 2), 7, np.uint64)
    table.insert(same, np.arange(60), Live(0, 60))
    assert sorted(set(table.find(same[:1], Live(0, 60))[1].tolist())) == list(range(60))
    table.insert(same, np.arange(60, 120), Live(60, 120))
    assert sorted(set(table.find(same[:1], Live(60, 120))[1].tolist())) == list(range(60, 120))
    assert len(table._crowded_rows) <= 60


def test_few_ids_that_are_not_there_seem_to_be() -> None:
    rng, table = np.random.default_rng(2), Table(100_000)
    every = keys(rng, 100_000)
    for start in range(0, 100_000, 4000):
        table.insert(every[start : start + 4000], np.arange(start, start + 4000), Live(0, start + 4000))
    asked, _ = table.find(keys(rng, 50_000), Live(0, 100_000))
    # two buckets of 12.8 rows, tags of 32 - 17 bits: 8e-4 expected
    assert len(asked) < 50_000 * 2e-3
    assert len(table._crowded_rows) < 20


def test_a_slot_takes_five_bytes_a_row() -> None:
    assert 4.9 < Table(10_000_000).nbytes / 10_000_000 < 5.1
