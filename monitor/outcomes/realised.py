"""Figures that labels have confirmed: counted as labels come, cohort by cohort, told of cohorts that are complete.

A correction takes the old label out and puts the new one in, so that the counts are always those of a clean batch
(`detectors.performance.counts`). Counts depend on the reference's layout: with another one they are made anew from
what the index holds.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.performance import counts, realised, tallies
from detectors.performance.counts import Tally
from detectors.performance.types import Figure
from detectors.types import FloatArray, IntArray
from monitor.arrays import pack, unpack
from monitor.outcomes.answers import Answers, Said
from monitor.outcomes.cohorts import MOST
from monitor.outcomes.delays import Completeness
from monitor.outcomes.joined import Joined, Row, Values
from monitor.outcomes.measured import Expected

SPAN: Final = 86_400.0
"""Complete cohorts of so many seconds are told together, the newest ones, and more of them until they have `LEAST`."""
LEAST: Final = 1_000
"""Labels that figures rest on, where there are as many."""
_ROWS: Final = 1 << 16


class Confirmed(NamedTuple):
    """Figures of the complete cohorts from ``start`` to ``end``, their predictions, labels that came, and numbers."""

    figures: Mapping[str, Figure]
    start: float
    end: float
    predicted: int
    labelled: int
    numbers: tuple[int, ...]


class Realised:
    """Counts of one model by cohort."""

    def __init__(self, expected: Expected, answers: Answers, tau: float) -> None:
        """``tau`` is the autocorrelation time of the rows' answers."""
        self._made, self._answers, self._tau = expected.layout, answers, tau
        self.reference = realised.figures(self._made, expected.reference, tau=tau)
        self._held: dict[int, Tally] = {}
        self._packed: dict[int, bytes] = {}
        self._last: tuple[tuple[int, ...], int, Confirmed] | None = None
        self._changes = self._newest = 0
        self.partial: frozenset[int] = frozenset()
        """Cohorts of which predictions had left before they were counted: nothing is told of them."""

    @property
    def identity(self) -> int:
        """What the counts depend on."""
        return zlib.crc32(b"".join(np.ascontiguousarray(part).tobytes() for part in self._made))

    def add(self, joined: Joined) -> None:
        """Count rows that have got a label, or another one than before."""
        for start in range(0, joined.rows, _ROWS):
            some = np.arange(start, min(start + _ROWS, joined.rows))
            self._add(joined.cohort[some], _of(joined.values, some), joined.truth[some], 1)
            old = some[np.isfinite(joined.before[some])]
            self._add(joined.cohort[old], _of(joined.values, old), joined.before[old], -1)

    def rebuild(self, rows: Iterable[Row], cohorts: Completeness, width: float) -> None:
        """Count all that the index holds, in cohorts of so many seconds; those that rows have left are `partial`."""
        self._held, self._packed, self._newest = {}, {}, 0
        there = np.zeros(len(cohorts.number), np.int64)
        for one in rows:
            cohort = np.floor(np.maximum(one.time, -1.0) / width).astype(np.int64)
            there += (cohort[:, None] == cohorts.number).sum(axis=0)
            labelled = np.flatnonzero(np.isfinite(one.truth))
            self._add(cohort[labelled], _of(one.values, labelled), one.truth[labelled], 1)
        self.partial = frozenset(cohorts.number[there < cohorts.predicted].tolist())

    def keep(self, numbers: IntArray) -> None:
        """Forget cohorts that are not followed any more."""
        self._held = {number: self._held[number] for number in numbers.tolist() if number in self._held}

    def states(self) -> Iterator[tuple[str, bytes]]:
        """Each cohort by its number, for a checkpoint."""
        self._packed = {number: self._packed.get(number) or _pack(one) for number, one in self._held.items()}
        yield from ((str(number), blob) for number, blob in self._packed.items())

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Inverse of `states`."""
        empty = counts.empty(self._made)
        ends = np.cumsum([part.size for part in empty])
        self._held, self._packed, self._newest = {}, {}, max(map(int, states), default=0)
        for number, blob in states.items():
            arrays = unpack(blob)
            flat = np.zeros(ends[-1], np.int64)
            flat[arrays["which"]] = arrays["counts"]
            parts = zip(np.split(flat, ends[:-1]), empty, strict=True)
            self._held[int(number)] = Tally(*(one.reshape(like.shape) for one, like in parts))

    def confirmed(self, cohorts: Completeness, width: float) -> Confirmed | None:
        """What the newest complete cohorts show; None while none is complete."""
        known = ~np.isin(cohorts.number, list(self.partial))
        done = np.flatnonzero(cohorts.complete & (cohorts.predicted > 0) & known)
        if not len(done):
            return None
        newest = float(cohorts.start[done[-1]]) + width
        after = np.append(np.cumsum(cohorts.labelled[done][::-1])[::-1][1:], 0)
        done = done[(cohorts.start[done] >= newest - max(SPAN, width)) | (after < LEAST)]
        numbers = tuple(cohorts.number[done].tolist())
        if self._last is None or self._last[:2] != (numbers, self._changes):
            counts = int(cohorts.predicted[done].sum()), int(cohorts.labelled[done].sum())
            made = Confirmed(self.figures(numbers), float(cohorts.start[done[0]]), newest, *counts, numbers)
            self._last = (numbers, self._changes, made)
        return self._last[2]

    def figures(self, numbers: Iterable[int]) -> dict[str, Figure]:
        """Figures of some cohorts together."""
        return realised.figures(self._made, self._total(numbers), tau=self._tau)

    def labels(self, numbers: Iterable[int]) -> FloatArray:
        """How many labels of each class there are in some cohorts ``(k,)``."""
        confusion = self._total(numbers).confusion[0, 0]
        labels: FloatArray = confusion.sum(axis=0)[: len(confusion)] / counts.UNIT
        return labels

    def _total(self, numbers: Iterable[int]) -> Tally:
        whole = counts.empty(self._made)
        for number in numbers:
            whole = counts.merge(whole, self._held[number]) if number in self._held else whole
        return whole

    def _add(self, cohort: IntArray, values: Values, truth: FloatArray, sign: int) -> None:
        """Of cohorts that are too old to be followed nothing is counted."""
        self._newest = max(self._newest, int(cohort.max(initial=0)))
        if (old := cohort <= self._newest - MOST).any():
            young = np.flatnonzero(~old)
            cohort, values, truth = cohort[young], _of(values, young), truth[young]
        if not len(truth):
            return
        self._changes += 1
        said = Said(values["prediction"], values.get("score"), values.get("chances"))
        numbers, segment = np.unique(cohort, return_inverse=True)
        outcomes = self._answers.outcomes(said, truth)
        counted = tallies.tally(self._made, outcomes, segment.astype(np.int64), len(numbers))
        for place, number in enumerate(numbers.tolist()):
            mine = Tally(*(part[place : place + 1] for part in counted))
            held = self._held.get(number)
            held = counts.empty(self._made) if held is None else held
            self._packed.pop(number, None)
            self._held[number] = counts.merge(held, mine) if sign > 0 else counts.remove(held, mine)


def _pack(tally: Tally) -> bytes:
    """Counts as the few that are not zero."""
    flat = np.concatenate([part.ravel() for part in tally])
    which = np.flatnonzero(flat)
    return pack({"which": which.astype(np.int32), "counts": flat[which]})


def _of(values: Values, rows: IntArray) -> dict[str, NDArray[Any]]:
    return {name: part[rows] for name, part in values.items()}
