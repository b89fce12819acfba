"""Segments of the spool: how records lie in a file, how they get there cheaply, how they are found again.

A record is a fixed head (magic, checksum, lengths, sequence), a JSON header and the payload. Records are written in
groups; each group begins at a block of `BLOCK` bytes and is padded with zeros to the next, so that a file can be
written past the page cache (``O_DIRECT``), which costs a fraction of the processor time, from one buffer that is used
again and again. Where the file system does not know how, the same bytes go the ordinary way.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa

from monitor.envelope import encode, encode_into

MAGIC: Final = b"DWR1"
HEAD: Final = struct.Struct("<4sI16s")
"""Magic, CRC-32 over all that follows, and `FIELDS`."""
FIELDS: Final = struct.Struct("<IIQ")
"""Bytes of the JSON header, bytes of the payload, sequence."""
BLOCK: Final = 4096
STAGE_BYTES: Final = 4 << 20
_COPY: Final = 1 << 18
"""Bytes copied at a time: a copy holds the interpreter, and an answer may be waiting for it."""
_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_DSYNC | os.O_CLOEXEC
"""O_DSYNC: a write returns when it is on disk; write and flush are one call, one wait for the interpreter."""
_DIRECT: Final = getattr(os, "O_DIRECT", 0)

Raw = bytes | memoryview
"""Bytes as they come from a socket or a file."""


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


class Segment:
    """One file that is being written; ``size`` is what is safe in it."""

    def __init__(self, path: Path) -> None:
        """Create the file, and its name in the folder, durably."""
        self.path = path
        self.size = 0
        try:
            self._file = os.open(path, _FLAGS | os.O_TRUNC | _DIRECT, 0o600)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._file = os.open(path, _FLAGS | os.O_TRUNC, 0o600)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def write(self, view: memoryview, offset: int) -> None:
        """Write whole blocks at a place; when this returns they are on disk."""
        while view:
            try:
                written = os.pwrite(self._file, view, offset)
            except OSError as error:
                if error.errno != errno.EINVAL or not _DIRECT:
                    raise
                self._go_plain(error)
                continue
            view, offset = view[written:], offset + written

    def cut(self) -> None:
        """After a failed write: drop what it left behind, if the disk lets us; recovery passes over it otherwise."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self.size)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)

    def _go_plain(self, error: OSError) -> None:
        """Use the page cache after all; raises ``error`` when that is what failed."""
        import fcntl

        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        if not flags & _DIRECT:
            raise error
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags & ~_DIRECT)


class Stage:
    """The buffer, aligned to pages, in which groups of records are laid out for the disk."""

    def __init__(self, size: int = STAGE_BYTES) -> None:
        """Reserve the memory; it becomes resident as it is used."""
        self._view = memoryview(mmap.mmap(-1, size))
        self._filled = 0
        self._segment: Segment | None = None
        self._offset = 0

    def begin(self, segment: Segment) -> None:
        """Lay out a group at the end of a segment."""
        self._segment, self._offset, self._filled = segment, segment.size, 0

    def add(self, sequence: int, header: bytes, payload: Raw | pa.RecordBatch) -> None:
        """One record; a batch is encoded where it is to lie."""
        if isinstance(payload, pa.RecordBatch):
            if self._encode(sequence, header, payload):
                return
            payload = encode(payload)
        fields = FIELDS.pack(len(header), len(payload), sequence)
        checksum = zlib.crc32(payload, zlib.crc32(fields + header))
        self._put(HEAD.pack(MAGIC, checksum, fields) + header)
        self._put(payload)

    def finish(self) -> None:
        """Pad and write; when this returns the group is on disk and belongs to the segment's size."""
        padding = -self._filled % BLOCK
        self._put(bytes(padding))
        self._flush()
        if self._segment is not None:
            self._segment.size = self._offset

    def _encode(self, sequence: int, header: bytes, batch: pa.RecordBatch) -> bool:
        """Write a batch into the buffer itself; False when there is no room for it even in an empty one."""
        for _ in range(2):
            start = self._filled
            body = start + HEAD.size + len(header)
            size = encode_into(batch, self._view[body:]) if body < len(self._view) else 0
            if size:
                fields = FIELDS.pack(len(header), size, sequence)
                checksum = zlib.crc32(self._view[body : body + size], zlib.crc32(fields + header))
                self._view[start:body] = HEAD.pack(MAGIC, checksum, fields) + header
                self._filled = body + size
                return True
            self._flush()
        return False

    def _put(self, raw: Raw) -> None:
        """Copy bytes, writing the buffer out whenever it is full."""
        left = memoryview(raw).cast("B")
        while left:
            if self._filled == len(self._view):
                self._flush()
            size = min(len(left), len(self._view) - self._filled, _COPY)
            self._view[self._filled : self._filled + size] = left[:size]
            self._filled += size
            left = left[size:]

    def _flush(self) -> None:
        """Write the whole blocks and keep the rest."""
        whole = self._filled - self._filled % BLOCK
        if whole and self._segment is not None:
            self._segment.write(self._view[:whole], self._offset)
            self._offset += whole
            self._view[: self._filled - whole] = bytes(self._view[whole : self._filled])
            self._filled -= whole


def scan(path: Path) -> Iterator[Record | None]:
    """The records of a segment that decode, and None for each stretch of damage with a record behind it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        position = 0
        while position + HEAD.size <= size:
            record, end = _decode(file, path, position, size)
            if record is not None:
                yield record
            elif not _padding(file, position, end := position + -position % BLOCK):
                end = _resume(file, position + 1, size)
                # A tail without a further record was torn by the end of the process: it was never acknowledged.
                if end < size:
                    yield None
            position = max(end, position + 1)


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


def _padding(file: BinaryIO, position: int, end: int) -> bool:
    """Whether there is nothing but zeros up to the next block."""
    file.seek(position)
    return position < end and not any(file.read(end - position))


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
