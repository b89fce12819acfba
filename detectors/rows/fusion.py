"""Ranks of scores among held-out reference rows, and one test of a row from all its scores (H3).

Question: is a row's vector of scores unlike that of reference rows?
Statistic: a score becomes a normal score, u = ndtri of its mid-rank among calibration rows of its group (its
predicted class if every class has 200 of them, else all); T2 = u' S^-1 u with the covariance S of u there (ridge 0.02).
Calibration: conformal: T2's rank among further rows that took part in neither ranks nor S, so that the p-value of a new
reference row is exact; it is never below 1 / (rows + 1). A score's own p-value is exact in the same way.
Sees / blind to: broken relations between scores ("sure, but far off"); blind to rows whose scores are all ordinary.
Cost: two binary searches a score, s^2 multiplications. Memory: (groups + 1) x scores x rows counts.
Source: Vovk, Gammerman and Shafer 2005 (conformal, Mondrian taxonomies); Hotelling 1931; failures.md 3.0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import ndtri

from detectors.rows.spaces import Axes, projected
from detectors.types import CodeArray, FloatArray, IntArray

LEAST_IN_GROUP = 200
"""Calibration rows of every class from which on classes have ranks of their own."""
RIDGE = 0.02


class Ranks(NamedTuple):
    """Calibration scores: ``values (s, m)``, ascending, NaN last; ``groups (c,)`` takes a class to its group.

    ``counts (g, s, m + 1)``: how many of the first i values are of group g; group 0 is all rows.
    """

    values: FloatArray
    groups: CodeArray
    counts: NDArray[np.int32]


class Law(NamedTuple):
    """One T2: the map ``(s, d)`` under which d normal scores have covariance one, and T2 of further rows ``(k,)``."""

    whitening: Axes
    t2: FloatArray


class Ranked(NamedTuple):
    """Normal scores, upper and lower conformal p-values, ``(n, s)`` each; a missing score is in the middle."""

    u: FloatArray
    upper: FloatArray
    lower: FloatArray


def ranks(scores: FloatArray, classes: CodeArray) -> Ranks:
    """Measure on the scores ``(m, s)`` of held-out rows answered with ``classes (m,)``, -1 for unknown."""
    order = np.argsort(scores, axis=0, kind="stable").T
    values = np.take_along_axis(scores.T, order, axis=1)
    size = np.bincount(classes[classes >= 0])
    seen = np.flatnonzero(size)
    groups = np.zeros(len(size), np.int32)
    if len(seen) > 1 and size[seen].min() >= LEAST_IN_GROUP:
        groups[seen] = np.arange(1, len(seen) + 1)
    mine = np.where(classes >= 0, groups[np.maximum(classes, 0)] if len(groups) else 0, 0)
    counts = np.zeros((1 + int(groups.max(initial=0)), *values.shape), np.int32)
    present = ~np.isnan(values)
    for g in range(len(counts)):  # once per fit
        counts[g] = np.cumsum(present & ((mine[order] == g) | (g == 0)), axis=1)
    return Ranks(values, groups, np.concatenate([np.zeros((*counts.shape[:2], 1), np.int32), counts], axis=2))


def law(first: FloatArray, second: FloatArray, columns: IntArray) -> Law:
    """T2 over some columns of normal scores ``(n, s)``: covariance from the first rows, null law from the second."""
    u = first[:, columns]
    covariance = u.T @ u / max(len(u), 1) + RIDGE * np.eye(len(columns))
    axes = np.zeros((first.shape[1], len(columns)), np.float32)
    if len(columns):
        axes[columns] = solve_triangular(np.linalg.cholesky(covariance), np.eye(len(columns)), lower=True).T
    fixed = Law(Axes(np.zeros(len(axes), np.float32), axes), np.zeros(0))
    return fixed._replace(t2=np.sort(distances(fixed, second)))


def ranked(known: Ranks, scores: FloatArray, classes: CodeArray) -> Ranked:
    """Ranks of scores ``(n, s)`` of rows answered with ``classes (n,)``; +-inf are beyond all others."""
    inside = (classes >= 0) & (classes < len(known.groups))
    group = np.where(inside, known.groups[np.where(inside, classes, 0)], 0) if len(known.groups) else 0 * classes
    out = Ranked(*(np.empty(scores.shape) for _ in Ranked._fields))
    for j, values in enumerate(known.values):
        below = known.counts[group, j, np.searchsorted(values, scores[:, j], side="left")]
        up_to = known.counts[group, j, np.searchsorted(values, scores[:, j], side="right")]
        size = known.counts[group, j, -1]
        out.u[:, j] = ndtri(((below + up_to) / 2 + 0.5) / (size + 1))
        out.upper[:, j] = (1 + size - below) / (size + 1)
        out.lower[:, j] = (1 + up_to) / (size + 1)
    missing = np.isnan(scores)
    out.u[missing], out.upper[missing], out.lower[missing] = 0, 1, 1
    return out


def distances(fixed: Law, u: FloatArray) -> FloatArray:
    """T2 ``(n,)`` of normal scores ``(n, s)``."""
    white = projected(fixed.whitening, u.astype(np.float32))
    out: FloatArray = np.square(white, dtype=np.float64).sum(axis=1)
    return out


def log_p(fixed: Law, t2: FloatArray) -> FloatArray:
    """Conformal log p ``(n,)`` of T2."""
    above = len(fixed.t2) - np.searchsorted(fixed.t2, t2, side="left")
    out: FloatArray = np.log((1 + above) / (len(fixed.t2) + 1))
    return out
