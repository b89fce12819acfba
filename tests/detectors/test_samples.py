"""Which rows are kept depends on their numbers alone; runs come back whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.multivariate.encode import VectorEncoder
from detectors.multivariate.samples import Chooser, Kept, chooser, cut, mixed, picked, run_rows, window_sample
from detectors.types import Block, IntArray, Sample, View


def _block(n: int, seed: int = 0, width: int = 5, *, strata: bool = True) -> Block:
    rng = np.random.default_rng(seed)
    return Block(
        np.asfortranarray(rng.standard_normal((n, 2))),
        np.asfortranarray(rng.integers(0, 3, (n, 1)).astype(np.int32)),
        np.zeros(3, np.int64),
        None,
        (rng.standard_normal((n, width)).astype(np.float32),),
        rng.integers(0, 4, n).astype(np.int32) if strata else None,
    )


def _rows(block: Block, rows: slice | IntArray) -> Block:
    strata = None if block.strata is None else block.strata[rows]
    return Block(block.numeric[rows], block.codes[rows], block.faults, None, (block.vectors[0][rows],), strata)


ENCODER = VectorEncoder(np.full(5, -1), np.array(0), np.zeros(5, np.float32), np.eye(5, dtype=np.float32))


def _kept(it: Chooser, block: Block, number: IntArray, ends: list[int]) -> Kept:
    kept = it.empty()
    for start, end in itertools.pairwise(ends):
        if end > start:
            kept = it.add(kept, [_rows(block, slice(start, end))], number[start:end])
    return kept


@given(cuts=st.lists(st.integers(0, 500), max_size=6), runs=st.integers(2, 80), holes=st.booleans())
def test_the_choice_does_not_depend_on_how_rows_come(cuts: list[int], runs: int, holes: bool) -> None:  # noqa: FBT001
    block, it = _block(500), Chooser((ENCODER, ENCODER), 8, runs)
    number = np.arange(500) + 13
    if holes:  # other rows went to another pane
        number = number + np.repeat(np.arange(100), 5)
    once = _kept(it, block, number, [0, 500])
    again = _kept(it, block, number, [0, *sorted(cuts), 500])
    for a, b in zip(once.samples, again.samples, strict=True):
        np.testing.assert_array_equal(a.run, b.run)
        np.testing.assert_array_equal(a.strata, b.strata)
        np.testing.assert_array_equal(a.rows, b.rows)
    assert [str(part.dtype) for part in once.samples[0]] == ["float32", "int64", "int32"]
    seen = np.unique(number // 8)
    least = seen[np.argsort(mixed(seen.astype(np.uint64)))[:runs]]
    chosen = np.isin(number // 8, least)
    np.testing.assert_array_equal(once.run, number[chosen] // 8)
    np.testing.assert_array_equal(once.rows[1], np.clip(block.vectors[0][chosen], -8, 8))
    assert block.strata is not None
    np.testing.assert_array_equal(once.strata, block.strata[chosen])


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=20), seed=st.integers(0, 99))
def test_rows_are_picked_out_of_many_blocks_as_out_of_one(sizes: list[int], seed: int) -> None:
    whole = _block(sum(sizes), seed)
    ends = [0, *itertools.accumulate(sizes)]
    blocks = [_rows(whole, slice(a, b)) for a, b in itertools.pairwise(ends)]
    rows = np.flatnonzero(np.random.default_rng(seed).random(whole.rows) < 0.4)
    if not len(rows):
        return
    wanted = _rows(whole, rows)
    for got in (picked(blocks, rows), picked(blocks, rows, whole)):
        np.testing.assert_array_equal(got.numeric, wanted.numeric)
        np.testing.assert_array_equal(got.codes, wanted.codes)
        np.testing.assert_array_equal(got.vectors[0], wanted.vectors[0])
        np.testing.assert_array_equal(got.strata, wanted.strata)


def test_a_window_has_the_complete_runs_of_its_panes_in_order() -> None:
    block, it = _block(400, 1), Chooser((ENCODER,), 16, 100)
    number = np.arange(400) + 8
    panes = [it.add(it.empty(), [_rows(block, slice(a, a + 100))], number[a : a + 100]) for a in range(0, 400, 100)]
    got = window_sample((pane.samples[0] for pane in panes), 16)
    assert got.run.tolist() == np.repeat(np.arange(1, 25), 16).tolist()  # runs 0 and 25 are half outside
    np.testing.assert_array_equal(got.rows, np.clip(block.vectors[0][8:392], -8, 8))
    parts = [Sample(part.rows[0][:3], part.run[:3], part.strata[:3]) for part in panes]
    none = window_sample(parts, 16)
    assert none.rows.shape == (0, 5)


def test_runs_whose_rows_lie_in_two_panes_alternately_are_put_together() -> None:
    rows = np.arange(32, dtype=np.float32)[:, None]
    run, strata = np.arange(32) // 8, np.arange(32, dtype=np.int32) % 3
    even = np.arange(32) % 2 == 0
    got = window_sample([Sample(rows[some], run[some], strata[some]) for some in (even, ~even)], 8)
    assert np.bincount(got.run).tolist() == [8] * 4
    for i in range(4):
        assert sorted(got.rows[got.run == i, 0]) == list(range(8 * i, 8 * i + 8))
    np.testing.assert_array_equal(got.strata, got.rows[:, 0].astype(int) % 3)


def test_a_block_is_cut_into_complete_runs() -> None:
    block = _block(21, 2, strata=False)
    got = cut(ENCODER, block, 8)
    assert got.run.tolist() == [0] * 8 + [1] * 8
    assert got.rows.shape == (16, 5)
    assert got.strata.tolist() == [0] * 16


@pytest.mark.parametrize(("tau", "rows"), [(1, 8), (1.8, 8), (1.81, 16), (3, 32), (19, 256), (1000, 256)])
def test_runs_are_ten_times_longer_than_rows_depend_on_each_other(tau: float, rows: int) -> None:
    assert run_rows(tau) == rows


def test_a_pane_keeps_whole_runs_and_at_least_two() -> None:
    def view(run: int) -> View:
        return View(
            "v", ENCODER, Sample(np.zeros((0, 5), np.float32), np.zeros(0, int), np.zeros(0, np.int32)), run, (), 1.0
        )

    assert chooser([view(16), view(16)], 68).runs == 5
    assert chooser([view(256)], 68).runs == 2
    with pytest.raises(ValueError, match=r"\[8, 16\]"):
        chooser([view(8), view(16)], 68)
    with pytest.raises(ValueError, match="some views"):
        chooser([], 68)
