"""A few rows of a stream as they came: evidence for people.

Each row has a priority that is a hash of its number in the stream; of every batch looked at, the rows of least priority
are kept. The choice depends on nothing but the batches. Of each row its place in the stream is known (`Panes.places`):
those since a finding began can be told from those before.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.multivariate.samples import mixed
from detectors.types import FloatArray, IntArray

ROWS_A_TIME = 4
KEPT_ROWS = 200
PACE_ROWS = 256
"""Once there are `KEPT_ROWS`, so many rows pass between two looks: taking rows out of a batch costs as much as
decoding."""
LOOKED_AT = 1_000
"""Rows of a batch, the last ones, that are looked through for a finding that came with it."""
Places = Callable[[IntArray], FloatArray]
"""Rows of a batch, counted from 0, -> where they lie in the stream."""


class _Held(NamedTuple):
    """Sampled rows of one batch, and where they lie."""

    rows: pa.RecordBatch
    places: FloatArray


class _Newest(NamedTuple):
    """A batch that is still at hand: its last rows, by number, and where they lie."""

    batch: pa.RecordBatch
    rows: IntArray
    places: FloatArray


class RowSample:
    """The newest sampled rows of one stream."""

    def __init__(self, name: str) -> None:
        """Begin empty; the name seeds the hash, so that streams of the same rows differ."""
        self._seed = np.uint64(zlib.crc32(name.encode()))
        self._seen = 0
        self._next = 0
        self._held: deque[_Held] = deque()
        self._rows = 0
        self._newest: _Newest | None = None

    def add(self, batch: pa.RecordBatch, rows: NDArray[np.int64] | None, places: Places) -> None:
        """Consider ``rows`` of a batch (None: all); ``places`` says where some of these lie."""
        n = batch.num_rows if rows is None else len(rows)
        if n == 0:
            return
        first, self._seen = self._seen, self._seen + n
        if self._seen <= self._next:
            return
        if self._rows >= KEPT_ROWS:
            self._next = self._seen + PACE_ROWS
        priority = mixed(np.arange(first, first + n, dtype=np.uint64) ^ (self._seed << np.uint64(32)))
        few = min(ROWS_A_TIME, n)
        chosen = np.sort(np.argpartition(priority, few - 1)[:few])
        index = chosen if rows is None else rows[chosen]
        self._held.append(_Held(_alone(batch.take(pa.array(index))), places(chosen)))
        self._rows += few
        while self._rows - self._held[0].rows.num_rows >= KEPT_ROWS:
            self._rows -= self._held.popleft().rows.num_rows

    def hold(self, batch: pa.RecordBatch, rows: NDArray[np.int64] | None, places: Places) -> None:
        """Keep a batch at hand until `release`: a finding came with it, and few of its rows were sampled."""
        n = batch.num_rows if rows is None else len(rows)
        last = np.arange(max(n - LOOKED_AT, 0), n)
        self._newest = _Newest(batch, last if rows is None else rows[last], places(last))

    def release(self) -> None:
        """Let the batch go."""
        self._newest = None

    def table(self, since: float = -np.inf) -> pa.Table:
        """The rows from a place on, newest last; batches of another schema than the newest are left out."""
        held = tuple(self._held)  # at once: others than the engine read it too
        if not held:
            return pa.table({})
        schema = held[-1].rows.schema
        alike = (one for one in held if one.rows.schema.equals(schema))
        return pa.Table.from_batches([_from(one.rows, one.places, since) for one in alike], schema)

    def looked_through(self, since: float) -> pa.Table:
        """The last rows of the batch at hand from a place on, else the sampled ones."""
        newest = self._newest
        if newest is None or not (newest.places >= since).any():
            return self.table(since)
        rows = newest.rows[newest.places >= since]
        return pa.Table.from_batches([_alone(newest.batch.take(pa.array(rows)))])


def _from(rows: pa.RecordBatch, places: FloatArray, since: float) -> pa.RecordBatch:
    """Those that lie there or later."""
    later = places >= since
    return rows if later.all() else rows.filter(pa.array(later))


def _alone(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows without dictionaries: those are shared, and would keep the whole message that they came in."""
    columns = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)
