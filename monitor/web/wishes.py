"""What people ask for, from a form or from JSON, made into interventions; a form may ask for several mutes at once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

from pydantic import Field, ValidationError

from monitor.errors import ConfigError
from monitor.interventions import MUTABLE, Wanted
from monitor.records import FindingRow, InterventionKind
from monitor.strict import Strict
from monitor.web.desk import Desk
from monitor.web.people import Person

_SLACK: Final = 1e-3
"""Seconds behind the newest row, so that it is inside the span."""
Form = Mapping[str, Sequence[str]]


class Wish(Strict):
    """The body of ``POST /api/v1/interventions``."""

    kind: InterventionKind = Field(description="what to do")
    model: str = Field(default="", max_length=64, description="to which model; that of the finding unless given")
    target: dict[str, Any] = Field(default_factory=dict, description="to what: see `monitor.records.Intervention`")
    because: str = Field(description="why")
    by: str = Field(default="", max_length=100, description="who, for those who come under a shared name")
    until: float | None = Field(default=None, description="until when, in seconds since the epoch; for a mute")
    seconds: float | None = Field(default=None, gt=0, description="for how long, instead of until")


class Undo(Strict):
    """The body of ``POST /api/v1/interventions/{id}/undo``."""

    because: str = Field(description="why it is taken back")
    by: str = Field(default="", max_length=100, description="who, for those who come under a shared name")


def form_of(body: bytes) -> Form:
    """The fields of a form; `ConfigError` where it is none."""
    try:
        return parse_qs(body.decode("utf-8"), keep_blank_values=True)
    except ValueError as error:
        raise ConfigError([f"body: is no form ({error}); send it from the page"]) from error


def first(form: Form, field: str, default: str = "") -> str:
    """One value of a field."""
    return next(iter(form.get(field, ())), default)


def of_json(desk: Desk, person: Person, body: bytes) -> Wanted:
    """One wish; `ConfigError` lists what is wrong with it."""
    try:
        wish = Wish.model_validate_json(body)
    except ValidationError as error:
        raise ConfigError(faults_of(error)) from error
    found = wish.target.get("finding")
    row = desk.finding(person, found) if isinstance(found, str) else None
    until = wish.until if wish.seconds is None else desk.now() + wish.seconds
    model = wish.model or ("" if row is None else row.model)
    return Wanted(wish.kind, model, wish.because, person.signature(wish.by), wish.target, until)


def faults_of(error: ValidationError) -> list[str]:
    """What is wrong with a body, a line for each field."""
    return [f"{'.'.join(str(at) for at in one['loc']) or 'body'}: {one['msg']}" for one in error.errors()]


def of_form(desk: Desk, person: Person, form: Form) -> list[Wanted]:
    """The wishes of a form; `ConfigError` says what is wrong with it."""
    row = desk.finding(person, first(form, "finding")) if first(form, "finding") else None
    model = row.model if row is not None else first(form, "model")
    because, by = first(form, "because"), person.signature(first(form, "by"))
    match first(form, "kind"):
        case "acknowledge":
            return [Wanted("acknowledge", model, because, by, {"finding": first(form, "finding")})]
        case "mute":
            return _mutes(desk, form, model, because, by)
        case "rebaseline":
            return [Wanted("rebaseline", model, because, by, _rows(desk, form, row))]
        case "quarantine":
            target = {"clients": _names(form, "client"), "finding": first(form, "finding")}
            return [Wanted("quarantine", model, because, by, target)]
    raise ConfigError(["kind: is none that there is; send the form from the page"])


def _mutes(desk: Desk, form: Form, model: str, because: str, by: str) -> list[Wanted]:
    targets = [{key: value} for key in MUTABLE for value in _names(form, key)]
    if not targets:
        raise ConfigError(["column: nothing is chosen; choose what to mute"])
    until = desk.now() + _number(form, "for")
    return [Wanted("mute", model, because, by, target, until) for target in targets]


def _names(form: Form, field: str) -> list[Any]:
    """Names from a log, which forms carry as JSON: browsers change line ends."""
    try:
        return [json.loads(text) for text in form.get(field, ())]
    except ValueError as error:
        raise ConfigError([f"{field}: is not as the page wrote it; open the page again"]) from error


def _rows(desk: Desk, form: Form, row: FindingRow | None) -> dict[str, Any]:
    """Which rows make the new reference: the next ones, or those since a finding began."""
    if first(form, "span") != "since" or row is None:
        return {"rows": int(_number(form, "rows"))}
    from monitor.web.desk import document_of

    streams = desk.live.streams(row.model)
    latest = desk.now() if streams is None else streams.watermark
    return {"since": document_of(row)["since_time"], "until": latest + _SLACK}


def _number(form: Form, field: str) -> float:
    try:
        found = float(first(form, field))
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ConfigError([f"{field}: {first(form, field)!r} is no number"])
    return found
