"""How usual it is that a row's columns have, or have not, the value that the reference often has there (H5, by row).

Question: are values that stand still in the reference (zeros, defaults, the usual category) moved in this row?
Statistic: ``moved_values``: mean over numeric columns with an exact value of 5 % or more of -log of the reference's
share of being at it (or of being off it, where the row is). ``rare_categories``: mean over categorical columns of -log
of the category's share.
Calibration: ranks among held-out reference rows (`detectors.rows.fusion`), two-sided for the numbers.
Sees / blind to: perturbations of every column at once, which move what never moves; blind to attacks that leave such
columns alone, and on tables without them.
Cost: two passes over the columns. Source: naive Bayes on modal values; H5's modal share (failures.md 3.2) by row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.types import Block, FloatArray, IntArray

NAMES = ("moved_values", "rare_categories")
LEAST_SHARE = 0.05
"""Share of the reference from which an exact value counts."""


class AtomsFixed(NamedTuple):
    """Numeric columns ``numeric (a,)`` with their ``value``, and -log shares of being ``at`` and ``off`` it.

    Categorical columns ``codes (c,)`` with -log shares ``rare (c, v + 2)`` by code + 2.
    """

    numeric: IntArray
    value: FloatArray
    at: FloatArray
    off: FloatArray
    codes: IntArray
    rare: FloatArray


def fit(block: Block, features: IntArray) -> AtomsFixed:
    """Measure the features (units) on reference rows."""
    p = block.numeric.shape[1]
    found = [(j, *_mode(block.numeric[:, j])) for j in np.sort(features) if j < p]
    kept = [(j, value, share) for j, value, share in found if share >= LEAST_SHARE]
    share = np.array([share for _, _, share in kept])
    codes = np.sort(features[features >= p]) - p
    size = int(block.codes[:, codes].max(initial=-1)) + 1
    rare = np.zeros((len(codes), size + 2))
    for i, j in enumerate(codes):  # once per fit
        count = np.bincount(block.codes[:, j] + 2, minlength=size + 2)
        rare[i] = -np.log((count + 0.5) / (count.sum() + 0.5 * len(count)))
    return AtomsFixed(
        np.array([j for j, _, _ in kept], np.int64),
        np.array([value for _, value, _ in kept], np.float64),
        -np.log(np.maximum(share, LEAST_SHARE)),
        -np.log(np.maximum(1 - share, 0.5 / max(block.rows, 1))),
        codes,
        rare,
    )


def measures(fixed: AtomsFixed, block: Block) -> FloatArray:
    """Scores ``(n, 2)`` as in `NAMES`, NaN without such columns; missing numbers count neither way."""
    out = np.full((block.rows, len(NAMES)), np.nan)
    if len(fixed.numeric):
        x = block.numeric[:, fixed.numeric]
        each = np.where(x == fixed.value, fixed.at, np.where(np.isnan(x), 0.0, fixed.off))
        out[:, 0] = each.mean(axis=1)
    if len(fixed.codes):
        code = np.minimum(block.codes[:, fixed.codes] + 2, fixed.rare.shape[1] - 1)
        out[:, 1] = fixed.rare[np.arange(len(fixed.codes)), code].mean(axis=1)
    return out


def _mode(x: FloatArray) -> tuple[float, float]:
    """Most frequent finite value, and its share of the values that are there; (0, 0) of none."""
    x = x[np.isfinite(x)]
    if not x.size:
        return 0.0, 0.0
    value, count = np.unique(x, return_counts=True)
    return float(value[count.argmax()]), float(count.max() / x.size)
