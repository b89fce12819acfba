"""Autocorrelation times: one for independent rows, and about right for dependent ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from detectors import simulate
from detectors.sequential.dependence import base_rows
from detectors.types import FloatArray


def _ar(phi: float, rows: int, columns: int, seed: int) -> FloatArray:
    noise = np.random.default_rng(seed).standard_normal((rows + 500, columns))
    return np.asarray(lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)[500:], np.float64)


def test_independent_rows_have_a_time_of_about_one() -> None:
    measured = simulate.reference_of(simulate.block_of(_ar(0.0, 40_000, 8, 1)))
    assert (measured.tau >= 1).all()
    assert measured.tau.mean() < 1.3
    np.testing.assert_array_equal(measured.tau_missing, 1)


@pytest.mark.parametrize(("phi", "least"), [(0.5, 1.7), (0.9, 8.0), (0.99, 50.0)])
def test_dependent_rows_have_about_the_time_of_their_signs(phi: float, least: float) -> None:
    # indicators of a Gaussian AR(1) are a little less dependent than its values, whose time is (1 + phi) / (1 - phi)
    measured = simulate.reference_of(simulate.block_of(_ar(phi, 100_000, 4, 2)))
    assert (measured.tau > least).all()
    assert (measured.tau < 1.7 * (1 + phi) / (1 - phi)).all()


def test_values_that_go_missing_in_runs_have_a_time_of_their_own() -> None:
    values = np.random.default_rng(3).standard_normal((50_000, 2))
    values[:, 0] = np.where(np.repeat(np.random.default_rng(4).random(500) < 0.2, 100), np.nan, values[:, 0])
    measured = simulate.reference_of(simulate.block_of(values))
    assert 40 < measured.tau_missing[0] < 200
    assert measured.tau_missing[1] == 1


def test_reference_too_short_to_tell_counts_as_independent() -> None:
    assert (simulate.reference_of(simulate.block_of(_ar(0.9, 200, 2, 5))).tau == 1).all()
    assert base_rows(200) == 8
    assert base_rows(10**6) == 64
