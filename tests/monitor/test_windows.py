"""Rows into panes: by count, by event time with a watermark, and through clocks that misbehave."""

from __future__ import annotations

import dataclasses
import itertools
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors import parts, simulate
from detectors.multivariate.encode import Encoder, columns_encoder, vector_encoder
from detectors.multivariate.samples import cut, mixed
from detectors.types import Block, Reference, Summary, View
from monitor.engine import Pane
from monitor.windows import FOLD_ROWS, PaneRule, Panes, arrays_of, joined, rows_of, summary_of

DAY = 86_400.0
START = 1.7e9 // DAY * DAY


@pytest.fixture(scope="module")
def measured() -> Reference:
    return simulate.reference_of(_rows(500, 0), dependent=False, labels=[list("abc")])


def _rows(n: int, seed: int, time: NDArray[np.float64] | None = None) -> Block:
    rng = np.random.default_rng(seed)
    block = simulate.block_of(rng.standard_normal((n, 2)), rng.integers(0, 3, (n, 1)).astype(np.int32))
    return dataclasses.replace(block, time=time)


def _same(a: Summary, b: Summary) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(arrays_of(a).values(), arrays_of(b).values(), strict=True))


def _minute(minute: int, n: int = 10, seed: int = 1) -> Block:
    return _rows(n, seed, START + 60 * minute + np.linspace(0, 59, n))


def _numbers(panes: list[Pane]) -> list[int]:
    return [pane.number for pane in panes]


@given(sizes=st.lists(st.integers(0, 700), max_size=8))
def test_counted_panes_do_not_depend_on_how_rows_were_batched(measured: Reference, sizes: list[int]) -> None:
    rows = _rows(sum(sizes), 3)
    panes, closed, at = Panes(measured.grid, PaneRule(None, 200, 0)), [], 0
    for size in sizes:
        closed += panes.add(rows_of(rows, slice(at, at + size)), 0.0)[0]
        at += size
    assert _numbers(closed) == list(range(1, sum(sizes) // 200 + 1))
    assert panes.pending_rows == sum(sizes) % 200
    for pane in closed:
        wanted = rows_of(rows, slice(200 * (pane.number - 1), 200 * pane.number))
        assert _same(pane.summary, parts.summarise(measured.grid, wanted))


def test_pane_closes_when_the_watermark_has_passed_its_end(measured: Reference) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 30.0))
    assert panes.add(_minute(0), 0.0) == ([], (0, 0))
    assert panes.add(_rows(5, 2, np.full(5, START + 89)), 0.0)[0] == []
    closed, _ = panes.add(_rows(5, 2, np.full(5, START + 91)), 0.0)
    assert [(pane.start, pane.end, pane.summary.rows) for pane in closed] == [(START, START + 60, 10)]


def test_late_row_never_reopens_a_pane(measured: Reference) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 0.0))
    panes.add(_minute(0), 0.0)
    assert len(panes.add(_minute(1), 0.0)[0]) == 1
    closed, discards = panes.add(_rows(3, 1, np.full(3, START + 5)), 0.0)
    assert closed == []
    assert discards.late == 3
    assert panes.pending_rows == 10
    assert _numbers(panes.flush()) == [2]


def test_one_row_from_the_future_does_not_close_the_present(measured: Reference) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 0.0))
    time = START + np.linspace(0, 50, 100)
    time[17] = START + 2 * DAY
    closed, discards = panes.add(_rows(100, 1, time), 0.0)
    assert closed == []
    assert discards == (0, 0)


@pytest.mark.parametrize("absurd", [-62_135_596_800.0, 253_402_300_799.0, 1e15, np.inf, -np.inf])
def test_absurd_times_are_discarded_one_by_one(measured: Reference, absurd: float) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 0.0))
    panes.add(_minute(0, 50), 0.0)
    block = _minute(1, 50)
    assert block.time is not None
    block.time[7] = absurd
    closed, discards = panes.add(block, 0.0)
    assert discards.implausible_time == 1
    assert _numbers(closed) == [1]
    assert panes.pending_rows == 49


def test_gap_of_hours_closes_what_was_open_and_judges_no_empty_pane(measured: Reference) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 0.0))
    panes.add(_minute(0), 0.0)
    closed, _ = panes.add(_minute(600), 0.0)
    closed += panes.add(_minute(601), 0.0)[0]
    assert _numbers(closed) == [1, 2]
    assert closed[1].start == START + 600 * 60


def test_stream_follows_a_clock_that_was_set_back(measured: Reference) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 0.0))
    closed = [pane for minute in range(3) for pane in panes.add(_minute(10_000 + minute, 40), 0.0)[0]]
    late = 0
    for minute in range(6):
        found, discards = panes.add(_minute(minute, 40), 0.0)
        closed += found
        late += discards.late
    closed += panes.flush()
    assert _numbers(closed) == list(range(1, len(closed) + 1))
    assert 0 < late < 120
    assert sum(pane.summary.rows for pane in closed) + late == 9 * 40


def test_time_passes_without_rows(measured: Reference) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 30.0))
    assert panes.advance(START) == []
    panes.add(_minute(0), 0.0)
    assert panes.advance(START + 80) == []
    assert _numbers(panes.advance(START + 95)) == [1]
    assert panes.add(_minute(0), 0.0)[1].late == 10


def test_rows_without_time_take_the_streams_or_that_of_their_arrival(measured: Reference) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 0.0))
    panes.add(_rows(5, 1), START + 10)
    assert panes.pending_rows == 5
    block = _rows(4, 1, np.array([np.nan, START + 15, np.nan, START + 20]))
    assert panes.add(block, START + 30) == ([], (0, 0))
    assert panes.pending_rows == 9


def test_many_small_batches_are_folded_as_one(measured: Reference) -> None:
    panes = Panes(measured.grid, PaneRule(60.0, None, 0.0))
    blocks = [_rows(7, seed, np.full(7, START + 1.0)) for seed in range(2 * FOLD_ROWS // 7)]
    for block in blocks:
        panes.add(block, 0.0)
    (pane,) = panes.flush()
    wanted = reduce(parts.merge, [parts.summarise(measured.grid, block) for block in blocks])
    assert _same(pane.summary, wanted)
    assert _same(parts.summarise(measured.grid, joined(blocks)), wanted)


@given(cut=st.integers(1, 11))
def test_checkpoint_in_the_middle_changes_no_pane(measured: Reference, cut: int) -> None:
    rule = PaneRule(60.0, None, 60.0)
    straight, before = Panes(measured.grid, rule), Panes(measured.grid, rule)
    blocks = [_rows(30, seed, START + 40 * seed + np.linspace(0, 70, 30)) for seed in range(12)]
    wanted = [pane for block in blocks for pane in straight.add(block, 0.0)[0]] + straight.flush()
    got = [pane for block in blocks[:cut] for pane in before.add(block, 0.0)[0]]
    after = Panes(measured.grid, rule)
    after.restore({name: array.copy() for name, array in before.state().items()})
    got += [pane for block in blocks[cut:] for pane in after.add(block, 0.0)[0]] + after.flush()
    assert [(a.number, a.start, a.end) for a in wanted] == [(b.number, b.start, b.end) for b in got]
    assert all(_same(a.summary, b.summary) for a, b in zip(wanted, got, strict=True))


def test_summary_survives_its_arrays(measured: Reference) -> None:
    again = summary_of(measured.grid.id, arrays_of(measured.summary))
    assert _same(again, measured.summary)
    assert again.numeric.dtype == np.int64
    large = dataclasses.replace(measured.summary, rows=2**40, numeric=measured.summary.numeric * 2**30)
    np.testing.assert_array_equal(summary_of("", arrays_of(large)).numeric, large.numeric)


def _vector_rows(n: int, seed: int, time: NDArray[np.float64] | None = None) -> Block:
    rng = np.random.default_rng(seed)
    vectors = (rng.standard_normal((n, 40)).astype(np.float32),)
    return dataclasses.replace(_rows(n, seed, time), vectors=vectors, strata=rng.integers(0, 3, n).astype(np.int32))


@pytest.fixture(scope="module")
def views(measured: Reference) -> tuple[View, ...]:
    """Runs of 16 rows, of all columns and of an embedding."""
    rows = _vector_rows(500, 0)
    vectors = vector_encoder(0, rows.vectors[0], np.random.default_rng(0), most=10)
    assert vectors is not None
    encoders: tuple[Encoder, ...] = (columns_encoder(measured.grid, measured.summary, rows), vectors)
    return tuple(View(name, one, cut(one, rows, 16), 16, (), 1.0) for name, one in zip("ab", encoders, strict=True))


def _same_samples(a: Pane, b: Pane) -> bool:
    return len(a.samples) == len(b.samples) and all(
        x.dtype == y.dtype and np.array_equal(x, y)
        for one, other in zip(a.samples, b.samples, strict=True)
        for x, y in ((one.rows, other.rows), (one.run, other.run), (one.strata, other.strata))
    )


@given(sizes=st.lists(st.integers(0, 700), max_size=6))
def test_kept_rows_do_not_depend_on_how_rows_were_batched(
    measured: Reference, views: tuple[View, ...], sizes: list[int]
) -> None:
    rows = _vector_rows(sum(sizes), 3)
    panes, closed, at = Panes(measured.grid, PaneRule(None, 200, 0), views, 60), [], 0
    for size in sizes:
        closed += panes.add(rows_of(rows, slice(at, at + size)), 0.0)[0]
        at += size
    for pane in closed:
        first = 200 * (pane.number - 1)
        number = np.arange(first, first + 200)
        least = sorted(set((number // 16).tolist()), key=lambda run: mixed(np.array([run], np.uint64))[0])[:4]
        wanted = number[np.isin(number // 16, least)]
        for view, sample in zip(views, pane.samples, strict=True):
            np.testing.assert_array_equal(sample.run, wanted // 16)
            np.testing.assert_array_equal(sample.rows, view.encoder.encode(rows)[wanted])
            assert rows.strata is not None
            np.testing.assert_array_equal(sample.strata, rows.strata[wanted])


@given(cut_at=st.integers(1, 11))
def test_checkpoint_in_the_middle_changes_no_kept_row(
    measured: Reference, views: tuple[View, ...], cut_at: int
) -> None:
    rule = PaneRule(60.0, None, 60.0)
    straight, before, after = (Panes(measured.grid, rule, views, 60) for _ in range(3))
    blocks = [_vector_rows(77, seed, START + 40 * seed + np.linspace(0, 70, 77)) for seed in range(12)]
    wanted = [pane for block in blocks for pane in straight.add(block, 0.0)[0]] + straight.flush()
    got = [pane for block in blocks[:cut_at] for pane in before.add(block, 0.0)[0]]
    after.restore({name: array.copy() for name, array in before.state().items()})
    got += [pane for block in blocks[cut_at:] for pane in after.add(block, 0.0)[0]] + after.flush()
    assert all(_same_samples(a, b) for a, b in zip(wanted, got, strict=True))
    assert all(len(pane.samples[0].run) >= 32 for pane in wanted[1:-1])
    again, still = Panes(measured.grid, rule, views, 60), before.state()
    again.restore(still)
    assert all(np.array_equal(part, again.state()[name]) for name, part in still.items())


def test_large_panes_of_many_folds_keep_the_runs_of_least_hash(measured: Reference, views: tuple[View, ...]) -> None:
    panes = Panes(measured.grid, PaneRule(None, 3 * FOLD_ROWS, 0), views, 100)
    rows = _vector_rows(3 * FOLD_ROWS, 4)
    closed = [
        pane for at in range(0, rows.rows, 1000) for pane in panes.add(rows_of(rows, slice(at, at + 1000)), 0.0)[0]
    ]
    runs = np.arange(rows.rows // 16)
    least = np.sort(runs[np.argsort(mixed(runs.astype(np.uint64)))[:7]])
    assert closed[0].samples[1].run.tolist() == np.repeat(least, 16).tolist()
    np.testing.assert_array_equal(
        closed[0].samples[1].rows, views[1].encoder.encode(rows)[(least[:, None] * 16 + np.arange(16)).ravel()]
    )


def test_without_views_nothing_is_kept(measured: Reference, views: tuple[View, ...]) -> None:
    panes = Panes(measured.grid, PaneRule(None, 100, 0))
    (pane,) = panes.add(_vector_rows(150, 5), 0.0)[0]
    assert pane.samples == ()
    assert not any(name.startswith("open0/sample") for name in panes.state())
    looking = Panes(measured.grid, PaneRule(None, 100, 0), views, 100)
    looking.restore(panes.state())
    assert [len(one.run) for one in looking.add(_vector_rows(50, 6), 0.0)[0][0].samples] == [50, 50]
    panes.restore(looking.state())
    looking.add(_vector_rows(50, 7), 0.0)
    panes.restore(looking.state())
    assert panes.add(_vector_rows(50, 8), 0.0)[0][0].samples == ()


@given(faults=st.integers(0, 1_000), cuts=st.lists(st.integers(0, 1_000), max_size=6))
def test_type_faults_are_spread_over_the_parts_of_a_batch(faults: int, cuts: list[int]) -> None:
    block = dataclasses.replace(_rows(1_000, 1), faults=np.array([faults, 0, 3]))
    ends = [0, *sorted(cuts), 1_000]
    pieces = [rows_of(block, slice(a, b)) for a, b in itertools.pairwise(ends)]
    np.testing.assert_array_equal(sum(piece.faults for piece in pieces), block.faults)
    assert all((piece.faults <= piece.rows).all() for piece in pieces)
    odd, even = (rows_of(block, np.arange(start, 1_000, 2)) for start in (0, 1))
    np.testing.assert_array_equal(odd.faults + even.faults, block.faults)
