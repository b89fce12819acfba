"""What the pages read of the running agent: the last immutable report of each stream, never its moving parts.

Everything here is called from threads of the server. A stream's ``last`` and ``state`` are replaced whole by the
engine's thread, so that each is taken once and then read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from detectors.compare import Comparison
from detectors.types import FloatArray
from monitor.evidence import counts, since
from monitor.records import Brief
from monitor.report import Report
from monitor.streams import ModelStreams, Stream
from monitor.telling import named_by, of_columns
from monitor.watched import Watched, hidden, trusted_beside
from monitor.web import plots, rowviews

_TRIES = 5
Models = Callable[[], Mapping[str, Watched]]


class Shown(NamedTuple):
    """Counts of some columns, and what their window is."""

    counts: pa.Table
    window: str


class StreamState(NamedTuple):
    """A stream in a table: its evidence and threshold as powers of ten; ``segment`` is "" for a version as a whole."""

    name: str
    version: str
    segment: str
    panes: int
    rows: int
    until: float
    evidence: float | None
    threshold: float | None
    alarmed: bool

    @property
    def share(self) -> float:
        """How far the evidence has come, 0 to 1 of the threshold."""
        if self.evidence is None or not self.threshold:
            return 0.0
        return min(max(self.evidence / self.threshold, 0.0), 1.0)


class Unit(NamedTuple):
    """A column on a model's page; ``evidence`` is the strongest log e-value of its detectors."""

    column: plots.Column
    evidence: float | None
    moved: float | None
    alarmed: bool


class Live:
    """The models of the running agent."""

    def __init__(self, models: Models) -> None:
        """``models`` gives those that are watched now."""
        self._models = models

    @property
    def names(self) -> list[str]:
        """Models in the order of the configuration."""
        return list(self._models())

    def watched(self, model: str) -> Watched | None:
        """A model, None if it is not watched any more."""
        return self._models().get(model)

    def streams(self, model: str) -> ModelStreams | None:
        """Its streams, None while it learns its reference."""
        watched = self.watched(model)
        return None if watched is None else watched.streams

    def stream(self, model: str, name: str) -> Stream | None:
        """One stream."""
        streams = self.streams(model)
        return None if streams is None else streams.streams.get(name)

    def since(self, model: str, stream: str, columns: Sequence[str], pane: int) -> pa.Table | None:
        """Counts of the rows since a pane, beside the reference; None where none of them are at hand."""
        one = self.stream(model, stream)
        if one is None:
            return None
        state, engine = one.state, one.engine
        found = since(engine, state.panes, pane)
        if found is None:
            return None
        places = {name: place for place, name in enumerate(engine.names)}
        return counts((places[name] for name in columns if name in places), found)

    def trusted(self, finding: Brief, rows: pa.Table) -> dict[str, pa.Table]:
        """The nearest trusted rows to some rows that show a finding, and those that speak for their answers."""
        watched = self.watched(finding.model)
        return {} if watched is None else trusted_beside(watched, finding, rows)

    def sample(self, model: str, stream: str) -> pa.Table:
        """The newest sampled rows of a stream, without names of senders."""
        watched, one = self.watched(model), self.stream(model, stream)
        for _ in range(_TRIES):
            try:
                return pa.table({}) if watched is None or one is None else hidden(watched, one.sample.table())
            except RuntimeError:  # the engine has just put rows in
                continue
        return pa.table({})

    def telling(self, finding: Brief, document: Mapping[str, Any]) -> pa.Table:
        """The newest sampled rows that show a finding about columns by themselves, most of all first; maybe none."""
        watched, one = self.watched(finding.model), self.stream(finding.model, finding.stream)
        window = None if one is None else since(one.engine, one.state.panes, document["since_pane"])
        if watched is None or watched.streams is None or one is None or window is None:
            return pa.table({})
        named = named_by(document, one.engine.names)
        place = one.panes.place_of(document["since_pane"], document["since_time"])
        for _ in range(_TRIES):
            try:
                rows = one.sample.table(place)
            except RuntimeError:  # the engine has just put rows in
                continue
            return hidden(watched, of_columns(watched.streams.fitted, rows, named, window))
        return pa.table({})

    def reference(self, model: str) -> pa.Table:
        """Rows of the reference, without names of senders."""
        watched, streams = self.watched(model), self.streams(model)
        if watched is None or streams is None:
            return pa.table({})
        return hidden(watched, pa.Table.from_batches([streams.fitted.sample]))

    def looks(self, model: str) -> rowviews.Watched:
        """The columns that are watched, and which of them holds images."""
        streams = self.streams(model)
        if streams is None:
            return rowviews.Watched()
        roles = streams.model.columns
        image = rowviews.Image(roles.image or "", tuple(roles.image_shape or ()))
        return rowviews.Watched(list(streams.engine.names), image)

    def states(self, model: str) -> list[StreamState]:
        """All streams of a model, versions before their segments, the strongest evidence first."""
        streams = self.streams(model)
        if streams is None:
            return []
        made = [_state(one.name, one.last, alarmed=bool(one.state.owners)) for one in list(streams.streams.values())]
        return sorted(made, key=lambda one: (bool(one.segment), -(one.evidence or -math.inf)))

    def units(self, model: str, stream: str, *, values: bool, most: int | None = None) -> list[Unit]:
        """The columns of a stream: reference and last window, the strongest evidence first.

        At ``most`` so many, and those of the model's answers.
        """
        streams = self.streams(model)
        one = None if streams is None else streams.streams.get(stream)
        merged = None if one is None else one.state.merged
        if streams is None or one is None or merged is None:
            return []
        last, names = one.last, one.engine.names
        window = Comparison(one.engine.baseline.at(merged.mix), merged)
        strength, moved = _strongest(last, len(names)), _moved(last, len(names))
        alarmed = {unit for _, unit in one.state.owners} | set(one.state.ticket_owners)
        strongest = np.argsort(-np.nan_to_num(strength, nan=-np.inf), kind="stable")[:most].tolist()
        order = tuple(dict.fromkeys((*strongest, *streams.fitted.answers)))
        table = counts(order, window).to_pylist()
        drawn = plots.columns(table, values=values, labels=("reference", "last window"))
        return [
            Unit(column, _figure(strength[place]), _figure(moved[place]), place in alarmed)
            for place, column in zip(order, drawn, strict=True)
        ]

    def views(self, model: str, stream: str) -> list[tuple[str, float | None]]:
        """The joint views of a stream with the log e-value of each."""
        one = self.stream(model, stream)
        told = None if one is None else one.joint.get("e_witness")
        if one is None or told is None:
            return []
        views = one.engine.reference.views
        return [(view.name, _figure(value)) for view, value in zip(views, told.log_e, strict=True)]

    def mix(self, model: str, stream: str) -> list[tuple[str, float, float]]:
        """Strata whose shares differ most: name, share expected, share in the last window."""
        one = self.stream(model, stream)
        mix = None if one is None or one.last is None else one.last.mix
        if one is None or mix is None:
            return []
        names = one.engine.reference.grid.strata
        order = np.argsort(-np.abs(np.nan_to_num(mix.z)), kind="stable")[: plots.SHOWN]
        return [(names[place], float(mix.expected[place]), float(mix.share[place])) for place in order]


def _state(name: str, last: Report | None, *, alarmed: bool) -> StreamState:
    version, _, segment = name.partition("/")
    if last is None:
        return StreamState(name, version, segment, 0, 0, math.nan, None, None, alarmed)
    rows = last.comparison.summary.rows
    evidence, threshold = plots.ten(last.mean_log_e), plots.ten(math.log(last.threshold))
    return StreamState(name, version, segment, last.pane, rows, last.end, evidence, threshold, alarmed)


def _strongest(last: Report | None, columns: int) -> FloatArray:
    """The largest evidence of each column over its detectors; NaN where none says anything, as after a restart."""
    if last is None:
        return np.full(columns, np.nan)
    known = np.where(np.isnan(last.log_e), -np.inf, last.log_e).max(axis=0)
    return np.where(np.isneginf(known), np.nan, known)


def _moved(last: Report | None, columns: int) -> FloatArray:
    told = None if last is None else last.evidence.get("total_variation")
    return np.full(columns, np.nan) if told is None else told.effect


def _figure(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def names_of(units: Iterable[Mapping[str, Any]]) -> list[str]:
    """Columns that some units of a document name."""
    from monitor.web.wording import parts_of

    return list(dict.fromkeys(part for one in units for part in parts_of(one["unit"], one["detector"])))
