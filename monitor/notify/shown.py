"""What of an event leaves this machine: what is listed here and nothing else.

Not the rows, not a sender's name, not a value of a feature: so neither the stream (a segment's name holds a value) nor
strata, before and after, or a finding's evidence. Names of columns come from the log and may be hostile.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from monitor.records import Event
from monitor.web import wording

COLUMNS: Final = 20
"""Columns named in a message at most."""

_PLAIN: Final = (
    "id", "model", "state", "severity", "triage", "failure_mode", "subject", "sentence", "detector", "log_e",
    "threshold", "rows", "muted",
)  # fmt: skip
_UNIT: Final = ("unit", "detector", "effect_name", "effect", "effect_low", "effect_high")
_DONE: Final = ("id", "kind", "model", "because", "by", "undone_by", "undone_because")
_OPEN_TARGETS: Final = ("finding", "column", "failure_mode", "rows")
"""Targets of interventions that hold no value of a feature and nobody's name."""
_REPLACEMENT: Final = "\ufffd"


def finding(event: Event, url: str) -> dict[str, Any]:
    """The finding that an event is about, empty where it is about none; ``url`` is the outside address, or ""."""
    raw = event.document.get("finding")
    if not raw:
        return {}
    shown = {name: raw[name] for name in _PLAIN if name in raw}
    incident = raw.get("joins") or raw["id"]
    shown |= {
        "incident": incident,
        "title": title(raw),
        "told": " ".join(told(raw)),
        "failure_modes": [{key: one[key] for key in ("mode", "support")} for one in raw.get("failure_modes", ())],
        "columns": [{key: unit.get(key) for key in _UNIT} for unit in raw.get("units", ())[:COLUMNS]],
        "since": instant(raw.get("since_time")),
        "opened": instant(raw.get("opened")),
        "closed": instant(raw.get("closed")),
        "first_steps": list(raw.get("first_steps", ())),
    }
    return shown | ({"url": address(url, raw["id"])} if url else {})


def title(raw: Mapping[str, Any]) -> str:
    """A finding's document in a line, as pages head it."""
    units = raw["units"]
    about = (raw["triage"], raw["subject"], raw["failure_mode"])
    return wording.title(*about, units[0]["unit"], units[0]["detector"], len(units))


def told(raw: Mapping[str, Any]) -> wording.Told:
    """What happened and how large it is, as pages say it; without strata, whose names hold values."""
    return wording.told({**raw, "strata": ()})


def lasted(raw: Mapping[str, Any]) -> str:
    """How long a finding was open, "" where it still is."""
    return "" if raw.get("closed") is None else wording.span(max(raw["closed"] - raw["opened"], 0.0))


def intervention(event: Event) -> dict[str, Any]:
    """What somebody did about it, empty where nobody did."""
    raw = event.document.get("intervention")
    if not raw:
        return {}
    target = raw.get("target", {})
    shown = {name: raw[name] for name in _DONE if name in raw}
    shown["target"] = {name: target[name] for name in _OPEN_TARGETS if name in target}
    if "segment" in target:
        shown["target"]["segment_column"] = str(target["segment"]).partition("=")[0]
    if "clients" in target:
        shown["target"]["clients"] = len(target["clients"])
    return shown | {name: instant(raw.get(name)) for name in ("time", "until", "undone")}


def address(url: str, name: str) -> str:
    """The page of a finding."""
    return f"{url.rstrip('/')}/findings/{name}"


def instant(time: float | None) -> str | None:
    """A time as RFC 3339 has it, in UTC."""
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plain(text: object, most: int) -> str:
    """A text on one line without what controls a terminal or the direction of writing, cut to ``most`` characters."""
    clean = "".join(letter if letter.isprintable() else _REPLACEMENT for letter in str(text))
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"


def words(name: str) -> str:
    """A name of ours as people say it."""
    return name.replace("_", " ")


def columns(shown: Mapping[str, Any], most: int) -> str:
    """The first columns of a finding that is shown, by name, and how many more there are."""
    names = [plain(unit["unit"], 80) for unit in shown["columns"]]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
