"""Calibration: the reliability curve, its error, and whether probabilities have come to mean something else.

Question: does what is said to happen with probability s happen in s of the cases? H0 of `drift`: the gap between the
two is, bin by bin, what it was on the reference.
Statistic: mean gap of each bin; over all, ECE is the mean size of the bins' gaps, ``bias`` the mean of probability less
truth, ``over`` that of confidence less right answers (above 0: over-confident), ``slope``, ``intercept`` those of the
logistic regression of truth on the bins' log odds (1 and 0: calibrated; slope below 1: over-confident).
Null law: squared differences of the bins' gaps by the binomial variance of the pooled rates are chi-square; bins are
joined until each expects `LEAST` of both answers. The smaller of its p-value and twice those of
bias and confidence counts, doubled.
Error: chance makes ECE too large; ``low`` is what is left when all that it may have added is taken off (0: may be
calibrated).
Sees / blind to: a mean over bins that hide opposite gaps is blind to them; a change of the mix of scores is no drift.
Of many classes the curve is about the surest one. Cost: O(bins).
Source: Naeini, Cooper and Hauskrecht 2015 (ECE); Nixon et al. 2019 (equally full bins); Cox 1958 (slope, intercept).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy import special

from detectors.maths import tails
from detectors.performance import intervals
from detectors.performance.counts import CHANCES, UNIT, UNIT_OF_SQUARES, Tally, total
from detectors.performance.layout import Layout
from detectors.performance.types import Figure
from detectors.sequential.rates import wilson
from detectors.types import FloatArray, IntArray

LEAST: Final = 5.0
"""Rows of either answer that a joined bin expects."""
_WIDE: Final = float(special.ndtri(intervals.LEVEL))
_JOINT: Final = float(special.ndtri((1 + intervals.LEVEL) / 2))
_STEPS: Final = 30
_RIDGE: Final = 1e-3


class Curve(NamedTuple):
    """Reliability by bin, ``(b,)`` of those that have rows: weight, mean probability, share that came true, interval.

    ``worth`` is how many independent rows of equal weight a bin's are.
    """

    weight: FloatArray
    said: FloatArray
    came: FloatArray
    low: FloatArray
    high: FloatArray
    worth: FloatArray


class Gap(NamedTuple):
    """One measure of calibration: its ``value`` with 95 % interval and standard error."""

    value: float
    low: float
    high: float
    error: float


_NOTHING: Final = Gap(*(math.nan,) * 4)


class Calibration(NamedTuple):
    """Measures of calibration of ``rows`` rows; ``chance`` is the part of ECE that chance adds. NaN: not known."""

    ece: Gap
    chance: float
    bias: Gap
    over: Gap
    slope: Gap
    intercept: Gap
    rows: int


class Drift(NamedTuple):
    """Calibration against the reference: differences (now less then) with intervals, ``log_p`` that there are none.

    ``bins`` of the curve were compared. ``verdict`` is "over-confident", "under-confident", "too high" or "too low"
    where one of them is so at 95 %, else "".
    """

    ece: Gap
    bias: Gap
    over: Gap
    log_p: float
    bins: int
    verdict: str


def curve(tally: Tally, segment: int = 0, tau: float = 1.0) -> Curve:
    """The reliability curve with Wilson's interval of each bin."""
    return _curve(tally.bins[segment].astype(np.float64), tau)


def ece(tally: Tally, segment: int = 0, tau: float = 1.0) -> Figure:
    """Expected calibration error."""
    rows, (found, _) = int(tally.mass[segment, CHANCES, 0]), _ece(curve(tally, segment, tau))
    if not math.isfinite(found.value):
        return intervals.none("ece", rows, intervals.NO_CHANCES)
    return Figure("ece", *found, rows)


def calibration(made: Layout, tally: Tally, segment: int = 0, tau: float = 1.0) -> Calibration:
    """Measure calibration."""
    shape = curve(tally, segment, tau)
    bias, over = (_mean_gap(made, tally, segment, tau, name) for name in ("bias", "over"))
    return Calibration(*_ece(shape), bias, over, *_logistic(shape), int(tally.mass[segment, CHANCES, 0]))


def drift(made: Layout, before: Tally, now: Tally, segments: tuple[int, int] = (0, 0), tau: float = 1.0) -> Drift:
    """Compare a window with the reference, ``segments`` of both."""
    old, new = calibration(made, before, segments[0], tau), calibration(made, now, segments[1], tau)
    bias, over = _difference(old.bias, new.bias), _difference(old.over, new.over)
    error = _difference(*(one.ece._replace(value=one.ece.value - one.chance) for one in (old, new)))
    log_p, bins = _changed(before.bins[segments[0]], now.bins[segments[1]], tau)
    found = [log_p, *(_log_p(one) + math.log(2.0) for one in (bias, over))]
    known = [one for one in found if math.isfinite(one)]
    both = min(min(known) + math.log(2.0), 0.0) if known else math.nan
    return Drift(error, bias, over, both, bins, _verdict(bias, over))


def _curve(bins: FloatArray, tau: float) -> Curve:
    weight, true, said, squares = bins[bins[:, 0] > 0].T
    came = true / weight
    worth = (weight / UNIT) ** 2 / (squares / UNIT_OF_SQUARES) / max(tau, 1.0)
    low, high = np.maximum(1 - wilson(1 - came, worth), 0.0), wilson(came, worth)
    return Curve(weight / UNIT, said / weight, came, low, high, worth)


def _verdict(bias: Gap, over: Gap) -> str:
    """Two questions at a joint level of 5 %."""
    for gap, words in ((over, ("over-confident", "under-confident")), (bias, ("too high", "too low"))):
        if abs(gap.value) > _JOINT * gap.error:
            return words[0] if gap.value > 0 else words[1]
    return ""


def _gap(value: float, error: float) -> Gap:
    return Gap(value, value - _WIDE * error, value + _WIDE * error, error)


def _difference(old: Gap, new: Gap) -> Gap:
    return _gap(new.value - old.value, math.hypot(new.error, old.error))


def _log_p(found: Gap) -> float:
    if not found.error > 0:
        return math.nan
    return float(tails.normal_two_sided(np.array(found.value / found.error)))


def _mean_gap(made: Layout, tally: Tally, segment: int, tau: float, name: str) -> Gap:
    rows = intervals.mass(tally, CHANCES, segment, tau)
    if rows.effective <= 1:
        return _NOTHING
    value, square = (total(made, tally, one, segment) / rows.weight for one in (name, "gap2"))
    return _gap(value, math.sqrt(max(square - value * value, 0.0) / (rows.effective - 1)))


def _spread(shape: Curve) -> FloatArray:
    """Standard error of each bin's share; by Laplace's rate, so that no bin knows its share for certain."""
    rate = (shape.came * shape.worth + 0.5) / (shape.worth + 1)
    root: FloatArray = np.sqrt(rate * (1 - rate) / shape.worth)
    return root


def _ece(shape: Curve) -> tuple[Gap, float]:
    """ECE, and what chance adds to it where all bins are calibrated: their gaps are normal, sizes folded normal."""
    if not len(shape.weight):
        return _NOTHING, math.nan
    part, spread = shape.weight / shape.weight.sum(), _spread(shape)
    value = float(part @ np.abs(shape.said - shape.came))
    chance = float(part @ spread) * math.sqrt(2 / math.pi)
    error = math.sqrt(float(part**2 @ spread**2))
    return Gap(value, max(value - chance - _WIDE * error, 0.0), min(value + _WIDE * error, 1.0), error), chance


def _logistic(shape: Curve) -> tuple[Gap, Gap]:
    """Slope and intercept by Newton's method on the bins, with a trace of ridge where all bins are of one answer."""
    if len(shape.weight) < 2:
        return _NOTHING, _NOTHING
    odds = special.logit(np.clip(shape.said, 1e-6, 1 - 1e-6))
    design, start = np.stack([odds, np.ones_like(odds)], axis=1), np.array([1.0, 0.0])
    found, inverse = start, np.eye(2)
    for _ in range(_STEPS):
        chance = special.expit(design @ found)
        inverse = np.linalg.inv((design.T * (shape.worth * chance * (1 - chance))) @ design + _RIDGE * np.eye(2))
        step = inverse @ (design.T @ (shape.worth * (shape.came - chance)) - _RIDGE * (found - start))
        found = found + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
    slope, intercept = (_gap(float(b), math.sqrt(float(v))) for b, v in zip(found, np.diag(inverse), strict=True))
    return slope, intercept


def _changed(before: IntArray, now: IntArray, tau: float) -> tuple[float, int]:
    """Log p that the gaps of all bins are what they were, and how many (joined) bins were compared."""
    old, new = _joined(before.astype(np.float64), now.astype(np.float64))
    if not len(old):
        return math.nan, 0
    was, seen = _curve(old, tau), _curve(new, tau)
    rate = (was.came * was.worth + seen.came * seen.worth + 0.5) / (was.worth + seen.worth + 1)
    variance = rate * (1 - rate) * (1 / was.worth + 1 / seen.worth)
    square = np.square((seen.came - seen.said) - (was.came - was.said)) / variance
    return float(tails.chi2(np.array(square.sum()), np.array(float(len(square))))), len(square)


def _joined(old: FloatArray, new: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Neighbouring bins joined until both samples expect `LEAST` of both answers in each, at the reference's rate."""
    pairs, open_ = [], np.zeros((2, 4))
    for pair in np.stack([old, new], axis=1):
        open_ = open_ + pair
        rate = (open_[:, 1].sum() + UNIT / 2) / (open_[:, 0].sum() + UNIT)
        worth = np.square(open_[:, 0] / UNIT) / np.maximum(open_[:, 3] / UNIT_OF_SQUARES, 1e-12)
        if worth.min() * min(rate, 1 - rate) >= LEAST:
            pairs.append(open_)
            open_ = np.zeros((2, 4))
    if pairs:
        pairs[-1] = pairs[-1] + open_
    made = np.array(pairs).reshape(-1, 2, 4)
    return made[:, 0], made[:, 1]
