"""The state directory: one SQLite file (WAL) with the checkpoint, findings, panes, interventions and events, one lock.

Everything that must agree after a crash is written in one transaction: states of the streams, positions of the sources,
the ledger, the last sequence number, findings, panes, and what receivers are to be told. A file that cannot be trusted
is refused with what to do, and never taken for an empty one: `Store` makes a new file complete under another name and
then renames it. How it is read stands in `monitor.archive`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import astuple, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from monitor.archive import DATABASE, Archive, check
from monitor.clock import Clock
from monitor.errors import StoreError
from monitor.records import APPLICATION, SCHEMA, VERSION, Checkpoint, FindingRow, Intervention, News

LOCK = "driftwarden.lock"
HISTORY = 20_000
"""Panes of a stream whose evidence is kept."""
EVENTS = 50_000
"""Events kept for receivers that are behind."""

_LOCK_TEXT = 60
"""Characters read of who holds the lock."""
_FINDING = ", ".join(field.name for field in fields(FindingRow))


class Store(Archive):
    """The open state directory; safe to use from several threads, locked against other processes."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Make or open the directory; `StoreError` when it is in use, damaged or not writable."""
        self._path = path
        self._written: dict[str, bytes] = {}
        self._lock = _take_lock(path, clock.now())
        try:
            with self._trouble("opened"):
                super().__init__(path, _open(path / DATABASE))
        except BaseException:
            self._lock.close()
            raise

    def load(self) -> Checkpoint | None:
        """The last checkpoint, or None in a new directory."""
        with self._mutex, self._trouble("read"):
            row = self._connection.execute(
                "SELECT sequence, saved_at, document, crc, streams FROM checkpoint"
            ).fetchone()
            states = self._connection.execute("SELECT name, blob, crc FROM streams").fetchall()
        if row is None:
            return None
        sequence, saved_at, text, crc, streams = row
        damaged = [name for name, blob, check in states if zlib.crc32(blob) != check]
        if damaged or len(states) != streams or zlib.crc32(text.encode()) != crc:
            raise self._damaged(f"checksums differ ({', '.join(damaged) or 'checkpoint'})")
        document = json.loads(text)
        return Checkpoint(
            sequence, {name: blob for name, blob, _ in states}, document["positions"], document["ledger"], saved_at
        )

    def commit(self, checkpoint: Checkpoint, news: News, oldest: Mapping[str, int] | None = None) -> None:
        """Write all of it or nothing; on disk when this returns. After a `StoreError` the old content stands.

        ``oldest`` says per stream which pane is the first still needed: earlier ones are deleted.
        """
        digests = {name: hashlib.blake2b(blob, digest_size=16).digest() for name, blob in checkpoint.streams.items()}
        changed = [name for name, digest in digests.items() if self._written.get(name) != digest]
        document = json.dumps({"positions": checkpoint.positions, "ledger": checkpoint.ledger}, separators=(",", ":"))
        head = (checkpoint.sequence, checkpoint.saved_at, document, zlib.crc32(document.encode()), len(digests))
        with self._transaction() as run:
            run.execute("DELETE FROM streams WHERE name NOT IN (SELECT value FROM json_each(?))", [_names(digests)])
            run.executemany(
                "INSERT OR REPLACE INTO streams VALUES (?, ?, ?)",
                ((name, checkpoint.streams[name], zlib.crc32(checkpoint.streams[name])) for name in changed),
            )
            run.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?, ?, ?, ?, ?)", head)
            run.executemany(
                "INSERT OR REPLACE INTO panes VALUES (?, ?, ?, ?)",
                ((pane.stream, pane.number, checkpoint.saved_at, pane.blob) for pane in news.panes),
            )
            run.executemany("DELETE FROM panes WHERE stream = ? AND number < ?", (oldest or {}).items())
            _tell(run, news)
        self._written = digests

    def move_cursor(self, receiver: str, seq: int) -> None:
        """A receiver has been told of everything up to ``seq``."""
        with self._transaction() as run:
            run.execute("INSERT OR REPLACE INTO receivers VALUES (?, ?)", [receiver, seq])

    def prune(self, before: float) -> int:
        """Forget findings closed, panes saved and interventions ended before a time; returns how many went.

        Open findings and what people did that still holds stay. Of the histories and the event log the newest stay.
        """
        over = "coalesce(undone, until, CASE kind WHEN 'acknowledge' THEN time END) < ?"
        with self._transaction() as run:
            gone = run.execute("DELETE FROM findings WHERE closed < ?", [before]).rowcount
            gone += run.execute("DELETE FROM panes WHERE saved_at < ?", [before]).rowcount
            gone += run.execute(f"DELETE FROM interventions WHERE {over}", [before]).rowcount  # noqa: S608 - constant
            gone += run.execute("DELETE FROM history WHERE finish < ?", [before]).rowcount
            for stream, last in run.execute("SELECT stream, max(pane) FROM history GROUP BY stream").fetchall():
                query = "DELETE FROM history WHERE stream = ? AND pane <= ?"
                gone += run.execute(query, [stream, last - HISTORY]).rowcount
            gone += run.execute("DELETE FROM events WHERE seq <= (SELECT max(seq) FROM events) - ?", [EVENTS]).rowcount
        return gone

    def close(self) -> None:
        """Fold the write-ahead log in and let go of the directory; a second call does nothing."""
        super().close()
        self._lock.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All statements of the block or none of them."""
        with self._mutex, self._trouble("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection


def _take_lock(path: Path, now: float) -> IO[str]:
    """Make the directory and hold its lock; the kernel frees it when the process ends, however it ends."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a+", encoding="ascii")
    except OSError as error:
        fix = "make it a writable directory or choose another store.path"
        message = f"store.path {path}: cannot be used ({error.strerror}); {fix}"
        raise StoreError(message) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read(_LOCK_TEXT).strip() or "unknown process"
        lock.close()
        message = f"store.path {path}: in use by another agent ({holder}); stop it or choose another store.path"
        raise StoreError(message) from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} since {datetime.fromtimestamp(now, UTC):%Y-%m-%dT%H:%M:%SZ}")
    lock.flush()
    return lock


def _open(file: Path) -> sqlite3.Connection:
    """The database in WAL mode, every commit synchronous; made first if there is none."""
    if not file.exists():
        _create(file)
    connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
    try:
        check(file, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(file: Path) -> None:
    """A complete new database under a temporary name, then renamed: a half-made one is never found."""
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    connection = sqlite3.connect(temporary, isolation_level=None)
    try:
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    finally:
        connection.close()
    temporary.rename(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _names(names: Mapping[str, bytes]) -> str:
    """Names as a JSON list: one bound value however many there are."""
    return json.dumps(list(names))


def _tell(run: sqlite3.Connection, news: News) -> None:
    """Write what people and receivers are to be told; an event that was written before stays as it was."""
    marks = ", ".join("?" * len(fields(FindingRow)))
    run.executemany(f"INSERT OR REPLACE INTO findings ({_FINDING}) VALUES ({marks})", map(astuple, news.findings))  # noqa: S608 - constants only
    run.executemany(
        "INSERT OR REPLACE INTO history VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (one.stream, one.pane, one.start, one.end, one.rows, one.log_e, one.threshold, json.dumps(dict(one.units)))
            for one in news.history
        ),
    )
    run.executemany(
        "INSERT OR REPLACE INTO interventions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        map(_intervention_values, news.interventions),
    )
    run.executemany(
        "INSERT OR IGNORE INTO events (id, time, kind, model, document) VALUES (?, ?, ?, ?, ?)",
        ((one.id, one.time, one.kind, one.model, json.dumps(dict(one.document))) for one in news.events),
    )


def _intervention_values(one: Intervention) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    what = (one.id, one.kind, one.model, one.finding, json.dumps(dict(one.target)), one.because, one.by)
    return (*what, one.time, one.until, one.undone, one.undone_by, one.undone_because)
