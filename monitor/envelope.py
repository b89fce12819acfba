"""The envelope around rows: who sent them to which model, how large they are, and how they come out of it.

At the door only headers and line ends are looked at (`count_rows`); values are decoded later, in the engine's thread
(`batches`), where a part that cannot be decoded is discarded with a reason and never raises.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from monitor import ipc, ndjson
from monitor.columns import is_view, unwrap
from monitor.errors import Malformed, TooLarge
from monitor.limits import Limits
from monitor.ndjson import Discard

__all__ = [
    "ARROW",
    "BATCH",
    "NDJSON",
    "Delivery",
    "Discard",
    "Limits",
    "batches",
    "count_rows",
    "encode",
    "encode_into",
]

ARROW: Final = "arrow"
"""The payload is an Arrow IPC stream: a schema and its batches."""
NDJSON: Final = "ndjson"
"""The payload is one JSON object a line."""
BATCH: Final = "batch"
"""The payload is a `RecordBatch` in memory."""
_TEXTS: Final = frozenset(
    kind.id
    for kind in (
        *(pa.string(), pa.large_string(), pa.string_view()),
        *(pa.binary(), pa.large_binary(), pa.binary_view()),
        pa.dictionary(pa.int32(), pa.string()),
    )
)
"""Types that may hold a string too long: compared by number, sixty columns in a few microseconds."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Rows that were accepted together.

    ``sequence`` counts accepted deliveries from 1 and never goes back, over restarts either when a spool is used.
    ``version`` is empty when the sender did not say. ``size`` is what the queue is charged. ``position`` tells a source
    that can read again where it stands once this delivery is settled; it belongs into the same checkpoint. ``arrived``
    is when it was accepted, in seconds since the epoch: the same when it is judged again after a crash.
    """

    sequence: int
    source: str
    model: str
    version: str
    rows: int
    size: int
    format: str
    payload: bytes | memoryview | pa.RecordBatch
    position: Mapping[str, Any] | None = None
    arrived: float = field(default_factory=time.time)


def count_rows(format: str, payload: bytes | memoryview | pa.RecordBatch, limits: Limits) -> int:  # noqa: A002
    """Rows of a payload by its envelope alone; raises `Malformed` or `TooLarge` before anything is allocated."""
    if format == BATCH:
        return _count_batch(payload, limits)
    size = len(payload)
    if size > limits.body_bytes:
        raise TooLarge(f"{size} bytes, limits.body_bytes is {limits.body_bytes}; send fewer rows at once")
    if format == ARROW:
        return ipc.rows_of(payload, limits)
    if format == NDJSON:
        return ndjson.rows_of(bytes(payload), limits)
    raise Malformed(f"the format {format!r} is not known; use {ARROW}, {NDJSON} or {BATCH}")


def batches(
    delivery: Delivery, limits: Limits, discard: Discard, types: pa.Schema | None = None
) -> Iterator[pa.RecordBatch]:
    """Decode a delivery, batch by batch; rows yielded and rows told to ``discard`` add up to ``delivery.rows``.

    Every batch is valid to the last offset and character, has rows, and keeps to ``limits``. ``types`` fixes the types
    of columns for JSON (see `ndjson.batches`).
    """
    left, problem = delivery.rows, "the stream ends early"

    def tell(reason: str, rows: int, message: str) -> None:
        nonlocal left
        left -= rows
        discard(reason, rows, message)

    try:
        for batch in _decoded(delivery, limits, tell, types):
            for part in _within(batch, limits, tell):
                left -= part.num_rows
                yield part
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        problem = _brief(error)
    if left > 0:  # what came out before the damage stays
        discard("decode_error", left, f"the {delivery.format} payload cannot be decoded: {problem}")


def encode(batch: pa.RecordBatch) -> memoryview:
    """A batch as an IPC stream, for the spool."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return memoryview(sink.getvalue())


def encode_into(batch: pa.RecordBatch, room: memoryview) -> int:
    """`encode` in place; the bytes that were used, 0 when there is no room."""
    sink = pa.FixedSizeBufferWriter(pa.py_buffer(room))
    try:
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        return int(sink.tell())
    except (pa.ArrowException, OSError):
        return 0


def _count_batch(batch: pa.RecordBatch, limits: Limits) -> int:
    """The limits for rows that are in memory already."""
    # The buffers may be shared with other batches: only where they are too large are the bytes in use counted.
    size = batch.get_total_buffer_size()
    for name, found, most in (
        ("body_bytes", size if size <= limits.body_bytes else batch.nbytes, limits.body_bytes),
        ("batch_rows", batch.num_rows, limits.batch_rows),
        ("columns", batch.num_columns, limits.columns),
    ):
        if found > most:
            raise TooLarge(f"the batch has {found}, limits.{name} is {most}; send less at once or raise the limit")
    return int(batch.num_rows)


def _decoded(delivery: Delivery, limits: Limits, discard: Discard, types: pa.Schema | None) -> Iterator[pa.RecordBatch]:
    """The batches of whichever format."""
    if delivery.format == BATCH:
        yield delivery.payload
    elif delivery.format == NDJSON:
        yield from ndjson.batches(bytes(delivery.payload), delivery.rows, limits, discard, types)
    else:
        yield from _stream(delivery.payload)


def _stream(payload: bytes | memoryview) -> Iterator[pa.RecordBatch]:
    """The batches of an IPC stream, each proven valid: hostile offsets must not reach a kernel."""
    with pa.ipc.open_stream(pa.py_buffer(payload)) as reader:
        for batch in reader:
            batch.validate(full=True)
            yield batch


def _within(batch: pa.RecordBatch, limits: Limits, discard: Discard) -> Iterator[pa.RecordBatch]:
    """The rows without a string beyond the limit."""
    keep: pa.Array | None = None
    if batch.get_total_buffer_size() > limits.string_bytes:
        for index, kind in enumerate(batch.schema.types):
            if kind.id not in _TEXTS or (column := batch.column(index)).get_total_buffer_size() <= limits.string_bytes:
                continue
            short = _short(column, limits.string_bytes)
            if short is not None:
                keep = short if keep is None else pc.and_(keep, short)
    if keep is not None:
        columns = [unwrap(column) for column in batch.columns]
        found, batch = batch.num_rows, pa.RecordBatch.from_arrays(columns, names=batch.schema.names).filter(keep)
        discard("limit", found - batch.num_rows, f"a string is longer than limits.string_bytes ({limits.string_bytes})")
    if batch.num_rows:
        yield batch


def _short(column: pa.Array, most: int) -> pa.Array | None:
    """Which rows hold no string longer than ``most`` bytes; None when all do."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        if kind.value_type.id not in _TEXTS:
            return None
        if column.dictionary.get_total_buffer_size() <= most:
            return None
        short = _short(column.dictionary, most)
        return None if short is None else pc.fill_null(pc.take(short, column.indices), fill_value=True)
    if is_view(kind):  # a cast would follow the offsets of null slots, which nobody has checked
        column = unwrap(column)
    short = pc.fill_null(pc.less_equal(pc.binary_length(column), most), fill_value=True)
    return None if pc.all(short).as_py() else short


def _brief(error: Exception) -> str:
    """The first line of an error: what pyarrow says after it may repeat values."""
    return str(error).partition("\n")[0][:200]
