"""A bounded sample of predicted rows that wait for their labels, with what failures are looked for in.

A row is in it if the hash of its id is among the least of the rows that are followed: neither batches nor checkpoints
decide that, nobody outside can, and its chance has nothing to do with what the row is. Kept by cohort, each in order of
the hashes, so that a checkpoint writes those alone that have changed. Touched by the engine's thread alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import IntArray
from monitor.arrays import pack, unpack
from monitor.outcomes.joined import Joined
from monitor.outcomes.table import Keys

Records = NDArray[np.void]
_OWN: Final = (("key", "<u8"), ("prediction", "<f8"), ("truth", "<f8"))
"""Of each row the hash of its id, its answer, and its label or NaN."""
_PENDING: Final = 4_096
"""Rows, or labels, that wait to be put in order."""
_ANY: Final = np.uint64(2**64 - 1)


class Sample:
    """At most ``most`` rows."""

    def __init__(self, fields: Mapping[str, Any], most: int) -> None:
        """``fields`` (name: NumPy dtype, or a pair of dtype and shape) are kept of each row beside its own."""
        self.dtype = np.dtype([*_OWN, *((name, *_pair(kind)) for name, kind in fields.items())])
        self.most = most
        self._limit = _ANY
        self._held: dict[int, Records] = {}
        self._rows: list[tuple[IntArray, Records]] = []
        self._labels: list[tuple[IntArray, NDArray[np.uint64], NDArray[np.float64]]] = []
        self._pending = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the rows that are kept."""
        return sum(one.nbytes for one in self._held.values()) + sum(one.nbytes for _, one in self._rows)

    def counts(self) -> tuple[int, int]:
        """Rows with a label, and without."""
        self._settle()
        labelled = sum(int(np.isfinite(one["truth"]).sum()) for one in self._held.values())
        return labelled, sum(len(one) for one in self._held.values()) - labelled

    def wanted(self, keys: Keys) -> IntArray:
        """Places of the ids ``(n, 2)`` that may be in the sample."""
        places: IntArray = np.flatnonzero(keys[:, 0] <= self._limit)
        return places

    def add(self, cohort: IntArray, records: Records) -> None:
        """Offer rows of these cohorts, which `wanted` has chosen."""
        self._rows.append((cohort, records))
        self._more(len(records))

    def label(self, joined: Joined) -> None:
        """Rows that have got a label, or another one than before; those not in the sample are passed over."""
        mine = self.wanted(joined.key)
        self._labels.append((joined.cohort[mine], joined.key[mine, 0], joined.truth[mine]))
        self._more(len(mine))

    def keep(self, numbers: Collection[int]) -> None:
        """Forget cohorts that are not followed any more; there is room for others then."""
        self._settle()
        gone = self._held.keys() - set(numbers)
        for number in gone:
            del self._held[number]
        if gone and sum(map(len, self._held.values())) < self.most:
            self._limit = _ANY

    def of(self, numbers: Collection[int]) -> tuple[IntArray, Records]:
        """Cohort of each row, and a copy of the rows, of some cohorts in order."""
        self._settle()
        some = [number for number in sorted(numbers) if number in self._held]
        if not some:
            return np.zeros(0, np.int64), np.zeros(0, self.dtype)
        sizes = [len(self._held[number]) for number in some]
        return np.repeat(np.array(some, np.int64), sizes), np.concatenate([self._held[number] for number in some])

    @property
    def cohorts(self) -> list[int]:
        """Numbers of the cohorts with rows, in order."""
        self._settle()
        return sorted(self._held)

    def states(self) -> Iterator[tuple[str, bytes]]:
        """Each cohort by its number, for a checkpoint."""
        self._settle()
        yield from ((str(number), pack({"rows": rows.view(np.uint8)})) for number, rows in self._held.items())

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Inverse of `states`, of a sample with the same fields."""
        self._held = {int(number): unpack(blob)["rows"].view(self.dtype) for number, blob in states.items()}
        self._rows, self._labels, self._pending, self._limit = [], [], 0, _ANY
        self._thin()

    def _more(self, rows: int) -> None:
        self._pending += rows
        if self._pending > _PENDING:
            self._settle()

    def _settle(self) -> None:
        """Put what has come since into its place: first the rows, then their labels in the order of their coming."""
        rows, labels = self._rows, self._labels
        self._rows, self._labels, self._pending = [], [], 0
        for number, some in _parts(rows):
            before = [self._held[number]] if number in self._held else []
            records = np.concatenate([*before, *some])
            self._held[number] = records[np.argsort(records["key"], kind="stable")]
        if rows:
            self._thin()
        for cohort, keys, truth in labels:
            for number in np.unique(cohort).tolist():
                if number in self._held:
                    self._write(number, keys[cohort == number], truth[cohort == number])

    def _write(self, number: int, keys: NDArray[np.uint64], truth: NDArray[np.float64]) -> None:
        records = self._held[number]
        place = np.minimum(np.searchsorted(records["key"], keys), len(records) - 1)
        mine = records["key"][place] == keys
        if mine.any():
            records["truth"][place[mine]] = truth[mine]

    def _thin(self) -> None:
        """Leave the rows of least hash, once there are too many."""
        if sum(map(len, self._held.values())) <= self.most:
            return
        keys = np.concatenate([one["key"] for one in self._held.values()])
        self._limit = np.partition(keys, self.most - 1)[self.most - 1]
        for number, one in list(self._held.items()):
            if one["key"][-1] > self._limit:
                self._held[number] = one[one["key"] <= self._limit]
            if not len(self._held[number]):
                del self._held[number]


def _pair(kind: Any) -> tuple[Any, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def _parts(rows: list[tuple[IntArray, Records]]) -> Iterator[tuple[int, list[Records]]]:
    """New rows by the number of their cohort."""
    parts: dict[int, list[Records]] = {}
    for cohort, records in rows:
        for number in np.unique(cohort).tolist():
            parts.setdefault(number, []).append(records[cohort == number])
    yield from parts.items()
