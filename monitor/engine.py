"""One stream's judgement: a closed pane in, a report out.

Pure: state in, state out; it imports only detectors and report. A
detector that fails keeps its old state, is named in
the report, and the others go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import numpy as np

from detectors import parts
from detectors.compare import Baseline, Comparison
from detectors.decide import pages, tickets
from detectors.decide.incidents import Incident, joins
from detectors.registry import SEQUENTIAL, WINDOWED, Tolerances
from detectors.sequential import recovery
from detectors.sequential.recursion import Recursion
from detectors.types import Detector, EDetector, Evidence, FloatArray, Reference, Sample, Summary, Window
from monitor.report import Culprit, Finding, Recovered, Report, culprit_of, triage_of

_ONSETS = 4096
"""Pane start times kept to say since when."""
_NAMED = 20
"""Culprits listed in one finding; the strongest first."""


@dataclass(frozen=True, slots=True)
class Pane:
    """A closed pane: its number in the stream (from 1), its span, the summary of its rows, and some of them by view."""

    number: int
    start: float
    end: float
    summary: Summary
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamState:
    """All that moves: detector states, latches, open findings and the panes of the window."""

    detectors: Mapping[str, Any]
    back: Mapping[str, Recursion]
    pages: pages.PageState
    tickets: tickets.TicketState
    owners: Mapping[tuple[int, int], str]
    ticket_owners: Mapping[int, str]
    incident: Incident
    starts: FloatArray
    released: FloatArray
    panes: tuple[Pane, ...] = ()
    merged: Summary | None = None


@dataclass(frozen=True)
class Engine:
    """The fixed part: a reference measured by every detector, and the rules.

    ``window_panes`` is the window's length; after a page, further alarms within ``hold`` panes join it as tickets.
    """

    model: str
    reference: Reference
    tolerances: Tolerances
    window_panes: int
    hold: int
    config_id: str
    timer: Callable[[], float]
    windowed: Mapping[str, Detector] = field(init=False)
    sequential: Mapping[str, EDetector] = field(init=False)

    def __post_init__(self) -> None:
        """Build the catalogue's detectors with the user's tolerances."""
        object.__setattr__(self, "windowed", {name: make(self.tolerances) for name, make in WINDOWED.items()})
        object.__setattr__(self, "sequential", {name: make(self.tolerances) for name, make in SEQUENTIAL.items()})

    @cached_property
    def baseline(self) -> Baseline:
        """What every comparison shares."""
        return Baseline(self.reference)

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """What each detector measured on the reference."""
        return {name: it.fit(self.reference) for name, it in {**self.windowed, **self.sequential}.items()}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Units in order."""
        return self.reference.grid.names

    @cached_property
    def weight(self) -> FloatArray:
        """Weights of the e-detectors, ``(d, u)`` in the order of `SEQUENTIAL`."""
        units = np.arange(len(self.names))
        usable = np.zeros((len(self.sequential), len(units)), bool)
        for row, (name, it) in enumerate(self.sequential.items()):
            asked = it.questions(self.fixed[name])
            usable[row] = np.isin(units, asked.unit[asked.p0 < 1])
        return pages.weights(usable)

    @cached_property
    def return_bets(self) -> dict[str, Any]:
        """Bets on recovery, per e-detector."""
        return {name: recovery.bets(it.questions(self.fixed[name])) for name, it in self.sequential.items()}

    def start(self) -> StreamState:
        """Begin a stream."""
        units = len(self.names)
        every = {**self.windowed, **self.sequential}
        return StreamState(
            detectors={name: it.start(self.fixed[name]) for name, it in every.items()},
            back={name: recovery.start(bet) for name, bet in self.return_bets.items()},
            pages=pages.start(units, len(self.sequential)),
            tickets=tickets.start(units),
            owners={},
            ticket_owners={},
            incident=Incident(),
            starts=np.zeros(0),
            released=np.full(units, -np.inf),
        )

    def step(
        self, state: StreamState, pane: Pane, stream: str, *, threshold: float, ticket_level: float
    ) -> tuple[StreamState, Report]:
        """Judge one pane. ``threshold`` is A in panes, ``ticket_level`` the chance of a false ticket per window."""
        state = self._slide(state, pane)
        merged = state.merged
        if merged is None:  # pragma: no cover - `_slide` has just put one pane in
            raise RuntimeError("`state` holds no pane")
        comparison = Comparison(self.baseline, merged)
        window = Window(state.panes[0].start, pane.end, comparison, pane.summary)
        evidence, moved, failures, seconds = self._score(state, window)
        state = dataclasses.replace(state, detectors=moved)
        log_e = np.stack([self._log_e(evidence.get(name)) for name in self.sequential])
        context = _Context(stream, pane, evidence, log_e, float(np.log(threshold)))
        mean = pages.mean_log_e(state.pages, log_e, self.weight)
        state, found = self._page(state, context, mean)
        if found:  # the culprits count no more
            mean = pages.mean_log_e(state.pages, log_e, self.weight)
        state, back = self._recover(state, context)
        state, noted, quiet = self._ticket(state, context, ticket_level)
        report = Report(
            stream=stream,
            pane=pane.number,
            start=pane.start,
            end=pane.end,
            rows=pane.summary.rows,
            evidence=evidence,
            comparison=comparison,
            log_e=log_e,
            mean_log_e=mean,
            threshold=threshold,
            findings=tuple(found + noted),
            recovered=tuple(back + quiet),
            failures=failures,
            seconds=seconds,
        )
        return state, report

    def _slide(self, state: StreamState, pane: Pane) -> StreamState:
        panes = (*state.panes, pane)
        merged = pane.summary if state.merged is None else parts.merge(state.merged, pane.summary)
        if len(panes) > self.window_panes:
            merged = parts.remove(merged, panes[0].summary)
            panes = panes[1:]
        starts = np.append(state.starts, pane.start)[-_ONSETS:]
        return dataclasses.replace(state, panes=panes, merged=merged, starts=starts)

    def _score(
        self, state: StreamState, window: Window
    ) -> tuple[dict[str, Evidence], dict[str, Any], dict[str, str], dict[str, float]]:
        evidence: dict[str, Evidence] = {}
        moved: dict[str, Any] = {}
        failures: dict[str, str] = {}
        seconds: dict[str, float] = {}
        every: Iterable[tuple[str, Detector]] = (*self.windowed.items(), *self.sequential.items())
        with np.errstate(all="ignore"):  # NaN and infinity are answers here, and reach nobody without a reason code
            for name, it in every:
                began = self.timer()
                moved[name] = state.detectors[name]
                try:
                    moved[name], evidence[name] = it.score(self.fixed[name], state.detectors[name], window)
                except Exception as fault:  # noqa: BLE001 - whatever it is, the other detectors go on
                    failures[name] = f"{type(fault).__name__}: {fault}"
                seconds[name] = self.timer() - began
        return evidence, moved, failures, seconds

    def _log_e(self, evidence: Evidence | None) -> FloatArray:
        return np.full(len(self.names), np.nan) if evidence is None else evidence.log_e

    def _page(self, state: StreamState, context: _Context, mean: float) -> tuple[StreamState, list[Finding]]:
        if mean < context.threshold:
            return state, []
        latches, alarm = pages.decide(state.pages, context.log_e, self.weight, context.threshold)
        if alarm is None:
            return state, []
        moved = dict(state.detectors)
        for row, (name, it) in enumerate(self.sequential.items()):
            if alarm.spent[row].any():
                moved[name] = it.forget(self.fixed[name], moved[name], alarm.spent[row])
        found, owners = self._findings(state, context, alarm)
        named = np.zeros_like(latches.latched)
        for row, column in owners:
            named[row, column] = 1.0
        incident = state.incident
        if found[0].severity == "page":
            effect = max((unit.effect for unit in found[0].units if np.isfinite(unit.effect)), default=0.0)
            incident = Incident(context.pane.number, found[0].since_pane, effect, found[0].id)
        state = dataclasses.replace(
            state, detectors=moved, pages=pages.PageState(named), owners=owners, incident=incident
        )
        return state, found

    def _findings(
        self, state: StreamState, context: _Context, alarm: pages.Alarm
    ) -> tuple[list[Finding], dict[tuple[int, int], str]]:
        """One finding per kind of trouble, the strongest first, and who owns which latch afterwards."""
        culprits = sorted(
            ((int(row), int(unit)) for row, unit in np.argwhere(alarm.culprits)),
            key=lambda at: -context.log_e[at] - np.log(self.weight[at]),
        )
        groups: dict[str, list[tuple[int, int]]] = {}
        for row, unit in culprits:
            groups.setdefault(triage_of(list(self.sequential)[row], context.log_e[0, unit]), []).append((row, unit))
        found: list[Finding] = []
        owners = dict(state.owners)
        head = ""
        for triage, members in groups.items():
            age = self._age(context, *members[0])
            units = tuple(self._culprit(state, context, row, unit, age) for row, unit in members[:_NAMED])
            if not found and self._joins(state, context, units, age):
                head = state.incident.id
            mode = "common_corruption" if triage == "data_fault" else "distributional_shift"
            severity = "ticket" if head else "page"
            found.append(self._finding(state, context, units, mode, triage, severity, alarm.log_e, age, head))
            head = head or found[0].id
            owners.update(dict.fromkeys(members, found[-1].id))
        return found, owners

    def _joins(self, state: StreamState, context: _Context, units: tuple[Culprit, ...], age: int) -> bool:
        return joins(
            state.incident,
            pane=context.pane.number,
            onset=context.pane.number - age + 1,
            effect=max((unit.effect for unit in units if np.isfinite(unit.effect)), default=0.0),
            hold=self.hold,
            still_open=state.incident.id in state.owners.values(),
        )

    def _finding(
        self,
        state: StreamState,
        context: _Context,
        units: tuple[Culprit, ...],
        mode: str,
        triage: str,
        severity: str,
        log_e: float,
        age: int,
        joins: str = "",
    ) -> Finding:
        pane = context.pane
        return Finding(
            model=self.model,
            stream=context.stream,
            time=pane.end,
            pane=pane.number,
            failure_mode=mode,
            triage=triage,
            severity=severity,
            detector=units[0].detector,
            units=units,
            log_e=log_e,
            threshold=context.threshold,
            since_pane=pane.number - age + 1,
            since_time=float(state.starts[-min(age, len(state.starts))]),
            rows=sum(one.summary.rows for one in state.panes[-age:]),
            grid_id=self.reference.grid.id,
            config_id=self.config_id,
            joins=joins,
        )

    def _age(self, context: _Context, row: int, unit: int) -> int:
        evidence = context.evidence[list(self.sequential)[row]]
        age = evidence.extra["since"][unit]
        return max(int(age), 1) if np.isfinite(age) else 1

    def _culprit(self, state: StreamState, context: _Context, row: int, unit: int, age: int) -> Culprit:
        """Size of the change over the panes since its onset, as far as they are still in the window."""
        name = list(self.sequential)[row]
        it, fixed = self.sequential[name], self.fixed[name]
        merged = reduce(parts.merge, (pane.summary for pane in state.panes[-age:]))
        base = self.baseline.m[unit] if name == "e_ks" else float(self.reference.summary.rows)
        log_e = float(context.log_e[row, unit])
        asked, answers = it.questions(fixed), it.answers(fixed, merged)
        return culprit_of(self.names[unit], unit, name, log_e, asked, answers, float(base))

    def _recover(self, state: StreamState, context: _Context) -> tuple[StreamState, list[Recovered]]:
        latched = state.pages.latched > 0
        if not latched.any():
            return state, []
        back = dict(state.back)
        moved = dict(state.detectors)
        recovered = np.zeros_like(latched)
        for row, (name, it) in enumerate(self.sequential.items()):
            if not latched[row].any():
                continue
            asked = it.questions(self.fixed[name])
            answers = it.answers(self.fixed[name], context.pane.summary)
            back[name], log_e = recovery.follow(self.return_bets[name], asked, back[name], answers, latched[row])
            with np.errstate(invalid="ignore"):
                recovered[row] = log_e >= recovery.RECOVERED
            if recovered[row].any():
                moved[name] = it.forget(self.fixed[name], moved[name], recovered[row])
                gone = recovered[row][asked.unit]
                keep = np.where(gone, 0.0, 1.0)[:, None]
                back[name] = Recursion(*(part * keep for part in back[name]))
        state = dataclasses.replace(state, back=back)
        if not recovered.any():
            return state, []
        ended = [(int(row), int(unit)) for row, unit in np.argwhere(recovered)]
        owners = {at: owner for at, owner in state.owners.items() if at not in ended}
        closed = {state.owners[at] for at in ended if at in state.owners} - set(owners.values())
        state = dataclasses.replace(
            state,
            detectors=moved,
            pages=pages.release(state.pages, recovered),
            owners=owners,
            released=np.where(recovered.any(axis=0), context.pane.number, state.released),
        )
        names = tuple(self.names[unit] for _, unit in ended)
        return state, [Recovered(tuple(sorted(closed)), names, context.pane.number, context.pane.end)]

    def _ticket(
        self, state: StreamState, context: _Context, level: float
    ) -> tuple[StreamState, list[Finding], list[Recovered]]:
        number = context.pane.number
        if number % self.window_panes or len(state.panes) < self.window_panes:
            return state, [], []
        # a page's own panes, still in the window after it has recovered, are no news either
        busy = (state.pages.latched > 0).any(axis=0) | (number - state.released < self.window_panes)
        latches, verdict = tickets.decide(
            state.tickets, context.evidence, tolerance=self.tolerances.shift, level=level, busy=busy
        )
        found: list[Finding] = []
        owners = dict(state.ticket_owners)
        for severity, marked in (("ticket", verdict.tickets), ("info", verdict.notes)):
            for unit in np.flatnonzero(marked):
                one = self._window_finding(state, context, int(unit), severity, verdict.log_p)
                owners[int(unit)] = one.id
                found.append(one)
        ended = [int(unit) for unit in np.flatnonzero(verdict.recovered)]
        closed = tuple(sorted(owners.pop(unit) for unit in ended if unit in owners))
        state = dataclasses.replace(state, tickets=latches, ticket_owners=owners)
        if not closed:
            return state, found, []
        names = tuple(self.names[unit] for unit in ended)
        return state, found, [Recovered(closed, names, number, context.pane.end)]

    def _window_finding(
        self, state: StreamState, context: _Context, unit: int, severity: str, log_p: FloatArray
    ) -> Finding:
        size = context.evidence.get("total_variation")
        effect = (np.nan,) * 3 if size is None else (size.effect[unit], size.effect_low[unit], size.effect_high[unit])
        culprit = Culprit(
            unit=self.names[unit],
            index=unit,
            detector="window",
            log_e=float("nan"),
            effect_name="total_variation",
            effect=float(effect[0]),
            effect_low=float(effect[1]),
            effect_high=float(effect[2]),
            reference_value=float("nan"),
            window_value=float("nan"),
        )
        return self._finding(
            state, context, (culprit,), "distributional_shift", "shift", severity, -float(log_p[unit]), len(state.panes)
        )


@dataclass(frozen=True, slots=True)
class _Context:
    """What the rules look at in one pane."""

    stream: str
    pane: Pane
    evidence: Mapping[str, Evidence]
    log_e: FloatArray
    threshold: float
