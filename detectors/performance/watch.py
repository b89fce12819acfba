"""When the error stream alarms, whose errors those are, and when they are back.

Question: has any e-detector of `detectors.performance.errors` reached the threshold; is what was told of over?
Statistic: weighted mean over all rows (half of the weight) and the segments (the other half); an alarm names the units
that make it up, which count no more until they are back. What is back is told by `detectors.sequential.recovery`, of
the questions that had risen and of no others: rare answers would keep a finding open for ever.
Null law: a mean of e-detectors is one, so panes between false alarms are at least the threshold.
Sees / blind to: as the error stream. What ends between the reference's share and the tolerance stays open.
Cost: as the error stream, twice while something is open.
Source: Shin, Ramdas and Rinaldo 2022; as `detectors.decide.pages`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.performance.errors import Answers, Errors, ErrorsFixed, width
from detectors.sequential import recovery, recursion
from detectors.sequential.recursion import Recursion
from detectors.types import FloatArray, IntArray

DETECTOR: Final = Errors()
_SHARE: Final = 0.5
"""Weight of all rows together, where there are segments."""


class Watch(NamedTuple):
    """All that moves of a stream: evidence of a rise, of its end, and which questions have risen ``(k,)``: 1 or 0."""

    risen: Recursion
    back: Recursion
    open: FloatArray


class Alarm(NamedTuple):
    """Evidence of the mean, and units that make it up, the strongest first ``(c,)``.

    ``question`` is each one's strongest, ``since`` for how many panes it has had evidence.
    """

    log_e: float
    units: IntArray
    each: FloatArray
    question: IntArray
    since: IntArray


class Step(NamedTuple):
    """What a pane did: evidence now, an alarm, and units that are back ``(c,)``."""

    watch: Watch
    log_e: float
    alarm: Alarm | None
    back: IntArray


def start(fixed: ErrorsFixed) -> Watch:
    """Nothing has risen."""
    k = len(fixed.questions.share)
    return Watch(DETECTOR.start(fixed), recovery.start(recovery.bets(fixed.questions)), np.zeros(k))


def step(fixed: ErrorsFixed, watch: Watch, pane: Answers, threshold: float) -> Step:
    """Take in a pane; ``threshold`` is log A."""
    state, told = DETECTOR.score(fixed, watch.risen, pane)
    risen = _open(fixed, watch).any(axis=1)  # what is back in this pane has evidence of the time when it was not
    watch, back = _back(fixed, watch._replace(risen=state), pane)
    weight = np.where(risen, 0.0, _weights(fixed))
    with np.errstate(divide="ignore"):
        each = np.nan_to_num(told.log_e, nan=-np.inf) + np.log(weight)
    log_e = float(np.logaddexp.reduce(each))
    if log_e < threshold:
        return Step(watch, log_e, None, back)
    order = np.argsort(-each, kind="stable")
    units = order[each[order] >= min(threshold - np.log(len(each)), each.max())]
    question = np.nan_to_num(told.extra["question"][units], nan=0.0).astype(np.int64)
    since = np.nan_to_num(told.extra["since"][units], nan=1.0).astype(np.int64)
    alarm = Alarm(log_e, units, told.log_e[units], question, since)
    return Step(_alarmed(fixed, watch, alarm), log_e, alarm, back)


def units(fixed: ErrorsFixed) -> int:
    """All rows, and the segments."""
    return int(fixed.plan.segments) + 1


def _weights(fixed: ErrorsFixed) -> FloatArray:
    usable = np.greater(fixed.bets.usable.reshape(units(fixed), -1).sum(axis=1), 0)
    some = usable[1:].sum()
    whole = 1.0 if not some else _SHARE
    weight: FloatArray = np.append(whole, np.repeat((1 - whole) / max(some, 1), len(usable) - 1)) * usable
    return weight


def _open(fixed: ErrorsFixed, watch: Watch) -> NDArray[np.bool_]:
    """Questions that have risen, by unit ``(u, width)``."""
    return (watch.open > 0).reshape(units(fixed), width(fixed.plan))


def _alarmed(fixed: ErrorsFixed, watch: Watch, alarm: Alarm) -> Watch:
    """What was told of has risen: the strongest question, and that about all rows if it has evidence of its own."""
    wide = width(fixed.plan)
    first = alarm.units * wide
    risen = np.concatenate([first + alarm.question, first[watch.risen.cusum[first].max(axis=1) > 0]])
    open_ = watch.open.copy()
    open_[risen] = 1.0
    marked = np.isin(np.arange(units(fixed)), alarm.units)
    return watch._replace(risen=DETECTOR.forget(fixed, watch.risen, marked), open=open_)


def _back(fixed: ErrorsFixed, watch: Watch, pane: Answers) -> tuple[Watch, IntArray]:
    """Follow what has risen; a unit is back when all of its questions are."""
    before = _open(fixed, watch)
    if not before.any():
        return watch, np.zeros(0, np.int64)
    asked = fixed.questions._replace(unit=np.arange(len(watch.open)))
    yes, rows = (part.astype(np.float64) for part in pane)
    state, log_e = recovery.follow(recovery.bets(asked), asked, watch.back, (yes, rows), watch.open > 0)
    with np.errstate(invalid="ignore"):
        over = (log_e >= recovery.RECOVERED).reshape(before.shape)
    lasts = (before & ~over).any(axis=1)
    back = np.flatnonzero(before.any(axis=1) & ~lasts)
    keep = np.repeat(lasts, before.shape[1])
    state = recursion.forget(state, ~keep)
    marked = np.isin(np.arange(units(fixed)), back)
    risen = DETECTOR.forget(fixed, watch.risen, marked)
    return Watch(risen, state, watch.open * keep), back
