"""What a finding is called: failure modes with their support, reliability or robustness, and what to do first. Pure.

Only what the finding itself knows is used. A shift is known, its cause is not; a fault is known, whether the world or
the pipeline made it is not. `detectors.taxonomy` holds the names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from detectors.taxonomy import MODES, Mode, Rule, kind_of

LOW, MEDIUM, HIGH = "low", "medium", "high"
UNSEEN: Final = {"e_new_category", "e_out_of_range"}
"""Detectors whose alarm says that values came which the reference never showed."""

_INTEGRITY: Final = {"data_fault": "unlocated", "attack": "one_client"}
_STRATA: Final = (
    "Look at the strata whose shares moved.",
    "Ask whether that traffic was meant to come or to go.",
    "Check the model's errors in the strata that grew.",
)
"""First steps where only the mix of the traffic changed."""


class Facts(NamedTuple):
    """What a finding knows; ``detectors`` are those of its units, ``log_e`` is NaN for a detector without a promise."""

    failure_mode: str
    triage: str
    subject: str
    severity: str
    detectors: tuple[str, ...]
    log_e: float


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


def named(facts: Facts) -> dict[str, Any]:
    """Give the finding's names in JSON form; the first mode is the finding's own."""
    kind = _kind(facts)
    first, *more = _modes(facts)
    mix = facts.subject == "mix"
    return {
        "failure_modes": [one.as_dict() for one in (first, *more)],
        "kind_of_failure": {"kind": kind.kind, "sub": kind.sub, "reason": kind.reason},
        "not_observable": first.mode.not_observable,
        "first_steps": list(_STRATA if mix else first.mode.first_steps),
    }


def _modes(facts: Facts) -> Iterator[Named]:
    yield Named(MODES[facts.failure_mode], *_support(facts))
    if UNSEEN & set(facts.detectors) and facts.failure_mode != "incomplete_testing":
        reason = "values came that the reference never showed: where it is what was tested, they are not tested"
        yield Named(MODES["incomplete_testing"], MEDIUM, reason)


def _support(facts: Facts) -> tuple[str, str]:
    """How strongly the finding's own evidence supports its failure mode, and why: the first case that holds."""
    fault, unseen = facts.triage == "data_fault", set(facts.detectors) <= UNSEEN
    cases = (
        (fault and unseen, MEDIUM, "values came that the reference never showed: a fault, or something new"),
        (fault, HIGH, "values are missing, not finite, of a wrong type or new more often than in the reference"),
        (facts.triage == "unknown", LOW, "values lie outside of the reference's range: a shift, or a fault"),
        (facts.triage == "attack", MEDIUM, "the queries have its pattern; what their sender wants is not known"),
        (math.isnan(facts.log_e), LOW, "a detector that promises nothing about false alarms says so"),
        (facts.subject == "mix", HIGH, "the shares of the strata moved, and only those"),
        (facts.severity == "info", MEDIUM, "rows differ from the reference, perhaps by less than smallest_shift"),
        (True, HIGH, "rows differ from the reference by more than smallest_shift, within the budget"),
    )
    support, why = next((support, why) for holds, support, why in cases if holds)
    return support, f"{why}; cause unknown"


def _kind(facts: Facts) -> Rule:
    """No labels are read, so that errors are unknown. Detectors without a promise establish no shift."""
    promised = not (facts.severity == "info" and math.isnan(facts.log_e))
    return kind_of(shift=promised, integrity=_INTEGRITY.get(facts.triage, "none"))
