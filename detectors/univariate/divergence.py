"""PSI, Jensen-Shannon, Hellinger, Kullback-Leibler, G, chi-square and total variation on groups of bins or categories.

Question: H0: window and reference rows come from one law; H1: they do not.
Statistic: with p, q the window's and the reference's proportions in g groups and c = n m / (n + m): c PSI, 8 c JS
(nats), 8 c H^2, 2 c KL, the two-sample G and chi-square; total variation sum |p - q| / 2.
Null law: chi-square with g - 1 degrees of freedom for all but the last; bins are grouped until
the smaller sample expects 25 rows a group, which keeps the levels at 5 % and 0.1 % (tests/statistical). Total
variation: Pearson III with the mean and variance of a sum of folded normal variables; one such variable for two groups.
Effect: the debiased index, max(0, index - its null mean), with the noncentral chi-square's standard deviation as its
spread; ``null_quantile`` is the index that one undrifted window in twenty passes at these sizes.
Sees / blind to: spikes, holes, category mixes; weaker than Anderson-Darling for smooth shifts.
Cost: O(K) a column, one logarithm a group and index. Source: Cressie and Read 1984.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.compare import Comparison
from detectors.grid import BINS
from detectors.maths import tails
from detectors.types import Evidence, FloatArray, Reference, Window
from detectors.univariate.common import Nothing, Result, Unfitted, Windowed, evidence


def _psi(it: Comparison) -> FloatArray:
    p, q, _, _, log_p, log_q = it.groups
    total: FloatArray = np.vecdot(p - q, log_p - log_q)
    return total


def _kullback_leibler(it: Comparison) -> FloatArray:
    p, _, _, _, log_p, log_q = it.groups
    total: FloatArray = np.vecdot(p, log_p - log_q)
    return total


def _jensen_shannon(it: Comparison) -> FloatArray:
    p, q, used, _, log_p, log_q = it.groups
    middle = np.log(np.where(used, (p + q) / 2, 1))
    total: FloatArray = (np.vecdot(p, log_p - middle) + np.vecdot(q, log_q - middle)) / 2
    return total


def _hellinger(it: Comparison) -> FloatArray:
    difference = np.sqrt(it.groups.window) - np.sqrt(it.groups.reference)
    total: FloatArray = np.vecdot(difference, difference) / 2
    return total


def _g(it: Comparison) -> FloatArray:
    p, q, pool = it.pooled_groups
    inner, outer = (
        np.vecdot(side, np.log(np.divide(side, pool, out=np.ones_like(pool), where=side > 0))) for side in (p, q)
    )
    total: FloatArray = inner / np.maximum(1 - it.weight, 1e-300) + outer / np.maximum(it.weight, 1e-300)
    return total


def _chi_square(it: Comparison) -> FloatArray:
    p, q, pool = it.pooled_groups
    total: FloatArray = np.divide((p - q) ** 2, pool, out=np.zeros_like(pool), where=pool > 0).sum(axis=1)
    return total


INDICES: dict[str, tuple[Callable[[Comparison], FloatArray], float]] = {
    "psi": (_psi, 1.0),
    "jensen_shannon": (_jensen_shannon, 8.0),
    "hellinger": (_hellinger, 8.0),
    "kullback_leibler": (_kullback_leibler, 2.0),
    "g_test": (_g, 2.0),
    "chi_square": (_chi_square, 1.0),
}
"""Name -> (index, factor): factor * c * index is chi-square under H0. Hellinger's index is the squared distance; the
G-test's is scaled so that 2 c index is the two-sample G."""
_UNSMOOTHED = ("g_test", "chi_square")
_LEAST_C = 1e-100
_FOLDED_SKEW = np.sqrt(2) * (4 - np.pi) / (np.pi - 2) ** 1.5
"""Skewness of a folded normal variable."""
_DEPENDENT = 1.1
"""Skewness of total variation over that of as many independent folded normals. Measured: 1.02 to 1.46 for three to 64
groups, even or with one of up to 0.97 (300,000 simulated limits each); the level at 0.1 % asks for the low end."""


class DivergenceFixed(NamedTuple):
    """95 % quantiles of chi-square for 0, 1, ... degrees of freedom: else nothing, the null law is closed-form."""

    quantile: FloatArray


@dataclass(frozen=True)
class Divergence(Windowed):
    """Catalogue entry for one of `INDICES`."""

    name: str
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, reference: Reference) -> DivergenceFixed:
        """Tabulate what does not change."""
        most = BINS + reference.grid.slots
        degrees = np.maximum(np.arange(most), 1).astype(np.float64)
        return DivergenceFixed(np.asarray(2 * special.gammaincinv(degrees / 2, 0.95), np.float64))

    def score(self, fixed: DivergenceFixed, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        it = window.comparison
        family = it.once("divergences", lambda: _judged(fixed, it))
        row = list(INDICES).index(self.name)
        result = Result(*(part[row] for part in family[: len(Result._fields)]))
        extra = {"index": family.distance[row], "null_quantile": family.null_quantile[row]}
        return state, evidence(self.name, self.name, it, result, ordered=False, extra=extra)


class _Family(NamedTuple):
    """Answers of all `INDICES`, ``(6, u)`` each: they share every step, so they are computed together."""

    statistic: FloatArray
    effect: FloatArray
    low: FloatArray
    high: FloatArray
    log_p: FloatArray
    distance: FloatArray
    null_quantile: FloatArray


def _judged(fixed: DivergenceFixed, it: Comparison) -> _Family:
    df = it.groups.df
    index = np.stack([measure(it) for measure, _ in INDICES.values()])
    scale = np.stack(
        [factor * (it.c if name in _UNSMOOTHED else it.smoothed_c) for name, (_, factor) in INDICES.items()]
    )
    scale = np.maximum(scale, 1e-300)
    statistic = scale * index
    centred = statistic - df
    spread = 2 * np.sqrt(2 * np.maximum(df, 0) + 4 * np.maximum(centred, 0))
    effect, low, high = (np.maximum(centred + shift, 0) / scale for shift in (0.0, -spread, spread))
    quantile = fixed.quantile[np.maximum(df, 0).astype(np.int64)] / scale
    return _Family(statistic, effect, low, high, tails.chi2(statistic, df), index, quantile)


@dataclass(frozen=True)
class TotalVariation(Unfitted):
    """Catalogue entry; the effect is probability mass that has moved, free of its null mean."""

    name: str = "total_variation"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def score(self, fixed: Nothing, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        del fixed
        it = window.comparison
        p, q, pool = it.pooled_groups
        distance = np.abs(p - q).sum(axis=1) / 2
        # folded normals with variance pool (1 - pool) and correlations -sqrt(odds odds'); see `_folded`
        mean, variance, skewness = _folded(pool)
        root = np.sqrt(np.maximum(it.c, _LEAST_C))
        null_mean = mean / root
        radius = null_mean + 2 * np.sqrt(variance) / root
        effect = np.sqrt(np.maximum(distance**2 - null_mean**2, 0))
        result = Result(
            distance,
            effect,
            np.maximum(distance - radius, 0),
            np.minimum(distance + radius, 1),
            _tail(root * distance, (mean, variance, skewness), it.groups.df),
        )
        return state, evidence(self.name, "total_variation", it, result, ordered=False)


def _tail(x: FloatArray, moments: tuple[FloatArray, FloatArray, FloatArray], df: FloatArray) -> FloatArray:
    """Log of the upper tail: exact for two groups (one folded normal variable), Pearson III for more."""
    mean, variance, skewness = moments
    one = tails.normal_two_sided(x * np.sqrt(2 / np.pi) / np.maximum(mean, 1e-300))
    plain = 2 * np.sqrt(variance) / np.maximum(mean, 1e-300)
    several = tails.gamma(x, mean, variance, np.where(plain > 0, skewness / np.maximum(plain, 1e-300), 1.0))
    return np.where(df == 1, one, several)


def _folded(pool: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, variance and skewness of sum |X_i| / 2 for a multinomial limit X.

    Covariances of folded normals are taken to fourth order.
    """
    odd = np.maximum(1 - pool, 1e-12)
    variances = pool * odd
    mean = np.sqrt(2 / np.pi) * np.sqrt(variances).sum(axis=1) / 2
    own = (1 - 2 / np.pi) * variances.sum(axis=1)
    second = pool * np.sqrt(pool / odd)
    fourth = second * pool / odd
    cross = (second.sum(axis=1) ** 2 - (second**2).sum(axis=1)) / 2
    cross += (fourth.sum(axis=1) ** 2 - (fourth**2).sum(axis=1)) / 24
    total = np.maximum(variances.sum(axis=1), 1e-100)  # to the power 1.5 it must not vanish
    skewness = _DEPENDENT * _FOLDED_SKEW * (variances * np.sqrt(variances)).sum(axis=1) / total**1.5
    return mean, (own + 2 / np.pi * cross) / 4, np.maximum(skewness, 1e-3)
