"""Verdicts become findings: what is one sentence, what is another, and which alarm it belongs to.

Pure, like the engine that calls it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from detectors.decide.incidents import Incident, joins
from detectors.decide.pages import Alarm
from detectors.types import Evidence, FloatArray, IntArray
from detectors.univariate.mix import MixChange
from monitor.report import Culprit, Finding, triage_of
from monitor.severity import SEVERITY, Severity

if TYPE_CHECKING:
    from monitor.engine import Pane, StreamState

NAMED = 20
"""Culprits listed in one finding; the strongest first."""

STRATA_NAMED = 5
"""Strata listed in a finding about the mix."""

Measure = Callable[[int, int, int], Culprit]
"""(row of the e-detector, unit, age in panes) -> the culprit with its size."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the rules look at in one pane; ``log_e`` is ``(rows of e-detectors, units and views)``.

    ``failures`` takes what went wrong while findings are made.
    """

    stream: str
    pane: Pane
    evidence: Mapping[str, Evidence]
    log_e: FloatArray
    since: FloatArray
    threshold: float
    failures: dict[str, str] = field(default_factory=dict)

    def age(self, row: int, unit: int) -> int:
        """Panes since the evidence began, at least the present one."""
        age = self.since[row, unit]
        return max(int(age), 1) if np.isfinite(age) else 1


@dataclass(frozen=True, slots=True)
class Writer:
    """What every finding of an engine has in common.

    ``rows`` are the e-detectors by name; ``mixing`` marks the units whose change is one of the traffic's mix;
    ``mix_of`` compares rows by stratum with the reference's; ``severity`` weighs what columns have to do with the
    performance.
    """

    model: str
    config_id: str
    grid_id: str
    hold: int
    rows: tuple[str, ...]
    mixing: NDArray[np.bool_]
    strata: tuple[str, ...]
    mix_of: Callable[[IntArray], MixChange | None]
    severity: Severity | None = None

    def alarm(
        self, state: StreamState, context: Context, alarm: Alarm, weight: FloatArray, measure: Measure
    ) -> tuple[list[Finding], dict[tuple[int, int], str]]:
        """One finding per kind of trouble, the strongest first, and who owns which latch afterwards."""
        culprits = sorted(
            ((int(row), int(unit)) for row, unit in np.argwhere(alarm.culprits)),
            key=lambda at: -context.log_e[at] - np.log(weight[at]),
        )
        groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for row, unit in culprits:
            groups.setdefault(self._kind(context, row, unit), []).append((row, unit))
        found: list[Finding] = []
        owners = dict(state.owners)
        head = ""
        for (triage, subject), members in groups.items():
            age = context.age(*members[0])
            units = tuple(measure(row, unit, age) for row, unit in members[:NAMED])
            if not found:
                head = self._head(state, context, units, age)
            mode = "common_corruption" if triage == "data_fault" else "distributional_shift"
            severity, told = "ticket" if head else "page", dict[str, Any]()
            if not head and len(groups) == 1 and (triage, subject) == ("shift", "data") and len(members) <= NAMED:
                severity, told = self._of_page(context, state.panes[-age:], units)
            one = self.finding(state, context, units, (mode, triage, subject), severity, alarm.log_e, age, head)
            found.append(dataclasses.replace(one, evidence=told))
            head = head or found[0].id
            owners.update(dict.fromkeys(members, found[-1].id))
        return found, owners

    def _of_page(self, context: Context, panes: Sequence[Pane], units: Sequence[Culprit]) -> tuple[str, dict[str, Any]]:
        return self.weighed(context, lambda rule: rule.page(panes, units), "page")

    def weighed(
        self, context: Context, rule: Callable[[Severity], tuple[str, dict[str, Any]]], usual: str
    ) -> tuple[str, dict[str, Any]]:
        """A severity by the rule, with its evidence; the usual one where there is no rule, or where it fails."""
        if self.severity is None:
            return usual, {}
        try:
            return rule(self.severity)
        except Exception as fault:  # noqa: BLE001 - whatever it is, the finding calls as loudly as usual
            context.failures[SEVERITY] = f"{type(fault).__name__}: {fault}"
            return usual, {}

    def _kind(self, context: Context, row: int, unit: int) -> tuple[str, str]:
        """Triage, and whether the finding is about the data or about the mix of the traffic."""
        mix = unit < len(self.mixing) and self.mixing[unit] and self.rows[row] == "e_ks"
        return triage_of(self.rows[row], context.log_e[0, unit]), "mix" if mix else "data"

    def _head(self, state: StreamState, context: Context, units: Sequence[Culprit], age: int) -> str:
        """The open finding that an alarm belongs to, "" for none: that of the same columns, or of the last page.

        Views show what a column shows as well, a little later: while its page is open that is no news.
        """
        open_ = {unit: owner for (_, unit), owner in state.owners.items()}
        known = all(unit.index in open_ for unit in units)
        if known and (self.severity is None or open_[units[0].index] == state.incident.id):
            return open_[units[0].index]  # with a rule of severity it may be a ticket, which nobody was woken by
        still_open = state.incident.id in state.owners.values()
        if still_open and all(unit.index >= len(self.mixing) for unit in units):
            return state.incident.id
        belongs = joins(
            state.incident,
            pane=context.pane.number,
            onset=context.pane.number - age + 1,
            effect=largest(units),
            hold=self.hold,
            still_open=still_open,
        )
        return state.incident.id if belongs else ""

    def finding(
        self,
        state: StreamState,
        context: Context,
        units: tuple[Culprit, ...],
        kind: tuple[str, str, str],
        severity: str,
        log_e: float,
        age: int,
        joined: str = "",
    ) -> Finding:
        """``kind`` is failure mode, triage and subject; ``age`` in panes."""
        pane = context.pane
        mode, triage, subject = kind
        return Finding(
            model=self.model,
            stream=context.stream,
            time=pane.end,
            pane=pane.number,
            failure_mode=mode,
            triage=triage,
            subject=subject,
            severity=severity,
            detector=units[0].detector,
            units=units,
            log_e=log_e,
            threshold=context.threshold,
            since_pane=pane.number - age + 1,
            since_time=float(state.starts[-min(age, len(state.starts))]),
            rows=sum(one.summary.rows for one in state.panes[-age:]),
            grid_id=self.grid_id,
            config_id=self.config_id,
            joins=joined,
            strata=self._changed(state.panes[-age:]) if subject == "mix" else (),
        )

    def _changed(self, panes: Sequence[Pane]) -> tuple[tuple[str, float, float], ...]:
        """The strata whose shares changed most, with the share expected and the share since the onset."""
        mix = self.mix_of(np.sum([pane.summary.mix for pane in panes], axis=0))
        if mix is None:
            return ()
        moved = np.abs(np.nan_to_num(mix.z))
        order = np.argsort(-moved, kind="stable")[:STRATA_NAMED]
        return tuple((self.strata[c], float(mix.expected[c]), float(mix.share[c])) for c in order if moved[c] > 0)


def begun(page: Finding) -> Incident:
    """The incident that a page begins."""
    return Incident(page.pane, page.since_pane, largest(page.units), page.id)


def largest(units: Sequence[Culprit]) -> float:
    """The largest effect that is known."""
    return max((unit.effect for unit in units if np.isfinite(unit.effect)), default=0.0)
