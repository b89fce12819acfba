"""What each column's own shift does to a figure: whether what has moved matters.

Question: if this column had moved as it has, and all else had followed it as it always did, by how much would the mean
of a row's worth (right or wrong, size of its error) have changed?
Statistic: sum over the column's bins of the change of their share times the reference's mean worth there, which is
drawn towards the whole mean as far as bins differ no more than chance makes them (empirical Bayes).
Error: of these means, and of the shares now, whose rows count for 1 / tau.
Sees / blind to: the effect of one column at a time, by itself. Columns that move together each show their common
effect; one that matters only together with others shows less than it does; what labels follow from in a new way is not
seen. Rows now in bins that the reference does not have (``outside``) have no effect that anybody knows.
Cost: 1 ms a column for 16,384 rows of either side.
Source: Shimodaira 2000, with the density ratio of one column's bins; Efron and Morris 1973 (means drawn together),
DerSimonian and Laird 1986 (how much they differ).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.performance.trees import BINS, Codes
from detectors.types import FloatArray, IntArray


class Effects(NamedTuple):
    """By column ``(u,)``: effect on the mean worth, its standard error, total variation moved, share ``outside``.

    ``outside`` are rows now in bins without reference rows; NaN for columns of which there are no bins.
    """

    effect: FloatArray
    error: FloatArray
    moved: FloatArray
    outside: FloatArray


def effects(old: Codes, worth: FloatArray, now: Codes, column: IntArray, columns: int, tau: float = 1.0) -> Effects:
    """Of ``columns``: bins of reference rows ``(m, f)`` with their ``worth (m,)``, of rows now ``(n, f)``.

    ``column (f,)`` is each feature's, -1 for none; features of one column exclude each other (0: none of its bins).
    """
    out = np.full((4, columns), np.nan)
    if len(old) and len(now):
        for one in np.unique(column[column >= 0]):
            mine = np.flatnonzero(column == one)
            out[:, one] = _effect(_joined(old, mine), worth, _joined(now, mine), tau)
    return Effects(*out)


def _joined(codes: Codes, features: IntArray) -> IntArray:
    """One bin a row ``(n,)`` from the features of one column."""
    if len(features) == 1:
        return codes[:, features[0]].astype(np.int64)
    some = codes[:, features].astype(np.int64)
    joined: IntArray = np.where(some > 0, some + BINS * np.arange(len(features)), 0).sum(axis=1)
    return joined


def _effect(old: IntArray, worth: FloatArray, now: IntArray, tau: float) -> tuple[float, float, float, float]:
    bins = int(max(old.max(), now.max())) + 1
    m, n, whole = len(old), len(now), float(worth.mean())
    rows, seen = np.bincount(old, minlength=bins), np.bincount(now, minlength=bins)
    before, after = rows / m, seen / n
    summed: FloatArray = np.bincount(old, worth, minlength=bins).astype(np.float64)
    mean, variance = _shrunk(summed, rows, float(worth.var()), whole)
    spread = float(after @ np.square(mean - float(after @ mean)))
    error = np.sqrt(float(np.square(after - before) @ variance) + spread * max(tau, 1.0) / n)
    moved = float(np.abs(after - before).sum() / 2)
    return float((after - before) @ mean), float(error), moved, float(after[rows == 0].sum())


def _shrunk(worth: FloatArray, rows: IntArray, variance: float, whole: float) -> tuple[FloatArray, FloatArray]:
    """Mean worth of each bin, drawn towards the whole mean as far as bins hardly differ, and its variance.

    How much bins differ is taken for as large as it may be (95 %); bins without rows have the whole mean.
    """
    full = rows > 0
    mean, count = np.where(full, worth / np.maximum(rows, 1), whole), rows[full].astype(np.float64)
    freedom = len(count) - 1
    if freedom < 1 or not variance > 0:
        return mean, np.zeros(len(rows))
    apart = float(count @ np.square(mean[full] - whole)) / variance
    times = apart / (2 * float(special.gammaincinv(freedom / 2, 0.05)))
    between = max(times - 1, 0.0) * freedom * variance / (count.sum() - np.square(count).sum() / count.sum())
    own = variance / np.maximum(rows, 1)
    kept = np.where(full, between / (between + own), 0.0)
    return whole + kept * (mean - whole), kept * own
