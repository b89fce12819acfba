"""One model's streams: rows of a batch go to the stream of their model version and to those of their segment values.

Every stream has panes and a state of its own. They share the grid and the alarm budget: with S streams each one's
threshold is S times A, so that the model as a whole keeps to its budget. S never falls while the agent lives. A
segment is compared with its own rows of the reference; a value that the reference hardly shows has no stream.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.registry import CATALOG, Tolerances
from detectors.types import Block, Evidence
from monitor import states
from monitor.arbiter import Arbiter
from monitor.budget import left
from monitor.config import Model
from monitor.decode import Decoded, Decoder, Labels, named
from monitor.engine import Engine, Pane, StreamState
from monitor.fitted import Fitted
from monitor.moving import Moving
from monitor.report import Report
from monitor.samples import RowSample
from monitor.security.guard import Guard
from monitor.severity import Severity
from monitor.told import Told
from monitor.windows import PaneRule, Panes, rows_of

if TYPE_CHECKING:
    from monitor.outcomes.counting import Counter

MOST_VERSIONS = 8
"""Streams for versions of one model; rows of further versions share the stream "other"."""
OTHER = "other"
WHOLE = "all"
MINGLED = 0.01
"""Share of a segment's reference rows, at most, whose hours are counted together with those of other segments."""
WITNESS_ROWS = 600
"""Rows of a stream for which the witness is worth a step: panes of fewer rows are shown to it together."""
_RATE_PANES = 10
_GUARD = "%guard"
"""Key of the guard's state; no stream can be called so."""


@dataclass(slots=True)
class Stream:
    """The moving parts of one stream, and the engine that judges it.

    ``closed`` are panes judged since the last checkpoint.
    """

    name: str
    engine: Engine
    panes: Panes
    state: StreamState
    sample: RowSample
    moving: Moving | None = None
    first_time: float = float("nan")
    closed: list[Pane] = field(default_factory=list)
    late: int = 0
    last: Report | None = None
    joint: dict[str, Evidence] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fed:
    """What became of a batch: reports in order, rows by fate, and what was odd about its schema."""

    reports: tuple[Report, ...]
    rows: int
    late: int
    implausible: int
    faults: int
    missing_columns: tuple[str, ...] = ()
    extra_columns: tuple[str, ...] = ()
    retyped: Mapping[str, str] = field(default_factory=dict)
    told: Told | None = None
    decoded: Decoded | None = None


class ModelStreams:
    """All streams of one model."""

    def __init__(
        self,
        model: Model,
        fitted: Fitted,
        *,
        config_id: str,
        timer: Callable[[], float],
        timed: bool = True,
        guard: Guard | None = None,
        counter: Counter | None = None,
        severity: Severity | None = None,
        errors: bool = False,
    ) -> None:
        """Measure nothing yet; ``timed``: times of rows mean seconds; ``errors``: answers share in the budget."""
        self.model, self.fitted, self.guard, self._counter, self._errors = model, fitted, guard, counter, errors
        reference = fitted.reference
        if not model.joint.enabled:
            reference = dataclasses.replace(reference, views=())
        self.engine = Engine(
            model=model.name,
            reference=reference,
            tolerances=Tolerances(model.alarms.smallest_shift, model.alarms.smallest_fault),
            window_panes=model.window.panes,
            hold=model.hold,
            config_id=config_id,
            timer=timer,
            tests=model.joint.tests,
            streaming=model.streaming_values,
            stride=max(1, round(WITNESS_ROWS / model.pane.rows)) if model.pane.rows else 1,
            severity=severity,
        )
        self._arbiter = Arbiter(guard)
        self._sample_rows = -(-model.joint.rows // model.window.panes)
        self._segment_engines: dict[tuple[str, str], Engine] = {}
        self._decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
        self._rule = PaneRule(model.pane.every, model.pane.rows, model.pane.wait)
        self.streams: dict[str, Stream] = {}
        self.suppressed: set[tuple[str, str]] = set()
        self._shares = 1
        self._length = model.run_length
        self._ticket_length = model.ticket_run_length
        self._timed = timed
        self._holding: list[RowSample] = []

    def prepare(self) -> None:
        """Do now what the first pane would wait for: fit every detector but the window tests of the joint layer."""
        _ = self.engine.weight, self.engine.return_bets, self.engine.baseline.maps, self.engine.joint.fixed

    def feed(self, batch: pa.RecordBatch, version: str, arrival: float) -> Fed:
        """Take one batch; ``version`` is the sender's word for rows without a version column."""
        while self._holding:
            self._holding.pop().release()
        given = batch.num_rows
        batch = batch if self.guard is None else self.guard.without_own(batch)
        decoded = self._decoder.decode(batch)
        block = decoded.block
        guard, panes = self.guard, self.panes
        told = None if guard is None else guard.feed(decoded, version, arrival, panes, self._length)
        reports: list[Report] = []
        late = implausible = 0
        for name, rows in self._versions(decoded, version):
            part = block if rows is None else rows_of(block, rows)
            found, fate = self._into(self._stream(name), part, decoded.batch, rows, arrival)
            reports += found
            late, implausible = late + fate[0], implausible + fate[1]
            reports += self._segments(name, decoded, rows, arrival)
        return Fed(
            tuple(reports),
            given,
            late,
            implausible,
            int(block.faults.sum()),
            decoded.missing_columns,
            decoded.extra_columns,
            decoded.retyped,
            told,
            decoded,
        )

    def advance(self, to: float) -> list[Report]:
        """Let event time pass without rows."""
        return [report for one in self.streams.values() for report in self._judge(one, one.panes.advance(to))]

    def flush(self) -> list[Report]:
        """Judge what is open: the end of a replay."""
        return [report for one in self.streams.values() for report in self._judge(one, one.panes.flush())]

    @property
    def detectors(self) -> tuple[str, ...]:
        """Every detector that runs, by name."""
        engine = self.engine
        joint = (engine.joint.witness.name, *engine.tests) if engine.views else ()
        return (*CATALOG, *joint, *engine.streaming)

    @property
    def pane_rows(self) -> int:
        """Rows of a pane in the busiest stream's window, in the mean; 0 before the first pane."""
        windows = [(one.state.merged.rows, len(one.state.panes)) for one in self.streams.values() if one.state.merged]
        rows, panes = max(windows, default=(0, 1))
        return round(rows / panes)

    @property
    def run_length(self) -> float:
        """A in panes of the whole model, before it is shared out."""
        return self._length

    @property
    def threshold(self) -> float:
        """A of one stream, in panes, of what guard and errors leave of the budget."""
        return self._length * self._shares / left(guard=self.guard is not None, errors=self._errors)

    @property
    def panes(self) -> int:
        """Panes closed so far in the stream that has most of them."""
        return max((one.panes.number for one in self.streams.values()), default=0)

    @property
    def shares(self) -> int:
        """S: between how many streams the budget is shared."""
        return self._shares

    @property
    def watermark(self) -> float:
        """Greatest event time that any stream has reached; -inf before the first row."""
        return max((one.panes.latest for one in self.streams.values()), default=-np.inf)

    def _versions(self, decoded: Decoded, version: str) -> Iterator[tuple[str, NDArray[np.int64] | None]]:
        labels = decoded.version
        if labels is None:
            yield self._admit(version), None
            return
        for code, name, rows in _split(labels):
            yield self._admit(name if code >= 0 else version), rows

    def _admit(self, version: str) -> str:
        """The stream of a version."""
        name = named(version)
        return name if name in self.streams or sum("/" not in one for one in self.streams) < MOST_VERSIONS else OTHER

    def _segments(
        self, version: str, decoded: Decoded, rows: NDArray[np.int64] | None, arrival: float
    ) -> Iterator[Report]:
        for column, labels in decoded.segments.items():
            mine = labels if rows is None else Labels(labels.codes[rows], labels.values)
            for code, value, chosen in _split(mine):
                if code < 0:
                    continue
                name = f"{version}/{column}={value}"
                if name not in self.streams and (self._crowded(column) or not self._known(column, value)):
                    if len(self.suppressed) < 10 * (self.model.max_segments + 1):
                        self.suppressed.add((column, value))
                    continue
                index = chosen if rows is None else rows[chosen]
                part = rows_of(decoded.block, index)
                yield from self._into(self._stream(name), part, decoded.batch, index, arrival)[0]

    def _known(self, column: str, value: str) -> bool:
        """Whether the reference has rows of that segment: without them there is nothing to compare it with.

        With a season these must be told apart by the hour: rows that share the strata of "other segments" are not.
        """
        own = self.fitted.segments.get(column, {}).get(value)
        strata = self.fitted.plan.strata
        if own is None or strata is None or strata.by == "none":
            return own is not None
        return bool(own.mix[-strata.cells :].sum() <= MINGLED * own.rows)

    def _engine(self, name: str) -> Engine:
        """The engine of a stream: a segment is judged against its own rows of the reference."""
        segment = self._segment_of(name)
        if segment is None:
            return self.engine
        if segment not in self._segment_engines:
            whole, (column, value) = self.fitted.reference, segment
            seasons = None
            if whole.strata is not None and self.model.season.by != "none":  # its own mix of segments is no news in it
                seasons = dataclasses.replace(whole.strata, free=np.zeros_like(whole.strata.free))
            own = dataclasses.replace(whole, summary=self.fitted.segments[column][value], strata=seasons, views=())
            self._segment_engines[segment] = dataclasses.replace(self.engine, reference=own)
        return self._segment_engines[segment]

    def _segment_of(self, name: str) -> tuple[str, str] | None:
        """The column and value of a segment's stream, None for a version's."""
        _, _, segment = name.partition("/")
        columns = (column for column in self.fitted.segments if segment.startswith(f"{column}="))
        column = next(columns, segment.partition("=")[0])
        return (column, segment.removeprefix(f"{column}=")) if segment else None

    def _crowded(self, column: str) -> bool:
        return sum(f"/{column}=" in known for known in self.streams) >= self.model.max_segments

    def _stream(self, name: str) -> Stream:
        one = self.streams.get(name)
        if one is None:
            grid = self.fitted.reference.grid
            engine = self._engine(name)
            counter = self._counter if "/" not in name else None  # estimates are of whole versions
            panes = Panes(grid, self._rule, engine.reference.views, self._sample_rows, counter)
            one = Stream(name, engine, panes, engine.start(), RowSample(name), self._mover(engine))
            self.streams[name] = one
            self._shares = max(self._shares, len(self.streams))
        return one

    def _into(
        self,
        one: Stream,
        block: Block,
        batch: pa.RecordBatch,
        rows: NDArray[np.int64] | None,
        arrival: float,
    ) -> tuple[list[Report], tuple[int, int]]:
        panes, discards = one.panes.add(block, arrival)
        places = partial(one.panes.places, block, arrival=arrival)
        one.sample.add(batch, rows, places)
        one.late += discards.late
        reports = self._judge(one, panes)
        if any(report.findings for report in reports):
            one.sample.hold(batch, rows, places)
            self._holding.append(one.sample)
        return reports, (discards.late, discards.implausible_time)

    def _judge(self, one: Stream, panes: Sequence[Pane]) -> list[Report]:
        reports = []
        for pane in panes:
            if np.isnan(one.first_time):
                one.first_time = pane.start
            self._watch_rate(one, pane)
            one.state, report = one.engine.step(
                one.state,
                pane,
                one.name,
                threshold=self.threshold,
                ticket_level=min(self.model.window.panes / (self._ticket_length * self._shares), 0.5),
            )
            one.closed = [*one.closed[-self.model.window.panes :], pane]
            report = self._arbiter.report(report, one.engine, one.state.panes)
            report = self._moved(one, pane, report)
            one.last = report
            one.joint |= report.joint
            reports.append(report)
        return reports

    def _mover(self, engine: Engine) -> Moving | None:
        rule = self.model.moving
        return Moving(engine.reference, rule.panes, rule.steps, self.model.window.panes) if rule.panes else None

    def _moved(self, one: Stream, pane: Pane, report: Report) -> Report:
        """Let the reference follow, if it is one that moves; the report with what that ends."""
        reference = None if one.moving is None else one.moving.add(pane)
        if reference is None:
            return report
        one.engine = dataclasses.replace(one.engine, reference=reference)
        one.state, ended = one.engine.adopt(one.state, pane)
        return dataclasses.replace(report, recovered=(*report.recovered, *ended))

    def _watch_rate(self, one: Stream, pane: Pane) -> None:
        """A budget in time over panes in rows: count how many panes the period really has, and never fewer again."""
        budget, tickets = self.model.alarms.false_alarms, self.model.false_tickets
        span = pane.end - one.first_time
        if self._rule.rows is None or not self._timed or pane.number < _RATE_PANES or not span > 0:
            return
        rate = pane.number / span
        if budget.period_seconds is not None:
            self._length = max(self._length, rate * budget.period_seconds / budget.alarms)
        if tickets.period_seconds is not None:
            self._ticket_length = max(self._ticket_length, rate * tickets.period_seconds / tickets.alarms)

    def state(self) -> dict[str, bytes]:
        """Every stream as one blob, for a checkpoint; the panes of the windows go separately (`Stream.closed`)."""
        lengths = np.array([self._shares, self._length, self._ticket_length])
        found = {} if self.guard is None else {f"{self.model.name}/{_GUARD}": self.guard.state()}
        return found | {
            f"{self.model.name}/{name}": states.pack_stream(
                one.state, one.panes, one.first_time, one.late, lengths, one.moving
            )
            for name, one in self.streams.items()
        }

    def restore(self, blobs: Mapping[str, bytes], panes: Callable[[str], Sequence[bytes]]) -> None:
        """Go on from a checkpoint; ``panes`` gives a stream's stored panes, oldest first."""
        prefix = f"{self.model.name}/"
        for key, blob in blobs.items():
            if not key.startswith(prefix):
                continue
            name = key.removeprefix(prefix)
            if name == _GUARD:
                if self.guard is not None:
                    self.guard.restore(blob)
                continue
            segment = self._segment_of(name)
            if segment is not None and not self._known(*segment):
                continue  # a reference fitted anew, without rows of that segment
            one = self._stream(name)
            kept = [states.unpack_pane(self.engine.reference.grid.id, stored) for stored in panes(key)]
            moved = states.moved(blob, one.moving)
            if moved is not None:
                one.engine = dataclasses.replace(one.engine, reference=moved)
            one.state, one.first_time, one.late, lengths = states.unpack_stream(blob, one.engine, one.panes, kept)
            self._shares = max(self._shares, int(lengths[0]))
            self._length = max(self._length, float(lengths[1]))
            self._ticket_length = max(self._ticket_length, float(lengths[2]))


def _split(labels: Labels) -> Iterator[tuple[int, str, NDArray[np.int64]]]:
    """Rows of each label that occurs; code -1 (and an empty name) for rows without one."""
    for code in np.unique(labels.codes):
        rows = np.flatnonzero(labels.codes == code)
        yield int(code), labels.values[code] if code >= 0 else "", rows
