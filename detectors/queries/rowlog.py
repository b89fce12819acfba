"""Who sent the last rows and what was flagged in them: exact counts by client, whatever the table has forgotten.

Memory: 16 bytes a row, 65,536 rows: 1 MB. Kinds of flag are bits, 32 at most.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.types import IntArray

ROWS = 65_536
"""Rows remembered."""
MOST_KINDS = 32


class RowLog:
    """The last `ROWS` rows of a model's stream, by number."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self.seen = 0
        self._client = np.zeros(ROWS, np.uint64)
        self._flags = np.zeros(ROWS, np.uint32)
        self._asked = np.zeros(ROWS, np.uint32)

    def add(self, client: NDArray[np.uint64], flags: NDArray[np.bool_], asked: NDArray[np.bool_]) -> None:
        """Append rows, ``(n,)`` and ``(n, k)``; at most `ROWS` at a time."""
        place = (self.seen + np.arange(len(client))) % ROWS
        bit = np.uint32(1) << np.arange(flags.shape[1], dtype=np.uint32)
        self._client[place] = client
        self._flags[place] = np.where(flags & asked, bit, np.uint32(0)).sum(axis=1, dtype=np.uint32)
        self._asked[place] = np.where(asked, bit, np.uint32(0)).sum(axis=1, dtype=np.uint32)
        self.seen += len(client)

    def counts(self, kind: int, since: int) -> tuple[NDArray[np.uint64], IntArray, IntArray]:
        """Clients with a name, their flagged rows and rows asked, from row ``since`` on, ``(c,)`` each."""
        place = self._recent(since) % ROWS
        bit = np.uint32(1 << kind)
        place = place[((self._asked[place] & bit) > 0) & (self._client[place] > 0)]
        client, whose = np.unique(self._client[place], return_inverse=True)
        rows = np.bincount(whose, minlength=len(client))
        flagged = np.bincount(whose, (self._flags[place] & bit) > 0, len(client)).astype(np.int64)
        return client, flagged, rows.astype(np.int64)

    def telling(self, clients: NDArray[np.uint64], kind: int, most: int) -> IntArray:
        """Numbers of the last rows of ``clients`` with a flag, rising."""
        number = self._recent(0)
        place = number % ROWS
        mine = np.isin(self._client[place], clients) & ((self._flags[place] & np.uint32(1 << kind)) > 0)
        return _last(number[mine], most)

    def rows_of(self, clients: NDArray[np.uint64], most: int) -> IntArray:
        """Numbers of the last rows of ``clients``, rising."""
        number = self._recent(0)
        return _last(number[np.isin(self._client[number % ROWS], clients)], most)

    def _recent(self, since: int) -> IntArray:
        return np.arange(max(int(since), self.seen - ROWS, 0), self.seen)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that moves."""
        place = self._recent(0) % ROWS
        return {
            "seen": np.array(self.seen),
            "client": self._client[place],
            "flags": self._flags[place],
            "asked": self._asked[place],
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state."""
        self.seen = int(np.asarray(arrays["seen"], np.int64))
        place = self._recent(0) % ROWS
        self._client[place] = arrays["client"]
        self._flags[place] = arrays["flags"]
        self._asked[place] = arrays["asked"]


def _last(rows: IntArray, most: int) -> IntArray:
    return rows[max(len(rows) - most, 0) :]
