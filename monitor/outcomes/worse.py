"""What is said about errors that have risen: since when, how sure, by how much, of which versions and segments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from detectors.performance import intervals
from detectors.performance.errors import ErrorsFixed, question, width
from detectors.performance.watch import Alarm
from detectors.types import FloatArray, IntArray
from monitor.naming import OUTCOME
from monitor.outcomes.door import OUTCOMES
from monitor.outcomes.ripening import Panes
from monitor.report import Culprit, Finding, number

DETECTOR: Final = "e_errors"
NAMED: Final = 10
"""Segments and questions that are listed, the largest rise first."""
_MODE: Final = "distributional_shift"


class Rise(NamedTuple):
    """A question's share of yes before and since, with its 95 % interval; of ``rows`` labelled rows."""

    before: float
    now: float
    low: float
    high: float
    rows: int

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        parts = {name: number(float(value)) for name, value in self._asdict().items()}
        return {**parts, "rows": self.rows}


class Worse(NamedTuple):
    """An alarm and all judged ``panes``; it is about one of the ``versions`` (``whose``), -1: about all of them."""

    fixed: ErrorsFixed
    alarm: Alarm
    versions: Sequence[str]
    whose: int
    segments: Sequence[str]
    panes: Panes
    threshold: float
    inputs_moved: bool

    @property
    def since(self) -> Panes:
        """Panes since the evidence began."""
        mine = self.panes if self.whose < 0 else self.panes.at(self.panes.version == self.whose)
        return mine.at(slice(-max(int(self.alarm.since[0]), 1), None))

    @staticmethod
    def joined(found: Finding, head: str) -> Finding:
        """The finding as one that belongs to another: somebody has been called already."""
        return dataclasses.replace(found, joins=head, severity="ticket")

    def rise(self, number_: int, panes: Panes | None = None) -> Rise:
        """Of a question; its rows are worth what their dependence leaves."""
        panes = self.since if panes is None else panes
        yes, asked = int(panes.yes[:, number_].sum()), int(panes.asked[:, number_].sum())
        questions = self.fixed.questions
        now = yes / asked if asked else float("nan")
        ends = intervals.shares(now, asked / float(questions.tau[number_])) if asked else (float("nan"), float("nan"))
        return Rise(float(questions.share[number_]), now, *ends, asked)

    def asked(self, place: int) -> int:
        """The question that says most of a unit: of all its rows if their errors have risen, else the strongest."""
        first = int(self.alarm.units[place]) * width(self.fixed.plan)
        surely = int(self.fixed.plan.classes) > 0 and self.rise(first).low > self.fixed.questions.p0[first]
        return first if surely else first + int(self.alarm.question[place])

    def culprit(self, place: int) -> Culprit:
        """A unit with its size; the low end is what is above the largest share that the reference may have had."""
        asked = self.asked(place)
        one = self.rise(asked)
        low = one.low - float(self.fixed.questions.p0[asked])
        whose = "" if self.whose < 0 else f" of version {self.versions[self.whose]}"
        name = f"{name_of(int(self.alarm.units[place]))}{whose}"
        size = (one.now - one.before, low, one.high - one.before, one.before, one.now)
        return Culprit(name, -1, DETECTOR, float(self.alarm.each[place]), "error_change", *size)

    def evidence(self) -> dict[str, Any]:
        """What has risen most, and where."""
        wide, panes = width(self.fixed.plan), self.since
        first = int(self.alarm.units[0])
        risen = self._largest(np.arange(wide) + first * wide)
        beside = self.panes.at(self.panes.end >= panes.start.min())
        return {
            "question": question(self.fixed.plan, self.asked(0) % wide),
            "inputs_moved": self.inputs_moved,
            "panes": len(panes.number),
            "from": number(float(panes.start.min())),
            "until": number(float(panes.end.max())),
            "risen": [{"question": question(self.fixed.plan, at % wide), **self.rise(at).as_dict()} for at in risen],
            "versions": [
                {"version": self.versions[one], **self.rise(0, beside.at(beside.version == one)).as_dict()}
                for one in np.unique(beside.version).tolist()
                if len(self.versions) > 1
            ],
            "segments": [
                {"segment": self.segments[at // wide - 1], **self.rise(at).as_dict()}
                for at in self._largest((np.arange(len(self.segments)) + 1) * wide)
            ],
        }

    def _largest(self, questions: IntArray) -> list[int]:
        """Those asked of anybody, by how surely they have risen."""
        low: FloatArray = np.array([self.rise(at).low - self.fixed.questions.p0[at] for at in questions.tolist()])
        order = questions[np.argsort(-np.nan_to_num(low, nan=-1.0), kind="stable")]
        return [int(at) for at in order[:NAMED] if self.panes.asked[:, at].any()]


def name_of(unit: int) -> str:
    """What a unit is called, without the values that make a segment: these stand in the evidence."""
    return "answers in a segment" if unit else "answers"


class Moved(NamedTuple):
    """When it is told, and whether inputs have moved."""

    now: float
    inputs: bool


def note_of(detector: str, model: str, ids: tuple[str, str], pane: int, moved: Moved) -> Finding:
    """A note: a classical detector says that errors rose, and promises nothing."""
    nan = float("nan")
    unit = Culprit("answers", -1, detector, nan, "error_change", nan, nan, nan, nan, nan)
    told = {"question": "answers are wrong", "inputs_moved": moved.inputs, "risen": [], "versions": [], "segments": []}
    about = (model, OUTCOMES, moved.now, pane, _MODE, "shift", "info", detector, (unit,), nan, nan)
    return Finding(*about, pane, moved.now, 0, ids[1], ids[0], subject=OUTCOME, evidence={"errors": told})


def finding_of(told: Worse, model: str, ids: tuple[str, str], pane: int, now: float) -> Finding:
    """A page; ``ids`` of configuration and grid, ``pane`` is how many have been judged."""
    panes = told.since
    return Finding(
        model=model,
        stream=OUTCOMES,
        time=now,
        pane=pane,
        failure_mode=_MODE,
        triage="shift",
        severity="page",
        detector=DETECTOR,
        units=tuple(told.culprit(place) for place in range(min(len(told.alarm.units), NAMED))),
        log_e=told.alarm.log_e,
        threshold=told.threshold,
        since_pane=pane - len(panes.number) + 1,
        since_time=float(panes.start.min()),
        rows=int(panes.labelled.sum()),
        grid_id=ids[1],
        config_id=ids[0],
        subject=OUTCOME,
        evidence={"errors": told.evidence()},
    )
