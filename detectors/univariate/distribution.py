"""Anderson-Darling, Cramer-von Mises, Kolmogorov-Smirnov and Wasserstein on the bins of numeric columns.

Question: H0: window and reference rows come from one law; H1: they do not.
Statistic: with d the difference of the two distribution functions at the cuts, H the pooled one, h the bins' masses and
s the distances of neighbouring bins: AD = c sum d^2 / (H (1 - H)); CvM = c sum h d^2; KS = max |d|; W1 = sum s |d|.
Null law: sqrt(c) d is a Brownian bridge at the cuts. AD and CvM: sum of lambda_i chi2_1 with the eigenvalues of its
weighted covariance, tail by Pearson's three moments. KS: Kolmogorov's law, corrected for the gaps between the cuts, or
Bonferroni's sum over the cuts where that is smaller. W1: Pearson III with the exact mean and variance. Sees / blind
to: AD sees tails and scale, CvM and KS the middle, W1 distances in the column's units; weak for spikes. Cost: O(K) a
column. Source: Anderson and Darling 1952; Broadie, Glasserman and Kou 1997 (the 0.5826 of the
correction).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.compare import Baseline, Comparison
from detectors.maths import tails
from detectors.types import Evidence, FloatArray, Window
from detectors.univariate.common import Measured, Nothing, Result, evidence

_MONITORING = 0.5826
_MANY_BINS = 16
"""From here on cuts lie close together against either side of an atom, as the correction takes for granted."""
_L1_SKEW = 1.45
"""Skewness of the L1 norm of a bridge over that of the gamma law of its first two moments: 1.47 to 1.61 for uniform,
normal, exponential and lognormal columns (400,000 simulated bridges each), rounded down: the fit wants its tail."""
_FOLDED = np.array([1 / 2, 1 / 24, 1 / 80, 5 / 896, 0.0])
_FOLDED[-1] = np.pi / 2 - 1 - _FOLDED.sum()
"""sqrt(1 - r^2) + r arcsin r - 1 in powers of r^2; what lies beyond the fourth is given to the fifth."""
_RADIUS = np.sqrt(np.log(2 / 0.025) / 2)
"""Dvoretzky-Kiefer-Wolfowitz radius at 97.5 % for one sample of one row; two of them bound a difference at 95 %."""


class QuadraticFixed(NamedTuple):
    """Cumulant sums ``(p, 3)`` of the null law."""

    cumulants: FloatArray


class SupremumFixed(NamedTuple):
    """What the bridge does at the cuts.

    ``deviation (p, K-1)`` is its own, ``correction (p,)`` is for unseen points, ``correction_beside (p,)`` the same on
    either side of the heaviest bin (0 where there are few bins), and ``beside (p, 2)`` the shares of these sides.
    """

    deviation: FloatArray
    correction: FloatArray
    correction_beside: FloatArray
    beside: FloatArray


class WassersteinFixed(NamedTuple):
    """Distances of the bins in scale units ``(p, K-1)``; mean and variance of the statistic ``(p,)`` at c = 1."""

    steps: FloatArray
    mean: FloatArray
    variance: FloatArray


@dataclass(frozen=True)
class AndersonDarling(Measured[QuadraticFixed]):
    """Catalogue entry."""

    name: str = "anderson_darling"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def measure(self, base: Baseline) -> QuadraticFixed:
        """Eigenvalue sums of the correlation matrix of the bridge."""
        cumulative = base.cumulative
        spread = np.sqrt(cumulative * (1 - cumulative))
        return QuadraticFixed(_cumulants(cumulative, np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)))

    def score(self, fixed: QuadraticFixed, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        it = window.comparison
        fixed = self.at(fixed, it)
        spread = it.pooled * (1 - it.pooled)
        weighted = np.divide(it.difference**2, spread, out=np.zeros_like(spread), where=spread > 1e-12)
        c = it.c[: len(spread)]
        statistic = c * weighted.sum(axis=1)
        # effect: root mean square of the difference in standard deviations of one row, free of its null mean
        points = np.maximum((spread > 1e-12).sum(axis=1), 1)
        c = np.maximum(c, 1e-300)
        effect = np.sqrt(np.maximum(statistic - fixed.cumulants[:, 0], 0) / c / points)
        spread_of = 2 * np.sqrt(2 * fixed.cumulants[:, 1] + 4 * np.maximum(statistic - fixed.cumulants[:, 0], 0))
        low = np.sqrt(np.maximum(statistic - fixed.cumulants[:, 0] - spread_of, 0) / c / points)
        high = np.sqrt(np.maximum(statistic - fixed.cumulants[:, 0] + spread_of, 0) / c / points)
        result = Result(statistic, effect, low, high, tails.quadratic_form(statistic, fixed.cumulants))
        return state, evidence(self.name, "standardised_distance", it, result, ordered=True)


@dataclass(frozen=True)
class CramerVonMises(Measured[QuadraticFixed]):
    """Catalogue entry."""

    name: str = "cramer_von_mises"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def measure(self, base: Baseline) -> QuadraticFixed:
        """Eigenvalue sums of the mass-weighted covariance of the bridge."""
        return QuadraticFixed(_cumulants(base.cumulative, np.sqrt(base.shares[:, :-1])))

    def score(self, fixed: QuadraticFixed, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        it = window.comparison
        fixed = self.at(fixed, it)
        raw = (it.baseline.shares[:, :-1] * it.difference**2).sum(axis=1)
        c = np.maximum(it.c[: len(raw)], 1e-300)
        statistic = c * raw
        mean, spread_of = fixed.cumulants[:, 0], 2 * np.sqrt(2 * fixed.cumulants[:, 1] + 4 * statistic / 6)
        bounds = [np.sqrt(np.maximum(statistic - mean + shift, 0) / c) for shift in (0.0, -spread_of, spread_of)]
        result = Result(statistic, bounds[0], bounds[1], bounds[2], tails.quadratic_form(statistic, fixed.cumulants))
        return state, evidence(self.name, "root_mean_square_difference", it, result, ordered=True)


@dataclass(frozen=True)
class KolmogorovSmirnov(Measured[SupremumFixed]):
    """Catalogue entry."""

    name: str = "kolmogorov_smirnov"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def measure(self, base: Baseline) -> SupremumFixed:
        """Spread of the bridge at the cuts, and how far apart they typically are."""
        fine = _quartile(base.shares)
        spread = np.sqrt(base.cumulative * (1 - base.cumulative))
        heaviest = base.shares.argmax(axis=1)[:, None]
        upto = np.take_along_axis(np.cumsum(base.shares, axis=1), heaviest, axis=1)
        beside = np.clip(np.hstack([upto - np.take_along_axis(base.shares, heaviest, axis=1), 1 - upto]), 0, 1)
        unseen = _MONITORING * np.sqrt(fine)
        return SupremumFixed(spread, unseen, np.where((base.bins > 0).sum(axis=1) < _MANY_BINS, 0.0, unseen), beside)

    def score(self, fixed: SupremumFixed, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        it = window.comparison
        fixed = self.at(fixed, it)
        distance = np.abs(it.difference).max(axis=1, initial=0.0)
        p = len(distance)
        x = np.sqrt(it.c[:p]) * distance
        whole, sides = tails.kolmogorov(x + fixed.correction), _sides(x + fixed.correction_beside, fixed.beside)
        log_p = np.minimum(np.minimum(whole, sides), _bonferroni(x, fixed.deviation))
        radius = ks_radius(it)[:p]
        result = Result(distance, distance, np.maximum(distance - radius, 0), np.minimum(distance + radius, 1), log_p)
        return state, evidence(self.name, "ks_distance", it, result, ordered=True)


@dataclass(frozen=True)
class Wasserstein(Measured[WassersteinFixed]):
    """Catalogue entry; the effect is in the column's own units."""

    name: str = "wasserstein"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def measure(self, base: Baseline) -> WassersteinFixed:
        """Mean and variance of the weighted L1 norm of the bridge."""
        steps = base.steps / base.reference.grid.scale[:, None]  # squares of values near 1e300 would overflow
        f = base.cumulative
        weight = np.sqrt(f * (1 - f)) * steps
        odds = np.divide(f, 1 - f, out=np.ones_like(f), where=weight > 0)
        # the covariance of two folded normals is 2 / pi times a series in the square of their correlation, which is the
        # ratio of the odds of two cuts
        variance = _FOLDED.sum() * (weight**2).sum(axis=1)
        ratio = np.ones_like(odds)
        for coefficient in _FOLDED:
            ratio = ratio * odds
            variance += 2 * coefficient * (weight / ratio * _before(weight * ratio)).sum(axis=1)
        return WassersteinFixed(steps, np.sqrt(2 / np.pi) * weight.sum(axis=1), 2 / np.pi * variance)

    def score(self, fixed: WassersteinFixed, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        it = window.comparison
        fixed = self.at(fixed, it)
        distance = np.vecdot(np.abs(it.difference), fixed.steps)
        p, scale = len(distance), it.reference.grid.scale
        root = np.sqrt(it.c[:p])
        log_p = tails.gamma(root * distance, fixed.mean, fixed.variance, _L1_SKEW)
        # a metric: the estimate is off by at most the two samples' own distances from their laws
        own = fixed.mean + 2 * np.sqrt(fixed.variance)
        radius = own * (1 / np.sqrt(np.maximum(it.n[:p], 1)) + 1 / np.sqrt(np.maximum(it.m[:p], 1)))
        bounds = [scale * value for value in (distance, np.maximum(distance - radius, 0), distance + radius)]
        result = Result(bounds[0], bounds[0], bounds[1], bounds[2], log_p)
        return state, evidence(self.name, "wasserstein_distance", it, result, ordered=True)


def ks_radius(it: Comparison) -> FloatArray:
    """95 % radius of a KS distance between two samples, ``(u,)``: the sum of two DKW radii."""
    radius: FloatArray = _RADIUS * (1 / np.sqrt(np.maximum(it.n, 1)) + 1 / np.sqrt(np.maximum(it.m, 1)))
    return radius


def _bonferroni(x: FloatArray, deviation: FloatArray) -> FloatArray:
    scaled = np.divide(x[:, None], deviation, out=np.full_like(deviation, np.inf), where=deviation > 0)
    log_p: FloatArray = np.minimum(np.log(np.maximum(2 * special.ndtr(-scaled).sum(axis=1), 1e-300)), 0.0)
    return log_p


def _sides(x: FloatArray, beside: FloatArray) -> FloatArray:
    """Bonferroni over the cuts below and those above a heavy bin, between which the bridge is not looked at.

    P(max of B over [0, a] > x) = Phi(-x / s) + exp(-2 x^2) Phi((2 a - 1) x / s) with s^2 = a (1 - a).
    """
    spread = np.sqrt(beside * (1 - beside))
    ratio = np.divide(x[:, None], spread, out=np.full_like(spread, np.inf), where=spread > 0)
    one = special.ndtr(-ratio) + np.exp(-2 * x[:, None] ** 2) * special.ndtr((2 * beside - 1) * ratio)
    log_p: FloatArray = np.minimum(np.log(np.maximum(2 * one.sum(axis=1), 1e-300)), 0.0)
    return log_p


def _quartile(share: FloatArray) -> FloatArray:
    """Lower quartile of each row's positive shares, 0 where there are none."""
    if not share.size:
        return np.zeros(len(share))
    number = (share > 0).sum(axis=1)
    ordered = np.sort(np.where(share > 0, share, 2.0), axis=1)
    place = np.maximum(number - 1, 0) / 4
    below = place.astype(np.int64)
    rows = np.arange(len(share))
    low, high = ordered[rows, below], ordered[rows, np.minimum(below + 1, share.shape[1] - 1)]
    return np.where(number > 0, np.where(place > below, low + (place - below) * (high - low), low), 0.0)


def _before(values: FloatArray) -> FloatArray:
    """Sum of what stands before each column, ``(p, k)``."""
    return np.cumsum(values, axis=1) - values


def _cumulants(cumulative: FloatArray, weight: FloatArray) -> FloatArray:
    """Traces of the first three powers of the weighted covariance of the bridge, ``(p, 3)``.

    For cuts i <= j <= k the product of the three covariances is (w_i F_i)^2 (w_j^2 F_j (1 - F_j)) (w_k (1 - F_k))^2, so
    that sums over pairs and triples are sums of running sums.
    """
    below, above = (weight * cumulative) ** 2, (weight * (1 - cumulative)) ** 2
    middle = weight**2 * cumulative * (1 - cumulative)
    left, right = _before(below), _before(above[:, ::-1])[:, ::-1]
    first = middle.sum(axis=1)
    second = (below * above + 2 * left * above).sum(axis=1)
    third = 6 * left * middle * right + 3 * middle * (below * right + left * above) + below * middle * above
    return np.stack([first, second, third.sum(axis=1)], axis=1)
