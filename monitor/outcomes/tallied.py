"""Counts of outcomes by cohort and by group of rows: made as labels come, taken back where they are corrected.

Whole numbers that are linear in the rows (`detectors.performance.counts`), so that they are always those of a clean
batch. For a checkpoint a cohort is kept as the few counts that are not zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from detectors.performance import counts, tallies
from detectors.performance.counts import Tally
from detectors.performance.layout import Layout
from detectors.performance.types import Outcomes
from detectors.types import IntArray
from monitor.arrays import pack, unpack


class Tallied:
    """Counts of one way to divide rows into groups, which are numbers from 0."""

    def __init__(self, made: Layout) -> None:
        """Count nothing yet."""
        self.made = made
        self._held: dict[int, dict[int, Tally]] = {}
        self._packed: dict[int, bytes] = {}

    def add(self, cohort: IntArray, group: IntArray, outcomes: Outcomes, sign: int = 1) -> None:
        """Count rows ``(n,)``, or with a ``sign`` of -1 take them back; those of a group below 0 do not count."""
        groups = int(group.max(initial=0)) + 1
        place = np.where((group >= 0) & (cohort >= 0), cohort * groups + group, -1)
        pairs, segment = np.unique(place, return_inverse=True)
        none = int(len(pairs) > 0 and pairs[0] < 0)
        counted = tallies.tally(self.made, outcomes, segment.astype(np.int64) - none, max(len(pairs) - none, 1))
        for at, pair in enumerate(pairs[none:].tolist()):
            number, mine = divmod(pair, groups)
            self._packed.pop(number, None)
            held, one = self._held.setdefault(number, {}), Tally(*(part[at : at + 1] for part in counted))
            before = held.get(mine, counts.empty(self.made))
            held[mine] = counts.merge(before, one) if sign > 0 else counts.remove(before, one)

    def total(self, numbers: Iterable[int]) -> dict[int, Tally]:
        """Counts of some cohorts together, by group."""
        found: dict[int, Tally] = {}
        for number in numbers:
            for group, one in self._held.get(number, {}).items():
                found[group] = counts.merge(found[group], one) if group in found else one
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._held, self._packed = {}, {}

    def forget(self, group: int) -> None:
        """Forget one group."""
        for number, held in self._held.items():
            if held.pop(group, None) is not None:
                self._packed.pop(number, None)

    def drop(self, numbers: Iterable[int]) -> None:
        """Forget some cohorts."""
        for number in numbers:
            self._held.pop(number, None)
            self._packed.pop(number, None)

    def keep(self, numbers: IntArray) -> None:
        """Forget cohorts that are not followed any more."""
        self._held = {number: self._held[number] for number in numbers.tolist() if number in self._held}

    def states(self) -> Iterator[tuple[str, bytes]]:
        """Each cohort by its number, for a checkpoint."""
        self._packed = {number: self._packed.get(number) or _pack(held) for number, held in self._held.items()}
        yield from ((str(number), blob) for number, blob in self._packed.items())

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Inverse of `states`."""
        self.clear()
        for number, blob in states.items():
            arrays = unpack(blob)
            ends = np.append(arrays["begin"], len(arrays["which"]))
            self._held[int(number)] = {
                group: self._unpacked(arrays["which"][first:end], arrays["counts"][first:end])
                for group, first, end in zip(arrays["group"].tolist(), ends[:-1], ends[1:], strict=True)
            }

    def _unpacked(self, which: IntArray, values: IntArray) -> Tally:
        empty = counts.empty(self.made)
        ends = np.cumsum([part.size for part in empty])
        flat = np.zeros(ends[-1], np.int64)
        flat[which] = values
        return Tally(*(one.reshape(like.shape) for one, like in zip(np.split(flat, ends[:-1]), empty, strict=True)))


def _pack(held: Mapping[int, Tally]) -> bytes:
    groups = sorted(held)
    flat = [np.concatenate([part.ravel() for part in held[group]]) for group in groups]
    which = [np.flatnonzero(one) for one in flat]
    return pack(
        {
            "group": np.array(groups, np.int64),
            "begin": np.cumsum([0, *(len(one) for one in which[:-1])]),
            "which": np.concatenate(which).astype(np.int32),
            "counts": np.concatenate([one[some] for one, some in zip(flat, which, strict=True)]),
        }
    )
