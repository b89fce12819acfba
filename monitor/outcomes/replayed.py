"""What a stored log says of performance, stretch by stretch: estimated before labels come, and by its labels.

A stretch is as many panes of a version as a window has; stretches do not overlap. Of every row it is known at once
which stretch it is in, so its label may come whenever it likes (`stretches`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from detectors.performance.past import past
from detectors.performance.types import Figure
from detectors.types import FloatArray, IntArray
from monitor import columns
from monitor.config import Model
from monitor.decode import Decoded
from monitor.engine import Pane
from monitor.fitted import Fitted
from monitor.loading import severity_of
from monitor.outcomes.answers import Answers
from monitor.outcomes.beside import Beside
from monitor.outcomes.door import Pace, pace_of
from monitor.outcomes.errors import News, errors_of, told_of
from monitor.outcomes.estimates import Told, estimates_of
from monitor.outcomes.expectation import below_confirmed
from monitor.outcomes.lane import Lane, lane_of
from monitor.outcomes.measured import Known, known_of, tau_of
from monitor.outcomes.stretches import HOURS, ROWS, Stretches
from monitor.outcomes.table import MOST_ROWS
from monitor.outcomes.weighing import Weighing
from monitor.report import number
from monitor.streams import Fed, ModelStreams, Stream
from monitor.told import Told as Found
from monitor.windows import rows_of

MOST: Final = 4_096
"""Stretches whose labels are waited for (80 MB of counts); older ones are told as they stand."""
_PATIENCE: Final = 3_600.0

Line = dict[str, Any]


@dataclass(slots=True)
class Stretch:
    """Panes of a version, their estimate once all are there, and which metrics are below expectation."""

    stream: str
    panes: list[Pane] = field(default_factory=list)
    first: int = 0
    last: int = 0
    start: float = math.inf
    end: float = -math.inf
    rows: int = 0
    told: Told | None = None

    def add(self, pane: Pane) -> None:
        """One pane more."""
        self.panes.append(pane)
        self.first, self.last = self.first or pane.number, pane.number
        self.start, self.end = min(self.start, pane.start), max(self.end, pane.end)
        self.rows += pane.summary.rows


class Performance:
    """All stretches of one model's log."""

    def __init__(self, model: Model, fitted: Fitted, folder: Path, rows: int | None, config_id: str) -> None:
        """Join the log's ``rows`` in ``folder``; None: nobody knows how many they are."""
        known, tau, answers = known_of(fitted), tau_of(fitted), Answers(fitted)
        self._model, self._least = model, model.labels.least_share
        self._beside = Beside(model.name)
        self.estimates = estimates_of(model, fitted, known, tau, self._beside)
        able = known.expected is not None and answers.kind is not None
        self._labels = Stretches(model, answers, known.expected, tau) if able and known.expected else None
        if model.columns.id and self._labels is not None:
            self._labels.join(folder, rows)
        names = fitted.reference.grid.names
        weighing = (
            None
            if self.estimates is None
            else Weighing(self.estimates.counter, len(names), tau, model.labels.smallest_loss)
        )
        self.severity = severity_of(model, names, weighing)
        self.lane = _lane(model, fitted, known, folder, rows, config_id)
        self._told: list[News] = []
        self._numbers: dict[tuple[str, int], int] = {}
        self._stretches: dict[int, Stretch] = {}
        self._open: dict[str, int] = {}
        self._pairs: dict[str, list[tuple[float, float, float, float]]] = {}
        self._length = 1.0

    def number(self, stream: str, key: int) -> int:
        """The number of a stretch: they are counted in the order in which they begin; -1 if there are too many."""
        if (stream, key) not in self._numbers:
            if len(self._stretches) >= 2 * MOST:
                return -1  # a log whose times are all over the place
            self._stretches[len(self._numbers)] = Stretch(stream)
            self._numbers[stream, key] = len(self._numbers)
        return self._numbers[stream, key]

    def fed(self, decoded: Decoded, stretch: IntArray, arrived: float, pace: Pace) -> None:
        """Take rows that were judged, and the labels that they carry."""
        if self._labels is not None:
            self._labels.fed(decoded, stretch, arrived)
        if self.lane is not None:
            self.lane.fed(decoded, arrived, "")
            self._told.append(self.lane.judged(pace))

    def labelled(self, batch: pa.RecordBatch, arrived: float, pace: Pace) -> None:
        """Take labels that came in a file of their own."""
        if self._labels is not None:
            self._labels.labelled(columns.sound(batch)[0], arrived)
        if self.lane is not None:
            self.lane.labelled(batch, arrived)
            self._told.append(self.lane.judged(pace))

    def heard(self) -> list[Found]:
        """What is news about errors since the last time."""
        told, self._told = self._told, []
        return [one for one in map(told_of, told) if one is not None]

    def closed(self, pane: Pane, stretch: int, length: float) -> None:
        """Take a pane; the stretch before it is estimated, with so many panes for each false alarm that is allowed."""
        one = self._stretches.get(stretch)
        if one is None:
            return  # told already: the clock was set back
        before = self._open.get(one.stream, stretch)
        if before != stretch:
            self._estimate(before, length)
        self._open[one.stream], self._length = stretch, length
        one.add(pane)

    def lines(self, most: int = MOST) -> Iterator[Line]:
        """What is known of all but the newest ``most`` stretches, in order; with 0 of all: the end."""
        if not most:
            for stretch in self._open.values():
                self._estimate(stretch, self._length)
        for key in list(self._stretches)[: max(len(self._stretches) - most, 0)]:
            one = self._stretches.pop(key)
            if one.rows:
                yield self._line(key, one)
            if self._labels is not None:
                self._labels.forget(key)

    def summary(self) -> Line:
        """What estimates were worth: each metric's laid beside the figures that labels gave."""
        found = {}
        for name, pairs in self._pairs.items():
            told = past(*(np.array(part) for part in zip(*pairs, strict=True)))
            found[name] = {key: number(value) for key, value in told._asdict().items()} | {"n": told.n}
        return {"reference": _document(self._reference), "estimates_less_labels": found}

    def close(self) -> None:
        """End what runs beside."""
        self._beside.close()
        for one in (self._labels, self.lane):
            if one is not None:
                one.close()

    @property
    def _reference(self) -> Mapping[str, Figure]:
        return {} if self._labels is None else self._labels.reference

    def _estimate(self, stretch: int, length: float) -> None:
        one = self._stretches.get(stretch)
        if one is None or self.estimates is None or not one.panes:
            return
        self.estimates.judged(one.stream, one.panes, length)
        self.estimates.wait(_PATIENCE)
        told = self.estimates.told.get(one.stream)
        if told is not None and (told.start, told.end) == (one.panes[0].start, one.panes[-1].end):
            one.told = told
        one.panes = []

    def _line(self, key: int, one: Stretch) -> Line:
        figures = {} if self._labels is None else self._labels.figures(key)
        labelled = max((figure.n for figure in figures.values()), default=0)
        made = None if one.told is None else one.told.estimate
        if made is not None:
            self._compare(made.figures, made.floors, figures)
        return {
            "kind": "performance",
            "model": self._model.name,
            "stream": one.stream,
            "pane": one.last,
            "time": round(one.end, 3),
            "since_pane": one.first,
            "since_time": round(one.start, 3),
            "rows": one.rows,
            "labelled": labelled,
            "estimator": None if made is None else made.chosen,
            "estimate": {} if made is None else _document(made.figures),
            "doubts": [] if made is None else list(made.reliability.doubts),
            "realised": _document(figures) if labelled else {},
            "below_expectation": {
                "estimate": [] if one.told is None else _true(one.told.below),
                "realised": _true(self._below(figures)) if labelled >= self._least * max(one.rows, 1) else [],
            },
        }

    def _below(self, figures: Mapping[str, Figure]) -> dict[str, bool]:
        return below_confirmed(figures, self._reference, self._length, self._model.labels.smallest_loss)

    def _compare(self, said: Mapping[str, Figure], floors: Mapping[str, float], real: Mapping[str, Figure]) -> None:
        for name in (one for one in said if one in real):
            pair = said[name].value, real[name].value, said[name].error, floors[name]
            if all(map(math.isfinite, pair)):
                self._pairs.setdefault(name, []).append(pair)


class PlacedStreams(ModelStreams):
    """Streams that say of each row and each pane which stretch it is in."""

    def __init__(self, performance: Performance, *rest: Any, **options: Any) -> None:
        """The rest is as in `ModelStreams`."""
        estimates = performance.estimates
        counter = None if estimates is None else estimates.counter
        options |= {"counter": counter, "severity": performance.severity, "errors": performance.lane is not None}
        super().__init__(*rest, **options)
        self._performance = performance

    def feed(self, batch: pa.RecordBatch, version: str, arrival: float) -> Fed:
        """Take one batch, and count its labels."""
        fed = super().feed(batch, version, arrival)
        if fed.decoded is not None:
            arrived = self.watermark if np.isfinite(self.watermark) else arrival
            stretches = self._stretches(fed.decoded, version, arrival)
            self._performance.fed(fed.decoded, stretches, arrived, pace_of(self))
        return fed

    def _judge(self, one: Stream, panes: Sequence[Pane]) -> list[Any]:
        if "/" not in one.name:  # segments are not estimated
            places = np.array([one.panes.place_of(pane.number, pane.start) for pane in panes])
            for pane, stretch in zip(panes, self._of(one.name, places).tolist(), strict=True):
                self._performance.closed(pane, stretch, self.threshold)
        return super()._judge(one, panes)

    def _stretches(self, decoded: Decoded, version: str, arrival: float) -> IntArray:
        block = decoded.block
        found = np.full(block.rows, -1, np.int64)
        for name, rows in self._versions(decoded, version):
            which = np.arange(block.rows) if rows is None else rows
            part = block if rows is None else rows_of(block, rows)
            panes = self._stream(name).panes
            found[which] = self._of(name, panes.places(part, np.arange(part.rows), arrival))
        return found

    def _of(self, stream: str, places: FloatArray) -> IntArray:
        """Numbers of the stretches in which places lie, -1 where there is none."""
        seconds, panes = self.model.pane.every, self.model.window.panes
        keys = (places - 1) // panes if seconds is None else places // (seconds * panes)
        known = np.flatnonzero(np.isfinite(keys))
        some, where = np.unique(keys[known], return_inverse=True)
        found = np.full(len(keys), -1, np.int64)
        found[known] = np.array([self._performance.number(stream, int(key)) for key in some.tolist()], np.int64)[where]
        return found


def _lane(model: Model, fitted: Fitted, known: Known, folder: Path, rows: int | None, config_id: str) -> Lane | None:
    """What follows errors, as in the agent, but that no label comes too late; None where these cannot be followed."""
    if known.errors is None or not (model.columns.id and model.labels.rows):
        return None
    most = min(ROWS if rows is None else max(rows, 1), MOST_ROWS)
    whole = model.model_copy(update={"labels": model.labels.model_copy(update={"hours": HOURS, "rows": most})})
    errors = errors_of(whole, fitted, known.errors, config_id)
    idle = Beside(model.name)
    idle.close()  # figures of parts and groups are the agent's alone
    lane = lane_of(whole, fitted, folder / "errors", None, 1.0, idle, errors)
    if lane is not None:
        lane.restore({})
    return lane


def _document(figures: Mapping[str, Figure]) -> Line:
    """Values with their 95 % intervals."""
    known = {name: one for name, one in figures.items() if math.isfinite(one.value)}
    return {
        name: {"value": number(one.value), "low": number(one.low), "high": number(one.high)}
        for name, one in known.items()
    }


def _true(told: Mapping[str, bool]) -> list[str]:
    return [name for name, worse in told.items() if worse]
