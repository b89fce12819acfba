"""The interface for programs as it tells itself: its routes, what each takes, and the strict reading of a query.

An option that a route does not have, and a value that it cannot be, are refused: a list that was filtered by something
else than what was asked for looks like an answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeVar

from starlette.requests import Request

from detectors.taxonomy import MODES
from monitor.errors import ConfigError
from monitor.web import wording
from monitor.web.desk import MOST, PAGE

ROOT: Final = "/api/v1"
MOST_ACTS: Final = 10_000
MOST_PANES: Final = 20_000
STATES: Final = ("current", "over", "all", *wording.STATES)
"""Of incidents: what is going on, what is not, both, and exact ones."""
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "state": STATES,
    "severity": tuple(wording.SEVERITIES),
    "triage": tuple(wording.TRIAGES),
    "failure_mode": tuple(MODES),
}
"""Filters of incidents and what each may be."""
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_MODEL: Final = {"model": "its name"}
_SPAN: Final = {"since": "a time, such as 2026-11-21T10:30Z", "until": "a time", "rows": "how many at most"}
_EXPORT: Final = {"finding": "what it is about", "model": "where there are several and no finding is given", **_SPAN}


T = TypeVar("T")


class Line(NamedTuple):
    """What a route does, and the options of its query with what each may be."""

    what: str
    query: dict[str, str] = {}  # noqa: RUF012 - a default that nobody changes


def _limit(most: int) -> dict[str, str]:
    return {"limit": f"a whole number from 1 to {most:,}"}


LINES: Final[dict[str, Line]] = {
    f"GET {ROOT}": Line("this list"),
    f"GET {ROOT}/incidents": Line(
        "incidents, newest first; `next` goes into `after` for those before them",
        _MODEL | {name: ", ".join(of) for name, of in CHOICES.items()} | {"after": "`next`"} | _limit(MOST),
    ),
    f"GET {ROOT}/findings/{{id}}": Line("a finding's document, how it stands, what joins it and what was done"),
    f"GET {ROOT}/findings/{{id}}/history": Line(
        "evidence of its stream, pane by pane, newest last", _limit(MOST_PANES)
    ),
    f"GET {ROOT}/models": Line("models and how they do"),
    f"GET {ROOT}/models/{{name}}": Line(
        "a model's streams, and the columns of one of them by their evidence", {"stream": "its name"}
    ),
    f"GET {ROOT}/models/{{name}}/performance": Line(
        "estimates and figures by labels over time, what estimates were worth, reliability, why it changed, slices"
    ),
    f"GET {ROOT}/interventions": Line(
        "what people did, newest first",
        _MODEL
        | {"finding": "its id", "kind": ", ".join(wording.KINDS), "active": "true for what still holds"}
        | _limit(MOST_ACTS),
    ),
    f"POST {ROOT}/interventions": Line(
        'do something: {"kind", "model", "target", "because", and for a mute "until" or "seconds"}; 201'
    ),
    f"POST {ROOT}/interventions/{{id}}/undo": Line('take it back: {"because"}'),
    f"GET {ROOT}/changes": Line("place of the newest event: what was read before another one is out of date"),
    f"GET {ROOT}/exports/{{kind}}": Line("Parquet: telling, labelling, drawn, weights, clients or rows", _EXPORT),
    f"GET {ROOT}/support-bundle": Line("an archive that tells how the agent does, without values, names and secrets"),
}
"""Method and path -> what is there."""


def index() -> dict[str, Any]:
    """All of it as JSON."""
    routes = [
        {"method": method, "path": path, "what": line.what} | ({"query": line.query} if line.query else {})
        for (method, path), line in ((name.split(" "), line) for name, line in LINES.items())
    ]
    return {"routes": routes, "faults": 'what cannot be done is answered as {"faults": [a sentence each]}'}


class Query:
    """The options of one request; all that is wrong with them is told at once, by `check`."""

    def __init__(self, request: Request, path: str) -> None:
        """``path`` is that of the route below ``/api/v1``, as in `LINES`."""
        known = LINES[f"GET {ROOT}{path}"].query
        self._given = {name: value for name, value in request.query_params.items() if value}
        some = f"there are {', '.join(known)}" if known else "there are none here"
        self._faults = [
            f"{wording.clean(name)}: there is no such option; {some}" for name in self._given.keys() - known
        ]

    def text(self, name: str) -> str:
        """As it is, "" where it is not given."""
        return self._given.get(name, "")

    def choice(self, name: str, choices: Iterable[str]) -> str:
        """One of some words, "" where it is not given."""
        return self._one(name, {one: one for one in choices}, "")

    def flag(self, name: str) -> bool:
        """Whether it is wanted."""
        return self._one(name, _FLAGS, default=False)

    def limit(self, most: int) -> int:
        """How many."""
        text = self._given.get("limit", str(PAGE))
        if text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= most:
            return int(text)
        self.refuse("limit", f"must be a whole number from 1 to {most:,}")
        return PAGE

    def after(self) -> tuple[float, str] | None:
        """Time and id of the last one of the page before."""
        time, _, id_ = self.text("after").partition("~")
        try:
            if id_ and math.isfinite(found := float(time)):
                return found, id_
        except ValueError:
            pass
        if self.text("after"):
            self.refuse("after", "must be `next` of the page before")
        return None

    def refuse(self, name: str, why: str) -> None:
        """Say what is wrong with an option."""
        self._faults.append(f"{name}: {wording.clean(self.text(name))!r} {why}")

    def check(self) -> None:
        """Raise `ConfigError` with all that is wrong."""
        if self._faults:
            raise ConfigError(sorted(self._faults))

    def _one(self, name: str, choices: dict[str, T], default: T) -> T:
        value = self._given.get(name)
        if value is not None and value not in choices:
            self.refuse(name, f"must be one of {', '.join(choices)}")
        return choices.get(value or "", default)
