"""Stored logs through the very engine that ``run`` uses, in event time, as fast as it goes."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from monitor import log
from monitor.absent import Absent
from monitor.config import Config, Model, fingerprint
from monitor.errors import ConfigError, DriftwardenError
from monitor.fitted import Fitted
from monitor.loading import Progress, fitted_of, measure_batches, severity_of
from monitor.outcomes.door import only_labels, pace_of
from monitor.reader import Tables
from monitor.report import Report
from monitor.security.pseudonyms import KEY_BYTES, known_key
from monitor.security.start import guard_of
from monitor.streams import Fed, ModelStreams
from monitor.told import Told

if TYPE_CHECKING:
    from monitor.outcomes.replayed import Performance

Line = dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """Totals of one model's replay."""

    model: str
    rows: int = 0
    panes: int = 0
    findings: int = 0
    discarded: Counter[str] = field(default_factory=Counter)
    seconds_cpu: float = 0.0
    performance: Line | None = None

    def as_dict(self) -> Line:
        """The last line of the model in the JSON lines (design.md section 5)."""
        told = {} if self.performance is None else {"performance": self.performance}
        return {
            "kind": "summary",
            "model": self.model,
            "rows": self.rows,
            "panes": self.panes,
            "findings": self.findings,
            "discarded": dict(self.discarded),
            "seconds_cpu": round(self.seconds_cpu, 3),
            **told,
        }


def replay(
    config: Config,
    paths: Sequence[str],
    *,
    model: str | None = None,
    emit: Callable[[Line], None],
    watch: Callable[[Report], None] | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Send ``paths`` through each model (or the named one); ``emit`` gets one object per finding and model."""
    one = chosen_of(config, model)
    key = known_key(config.store.path) or os.urandom(KEY_BYTES)
    return [_one(one, paths, (fingerprint(config), key), emit, watch, progress)]


def chosen_of(config: Config, model: str | None) -> Model:
    """The model that a log belongs to; `ConfigError` if that is not clear, or it cannot be replayed."""
    chosen = [one for one in config.models if model in (None, one.name)]
    if not chosen:
        names = ", ".join(one.name for one in config.models)
        raise ConfigError([f"--model: no model is called {model!r}; configured are: {names}"])
    if len(chosen) > 1:
        names = ", ".join(one.name for one in chosen)
        raise ConfigError(
            [f"--model: the configuration has several models ({names}); say which one the log belongs to"]
        )
    if chosen[0].pane.every is not None and chosen[0].columns.time is None:
        raise ConfigError(
            [f"models.{chosen[0].name}.columns.time: a stored log has no other clock; name its time, or use pane.rows"]
        )
    return chosen[0]


def _one(
    model: Model,
    paths: Sequence[str],
    names: tuple[str, bytes],
    emit: Callable[[Line], None],
    watch: Callable[[Report], None] | None,
    progress: Progress | None,
) -> Outcome:
    """``names`` are the configuration's id and the key of the senders' pseudonyms."""
    outcome = Outcome(model.name)
    whole, learn = Tables(paths), model.reference.learn_rows
    if learn:
        labels, tables = whole.parted(partial(_only_labels, model, None))
        first, rows = _learn(tables.batches(), learn)
        fitted = measure_batches(first, model)
        outcome.rows += sum(batch.num_rows for batch in first)
    else:
        fitted = fitted_of(model, progress=progress)
        labels, tables = whole.parted(partial(_only_labels, model, fitted))
        rows = tables.batches()
    with ExitStack() as stack:
        total = tables.row_count
        performance = _performance(model, fitted, total, names[0], stack)
        streams = _streams(model, fitted, names, performance)
        absent = Absent(fitted.plan.roles, fitted.sample.schema.names)
        began = time.process_time()
        for batch in rows:
            fed = streams.feed(batch, "", outcome.rows)
            outcome.rows += batch.num_rows
            for sentence in absent.look(batch.schema.names, batch.num_rows):
                log.get("replay").warning(sentence, model=model.name)
            _account(outcome, fed)
            if fed.told is not None:
                _hear(fed.told, outcome, emit)
            _tell(fed.reports, outcome, emit, watch)
            if performance is not None:
                _errors(performance, outcome, emit)
                _each(performance.lines(), emit)
            if progress is not None:
                progress("replay", outcome.rows, total)
        _tell(streams.flush(), outcome, emit, watch)
        if performance is not None:
            for batch in labels.batches():
                performance.labelled(batch, max(streams.watermark, outcome.rows), pace_of(streams))
                _errors(performance, outcome, emit)
            _each(performance.lines(0), emit)
            outcome.performance = performance.summary()
        outcome.seconds_cpu = time.process_time() - began
    emit(outcome.as_dict())
    return outcome


def _only_labels(model: Model, fitted: Fitted | None, schema: pa.Schema) -> bool:
    known = None if fitted is None else [one.name for one in fitted.plan.columns if one.monitored]
    return only_labels(model.columns, schema.names, known)


def _performance(
    model: Model, fitted: Fitted, rows: int | None, config_id: str, stack: ExitStack
) -> Performance | None:
    """What tells the performance: imported only where labels are named."""
    if not model.columns.label:
        return None
    from monitor.outcomes.replayed import Performance

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="driftwarden-")))
    made = Performance(model, fitted, folder, rows, config_id)
    stack.callback(made.close)
    return made


def _streams(model: Model, fitted: Fitted, names: tuple[str, bytes], performance: Performance | None) -> ModelStreams:
    config_id, key = names
    timer = time.perf_counter
    guard = guard_of(model, fitted, key, config_id, timer)
    options: dict[str, Any] = {"config_id": config_id, "timer": timer, "guard": guard}
    options["timed"] = model.columns.time is not None
    if performance is None:
        severity = severity_of(model, fitted.reference.grid.names)
        streams = ModelStreams(model, fitted, severity=severity, **options)
    else:
        from monitor.outcomes.replayed import PlacedStreams

        streams = PlacedStreams(performance, model, fitted, **options)
    streams.prepare()
    return streams


def _errors(performance: Performance, outcome: Outcome, emit: Callable[[Line], None]) -> None:
    """Tell what has become of errors."""
    for told in performance.heard():
        _hear(told, outcome, emit)


def _each(lines: Iterable[Line], emit: Callable[[Line], None]) -> None:
    for line in lines:
        emit(line)


def _learn(rows: Iterator[pa.RecordBatch], wanted: int) -> tuple[list[pa.RecordBatch], Iterator[pa.RecordBatch]]:
    """The first rows as reference, and an iterator over what follows."""
    first: list[pa.RecordBatch] = []
    missing = wanted
    for batch in rows:
        first.append(batch.slice(0, missing))
        missing -= first[-1].num_rows
        if missing <= 0:
            rest = batch.slice(first[-1].num_rows)
            return first, _and_then(rest, rows)
    raise DriftwardenError(
        f"reference.learn_rows: the log has only {wanted - missing} rows and {wanted} are to be learnt from; "
        "give a longer log or a smaller number"
    )


def _and_then(batch: pa.RecordBatch, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    if batch.num_rows:
        yield batch
    yield from rows


def _account(outcome: Outcome, fed: Fed) -> None:
    for reason, number in (("late", fed.late), ("implausible_time", fed.implausible)):
        if number:
            outcome.discarded[reason] += number


def _hear(told: Told, outcome: Outcome, emit: Callable[[Line], None]) -> None:
    for finding, _ in told.findings:
        outcome.findings += 1
        emit(finding.as_dict())
    for back in told.recovered:
        emit(back.as_dict(outcome.model, told.stream))


def _tell(
    reports: Sequence[Report],
    outcome: Outcome,
    emit: Callable[[Line], None],
    watch: Callable[[Report], None] | None,
) -> None:
    for report in sorted(reports, key=lambda report: report.end):
        outcome.panes += "/" not in report.stream
        for finding in report.findings:
            outcome.findings += 1
            emit(finding.as_dict())
        for back in report.recovered:
            emit(back.as_dict(outcome.model, report.stream))
        if watch is not None:
            watch(report)
