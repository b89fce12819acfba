"""A few rows of a stream as they came: evidence for people.

Each row has a priority that is a hash of its number in the stream; of every batch looked at, the rows of least priority
are kept. The choice depends on nothing but the batches.
"""

from __future__ import annotations

import zlib
from collections import deque

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.multivariate.samples import mixed

ROWS_A_TIME = 4
KEPT_ROWS = 200
PACE_ROWS = 256
"""Once there are `KEPT_ROWS`, so many rows pass between two looks: taking rows out of a batch costs as much as
decoding."""


class RowSample:
    """The newest sampled rows of one stream."""

    def __init__(self, name: str) -> None:
        """Begin empty; the name seeds the hash, so that streams of the same rows differ."""
        self._seed = np.uint64(zlib.crc32(name.encode()))
        self._seen = 0
        self._next = 0
        self._held: deque[pa.RecordBatch] = deque()
        self._rows = 0

    def add(self, batch: pa.RecordBatch, rows: NDArray[np.int64] | None) -> None:
        """Consider ``rows`` of a batch (None: all)."""
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
        self._held.append(_alone(batch.take(pa.array(index))))
        self._rows += few
        while self._rows - self._held[0].num_rows >= KEPT_ROWS:
            self._rows -= self._held.popleft().num_rows

    def table(self) -> pa.Table:
        """The rows, newest last; batches of another schema than the newest are left out."""
        held = tuple(self._held)  # at once: others than the engine read it too
        if not held:
            return pa.table({})
        schema = held[-1].schema
        return pa.Table.from_batches([one for one in held if one.schema.equals(schema)], schema)


def _alone(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows without dictionaries: those are shared, and would keep the whole message that they came in."""
    columns = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, names=rows.schema.names)
