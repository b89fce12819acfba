"""What the reference fixes before outcomes are counted: number of classes, cells of scores, bins, units."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.performance.types import KINDS, Kind, Outcomes
from detectors.types import FloatArray, IntArray

CELLS: Final = 1024
"""Cells of the score of two classes; `CELLS_OF_MANY` of each class of more."""
CELLS_OF_MANY: Final = 256
MOST_RANKED: Final = 64
"""With more classes their scores are not ranked."""
MOST_CLASSES: Final = 1024
BINS: Final = 20
"""Bins of a reliability curve, equally full on the reference."""
MOST: Final = float(np.finfo(np.float64).max)


class Layout(NamedTuple):
    """Counts of one layout merge.

    ``kind ()`` is a place in `KINDS`, ``classes ()`` their number (0: none); ``cuts (P, G - 1)`` of scores, infinite
    after the last; ``bins (B - 1,)`` of probabilities; ``base ()`` is a typical weight; ``centre ()`` and ``scale ()``
    of the truth of a regression, ``level ()`` the quantile it predicts; ``first ()``: how many places of a ranking
    count (0: all).
    """

    kind: IntArray
    classes: IntArray
    cuts: FloatArray
    bins: FloatArray
    base: FloatArray
    centre: FloatArray
    scale: FloatArray
    level: FloatArray
    first: IntArray

    @property
    def name(self) -> Kind:
        """The kind of the model."""
        return KINDS[int(self.kind)]


def layout(outcomes: Outcomes, classes: int = 0, level: float = 0.5, first: int = 0) -> Layout:
    """Fix cells and units on a reference, whose labels are not needed. `ValueError` with more than `MOST_CLASSES`.

    ``classes`` of a model for which neither probabilities nor sets nor answers say how many there are.
    """
    k = _classes(outcomes, classes)
    if k > MOST_CLASSES:
        raise ValueError(f"`classes` are {k}: at most {MOST_CLASSES} can be counted")
    truth = np.asarray(outcomes.truth, np.float64)
    truth = truth[np.isfinite(truth) & (np.abs(truth) < MOST**0.25)]
    low, centre, high = np.quantile(truth, (0.25, 0.5, 0.75)) if len(truth) and not k else (0.0, 0.0, 1.0)
    return Layout(
        kind=np.array(KINDS.index(outcomes.kind)),
        classes=np.array(k),
        cuts=_all_cuts(outcomes, k),
        bins=_bins(chances(outcomes)),
        base=np.array(_base(outcomes.weight)),
        centre=np.array(float(centre)),
        scale=np.array(float(high - low) or abs(float(centre)) or 1.0),
        level=np.array(level),
        first=np.array(first),
    )


def scores(outcomes: Outcomes) -> FloatArray:
    """Scores ``(n, P)``: of class 1 of two, of each class of more; no columns where there are none or too many."""
    n, given = len(outcomes.prediction), outcomes.probabilities
    if outcomes.kind == "binary" and outcomes.score is not None:
        return np.asarray(outcomes.score, np.float64).reshape(n, 1)
    if given is None or outcomes.kind not in ("binary", "multiclass"):
        return np.zeros((n, 0))
    return np.asarray(given, np.float64)[:, -1:] if outcomes.kind == "binary" else np.asarray(given, np.float64)


def chances(outcomes: Outcomes) -> FloatArray:
    """Probability that a reliability curve is about ``(n,)``: of class 1 of two, of the surest of more; NaN: none."""
    given = scores(outcomes)
    if not given.shape[1]:
        return np.full(len(given), np.nan)
    whole = np.logical_and.reduce((given >= 0) & (given <= 1), axis=1)  # false for NaN
    return np.where(whole, np.maximum.reduce(given, axis=1), np.nan)


def known(values: FloatArray | IntArray, classes: int) -> FloatArray:
    """Numbers, or classes from 0; NaN for all else."""
    array = np.asarray(values, np.float64)
    usable = np.isfinite(array)
    if classes:
        usable &= (array >= 0) & (array == np.floor(array))
    return np.where(usable, array, np.nan)


def _classes(outcomes: Outcomes, classes: int) -> int:
    if outcomes.kind not in ("binary", "multiclass"):
        return 0
    if outcomes.kind == "binary":
        return 2
    for given in (outcomes.probabilities, outcomes.sets):
        if given is not None:
            return int(given.shape[1])
    said = np.concatenate([np.asarray(outcomes.prediction, np.float64), np.asarray(outcomes.truth, np.float64)])
    said = said[np.isfinite(said)]
    return max(classes, int(said.max()) + 1 if len(said) else 0, 2)


def _base(weight: FloatArray | None) -> float:
    """The power of two below the median of the weights, 1 without them: dividing by it rounds nothing."""
    if weight is None:
        return 1.0
    some = weight[np.isfinite(weight) & (weight > 0)]
    return float(2.0 ** np.floor(np.log2(np.sort(some)[len(some) // 2]))) if len(some) else 1.0


def _all_cuts(outcomes: Outcomes, k: int) -> FloatArray:
    given = scores(outcomes)
    cells = CELLS if k == 2 else CELLS_OF_MANY
    if given.shape[1] > MOST_RANKED:
        given = given[:, :0]
    return np.array([_cuts(one[np.isfinite(one)], cells) for one in given.T]).reshape(-1, cells - 1)


def _cuts(score: FloatArray, cells: int) -> FloatArray:
    """Each value for itself where there are few, else three quarters at quantiles; the rest evenly spread."""
    out = np.full(cells - 1, np.inf)
    values = np.unique(score)
    if not len(values):
        return out
    wide = cells - cells // 4
    ranks = np.arange(1, wide) / wide
    inner = values if len(values) < wide else np.unique(np.quantile(score, ranks, method="inverted_cdf"))
    low, high = (0.0, 1.0) if values[0] >= 0 and values[-1] <= 1 else (float(values[0]), float(values[-1]))
    spare = cells - 1 - len(inner)
    even = low + (high / 2 - low / 2) * (np.arange(1, spare + 1) / (spare + 1)) * 2
    made = np.union1d(inner, even)
    out[: len(made)] = made
    return out


def _bins(chance: FloatArray) -> FloatArray:
    """Cuts of probabilities at the reference's quantiles; even ones without a reference."""
    some = chance[np.isfinite(chance)]
    ranks = np.arange(1, BINS) / BINS
    cuts = np.quantile(some, ranks, method="inverted_cdf") if len(some) else ranks
    out = np.full(BINS - 1, np.inf)
    made = np.unique(cuts)
    out[: len(made)] = made
    return out
