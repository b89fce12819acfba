"""DLE: how large a regression's errors are to be expected, row by row, from what the reference's errors depended on.

Question: which mean, absolute, squared and relative error will the window's rows have?
Statistic: boosted trees (`trees`) of each error on the inputs and the prediction; the mean over the window's rows,
moved by what rows left out show it to miss on the reference. Bias is prediction less truth; R2 is not estimated.
Error: of the forests, from the spread of left-out errors around what was said of them, as if the reference's rows were
spent on their mean; the floor is that spread over the window's own rows. Both grow with the errors that are expected.
Sees / blind to: inputs that move to where errors were larger. Blind to errors that grow while inputs stay as they were:
a level that rises, a relation that changes. It cannot know, and only labels can tell.
Cost: learnt once in 1-2 CPU s from at most `MOST_ROWS` rows; 3 CPU s for 1,000,000 rows of 12 columns. A `Tally` is
integers only (sums in units of 2^-20 of the reference's mean error), so that merging is exact in any order.
Source: NannyML (performance estimation, direct loss estimation); Lovell and Hoo 2014 (direct error estimation).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.performance import trees
from detectors.performance.cbpe import Guess
from detectors.performance.pape import MOST_ROWS
from detectors.performance.types import Outcomes
from detectors.types import FloatArray, IntArray, SingleArray

ERRORS: Final = ("bias", "mae", "rmse", "mape")
"""What is learnt: e, |e|, e^2 and |e| / |truth|, where e is prediction less truth."""
_UNIT: Final = 2.0**20
_MOST: Final = 2.0**10
"""Errors are not expected to be more times the reference's mean than this."""


class Forests(NamedTuple):
    """Two forests an error, in the order of `ERRORS`."""

    bias: trees.Pair
    mae: trees.Pair
    rmse: trees.Pair
    mape: trees.Pair


class DleFixed(NamedTuple):
    """What was learnt: ``forests``, the reference's mean sizes ``scale (4,)``, what left-out rows miss ``off (4,)``.

    ``spread (4,)`` is the mean square of what is left over, relative to that of what was said; ``rows (4,)`` were
    learnt from. ``codes (m, f)`` are reference rows, ``sizes (m,)`` of their errors, ``reference (4,)`` their real
    errors, and their predictions lie between ``low ()`` and ``high ()``.
    """

    how: trees.Binner
    codes: trees.Codes
    sizes: FloatArray
    reference: FloatArray
    forests: Forests
    scale: FloatArray
    off: FloatArray
    spread: FloatArray
    rows: FloatArray
    low: FloatArray
    high: FloatArray


class Tally(NamedTuple):
    """Counts: ``seen (3,)`` rows, unusable ones, ones outside; ``sums (4,)`` of what is expected, ``squares``."""

    seen: IntArray
    sums: IntArray
    squares: IntArray


def fit(outcomes: Outcomes, rows: SingleArray, unit: IntArray, rng: np.random.Generator) -> DleFixed:
    """Learn from labelled reference rows: inputs ``rows (n, d)`` of `multivariate.encode`, ``unit (d,)`` theirs."""
    prediction, truth = (np.asarray(one, np.float64) for one in (outcomes.prediction, outcomes.truth))
    with np.errstate(over="ignore", invalid="ignore"):
        error = prediction - truth
    known = np.flatnonzero(np.isfinite(error) & (np.abs(error) < 1e150))
    some = np.sort(rng.choice(known, min(len(known), MOST_ROWS), replace=False))
    how = trees.binner(_seen(rows[some], prediction[some]), np.append(unit, -1))
    binned = trees.codes(how, _seen(rows[some], prediction[some]))
    targets = _targets(error[some], truth[some])
    learnt = [_learnt(how, binned, target) for target in targets]
    forests = Forests(*(pair for pair, _ in learnt))
    scale, off, spread, count = np.array([numbers for _, numbers in learnt]).T
    low, high = (np.array(one) for one in _ends(prediction[some]))
    return DleFixed(how, binned, targets[1], _real(targets), forests, scale, off, spread, count, low, high)


def codes(fixed: DleFixed, outcomes: Outcomes, rows: SingleArray) -> trees.Codes:
    """Bins ``(n, f)`` of a window's usable rows."""
    prediction = np.asarray(outcomes.prediction, np.float64)
    usable = np.isfinite(prediction)
    return trees.codes(fixed.how, _seen(rows[usable], prediction[usable]))


def tally(fixed: DleFixed, outcomes: Outcomes, rows: SingleArray) -> Tally:
    """Say what to expect of rows, and count it."""
    prediction = np.asarray(outcomes.prediction, np.float64)
    usable = np.isfinite(prediction)
    binned = codes(fixed, outcomes, rows)
    said = [_said(fixed, i, binned) for i in range(len(ERRORS))]
    outside = (prediction[usable] < fixed.low) | (prediction[usable] > fixed.high)
    return Tally(
        np.array([len(binned), len(usable) - len(binned), outside.sum()], np.int64),
        np.array([np.rint(one * _UNIT).sum() for one in said], np.int64),
        np.array([np.rint(one * one * _UNIT).sum() for one in said], np.int64),
    )


def empty() -> Tally:
    """No rows."""
    return Tally(np.zeros(3, np.int64), np.zeros(4, np.int64), np.zeros(4, np.int64))


def guesses(fixed: DleFixed, counted: Tally, tau: float = 1.0) -> dict[str, Guess]:
    """Estimate all errors of a window."""
    n = int(counted.seen[0])
    return {name: _guess(fixed, i, counted, max(tau, 1.0)) if n else _none() for i, name in enumerate(ERRORS)}


def _guess(fixed: DleFixed, i: int, counted: Tally, tau: float) -> Guess:
    n, scale = float(counted.seen[0]), float(fixed.scale[i])
    if not fixed.rows[i]:
        return _none()
    mean = float(counted.sums[i]) / _UNIT / n + float(fixed.off[i])
    wide = float(fixed.spread[i]) * float(counted.squares[i]) / _UNIT / n
    error, floor = math.sqrt(wide / float(fixed.rows[i])), math.sqrt(wide / n * tau)
    if ERRORS[i] == "rmse":  # the root of the mean square, with its derivative
        root = math.sqrt(max(mean, 0.0))
        return Guess(root * math.sqrt(scale), *(math.sqrt(scale) * one / max(2 * root, 1e-9) for one in (error, floor)))
    least = -math.inf if ERRORS[i] == "bias" else 0.0
    return Guess(max(mean, least) * scale, error * scale, floor * scale)


def _none() -> Guess:
    return Guess(math.nan, math.nan, math.nan)


def _targets(error: FloatArray, truth: FloatArray) -> tuple[FloatArray, ...]:
    """The four errors ``(m,)``; NaN where a relative one has no meaning."""
    size = np.abs(truth)
    relative = np.divide(np.abs(error), size, out=np.full(len(error), np.nan), where=size > 0)
    return error, np.abs(error), np.square(error), relative


def _real(targets: tuple[FloatArray, ...]) -> FloatArray:
    """The reference's errors ``(4,)``, NaN without rows."""
    known = [one[np.isfinite(one)] for one in targets]
    out = np.array([one.mean() if len(one) else math.nan for one in known])
    out[ERRORS.index("rmse")] **= 0.5
    return out


def _learnt(
    how: trees.Binner, binned: trees.Codes, target: FloatArray
) -> tuple[trees.Pair, tuple[float, float, float, float]]:
    """The forests of one error and their numbers: scale, off, spread, rows."""
    known = np.isfinite(target)
    scale = float(np.abs(target[known]).mean()) if known.any() else 1.0
    scale = scale if scale > 0 else 1.0
    y, binned = np.clip(target[known] / scale, -_MOST, _MOST), binned[known]
    pair = trees.crossed(how, binned, y, np.ones(len(y)), "squared")
    said = trees.left_out(pair, binned)
    left, mean = y - said, float(np.square(said).mean()) if len(y) else 0.0
    off = float(left.mean()) if len(y) else 0.0
    spread = float(np.square(left - off).mean()) / max(mean, 1e-300) if len(y) else 0.0
    return pair, (scale, off, spread, float(len(y)))


def _said(fixed: DleFixed, i: int, binned: trees.Codes) -> FloatArray:
    return np.clip(trees.both(fixed.forests[i], binned), -_MOST, _MOST)


def _ends(values: FloatArray) -> tuple[float, float]:
    return (float(values.min()), float(values.max())) if len(values) else (math.inf, -math.inf)


def _seen(rows: SingleArray, prediction: NDArray[np.float64]) -> SingleArray:
    """Inputs with the prediction beside them."""
    with np.errstate(over="ignore"):
        return np.hstack([rows.astype(np.float32, copy=False), prediction[:, None].astype(np.float32)])
