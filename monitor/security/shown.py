"""The newest rows of the traffic, so that a finding can show some that tell it, whatever the size of batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray, Rows
from detectors.types import IntArray

MOST = 20
"""Rows kept as evidence with a finding."""
REMEMBERED = 1_024
"""Newest rows that are at hand; the newest batch always is, as a whole."""


class _Part(NamedTuple):
    """Some rows that were looked at, the first of them of this number, and the hashes of their names by role."""

    rows: pa.RecordBatch
    first: int
    hashes: Mapping[str, DigestArray | None]


class Shown:
    """The newest rows that were looked at."""

    def __init__(self, hidden: Mapping[str, str | None]) -> None:
        """``hidden``: "client" and "source" with the columns whose names are replaced by their hashes."""
        self._hidden = hidden
        self._parts: deque[_Part] = deque()
        self._rows = 0

    def add(self, batch: pa.RecordBatch, rows: Rows, chosen: IntArray, first: int) -> None:
        """Remember the ``chosen`` rows of a batch, numbered from ``first`` on."""
        if not len(chosen):
            return
        whole = len(chosen) == batch.num_rows
        known = {"client": rows.client, "source": rows.source}
        hashes = {role: None if one is None else one[chosen] for role, one in known.items()}
        self._parts.append(_Part(batch if whole else batch.take(pa.array(chosen)), first, hashes))
        self._rows += len(chosen)
        while self._rows - self._parts[0].rows.num_rows >= REMEMBERED:
            self._rows -= self._parts.popleft().rows.num_rows

    def table(self, told: Sequence[Suspicion]) -> pa.Table:
        """Telling rows of the suspicions, as far as they are at hand, else the newest rows of their senders."""
        members = np.concatenate([np.asarray(one.members, np.int64) for one in told])
        found = self._take(lambda part: np.isin(part.first + np.arange(part.rows.num_rows), members))
        if not found:
            who = np.array(sorted({one.who for one in told if one.about == "client"}), np.uint64)
            found = self._take(lambda part: _of(part, who))
        return pa.concat_tables(found, promote_options="permissive") if found else pa.table({})

    def _take(self, marked: Callable[[_Part], NDArray[np.bool_]]) -> list[pa.Table]:
        """The newest of the marked rows, in order."""
        left, found = MOST, []
        for part in reversed(self._parts):
            rows = np.flatnonzero(marked(part))[-left:] if left else np.zeros(0, np.int64)
            left -= len(rows)
            if len(rows):
                found.append(self._without_names(part, rows))
        return found[::-1]

    def _without_names(self, part: _Part, rows: IntArray) -> pa.Table:
        table = pa.Table.from_batches([part.rows.take(pa.array(rows))])
        for role, name in self._hidden.items():
            place, hashes = table.schema.get_field_index(name) if name else -1, part.hashes[role]
            if place >= 0:
                known = np.zeros(len(rows), np.uint64) if hashes is None else hashes[rows]
                told = pa.array([f"{one:016x}" if one else None for one in known.tolist()], pa.string())
                table = table.set_column(place, table.schema.names[place], told)
        return table


def _of(part: _Part, who: DigestArray) -> NDArray[np.bool_]:
    """Rows of some senders."""
    client = part.hashes["client"]
    return np.zeros(part.rows.num_rows, bool) if client is None else np.isin(client, who)
