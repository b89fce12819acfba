"""Bins: halves of the reference never meet, bins are whole runs of one stratum and of equal size."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.multivariate.bins import MOST_BLOCKS, bins_of, half_a, half_b
from detectors.types import Sample
from tests.detectors.views import sample_of, view_of

RNG = np.random.default_rng(5)


def normal(rows: int, d: int = 2) -> np.ndarray:
    return RNG.standard_normal((rows, d))


@pytest.mark.parametrize("rows", [40, 400, 5000, 60_000])
def test_half_a_and_half_b_share_no_run_and_cover_the_reference(rows: int) -> None:
    view = view_of(normal(rows), run=10)
    a, b = half_a(view), half_b(view).rows.reshape(-1)
    assert not set(view.sample.run[a]) & set(view.sample.run[b])
    assert len(a) + len(b) >= 0.95 * rows
    assert len(half_b(view).rows) <= MOST_BLOCKS


def test_a_strata_of_one_block_is_tested_and_not_learnt_from() -> None:
    strata = np.repeat([0, 1], [200, 10])
    view = view_of(normal(210), run=10, strata=strata)
    assert (half_b(view).strata == 1).sum() == 1
    assert (view.sample.strata[half_a(view)] == 1).sum() == 0


@pytest.mark.parametrize("rows", [500, 1003, 20_000])
def test_bins_are_equal_and_made_of_whole_runs(rows: int) -> None:
    view, sample = view_of(normal(10_000), run=10), sample_of(normal(rows), run=10)
    bins = bins_of(view, sample)
    assert bins.window_rows.shape[1] == bins.reference_rows.shape[1]
    assert len(bins.window_rows) >= 20
    assert len(bins.reference_rows) >= 40
    assert not bins.few
    for side, run in ((bins.window_rows, sample.run), (bins.reference_rows, view.sample.run)):
        assert len(np.unique(side)) == side.size
        owners = [set(run[line]) for line in side]
        assert sum(len(one) for one in owners) == len(set().union(*owners))
        assert all((np.diff(line) > 0).all() for line in side)
    blocks = half_b(view).rows
    assert (blocks[bins.merged].reshape(bins.reference_rows.shape) == bins.reference_rows).all()


def test_bins_hold_one_stratum_and_unknown_ones_are_left_out() -> None:
    strata = np.repeat(np.arange(4), 1000)
    view = view_of(normal(4000), run=10, strata=strata)
    window = sample_of(normal(800), run=10, strata=np.repeat([3, 1, 7, -1], 200))
    bins = bins_of(view, window)
    assert set(bins.window_strata) == set(bins.reference_strata) == {1, 3}
    for rows, codes, sample in (
        (bins.window_rows, bins.window_strata, window),
        (bins.reference_rows, bins.reference_strata, view.sample),
    ):
        assert (sample.strata[rows] == codes[:, None]).all()


def test_runs_of_mixed_strata_are_cut_by_stratum() -> None:
    codes = RNG.integers(0, 3, 6000)
    view = view_of(normal(6000), run=10, strata=codes)
    window = sample_of(normal(1000), run=10, strata=codes[:1000])
    bins = bins_of(view, window)
    assert (window.strata[bins.window_rows] == bins.window_strata[:, None]).all()
    assert not bins.few


def test_incomplete_runs_are_left_out() -> None:
    view = view_of(normal(1000), run=10)
    rows = normal(200).astype(np.float32)
    run = np.repeat(np.arange(40), 5)
    assert bins_of(view, Sample(rows, run, np.zeros(200, np.int32))).few


@pytest.mark.parametrize("rows", [0, 5, 50])
def test_few_rows_are_few(rows: int) -> None:
    view = view_of(normal(1000), run=10)
    assert bins_of(view, sample_of(normal(rows), run=10)).few
    assert bins_of(view_of(normal(rows), run=10), sample_of(normal(500), run=10)).few
