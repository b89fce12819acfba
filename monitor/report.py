"""What the engine says about a pane: evidence, findings, recoveries. Every sink gets these and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detectors.compare import Comparison
from detectors.heuristics import HEURISTICS
from detectors.types import Evidence, FloatArray, Questions
from detectors.univariate.mix import MixChange
from monitor.naming import NOT_COLUMNS, OUTCOME, Facts, named

DATA_FAULTS = ("missing", "nonfinite", "new_category", "type_fault")
"""Rate detectors whose rise means that the data is at fault; `out_of_range` may be a shift as well."""


@dataclass(frozen=True, slots=True)
class Culprit:
    """One unit that a finding names, with its size since the onset.

    ``members`` are the columns (positions in the grid) that it speaks of: the unit itself, or those that change
    jointly. ``together`` are groups of columns, one of them a member, that are strongly correlated in the reference:
    they cannot be told apart. ``view`` is the joint view that differs, "" for a column by itself.
    """

    unit: str
    index: int
    detector: str
    log_e: float
    effect_name: str
    effect: float
    effect_low: float
    effect_high: float
    reference_value: float
    window_value: float
    members: tuple[int, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()
    view: str = ""

    def as_dict(self) -> dict[str, Any]:
        """JSON form; numbers rounded to six digits, NaN as null."""
        return {
            "unit": self.unit,
            "detector": self.detector,
            "log_e": number(self.log_e),
            "effect": number(self.effect),
            "effect_name": self.effect_name,
            "effect_low": number(self.effect_low),
            "effect_high": number(self.effect_high),
            "reference": number(self.reference_value),
            "window": number(self.window_value),
            "together": [list(group) for group in self.together],
            "view": self.view or None,
        }


def triage_of(detector: str, support: float) -> str:
    """Shift, data fault or unknown. Values out of range are a shift if the distribution's own evidence says so.

    ``support`` is that evidence for the same unit (log e), NaN where there is none to be had.
    """
    name = detector.removeprefix("e_")
    if name in DATA_FAULTS:
        return "data_fault"
    if name == "out_of_range":
        return "unknown" if math.isnan(support) else "shift" if support > 0 else "data_fault"
    return "shift"


def culprit_of(
    name: str,
    index: int,
    detector: str,
    log_e: float,
    asked: Questions,
    answers: tuple[FloatArray, FloatArray],
    reference_rows: float,
) -> Culprit:
    """A unit with the size of its change: the question whose share of yes rose most, with a 95 % normal interval."""
    yes, rows = answers
    mine = np.flatnonzero((asked.unit == index) & (rows > 0))
    label = "ks_distance" if detector == "e_ks" else "rate_change"
    if not mine.size:
        nan = float("nan")
        return Culprit(name, index, detector, log_e, label, nan, nan, nan, nan, nan, (index,))
    share = yes[mine] / rows[mine]
    best = int(np.argmax(share - asked.share[mine]))
    now, before, n = float(share[best]), float(asked.share[mine[best]]), float(rows[mine[best]])
    spread = now * (1 - now) / n + before * (1 - before) / max(reference_rows, 1.0)
    error = 1.96 * math.sqrt(spread) + 1 / n
    change = now - before
    return Culprit(name, index, detector, log_e, label, change, change - error, change + error, before, now, (index,))


def sized(culprit: Culprit, moved: float, rows: float) -> Culprit:
    """A joint culprit whose size is known: by the pane's own ``moved`` mass where the rows since the onset tell none.

    ``rows`` of the pane, independent ones; the interval is Dvoretzky-Kiefer-Wolfowitz's at 95 %.
    """
    if culprit.effect_low > 0 or not math.isfinite(moved) or not rows > 0:
        return culprit
    error = math.sqrt(math.log(2 / 0.05) / (2 * rows))
    low, high = max(moved - error, 0.0), min(moved + error, 1.0)
    return dataclasses.replace(culprit, effect=moved, effect_low=low, effect_high=high)


def window_culprit(name: str, index: int, size: Evidence | None, detector: str = "window") -> Culprit:
    """A column with its size over the window, from the evidence that measures it."""
    nan = float("nan")
    if size is None:
        return Culprit(name, index, detector, nan, "total_variation", nan, nan, nan, nan, nan, (index,))
    effect, low, high = (float(part[index]) for part in (size.effect, size.effect_low, size.effect_high))
    return Culprit(name, index, detector, nan, size.effect_name, effect, low, high, nan, nan, (index,))


@dataclass(frozen=True, slots=True)
class Finding:
    """An immutable sentence: what, where, since when, how sure, measured by which ruler.

    ``subject`` is "mix" where the traffic's mix changed, with the ``strata`` that did (name, share expected, share
    now), "sender" where somebody's queries or labels are meant, else "data". ``evidence`` are further parts in JSON
    form, such as the fault tree.
    """

    model: str
    stream: str
    time: float
    pane: int
    failure_mode: str
    triage: str
    severity: str
    detector: str
    units: tuple[Culprit, ...]
    log_e: float
    threshold: float
    since_pane: int
    since_time: float
    rows: int
    grid_id: str
    config_id: str
    joins: str = ""
    subject: str = "data"
    strata: tuple[tuple[str, float, float], ...] = ()
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Stable over restarts: the same pane judged again gives the same finding."""
        key = (self.model, self.stream, self.pane, self.severity, self.detector, self.failure_mode, self.units[0].unit)
        return hashlib.sha256(repr(key).encode()).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """JSON form (design.md section 5)."""
        detectors = (self.detector, *(unit.detector for unit in self.units))
        about = (self.failure_mode, self.triage, self.subject, self.severity)
        facts = Facts(*about, detectors, self.log_e, self.evidence)
        return {
            "kind": "finding",
            "id": self.id,
            "model": self.model,
            "stream": self.stream,
            "time": _instant(self.time),
            "pane": self.pane,
            "failure_mode": self.failure_mode,
            **named(facts),
            "triage": self.triage,
            "subject": self.subject,
            "severity": self.severity,
            "detector": self.detector,
            "units": [unit.as_dict() for unit in self.units],
            "log_e": number(self.log_e),
            "threshold": number(self.threshold),
            "since_pane": self.since_pane,
            "since_time": _instant(self.since_time),
            "rows": self.rows,
            "grid_id": self.grid_id,
            "config_id": self.config_id,
            "joins": self.joins,
            "strata": [
                {"stratum": name, "reference": number(before), "window": number(now)}
                for name, before, now in self.strata
            ],
            "evidence": dict(self.evidence),
        }

    def sentence(self) -> str:
        """What a tired person reads first."""
        first = self.units[0]
        what = "change of the traffic's mix" if self.subject == "mix" else self.failure_mode.replace("_", " ")
        what = "more errors" if self.subject == OUTCOME else what
        if self.subject == "sender" and self.triage == "unknown" and first.detector in HEURISTICS:
            what = HEURISTICS[first.detector].claim  # nobody knows what it is: say what was seen
        beside = len(self.units) - 1
        more = f" and {beside} more columns" if beside and self.subject not in NOT_COLUMNS else ""
        size = f"{first.effect_name} {first.effect:.3g}"
        return (
            f"{self.severity}: {what} in {first.unit}{more} "
            f"({size}, by {first.detector}) since pane {self.since_pane}, found in pane {self.pane}"
        )


@dataclass(frozen=True, slots=True)
class Recovered:
    """Units of a finding that are back; ``ids`` are the findings that end with it."""

    ids: tuple[str, ...]
    units: tuple[str, ...]
    pane: int
    time: float

    def as_dict(self, model: str, stream: str) -> dict[str, Any]:
        """JSON form, beside those of findings."""
        return {
            "kind": "recovery",
            "model": model,
            "stream": stream,
            "time": _instant(self.time),
            "pane": self.pane,
            "units": list(self.units),
            "findings": list(self.ids),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All that one closed pane gave.

    ``evidence`` and ``log_e`` are by column, ``joint`` by view of the joint layer (window tests only in full windows).
    """

    stream: str
    pane: int
    start: float
    end: float
    rows: int
    evidence: Mapping[str, Evidence]
    comparison: Comparison
    log_e: FloatArray
    mean_log_e: float
    threshold: float
    findings: tuple[Finding, ...]
    recovered: tuple[Recovered, ...]
    joint: Mapping[str, Evidence] = field(default_factory=dict)
    mix: MixChange | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def number(value: float) -> float | None:
    """Six significant digits; JSON has neither NaN nor infinity."""
    if not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _instant(value: float) -> float | None:
    """Milliseconds are enough."""
    return round(value, 3) if math.isfinite(value) else None
