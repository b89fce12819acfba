"""The newest rows of the traffic, so that a finding can show some that tell it, whatever the size of batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray, Rows
from detectors.types import IntArray

MOST = 20
"""Rows kept as evidence with a finding."""
REMEMBERED = 1_024
"""Newest rows that are at hand; the newest batch always is."""
_Part = tuple[pa.RecordBatch, Rows, IntArray, int]


class Shown:
    """The newest batches, with which of their rows were looked at, and the number of the first of these."""

    def __init__(self, hidden: Mapping[str, str | None]) -> None:
        """``hidden``: "client" and "source" with the columns whose names are replaced by their hashes."""
        self._hidden = hidden
        self._parts: deque[_Part] = deque()
        self._rows = 0

    def add(self, batch: pa.RecordBatch, rows: Rows, chosen: IntArray, first: int) -> None:
        """Remember a batch, of which the ``chosen`` rows are numbered from ``first`` on."""
        self._parts.append((batch, rows, chosen, first))
        self._rows += len(chosen)
        while len(self._parts) > 1 and self._rows - len(self._parts[0][2]) >= REMEMBERED:
            self._rows -= len(self._parts.popleft()[2])

    def table(self, told: Sequence[Suspicion]) -> pa.Table:
        """Telling rows of the suspicions, as far as they are at hand, else the newest rows of their senders."""
        members = np.concatenate([np.asarray(one.members, np.int64) for one in told])
        found = self._take([np.isin(first + np.arange(len(chosen)), members) for *_, chosen, first in self._parts])
        if not found:
            who = np.array(sorted({one.who for one in told if one.about == "client"}), np.uint64)
            found = self._take([_of(rows, who)[chosen] for _, rows, chosen, _ in self._parts])
        return pa.concat_tables(found, promote_options="permissive") if found else pa.table({})

    def _take(self, marked: list[NDArray[np.bool_]]) -> list[pa.Table]:
        """The newest of the marked rows, in order."""
        left, found = MOST, []
        for (batch, known, chosen, _), mine in zip(reversed(self._parts), reversed(marked), strict=True):
            rows = chosen[mine][-left:] if left else chosen[:0]
            left -= len(rows)
            if len(rows):
                found.append(self._without_names(pa.Table.from_batches([batch.take(pa.array(rows))]), known, rows))
        return found[::-1]

    def _without_names(self, table: pa.Table, known: Rows, rows: IntArray) -> pa.Table:
        for role, name in self._hidden.items():
            place, hashes = table.schema.get_field_index(name) if name else -1, getattr(known, role)
            if place >= 0:
                told = (
                    [None] * len(rows) if hashes is None else [f"{one:016x}" if one else None for one in hashes[rows]]
                )
                table = table.set_column(place, table.schema.names[place], pa.array(told, pa.string()))
        return table


def _of(rows: Rows, who: DigestArray) -> NDArray[np.bool_]:
    """Rows of some senders."""
    return np.zeros(rows.block.rows, bool) if rows.client is None else np.isin(rows.client, who)
