"""What people do about findings: acknowledge, mute, quarantine, and who did it when and why. Each can be taken back.

A re-baseline is one as well; how a reference is replaced, and put back, stands in `monitor.watched`. Touched by the
engine's thread alone; what is new is written with the next checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from detectors.taxonomy import MODES
from monitor.errors import ConfigError
from monitor.records import FindingRow, Intervention, InterventionKind

KINDS: Final[tuple[InterventionKind, ...]] = ("acknowledge", "mute", "quarantine", "rebaseline")
MUTABLE: Final = ("column", "segment", "failure_mode")
"""What can be muted."""
LONGEST_MUTE: Final = 366 * 86_400.0
"""Seconds; a mute without an end would be forgotten."""
MOST_CLIENTS: Final = 1_000
"""Senders in one quarantine."""
MOST_ROWS: Final = 10_000
"""Rows in one quarantine."""
LEAST_ROWS: Final = 1_000
MOST_REFERENCE_ROWS: Final = 10_000_000
"""Rows of a new reference."""
_TEXT: Final = 500
_NAME: Final = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody asks for; ``target`` as in `Intervention`, ``until`` in seconds since the epoch."""

    kind: InterventionKind
    model: str
    because: str
    by: str
    target: Mapping[str, Any] = field(default_factory=dict)
    until: float | None = None


class Interventions:
    """Those that still hold, by id, and those that are to be written down."""

    def __init__(self) -> None:
        """Begin with none."""
        self.held: dict[str, Intervention] = {}
        self.pending: dict[str, Intervention] = {}
        self.counts: dict[tuple[str, str], int] = {}

    def restore(self, held: Iterable[Intervention]) -> None:
        """Go on with what was written down."""
        self.held = {one.id: one for one in held}

    def do(self, wanted: Wanted, now: float) -> Intervention:
        """Record what is wanted; `ConfigError` lists what is wrong with it."""
        check(wanted, now)
        made = Intervention(
            id=secrets.token_hex(8),
            kind=wanted.kind,
            model=wanted.model,
            target=dict(wanted.target),
            because=wanted.because.strip(),
            by=wanted.by.strip(),
            time=now,
            until=wanted.until,
        )
        self._keep(made)
        key = (made.model, made.kind)
        self.counts[key] = self.counts.get(key, 0) + 1
        return made

    def drop(self, one: Intervention) -> None:
        """It came to nothing: there was none."""
        self.held.pop(one.id, None)
        self.pending.pop(one.id, None)

    def undone(self, one: Intervention, by: str, because: str, now: float) -> Intervention:
        """Give it as it will be once it is taken back; `ConfigError` if it does not hold, or nobody says why."""
        faults = list(_said(by, because))
        if not one.active(now):
            faults.append(f"id: {one.id} does not hold any more; there is nothing to undo")
        if faults:
            raise ConfigError(faults)
        return dataclasses.replace(one, undone=now, undone_by=by.strip(), undone_because=because.strip())

    def let_go(self, undone: Intervention) -> None:
        """It was taken back."""
        self.held.pop(undone.id, None)
        self.pending[undone.id] = undone

    def mutes(self, row: FindingRow, now: float) -> bool:
        """Whether mutes cover a finding: its failure mode, its segment, or every column that it names."""
        targets = [one.target for one in self._mutes(row.model, now)]
        return bool(targets) and _covered(row, targets)

    def forget(self, now: float) -> bool:
        """Let go of what has run out; whether a mute did."""
        gone = [one for one in self.held.values() if not one.active(now)]
        for one in gone:
            del self.held[one.id]
        return any(one.kind == "mute" for one in gone)

    def muting(self, model: str, now: float) -> int:
        """How many mutes of a model hold."""
        return len(self._mutes(model, now))

    def _mutes(self, model: str, now: float) -> list[Intervention]:
        return [one for one in self.held.values() if one.kind == "mute" and one.model == model and one.active(now)]

    def _keep(self, one: Intervention) -> None:
        self.held[one.id] = self.pending[one.id] = one


def _covered(row: FindingRow, targets: Sequence[Mapping[str, Any]]) -> bool:
    """Whether some of the targets are the finding's failure mode or segment, or together all of its columns."""
    if any(target.get("failure_mode") == row.failure_mode for target in targets):
        return True
    segment = row.stream.partition("/")[2]
    if segment and any(target.get("segment") == segment for target in targets):
        return True
    columns = {target["column"] for target in targets if "column" in target}
    return all(_columns(unit["unit"], columns) for unit in json.loads(row.document)["units"])


def _columns(unit: str, columns: set[str]) -> bool:
    """Whether a unit is one of the columns, or several of them joined."""
    return unit in columns or (bool(columns) and all(part in columns for part in unit.split("*")))


def check(wanted: Wanted, now: float) -> None:
    """`ConfigError` lists what is wrong with a wish by itself, whatever model and findings there are."""
    faults = list(_faults(wanted, now))
    if faults:
        raise ConfigError(faults)


def _faults(wanted: Wanted, now: float) -> Iterator[str]:
    """What is wrong with a wish, each with its field and the fix."""
    yield from _said(wanted.by, wanted.because)
    if wanted.kind != "mute" and wanted.until is not None:
        yield "until: only a mute has an end; leave it out"
    match wanted.kind:
        case "acknowledge":
            yield from _of_finding(wanted.target)
        case "mute":
            yield from _of_mute(wanted, now)
        case "quarantine":
            yield from _of_quarantine(wanted.target)
        case "rebaseline":
            yield from _of_rebaseline(wanted.target)


def _said(by: str, because: str) -> Iterator[str]:
    if not 1 <= len(by.strip()) <= 100:
        yield "by: say who does it, in 1 to 100 characters"
    if not 3 <= len(because.strip()) <= _TEXT:
        yield f"because: say why, in 3 to {_TEXT} characters; it is kept"


def _of_finding(target: Mapping[str, Any]) -> Iterator[str]:
    if set(target) != {"finding"} or not isinstance(target["finding"], str):
        yield 'target: must be {"finding": ID}, the finding that is acknowledged'


def _of_mute(wanted: Wanted, now: float) -> Iterator[str]:
    value = next(iter(wanted.target.values()), None)
    if len(wanted.target) != 1 or not set(wanted.target) <= set(MUTABLE) or not _short(value):
        yield f"target: must name one of {', '.join(MUTABLE)}, in at most {_NAME} characters"
    elif "failure_mode" in wanted.target and value not in MODES:
        yield f"target.failure_mode: {value!r} is none; they are {', '.join(MODES)}"
    if wanted.until is None or not now < wanted.until <= now + LONGEST_MUTE:
        yield "until: say until when, a time to come and at most a year away; nothing is muted for ever"


def _of_quarantine(target: Mapping[str, Any]) -> Iterator[str]:
    clients, rows = target.get("clients", []), target.get("rows", [])
    if not set(target) <= {"clients", "rows", "finding"} or not (clients or rows):
        yield 'target: must name {"clients": [...]}, {"rows": [...]} or both, and may name the "finding"'
    for key, given, most in (("clients", clients, MOST_CLIENTS), ("rows", rows, MOST_ROWS)):
        if not isinstance(given, list) or len(given) > most or not all(map(_short, given)):
            yield f"target.{key}: must be a list of at most {most} names of at most {_NAME} characters"
    if not isinstance(target.get("finding", ""), str):
        yield "target.finding: must be the id of a finding"


def _of_rebaseline(target: Mapping[str, Any]) -> Iterator[str]:
    rows, since, until = (target.get(key) for key in ("rows", "since", "until"))
    if set(target) == {"rows"}:
        if not isinstance(rows, int) or not LEAST_ROWS <= rows <= MOST_REFERENCE_ROWS:
            yield f"target.rows: must be a number of rows from {LEAST_ROWS} to {MOST_REFERENCE_ROWS}"
    elif set(target) != {"since", "until"}:
        yield 'target: must be {"rows": N}, for the next rows, or {"since": T, "until": T}, for rows that are kept'
    elif not isinstance(since, int | float) or not isinstance(until, int | float) or not since < until:
        yield "target.until: must be a time after target.since, both in seconds since 1970"


def _short(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _NAME
