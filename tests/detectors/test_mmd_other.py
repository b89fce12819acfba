"""Cross-MMD and random features: levels, power, and sums that merge."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.multivariate import cross_mmd, random_features
from detectors.multivariate.bins import Bins
from detectors.multivariate.cross_mmd import CrossMMD
from detectors.multivariate.protocol import JointTest
from detectors.multivariate.random_features import RandomFeatureMMD, Waves
from detectors.types import Reason
from tests.detectors.views import sample_of, view_of

TESTS: list[JointTest] = [CrossMMD(), RandomFeatureMMD(frequencies=32, draws=99)]


def test_cross_mmd_is_the_difference_of_the_witness_over_its_error() -> None:
    rng = np.random.default_rng(0)
    window, reference = rng.standard_normal(9), rng.standard_normal(12)
    rows = [np.arange(len(side))[:, None] for side in (window, reference)]
    zeros = [np.zeros(len(side), np.int64) for side in (window, reference)]
    t, free = cross_mmd.studentised(window, reference, Bins(rows[0], rows[1], zeros[0], zeros[1], rows[1]))
    parts = window.var(ddof=1) / 9, reference.var(ddof=1) / 12
    assert t == pytest.approx((window.mean() - reference.mean()) / np.sqrt(sum(parts)))
    assert free == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 8 + parts[1] ** 2 / 11))


def test_the_witness_is_a_weighted_sum_of_kernels() -> None:
    rng = np.random.default_rng(0)
    rows, points = (rng.standard_normal((k, 3)).astype(np.float32) for k in (6, 4))
    weight = rng.standard_normal(4)
    kernel = np.exp(-np.square(rows[:, None] - points[None]).sum(axis=2) / (2 * 1.7**2))
    assert cross_mmd.along(rows, points, weight, 1.7) == pytest.approx(kernel @ weight, abs=1e-5)


def test_cross_mmd_holds_its_level_and_finds_a_shift() -> None:
    rng = np.random.default_rng(0)
    null = 0
    for _ in range(200):
        x, y = rng.standard_normal((2, 100, 10))
        null += cross_mmd.two_sample(x, y, rng).log_p < np.log(0.05)
    assert abs(null / 200 - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 200)
    shift = np.zeros(10)
    shift[:5] = 0.3
    found = 0
    for _ in range(100):
        x, y = rng.standard_normal((2, 100, 10))
        found += cross_mmd.two_sample(x, y + shift, rng).log_p < np.log(0.05)
    assert found >= 60


def test_sums_of_features_merge_and_their_distance_is_the_kernels() -> None:
    rng = np.random.default_rng(1)
    waves = Waves(rng.standard_normal((2, 4000)).astype(np.float32), np.array([0.5, 1.0]))
    x, y = (rng.standard_normal((100, 2)) + k for k in (0, 1))
    one, other = (random_features.sketch(waves, side.astype(np.float32)) for side in (x, y))
    parts = [random_features.sketch(waves, side.astype(np.float32)) for side in (x[:30], x[30:])]
    merged = random_features.merge(*parts)
    assert merged.rows == 100
    assert merged.sums == pytest.approx(one.sums, abs=1e-3)
    for scale, value in zip(waves.bandwidths, random_features.distance(one, other), strict=True):
        both = np.concatenate([x, y])
        gram = np.exp(-np.square(both[:, None] - both[None]).sum(axis=2) / (2 * scale**2))
        sign = np.repeat([0.01, -0.01], 100)
        assert value == pytest.approx(sign @ gram @ sign, rel=0.1)


@pytest.mark.parametrize("test", TESTS, ids=lambda one: one.name)
def test_levels_of_windows(test: JointTest) -> None:
    rng = np.random.default_rng(9)
    rejected = 0
    for _ in range(6):
        view = view_of(rng.standard_normal((2000, 3)))
        fixed = test.fit(view, rng)
        for _ in range(25):
            rejected += test.score(fixed, view, sample_of(rng.standard_normal((300, 3))), rng).log_p < np.log(0.1)
    assert abs(rejected / 150 - 0.1) < 4 * np.sqrt(0.09 / 150)


@pytest.mark.parametrize("d", [1, 768])
@pytest.mark.parametrize("test", TESTS, ids=lambda one: one.name)
def test_drift_is_found_in_any_dimension(test: JointTest, d: int) -> None:
    rng = np.random.default_rng(9)
    view = view_of(rng.standard_normal((3000, d)))
    fixed = test.fit(view, rng)
    assert test.score(fixed, view, sample_of(rng.standard_normal((400, d)) + 0.8), rng).log_p < np.log(0.011)


@pytest.mark.parametrize("test", TESTS, ids=lambda one: one.name)
def test_a_changed_mix_of_strata_is_not_drift(test: JointTest) -> None:
    rng = np.random.default_rng(4)
    strata = np.repeat([0, 1], 2000)
    view = view_of(rng.standard_normal((4000, 3)) + 3 * strata[:, None], strata=strata)
    fixed = test.fit(view, rng)
    rejected = 0
    for _ in range(60):
        mix = np.repeat([0, 1], [300, 100])
        window = sample_of(rng.standard_normal((400, 3)) + 3 * mix[:, None], strata=mix)
        rejected += test.score(fixed, view, window, rng).log_p < np.log(0.1)
    assert rejected <= 14


@pytest.mark.parametrize("test", TESTS, ids=lambda one: one.name)
def test_too_few_rows_say_so_and_constant_ones_do_not_alarm(test: JointTest) -> None:
    rng = np.random.default_rng(4)
    for reference, window in ((0, 400), (10, 400), (1000, 0), (1000, 40)):
        view = view_of(rng.standard_normal((reference, 2)))
        found = test.score(test.fit(view, rng), view, sample_of(np.zeros((window, 2))), rng)
        assert found.reason is Reason.FEW_ROWS
    view = view_of(np.ones((1000, 2)))
    same = test.score(test.fit(view, rng), view, sample_of(np.ones((400, 2))), rng)
    assert same.reason is Reason.CONSTANT_REFERENCE
