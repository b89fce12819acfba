"""The state directory: one SQLite file (WAL) with the checkpoint, the findings and the panes, and one lock.

Everything that must agree after a crash is written in one transaction: states of the streams, positions of the sources,
the ledger, the last sequence number, findings and panes. A file that cannot be trusted is refused with what to do, and
never taken for an empty one: `Store` makes a new file complete under another name and then renames it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import IO, Any, Literal, Self

from monitor.clock import Clock
from monitor.errors import StoreError

DATABASE = "driftwarden.sqlite3"
LOCK = "driftwarden.lock"
VERSION = 1
"""Version of the schema, in SQLite's user_version."""
APPLICATION = 0x44726677
"""SQLite's application_id: "Drfw"."""

_LOCK_TEXT = 60
"""Characters read of who holds the lock."""

FindingState = Literal["open", "recovered", "acknowledged", "rebaselined", "reloaded"]

_SCHEMA = """
CREATE TABLE checkpoint (
  id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL, saved_at REAL NOT NULL, document TEXT NOT NULL,
  crc INTEGER NOT NULL, streams INTEGER NOT NULL) STRICT;
CREATE TABLE streams (name TEXT PRIMARY KEY, blob BLOB NOT NULL, crc INTEGER NOT NULL) STRICT;
CREATE TABLE findings (
  id TEXT PRIMARY KEY, model TEXT NOT NULL, stream TEXT NOT NULL, opened REAL NOT NULL, closed REAL,
  state TEXT NOT NULL, severity TEXT NOT NULL, detector TEXT NOT NULL, document TEXT NOT NULL,
  evidence BLOB NOT NULL) STRICT;
CREATE INDEX findings_opened ON findings (opened);
CREATE TABLE panes (
  stream TEXT NOT NULL, number INTEGER NOT NULL, saved_at REAL NOT NULL, blob BLOB NOT NULL,
  PRIMARY KEY (stream, number)) STRICT;
CREATE INDEX panes_saved ON panes (saved_at);
"""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a restart needs to go on: ``streams`` holds the complete set, a stream that is absent is dropped."""

    sequence: int
    streams: Mapping[str, bytes]
    positions: Mapping[str, Any]
    ledger: Mapping[str, Any]
    saved_at: float


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding as it is kept: ``document`` is JSON, ``evidence`` an Arrow IPC stream."""

    id: str
    model: str
    stream: str
    opened: float
    closed: float | None
    state: FindingState
    severity: str
    detector: str
    document: str
    evidence: bytes


@dataclass(frozen=True, slots=True)
class PaneRow:
    """A closed pane's summary, kept for later questions."""

    stream: str
    number: int
    blob: bytes


class Store:
    """The open state directory; safe to use from several threads, locked against other processes."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Make or open the directory; `StoreError` when it is in use, damaged or not writable."""
        self._path = path
        self._mutex = Lock()
        self._written: dict[str, bytes] = {}
        self._lock = _take_lock(path, clock.now())
        try:
            with self._trouble("opened"):
                self._connection = _open(path / DATABASE)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        """For ``with``."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close at the end of ``with``."""
        self.close()

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

    def commit(
        self,
        checkpoint: Checkpoint,
        findings: Sequence[FindingRow],
        panes: Sequence[PaneRow],
        oldest: Mapping[str, int] | None = None,
    ) -> None:
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
                "INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_finding_values, findings)
            )
            run.executemany(
                "INSERT OR REPLACE INTO panes VALUES (?, ?, ?, ?)",
                ((pane.stream, pane.number, checkpoint.saved_at, pane.blob) for pane in panes),
            )
            run.executemany("DELETE FROM panes WHERE stream = ? AND number < ?", (oldest or {}).items())
        self._written = digests

    def findings(
        self,
        *,
        id: str | None = None,  # noqa: A002 - the column's name
        model: str | None = None,
        stream: str | None = None,
        state: FindingState | None = None,
        severity: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[FindingRow]:
        """Findings that fit all given filters, newest first; ``since`` is about the time of opening."""
        filters: dict[str, str | float | None] = {
            "id = ?": id,
            "model = ?": model,
            "stream = ?": stream,
            "state = ?": state,
            "severity = ?": severity,
            "opened >= ?": since,
        }
        wanted = {clause: value for clause, value in filters.items() if value is not None}
        where = f"WHERE {' AND '.join(wanted)}" if wanted else ""
        query = f"SELECT * FROM findings {where} ORDER BY opened DESC, id DESC LIMIT ?"  # noqa: S608 - constants only
        with self._mutex, self._trouble("read"):
            rows = self._connection.execute(query, [*wanted.values(), -1 if limit is None else limit]).fetchall()
        return [FindingRow(*row) for row in rows]

    def panes(self, stream: str) -> list[PaneRow]:
        """The kept panes of one stream, oldest first."""
        query = "SELECT stream, number, blob FROM panes WHERE stream = ? ORDER BY number"
        with self._mutex, self._trouble("read"):
            return [PaneRow(*row) for row in self._connection.execute(query, [stream])]

    def prune(self, before: float) -> int:
        """Forget findings closed and panes saved before a time; open findings stay. Returns how many went."""
        with self._transaction() as run:
            gone = run.execute("DELETE FROM findings WHERE closed < ?", [before]).rowcount
            gone += run.execute("DELETE FROM panes WHERE saved_at < ?", [before]).rowcount
        return gone

    def close(self) -> None:
        """Fold the write-ahead log in and let go of the directory; a second call does nothing."""
        with self._mutex, contextlib.suppress(sqlite3.Error):  # the data is safe already: commits are synchronous
            self._connection.close()
        self._lock.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All statements of the block or none of them."""
        with self._mutex, self._trouble("written"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection

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
        _check(file, connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(file: Path, connection: sqlite3.Connection) -> None:
    """That the file is ours and of this version; `Store.load` checks the state itself by its checksums."""
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise sqlite3.DatabaseError("it is empty or belongs to another program")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        message = f"{file}: written by another version of driftwarden (schema {version}, this one reads {VERSION})"
        raise StoreError(message + "; run that version, or move the directory away to begin anew")


def _create(file: Path) -> None:
    """A complete new database under a temporary name, then renamed: a half-made one is never found."""
    temporary = file.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    connection = sqlite3.connect(temporary, isolation_level=None)
    try:
        connection.executescript(_SCHEMA)
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


def _finding_values(row: FindingRow) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    return tuple(getattr(row, column) for column in FindingRow.__slots__)
