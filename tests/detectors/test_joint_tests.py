"""The single joint tests: formulas against brute force, levels and power in small, and what they refuse to judge."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.multivariate import classifier, conditional, correlation, energy, pca
from detectors.multivariate.bins import Bins, bins_of
from detectors.multivariate.joint import JointDefault
from detectors.multivariate.permutation import labels
from detectors.multivariate.protocol import JointTest
from detectors.types import FloatArray, Reason, Sample, SingleArray, View
from tests.detectors.views import sample_of, view_of

TESTS: list[JointTest] = [
    correlation.CorrelationChange(99),
    correlation.CorrelationChange(0),
    energy.EnergyDistance(99),
    pca.PCAReconstruction(99),
    conditional.ConditionalShift(99),
    classifier.ClassifierTwoSample(99),
    JointDefault(draws=99),
]
NAMES = [f"{one.name}-{getattr(one, 'draws', '')}" for one in TESTS]


def normal(seed: int, n: int, d: int = 5, rho: float = 0.0) -> NDArray[np.float64]:
    rows = np.random.default_rng(seed).standard_normal((n, d))
    rows[:, 1] = rho * rows[:, 0] + math.sqrt(1 - rho**2) * rows[:, 1]
    return rows


def pair(seed: int = 0, n: int = 400, m: int = 1600) -> tuple[View, Sample, Bins, FloatArray]:
    view, sample = view_of(normal(seed, m), run=5), sample_of(normal(seed + 1, n) * 1.2, run=5)
    bins = bins_of(view, sample)
    contrast = labels(bins.window_strata, bins.reference_strata, 20, np.random.default_rng(seed))
    return view, sample, bins, contrast


def mean_distance(x: SingleArray, y: SingleArray) -> float:
    return float(np.sqrt(np.square(x[:, None].astype(np.float64) - y[None]).sum(axis=2)).mean())


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_a_window_of_the_reference_is_rejected_as_often_as_asked(test: JointTest) -> None:
    rng = np.random.default_rng(5)
    rejected = 0
    for repetition in range(4):
        view = view_of(normal(100 + repetition, 1200, 4), run=5)
        fixed = test.fit(view, rng)
        for window in range(25):
            sample = sample_of(normal(1000 + 25 * repetition + window, 200, 4), run=5)
            rejected += test.score(fixed, view, sample, rng).log_p <= math.log(0.1)
    assert 1 <= rejected <= 22  # 10 of 100 expected; windows of one reference are not independent


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_a_broken_dependence_and_a_larger_scale_are_seen(test: JointTest) -> None:
    view = view_of(normal(1, 4000, rho=0.8), run=5)
    sample = sample_of(normal(2, 1000) * 1.3, run=5)
    rng = np.random.default_rng(0)
    outcome = test.score(test.fit(view, rng), view, sample, rng)
    assert outcome.reason == Reason.OK
    assert outcome.n == 1000
    assert outcome.log_p <= math.log(0.02)


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_too_few_rows_have_nothing_to_say(test: JointTest) -> None:
    view = view_of(normal(1, 1000), run=5)
    rng = np.random.default_rng(0)
    fixed = test.fit(view, rng)
    for rows in (0, 4, 39):
        outcome = test.score(fixed, view, sample_of(normal(2, rows), run=5), rng)
        assert outcome.reason == Reason.FEW_ROWS
        assert math.isnan(outcome.log_p)


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
@pytest.mark.parametrize("m", [0, 5, 10, 20])
def test_a_tiny_reference_is_fitted_and_never_judged(test: JointTest, m: int) -> None:
    view = view_of(normal(1, m), run=5)
    rng = np.random.default_rng(0)
    outcome = test.score(test.fit(view, rng), view, sample_of(normal(2, 200), run=5), rng)
    assert outcome.reason == Reason.FEW_ROWS


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_constant_and_doubled_columns_do_no_harm(test: JointTest) -> None:
    def made(seed: int, n: int) -> NDArray[np.float64]:
        rows = normal(seed, n, 5)
        rows[:, 3], rows[:, 4] = 0.0, rows[:, 0]
        return rows

    view = view_of(made(1, 2000), run=5)
    rng = np.random.default_rng(0)
    fixed = test.fit(view, rng)
    quiet = test.score(fixed, view, sample_of(made(2, 500), run=5), rng)
    assert quiet.reason == Reason.OK
    assert quiet.log_p > math.log(0.01)
    moved = made(3, 500)
    moved[:, 3] = 1.0
    assert test.score(fixed, view, sample_of(moved, run=5), rng).reason == Reason.OK


@pytest.mark.parametrize("test", TESTS, ids=NAMES)
def test_the_seed_decides_the_p_value(test: JointTest) -> None:
    view, sample, _, _ = pair()
    fixed = test.fit(view, np.random.default_rng(0))
    once, again = (test.score(fixed, view, sample, np.random.default_rng(3)) for _ in range(2))
    assert once == again


@pytest.mark.parametrize(
    "test", [one for one in TESTS if str(getattr(one, "draws", 1)) != "0"], ids=lambda one: one.name
)
def test_a_changed_mix_of_strata_is_not_drift(test: JointTest) -> None:
    def made(seed: int, n: int, share: float) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        rng = np.random.default_rng(seed)
        strata = np.repeat(rng.random(n // 5) < share, 5).astype(np.int32)
        return rng.standard_normal((n, 4)) + 2.0 * strata[:, None], strata

    rng, low = np.random.default_rng(0), 0
    rows, strata = made(1, 4000, 0.5)
    view = view_of(rows, run=5, strata=strata)
    fixed = test.fit(view, rng)
    for seed in range(10, 20):
        rows, strata = made(seed, 600, 0.8)
        low += test.score(fixed, view, sample_of(rows, run=5, strata=strata), rng).log_p <= math.log(0.05)
    assert low <= 3


def test_energy_is_the_brute_force_energy_distance() -> None:
    view, sample, bins, contrast = pair()
    test = energy.EnergyDistance()
    found = test.lines(test.fit(view, np.random.default_rng(0)), view, sample, bins, contrast)
    x, y = sample.rows[bins.window_rows.reshape(-1)], view.sample.rows[bins.reference_rows.reshape(-1)]
    wanted = 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
    assert found.shape == (1, 21)
    assert found[0, 0] == pytest.approx(wanted, rel=1e-3)


def test_energy_of_a_large_window_looks_at_every_second_row_of_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    view, sample, bins, contrast = pair()
    test = energy.EnergyDistance()
    fixed = test.fit(view, np.random.default_rng(0))
    monkeypatch.setattr(energy, "MOST_DISTANCES", 200_000)
    found = test.lines(fixed, view, sample, bins, contrast)[0, 0]
    x = sample.rows[bins.window_rows.reshape(-1, 5)[:, ::2].reshape(-1)]
    y = view.sample.rows[bins.reference_rows.reshape(-1, 5)[:, ::2].reshape(-1)]
    wanted = 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
    assert found == pytest.approx(wanted, rel=1e-3)


def test_scores_are_those_of_any_monotone_version_of_the_column() -> None:
    rows = normal(0, 3000).astype(np.float32)
    scorer, other = correlation.scorer_of(rows), correlation.scorer_of(np.exp(rows))
    found = correlation.scores(scorer, rows)
    np.testing.assert_allclose(correlation.scores(other, np.exp(rows)), found, atol=1e-5)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-5)


def test_correlation_panels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    view, sample, bins, contrast = pair()
    test = correlation.CorrelationChange()
    whole = test.lines(test.fit(view, np.random.default_rng(0)), sample, bins, contrast)
    monkeypatch.setattr(correlation, "PANEL", 1)
    cut = test.lines(test.fit(view, np.random.default_rng(0)), sample, bins, contrast)
    np.testing.assert_allclose(cut, whole, rtol=1e-4)


def test_the_closed_form_is_fishers_for_normal_rows() -> None:
    view = view_of(normal(1, 20_000, 2, rho=0.5), run=10)
    fixed = correlation.CorrelationChange().fit(view, np.random.default_rng(0))
    assert fixed.closed_spread[0, 1] == pytest.approx(1, abs=0.12)
    sample = sample_of(normal(2, 1000, 2, rho=0.6))
    bins = bins_of(view, sample)
    found = correlation.pairs(fixed, sample, bins, 1)[0]
    assert found.reference == pytest.approx(0.5, abs=0.04)
    assert found.window == pytest.approx(0.6, abs=0.06)
    z = abs(math.atanh(found.window) - math.atanh(found.reference)) / math.sqrt(1 / 1000 + 1 / bins.reference_rows.size)
    assert found.log_p == pytest.approx(math.log(math.erfc(z / math.sqrt(2))), rel=0.35)


def test_pairs_of_one_unit_are_left_out() -> None:
    unit = np.array([0, 0, 1, 2])
    view = view_of(normal(1, 4000, 4, rho=0.9), run=5)
    object.__setattr__(view.encoder, "unit", unit)
    test = correlation.CorrelationChange()
    fixed = test.fit(view, np.random.default_rng(0))
    sample = sample_of(normal(2, 500, 4), run=5)
    assert (0, 1) not in {(one.i, one.j) for one in correlation.pairs(fixed, sample, bins_of(view, sample), 9)}
    assert test.score(fixed, view, sample, np.random.default_rng(0)).log_p > math.log(0.01)


def test_fisher_scores_are_the_mean_squared_difference_of_score_functions() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((2, 3, 3))
    covariance = root @ root.transpose(0, 2, 1) + np.eye(3)
    mean = rng.standard_normal((2, 3))
    p, q = (conditional.Moments(mean[i][None], covariance[i][None], 1e12) for i in (0, 1))
    found = conditional.fisher(p, q, np.eye(3))[0]
    draws = np.concatenate([rng.multivariate_normal(mean[i], covariance[i], 200_000) for i in (0, 1)])
    slope = [-(draws - mean[i]) @ np.linalg.inv(covariance[i]) for i in (0, 1)]
    np.testing.assert_allclose(found, np.square(slope[1] - slope[0]).mean(axis=0), rtol=0.02)


def test_the_column_replaced_by_its_own_margin_is_named() -> None:
    root = np.linalg.cholesky(0.8 ** np.abs(np.subtract.outer(np.arange(25), np.arange(25))))
    test = conditional.ConditionalShift(99)
    view = view_of(np.random.default_rng(0).standard_normal((8000, 25)) @ root.T, run=5)
    fixed = test.fit(view, np.random.default_rng(0))
    right = 0
    for seed in range(10):
        rng = np.random.default_rng(10 + seed)
        rows = rng.standard_normal((500, 25)) @ root.T
        rows[:, 7] = rng.permutation(rows[:, 7])
        outcome = test.score(fixed, view, sample_of(rows, run=5), rng)
        right += outcome.extra["unit"] == 7 and outcome.log_p <= math.log(0.05)
    assert right >= 9  # methods.md section 4: top-1 0.98 at n = 500


def test_reconstruction_error_is_the_distance_to_the_plane() -> None:
    rows = (normal(0, 2000, 5) * [3, 2, 1, 1, 0.5]).astype(np.float32)
    fixed = pca.PCAReconstruction().fit(view_of(rows, run=5), np.random.default_rng(0))
    plane = fixed.axes[:, : fixed.k].astype(np.float64)
    moved = rows - fixed.centre
    off, centre = pca.distances(fixed, rows)
    np.testing.assert_allclose(off, np.linalg.norm(moved - moved @ plane @ plane.T, axis=1), atol=1e-3)
    inverse = np.linalg.inv(np.cov(moved.T))
    np.testing.assert_allclose(centre, np.sqrt(np.einsum("ni,ij,nj->n", moved, inverse, moved)), rtol=0.2)
    assert 0 < fixed.k < 5


def test_one_dimension_has_no_plane_no_pair_and_no_conditional_law() -> None:
    view, sample = view_of(normal(0, 1000, 2)[:, :1], run=5), sample_of(normal(1, 400, 2)[:, :1], run=5)
    rng = np.random.default_rng(0)
    tests: list[JointTest] = [pca.PCAReconstruction(), correlation.CorrelationChange(), conditional.ConditionalShift()]
    for test in tests:
        assert test.score(test.fit(view, rng), view, sample, rng).reason == Reason.NOT_APPLICABLE


def test_auc_is_the_share_of_pairs_ranked_right() -> None:
    x, y = np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.0, 2.0, 1.5])
    rank = classifier.mid_ranks(np.concatenate([x, y]))
    auc = 0.5 + (rank[:4].mean() - rank[4:].mean()) / 7
    assert auc == pytest.approx((x[:, None] > y).mean() + 0.5 * (x[:, None] == y).mean())


def test_the_classifier_knows_the_shifted_rows() -> None:
    view, sample = view_of(normal(0, 4000), run=5), sample_of(normal(1, 600) + 1.0, run=5)
    test = classifier.ClassifierTwoSample()
    rng = np.random.default_rng(0)
    outcome = test.score(test.fit(view, rng), view, sample, rng)
    assert outcome.extra["auc"] == pytest.approx(0.943, abs=0.03)  # Phi(sqrt(5) / sqrt(2)), the best possible
