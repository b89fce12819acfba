"""Scores on a fine scale that the reference fixes: how often the label comes true in each cell, and counts that merge.

Question: how likely is class c, given the score that the model gave it?
Statistic: isotonic regression (pool adjacent violators) of the reference's labels on up to `CELLS` cells of its scores;
cells without reference rows are interpolated. For many classes each is a problem of its own, "c or not", and rows whose
prediction is c are calibrated apart (top label), where there are enough of them.
Error: a pooled block of N rows knows its chance p to p (1 - p) / N.
Sees / blind to: a chance is that of the reference. Where labels follow from inputs in another way, it is wrong and
nothing here can tell.
Cost: 0.1 CPU s for 1,000,000 scores; a `Tally` of two classes is 80 kB. All its numbers are integers (sums in units of
2^-20), so that merging is exact in any order.
Source: Ayer et al. 1955; Zadrozny and Elkan 2002; Gupta and Ramdas 2022 (top label).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.performance.expected import Cells
from detectors.performance.types import Outcomes
from detectors.types import FloatArray, IntArray

CELLS: Final = 1024
"""Cells of the score of two classes; for many classes `CELLS_OF_MANY` each."""
CELLS_OF_MANY: Final = 256
MOST_CLASSES: Final = 64
"""With more classes only whether the prediction is right is calibrated."""
LEAST_APART: Final = 200
"""Reference rows with which predicted rows are calibrated apart."""
SURE: Final = 8
"""Bins of confidence of each predicted class in the joint cells."""
_UNIT: Final = 2.0**20
_LEAST_CHANCE: Final = float(np.finfo(np.float64).eps)
"""Probabilities are not taken to be nearer to 0 or 1 in a log loss."""


class Scale(NamedTuple):
    """Cells and chances: ``cuts (P, G - 1)``, infinite after the last, ``chance (P, 2, G)``, its ``block (P, 2, G)``.

    ``classes ()`` of the model, ``sure (k, B - 1)`` cuts of confidence by predicted class (none for two classes),
    ``probability ()``: all scores were probabilities.
    """

    cuts: FloatArray
    chance: FloatArray
    block: IntArray
    classes: IntArray
    sure: FloatArray
    probability: NDArray[np.bool_]


class Tally(NamedTuple):
    """Counts of rows on a scale: ``rows (P, 2, G)``, ``sums (P, 2, 4, G)`` in 2^-20, ``joint (J,)``, ``seen (3,)``.

    ``joint`` counts predicted class and bin of confidence, for many classes; ``seen`` are scored and not scored rows
    and those of the scored ones with a score outside of the reference's range.
    """

    rows: IntArray
    sums: IntArray
    joint: IntArray
    seen: IntArray


class Known(NamedTuple):
    """A tally of labelled rows: ``hits (P, 2, G)`` have the class, ``given (k, J)`` counts joint cells by label."""

    tally: Tally
    hits: IntArray
    given: IntArray


class Placed(NamedTuple):
    """Rows one by one: which of them are ``usable (n,)``; of these m ``cell (P, m)`` (prediction x G + cell), ``hit``.

    ``hit (P, m)`` is the label, 1 for this class, -1 where there is none; ``score (m,)`` is the probability of class 1,
    or of the predicted class where there are more than two; ``prediction (m,)``.
    """

    usable: NDArray[np.bool_]
    cell: NDArray[np.int32]
    hit: NDArray[np.int8]
    score: FloatArray
    prediction: IntArray


class _Rows(NamedTuple):
    """Usable rows: ``score (n,)`` or ``(n, k)``, ``prediction (n,)``, ``truth (n,)`` (-1: none), how many are not."""

    score: FloatArray
    prediction: IntArray
    truth: IntArray
    unusable: int


def fit(outcomes: Outcomes) -> tuple[Scale, Known]:
    """Fix the scale and measure the chances on labelled rows; rows without label or score do not count."""
    k = _classes(outcomes)
    rows = _usable(outcomes, k)
    rows = _labelled(rows)
    top = k == 2 or k > MOST_CLASSES
    columns = [one.score for one in _problems(rows, k)]
    width = CELLS if top else CELLS_OF_MANY
    sure = np.zeros((0, SURE - 1)) if top else _sure_cuts(rows, k)
    scale = Scale(
        cuts=np.array([_cuts(one, width) for one in columns]),
        chance=np.zeros((len(columns), 2, width)),
        block=np.zeros((len(columns), 2, width), np.int64),
        classes=np.array(k),
        sure=sure,
        probability=np.array(all(len(one) and one.min() >= 0 and one.max() <= 1 for one in columns)),
    )
    known = _known(scale, rows)
    chance, block = calibrated(known.tally.rows.astype(np.float64), known.hits.astype(np.float64), apart=not top)
    return scale._replace(chance=chance, block=block), known


def tally(scale: Scale, outcomes: Outcomes) -> Tally:
    """Count rows; labels are not looked at. `ValueError` if the classes are not those of the scale."""
    k = int(scale.classes)
    if outcomes.kind == "multiclass" and _classes(outcomes) != k:
        raise ValueError(f"`outcomes` has {_classes(outcomes)} classes, the reference {k}")
    return _counted(scale, _usable(outcomes, k))


def usable(scale: Scale, outcomes: Outcomes) -> NDArray[np.bool_]:
    """Which rows `tally` counts: those with finite scores and a class of the model as prediction."""
    return _whole(outcomes, int(scale.classes))


def placed(scale: Scale, outcomes: Outcomes) -> Placed:
    """Where each row lies on the scale."""
    k = int(scale.classes)
    rows, usable = _usable(outcomes, k), _whole(outcomes, k)
    parts = list(_problems(rows, k))
    return Placed(
        usable,
        np.array([_where(cuts, one) for cuts, one in zip(scale.cuts, parts, strict=True)], np.int32),
        np.array([one.truth for one in parts], np.int8),
        rows.score if k == 2 else _confidence(rows),
        rows.prediction,
    )


def empty(scale: Scale) -> Tally:
    """No rows."""
    p, _, g = scale.chance.shape
    joint = len(scale.sure) * SURE
    return Tally(*(np.zeros(shape, np.int64) for shape in ((p, 2, g), (p, 2, 4, g), joint, 3)))


def cells(scale: Scale, counted: Tally, chance: FloatArray | None = None) -> Cells:
    """The rows with their chances, those of the scale unless others are given."""
    return Cells(counted.rows.astype(np.float64), counted.sums / _UNIT, scale.chance if chance is None else chance)


def calibrated(rows: FloatArray, hits: FloatArray, *, apart: bool) -> tuple[FloatArray, IntArray]:
    """Chances ``(P, 2, G)`` that never fall with the score, and the pooled blocks, numbered through all problems."""
    chance, block = np.empty(rows.shape), np.empty(rows.shape, np.int64)
    begun = 0
    for c in range(len(rows)):
        both = apart and bool((rows[c].sum(axis=1) >= LEAST_APART).all())
        for h in (0, 1):
            if h and not both:
                chance[c, 1], block[c, 1] = chance[c, 0], block[c, 0]
                continue
            some = slice(h, h + 1) if both else slice(0, 2)
            chance[c, h], mine = _isotonic(rows[c, some].sum(axis=0), hits[c, some].sum(axis=0))
            block[c, h] = mine + begun
            begun = int(block[c, h].max()) + 1
    return chance, block


def pooled(value: FloatArray, weight: FloatArray) -> IntArray:
    """Pool adjacent violators: the block of each value ``(n,)``, so that the weighted means of blocks rise."""
    means: list[float] = []
    weights: list[float] = []
    sizes: list[int] = []
    for one, mass in zip(value.tolist(), weight.tolist(), strict=True):  # 0.3 us each
        mean, size, total = one, 1, mass
        while means and means[-1] >= mean:
            last, heavy = means.pop(), weights.pop()
            mean, total = (last * heavy + mean * total) / (heavy + total), heavy + total
            size += sizes.pop()
        means.append(mean)
        weights.append(total)
        sizes.append(size)
    return np.repeat(np.arange(len(sizes)), sizes)


def _isotonic(rows: FloatArray, hits: FloatArray) -> tuple[FloatArray, IntArray]:
    """Chances and blocks ``(G,)`` of one problem; 1/2 and one block without rows."""
    full = np.flatnonzero(rows > 0)
    if not len(full):
        return np.full(len(rows), 0.5), np.zeros(len(rows), np.int64)
    block = pooled(hits[full] / rows[full], rows[full])
    mass = np.bincount(block, rows[full])
    mean = np.bincount(block, hits[full]) / mass
    least = 0.5 / (rows.sum() + 1)
    at = np.arange(len(rows))
    chance = np.clip(np.interp(at, full, mean[block]), least, 1 - least)
    return chance, block[np.clip(np.searchsorted(full, at, side="right") - 1, 0, None)]


def _classes(outcomes: Outcomes) -> int:
    return 2 if outcomes.kind == "binary" or outcomes.probabilities is None else outcomes.probabilities.shape[1]


def _usable(outcomes: Outcomes, k: int) -> _Rows:
    """Rows with finite scores and a class of the model as prediction."""
    given, usable = _scores(outcomes, k), _whole(outcomes, k)
    prediction, truth = (_codes(one, k) for one in (outcomes.prediction, outcomes.truth))
    if usable.all():
        return _Rows(given, prediction, truth, 0)
    return _Rows(given[usable], prediction[usable], truth[usable], int(len(usable) - usable.sum()))


def _scores(outcomes: Outcomes, k: int) -> FloatArray:
    """Probability of class 1 ``(n,)``, or of all classes ``(n, k)``; NaN where the log has none."""
    score = outcomes.probabilities
    if k == 2 and (score is None or outcomes.score is not None):
        score = outcomes.score
    elif k == 2 and score is not None:
        score = score[:, -1]
    return np.full(len(outcomes.prediction), np.nan) if score is None else np.asarray(score, np.float64)


def _whole(outcomes: Outcomes, k: int) -> NDArray[np.bool_]:
    given = _scores(outcomes, k)
    finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(given if given.ndim > 1 else given[:, None]), axis=1)
    return finite & (_codes(outcomes.prediction, k) >= 0)


def _labelled(rows: _Rows) -> _Rows:
    known = rows.truth >= 0
    return _Rows(rows.score[known], rows.prediction[known], rows.truth[known], 0)


def _codes(values: FloatArray | IntArray, k: int) -> IntArray:
    """Classes 0..k-1, all else -1."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        array = np.where(np.isfinite(array) & (array == np.floor(array)) & (np.abs(array) < 2**31), array, -1)
    array = array.astype(np.int64, copy=False)
    return np.where((array >= 0) & (array < k), array, -1)


def _problems(rows: _Rows, k: int) -> Iterator[_Rows]:
    """The rows as "c or not" for each class, or as "right or not" where there are too many classes."""
    if k == 2:
        yield rows
    elif k > MOST_CLASSES:
        right = np.where(rows.truth >= 0, rows.truth == rows.prediction, -1)
        yield _Rows(_confidence(rows), np.ones_like(rows.prediction), right.astype(np.int64), 0)
    else:
        for c in range(k):
            truth = np.where(rows.truth >= 0, rows.truth == c, -1).astype(np.int64)
            score = np.ascontiguousarray(rows.score[:, c])
            yield _Rows(score, (rows.prediction == c).astype(np.int64), truth, 0)


def _confidence(rows: _Rows) -> FloatArray:
    """What the model gave the class that it predicted."""
    return rows.score[np.arange(len(rows.score)), rows.prediction]


def _cuts(score: FloatArray, width: int) -> FloatArray:
    """Cuts ``(width - 1,)``: three quarters at quantiles, the rest evenly spread; infinite after the last."""
    out = np.full(width - 1, np.inf)
    if len(score):
        low, high = float(score.min()), float(score.max())
        even = low + (high - low) * np.arange(1, width // 4 - 2) / (width // 4 - 2)
        ranks = np.quantile(score, np.arange(1, width - width // 4) / (width - width // 4), method="inverted_cdf")
        inner = np.unique(np.concatenate([even, ranks]))
        inner = inner[(inner > low) & (inner < np.nextafter(high, np.inf))]
        made = np.concatenate([[low], inner, [np.nextafter(high, np.inf)]])
        out[: len(made)] = made
    return out


def _sure_cuts(rows: _Rows, k: int) -> FloatArray:
    """Cuts ``(k, B - 1)`` of confidence by predicted class, at quantiles; infinite for classes never predicted."""
    out, sure = np.full((k, SURE - 1), np.inf), _confidence(rows)
    for c in range(k):
        mine = sure[rows.prediction == c]
        if len(mine):
            out[c] = np.quantile(mine, np.arange(1, SURE) / SURE, method="inverted_cdf")
    return out


def _known(scale: Scale, rows: _Rows) -> Known:
    k = int(scale.classes)
    hits = []
    for cuts, one in zip(scale.cuts, _problems(rows, k), strict=True):
        where = _where(cuts, one)
        hits.append(np.bincount(where[one.truth == 1], minlength=2 * (len(cuts) + 1)).reshape(2, -1))
    wide = len(scale.sure) * SURE
    given = np.bincount(rows.truth * max(wide, 1) + _joint(scale, rows), minlength=k * wide)[: k * wide]
    return Known(_counted(scale, rows), np.array(hits, np.int64), given.reshape(k, wide))


def _counted(scale: Scale, rows: _Rows) -> Tally:
    counted, sums, outside = [], [], np.zeros(len(rows.score), np.bool_)
    for cuts, one in zip(scale.cuts, _problems(rows, int(scale.classes)), strict=True):
        where, width = _where(cuts, one), len(cuts) + 1
        counted.append(np.bincount(where, minlength=2 * width).reshape(2, width))
        sums.append(_summed(scale, where, one.score, width))
        last = int(np.isfinite(cuts).sum())
        cell = where % width
        outside |= (cell == 0) | (cell >= last)
    wide = len(scale.sure) * SURE
    joint = np.bincount(_joint(scale, rows), minlength=wide)[:wide]
    seen = np.array([len(rows.score), rows.unusable, outside.sum()], np.int64)
    return Tally(np.array(counted, np.int64), np.array(sums, np.int64), joint, seen)


def _where(cuts: FloatArray, rows: _Rows) -> IntArray:
    """Prediction and cell in one number ``(n,)``."""
    return np.searchsorted(cuts, rows.score, side="right") + rows.prediction * (len(cuts) + 1)


def _summed(scale: Scale, where: IntArray, score: FloatArray, width: int) -> IntArray:
    """The four sums by prediction and cell ``(2, 4, width)`` in 2^-20: exact for up to 2e8 rows at a time."""
    if not bool(scale.probability):
        return np.zeros((2, 4, width), np.int64)
    s = np.clip(score, 0.0, 1.0)
    parts = (s, s * s, np.log(np.maximum(s, _LEAST_CHANCE)), np.log(np.maximum(1 - s, _LEAST_CHANCE)))
    summed = [np.bincount(where, np.rint(one * _UNIT), minlength=2 * width) for one in parts]
    return np.array(summed).reshape(4, 2, width).swapaxes(0, 1).astype(np.int64)


def _joint(scale: Scale, rows: _Rows) -> IntArray:
    """Predicted class and bin of confidence in one number ``(n,)``; 0 for two classes."""
    if not len(scale.sure):
        return np.zeros(len(rows.score), np.int64)
    sure = _confidence(rows)
    joint: IntArray = (scale.sure[rows.prediction] < sure[:, None]).sum(axis=1) + rows.prediction * SURE
    return joint
