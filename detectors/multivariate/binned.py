"""What the binned permutation tests share: one window in, one outcome out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from detectors.multivariate.bins import Bins, bins_of, half_a
from detectors.multivariate.permutation import labels, rank_p, standardised_max
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Reason, Sample, SingleArray, View

Lines = Callable[[Bins, FloatArray], FloatArray]
"""Statistics ``(k, draws + 1)`` of bins for each column of a contrast matrix."""


def judge(view: View, sample: Sample, draws: int, rng: np.random.Generator, lines: Lines) -> Outcome:
    """Permutation test of one window by the largest standardised line (by the line itself where there is one)."""
    bins = bins_of(view, sample)
    if bins.few:
        return few(bins)
    contrast = labels(bins.window_strata, bins.reference_strata, draws, rng)
    found = lines(bins, contrast)
    best = found[0] if len(found) == 1 else standardised_max(found)
    return Outcome(float(best[0]), math.log(rank_p(best)), bins.n)


def few(bins: Bins) -> Outcome:
    """Too few bins for a test."""
    return Outcome(math.nan, math.nan, bins.n, Reason.FEW_ROWS)


def learnt(view: View) -> SingleArray:
    """Rows of half A; where there are not even two, two rows of zeros: such a reference is never tested."""
    rows = view.sample.rows[half_a(view)]
    return rows if len(rows) > 1 else np.zeros((2, rows.shape[1]), np.float32)


def shares(mine: IntArray, window: IntArray) -> FloatArray:
    """Weight ``(s,)`` of each bin of strata ``mine`` when strata weigh as in the window's bins; they sum to 1."""
    number = 1 + max(int(mine.max(initial=0)), int(window.max(initial=0)))
    share = np.bincount(window, minlength=number) / np.maximum(np.bincount(mine, minlength=number), 1)
    weight: FloatArray = share[mine]
    return weight / max(float(weight.sum()), 1e-300)
