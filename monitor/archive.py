"""Reading the state directory: by the agent itself, and beside it on a connection that takes no lock.

The database is in WAL mode: who reads sees the last commit whole, and holds up neither the engine nor other readers.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from threading import Lock
from typing import Any, Self

from monitor.errors import StoreError
from monitor.records import (
    APPLICATION,
    VERSION,
    Brief,
    Event,
    FindingRow,
    FindingState,
    Intervention,
    InterventionKind,
    Judged,
    PaneRow,
)

DATABASE = "driftwarden.sqlite3"
Wanted = Mapping[str, str | float | None]
"""Clause -> value; a clause whose value is None is left out."""

_BRIEF = ", ".join(field.name for field in fields(Brief))
_FULL = ", ".join(field.name for field in fields(FindingRow))


class Archive:
    """What was committed; safe to use from several threads."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """``path`` is the state directory, for messages."""
        self._path, self._connection = path, connection
        self._mutex = Lock()

    def __enter__(self) -> Self:
        """For ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close at the end of ``with``."""
        self.close()

    def close(self) -> None:
        """Let go of the connection; a second call does nothing."""
        with self._mutex, contextlib.suppress(sqlite3.Error):  # what is written is safe: commits are synchronous
            self._connection.close()

    def finding(self, finding: str) -> FindingRow | None:
        """One finding with its document and evidence."""
        found = self._rows(f"SELECT {_FULL} FROM findings WHERE id = ?", [finding])  # noqa: S608 - constants only
        return FindingRow(*_flagged(found[0])) if found else None

    def findings(self, *, over: bool) -> list[FindingRow]:
        """All findings that have ended, or that have not, whole, newest first."""
        clause = f"closed IS {'NOT' if over else ''} NULL"
        query = f"SELECT {_FULL} FROM findings WHERE {clause} ORDER BY opened DESC, id DESC"  # noqa: S608 - same
        return [FindingRow(*_flagged(row)) for row in self._rows(query)]

    def briefs(  # noqa: PLR0913 - each is a filter of its own
        self,
        *,
        model: str | None = None,
        state: FindingState | None = None,
        severity: str | None = None,
        triage: str | None = None,
        failure_mode: str | None = None,
        incident: str | None = None,
        heads: bool = False,
        over: bool | None = None,
        since: float | None = None,
        until: float | None = None,
        after: tuple[float, str] | None = None,
        limit: int | None = None,
    ) -> list[Brief]:
        """Findings that fit all filters, newest first.

        ``incident`` is the id of a head: it and all that joins it. ``heads``: only findings that join nothing.
        ``since`` and ``until`` are about the time of opening; ``after`` is (opened, id) of the last one of the page
        before.
        """
        wanted: Wanted = {
            "model = ?": model,
            "state = ?": state,
            "severity = ?": severity,
            "triage = ?": triage,
            "failure_mode = ?": failure_mode,
            "joins = ?": "" if heads else None,
            "(closed IS NOT NULL) = ?": None if over is None else int(over),
            "opened >= ?": since,
            "opened < ?": until,
        }
        where, values = _where(wanted)
        for clause, more in (("(opened, id) < (?, ?)", after), ("(id = ? OR joins = ?)", incident and (incident,) * 2)):
            if more:
                where += f" {'AND' if where else 'WHERE'} {clause}"
                values += more
        query = f"SELECT {_BRIEF} FROM findings {where} ORDER BY opened DESC, id DESC LIMIT ?"  # noqa: S608 - same
        return [Brief(*_flagged(row)) for row in self._rows(query, [*values, -1 if limit is None else limit])]

    def joined(self, heads: Sequence[str]) -> dict[str, int]:
        """How many findings join each of some heads; those without any are left out."""
        query = "SELECT joins, count(*) FROM findings WHERE joins IN (SELECT value FROM json_each(?)) GROUP BY joins"
        return dict(self._rows(query, [json.dumps(list(heads))]))

    def counts(self, column: str) -> dict[str, int]:
        """How many findings there are of each model, state, severity, triage or failure_mode."""
        if column not in ("model", "state", "severity", "triage", "failure_mode"):
            raise ValueError(f"`column` is {column!r}; findings are not counted by that")
        return dict(self._rows(f"SELECT {column}, count(*) FROM findings GROUP BY {column}"))  # noqa: S608 - checked

    def panes(self, stream: str) -> list[PaneRow]:
        """The kept panes of one stream, oldest first."""
        query = "SELECT stream, number, blob FROM panes WHERE stream = ? ORDER BY number"
        return [PaneRow(*row) for row in self._rows(query, [stream])]

    def history(
        self, stream: str, *, since: float | None = None, until: float | None = None, limit: int = 2_000
    ) -> list[Judged]:
        """What became of the newest ``limit`` panes of a stream ("model/stream") that ended in a span, oldest first."""
        where, values = _where({"stream = ?": stream, "finish >= ?": since, "finish < ?": until})
        query = f"SELECT * FROM history {where} ORDER BY pane DESC LIMIT ?"  # noqa: S608 - constants only
        rows = self._rows(query, [*values, limit])
        return [
            Judged(stream, pane, start, end, number, log_e, threshold, json.loads(units))
            for stream, pane, start, end, number, log_e, threshold, units in reversed(rows)
        ]

    def histories(self) -> list[str]:
        """The streams ("model/stream") that have a history."""
        return [name for (name,) in self._rows("SELECT DISTINCT stream FROM history ORDER BY stream")]

    def interventions(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the column's name
        model: str | None = None,
        finding: str | None = None,
        kind: InterventionKind | None = None,
        active: float | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int | None = None,
    ) -> list[Intervention]:
        """What people did, newest first; ``active`` is a time at which it still held."""
        wanted: Wanted = {
            "id = ?": id,
            "model = ?": model,
            "finding = ?": finding,
            "kind = ?": kind,
            "time >= ?": since,
            "time < ?": until,
            "undone IS NULL AND coalesce(until > ?, 1)": active,
        }
        where, values = _where(wanted)
        query = f"SELECT * FROM interventions {where} ORDER BY time DESC, id DESC LIMIT ?"  # noqa: S608 - same
        return [_intervention(row) for row in self._rows(query, [*values, -1 if limit is None else limit])]

    def events(self, after: int, limit: int = 1_000) -> list[Event]:
        """The event log behind a place in it, in order."""
        query = "SELECT id, time, kind, model, document, seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?"
        rows = self._rows(query, [after, limit])
        return [
            Event(name, time, kind, model, json.loads(document), seq) for name, time, kind, model, document, seq in rows
        ]

    def state(self, name: str) -> bytes | None:
        """One of the states of the last checkpoint; None if it has none of that name."""
        found = self._rows("SELECT blob FROM streams WHERE name = ?", [name])
        return bytes(found[0][0]) if found else None

    def last_event(self) -> int:
        """Place of the newest event, 0 before the first."""
        return int(self._rows("SELECT coalesce(max(seq), 0) FROM events")[0][0])

    def cursor(self, receiver: str) -> int | None:
        """How far a receiver has been told; None for one that is new."""
        found = self._rows("SELECT seq FROM receivers WHERE name = ?", [receiver])
        return int(found[0][0]) if found else None

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._mutex, self._trouble("read"):
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _trouble(self, doing: str) -> Iterator[None]:
        """SQLite's errors as a `StoreError` with the fix."""
        try:
            yield
        except sqlite3.OperationalError as error:
            fix = "check free space, permissions and that the volume is mounted read-write"
            message = f"store.path {self._path}: {DATABASE} cannot be {doing} ({error}); {fix}"
            raise StoreError(message) from error
        except sqlite3.ProgrammingError as error:
            message = f"store.path {self._path}: the store is closed already"
            raise StoreError(message) from error
        except sqlite3.DatabaseError as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, why: str) -> StoreError:
        """What to do with a file that cannot be trusted."""
        fix = "restore it from a copy, or move the directory away to begin anew (open evidence and findings stay in it)"
        return StoreError(f"store.path {self._path}: {DATABASE} is damaged: {why}; {fix}")


def reading(path: Path) -> Archive:
    """The state directory to read, also beside a running agent; `StoreError` when there is none or it is not ours."""
    file = path / DATABASE
    if not file.is_file():
        raise StoreError(f"store.path {path}: no agent has written here yet; name the configuration that it runs with")
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, check_same_thread=False)
    archive = Archive(path, connection)
    try:
        with archive._trouble("opened"):  # noqa: SLF001 - its own
            check(file, connection)
    except BaseException:
        connection.close()
        raise
    return archive


def check(file: Path, connection: sqlite3.Connection) -> None:
    """That the file is ours and of this version; `Store.load` checks the state itself by its checksums."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise sqlite3.DatabaseError("it is empty or belongs to another program")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        message = f"{file}: written by another version of driftwarden (schema {version}, this one reads {VERSION})"
        raise StoreError(message + "; run that version, or move the directory away to begin anew")


def _where(wanted: Wanted) -> tuple[str, list[str | float]]:
    """The clauses that are wanted, and their values."""
    given = {clause: value for clause, value in wanted.items() if value is not None}
    return (f"WHERE {' AND '.join(given)}" if given else ""), list(given.values())


def _flagged(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row of findings with ``muted`` as a truth value."""
    at = len(fields(Brief)) - 1
    return (*row[:at], bool(row[at]), *row[at + 1 :])


def _intervention(row: tuple[Any, ...]) -> Intervention:
    """A row of the table, whose fourth column repeats the finding for the index."""
    return Intervention(row[0], row[1], row[2], json.loads(row[4]), *row[5:])
