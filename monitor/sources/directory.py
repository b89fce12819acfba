"""Rows from a watched folder: Parquet, Arrow IPC and JSON lines, each file read once, in the order of the names.

A file is read when two looks found the same size and time, so a writer that is still at work is left alone; names that
begin with a dot or an underscore, or end in ``.tmp``, are never read. How far each file was read travels with its rows:
the checkpoint that holds the rows holds the position, and after a restart reading goes on in the middle of a file. A
JSON-lines file may grow. A broken file is counted and set aside until it changes; the others go on.
"""

from __future__ import annotations

import stat
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from monitor import log, ndjson
from monitor.envelope import BATCH, NDJSON, Limits, count_rows
from monitor.errors import Malformed, Refused, TooLarge
from monitor.intake import Intake
from monitor.listeners import Directory
from monitor.offer import Offer
from monitor.sources.blocking import hand_over

SOURCE: Final = "directory"
PARQUET: Final = (".parquet", ".pq")
IPC: Final = (".arrow", ".feather", ".ipc", ".arrows")
LINES: Final = (".jsonl", ".ndjson")
PIECE_BYTES: Final = 4 << 20
"""Bytes of one delivery, about: small beside the queue, large beside what a delivery costs."""
REMEMBERED: Final = 1024
"""Files that are gone and still remembered: a folder that was unmounted must not be read twice."""
_ROWS: Final = 65536
_HEAD: Final = 1024
"""Bytes at the start of a JSON-lines file that tell whether it grew or was replaced."""


class Position(NamedTuple):
    """How far one file was read: rows, and for JSON lines bytes with the checksum of the file's head."""

    size: int
    mtime_ns: int
    row: int = 0
    offset: int = 0
    head: int = 0


class Piece(NamedTuple):
    """Rows to deliver, and the position after them."""

    format: str
    payload: Any
    rows: int
    size: int
    position: Position


class DirectorySource:
    """Looks at a folder again and again on a thread of its own."""

    def __init__(self, intake: Intake, settings: Directory, limits: Limits, positions: Mapping[str, Any]) -> None:
        """Prepare; ``positions`` are those of the last checkpoint."""
        self._intake = intake
        self._settings = settings
        self._limits = limits
        self._key = f"{SOURCE}:{settings.path}"
        saved = positions.get(self._key, {})
        self._positions = {name: Position(*values) for name, values in saved.items()}
        self._finished: dict[str, tuple[int, int]] = {}
        self._before: dict[str, tuple[int, int]] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = log.get("directory")

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._run, name="driftwarden-directory", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop at the next piece."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def scan(self) -> None:
        """One look at the folder: read what is ready, remember the rest."""
        found = self._look()
        ready = [name for name, mark in found.items() if self._before.get(name) == mark != self._finished.get(name)]
        self._before = found
        self._finished = {name: mark for name, mark in self._finished.items() if name in found}
        self._forget(found)
        for name in ready:
            if self._stopped.is_set():
                return
            if self._read(name, found[name]):
                self._finished[name] = found[name]

    def _run(self) -> None:
        """Look, wait, look again."""
        while not self._stopped.is_set():
            try:
                self.scan()
            except OSError as error:
                self._log.error("the folder cannot be read", path=str(self._settings.path), error=error.strerror)
            self._stopped.wait(self._settings.poll)

    def _look(self) -> dict[str, tuple[int, int]]:
        """Size and time of each file that may be read, by name."""
        found = {}
        for path in sorted(self._settings.path.iterdir()):
            if path.name.startswith((".", "_")) or path.suffix.lower() not in PARQUET + IPC + LINES:
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                found[path.name] = (status.st_size, status.st_mtime_ns)
        return found

    def _forget(self, found: Mapping[str, Any]) -> None:
        """Drop the positions of files that went longest ago, beyond `REMEMBERED`."""
        gone = [name for name in self._positions if name not in found]
        for name in gone[: max(len(gone) - REMEMBERED, 0)]:
            del self._positions[name]

    def _read(self, name: str, mark: tuple[int, int]) -> bool:
        """Deliver what is new in one file; whether it needs no further look until it changes."""
        path = self._settings.path / name
        try:
            for piece in _pieces(path, self._begin(path, mark), self._limits):
                if not self._deliver(name, piece):
                    return False
        except FileNotFoundError:
            return False
        except (pa.ArrowException, OSError, ValueError, Refused) as error:
            refusal = error if isinstance(error, Refused) else Malformed(str(error))
            self._intake.refuse(SOURCE, self._settings.model, refusal)
            self._log.warning("file set aside", file=name, reason=refusal.reason, error=str(error).partition("\n")[0])
        return True

    def _begin(self, path: Path, mark: tuple[int, int]) -> Position:
        """Where to go on: behind what was read of this very file, else at its start."""
        known = self._positions.get(path.name)
        if known is None:
            return Position(*mark)
        same = known[:2] == mark
        grown = path.suffix.lower() in LINES and mark[0] >= known.offset > 0 and _head(path, known.offset) == known.head
        return known._replace(size=mark[0], mtime_ns=mark[1]) if same or grown else Position(*mark)

    def _deliver(self, name: str, piece: Piece) -> bool:
        """Hand over one piece with the position behind it; False when the source is to stop."""
        positions = {**self._positions, name: piece.position}
        offer = Offer(
            SOURCE,
            self._settings.model,
            piece.format,
            piece.payload,
            piece.rows,
            piece.size,
            position={self._key: {file: list(position) for file, position in positions.items()}},
            arrived=min(piece.position.mtime_ns / 1e9, time.time()),  # the same when it is read again after a crash
        )
        if not hand_over(self._intake, self._stopped, offer, self._settings.when_full):
            return False
        self._positions = positions
        return True


def _pieces(path: Path, position: Position, limits: Limits) -> Iterator[Piece]:
    """What a file holds behind a position."""
    if path.suffix.lower() in LINES:
        yield from _lines(path, position, limits)
        return
    batches = _parquet(path, limits) if path.suffix.lower() in PARQUET else _ipc(path)
    skip = position.row
    for batch in batches:
        if len(batch.schema) > limits.columns:
            raise TooLarge(f"{len(batch.schema)} columns, limits.columns is {limits.columns}; raise the limit")
        batch.validate(full=True)
        skipped = min(skip, batch.num_rows)
        skip -= skipped
        rest = batch.slice(skipped)
        while rest.num_rows:
            part = rest.slice(0, _rows_of_piece(rest, limits))
            rows = count_rows(BATCH, part, limits)
            position = position._replace(row=position.row + rows)
            yield Piece(BATCH, part, rows, part.nbytes, position)
            rest = rest.slice(rows)


def _rows_of_piece(batch: pa.RecordBatch, limits: Limits) -> int:
    """Rows of a batch that make about `PIECE_BYTES`."""
    share = int(batch.num_rows * PIECE_BYTES // max(batch.nbytes, PIECE_BYTES))
    return max(1, min(limits.batch_rows, _ROWS, share))


def _parquet(path: Path, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Batches of a Parquet file, one row group in memory at a time."""
    from pyarrow import parquet

    with parquet.ParquetFile(path, memory_map=False) as file:
        columns = len(file.schema_arrow)
        if columns > limits.columns:
            raise TooLarge(f"{columns} columns, limits.columns is {limits.columns}; raise the limit")
        rows = max(1, min(_ROWS, PIECE_BYTES // (8 * max(columns, 1))))
        yield from file.iter_batches(batch_size=rows, use_threads=False)


def _ipc(path: Path) -> Iterator[pa.RecordBatch]:
    """Batches of an Arrow file or stream. It is read, not mapped: a mapped file that shrinks kills the process."""
    with pa.OSFile(str(path)) as file:
        magic = file.read(6)
        file.seek(0)
        if magic == b"ARROW1":
            reader = pa.ipc.open_file(file)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)
        elif magic[:4] == b"FEA1":
            raise Malformed("Feather version 1 is not read; write Feather version 2, which is Arrow IPC")
        else:
            yield from pa.ipc.open_stream(file)


def _lines(path: Path, position: Position, limits: Limits) -> Iterator[Piece]:
    """Whole lines of a JSON-lines file; the last one may lack its end."""
    most = min(PIECE_BYTES, limits.body_bytes)
    with path.open("rb") as file:
        file.seek(position.offset)
        rest = b""
        while chunk := file.read(most):
            ready, newline, tail = (rest + chunk).rpartition(b"\n")
            rest = tail
            if len(rest) > limits.body_bytes:
                raise TooLarge("a line is longer than limits.body_bytes; write one JSON object a line")
            for payload, rows in ndjson.cut(ready + newline, limits):
                position = _behind(path, position, rows, len(payload))
                yield Piece(NDJSON, payload, rows, len(payload), position)
        if rest:
            rows = ndjson.rows_of(rest, limits)
            position = _behind(path, position, rows, len(rest))
            yield Piece(NDJSON, rest, rows, len(rest), position)


def _behind(path: Path, position: Position, rows: int, size: int) -> Position:
    """The position after so many more rows and bytes."""
    offset = position.offset + size
    return position._replace(row=position.row + rows, offset=offset, head=_head(path, offset))


def _head(path: Path, offset: int) -> int:
    """Checksum of the first bytes that were read."""
    with path.open("rb") as file:
        return zlib.crc32(file.read(min(_HEAD, offset)))
