"""Mean change and scale change of numeric columns.

Question: H0: window and reference rows come from one law; H1: its location (its scale) differs.
Statistic: difference of the mean normal scores (van der Waerden) or squared normal scores (Klotz) of the bins, in
standard errors. Scores are bounded, so levels hold for any law, heavy tails included.
Null law: standard normal.
Effect: difference of means in the column's units; ratio of standard deviations. Both from moments clipped at eight
reference scale units, with Welch's and the delta method's 95 % intervals.
Sees / blind to: location and scale, efficiently (as Student's t under a normal law); blind to changes that leave both.
Cost: O(K) a column. Source: van der Waerden 1952; Klotz 1962.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.compare import Baseline, Comparison
from detectors.maths import tails
from detectors.types import Evidence, FloatArray, Summary, Window
from detectors.univariate.common import Measured, Nothing, Result, evidence

_SPREAD_FLOOR = 1e-12


class ScoreFixed(NamedTuple):
    """Scores of the bins ``(p, K)``; clipped mean, variance and kurtosis of the reference in scale units ``(p,)``."""

    scores: FloatArray
    mean: FloatArray
    variance: FloatArray
    kurtosis: FloatArray


@dataclass(frozen=True)
class Location(Measured[ScoreFixed]):
    """Catalogue entry."""

    name: str = "mean_change"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def measure(self, base: Baseline) -> ScoreFixed:
        """Normal scores of the reference's bins."""
        return ScoreFixed(base.scores, *_moments(base.reference.summary), _kurtosis(base))

    def score(self, fixed: ScoreFixed, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        it = window.comparison
        fixed = self.at(fixed, it)
        z = _score_difference(fixed.scores, it)
        mean, variance = _moments(it.summary)
        p, scale = len(z), it.reference.grid.scale
        error = 1.96 * np.sqrt(variance / np.maximum(it.n[:p], 1) + fixed.variance / np.maximum(it.m[:p], 1))
        effect = (mean - fixed.mean) * scale
        result = Result(z, effect, effect - error * scale, effect + error * scale, tails.normal_two_sided(z))
        return state, evidence(self.name, "mean_difference", it, result, ordered=True)


@dataclass(frozen=True)
class Scale(Measured[ScoreFixed]):
    """Catalogue entry."""

    name: str = "scale_change"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def measure(self, base: Baseline) -> ScoreFixed:
        """Squared normal scores of the reference's bins."""
        return ScoreFixed(base.scores**2, *_moments(base.reference.summary), _kurtosis(base))

    def score(self, fixed: ScoreFixed, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        it = window.comparison
        fixed = self.at(fixed, it)
        z = _score_difference(fixed.scores, it)
        _, variance = _moments(it.summary)
        p = len(z)
        ratio = np.sqrt(np.maximum(variance, _SPREAD_FLOOR) / np.maximum(fixed.variance, _SPREAD_FLOOR))
        error = 0.98 * np.sqrt(np.maximum(fixed.kurtosis - 1, 0.1) / np.maximum(it.c[:p], 1e-300))
        error = np.minimum(error, 50)
        result = Result(z, ratio, ratio * np.exp(-error), ratio * np.exp(error), tails.normal_two_sided(z))
        return state, evidence(self.name, "standard_deviation_ratio", it, result, ordered=True)


def _score_difference(scores: FloatArray, it: Comparison) -> FloatArray:
    """Mean score of the window minus that of the reference, in standard errors."""
    p = len(scores)
    window, reference = it.shares, it.baseline.shares
    pool = reference + it.weight[:p, None] * (window - reference)
    mean = np.vecdot(pool, scores)
    variance = np.vecdot(pool, scores**2) - mean**2
    z: FloatArray = np.vecdot(window - reference, scores) * np.sqrt(it.c[:p] / np.maximum(variance, _SPREAD_FLOOR))
    return z


def _moments(summary: Summary) -> tuple[FloatArray, FloatArray]:
    finite = np.maximum(summary.numeric.sum(axis=1), 1)
    mean = summary.sums[:, 0] / finite
    return mean, np.maximum(summary.sums[:, 1] / finite - mean**2, 0)


def _kurtosis(base: Baseline) -> FloatArray:
    """Fourth standardised moment of the reference, from its bins' mean values clipped like the moments."""
    grid = base.reference.grid
    z = np.clip(np.nan_to_num((grid.centres - grid.centre[:, None]) / grid.scale[:, None]), -8, 8)
    centred = z - (base.shares * z).sum(axis=1, keepdims=True)
    variance = np.maximum((base.shares * centred**2).sum(axis=1), _SPREAD_FLOOR)
    kurtosis: FloatArray = (base.shares * centred**4).sum(axis=1) / variance**2
    return kurtosis
