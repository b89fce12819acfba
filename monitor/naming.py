"""What a finding is called: failure modes with their support, reliability or robustness, and what to do first. Pure.

Only what the finding itself knows is used. A shift is known, its cause is not; a fault is known, whether the world or
the pipeline made it is not; a pattern of queries is known, what their sender wants is not. Where the finding has been
through the fault tree, its verdict gives the support and the reason. `detectors.taxonomy` holds the names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from detectors.decide.fault_tree import Verdict
from detectors.heuristics import HEURISTICS
from detectors.taxonomy import MODES, Mode, Rule, kind_of

LOW, MEDIUM, HIGH = "low", "medium", "high"
UNSEEN: Final = {"e_new_category", "e_out_of_range"}
"""Detectors whose alarm says that values came which the reference never showed."""
SENDER: Final = "sender"
"""Subject of a finding about queries, their senders, or labels, and not about columns."""
OUTCOME: Final = "outcome"
"""Subject of a finding about the model's answers, held against labels."""
NOT_COLUMNS: Final = (SENDER, OUTCOME)
"""Subjects of findings whose units are no columns."""
FAULT_TREE: Final = "fault_tree"
"""Key of a finding's evidence: its verdict in JSON form."""

_INTEGRITY: Final = {"data_fault": "unlocated", "attack": "one_client"}
_STRATA: Final = (
    "Look at the strata whose shares moved.",
    "Ask whether that traffic was meant to come or to go.",
    "Check the model's errors in the strata that grew.",
)
"""First steps where only the mix of the traffic changed."""
_ASK: Final = (
    "Lay a few of the queries beside each other.",
    "Ask who sends them what they are for.",
    "Look under `not_looked_at` for what nobody could check.",
)
"""First steps where a sender's queries are unusual and no attack, fault or shift is established."""


_WORSE: Final = (
    "See below which answers, versions and segments make most of it.",
    "Check some of the labels by hand: another way of labelling looks the same.",
    "Ask what changed upstream, or in the world, when it began.",
    "If the labels hold, fall back or retrain on rows since then; re-baseline only if more errors are acceptable.",
)
"""First steps where labels show more errors."""


class Facts(NamedTuple):
    """What a finding knows; ``detectors`` are those of its units, ``log_e`` is NaN for a detector without a promise.

    ``evidence`` is the finding's own, in JSON form; under `FAULT_TREE` stands its verdict, if it has one.
    """

    failure_mode: str
    triage: str
    subject: str
    severity: str
    detectors: tuple[str, ...]
    log_e: float
    evidence: Mapping[str, Any] = MappingProxyType({})

    @property
    def verdict(self) -> Mapping[str, Any]:
        """The fault tree's verdict, empty without one."""
        found: Mapping[str, Any] = self.evidence.get(FAULT_TREE) or {}
        return found


class Named(NamedTuple):
    """A failure mode that a finding may be, how strongly the finding supports it, and why."""

    mode: Mode
    support: str
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "mode": self.mode.name,
            "number": self.mode.number,
            "support": self.support,
            "reason": self.reason,
            "severity": self.mode.severity,
            "tags": self.mode.tags,
        }


def mode_of(verdict: Verdict, heuristic: str) -> str:
    """Failure mode of a finding: that of the leading cause, else the first that the heuristic speaks of."""
    return verdict.mode or HEURISTICS[heuristic].modes[0]


_ERRORS_UNSEEN = (
    "Why outcomes follow from inputs otherwise than they did, and what becomes of rows that have no label yet."
)


def named(facts: Facts) -> dict[str, Any]:
    """Give the finding's names in JSON form; the first mode is the finding's own."""
    kind = _kind(facts)
    first, *more = _modes(facts)
    return {
        "failure_modes": [one.as_dict() for one in (first, *more)],
        "kind_of_failure": {"kind": kind.kind, "sub": kind.sub, "reason": kind.reason},
        "not_observable": _ERRORS_UNSEEN if facts.subject == OUTCOME else first.mode.not_observable,
        "first_steps": list(_steps(facts, first.mode)),
    }


def _modes(facts: Facts) -> Iterator[Named]:
    """The finding's own mode, those of further supported causes, and what its detectors may speak of besides."""
    support, reason = _judged(facts) if facts.verdict else _support(facts)
    yield Named(MODES[facts.failure_mode], support, reason)
    told = {facts.failure_mode}
    for name, why in _further(facts):
        if name not in told:
            told.add(name)
            yield Named(MODES[name], *why)


def _further(facts: Facts) -> Iterator[tuple[str, tuple[str, str]]]:
    for one in facts.verdict.get("supported", ()):
        if one["failure_mode"]:
            yield one["failure_mode"], (MEDIUM, f"the facts speak for this too: {_lower(one['title'])}")
    if UNSEEN & set(facts.detectors):
        reason = "values came that the reference never showed: where it is what was tested, they are not tested"
        yield "incomplete_testing", (MEDIUM, reason)
    for heuristic in (HEURISTICS[name] for name in facts.detectors if name in HEURISTICS):
        for mode in heuristic.modes:
            yield mode, (LOW, f"{heuristic.claim}: this would show so too")


def _judged(facts: Facts) -> tuple[str, str]:
    """Support and reason by the fault tree; a mode that it does not lead to has little, but for what was measured."""
    verdict, measured = facts.verdict, facts.subject != SENDER
    title = _lower(verdict["title"])
    if verdict["cause"] and verdict["failure_mode"] == facts.failure_mode:
        support, reason = _measured(facts) if measured else (verdict["support"], title)
        sure = HIGH if HIGH in (support, verdict["support"]) else support
        return sure, f"{title}; what whoever sends them wants is not known" if facts.triage == "attack" else reason
    if measured:
        support, reason = _measured(facts)
        return support, f"{reason}; it may come of this: {title}" if verdict["cause"] else reason
    return LOW, f"another explanation holds: {title}" if verdict["cause"] else "the fault tree establishes no cause"


def _measured(facts: Facts) -> tuple[str, str]:
    """What the detectors themselves say, whatever the tree makes of it."""
    own = "shift" if facts.failure_mode == "distributional_shift" else "data_fault"
    return _support(facts if facts.triage == "unknown" else facts._replace(triage=own))


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]


def _steps(facts: Facts, mode: Mode) -> tuple[str, ...]:
    if facts.subject == "mix":
        return _STRATA
    if facts.subject == OUTCOME:
        return _WORSE
    if facts.subject == SENDER and facts.triage in ("unknown", "shift"):
        return _ASK
    judged = facts.verdict.get("failure_mode") if facts.triage == "attack" else None
    return MODES[judged].first_steps if judged else mode.first_steps


def _support(facts: Facts) -> tuple[str, str]:
    """How strongly the finding's own evidence supports its failure mode, and why: the first case that holds."""
    fault, unseen = facts.triage == "data_fault", set(facts.detectors) <= UNSEEN
    cases = (
        (fault and unseen, MEDIUM, "values came that the reference never showed: a fault, or something new"),
        (fault, HIGH, "values are missing, not finite, of a wrong type or new more often than in the reference"),
        (facts.triage == "unknown", LOW, "values lie outside of the reference's range: a shift, or a fault"),
        (facts.triage == "attack", MEDIUM, "the queries have its pattern; what their sender wants is not known"),
        (math.isnan(facts.log_e), LOW, "a detector that promises nothing about false alarms says so"),
        (facts.subject == OUTCOME, HIGH, "labels show more errors than the reference had, by more than smallest_loss"),
        (facts.subject == "mix", HIGH, "the shares of the strata moved, and only those"),
        (facts.severity == "info", MEDIUM, "rows differ from the reference, perhaps by less than smallest_shift"),
        (True, HIGH, "rows differ from the reference by more than smallest_shift, within the budget"),
    )
    support, why = next((support, why) for holds, support, why in cases if holds)
    return support, f"{why}; cause unknown"


def _kind(facts: Facts) -> Rule:
    """Errors are known of findings about answers alone. Detectors without a promise establish no shift."""
    where = _INTEGRITY.get(facts.triage, "none")
    if facts.triage == "data_fault" and facts.verdict.get("cause") == "corruption":
        where = "everywhere"
    if facts.subject == SENDER:
        return kind_of(shift=facts.triage == "shift", integrity=where)
    if facts.subject == OUTCOME:
        error = "unknown" if math.isnan(facts.log_e) else "worse"
        return kind_of(shift=bool(facts.evidence["errors"]["inputs_moved"]), error=error)
    promised = not (facts.severity == "info" and math.isnan(facts.log_e))
    return kind_of(shift=promised, integrity=where)
