"""One watched model, and where its reference comes from: stored data, first traffic, or an explicit re-baseline.

A re-baseline is an act of a person, with a reason: rows from now on, or those of a span that are still kept, become the
new reference. Until there are enough of them the old reference goes on judging. It can be taken back, and holds until
the configured reference or its columns change (`monitor.standing`).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from detectors.compare import Comparison
from monitor import artefact, log, memory
from monitor.absent import Absent
from monitor.calibration.selfcheck import Selfcheck
from monitor.clock import Clock
from monitor.config import Config, Model, fingerprint
from monitor.errors import StoreError
from monitor.evidence import since
from monitor.exemplars import explained
from monitor.fitted import Fitted
from monitor.interventions import Wanted
from monitor.learning import Learner
from monitor.loading import fitted_of, severity_of
from monitor.outcomes.door import only_labels
from monitor.prepared import prepared
from monitor.records import Brief, Intervention
from monitor.report import Finding, Report
from monitor.security.pseudonyms import key_of
from monitor.security.start import guard_of
from monitor.sinks.prometheus import ModelTally
from monitor.standing import Standing, write
from monitor.streams import ModelStreams
from monitor.strict import unknown
from monitor.telling import decoder_of, telling

if TYPE_CHECKING:
    from monitor.outcomes.side import Side

_ACT = "act.json"
_SEED = 0
_PSEUDONYM = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Act:
    """A wish for a new reference: its id, who asked, why, when (seconds since the epoch) and of how many rows."""

    id: str

    model: str
    because: str
    by: str
    rows: int
    asked: float


@dataclass(slots=True)
class Watched:
    """One model: its streams, and the rows that it learns a (new) reference from."""

    model: Model
    streams: ModelStreams | None = None
    learner: Learner | None = None
    act: Act | None = None
    check: Selfcheck | None = None
    tally: ModelTally = field(default_factory=ModelTally)
    last_rows: float = 0.0
    types: pa.Schema | None = None
    absent: Absent | None = None
    side: Side | None = None

    @property
    def identity(self) -> str:
        """What evidence and open panes depend on: the ruler, the tolerances, what a pane is, and what runs."""
        if self.streams is None:
            return ""
        model, alarms = self.model, self.model.alarms
        ruler = self.streams.fitted.reference.grid.id
        told = (alarms.smallest_shift, alarms.smallest_fault, model.pane, model.window.panes, model.joint, model.moving)
        return "/".join([ruler, *(str(one) for one in (*told, model.streaming))])

    def views(self, stream: str) -> tuple[str, ...]:
        """Names of the joint views of one stream."""
        one = None if self.streams is None else self.streams.streams.get(stream)
        return () if one is None else tuple(view.name for view in one.engine.reference.views)

    def unknown(self, wanted: Wanted) -> list[str]:
        """What a mute or a quarantine names that this model does not have, each with the nearest that it has."""
        if self.streams is None:
            return []
        engine, segments = self.streams.engine, self.streams.fitted.segments
        known: dict[str, list[str]] = {
            "column": [*engine.names, *(view.name for view in engine.reference.views)],
            "segment": [f"{column}={value}" for column, values in segments.items() for value in values],
        }
        faults = [
            f"target.{key}: {unknown(key, str(wanted.target[key]), names)}"
            for key, names in known.items()
            if wanted.kind == "mute" and key in wanted.target and wanted.target[key] not in names
        ]
        if wanted.kind == "quarantine" and self.model.security.client_names == "hashed":
            strange = [name for name in wanted.target.get("clients", ()) if not _PSEUDONYM.fullmatch(str(name))]
            faults += [f"target.clients: {name!r} is no pseudonym; give names with --name" for name in strange[:3]]
        return faults

    def only_labels(self, names: Sequence[str]) -> bool:
        """Whether a batch with these columns has nothing to be judged."""
        plan = None if self.streams is None else self.streams.fitted.plan
        known = None if plan is None else [one.name for one in plan.columns if one.monitored]
        return only_labels(self.model.columns, names, known)

    def judged(self, *names: str) -> None:
        """Windows of these streams are new: what follows the performance takes them."""
        if self.side is not None and self.streams is not None:
            self.side.judged([self.streams.streams[name] for name in names], self.streams.threshold)

    def waits(self, learnt: pa.RecordBatch, arrived: float) -> None:
        """Rows that completed a new reference, and that no stream judges, wait for their labels like the others."""
        if self.side is None or self.streams is None:
            return
        guard = self.streams.guard
        rows = learnt if guard is None else guard.without_own(learnt)
        self.side.fed(decoder_of(self.streams.fitted).decode(rows), arrived, "")

    def check_itself(self, panes: int) -> None:
        """Judge some resampled panes, if the configuration wants that."""
        if self.streams is None or not self.model.selfcheck or not (rows := self.streams.pane_rows):
            return  # nobody knows yet how many rows a pane has
        if self.check is None:
            engine, fitted = self.streams.engine, self.streams.fitted
            self.check = Selfcheck(self.model, fitted, _SEED, engine=engine, pane_rows=rows)
        self.check.step(panes)
        self.tally.figures = self.check.figures()

    def close(self) -> None:
        """End what runs beside the engine's thread for this model."""
        if self.streams is not None and self.streams.guard is not None:
            self.streams.guard.close()
        if self.side is not None:
            self.side.close()

    def follow(self, begun: Watched) -> None:
        """Go on with another reference: evidence begins anew, counters go on."""
        begun.goes_on(self)
        self.close()
        self.streams, self.types, self.absent = begun.streams, begun.types, begun.absent
        self.side, self.learner, self.act, self.check = begun.side, begun.learner, None, None
        memory.release()

    def goes_on(self, old: Watched | None) -> None:
        """Take over what outlives a reload or a re-baseline: predictions that wait, and what was asked today."""
        if self.side is not None:
            self.side.succeed(None if old is None else old.side)
        self.asks_on(old)

    def asks_on(self, old: Watched | None) -> None:
        """Count what the same model was asked today before."""
        streams = [None if one is None else one.streams for one in (old, self)]
        before, now = (None if one is None or one.guard is None else one.guard.asking for one in streams)
        if before is not None and now is not None:
            now.succeed(before)


class References:
    """The references of all models under one state folder."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        """``folder`` is the agent's state folder."""
        self._folder, self._clock = folder, clock
        self._log = log.get("references")

    def watch(self, model: Model, config: Config) -> Watched:
        """A model that begins: with its reference, or with learning one; `DriftwardenError` if it has none."""
        watched = self._watch(model, config)
        pending = self._learning(model, "rebaseline") / _ACT
        if pending.is_file() and watched.streams is not None:
            watched.act = Act(**json.loads(pending.read_text(encoding="utf-8")))
            watched.learner = Learner(model, watched.act.rows, pending.parent)
        return watched

    def _watch(self, model: Model, config: Config) -> Watched:
        made = Standing(self._folder, model).place
        if made is not None:
            return self._begin(model, artefact.load(made), config)
        wanted = model.reference.learn_rows
        if not wanted:
            return self._begin(model, fitted_of(model, self._folder / "references"), config)
        return Watched(model, learner=Learner(model, wanted, self._learning(model)))

    def learn(self, watched: Watched, batch: pa.RecordBatch, config: Config) -> tuple[pa.RecordBatch | None, bool]:
        """Learn from a batch; the rows that are still to be judged, and whether there is a new reference now.

        While a re-baseline gathers its rows, the old reference judges them too, and goes on if they make none.
        """
        learner = watched.learner
        if learner is None:
            return batch, False
        rest = learner.feed(batch)
        if not learner.complete:
            return (None if watched.act is None else batch), False
        try:
            watched.follow(self._take_over(watched, learner, config))
        except Exception as fault:  # noqa: BLE001 - the reference in force, if there is one, goes on
            self._give_up(watched, learner, fault)
            return (None if watched.streams is None else batch), False
        learner.forget()
        return rest, True

    def _take_over(self, watched: Watched, learner: Learner, config: Config) -> Watched:
        """Measure the rows, keep the artefact, and begin with it."""
        fitted = prepared(learner.fit(), watched.model)
        if watched.act is not None:
            return self._adopted(watched, watched.act, fitted, config)
        begun, standing = self._begin(watched.model, fitted, config), Standing(self._folder, watched.model)
        artefact.write(fitted, standing.learned)
        standing.keep_learned()
        return begun

    def adopt(self, watched: Watched, act: Act, fitted: Fitted, config: Config) -> None:
        """Take a reference that has been measured already; what is still being gathered for another is called off."""
        begun = self._adopted(watched, act, prepared(fitted, watched.model), config)
        self._call_off(watched)
        watched.follow(begun)

    def _adopted(self, watched: Watched, act: Act, fitted: Fitted, config: Config) -> Watched:
        """The model with a new reference, which is on disk with who wanted it and why."""
        fitted = self._inherited(fitted, watched)
        begun, standing = self._begin(watched.model, fitted, config), Standing(self._folder, watched.model)
        old = "" if watched.streams is None else watched.streams.fitted.reference.grid.id
        facts = {**dataclasses.asdict(act), "done": self._clock.now(), "rows": fitted.rows}
        facts |= {"grid": fitted.reference.grid.id, "replaces_grid": old}
        try:
            artefact.write(fitted, standing.made_for(act.id))
            standing.push(facts)
            (self._learning(watched.model, "rebaseline") / _ACT).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self._folder}: the re-baseline cannot be recorded: {error.strerror}") from error
        return begun

    def back(self, watched: Watched, one: Intervention, config: Config) -> bool:
        """Take a re-baseline back: whether another reference is in force now; `ConfigError` if it cannot be done.

        One that is still gathering rows is called off.
        """
        if watched.act is not None and watched.act.id == one.id:
            self._call_off(watched)
            return False
        standing = Standing(self._folder, watched.model)
        standing.pop(one.id, {"undone": self._clock.now(), "undone_by": one.undone_by, "because": one.undone_because})
        self._call_off(watched)
        watched.follow(self._watch(watched.model, config))
        return True

    def _call_off(self, watched: Watched) -> None:
        """Gather no more rows for a re-baseline."""
        if watched.act is not None and watched.learner is not None:
            watched.learner.forget()
            watched.learner, watched.act = None, None
            (self._learning(watched.model, "rebaseline") / _ACT).unlink(missing_ok=True)

    def _give_up(self, watched: Watched, learner: Learner, fault: Exception) -> None:
        """Rows that make no reference: a first one is learnt from other rows, a re-baseline is called off."""
        wanted = "first reference, learning starts over" if watched.act is None else "re-baseline, it is called off"
        self._log.error("rows make no reference", model=watched.model.name, wanted=wanted, error=str(fault))
        learner.forget()
        first = watched.act is None
        watched.act = None
        watched.learner = Learner(watched.model, learner.wanted, self._learning(watched.model)) if first else None
        (self._learning(watched.model, "rebaseline") / _ACT).unlink(missing_ok=True)

    def go_on(self, begun: Sequence[Watched], before: Mapping[str, Watched], sequence: int) -> None:
        """Models that begin anew by a reload go on learning from the rows that they had so far."""
        for watched in begun:
            old = before.get(watched.model.name)
            if watched.learner is None:
                continue
            try:
                if old is not None and old.learner is not None:
                    old.learner.save(sequence)
                watched.learner.restore(sequence)
            except StoreError as error:
                self._log.error("learning starts over", model=watched.model.name, error=str(error))

    def rebaseline(self, watched: Watched, act: Act) -> None:
        """Begin to gather a new reference; one that is still being gathered starts over."""
        folder = self._learning(watched.model, "rebaseline")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob("*.arrow"):
                file.unlink()
            write(folder / _ACT, json.dumps(dataclasses.asdict(act)))
        except OSError as error:
            raise StoreError(f"{folder}: the re-baseline cannot be written down: {error.strerror}") from error
        watched.act, watched.learner = act, Learner(watched.model, act.rows, folder)

    def _begin(self, model: Model, fitted: Fitted, config: Config) -> Watched:
        config_id, timer = fingerprint(config), self._clock.monotonic
        guard = guard_of(model, fitted, key_of(self._folder), config_id, timer, self._clock) if model.guarded else None
        side = self._side(model, fitted)
        counter, weigh = (None, None) if side is None else (side.counter, side.weighing)
        severity = severity_of(model, fitted.reference.grid.names, weigh)
        streams = ModelStreams(
            model, fitted, config_id=config_id, timer=timer, guard=guard, counter=counter, severity=severity
        )
        streams.prepare()
        absent = Absent(fitted.plan.roles, fitted.sample.schema.names)
        types, now = fitted.sample.schema, self._clock.monotonic()
        return Watched(model, streams=streams, types=types, last_rows=now, absent=absent, side=side)

    def _inherited(self, fitted: Fitted, watched: Watched) -> Fitted:
        """With what labels are held against, if its own rows had none."""
        if watched.streams is None or not watched.model.columns.label:
            return fitted
        from monitor.outcomes.measured import inherited

        return inherited(fitted, watched.streams.fitted)

    def _side(self, model: Model, fitted: Fitted) -> Side | None:
        """What follows the performance: imported only where the log carries labels."""
        if not model.columns.label:
            return None
        from monitor.outcomes.side import side_of

        return side_of(model, fitted, self._folder)

    def _learning(self, model: Model, kind: str = "") -> Path:
        return self._folder / "learning" / (f"{model.name}-{kind}" if kind else model.name)


def rows_beside(
    watched: Watched, stream: str, finding: Finding, window: Comparison
) -> tuple[pa.Table, dict[str, pa.Table]]:
    """Sampled rows since a finding began, and the most telling ones, by ``window``, which `seen` gives.

    A finding is told without these rather than not at all.
    """
    streams = watched.streams
    if streams is None:
        return pa.table({}), {}
    try:
        rows, found = telling(streams, streams.streams[stream], finding, window)
        return hidden(watched, rows), {name: hidden(watched, table) for name, table in found.items()}
    except Exception as fault:  # noqa: BLE001 - evidence must not end the engine
        log.get("references").error("telling rows failed", model=finding.model, finding=finding.id, error=repr(fault))
        return pa.table({}), {}


def seen(watched: Watched, report: Report, finding: Finding) -> Comparison:
    """The rows since a finding began against the reference, as far as they are in the window; else the whole window."""
    one = None if watched.streams is None else watched.streams.streams.get(report.stream)
    began = None if one is None else since(one.engine, one.state.panes, finding.since_pane, finding.pane)
    return began or report.comparison


def trusted_beside(watched: Watched, finding: Finding | Brief, rows: pa.Table) -> dict[str, pa.Table]:
    """The nearest trusted rows to some that show a finding; the finding is told without them rather than not at all."""
    if watched.streams is None:
        return {}
    fitted = watched.streams.fitted
    try:
        beside = explained(fitted, decoder_of(fitted), {"window": rows})
        return {name: hidden(watched, table) for name, table in beside.items()}
    except Exception as fault:  # noqa: BLE001 - evidence must not end the engine
        log.get("references").error("trusted rows failed", model=finding.model, finding=finding.id, error=repr(fault))
        return {}


def hidden(watched: Watched, rows: pa.Table) -> pa.Table:
    """Rows as they are kept: without names of senders, unless the configuration wants them."""
    guard = None if watched.streams is None else watched.streams.guard
    if guard is None or watched.model.security.client_names == "plain":
        return rows
    return guard.reader.hidden(rows)
