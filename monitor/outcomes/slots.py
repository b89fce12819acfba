"""Few places for the names that rows are told apart by: versions as they come, segments as the reference shows them.

A row keeps the number of its name's place. A place is given to another name once no row can be waiting that has the old
one, so that a name never stands for rows of another; while there is none, further names share the last one, "other".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import IntArray

OTHER: Final = "other"
LASTS: Final = 1.01
"""Times as long as rows are kept a place is kept: rows leave in steps."""


class Slots:
    """Names by place; the place after the last is for all others."""

    def __init__(self, most: int, seconds: float) -> None:
        """At most so many names, of rows that are kept for so long."""
        self.most = most
        self._seconds = LASTS * seconds
        self._names = [""] * most
        self._last = [-np.inf] * most

    def of(self, codes: NDArray[Any], values: tuple[str, ...], now: float) -> tuple[IntArray, list[int]]:
        """Places of rows by ``codes (n,)`` into ``values`` (-1 for -1), and which places another name has taken."""
        table, freed = np.full(len(values) + 1, -1, np.int64), []
        for code in np.unique(codes[codes >= 0]).tolist():
            table[code], fresh = self._place(values[code], now)
            freed += [int(table[code])] if fresh else []
        return table[codes], freed

    @property
    def names(self) -> tuple[str, ...]:
        """By place, that of all others the last."""
        return (*self._names, OTHER)

    def name(self, place: int) -> str:
        """Whose place it is."""
        return OTHER if place == self.most else self._names[place]

    def state(self) -> dict[str, list[Any]]:
        """JSON-able."""
        return {"names": self._names, "last": [None if one == -np.inf else one for one in self._last]}

    def restore(self, state: Mapping[str, list[Any]]) -> None:
        """Inverse of `state`."""
        self._names = [str(one) for one in state["names"]]
        self._last = [-np.inf if one is None else float(one) for one in state["last"]]

    def _place(self, name: str, now: float) -> tuple[int, bool]:
        if name == OTHER:
            return self.most, False
        if name in self._names:
            place = self._names.index(name)
            self._last[place] = max(self._last[place], now)
            return place, False
        free = [place for place, last in enumerate(self._last) if last + self._seconds < now]
        if not free:
            return self.most, False
        place = free[0]
        fresh = bool(self._names[place])
        self._names[place], self._last[place] = name, now
        return place, fresh
