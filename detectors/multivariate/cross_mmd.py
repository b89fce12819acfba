"""Cross-MMD: a two-sample test by kernels whose p-value needs no permutations.

Question: H0: the window's bins have the same mean as the reference's along a direction learnt from other bins.
Statistic: every second window bin and reference half A make the witness function f(z) = mean k(z, window) - mean
k(z, reference), with a Gaussian kernel at the median distance; the other window bins and half B are tested on f:
difference of its means over its standard error, one-sided.
Null law: Student's t with Welch's degrees of freedom over bins (N(0, 1) for many): asymptotic in the number of bins.
Sees / blind to: as an MMD with one bandwidth, at about sqrt(2) times less than its effect size: half of the window
only learns. It has its place where the p-value must be far smaller than permutations can make it.
Cost: rows times witness rows kernel values, both bounded; no permutations.
Source: Shekhar, Kim and Ramdas 2022 (a permutation-free kernel two-sample test, equations 4 to 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.multivariate import kernels
from detectors.multivariate.bins import Bins, bins_of, half_a
from detectors.multivariate.permutation import labels
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Reason, Sample, View

LEARNT_ROWS = 500
"""Rows of each side at most that make the witness function."""
TESTED_ROWS = 5000
"""Reference rows at most on which it is tested, and window rows."""


CONSTANT = 1e-6
"""Witness values of reference bins that differ by less are those of constant rows: rounding of float32."""


class CrossFixed(NamedTuple):
    """The bandwidth ``()`` and the witness rows of half A (places in ``view.sample``)."""

    bandwidth: FloatArray
    learnt: IntArray


def along(rows: kernels.Rows, points: kernels.Rows, weight: FloatArray, bandwidth: float) -> FloatArray:
    """``sum_i weight_i k(row, point_i)`` for every row, ``(n,)``."""
    centre = points.mean(axis=0)
    right = kernels.extended(points, centre)[1].T
    out = np.empty(len(rows))
    for part in kernels.panels(len(rows), len(points)):
        exponent = kernels.extended(rows[part], centre)[0] @ right
        out[part] = kernels.gaussian(exponent, bandwidth, exponent) @ weight
    return out


def studentised(window: FloatArray, reference: FloatArray, bins: Bins) -> tuple[float, float]:
    """Difference of bin means ``(s_w,)`` and ``(s_r,)`` over its standard error, and its degrees of freedom."""
    contrast = labels(bins.window_strata, bins.reference_strata, 0, np.random.default_rng(0))[:, 0]
    error, spread = [], []
    for values, strata, weight in (
        (window, bins.window_strata, contrast[: len(window)]),
        (reference, bins.reference_strata, contrast[len(window) :]),
    ):
        _, member, count = np.unique(strata, return_inverse=True, return_counts=True)
        middle = np.bincount(member, values) / count
        free = max(len(values) - len(count), 1)
        variance = float(np.square(values - middle[member]).sum() / free) * float(np.square(weight).sum())
        error.append(variance)
        spread.append(variance**2 / free)
    total = sum(error)
    moved = float(contrast @ np.concatenate([window, reference]))
    return (moved / np.sqrt(total), total**2 / sum(spread)) if total > 0 else (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class CrossMMD:
    """Catalogue entry."""

    name: str = "cross_mmd"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> CrossFixed:
        """Choose the bandwidth and the witness rows on half A."""
        mine = half_a(view)
        if len(mine) < 2:
            return CrossFixed(np.array(1.0), mine[:0])
        learnt = np.sort(rng.choice(mine, min(LEARNT_ROWS, len(mine)), replace=False))
        bandwidth = kernels.median_heuristic(kernels.pairs(view.sample.rows[mine], rng))
        return CrossFixed(np.array(bandwidth), learnt)

    def score(self, fixed: CrossFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window: learn on every second bin, test on the others."""
        bins = bins_of(view, sample, wanted=40)
        tested = _every_second(bins)
        if tested.few or not len(fixed.learnt):
            return Outcome(np.nan, np.nan, bins.n, Reason.FEW_ROWS)
        learning = bins.window_rows[1::2].reshape(-1)
        learning = learning[np.sort(rng.permutation(len(learning))[:LEARNT_ROWS])]
        points = np.concatenate([sample.rows[learning], view.sample.rows[fixed.learnt]])
        weight = labels(sample.strata[learning].astype(np.int64), _codes(view, fixed.learnt), 0, rng)[:, 0]
        means = [
            along(rows[chosen.reshape(-1)], points, weight, float(fixed.bandwidth)).reshape(chosen.shape).mean(axis=1)
            for rows, chosen in ((sample.rows, tested.window_rows), (view.sample.rows, tested.reference_rows))
        ]
        if np.ptp(means[1]) < CONSTANT:
            return Outcome(np.nan, np.nan, bins.n, Reason.CONSTANT_REFERENCE)
        statistic, free = studentised(means[0], means[1], tested)
        return Outcome(statistic, _log_upper(statistic, free), bins.n, extra={"degrees_of_freedom": free})


def _codes(view: View, places: IntArray) -> IntArray:
    return view.sample.strata[places].astype(np.int64)


def _every_second(bins: Bins) -> Bins:
    """The bins that are tested: every second window bin and the reference's, on a bounded number of rows a side."""
    most = max(TESTED_ROWS // max(bins.window_rows.shape[1], 1), 8)
    inside, outside = np.arange(0, len(bins.window_rows), 2), np.arange(len(bins.reference_rows))
    inside = inside[:: max(1, -(-len(inside) // most))]
    outside = outside[:: max(1, -(-len(outside) // most))]
    return Bins(
        bins.window_rows[inside],
        bins.reference_rows[outside],
        bins.window_strata[inside],
        bins.reference_strata[outside],
        bins.merged[outside],
    )


def _log_upper(t: float, free: float) -> float:
    """Log of the upper tail of Student's t; by the normal's where the t's is too small for a float."""
    tail = float(special.stdtr(free, -t))
    return float(np.log(tail)) if tail > 0 else float(special.log_ndtr(-t))


def two_sample(x: kernels.Rows, y: kernels.Rows, rng: np.random.Generator) -> Outcome:
    """``x (n, d)`` against ``y (m, d)``, rows independent: even rows are tested along what odd rows tell."""
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    points = np.concatenate([x[1::2], y[1::2]])
    bandwidth = kernels.median_heuristic(kernels.pairs(np.concatenate([x, y]), rng))
    weight = np.repeat([2 / (len(x) - len(x) % 2), -2 / (len(y) - len(y) % 2)], [len(x) // 2, len(y) // 2])
    values = [along(side[::2], points, weight, bandwidth) for side in (x, y)]
    rows = [np.arange(len(side))[:, None] for side in values]
    zeros = [np.zeros(len(side), np.int64) for side in values]
    statistic, free = studentised(values[0], values[1], Bins(rows[0], rows[1], zeros[0], zeros[1], rows[1]))
    return Outcome(statistic, _log_upper(statistic, free), len(x), extra={"degrees_of_freedom": free})
