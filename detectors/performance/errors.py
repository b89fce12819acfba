"""The error stream: the model answers wrong more often than it did, at any time so far.

Question: H0: no question below is answered yes by a larger share of rows than on the reference, its own error and the
smallest rise that matters (``tolerance``) included. Of a classifier: is the answer wrong, among all rows, those of
each predicted class, and those of each eighth of its scores (of two classes: of either answer's scores)? Of a
regression: is the error beyond its quantiles on the reference, in size and to either side, and in size among each
eighth of the predictions? With ``asks`` set to "calibration": does it come true, does it not, among each eighth?
Statistic: mean over the usable of a unit's questions of five Shiryaev-Roberts recursions each (see
`detectors.sequential.recursion`).
Null law: E[R_t] <= t, so that a threshold of A gives at least A panes between false alarms; tempered by the answers'
autocorrelation time. The reference's error is the upper Clopper-Pearson bound at 97.5 % over all questions of a unit.
Sees / blind to: concept shift, which nothing sees without labels. Questions within scores see a shift that the mean
hides, and ask nothing new where only the mix of scores has moved. Blind to rises below the tolerance. Labels that come
sooner for wrong answers than for right ones look like errors: judge cohorts whose labels are complete.
Unit 0 are all rows, the others the segments. Weights are not looked at. Rows of one pane may come in any order.
Cost: 0.1 us a row and 5 exponentials a question and pane.
Source: Podkopaev and Ramdas 2022 (tracking the risk of a deployed model); Shin, Ramdas and Rinaldo 2022 (e-detectors).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.maths import binomial
from detectors.performance.layout import known, scores
from detectors.performance.types import Outcomes
from detectors.sequential import dependence, recursion
from detectors.types import Evidence, FloatArray, IntArray, Questions, Reason

Asks = Literal["errors", "calibration"]
PARTS: Final = 8
"""Cells of scores (of either answer of two) or of predictions, equally full on the reference."""
MOST_CLASSES: Final = 16
"""Predicted classes that are asked about apart; all others share the last question."""
SIZES: Final = np.array([0.5, 0.75, 0.9, 0.95])
"""Quantiles of the error's size whose passing is asked about, and `SIDES` of the error itself."""
SIDES: Final = np.array([0.1, 0.9])
STEPS: Final = np.array([0.02, 0.05, 0.1, 0.2, 0.4])
"""Alternatives p1 - p0: errors of few rows may rise by much."""
_LEVEL: Final = 0.025
_MOST_COUNTS: Final = 2_000_000


class Plan(NamedTuple):
    """What is asked: number of ``classes ()`` (0: a regression), ``segments ()``, ``calibration ()`` or errors.

    ``cuts (2, PARTS - 1)`` of the scores of either answer of two classes, else ``(1, PARTS - 1)`` of scores or
    predictions; of a regression ``limits (6,)`` of the error as `SIZES` and `SIDES` say, and ``within (PARTS,)`` of its
    size.
    """

    classes: IntArray
    segments: IntArray
    calibration: NDArray[np.bool_]
    cuts: FloatArray
    limits: FloatArray
    within: FloatArray


class Answers(NamedTuple):
    """Rows that say yes and rows asked, ``(k,)`` int64: add them up, or take back a corrected label's, in any order."""

    yes: IntArray
    asked: IntArray

    def plus(self, other: Answers, sign: int = 1) -> Answers:
        """All rows of both, or without those of the other."""
        return Answers(self.yes + sign * other.yes, self.asked + sign * other.asked)


class Run(NamedTuple):
    """Rows that follow each other, and their segments ``(n,)``."""

    outcomes: Outcomes
    segment: IntArray | None = None


class ErrorsFixed(NamedTuple):
    """The questions, unit by unit, the bets on them, and what is asked of a row."""

    plan: Plan
    questions: Questions
    bets: recursion.Bets


@dataclass(frozen=True, slots=True)
class Errors:
    """E-detector of the error stream, in the shape of `detectors.types.EDetector`, on outcomes in place of inputs."""

    tolerance: float = 0.01
    asks: Asks = "errors"
    failure_modes: tuple[str, ...] = ("distributional_shift", "incomplete_testing")

    @property
    def name(self) -> str:
        """Catalogue key."""
        return f"e_{self.asks}"

    def fit(
        self, outcomes: Outcomes, segment: IntArray | None = None, segments: int = 0, *, run: Run | None = None
    ) -> ErrorsFixed:
        """Measure a labelled reference, in the order of time; ``segment (n,)`` from 0, -1: in none.

        Where that is a sample, ``run`` are some of its rows that follow each other: dependence shows in these alone.
        """
        plan = _plan(outcomes, segments, calibration=self.asks == "calibration")
        counted = _counted(plan, _asked(plan, outcomes, segment))
        yes, asked = (one.astype(np.float64) for one in counted)
        tau = _tau(plan, _asked(plan, *(Run(outcomes, segment) if run is None else run)))
        unit = np.repeat(np.arange(segments + 1), width(plan))
        bound = binomial.upper(yes / tau, asked / tau, _LEVEL / width(plan))
        share = np.divide(yes, asked, out=np.zeros_like(yes), where=asked > 0)
        p0 = np.minimum(bound + self.tolerance, 1.0)
        return ErrorsFixed(plan, Questions(unit, share, p0, tau), recursion.bets(p0, tau, STEPS))

    def questions(self, fixed: ErrorsFixed) -> Questions:
        """What is asked of every row."""
        return fixed.questions

    def answers(self, fixed: ErrorsFixed, outcomes: Outcomes, segment: IntArray | None = None) -> Answers:
        """Count the rows of a pane; those without prediction or label are not asked."""
        return _counted(fixed.plan, _asked(fixed.plan, outcomes, segment))

    def answers_by(
        self, fixed: ErrorsFixed, outcomes: Outcomes, pane: IntArray, panes: int, segment: IntArray | None = None
    ) -> Answers:
        """Count the rows of several panes, ``pane (n,)`` from 0: ``(panes, k)`` each."""
        counted = _counted(fixed.plan, _asked(fixed.plan, outcomes, segment, pane), panes)
        return Answers(*(part.reshape(panes, -1) for part in counted))

    def start(self, fixed: ErrorsFixed) -> recursion.Recursion:
        """Begin with no evidence."""
        return recursion.start(fixed.bets)

    def score(
        self, fixed: ErrorsFixed, state: recursion.Recursion, pane: Answers
    ) -> tuple[recursion.Recursion, Evidence]:
        """One step; ``extra["question"]`` is the number of the strongest (`question`), NaN without evidence."""
        yes, asked = (one.astype(np.float64) for one in pane)
        state = recursion.step(fixed.bets, state, yes, asked)
        unit, wide = fixed.questions.unit, width(fixed.plan)
        units = int(fixed.plan.segments) + 1
        log_e, since = recursion.by_unit(state, unit, units)
        bets = fixed.bets.usable.reshape(units, -1)
        usable = bets.any(axis=1)
        log_e += np.log(bets.shape[1] / np.maximum(bets.sum(axis=1), 1))  # the mean over bets that can be made
        log_e[~usable] = np.nan
        share = np.divide(yes, asked, out=np.full(len(yes), np.nan), where=asked > 0).reshape(units, wide)[:, 0]
        most = state.cusum.max(axis=1).reshape(units, wide)
        nothing = np.full(units, np.nan)
        reason = np.where(usable, Reason.OK, Reason.NO_REFERENCE).astype(np.int8)
        return state, Evidence(
            detector=self.name,
            effect_name="error_change",
            statistic=share,
            effect=share - fixed.questions.share.reshape(units, wide)[:, 0],
            effect_low=nothing,
            effect_high=nothing,
            log_p=nothing,
            log_e=log_e,
            n=asked.reshape(units, wide)[:, 0],
            reason=reason,
            extra={"since": since, "question": np.where(most.max(axis=1) > 0, most.argmax(axis=1), np.nan)},
        )

    def forget(self, fixed: ErrorsFixed, state: recursion.Recursion, units: NDArray[np.bool_]) -> recursion.Recursion:
        """Drop the evidence of the marked units."""
        return recursion.forget(state, units[fixed.questions.unit])


def tolerant(fixed: ErrorsFixed, tolerance: float) -> ErrorsFixed:
    """What was fitted without a tolerance, with one."""
    asked = fixed.questions._replace(p0=np.minimum(fixed.questions.p0 + tolerance, 1.0))
    return fixed._replace(questions=asked, bets=recursion.bets(asked.p0, asked.tau, STEPS))


def tau_of(fixed: ErrorsFixed) -> float:
    """Autocorrelation time of the reference's errors, in rows: what intervals of realised figures are widened by."""
    asked_of_all = len(fixed.plan.limits) if not int(fixed.plan.classes) else 1
    return float(fixed.questions.tau[:asked_of_all].max())


def question(plan: Plan, number: int) -> str:
    """What the question of that number within a unit asks, in words."""
    if bool(plan.calibration):
        parts = _parts(plan)
        side = "comes true more often" if number < parts else "comes true less often"
        return f"{side} {_where(plan, number % parts)}"
    if not int(plan.classes):
        return _of_errors(plan, number)
    if number == 0:
        return "answers are wrong"
    groups = _groups(plan)
    if number <= groups:
        rest = groups == MOST_CLASSES and int(plan.classes) > MOST_CLASSES and number == groups
        return "answers of the other classes are wrong" if rest else f"answers of class {number - 1} are wrong"
    return f"answers are wrong {_where(plan, number - groups - 1)}"


def _of_errors(plan: Plan, number: int) -> str:
    if number < len(SIZES):
        return f"errors are larger than {plan.limits[number]:.4g}"
    if number < len(plan.limits):
        return f"{'under' if number == len(SIZES) else 'over'}estimated by more than {abs(plan.limits[number]):.4g}"
    part = number - len(plan.limits)
    return f"errors are larger than {plan.within[part]:.4g} {_where(plan, part)}"


def _where(plan: Plan, part: int) -> str:
    said, within = divmod(part, PARTS)
    low, high = np.concatenate([[-np.inf], plan.cuts[said], [np.inf]])[within : within + 2]
    what = f"scores of answers {said}" if len(plan.cuts) > 1 else "scores" if int(plan.classes) else "predictions"
    if not np.isfinite(high):
        return f"at {what} from {low:.4g}"
    return f"at {what} from {low:.4g} to {high:.4g}" if np.isfinite(low) else f"at {what} below {high:.4g}"


class _Asked(NamedTuple):
    """Rows that are asked: ``question (j, n)`` of each (-1: none), what they ``say (j, n)``; segment, batch ``(n,)``.

    Without ``batch`` all are of one.
    """

    question: IntArray
    say: NDArray[np.bool_]
    segment: IntArray
    batch: IntArray | None = None


def _groups(plan: Plan) -> int:
    return min(int(plan.classes), MOST_CLASSES)


def width(plan: Plan) -> int:
    """Questions of a unit; the first of a classifier is about all of its rows."""
    if bool(plan.calibration):
        return 2 * _parts(plan)
    return _parts(plan) + (1 + _groups(plan) if int(plan.classes) else len(plan.limits))


def _parts(plan: Plan) -> int:
    return len(plan.cuts) * PARTS


def _plan(outcomes: Outcomes, segments: int, *, calibration: bool) -> Plan:
    """Fix cuts and limits on the reference."""
    if outcomes.kind == "ranking" or (calibration and outcomes.kind == "regression"):
        raise ValueError(f"`outcomes` of a {outcomes.kind} have no such stream: give binary or multiclass ones")
    k = 0 if outcomes.kind == "regression" else 2
    if outcomes.kind == "multiclass":
        given = scores(outcomes).shape[1]
        both = np.concatenate([known(outcomes.prediction, 2), known(outcomes.truth, 2), [-1.0]])
        k = given or int(np.nanmax(both)) + 1
    rows = _usable(outcomes, k)
    place, side = _placed(outcomes, k)[rows], _side(outcomes, k)[rows]
    cuts = np.array([_cuts(place[side == one]) for one in range(2 if k == 2 else 1)])
    limits = np.zeros(len(SIZES) + len(SIDES)), np.zeros(PARTS)
    plan = Plan(np.array(k), np.array(segments), np.array(calibration), cuts, *limits)
    return plan if k or not rows.any() else _limits(plan, _error(outcomes)[rows], place)


def _cuts(place: FloatArray) -> FloatArray:
    """Cuts ``(PARTS - 1,)`` at quantiles, infinite where there are too few values."""
    some, out = place[np.isfinite(place)], np.full(PARTS - 1, np.inf)
    if len(some):
        made = np.unique(np.quantile(some, np.arange(1, PARTS) / PARTS, method="inverted_cdf"))
        out[: len(made)] = made
    return out


def _limits(plan: Plan, error: FloatArray, place: FloatArray) -> Plan:
    """Quantiles of a regression's errors on the reference, over all and by prediction."""
    size, part = np.abs(error), np.searchsorted(plan.cuts[0], place, side="right")
    sizes, sides = np.quantile(size, SIZES, method="higher"), np.quantile(error, SIDES, method="nearest")
    within = [size[part == i] for i in range(PARTS)]
    limits = [float(np.quantile(one, 0.75, method="higher")) if len(one) else np.inf for one in within]
    return plan._replace(limits=np.concatenate([sizes, sides]), within=np.array(limits))


def _error(outcomes: Outcomes) -> FloatArray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(outcomes.prediction, np.float64) - np.asarray(outcomes.truth, np.float64)


def _usable(outcomes: Outcomes, k: int) -> NDArray[np.bool_]:
    both = known(outcomes.prediction, k) + known(outcomes.truth, k)
    usable: NDArray[np.bool_] = ~np.isnan(both)
    return usable


def _placed(outcomes: Outcomes, k: int) -> FloatArray:
    """What rows are divided by ``(n,)``: score of class 1, or of the surest class; prediction of a regression."""
    if not k:
        return np.asarray(outcomes.prediction, np.float64)
    given = scores(outcomes)
    return np.maximum.reduce(given, axis=1) if given.shape[1] else np.full(len(given), np.nan)


def _side(outcomes: Outcomes, k: int) -> IntArray:
    """The answer ``(n,)`` of two, by which scores are divided first: 0 for all else."""
    if k != 2:
        return np.zeros(len(outcomes.prediction), np.int64)
    return np.equal(outcomes.prediction, 1).astype(np.int64)


def _part(plan: Plan, outcomes: Outcomes) -> IntArray:
    """The part that each row belongs to, -1 without score."""
    k = int(plan.classes)
    place, side = _placed(outcomes, k), _side(outcomes, k)
    found = np.full(len(place), -1, np.int64)
    for one, cuts in enumerate(plan.cuts):
        mine = ~np.isnan(place) & (side == one)
        found[mine] = np.searchsorted(cuts, place[mine], side="right") + one * PARTS
    return found


def _asked(plan: Plan, outcomes: Outcomes, segment: IntArray | None, batch: IntArray | None = None) -> _Asked:
    """Put the questions to the rows."""
    if segment is not None and len(segment) and int(segment.max()) >= int(plan.segments):
        raise ValueError(f"`segment` goes up to {int(segment.max())}: the reference has {int(plan.segments)} segments")
    k, rows = int(plan.classes), _usable(outcomes, int(plan.classes))
    where = np.full(len(rows), -1, np.int64) if segment is None else segment
    part = _part(plan, outcomes)[rows]
    ask = _of_calibration if bool(plan.calibration) else _of_classes if k else _of_numbers
    question, say = ask(plan, outcomes, rows, part)
    return _Asked(question, say, where[rows], None if batch is None else batch[rows])


Put = tuple[IntArray, NDArray[np.bool_]]


def _of_classes(plan: Plan, outcomes: Outcomes, rows: NDArray[np.bool_], part: IntArray) -> Put:
    said = np.asarray(outcomes.prediction)[rows].astype(np.int64)
    wrong = said != np.asarray(outcomes.truth)[rows]
    groups = _groups(plan)
    score = np.where(part < 0, -1, 1 + groups + part)
    return np.stack([np.zeros_like(said), 1 + np.minimum(said, groups - 1), score]), np.stack([wrong] * 3)


def _of_calibration(plan: Plan, outcomes: Outcomes, rows: NDArray[np.bool_], part: IntArray) -> Put:
    truth, given = np.asarray(outcomes.truth)[rows].astype(np.int64), scores(outcomes)[rows]
    came = truth == 1 if int(plan.classes) == 2 else (given.argmax(axis=1) == truth if given.shape[1] else truth < 0)
    return np.stack([part, np.where(part < 0, -1, part + _parts(plan))]), np.stack([came, ~came])


def _of_numbers(plan: Plan, outcomes: Outcomes, rows: NDArray[np.bool_], part: IntArray) -> Put:
    error = _error(outcomes)[rows]
    size, (low, high) = np.abs(error), plan.limits[len(SIZES) :]
    say = [*(size > limit for limit in plan.limits[: len(SIZES)]), error < low, error > high]
    question = np.repeat(np.arange(len(say))[:, None], len(error), axis=1)
    return np.vstack([question, len(say) + part]), np.stack([*say, size > plan.within[part]])


def _counted(plan: Plan, rows: _Asked, batches: int = 1) -> Answers:
    """Count by question of all rows and of each segment, ``(batches x k,)``."""
    wide, units = width(plan), int(plan.segments) + 1
    size = batches * units * wide
    begin = 0 if rows.batch is None else rows.batch * (units * wide)
    yes, asked = np.zeros((2, size), np.int64)
    for question, say in zip(rows.question, rows.say, strict=True):
        for base, some in ((0, question >= 0), ((rows.segment + 1) * wide, (question >= 0) & (rows.segment >= 0))):
            at = (question + base + begin)[some]
            asked += np.bincount(at, minlength=size)
            yes += np.bincount(at[say[some]], minlength=size)
    return Answers(yes, asked)


def _tau(plan: Plan, rows: _Asked) -> FloatArray:
    """Autocorrelation times of the answers to all questions, from batches of consecutive rows."""
    n, k = len(rows.segment), width(plan) * (int(plan.segments) + 1)
    each = max(dependence.base_rows(n), n * k // _MOST_COUNTS + 1)
    batches = n // each
    n = batches * each
    whole = _Asked(rows.question[:, :n], rows.say[:, :n], rows.segment[:n], np.arange(n) // each)
    counted = _counted(plan, whole, max(batches, 1))
    return dependence.of_counts(*(one.reshape(-1, k).astype(np.float64) for one in counted))
