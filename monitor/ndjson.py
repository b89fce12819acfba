"""Newline-delimited JSON: counted at the door, parsed in the engine's thread, with one bad line never costing another.

The fast way parses a whole piece at once with Arrow. It is taken only where it is safe: Arrow's parser recurses on
nesting without a bound, pads every column to every row, and takes objects that do not keep to their lines. Where it is
not safe or fails, the lines of the piece are read one by one: what is no object is discarded and counted, and a column
whose values do not agree on a type becomes text, which the decoder judges value by value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from monitor.errors import Malformed, TooLarge
from monitor.limits import Limits

Discard = Callable[[str, int, str], None]
"""Told the reason (of `ledger.REASONS`), the rows and a sentence whenever rows are dropped."""

_CELLS: Final = 1 << 22
"""Rows times columns of one piece: rows that each bring names of their own cannot ask for more memory than this."""
_KEYS: Final = 1 << 16
"""Names in one piece: Arrow keeps a builder for each distinct one."""
_DEPTH: Final = 64
"""Nesting that Arrow's parser, which recurses, may be given."""
_CULPRIT: Final = re.compile(r"Column\(/([^/]*)\) changed from")
"""How Arrow names the column whose value has another type than it was told."""
_BLANK: Final = re.compile(rb"\n\s")
"""Where a line may be blank; it is searched for at the speed of ``memchr``."""
_FULL: Final = re.compile(rb"\S[^\n]*")
"""A line that is not blank, from its first character on."""
_NULL: Final = re.compile(rb"\n\s*null")
_OBJECT: Final = re.compile(rb"\n\s*\{")


def rows_of(payload: bytes, limits: Limits) -> int:
    """Lines that hold anything; raises `Malformed` when none begins an object, `TooLarge` when they are too many."""
    rows = _lines(payload)
    if rows and not _any_object(payload):
        raise Malformed("no line begins with {; send one JSON object a line")
    if rows > limits.batch_rows:
        raise TooLarge(f"{rows} lines, limits.batch_rows is {limits.batch_rows}; send fewer rows at once")
    return rows


def cut(payload: bytes, limits: Limits) -> Iterator[tuple[bytes, int]]:
    """Whole lines in parts of at most ``limits.batch_rows`` rows, each with its rows; blank parts are left out."""
    parts = [payload]
    while parts:
        part = parts.pop()
        rows = _lines(part)
        if rows > limits.batch_rows:
            parts.extend(_halves(part))
        elif rows:
            yield part, rows_of(part, limits)


def batches(
    payload: bytes, rows: int, limits: Limits, discard: Discard, types: pa.Schema | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows as batches; those yielded and those discarded add up to ``rows``, which `rows_of` has counted.

    ``types`` are those of the reference: they decide where a guess could be wrong, as for dates kept as text.
    """
    types = _guides(types)
    known: pa.Schema | None = None
    pieces = [payload.removeprefix(b"\xef\xbb\xbf")]
    while pieces:
        piece = pieces.pop()
        lines = rows if piece is payload else _lines(piece)
        if lines == 0:
            continue
        batch = None
        if known is not None and lines * len(known) <= _CELLS:
            batch = _parse(piece, lines, known, "error")
        if not isinstance(batch, pa.RecordBatch):
            keys = piece.count(b":")
            if lines > 1 and (lines * keys > _CELLS or keys > _KEYS):
                pieces.extend(_halves(piece))
                continue
            if keys > _KEYS:
                discard("limit", lines, f"more than {_KEYS} names in one row; send fewer columns")
                continue
            batch, types = _typed(piece, lines, types)
            batch = batch or _by_line(piece, limits, discard)
        if batch.num_columns > limits.columns:
            discard("limit", batch.num_rows, f"{batch.num_columns} columns, limits.columns is {limits.columns}")
        elif batch.num_rows:
            known = _together(known, batch.schema)
            yield _seen(batch, piece, types)


def _guides(types: pa.Schema | None) -> pa.Schema | None:
    """The types that JSON needs to be told: text that looks like a time, whole numbers of a column of fractions."""
    if types is None:
        return None
    fields = []
    for field in types:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            fields.append(pa.field(field.name, pa.string()))
        elif pa.types.is_floating(kind):
            fields.append(pa.field(field.name, pa.float64()))
    return pa.schema(fields)


def _typed(piece: bytes, lines: int, types: pa.Schema | None) -> tuple[pa.RecordBatch | None, pa.Schema | None]:
    """`_parse` with as many of ``types`` as fit, and those."""
    while True:
        found = _parse(piece, lines, types or pa.schema([]), "infer")
        if isinstance(found, pa.RecordBatch):
            return found, types
        named = _CULPRIT.search(found)
        if types is None or named is None or named[1] not in types.names:
            return None, types
        types = types.remove(types.get_field_index(named[1]))


def _parse(piece: bytes, lines: int, schema: pa.Schema, unexpected: str) -> pa.RecordBatch | str:
    """The piece as one batch, or why Arrow must not or cannot read it."""
    if not _shallow(piece, lines):
        return "nested too deep"
    if piece.lstrip().startswith(b"null") or _NULL.search(piece):
        return "a line is null, which Arrow takes for a row"
    try:
        table = pj.read_json(
            pa.BufferReader(piece),
            # One block holds the whole piece, so that no line lies across the border of two.
            read_options=pj.ReadOptions(use_threads=False, block_size=len(piece) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unexpected),
        )
        if table.num_rows != lines:
            return "objects do not keep to their lines"
        if table.num_columns == 0:
            return pa.RecordBatch.from_struct_array(pa.nulls(lines, pa.struct([])))
        batch = table.combine_chunks().to_batches()[0]
        batch.validate(full=True)
    except (pa.ArrowException, ValueError, IndexError, OSError) as error:
        return str(error)
    return batch


def _by_line(piece: bytes, limits: Limits, discard: Discard) -> pa.RecordBatch:
    """The slow way: every line for itself."""
    rows: list[dict[str, Any]] = []
    names: dict[str, None] = {}
    for number, line in enumerate(filter(bytes.strip, piece.split(b"\n"))):
        row = _object(line)
        if row is None:
            discard("malformed", 1, f"line {number + 1} of a piece is not a JSON object in UTF-8")
            continue
        fresh = [name for name in row if name not in names]
        if len(names) + len(fresh) > limits.columns:
            discard("limit", 1, f"a row brings the columns beyond limits.columns ({limits.columns})")
            continue
        names.update(dict.fromkeys(fresh))
        rows.append(row)
    arrays = [_column([row.get(name) for row in rows]) for name in names]
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.nulls(len(rows), pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, names=[_clean(name) for name in names])


def _object(line: bytes) -> dict[str, Any] | None:
    """One row, or None when the line is no object."""
    if line.count(b"[") + line.count(b"{") > _DEPTH and not _shallow(line, 0):
        return None
    try:
        row = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):  # bad UTF-8 and bad JSON are both ValueErrors
        return None
    return row if isinstance(row, dict) else None


def _column(values: list[Any]) -> pa.Array:
    """An array of the type that all values share, else of their text."""
    try:
        return pa.array(values)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        pass
    if all(value is None or type(value) in (int, float) for value in values):
        try:
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        except OverflowError:  # an integer beyond the largest double
            pass
    texts = (value if value is None or isinstance(value, str) else json.dumps(value) for value in values)
    return pa.array([None if text is None else _clean(text) for text in texts], pa.string())


def _clean(text: str) -> str:
    """Text that UTF-8 can carry: JSON may name halves of surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _together(known: pa.Schema | None, found: pa.Schema) -> pa.Schema:
    """What the next piece is expected to look like: all columns so far, in their widest type."""
    if known is None:
        return found
    try:
        return pa.unify_schemas([known, found], promote_options="permissive")
    except pa.ArrowException:
        return found


def _seen(batch: pa.RecordBatch, piece: bytes, types: pa.Schema | None) -> pa.RecordBatch:
    """The batch without the columns that only ``types`` named: they are missing, not null."""
    if types is None or not any(column.null_count == batch.num_rows for column in batch.columns):
        return batch
    absent = [
        name
        for name in types.names
        if batch.column(name).null_count == batch.num_rows
        and json.dumps(name).encode() not in piece
        and json.dumps(name, ensure_ascii=False).encode() not in piece
    ]
    return batch.drop_columns(absent) if absent else batch


def _lines(payload: bytes) -> int:
    """Lines that are not blank: counted by their ends where none can be blank."""
    if payload[:1].isspace() or _BLANK.search(payload):
        return sum(1 for _ in _FULL.finditer(payload))
    return payload.count(b"\n") + (not payload.endswith(b"\n")) if payload else 0


def _any_object(payload: bytes) -> bool:
    """Whether any line begins with a brace."""
    return payload.lstrip().startswith((b"{", b"\xef\xbb\xbf{")) or _OBJECT.search(payload) is not None


def _halves(piece: bytes) -> tuple[bytes, bytes]:
    """Two parts with a line end between them, the later one first; a piece of one line and a blank one may be whole."""
    middle = piece.find(b"\n", len(piece) // 2) + 1 or piece.rfind(b"\n", 0, len(piece) // 2) + 1
    if middle >= len(piece):
        middle = piece.rfind(b"\n", 0, len(piece) // 2) + 1
    return piece[middle:], piece[:middle]


def _shallow(piece: bytes, lines: int) -> bool:
    """Whether no line nests deeper than `_DEPTH`; brackets inside of strings count too, which errs to the safe side."""
    if piece.count(b"[") + piece.count(b"{") - lines <= _DEPTH:
        return True
    letters = np.frombuffer(piece, np.uint8)
    steps = np.zeros(len(letters), np.int32)
    steps[(letters == 91) | (letters == 123)] = 1  # [ {
    steps[(letters == 93) | (letters == 125)] = -1  # ] }
    depth = np.cumsum(steps, dtype=np.int32)
    starts = np.concatenate(([0], np.flatnonzero(letters == 10) + 1))
    starts = starts[starts < len(letters)]
    before = depth[starts] - steps[starts]
    return bool((np.maximum.reduceat(depth, starts) - before).max() <= _DEPTH)
