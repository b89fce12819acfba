"""One stream's judgement: a closed pane in, a report out.

Pure: state in, state out; it imports only detectors, the report and its pure neighbours (`monitor.findings`,
`monitor.verdicts`, `monitor.joint`, `monitor.classical`). A detector that fails keeps its old state, is named in the
report, and the others go on. Units are the columns, then the views of the joint layer; the e-detectors are the rows of
`SEQUENTIAL`, then the witness.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import parts
from detectors.compare import Baseline, Comparison
from detectors.decide import pages, tickets
from detectors.decide.incidents import Incident
from detectors.multivariate.samples import window_sample
from detectors.registry import SEQUENTIAL, WINDOWED, Tolerances
from detectors.sequential import recovery
from detectors.sequential.recursion import Recursion
from detectors.types import Detector, EDetector, Evidence, FloatArray, IntArray, Reference, Sample, Summary, Window
from detectors.univariate.mix import MixChange, mix_change
from monitor import verdicts
from monitor.classical import Classical, ClassicalState
from monitor.findings import Context, Writer, begun
from monitor.joint import JointLayer, Told
from monitor.report import Culprit, Finding, Recovered, Report, culprit_of, sized
from monitor.severity import Severity

_ONSETS = 4096  # pane start times kept to say since when


@dataclass(frozen=True, slots=True)
class Pane:
    """A closed pane: its number in the stream (from 1), span, summary of its rows, some rows by view, answers."""

    number: int
    start: float
    end: float
    summary: Summary
    samples: tuple[Sample, ...] = ()
    answers: Mapping[str, NDArray[Any]] | None = None


@dataclass(frozen=True, slots=True)
class StreamState:
    """All that moves: detector states, latches, open findings and the panes of the window."""

    detectors: Mapping[str, Any]
    joint: tuple[Any, ...]
    classical: ClassicalState
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
    ``tests`` are the window tests of the joint layer, there if the reference has views; ``streaming`` names classical
    detectors to hear as well; small panes are shown to the witness ``stride`` at a time; ``severity`` weighs findings.
    """

    model: str
    reference: Reference
    tolerances: Tolerances
    window_panes: int
    hold: int
    config_id: str
    timer: Callable[[], float]
    tests: tuple[str, ...] = ("joint_min_p",)
    streaming: tuple[str, ...] = ()
    stride: int = 1
    severity: Severity | None = None
    windowed: Mapping[str, Detector] = field(init=False)
    sequential: Mapping[str, EDetector] = field(init=False)

    def __post_init__(self) -> None:
        """Build the catalogue's detectors with the user's tolerances."""
        object.__setattr__(self, "windowed", {name: make(self.tolerances) for name, make in WINDOWED.items()})
        object.__setattr__(self, "sequential", {name: make(self.tolerances) for name, make in SEQUENTIAL.items()})

    @cached_property
    def joint(self) -> JointLayer:
        """The joint layer; it may have no views."""
        return JointLayer(self.reference, self.tolerances, self.tests, self.timer, self.stride)

    @cached_property
    def classical(self) -> Classical:
        """The classical detectors that were asked for."""
        return Classical(self.streaming, self.reference, self.hold, self.timer)

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
        """Columns in order."""
        return self.reference.grid.names

    @property
    def views(self) -> int:
        """Number of views, v."""
        return len(self.reference.views)

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """The e-detectors by name."""
        return (*self.sequential, *((self.joint.witness.name,) if self.views else ()))

    @cached_property
    def weight(self) -> FloatArray:
        """Weights of the e-detectors, ``(rows, u + v)``."""
        u = len(self.names)
        usable = np.zeros((len(self.rows), u + self.views), bool)
        for row, (name, it) in enumerate(self.sequential.items()):
            asked = it.questions(self.fixed[name])
            usable[row, :u] = np.isin(np.arange(u), asked.unit[asked.p0 < 1])
        usable[-1, u:] = True
        return pages.weights(usable, joint=min(self.views, 1))

    @cached_property
    def return_bets(self) -> dict[str, Any]:
        """Bets on recovery, per e-detector."""
        return {name: recovery.bets(it.questions(self.fixed[name])) for name, it in self.sequential.items()}

    @cached_property
    def writer(self) -> Writer:
        """Makes findings."""
        strata, grid = self.reference.strata, self.reference.grid
        mixing = np.zeros(len(self.names), bool) if strata is None else strata.free
        told = (self.model, self.config_id, grid.id, self.hold, self.rows, mixing, grid.strata)
        return Writer(*told, self._mix, self.severity)

    def start(self) -> StreamState:
        """Begin a stream."""
        units = len(self.names) + self.views
        every = {**self.windowed, **self.sequential}
        return StreamState(
            detectors={name: it.start(self.fixed[name]) for name, it in every.items()},
            joint=self.joint.start(),
            classical=self.classical.start(),
            back={name: recovery.start(bet) for name, bet in self.return_bets.items()},
            pages=pages.start(units, len(self.rows)),
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
        if (merged := state.merged) is None:  # pragma: no cover - `_slide` has just put one pane in
            raise RuntimeError("`state` holds no pane")
        comparison = Comparison(self.baseline.at(merged.mix), merged)
        window = Window(state.panes[0].start, pane.end, comparison, pane.summary)
        evidence, moved, failures, seconds = self._score(state, window)
        views, told = self.joint.look(state.joint, [one.samples for one in state.panes[-self.stride :]], pane.number)
        classical, notes = self.classical.step(state.classical, pane.number, pane.summary, pane.samples)
        state = dataclasses.replace(state, detectors=moved, joint=views, classical=classical)
        context = self._context(state, stream, pane, evidence, told, threshold)
        mean = pages.mean_log_e(state.pages, context.log_e, self.weight)
        state, found = self._page(state, context, mean)
        mean = pages.mean_log_e(state.pages, context.log_e, self.weight) if found else mean  # less the culprits
        state, back = self._recover(state, context)
        state, noted, quiet, tested = verdicts.of_window(self, state, context, ticket_level)
        heard = [verdicts.note(self, state, context, name, units) for name, units in notes.alarms.items()]
        failures |= context.failures
        for one in (told, tested, notes):
            failures |= one.failures
            seconds |= one.seconds
        report = Report(
            stream=stream,
            pane=pane.number,
            start=pane.start,
            end=pane.end,
            rows=pane.summary.rows,
            evidence=evidence,
            comparison=comparison,
            log_e=context.log_e[: len(self.sequential), : len(self.names)],
            mean_log_e=mean,
            threshold=threshold,
            findings=tuple(found + noted + heard),
            recovered=tuple(back + quiet),
            joint={**told.evidence, **tested.evidence},
            mix=self._mix(merged.mix),
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

    def _context(
        self,
        state: StreamState,
        stream: str,
        pane: Pane,
        evidence: Mapping[str, Evidence],
        told: Told,
        threshold: float,
    ) -> Context:
        """What the rules look at; a view has nothing to say while a column explains it."""
        u = len(self.names)
        log_e, since = np.full((2, len(self.rows), u + self.views), np.nan)
        for row, name in enumerate(self.rows):
            mine, every = (evidence, slice(None, u)) if row < len(self.sequential) else (told.evidence, slice(u, None))
            if name in mine:
                log_e[row, every] = mine[name].log_e
                since[row, every] = mine[name].extra["since"]
        if self.views and (state.pages.latched[:, :u] > 0).any():
            log_e[-1, u:] = np.nan
        return Context(stream, pane, {**evidence, **told.evidence}, log_e, since, float(np.log(threshold)))

    def _mix(self, rows: IntArray) -> MixChange | None:
        """How the traffic's rows by stratum differ from the reference's; dependent rows count for fewer.

        None where no column makes a mix: there are no segments, or the stream is one.
        """
        strata = self.reference.strata
        if strata is None or not strata.free.any() or not rows.any():
            return None
        tau = float(self.reference.tau[strata.free].max(initial=1.0))
        return mix_change(rows, strata.rows.astype(np.int64), strata.cell, tau)

    def _page(self, state: StreamState, context: Context, mean: float) -> tuple[StreamState, list[Finding]]:
        if mean < context.threshold:
            return state, []
        latches, alarm = pages.decide(state.pages, context.log_e, self.weight, context.threshold)
        if alarm is None:
            return state, []
        u = len(self.names)
        moved = dict(state.detectors)
        for row, (name, it) in enumerate(self.sequential.items()):
            if alarm.spent[row].any():
                moved[name] = it.forget(self.fixed[name], moved[name], alarm.spent[row, :u])

        def measure(row: int, unit: int, age: int) -> Culprit:
            return self._culprit(state, context, row, unit, age)

        found, owners = self.writer.alarm(state, context, alarm, self.weight, measure)
        named = np.zeros_like(latches.latched)
        for row, column in owners:
            named[row, column] = 1.0
        incident = begun(found[0]) if found[0].severity == "page" else state.incident
        state = dataclasses.replace(
            state,
            detectors=moved,
            joint=self.joint.alarmed(state.joint, alarm.culprits[-1, u:], alarm.spent[-1, u:]),
            pages=pages.PageState(named),
            owners=owners,
            incident=incident,
        )
        return state, found

    def _culprit(self, state: StreamState, context: Context, row: int, unit: int, age: int) -> Culprit:
        """Size of the change over the panes since its onset, as far as they are still in the window."""
        log_e = float(context.log_e[row, unit])
        if row >= len(self.sequential):
            view = unit - len(self.names)
            samples = (self.sample(panes, view) for panes in (state.panes[-age:], state.panes))
            found = self.joint.culprit(view, samples, log_e, unit, context.pane.number, context.failures)
            told, tau = context.evidence[self.rows[row]], self.reference.views[view].tau
            return sized(found, float(told.effect[view]), float(told.n[view]) / tau)
        name = self.rows[row]
        it, fixed = self.sequential[name], self.fixed[name]
        merged = reduce(parts.merge, (pane.summary for pane in state.panes[-age:]))
        base = self.baseline.m[unit] if name == "e_ks" else float(self.reference.summary.rows)
        asked, answers = it.questions(fixed, merged.mix), it.answers(fixed, merged)
        return culprit_of(self.names[unit], unit, name, log_e, asked, answers, float(base))

    def sample(self, panes: tuple[Pane, ...], view: int) -> Sample:
        """Rows of some panes in one view."""
        return window_sample((pane.samples[view] for pane in panes), self.reference.views[view].run)

    def _recover(self, state: StreamState, context: Context) -> tuple[StreamState, list[Recovered]]:
        latched = state.pages.latched > 0
        if not latched.any():
            return state, []
        u, fresh = len(self.names), context.pane.summary
        back = dict(state.back)
        moved = dict(state.detectors)
        recovered = np.zeros_like(latched)
        for row, (name, it) in enumerate(self.sequential.items()):
            if not latched[row].any():
                continue
            asked = it.questions(self.fixed[name], fresh.mix)
            bets = self.return_bets[name] if self.reference.strata is None else recovery.bets(asked)
            answers = it.answers(self.fixed[name], fresh)
            back[name], log_e = recovery.follow(bets, asked, back[name], answers, latched[row, :u])
            with np.errstate(invalid="ignore"):
                recovered[row, :u] = log_e >= recovery.RECOVERED
            if recovered[row].any():
                moved[name] = it.forget(self.fixed[name], moved[name], recovered[row, :u])
                gone = recovered[row][asked.unit]
                keep = np.where(gone, 0.0, 1.0)[:, None]
                back[name] = Recursion(*(part * keep for part in back[name]))
        recovered[-1, u:] = self._views_back(context) & latched[-1, u:]
        state = dataclasses.replace(state, back=back)
        if not recovered.any():
            return state, []
        return self._release(state, context.pane, recovered, moved)

    def _views_back(self, context: Context) -> NDArray[np.bool_]:
        told = context.evidence.get(self.rows[-1]) if self.views else None
        if told is None:
            return np.zeros(self.views, bool)
        with np.errstate(invalid="ignore"):
            back: NDArray[np.bool_] = told.extra["back"] >= recovery.RECOVERED
        return back

    def adopt(self, state: StreamState, pane: Pane) -> tuple[StreamState, list[Recovered]]:
        """Take over a stream whose reference has moved after ``pane``: what is measured by rows begins anew.

        The direction of an open page on a view means nothing any more, so it ends; if the view still differs it will be
        paged again.
        """
        state = dataclasses.replace(state, joint=self.joint.start(), classical=self.classical.adopt(state.classical))
        ended = state.pages.latched > 0
        ended[:, : len(self.names)] = False
        return self._release(state, pane, ended, state.detectors) if ended.any() else (state, [])

    def _release(
        self, state: StreamState, pane: Pane, recovered: NDArray[np.bool_], moved: Mapping[str, Any]
    ) -> tuple[StreamState, list[Recovered]]:
        ended = [(int(row), int(unit)) for row, unit in np.argwhere(recovered)]
        owners = {at: owner for at, owner in state.owners.items() if at not in ended}
        closed = {state.owners[at] for at in ended if at in state.owners} - set(owners.values())
        latches, u = pages.release(state.pages, recovered), len(self.names)
        over = not (latches.latched[:, :u] > 0).any()  # what views gathered meanwhile was the columns' doing
        anew = recovered[-1, u:] | ((latches.latched[-1, u:] == 0) & over)
        state = dataclasses.replace(
            state,
            detectors=moved,
            joint=self.joint.recovered(state.joint, anew),
            pages=latches,
            owners=owners,
            released=np.where(recovered.any(axis=0), pane.number, state.released),
        )
        names = tuple(self.name(unit) for _, unit in ended)
        return state, [Recovered(tuple(sorted(closed)), names, pane.number, pane.end)]

    def name(self, unit: int) -> str:
        """What a column or view is called."""
        return (*self.names, *(view.name for view in self.reference.views))[unit]
