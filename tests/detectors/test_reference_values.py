"""Reference numbers from scipy.stats: on columns that the bins resolve fully, and on categories, they must agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.grid import BINS
from detectors.maths import tails
from detectors.registry import WINDOWED, Tolerances
from detectors.types import Evidence, Reference, Window
from detectors.univariate.distribution import AndersonDarling

N, M = 3_000, 5_000


def _judged(name: str, measured: Reference, rows: Any) -> Evidence:
    summary = parts.summarise(measured.grid, rows)
    detector = WINDOWED[name](Tolerances())
    fixed = detector.fit(measured)
    window = Window(0.0, 1.0, Comparison(Baseline(measured), summary), summary)
    return detector.score(fixed, detector.start(fixed), window)[1]


@pytest.fixture(scope="module")
def grades() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Twenty values, of which each has a bin of its own: binned and exact statistics coincide."""
    rng = np.random.default_rng(1)
    return rng.binomial(20, 0.5, (M, 1)).astype(float), rng.binomial(20, 0.515, (N, 1)).astype(float)


@pytest.fixture(scope="module")
def bells() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(2)
    return rng.standard_normal((M, 1)), rng.standard_normal((N, 1)) * 1.05 + 0.06


def _reference(values: np.ndarray[Any, Any]) -> Reference:
    return simulate.reference_of(simulate.block_of(values), dependent=False)


def test_ks_distance_on_discrete_values_is_exactly_scipys(grades: Any) -> None:
    reference, window = grades
    got = _judged("kolmogorov_smirnov", _reference(reference), simulate.block_of(window))
    assert got.statistic[0] == pytest.approx(stats.ks_2samp(window[:, 0], reference[:, 0]).statistic, abs=1e-12)


def test_ks_on_continuous_values_is_scipys_to_a_bin(bells: Any) -> None:
    reference, window = bells
    exact = stats.ks_2samp(window[:, 0], reference[:, 0])
    got = _judged("kolmogorov_smirnov", _reference(reference), simulate.block_of(window))
    assert exact.statistic - 1 / BINS <= got.statistic[0] <= exact.statistic
    assert got.log_p[0] == pytest.approx(np.log(exact.pvalue), abs=1.0)


def test_wasserstein_is_scipys(grades: Any, bells: Any) -> None:
    for (reference, window), tolerance in ((grades, 0.02), (bells, 0.1)):
        exact = stats.wasserstein_distance(window[:, 0], reference[:, 0])
        got = _judged("wasserstein", _reference(reference), simulate.block_of(window))
        assert got.effect[0] == pytest.approx(exact, rel=tolerance)


def test_anderson_darling_agrees_with_pettitts_formula(bells: Any) -> None:
    """A^2 of two samples (Pettitt 1976); ours is a sum over 63 cuts of mass 1/64."""
    reference, window = bells
    pooled = np.sort(np.concatenate([reference[:, 0], window[:, 0]]))
    i = np.arange(1, N + M)
    below = np.searchsorted(np.sort(window[:, 0]), pooled[:-1], side="right")
    exact = ((below * (N + M) - N * i) ** 2 / (i * (N + M - i))).sum() / (N * M)
    got = _judged("anderson_darling", _reference(reference), simulate.block_of(window))
    assert got.statistic[0] / BINS == pytest.approx(exact, rel=0.1)


def test_anderson_darling_tail_is_the_published_one() -> None:
    """Asymptotic 5 % and 1 % points of A^2 are 2.492 and 3.878 (Stephens 1974)."""
    rng = np.random.default_rng(3)
    cumulants = AndersonDarling().fit(_reference(rng.standard_normal((64_000, 1)))).cumulants
    for critical, level in ((2.492, 0.05), (3.878, 0.01)):
        got = np.exp(tails.quadratic_form(np.array([critical * BINS]), cumulants))[0]
        assert got == pytest.approx(level, rel=0.1)


def test_cramer_von_mises_agrees_with_scipys_p_value(bells: Any) -> None:
    reference, window = bells
    exact = stats.cramervonmises_2samp(window[:, 0], reference[:, 0], method="asymptotic")
    got = _judged("cramer_von_mises", _reference(reference), simulate.block_of(window))
    assert got.statistic[0] == pytest.approx(exact.statistic, rel=0.1)
    assert got.log_p[0] == pytest.approx(np.log(exact.pvalue), abs=0.5)


@pytest.fixture(scope="module")
def mixes() -> tuple[Reference, Any, Any]:
    rng = np.random.default_rng(4)
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    before = rng.choice(4, (M, 1), p=shares).astype(np.int32)
    after = rng.choice(4, (N, 1), p=shares[::-1] * 0.1 + shares * 0.9).astype(np.int32)
    measured = simulate.reference_of(simulate.block_of(np.zeros((M, 0)), before), dependent=False)
    table = np.stack([np.bincount(side[:, 0], minlength=4) for side in (after, before)])
    return measured, simulate.block_of(np.zeros((N, 0)), after), table


@pytest.mark.parametrize(("name", "power"), [("chi_square", 1.0), ("g_test", 0.0)])
def test_contingency_tests_are_exactly_scipys(mixes: Any, name: str, power: float) -> None:
    measured, rows, table = mixes
    exact = stats.chi2_contingency(table, correction=False, lambda_=power)
    got = _judged(name, measured, rows)
    assert got.statistic[0] == pytest.approx(exact.statistic, rel=1e-9)
    assert got.log_p[0] == pytest.approx(np.log(exact.pvalue), rel=1e-9)


def test_divergences_are_their_definitions(mixes: Any) -> None:
    measured, rows, table = mixes
    p, q = ((side + 0.5) / (side.sum() + 2) for side in table)
    middle = (p + q) / 2
    wanted = {
        "psi": ((p - q) * np.log(p / q)).sum(),
        "kullback_leibler": stats.entropy(p, q),
        "jensen_shannon": (stats.entropy(p, middle) + stats.entropy(q, middle)) / 2,
        "hellinger": ((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2,
    }
    for name, value in wanted.items():
        assert _judged(name, measured, rows).extra["index"][0] == pytest.approx(value, rel=1e-9)
    raw = np.abs(table[0] / N - table[1] / M).sum() / 2
    assert _judged("total_variation", measured, rows).statistic[0] == pytest.approx(raw, rel=1e-12)


def test_total_variation_of_two_categories_is_the_test_of_two_proportions() -> None:
    rng = np.random.default_rng(5)
    before, after = (rng.random((size, 1)) < share for size, share in ((M, 0.3), (N, 0.32)))
    measured = simulate.reference_of(simulate.block_of(np.zeros((M, 0)), before.astype(np.int32)), dependent=False)
    got = _judged("total_variation", measured, simulate.block_of(np.zeros((N, 0)), after.astype(np.int32)))
    pool = (before.sum() + after.sum()) / (M + N)
    z = abs(after.mean() - before.mean()) / np.sqrt(pool * (1 - pool) * (1 / N + 1 / M))
    assert np.exp(got.log_p[0]) == pytest.approx(2 * stats.norm.sf(z), rel=1e-9)


def test_mean_change_agrees_with_students_and_is_in_the_columns_units(bells: Any) -> None:
    reference, window = bells
    exact = stats.ttest_ind(window[:, 0], reference[:, 0])
    got = _judged("mean_change", _reference(reference), simulate.block_of(window))
    assert got.statistic[0] == pytest.approx(exact.statistic, abs=0.4)
    assert got.effect[0] == pytest.approx(window.mean() - reference.mean(), abs=2e-3)
    assert got.effect_low[0] < got.effect[0] < got.effect_high[0]


def test_scale_change_is_the_ratio_of_standard_deviations(bells: Any) -> None:
    reference, window = bells
    got = _judged("scale_change", _reference(reference), simulate.block_of(window))
    assert got.effect[0] == pytest.approx(window.std() / reference.std(), rel=5e-3)


def test_null_mean_of_psi_is_taken_off_its_effect() -> None:
    rng = np.random.default_rng(6)
    measured = _reference(rng.standard_normal((10_000, 300)))
    got = _judged("psi", measured, simulate.block_of(rng.standard_normal((1_000, 300))))
    # E[c PSI] = K - 1 (methods.md 9): the raw index is biased, the effect is not in half of the columns
    c = 1_000 * 10_000 / 11_000
    df = got.extra["index"].mean() * c
    assert df == pytest.approx(31, rel=0.1)
    assert 0.35 < (got.effect == 0).mean() < 0.65
    assert (got.extra["index"] > got.extra["null_quantile"]).mean() == pytest.approx(0.05, abs=0.04)


def test_relevant_drift_rejects_only_beyond_both_radii() -> None:
    rng = np.random.default_rng(7)
    measured = _reference(rng.standard_normal((10_000, 2)))
    rows = rng.standard_normal((10_000, 2))
    rows[:, 0] += 0.5
    got = _judged("relevant_drift", measured, simulate.block_of(rows))
    radius = 2 * np.sqrt(np.log(4 / 0.05) / 20_000)
    assert got.log_p[0] < np.log(0.05)
    assert got.statistic[0] > 0.05 + radius
    assert got.log_p[1] == 0
    assert got.extra["smallest_detectable"][0] == pytest.approx(0.05 + 2 * radius)
    assert got.extra["equivalent"][1] == float(got.statistic[1] < 0.05 - radius)
