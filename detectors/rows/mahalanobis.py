"""How far each row's embedding lies from the reference's classes (H2a, H2b).

Question: is a row's embedding where the embeddings of some class are?
Statistic: squared Mahalanobis distance to the nearest class mean with the classes' common covariance, the same to the
mean of the predicted class, and the nearest one less the distance to the mean of all (relative: what is unusual in
every way at once counts less). Covariances get a ridge of a thousandth of their mean eigenvalue.
Calibration: ranks among held-out reference rows (`detectors.rows.fusion`).
Sees / blind to: inputs unlike any class, broken correlations of the embedding; blind to attacks that end well inside
another class, as strong ones do.
Cost: two d x d and one d x C product a row, d at most 512. Memory: 2 d^2 + C d numbers.
Source: Lee, Lee, Lee and Shin 2018 (equation 2, last layer only); Ren, Fort, Liu et al. 2021 (relative); H2a, H2b.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from detectors.rows.spaces import Axes, axes_of, projected
from detectors.types import CodeArray, FloatArray, SingleArray

NAMES = ("mahalanobis", "mahalanobis_predicted", "relative_mahalanobis")
RIDGE = 1e-3
FAR = 1e4
"""Rows are clipped to this many spreads of the reference, so that no square overflows."""
MOST_AXES = 512
"""Principal axes of a longer embedding that are looked at."""
_LEAST = 2
"""Rows of a class with a mean of its own, at least."""


class MahalanobisFixed(NamedTuple):
    """Whitening maps of the classes' common covariance and of the whole, and the whitened class means ``(C, d)``.

    ``scale ()`` is the spread of a dimension, 0 without an embedding. Means of classes never seen are NaN. Long
    embeddings are first put on their ``strong`` axes (empty: they are not).
    """

    centre: SingleArray
    scale: SingleArray
    strong: Axes
    within: Axes
    whole: Axes
    means: SingleArray


def fit(rows: SingleArray, classes: CodeArray, rng: np.random.Generator) -> MahalanobisFixed:
    """Measure on rows ``(n, d)`` of classes ``(n,)``, -1 for unknown; rows that are not finite are left out."""
    finite = np.isfinite(rows).all(axis=1)
    rows, classes = rows[finite], classes[finite]
    centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32) if len(rows) else np.zeros(rows.shape[1], "f4")
    scale = float(np.abs(rows - centre).mean(dtype=np.float64)) if rows.size else 0.0
    if not 0 < scale < np.inf:
        none = Axes(np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
        return MahalanobisFixed(centre, np.array(0, np.float32), none, none, none, np.zeros((0, 0), np.float32))
    z = scaled(rows, centre, scale)
    strong = Axes(np.zeros(0, np.float32), np.zeros((0, 0), np.float32))
    if z.shape[1] > MOST_AXES:
        strong = axes_of(z, MOST_AXES, rng)
        z = projected(strong, z)
    means = _means(z, classes)
    known = (classes >= 0) & (classes < len(means))
    inner = z[known] - means[classes[known]] if len(means) else z
    inner = inner[np.isfinite(inner).all(axis=1)]
    within = _whitening(inner if len(inner) else z)
    return MahalanobisFixed(
        centre, np.array(scale, np.float32), strong, within, _whitening(z), (means @ within.axes).astype(np.float32)
    )


def measures(fixed: MahalanobisFixed, rows: SingleArray, predicted: CodeArray) -> FloatArray:
    """Scores ``(n, 3)`` as in `NAMES`; NaN where a row is not finite, or its class was never seen."""
    out = np.full((len(rows), len(NAMES)), np.nan)
    if fixed.scale == 0 or rows.shape[1] != len(fixed.centre):
        return out
    z = scaled(rows, fixed.centre, float(fixed.scale))
    z = projected(fixed.strong, z) if len(fixed.strong.axes) else z
    whole = np.square(projected(fixed.whole, z), dtype=np.float64).sum(axis=1)
    if not len(fixed.means):
        out[:, 0] = whole
        return out
    each = _distances(fixed, projected(fixed.within, z))
    nearest = np.where(np.isnan(each), np.inf, each).min(axis=1)
    finite = np.isfinite(whole)
    out[:, 0] = np.where(finite, nearest, np.nan)
    known = (predicted >= 0) & (predicted < each.shape[1])
    out[:, 1] = np.where(known, each[np.arange(len(each)), np.where(known, predicted, 0)], np.nan)
    out[:, 2] = np.where(finite, nearest - whole, np.nan)
    return out


def scaled(rows: SingleArray, centre: SingleArray, scale: float) -> SingleArray:
    """Rows in spreads of the reference, clipped; NaN where not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        z: SingleArray = (rows - centre) / np.float32(scale)
    z = np.clip(z, -FAR, FAR)
    z[~np.isfinite(rows).all(axis=1)] = np.nan
    return z


def _distances(fixed: MahalanobisFixed, white: SingleArray) -> FloatArray:
    """Squared distances ``(n, C)`` of whitened rows to the class means."""
    means = np.nan_to_num(fixed.means)
    across = projected(Axes(np.zeros(means.shape[1], np.float32), np.ascontiguousarray(means.T)), white)
    squares = np.square(white, dtype=np.float64).sum(axis=1)[:, None] + np.square(means, dtype=np.float64).sum(axis=1)
    out: FloatArray = np.maximum(squares - 2 * across.astype(np.float64), 0)
    out[:, np.isnan(fixed.means).any(axis=1)] = np.nan
    return out


def _means(z: SingleArray, classes: CodeArray) -> SingleArray:
    """Class means ``(C, d)``; NaN for classes of fewer than two rows."""
    most = int(classes.max(initial=-1)) + 1
    known = classes >= 0
    count = np.bincount(classes[known], minlength=most)
    share = np.zeros((most, len(z)), np.float32)
    share[classes[known], np.flatnonzero(known)] = 1
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (share @ z) / count[:, None]
    means[count < _LEAST] = np.nan
    return means.astype(np.float32)


def _whitening(z: SingleArray) -> Axes:
    """A map under which the rows' covariance, with the ridge, is the identity."""
    centre = z.mean(axis=0, dtype=np.float64).astype(np.float32)
    apart = z - centre
    covariance = (apart.T @ apart / max(len(z), 1)).astype(np.float64)
    d = len(centre)
    covariance[np.diag_indices(d)] += RIDGE * max(float(np.trace(covariance)) / d, 1e-12)
    upper = solve_triangular(np.linalg.cholesky(covariance), np.eye(d), lower=True).T
    return Axes(np.zeros(d, np.float32), np.ascontiguousarray(upper, np.float32))
