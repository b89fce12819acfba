"""Arrow's IPC stream seen from outside: message frames and the few header fields that say how large things are.

Whatever a sender claims is checked against what is there before anything is allocated, so a body of one kilobyte that
claims two gigabytes costs nothing. Values are never looked at. The header is a flatbuffer; the field numbers are those
of ``Message.fbs`` and ``Schema.fbs`` in the Arrow format, version 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from monitor.errors import Malformed, TooLarge
from monitor.limits import Limits

SCHEMA: Final = 1
DICTIONARY: Final = 2
BATCH: Final = 3
CONTINUATION: Final = 0xFFFFFFFF

_MESSAGES: Final = 4096
"""Messages in one body; a body of countless tiny ones would hold the door longer than its bytes are worth."""
_SCHEMA_BYTES: Final = 1 << 16
"""Schema headers up to this size cannot describe enough nested fields to matter; larger ones are walked."""
_NESTED: Final = 16
"""Fields in all, nested ones included, per allowed column."""

_U16 = struct.Struct("<H")
_I32 = struct.Struct("<i")
_U32 = struct.Struct("<I")
_I64 = struct.Struct("<q")


class Header(NamedTuple):
    """What a message header says: its kind, the rows or fields it brings, the bytes of its body."""

    kind: int
    rows: int
    columns: int
    body: int
    dictionary: int
    delta: bool
    compressed: tuple[int, ...]
    """Where in the body the compressed buffers start; empty when nothing is compressed."""


def rows_of(payload: bytes | memoryview, limits: Limits) -> int:
    """Rows of an IPC stream, from its headers alone; raises `Malformed` or `TooLarge`."""
    view = memoryview(payload).cast("B")
    rows = messages = inflated = 0
    for header, start in _messages(view, limits):
        messages += 1
        if messages > _MESSAGES:
            raise TooLarge(f"more than {_MESSAGES} messages in one body; send larger batches")
        if (header.kind == SCHEMA) != (messages == 1):
            raise Malformed("an Arrow stream must begin with its one schema; send a complete IPC stream")
        inflated += sum(_inflated(view, start + offset) for offset in header.compressed)
        if inflated > limits.body_bytes:
            raise TooLarge(f"the body would grow beyond limits.body_bytes ({limits.body_bytes}); send smaller batches")
        if header.kind == BATCH:
            rows += header.rows
        if rows > limits.batch_rows:
            raise TooLarge(f"more rows than limits.batch_rows ({limits.batch_rows}); send fewer rows at once")
    if messages == 0:
        raise Malformed("the body is empty; send an Arrow IPC stream: a schema and its batches")
    return rows


def frame(prefix: bytes | memoryview, position: int = 0) -> tuple[int, int]:
    """Length of the frame's prefix (8, or 4 in streams of Arrow before 0.15) and of the header behind it."""
    (first,) = _U32.unpack_from(prefix, position)
    if first != CONTINUATION:
        return 4, int(first)
    return 8, int(_U32.unpack_from(prefix, position + 4)[0])


def parse(metadata: bytes | memoryview, limits: Limits) -> Header:
    """Read one message header; raises `Malformed` or `TooLarge`."""
    try:
        return _parse(metadata, limits)
    except (struct.error, IndexError) as error:
        raise Malformed("an Arrow message header is damaged; send an unmodified IPC stream") from error


def _messages(view: memoryview, limits: Limits) -> Iterator[tuple[Header, int]]:
    """Each message with the place where its body starts."""
    position, end = 0, len(view)
    while position < end:
        if end - position < 8 and bytes(view[position:]) != b"\0\0\0\0":
            raise Malformed(f"the Arrow stream breaks off after byte {position}; send it whole")
        prefix, length = frame(view, position)
        position += prefix
        if length == 0:
            if position < end:
                raise Malformed(f"{end - position} bytes after the end of the Arrow stream; send one stream a request")
            return
        if length > end - position:
            raise Malformed(f"an Arrow message claims a header of {length} bytes, {end - position} are left")
        header = parse(view[position : position + length], limits)
        position += length
        if header.body > end - position:
            raise Malformed(f"an Arrow message claims a body of {header.body} bytes, {end - position} are left")
        yield header, position
        position += header.body


def _parse(buffer: bytes | memoryview, limits: Limits) -> Header:
    """`parse` without its safety net."""
    message = _read(_U32, buffer, 0)
    kind_at, table_at, body_at = (_field(buffer, message, index) for index in (1, 2, 3))
    kind = buffer[kind_at] if kind_at else 0
    body = _read(_I64, buffer, body_at) if body_at else 0
    if kind not in (SCHEMA, DICTIONARY, BATCH) or not table_at or body < 0:
        raise Malformed("an Arrow message is neither schema, dictionary nor batch; send an IPC stream of one table")
    table = _follow(buffer, table_at)
    rows = columns = dictionary = 0
    delta = False
    compressed: tuple[int, ...] = ()
    if kind == SCHEMA:
        columns = _columns(buffer, table, limits)
    if kind == DICTIONARY:
        id_at, data_at, delta_at = (_field(buffer, table, index) for index in (0, 1, 2))
        dictionary = _read(_I64, buffer, id_at) if id_at else 0
        delta = bool(delta_at and buffer[delta_at])
        if not data_at:
            raise Malformed("an Arrow dictionary message has no values; send an unmodified IPC stream")
        table = _follow(buffer, data_at)
    if kind != SCHEMA:
        rows, compressed = _rows(buffer, table, body, limits)
    return Header(kind, rows, columns, body, dictionary, delta, compressed)


def _rows(buffer: bytes | memoryview, table: int, body: int, limits: Limits) -> tuple[int, tuple[int, ...]]:
    """Length of a batch and the places of its compressed buffers."""
    length_at, buffers_at, compression_at = (_field(buffer, table, index) for index in (0, 2, 3))
    rows = _read(_I64, buffer, length_at) if length_at else 0
    if rows < 0:
        raise Malformed(f"an Arrow batch claims {rows} rows")
    if rows > limits.batch_rows:
        raise TooLarge(f"a batch of {rows} rows, limits.batch_rows is {limits.batch_rows}; send fewer rows at once")
    if not compression_at or not buffers_at:
        return rows, ()
    vector = _follow(buffer, buffers_at)
    count = _read(_U32, buffer, vector)
    if count * 16 > len(buffer) - vector:
        raise Malformed(f"an Arrow batch claims {count} buffers; its header has no room for them")
    places = []
    for index in range(count):
        offset, length = struct.unpack_from("<qq", buffer, vector + 4 + 16 * index)
        if offset < 0 or length < 0 or offset + length > body:
            raise Malformed("an Arrow buffer lies outside of its message; send an unmodified IPC stream")
        if length >= 8:
            places.append(offset)
    return rows, tuple(places)


def _columns(buffer: bytes | memoryview, schema: int, limits: Limits) -> int:
    """Number of top-level fields, checked; a large header's nested fields are counted as well."""
    fields_at = _field(buffer, schema, 1)
    columns = _read(_U32, buffer, _follow(buffer, fields_at)) if fields_at else 0
    if columns > limits.columns:
        raise TooLarge(f"{columns} columns, limits.columns is {limits.columns}; send fewer columns or raise the limit")
    if len(buffer) > _SCHEMA_BYTES:
        left, stack = limits.columns * _NESTED, [schema]
        while stack:
            table = stack.pop()
            # A schema holds its fields in slot 1, a field its children in slot 5.
            children_at = _field(buffer, table, 1 if table == schema else 5)
            if not children_at:
                continue
            vector = _follow(buffer, children_at)
            count = _read(_U32, buffer, vector)
            left -= count
            if left < 0:
                raise TooLarge(f"more than {limits.columns * _NESTED} nested fields; send flat columns")
            stack.extend(_follow(buffer, vector + 4 + 4 * index) for index in range(count))
    return columns


def _field(buffer: bytes | memoryview, table: int, index: int) -> int:
    """Where field ``index`` of a flatbuffer table stands, 0 when it is absent."""
    vtable = table - _read(_I32, buffer, table)
    if 4 + 2 * index >= _read(_U16, buffer, vtable):
        return 0
    offset = _read(_U16, buffer, vtable + 4 + 2 * index)
    return table + offset if offset else 0


def _follow(buffer: bytes | memoryview, position: int) -> int:
    """The place that a flatbuffer offset points to; offsets only point forward."""
    return position + _read(_U32, buffer, position)


def _read(kind: struct.Struct, buffer: bytes | memoryview, position: int) -> int:
    """One number; a negative place would silently count from the end."""
    if position < 0:
        raise IndexError(position)
    return int(kind.unpack_from(buffer, position)[0])


def _inflated(view: memoryview, position: int) -> int:
    """Bytes that a compressed buffer says it becomes; -1 marks one that is stored as it is."""
    claim = _read(_I64, view, position)
    if claim < -1:
        raise Malformed(f"a compressed Arrow buffer claims {claim} bytes; send an unmodified IPC stream")
    return max(claim, 0)
