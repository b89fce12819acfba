"""Permutations of bins: one label matrix serves every joint statistic of a window.

Rows lie in bins of equal size, contiguous in time; bins are exchanged between window and reference, within a stratum
where there are strata. Column 0 of the label matrix is what was observed. All statistics of a test are computed for
all columns at once, so that p-values of several statistics and of their combinations are exact: the observed column is
one of ``draws + 1`` exchangeable ones.

Source: Domingo-Enrich, Dwivedi and Mackey 2025 (binned permutations); Hemerik and Goeman 2018 (the observed column
counts); Biggs, Schrab and Gretton 2023 (combinations over the same permutations).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray


def labels(
    window: IntArray, reference: IntArray, draws: int, rng: np.random.Generator, *, weight: FloatArray | None = None
) -> FloatArray:
    """Contrasts ``(s, draws + 1)`` of bin means: window bins first, observed labels in column 0.

    ``window (s_w,)`` and ``reference (s_r,)`` are the strata of the bins (all 0 without strata). Within stratum c a
    window bin weighs w_c / s_wc and a reference bin -w_c / s_rc; ``weight`` are the w_c, by default the window's own
    shares. Strata without bins on both sides weigh nothing.
    """
    both = np.concatenate([window, reference])
    number = int(both.max(initial=0)) + 1
    if weight is None:
        weight = np.bincount(window, minlength=number) / max(len(window), 1)
    out = np.zeros((len(both), draws + 1))
    for c in np.unique(both):
        mine = np.flatnonzero(both == c)
        inside = int((window == c).sum())
        if inside == 0 or inside == len(mine):
            continue
        plus, minus = weight[c] / inside, -weight[c] / (len(mine) - inside)
        order = rng.random((draws, len(mine))).argsort(axis=1)
        out[mine, 1:] = np.where(order < inside, plus, minus).T
        out[mine, 0] = np.where(np.arange(len(mine)) < inside, plus, minus)
    return out


def quadratic(gram: NDArray[np.floating], contrast: FloatArray) -> FloatArray:
    """Squared length ``(draws + 1,)`` of every contrast, from the Gram matrix ``(s, s)`` of bin means."""
    value: FloatArray = np.einsum("sb,sb->b", contrast, gram @ contrast)
    return value


def rank_p(statistic: FloatArray) -> float:
    """p-value of column 0: the share of columns at least as large. ``statistic`` is ``(draws + 1,)``."""
    slack = 1e-12 * max(float(np.abs(statistic).max(initial=0.0)), 1e-300)
    return float((statistic >= statistic[0] - slack).mean())


def standardised_max(statistics: FloatArray) -> FloatArray:
    """Largest standardised statistic of each column: ``(k, draws + 1)`` to ``(draws + 1,)``.

    Mean and deviation are over all columns, the observed one included: that keeps the columns exchangeable.
    """
    middle = statistics.mean(axis=1, keepdims=True)
    spread = statistics.std(axis=1, keepdims=True)
    best: FloatArray = np.divide(
        statistics - middle, spread, out=np.zeros_like(statistics), where=spread > 1e-14 * np.abs(middle)
    ).max(axis=0)
    return best


def column_p(statistics: FloatArray) -> FloatArray:
    """Each column's p-value among all columns, per statistic: ``(k, draws + 1)`` to the same shape; ties count."""
    ordered = np.sort(statistics, axis=1)
    width = statistics.shape[1]
    p = [
        (width - np.searchsorted(line, values, side="left")) / width
        for line, values in zip(ordered, statistics, strict=True)
    ]
    return np.stack(p)


def min_p(statistics: FloatArray) -> tuple[float, FloatArray]:
    """Min-p combination: the p-value of the smallest p, and each statistic's own p ``(k,)``, from the same columns."""
    p = column_p(statistics)
    return rank_p(-p.min(axis=0)), p[:, 0]
