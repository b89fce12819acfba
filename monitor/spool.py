"""The spool: accepted deliveries on disk, so that nothing acknowledged is lost to ``kill -9`` or a loss of power.

A folder of append-only segments. A record is a fixed header (magic, lengths, checksum, sequence), a JSON header and the
payload. One thread writes: it takes everything that waits, appends it with one synchronous write and then tells all who
wait (group commit), so a hundred senders share one flush. Segments whose last sequence is settled are deleted.

Recovery reads what decodes: a damaged record is counted and passed over, a torn tail ends its segment. A start never
appends to an old segment, so a torn tail is never written over.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from monitor.errors import QueueFull, StoreError

MAGIC: Final = b"DWR1"
HEAD: Final = struct.Struct("<4sI16s")
"""Magic, CRC-32 over all that follows, and `FIELDS`."""
FIELDS: Final = struct.Struct("<IIQ")
"""Bytes of the JSON header, bytes of the payload, sequence."""
SEGMENT_BYTES: Final = 16 << 20
"""A segment is closed when it has grown beyond this."""
RETRY_SECONDS: Final = 1.0
"""What a sender is told to wait when the disk is full; a checkpoint frees segments."""
_UNKNOWN: Final = 1 << 63
"""Last sequence of a segment that was not read yet: nothing settles it."""
_OVERHEAD: Final = 1024
"""Bytes set aside for both headers of a record."""
_GROUP_BYTES: Final = 32 << 20
_GROUP_RECORDS: Final = 256
_VECTORS: Final = 512
"""Buffers in one call of ``writev``; Linux takes 1024."""


Raw = bytes | memoryview
"""Bytes as they come from a socket, a file or Arrow."""


class SpoolFailed(QueueFull):
    """The disk does not take the rows: nothing was accepted, the sender should come again."""

    reason = "spool"
    status = 503


@dataclass(frozen=True, slots=True)
class Place:
    """Where a payload lies."""

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Record:
    """A recovered record: its JSON header, and where its payload lies."""

    sequence: int
    header: Mapping[str, Any]
    place: Place


Landed = Callable[[int, SpoolFailed | None], None]
"""Called by the writing thread, in the order of the sequences, once a record is on disk or has failed."""


@dataclass(slots=True)
class _Waiting:
    """A record on its way; ``payload`` is None for one that only keeps its place in the order."""

    sequence: int
    header: bytes
    payload: Raw | None
    landed: Landed


class Spool:
    """Durable order for deliveries."""

    def __init__(self, path: Path, capacity_bytes: int) -> None:
        """Open the folder; records found in it wait for `recover`."""
        self.path = path
        self.capacity_bytes = capacity_bytes
        self.corrupt_records = 0
        self._segment_bytes = min(SEGMENT_BYTES, max(capacity_bytes // 8, 1))
        self._wake = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._reserved = 0
        self._sequence = 0
        self._closed = False
        self._writing = False
        self._file: int | None = None
        self._active: Path | None = None
        self._segments: dict[Path, tuple[int, int]] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            found = sorted(path.glob("*.seg"))
            self._segments = {file: (_UNKNOWN, file.stat().st_size) for file in found}
        except OSError as error:
            raise StoreError(
                f"store.path: the spool {path} cannot be opened: {error.strerror}; make it writable"
            ) from error
        self._thread = threading.Thread(target=self._run, name="driftwarden-spool", daemon=True)
        self._thread.start()

    @property
    def bytes(self) -> int:
        """Bytes on disk, with those on their way."""
        with self._wake:
            return self._used()

    def recover(self, after: int) -> Iterator[Record]:
        """Records beyond ``after`` in order; to be exhausted before the first `append`."""
        self._sequence = max(self._sequence, after)
        for path in sorted(self._segments):
            last = 0
            for record in self._scan(path):
                last = max(last, record.sequence)
                if record.sequence > self._sequence:
                    self._sequence = record.sequence
                    yield record
            self._segments[path] = (last, self._segments[path][1])
        self.settled(after)

    def append(self, header: Mapping[str, Any], payload: Raw | None, landed: Landed) -> int:
        """Give the record its sequence and queue it for the disk; raises `SpoolFailed` when there is no room.

        A ``payload`` of None writes nothing and keeps its place in the order: its source can read it again.
        """
        encoded = json.dumps(header, separators=(",", ":")).encode()
        size = 0 if payload is None else len(payload) + _OVERHEAD
        with self._wake:
            if self._closed:
                raise SpoolFailed("the spool is closed; send again when the agent is back", RETRY_SECONDS)
            if size and self._used() + size > self.capacity_bytes:
                message = f"{self._used()} of store.spool_bytes ({self.capacity_bytes}) are taken; send again later"
                raise SpoolFailed(message, RETRY_SECONDS)
            self._sequence += 1
            self._reserved += size
            self._waiting.append(_Waiting(self._sequence, encoded, payload, landed))
            self._wake.notify()
            return self._sequence

    def read(self, place: Place) -> Raw:
        """A payload from disk; raises `StoreError` when it is not what was written."""
        try:
            with place.path.open("rb") as file:
                file.seek(place.offset)
                payload = file.read(place.size)
        except OSError as error:
            raise StoreError(f"store.path: {place.path.name} cannot be read: {error.strerror}") from error
        if len(payload) != place.size:
            raise StoreError(f"store.path: {place.path.name} has become shorter; restore it or let it go")
        return payload

    def settled(self, sequence: int) -> None:
        """A checkpoint covers everything up to ``sequence``: delete the segments that hold nothing younger."""
        with self._wake:
            idle = not self._waiting and not self._writing
            if idle and self._active is not None and self._segments[self._active][0] <= sequence:
                self._close_segment()  # an idle agent keeps nothing on disk
            gone = [path for path, (last, _) in self._segments.items() if last <= sequence and path != self._active]
            for path in gone:
                del self._segments[path]
        for path in gone:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Write what waits and stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        with self._wake:
            self._close_segment()

    def _used(self) -> int:
        """`bytes`, with the lock held."""
        return self._reserved + sum(size for _, size in self._segments.values())

    def _run(self) -> None:
        """The writing thread."""
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return
                group = self._next_group()
                self._writing = True
            failure = self._write(group)
            for record in group:
                record.landed(record.sequence, failure if record.payload is not None else None)

    def _next_group(self) -> list[_Waiting]:
        """As much of what waits as goes into one write."""
        size = count = 0
        for record in self._waiting[:_GROUP_RECORDS]:
            size += len(record.payload or b"")
            if count and size > _GROUP_BYTES:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    def _write(self, group: Sequence[_Waiting]) -> SpoolFailed | None:
        """Append the group with synchronous writes; a failure leaves the segment behind, torn, and says so."""
        buffers: list[Raw] = []
        reserved = 0
        for record in group:
            if record.payload is not None:
                buffers += _encoded(record)
                reserved += len(record.payload) + _OVERHEAD
        failure = None
        size = sum(len(buffer) for buffer in buffers)
        try:
            if buffers:
                file, path = self._segment(group[0].sequence)
                _write_all(file, buffers)
        except OSError as error:
            message = f"store.path: the spool cannot be written: {error.strerror}; free some space, then send again"
            failure = SpoolFailed(message, RETRY_SECONDS)
        with self._wake:
            self._writing = False
            self._reserved -= reserved
            if failure is not None:
                self._abandon()
            elif buffers:
                self._segments[path] = (group[-1].sequence, self._segments[path][1] + size)
                if self._segments[path][1] > self._segment_bytes:
                    self._close_segment()
        return failure

    def _segment(self, sequence: int) -> tuple[int, Path]:
        """The open segment, or a new one named after its first sequence."""
        with self._wake:
            if self._file is not None and self._active is not None:
                return self._file, self._active
        path = self.path / f"{sequence:020d}.seg"
        # O_DSYNC: the write returns when the data is on disk; write and flush are one call, one wait for the GIL.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DSYNC | os.O_CLOEXEC, 0o600)
        with self._wake:
            self._file, self._active = file, path
            self._segments[path] = (sequence, 0)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return file, path

    def _close_segment(self) -> None:
        """Let go of the open segment; the next write begins another."""
        if self._file is not None:
            os.close(self._file)
        self._file = self._active = None

    def _abandon(self) -> None:
        """After a failed write: what it left is cut off if the disk lets us, and nothing is appended behind it."""
        if self._file is not None and self._active is not None:
            last, size = self._segments[self._active]
            try:
                os.ftruncate(self._file, size)
            except OSError:  # recovery passes over a torn tail
                self._segments[self._active] = (last, self._active.stat().st_size)
        self._close_segment()

    def _scan(self, path: Path) -> Iterator[Record]:
        """The records of one segment that decode."""
        size = path.stat().st_size
        with path.open("rb") as file:
            position = 0
            while position + HEAD.size <= size:
                record, end = _decode(file, path, position, size)
                if record is not None:
                    yield record
                else:
                    end = _resume(file, position + 1, size)
                    # A tail without a further record was torn by the end of the process: it was never acknowledged.
                    self.corrupt_records += end < size
                position = end


def _encoded(record: _Waiting) -> tuple[bytes, Raw]:
    """Both headers in one piece, and the payload."""
    payload = record.payload if record.payload is not None else b""
    fields = FIELDS.pack(len(record.header), len(payload), record.sequence)
    checksum = zlib.crc32(payload, zlib.crc32(fields + record.header))
    return HEAD.pack(MAGIC, checksum, fields) + record.header, payload


def _write_all(file: int, buffers: list[Raw]) -> None:
    """``writev`` until everything is written."""
    left: list[memoryview] = [memoryview(buffer) for buffer in buffers if len(buffer)]
    while left:
        written = os.writev(file, left[:_VECTORS])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


def _decode(file: BinaryIO, path: Path, position: int, size: int) -> tuple[Record | None, int]:
    """The record at a place and where it ends, or None where there is none."""
    file.seek(position)
    magic, checksum, fields = HEAD.unpack(file.read(HEAD.size))
    header_size, payload_size, sequence = FIELDS.unpack(fields)
    end = position + HEAD.size + header_size + payload_size
    if magic != MAGIC or end > size:
        return None, position
    header = file.read(header_size)
    if zlib.crc32(file.read(payload_size), zlib.crc32(fields + header)) != checksum:
        return None, position
    return Record(sequence, json.loads(header), Place(path, position + HEAD.size + header_size, payload_size)), end


def _resume(file: BinaryIO, position: int, size: int) -> int:
    """Where the next record that decodes begins, or the end."""
    file.seek(position)
    rest = file.read(size - position)
    found: int = rest.find(MAGIC)
    while found >= 0:
        if found + HEAD.size <= len(rest):
            _, checksum, fields = HEAD.unpack_from(rest, found)
            header_size, payload_size, _ = FIELDS.unpack(fields)
            body = rest[found + HEAD.size : found + HEAD.size + header_size + payload_size]
            if len(body) == header_size + payload_size and zlib.crc32(body, zlib.crc32(fields)) == checksum:
                return position + found
        found = rest.find(MAGIC, found + 1)
    return size
