"""Where the rows of an id stand: a hash table in memory that holds row numbers and no ids.

Buckets of 16 slots of 32 bits, the size of a cache line; an id has two buckets and goes into the emptier one (Azar et
al. 1999, "Balanced allocations"), so four fifths of all slots can be in use. A slot holds the low bits of
a row number and some bits of the id (its tag): of ids that are not there a few in a hundred look as if they were, and
whoever asks compares the whole id. Rows that have left are not deleted: a slot is free when its row is not among those
that live, and is swept before its number comes round again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import IntArray

Keys = NDArray[np.uint64]
"""Ids ``(n, 2)``, each of 128 bits of which nobody outside can choose a single one."""
Slots = NDArray[np.uint32]

SLOTS: Final = 16
_LOAD: Final = 0.8
"""Share of the slots that live rows take at most: a handful of rows in a million finds no room. At .85, 200 do not."""
MOST_ROWS: Final = 50_000_000
"""Beyond this there would be too few bits left for tags, and too many files open."""
_LEAST_BITS: Final = 8
_HURRY: Final = 0.9
"""All buckets are swept before so large a share of the rows has come that no row may outlast."""
_LOW: Final = np.uint64(0xFFFFFFFF)
_HALF: Final = np.uint64(32)


class Live(NamedTuple):
    """Rows that are there: ``first`` to before ``end``, in the order in which they came."""

    first: int
    end: int

    @property
    def rows(self) -> int:
        """How many."""
        return self.end - self.first


class Table:
    """Row numbers by id, for at most ``rows`` rows that live at a time."""

    def __init__(self, rows: int) -> None:
        """Reserve the memory; it becomes resident as it is used."""
        bits = max(rows.bit_length(), _LEAST_BITS)
        self._bits = bits if (1 << bits) - rows >= rows // 4 else bits + 1
        self._buckets = int(np.ceil(rows / (SLOTS * _LOAD)))
        self._sweeping = self._buckets / (_HURRY * ((1 << self._bits) - rows))
        self._slots: Slots = np.zeros((self._buckets, SLOTS), np.uint32)
        self._swept, self._due = 0, 0.0
        self._crowded_keys = np.zeros(0, np.uint64)
        self._crowded_rows: IntArray = np.zeros(0, np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return int(self._slots.nbytes)

    def find(self, keys: Keys, live: Live) -> tuple[IntArray, IntArray]:
        """Pairs of place in ``keys`` and living row that may be its own: every row of these ids, and a few others."""
        tag = self._tag(keys)
        asked, found = [], []
        for bucket in self._choices(keys):
            slots = self._slots[bucket]
            which, where = np.nonzero((slots >> np.uint32(self._bits)) == tag[:, None])
            asked.append(which)
            found.append(self._numbers(slots[which, where], live))
        if len(self._crowded_rows):
            which, where = np.nonzero(keys[:, :1] == self._crowded_keys)
            asked.append(which)
            found.append(self._crowded_rows[where])
        rows, places = np.concatenate(found), np.concatenate(asked)
        there = (rows >= live.first) & (rows < live.end)
        return places[there], rows[there]

    def insert(self, keys: Keys, rows: IntArray, live: Live) -> None:
        """Add rows that live; an id may have several."""
        self._sweep(len(rows), live)
        left = np.arange(len(rows))
        word = (self._tag(keys) << np.uint32(self._bits)) | (rows & self._mask).astype(np.uint32)
        first, second = self._choices(keys)
        while len(left):
            a, b = first[left], second[left]
            bucket = np.where(self._room(b, live) > self._room(a, live), b, a)
            left, before = self._place(word, left, bucket, live), len(left)
            if len(left) == before:  # nothing fits: both buckets of all of them are full
                break
        self._crowd(keys[left], rows[left], live)

    @property
    def _mask(self) -> int:
        return (1 << self._bits) - 1

    def _tag(self, keys: Keys) -> Slots:
        """Never 0, so that an empty slot has none."""
        tags = np.uint64((1 << (32 - self._bits)) - 1)
        return (keys[:, 1] % tags + np.uint64(1)).astype(np.uint32)

    def _choices(self, keys: Keys) -> tuple[IntArray, IntArray]:
        """The two buckets of each id."""
        scale = np.uint64(self._buckets)
        first, second = keys[:, 0] >> _HALF, keys[:, 0] & _LOW
        return ((first * scale) >> _HALF).astype(np.int64), ((second * scale) >> _HALF).astype(np.int64)

    def _numbers(self, slots: Slots, live: Live) -> IntArray:
        """Row numbers in full: the slot's low bits, counted from the first that lives."""
        return live.first + ((slots.astype(np.int64) - live.first) & self._mask)

    def _free(self, bucket: IntArray, live: Live) -> NDArray[np.bool_]:
        slots = self._slots[bucket]
        free: NDArray[np.bool_] = (slots == 0) | (self._numbers(slots, live) >= live.end)
        return free

    def _room(self, bucket: IntArray, live: Live) -> IntArray:
        room: IntArray = self._free(bucket, live).sum(axis=1)
        return room

    def _place(self, word: Slots, left: IntArray, bucket: IntArray, live: Live) -> IntArray:
        """Put words into the buckets as far as there is room; those that did not fit."""
        order = np.argsort(bucket, kind="stable")
        left, bucket = left[order], bucket[order]
        turn = np.arange(len(left)) - np.searchsorted(bucket, bucket)  # how many came into the bucket before
        free = self._free(bucket, live)
        fits = turn < free.sum(axis=1)
        slot = (np.cumsum(free, axis=1, dtype=np.uint8) == (turn + 1)[:, None]).argmax(axis=1)
        self._slots[bucket[fits], slot[fits]] = word[left[fits]]
        rest: IntArray = left[~fits]
        return rest

    def _crowd(self, keys: Keys, rows: IntArray, live: Live) -> None:
        """Rows that no bucket has room for: a few in a million."""
        if len(rows) or len(self._crowded_rows):
            there = self._crowded_rows >= live.first
            self._crowded_keys = np.concatenate([self._crowded_keys[there], keys[:, 0]])
            self._crowded_rows = np.concatenate([self._crowded_rows[there], rows])

    def _sweep(self, rows: int, live: Live) -> None:
        """Empty some buckets of rows that have left, so that all are swept before their numbers are given again."""
        self._due += rows * self._sweeping
        count = min(int(self._due), self._buckets)
        self._due -= int(self._due)
        bucket = (self._swept + np.arange(count)) % self._buckets
        self._swept = (self._swept + count) % self._buckets
        slots = self._slots[bucket]
        slots[self._numbers(slots, live) >= live.end] = 0
        self._slots[bucket] = slots
