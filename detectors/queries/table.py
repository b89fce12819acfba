"""Who is remembered of a hostile number of client names: a bounded table that cannot be flushed.

New names enter a *window* of fixed size; the name in it that was silent longest leaves it for the *main* part, and the
main part's client of the lowest rank is forgotten. Rank is the logarithm of (rows + 100 x evidence), and grows old only
with rows of the main part's own clients. So a flood of new names, however long, passes through the window: each of them
has rank 0 on the main part's standing clock, and whoever has more rows or evidence stays. A new client that sends rows
at least as often as one in ``window`` new names appears is never forgotten while it grows (as in W-TinyLFU: Einziger,
Friedman and Manes 2017). What is forgotten is counted; a name that comes back begins anew, as a new key.

Memory: 41 bytes a slot and one entry of a dictionary, allocated for ``most`` clients and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray

LEAST = 64
"""Slots of the smallest table."""
_PER_EVIDENCE = 100.0
"""Rows that one unit of log evidence is worth."""
_HALF_LIFE = 100
"""Rows of main clients, per slot, after which a silent client's rank has lost ln 2."""


class Admitted(NamedTuple):
    """``slots (c,)`` of the keys asked for; ``fresh`` slots among them hold somebody new and must be cleared."""

    slots: IntArray
    fresh: IntArray


class Table:
    """Slots of at most ``most`` clients by key; ``admit`` at most ``piece`` different keys at a time."""

    def __init__(self, most: int) -> None:
        """Start empty; ``most`` below 64 is taken as 64."""
        self.most = max(int(most), LEAST)
        self.window = max(self.most // 8, min(256, self.most // 2))
        self.piece = min(256, self.window)
        self.born = self.evicted = 0
        self._clock = 0.0
        self.key = np.zeros(self.most, np.uint64)
        self.rows = np.zeros(self.most, np.int64)
        self.first = np.zeros(self.most, np.int64)
        self.last = np.full(self.most, -1, np.int64)
        self._rank = np.full(self.most, -np.inf)
        self._young = np.zeros(self.most, np.bool_)
        self._slot: dict[int, int] = {}

    @property
    def used(self) -> IntArray:
        """Slots that hold a client."""
        return np.arange(len(self._slot), dtype=np.int64)

    def admit(self, keys: NDArray[np.uint64], row: IntArray) -> Admitted:
        """Slots of different ``keys (c,)``, whose rows begin at number ``row (c,)``; new ones get one."""
        names = keys.tolist()
        slots = np.array([self._slot.get(name, -1) for name in names], np.int64)
        new = np.flatnonzero(slots < 0)
        if len(new):
            free = np.arange(len(self._slot), min(len(self._slot) + len(new), self.most))
            present = np.concatenate([slots[slots >= 0], free])
            got = np.concatenate([free, self._vacated(len(new) - len(free), present)])
            slots[new] = got
            self._slot.update({names[i]: int(slot) for i, slot in zip(new, got, strict=True)})
            self.key[got], self.rows[got], self.first[got] = keys[new], 0, row[new]
            self.last[got], self._rank[got], self._young[got] = row[new], 0.0, True
            self.born += len(new)
        return Admitted(slots, slots[new])

    def touch(self, slots: IntArray, rows: IntArray, until: IntArray, log_e: FloatArray) -> None:
        """Count ``rows (c,)`` of the clients, who have this much evidence against them, up to row ``until (c,)``."""
        self.rows[slots] += rows
        self.last[slots] = until
        self._clock += float(rows[~self._young[slots]].sum()) / (_HALF_LIFE * self.most)
        weight = self.rows[slots] + _PER_EVIDENCE * np.maximum(log_e, 0.0)
        self._rank[slots] = np.log(weight) + self._clock * np.log(2.0)

    def _vacated(self, number: int, present: IntArray) -> IntArray:
        """Forget so many clients, none of the ``present`` ones."""
        if number == 0:
            return np.zeros(0, np.int64)
        here = np.zeros(self.most, np.bool_)
        here[present] = True
        young = np.flatnonzero(self._young & ~here)
        over = int(self._young.sum()) + number - self.window
        if over > 0:
            oldest = young[np.argsort(self.last[young], kind="stable")[:over]]
            self._young[oldest] = False
        main = np.flatnonzero(~self._young & ~here)
        leaving = main[np.argsort(self._rank[main], kind="stable")[:number]]
        for key in self.key[leaving].tolist():
            del self._slot[key]
        self.evicted += number
        return np.sort(leaving)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that moves."""
        used = len(self._slot)
        counters = np.array([self.born, self.evicted, self._clock])
        return {
            "counters": counters,
            "key": self.key[:used].copy(),
            "rows": self.rows[:used].copy(),
            "first": self.first[:used].copy(),
            "last": self.last[:used].copy(),
            "rank": self._rank[:used].copy(),
            "young": self._young[:used].copy(),
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state; ValueError where it has more clients than fit."""
        used = len(arrays["key"])
        if used > self.most:
            raise ValueError(f"the state has {used} clients, the table room for {self.most}")
        born, evicted, self._clock = (float(one) for one in np.asarray(arrays["counters"], np.float64))
        self.born, self.evicted = int(born), int(evicted)
        stores = {
            "key": self.key,
            "rows": self.rows,
            "first": self.first,
            "last": self.last,
            "rank": self._rank,
            "young": self._young,
        }
        for name, store in stores.items():
            store[:used] = arrays[name]
        self._slot = {key: slot for slot, key in enumerate(self.key[:used].tolist())}
