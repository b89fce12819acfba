"""The autocorrelation time of a view: found in any direction, not invented where rows are independent."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.multivariate.dependence import autocorrelation_time
from tests.detectors.views import sample_of


def _ar(n: int, d: int, phi: float, rng: np.random.Generator) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    x = rng.standard_normal((n, d))
    for i in range(1, n):
        x[i] = phi * x[i - 1] + np.sqrt(1 - phi**2) * x[i]
    return x


@pytest.mark.parametrize("seed", range(4))
def test_independent_rows_have_a_time_of_about_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.standard_normal((8000, 6)), rng.standard_exponential((8000, 2))], axis=1)
    assert autocorrelation_time(sample_of(rows, 8), 8, rng) < 1.3


def test_one_dependent_column_among_independent_ones_is_found() -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((16_000, 8))
    rows[:, 3] = _ar(16_000, 1, 0.9, rng)[:, 0]
    assert 10 < autocorrelation_time(sample_of(rows, 64), 64, rng) < 30  # (1 + phi) / (1 - phi) = 19


def test_a_correlation_that_comes_and_goes_is_dependence_though_no_column_shows_it() -> None:
    rng = np.random.default_rng(6)
    rows = rng.standard_normal((16_000, 4))
    sign = np.repeat(rng.choice([-1.0, 1.0], 160), 100)
    rows[:, 1] = 0.9 * sign * rows[:, 0] + np.sqrt(1 - 0.81) * rows[:, 1]
    assert autocorrelation_time(sample_of(rows, 64), 64, rng) > 10


def test_what_a_stratum_has_in_common_is_no_dependence() -> None:
    rng = np.random.default_rng(7)
    hour = np.arange(16_000) // 500 % 4
    rows = rng.standard_normal((16_000, 4)) + hour[:, None]
    assert autocorrelation_time(sample_of(rows, 64), 64, rng) > 10
    assert autocorrelation_time(sample_of(rows, 64, strata=hour), 64, rng) < 1.5


def test_few_rows_say_nothing() -> None:
    rng = np.random.default_rng(8)
    assert autocorrelation_time(sample_of(rng.standard_normal((100, 3)), 64), 64, rng) == 1.0


def test_rows_that_are_all_equal_have_a_time_of_one() -> None:
    rows = np.full((4_000, 3), 0.25)
    assert autocorrelation_time(sample_of(rows, 8), 8, np.random.default_rng(6)) == 1.0
