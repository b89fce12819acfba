"""One observation a column and pane: mean 0 and standard deviation 1 without drift."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detectors import parts
from detectors.streaming.catalog import CLASSICAL
from detectors.streaming.observe import observations
from detectors.types import FloatArray, Reference
from tests.contract.bench import NUMERIC, UNITS, block, reference

PANES, ROWS = 300, 100


@pytest.fixture(scope="module")
def measured() -> Reference:
    return reference(100_000)


def panes(measured: Reference, shift: float = 0.0, seed: int = 1) -> FloatArray:
    made = block(PANES * ROWS, seed)
    made.numeric[:] += shift
    cut = [
        dataclasses.replace(made, numeric=made.numeric[i : i + ROWS], codes=made.codes[i : i + ROWS])
        for i in range(0, PANES * ROWS, ROWS)
    ]
    return np.concatenate([observations(measured, parts.summarise(measured.grid, pane)) for pane in cut])


def test_without_drift_mean_is_zero_and_spread_one(measured: Reference) -> None:
    x = panes(measured)
    assert x.shape == (PANES, UNITS)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.25)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=0.15)


def test_shift_counts_in_standard_errors_of_the_pane(measured: Reference) -> None:
    moved = panes(measured, shift=0.2)[:, :NUMERIC].mean(axis=0) - panes(measured)[:, :NUMERIC].mean(axis=0)
    np.testing.assert_allclose(moved, 0.2 * np.sqrt(ROWS), rtol=0.03)


def test_dependent_rows_count_less(measured: Reference) -> None:
    fresh = parts.summarise(measured.grid, block(ROWS, 1))
    slow = dataclasses.replace(measured, tau=measured.tau * 4)
    np.testing.assert_allclose(observations(slow, fresh) * 2, observations(measured, fresh))


def test_empty_and_constant_columns_say_nothing(measured: Reference) -> None:
    gone = block(ROWS, 1)
    gone.numeric[:, 1] = np.nan
    gone.codes[:, 2] = -1
    seen = observations(measured, parts.summarise(measured.grid, gone))[0]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(seen)), [1, NUMERIC + 2])
    sums = measured.summary.sums.copy()
    sums[0] = 0
    flat = dataclasses.replace(measured, summary=dataclasses.replace(measured.summary, sums=sums))
    assert np.isnan(observations(flat, parts.summarise(measured.grid, block(ROWS, 1)))[0, 0])


def test_new_categories_lower_the_share_of_the_commonest(measured: Reference) -> None:
    fresh = block(ROWS, 1)
    before = observations(measured, parts.summarise(measured.grid, fresh))[0, NUMERIC]
    fresh.codes[:30, 0] = -2
    assert observations(measured, parts.summarise(measured.grid, fresh))[0, NUMERIC] < before


def test_summary_of_another_grid_is_refused(measured: Reference) -> None:
    other = reference(500)
    with pytest.raises(ValueError, match="grid"):
        observations(measured, parts.zero(other.grid))


def test_chart_on_panes_finds_the_shift_in_the_columns_that_moved(measured: Reference) -> None:
    x = np.concatenate([panes(measured), panes(measured, shift=0.2, seed=2)])
    for name in ("cusum", "ewma"):
        detector = CLASSICAL[name]()
        quiet = detector.update(detector.start(UNITS), x[:PANES])
        moved = detector.update(quiet.state, x[PANES:])
        assert (moved.first[:NUMERIC] < 20).all()
        assert (moved.alarms[NUMERIC:] < 5).all()
