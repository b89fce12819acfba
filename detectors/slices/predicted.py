"""How likely each row is answered wrong, label or not, and where two that have learnt it apart do not agree.

Question: given what is logged of a row (columns, confidence, values along failure directions), is the answer wrong?
Statistic: boosted trees (`performance.trees`) on the labelled rows of the reference, one forest on each of two folds:
the chance is what both say, the disagreement how far they are apart.
Error: ``auroc`` of wrong against right on rows of the reference, each by the forest that has not seen it.
Sees / blind to: failures that the reference shows. A new way to fail is not foreseen: that is what labels drawn by
`sampling` are for. Values along directions have to be those of rows that did not make the directions.
Cost: 1 CPU s to learn from 16,384 rows; 0.3 s for 1,000,000 rows.
Source: failures.md 7.1; Lakshminarayanan et al. 2017 (disagreement).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from scipy import special

from detectors.performance import trees
from detectors.slices.separator import auroc
from detectors.types import FloatArray, IntArray, SingleArray

MOST_ROWS: Final = 16_384
_ABSENT: Final = -3e38
"""In the place of what is missing or infinite: a bin of its own, with the least values."""


class ErrorFixed(NamedTuple):
    """Bins of the columns, two forests, how many rows taught them, and how well they know rows left out."""

    how: trees.Binner
    forests: trees.Pair
    rows: IntArray
    auroc: FloatArray


class Chance(NamedTuple):
    """Of each row the chance that it is wrong, and how far the two forests are ``apart``, ``(n,)``."""

    wrong: FloatArray
    apart: FloatArray


def fit(rows: SingleArray, unit: IntArray, loss: FloatArray, rng: np.random.Generator) -> ErrorFixed:
    """Learn from reference rows ``(n, d)``, ``unit (d,)`` the column of each; ``loss (n,)`` 0, 1 or NaN."""
    known = np.flatnonzero(np.isfinite(loss))
    some = np.sort(rng.choice(known, min(len(known), MOST_ROWS), replace=False))
    seen, y = _finite(rows[some]), (loss[some] > 0).astype(np.float64)
    how = trees.binner(seen, unit)
    binned = trees.codes(how, seen)
    forests = trees.crossed(how, binned, y, np.ones(len(y)), "logistic")
    area = auroc(trees.left_out(forests, binned), y)
    return ErrorFixed(how, forests, np.array(len(some), np.int64), np.array(area))


def chance(fixed: ErrorFixed, rows: SingleArray) -> Chance:
    """What both forests say of rows; NaN if no row has taught them."""
    if not fixed.rows:
        return Chance(np.full(len(rows), np.nan), np.full(len(rows), np.nan))
    binned = trees.codes(fixed.how, _finite(rows))
    said = [special.expit(trees.predict(forest, binned)) for forest in fixed.forests]
    return Chance((said[0] + said[1]) / 2, np.abs(said[0] - said[1]))


def _finite(rows: SingleArray) -> SingleArray:
    return np.where(np.isfinite(rows), rows, np.float32(_ABSENT)).astype(np.float32)
