"""The configuration file: its schema, how it is loaded, and how it is shown.

`load` reads YAML and gives a frozen `Config` or raises `ConfigError` with every fault found, one a line, each with the
nearest right name or the fix. Relative paths are relative to the file. Defaults are the calibrated ones.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, ValidationError, ValidationInfo

from monitor.budget import Budget, parse, run_length
from monitor.errors import ConfigError
from monitor.limits import Limits
from monitor.listeners import HTTP_ADDRESS, Flight, Http, Source, Telemetry, clashes
from monitor.notify.section import Notify, receiver_faults
from monitor.probes.section import faults as probe_faults
from monitor.quantities import Address, duration
from monitor.sections import (
    Alarms,
    Columns,
    Joint,
    Labels,
    Moving,
    Pane,
    Season,
    Security,
    Window,
    of_errors,
    streaming_detectors,
)
from monitor.strict import Duration, Fault, Names, RelativePath, Size, Strict, faults_of, unknown
from monitor.web.section import Web, people_faults
from monitor.yaml_text import read_yaml, write_yaml

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a model may be called: it becomes a path segment, a Flight descriptor and a metric label."""
FILE_LIMIT = 1 << 20
"""Bytes of a configuration file; more is a mistake."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class ReferenceSource:
    """Where the reference comes from: files, folders and URIs, or the first rows of live traffic."""

    paths: tuple[str, ...] = ()
    learn_rows: int | None = None

    def document(self) -> str | list[str] | dict[str, int]:
        """As it is written in the file."""
        if self.learn_rows is not None:
            return {"learn_rows": self.learn_rows}
        return self.paths[0] if len(self.paths) == 1 else list(self.paths)


def _reference(value: object, info: ValidationInfo) -> ReferenceSource:
    """Read any of the three forms."""
    if isinstance(value, ReferenceSource):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if key != "learn_rows":
                raise ValueError(unknown("key", str(key), ["learn_rows"]))
        rows = value.get("learn_rows")
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
            raise ValueError("learn_rows must be a whole number of rows above zero, for example 50000")
        return ReferenceSource(learn_rows=rows)
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, (list, tuple)) or not given or not all(isinstance(path, str) and path for path in given):
        raise ValueError("must be a file, folder or URI, a list of them, or {learn_rows: 50000}")
    base = (info.context or {}).get("base", Path())
    paths = (path if _URI.match(path) else str(Path(base) / Path(path).expanduser()) for path in given)
    return ReferenceSource(paths=tuple(paths))


def _model_name(value: object) -> str:
    """A name that needs no quoting anywhere."""
    if not isinstance(value, str) or not MODEL_NAME.fullmatch(value):
        message = f"{value!r} cannot name a model; use 1 to 64 letters, digits, dots, dashes and underscores"
        raise ValueError(message)
    return value


GUARDED = ("client", "digest", "label", "source", "image", "embeddings", "probabilities", "logits")
"""Roles of columns that are worth a look at single rows and their senders."""


class Model(Strict):
    """One monitored model."""

    name: Annotated[str, PlainValidator(_model_name)] = Field(description="name used in paths, labels and findings")
    reference: Annotated[
        ReferenceSource, PlainValidator(_reference), PlainSerializer(lambda value: value.document())
    ] = Field(description="file, folder or URI of the reference data, or {learn_rows: 50000}")
    columns: Columns = Columns()
    pane: Pane = Field(default={"every": "60s"}, validate_default=True, description='{every: "60s"} or {rows: 200}')
    window: Window = Window()
    alarms: Alarms = Alarms()
    joint: Joint = Joint()
    security: Security = Security()
    labels: Labels = Labels()
    captions: RelativePath | None = Field(
        default=None,
        description="Parquet of texts (caption) and their vectors (embedding) in the space of the first of "
        "columns.embeddings, told beside directions along which the model fails",
    )
    season: Season = Season()
    moving: Moving = Moving()
    streaming: Annotated[Names, AfterValidator(streaming_detectors)] = Field(
        default=(), description="classical streaming detectors to run as well, by name"
    )
    selfcheck: bool = Field(default=True, description="measure false alarms and delay on resampled rows all the time")
    max_segments: int = Field(default=20, ge=0, le=1000, description="streams per segment column at most")
    top_features: int = Field(
        default=20,
        ge=0,
        le=1000,
        description="columns exported to Prometheus at most, besides those of the model's answers",
    )

    @property
    def guarded(self) -> bool:
        """Whether rows are looked at one by one, and who sends them."""
        told = (getattr(self.columns, role) for role in GUARDED)
        return any(told) if self.security.enabled is None else self.security.enabled

    @property
    def scored(self) -> bool | None:
        """Whether the rows' scores are a joint view; None: where the log carries vectors."""
        return self.security.row_scores if self.guarded else False

    @property
    def hold(self) -> int:
        """Panes of quiet after an alarm."""
        return self.alarms.hold if self.alarms.hold is not None else self.window.panes

    @property
    def false_tickets(self) -> Budget:
        """Budget of the window layer."""
        return self.alarms.false_tickets or self.alarms.false_alarms

    @property
    def run_length(self) -> float:
        """A, panes per allowed false page."""
        return run_length(self.alarms.false_alarms, self.pane.every)

    @property
    def ticket_run_length(self) -> float:
        """Panes per allowed false ticket."""
        return run_length(self.false_tickets, self.pane.every)

    @property
    def streaming_values(self) -> tuple[str, ...]:
        """Classical detectors of what is logged; the others look at errors."""
        return tuple(name for name in self.streaming if name not in of_errors(self.streaming))

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """A budget leaves more than two panes between alarms, a reference moves or has seasons, probes can be sent."""
        pane, alarms = raw.get("pane"), raw.get("alarms")
        season, moving, columns = (raw.get(key) or {} for key in ("season", "moving", "columns"))
        if isinstance(season, Mapping) and season.get("by", "none") != "none":
            if isinstance(moving, Mapping) and moving.get("panes"):
                yield ("moving", "panes"), "a reference that moves has no seasons; remove it or season.by"
            if isinstance(columns, Mapping) and not columns.get("time"):
                yield ("season", "by"), "needs the time of each row; name it under columns.time, or remove it"
        yield from _without_labels(raw.get("streaming"), columns)
        if isinstance(security := raw.get("security"), Mapping) and security.get("probes") is not None:
            known = columns if isinstance(columns, Mapping) else {}
            for where, text in probe_faults(security["probes"], known, context):
                yield ("security", "probes", *where), text
        every = pane.get("every") if isinstance(pane, Mapping) else "60s"
        for key in ("false_alarms", "false_tickets"):
            if not isinstance(alarms, Mapping) or key not in alarms:
                continue
            try:
                wanted, seconds = parse(alarms[key]), duration(every) if every is not None else None
            except ValueError:  # the field itself tells it
                continue
            try:
                run_length(wanted, seconds)
            except ValueError as error:
                yield ("alarms", key), str(error)


def _without_labels(streaming: object, columns: object) -> Iterator[Fault]:
    """Detectors of errors where no label is joined."""
    named = [one for one in streaming if isinstance(one, str)] if isinstance(streaming, (list, tuple)) else []
    given = columns if isinstance(columns, Mapping) else {}
    if (names := of_errors(named)) and not (given.get("id") and given.get("label")):
        yield ("streaming",), f"{names[0]} looks at errors: name columns.id and columns.label, or remove it"


class StoreSection(Strict):
    """Where state and findings are kept."""

    path: RelativePath = Field(
        default=Path("driftwarden-data"), validate_default=True, description="folder for the state"
    )
    durable: bool = Field(default=True, description="acknowledge rows only when they are on disk")
    checkpoint: Duration = Field(default=10.0, ge=0.1, description="how often states are written")
    retention: Duration = Field(default=90 * 86400.0, gt=0, description="how long closed findings are kept")
    spool_bytes: Size = Field(default=1 << 30, ge=1 << 20, description="disk space for rows not yet judged")
    keep_bytes: Size = Field(
        default=256 << 20, ge=0, description="disk space for rows judged last, for re-baselines and exports; 0: none"
    )


class Queue(Strict):
    """The one bounded queue between sources and engine."""

    bytes: Size = Field(default=64 << 20, ge=1 << 16, description="memory for rows that wait")


class LimitsSection(Strict):
    """What a single delivery may be at most."""

    body_bytes: Size = Field(default=64 << 20, ge=1024, description="bytes of a request or batch")
    batch_rows: int = Field(default=1_000_000, ge=1, description="rows of a batch")
    columns: int = Field(default=4096, ge=1, description="columns of a batch")
    string_bytes: Size = Field(default=1 << 16, ge=16, description="bytes of one string value")


class Log(Strict):
    """The agent's own log on standard error."""

    format: Literal["logfmt", "json"] = Field(default="logfmt", description="logfmt or json")
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is written"
    )


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where /metrics and health are served, and which token they ask for."""

    address: Address
    token: str | None


class Config(Strict):
    """The whole file."""

    models: tuple[Model, ...] = Field(description="list of the models to watch")
    sources: tuple[Source, ...] = Field(
        default=(Source(flight=Flight()), Source(http=Http())), description="list of where rows come from"
    )
    telemetry: Telemetry = Telemetry()
    web: Web = Web()
    notify: tuple[Notify, ...] = Field(default=(), description="list of who is told of findings")
    store: StoreSection = Field(default={}, validate_default=True)
    queue: Queue = Queue()
    limits: LimitsSection = LimitsSection()
    log: Log = Log()

    @property
    def endpoint(self) -> Endpoint:
        """The telemetry address and token; without an own address those of the first HTTP source."""
        http = next((source.http for source in self.sources if source.http is not None), None)
        if self.telemetry.listen is not None:
            return Endpoint(self.telemetry.listen, self.telemetry.token)
        if http is None:
            return Endpoint(HTTP_ADDRESS, self.telemetry.token)
        return Endpoint(http.listen, self.telemetry.token or http.token)

    @classmethod
    def cross(cls, raw: Mapping[str, Any], context: Mapping[str, Any]) -> Iterator[Fault]:
        """Names and addresses are unique, sources know their model, a full-size body fits the queue."""
        names: list[str] = []
        if raw.get("models") in ([], {}):
            yield ("models",), "is empty; name at least one model with its reference"
        for index, model in enumerate(_sections(raw.get("models"))):
            name = model.get("name")
            if isinstance(name, str) and name in names:
                yield ("models", index, "name"), f'"{name}" is the name of another model already; choose another'
            names += [name] if isinstance(name, str) else []
        yield from _source_faults(_sections(raw.get("sources")), names)
        yield from clashes(raw)
        yield from people_faults(raw.get("web"), names)
        yield from receiver_faults(raw.get("notify"), names)
        yield from _queue_faults(raw)


def _source_faults(entries: list[Mapping[str, Any]], models: list[str]) -> Iterator[Fault]:
    """Sources that feed nobody, and a standard input read twice."""
    stdin = 0
    for index, entry in enumerate(entries):
        stdin += "stdin" in entry
        if "stdin" in entry and stdin > 1:
            yield ("sources", index, "stdin"), "standard input is read by another source already; remove one"
        for kind in ("directory", "stdin"):
            settings = entry.get(kind)
            name = settings.get("model") if isinstance(settings, Mapping) else None
            if isinstance(name, str) and name not in models:
                yield ("sources", index, kind, "model"), f'"{name}" is not configured: {unknown("model", name, models)}'


def _queue_faults(raw: Mapping[str, Any]) -> Iterator[Fault]:
    """A body as large as the limit must fit an empty queue, or its sender would be turned away for ever."""
    try:
        queue = Queue.model_validate(raw.get("queue"))
        limits = LimitsSection.model_validate(raw.get("limits"))
    except ValidationError:  # told where it stands
        return
    if limits.body_bytes > queue.bytes:
        yield ("queue", "bytes"), "is smaller than limits.body_bytes; raise it or lower that limit"


def _sections(entries: Any) -> list[Mapping[str, Any]]:
    """The mappings of a raw list, in place: what is no mapping counts as an empty one."""
    given = entries if isinstance(entries, list) else []
    return [entry if isinstance(entry, Mapping) else {} for entry in given]


def load(path: str | Path, *, environ: Mapping[str, str] | None = None, secrets: bool = True) -> Config:
    """Read a configuration file; `ConfigError` lists every fault.

    ``secrets=False`` checks a file on a machine that does not hold its tokens.
    """
    file = Path(path)
    try:
        if file.stat().st_size > FILE_LIMIT:
            raise ConfigError([f"{file}: larger than {FILE_LIMIT} bytes; this cannot be the configuration"])
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}; name the file with --config"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{file}: not UTF-8 text; save it as UTF-8"]) from error
    base = file.parent.absolute()
    return parse_config(read_yaml(text, str(file)), base=base, environ=environ, secrets=secrets)


def parse_config(
    document: Any, *, base: Path, environ: Mapping[str, str] | None = None, secrets: bool = True
) -> Config:
    """A configuration from its document; relative paths are relative to ``base``."""
    context = {"base": base, "environ": os.environ if environ is None else environ, "secrets": secrets}
    try:
        return Config.model_validate(document, context=context)
    except ValidationError as error:
        raise ConfigError(faults_of(error)) from error


def describe(config: Config) -> str:
    """The effective configuration as YAML: all defaults written out, no secret in it, loadable again."""
    document = config.model_dump(mode="json", exclude_none=True)
    for shown, model in zip(document["models"], config.models, strict=True):
        shown["alarms"] |= {"false_tickets": str(model.false_tickets), "hold": model.hold}
    document["telemetry"]["listen"] = str(config.endpoint.address)
    return write_yaml(document)


def fingerprint(config: Config) -> str:
    """Twelve hex digits that change when the effective configuration does."""
    return hashlib.sha256(describe(config).encode()).hexdigest()[:12]


def limits_of(config: Config) -> Limits:
    """Limits in the form that the envelope wants."""
    section = config.limits
    return Limits(
        body_bytes=section.body_bytes,
        batch_rows=section.batch_rows,
        columns=section.columns,
        string_bytes=section.string_bytes,
    )
