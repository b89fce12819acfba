"""Figures that labels have confirmed: counted as labels come, cohort by cohort, told of cohorts that are complete.

A correction takes the old label out and puts the new one in, so that the counts are always those of a clean batch
(`detectors.performance.counts`). Counts depend on the reference's layout: with another one they are made anew from
what the index holds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.performance import counts, curves
from detectors.performance.counts import Tally
from detectors.performance.curves import Curve
from detectors.performance.types import Figure
from detectors.types import FloatArray, IntArray
from monitor.outcomes.answers import Answers
from monitor.outcomes.cohorts import MOST
from monitor.outcomes.delays import Completeness
from monitor.outcomes.divided import MOST_CLASSES, Divided, coarse
from monitor.outcomes.index import Index
from monitor.outcomes.joined import Joined, Row, Values
from monitor.outcomes.measured import Expected
from monitor.outcomes.parts import How, Parts, figures_of, parts_of
from monitor.outcomes.tallied import Tallied

SPAN: Final = 86_400.0
"""Complete cohorts of so many seconds are told together, the newest ones, and more of them until they have `LEAST`."""
LEAST: Final = 1_000
"""Labels that figures rest on, where there are as many."""
_ROWS: Final = 1 << 16


class Confirmed(NamedTuple):
    """Figures of complete cohorts, their ``numbers``, from ``start`` to ``end``, with predictions and their labels."""

    figures: Mapping[str, Figure]
    start: float
    end: float
    predicted: int
    labelled: int
    numbers: tuple[int, ...]


class Realised:
    """Counts of one model by cohort: of all rows, and of those of each version and segment."""

    def __init__(self, expected: Expected, answers: Answers, how: How, divided: Divided) -> None:
        """``divided`` names the parts; rankings are counted from the ``index``, which has to be set."""
        self.divided = divided
        self._expected, self._answers, self._how = expected, answers, how
        self.reference = figures_of(expected.layout, expected.reference, how)
        self._whole = Tallied(expected.layout)
        few = int(expected.layout.classes) <= MOST_CLASSES
        self._parts = {kind: Tallied(coarse(expected.layout)) for kind in divided.slots if few}
        self.index: Index | None = None
        self._last: tuple[tuple[int, ...], int, Confirmed] | None = None
        self._changes = self._newest = 0
        self.partial: frozenset[int] = frozenset()
        """Cohorts of which predictions had left before they were counted: nothing is told of them."""

    @property
    def identity(self) -> int:
        """What the counts depend on."""
        return zlib.crc32(b"".join(np.ascontiguousarray(part).tobytes() for part in self._expected.layout))

    def add(self, joined: Joined) -> None:
        """Count rows that have got a label, or another one than before."""
        for start in range(0, joined.rows, _ROWS):
            some = np.arange(start, min(start + _ROWS, joined.rows))
            self._add(joined.cohort[some], _of(joined.values, some), joined.truth[some], 1)
            old = some[np.isfinite(joined.before[some])]
            self._add(joined.cohort[old], _of(joined.values, old), joined.before[old], -1)

    def rebuild(self, rows: Iterable[Row], cohorts: Completeness, width: float) -> None:
        """Count all that the index holds, in cohorts of so many seconds; those that rows have left are `partial`."""
        self._newest = 0
        for counted in self._all.values():
            counted.clear()
        there = np.zeros(len(cohorts.number), np.int64)
        for one in rows:
            cohort = np.floor(np.maximum(one.time, -1.0) / width).astype(np.int64)
            there += (cohort[:, None] == cohorts.number).sum(axis=0)
            labelled = np.flatnonzero(np.isfinite(one.truth))
            self._add(cohort[labelled], _of(one.values, labelled), one.truth[labelled], 1)
        self.partial = frozenset(cohorts.number[there < cohorts.predicted].tolist())

    def forget(self, freed: Mapping[str, Iterable[int]]) -> None:
        """Forget parts whose places others have taken."""
        for kind, places in freed.items():
            for place in places:
                self._changes += 1
                if kind in self._parts:
                    self._parts[kind].forget(place)

    def keep(self, numbers: IntArray) -> None:
        """Forget cohorts that are not followed any more."""
        for one in self._all.values():
            one.keep(numbers)

    def states(self) -> Iterator[tuple[str, bytes]]:
        """Each cohort by its number, for a checkpoint."""
        for prefix, one in self._all.items():
            yield from ((f"{prefix}{number}", blob) for number, blob in one.states())

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Inverse of `states`."""
        self._newest = max((int(key) for key in states if "/" not in key), default=0)
        for prefix, one in self._all.items():
            mine = {key.removeprefix(prefix): blob for key, blob in states.items() if key.startswith(prefix)}
            one.restore({number: blob for number, blob in mine.items() if "/" not in number})

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
        self.ready(numbers)
        if self._last is None or self._last[:2] != (numbers, self._changes):
            rows = int(cohorts.predicted[done].sum()), int(cohorts.labelled[done].sum())
            made = Confirmed(self.figures(numbers), float(cohorts.start[done[0]]), newest, *rows, numbers)
            self._last = (numbers, self._changes, made)
        return self._last[2]

    def ready(self, numbers: Collection[int]) -> None:
        """Count what has not been counted yet of cohorts that are told of: nothing, where rows count one by one."""

    def figures(self, numbers: Iterable[int]) -> dict[str, Figure]:
        """Figures of some cohorts together."""
        return figures_of(self._expected.layout, self._total(numbers), self._how)

    def labels(self, numbers: Iterable[int]) -> FloatArray:
        """How many labels of each class there are in some cohorts ``(k,)``."""
        confusion = self._total(numbers).confusion[0, 0]
        labels: FloatArray = confusion.sum(axis=0)[: len(confusion)] / counts.UNIT
        return labels

    def curve(self, numbers: Iterable[int] | None = None) -> Curve:
        """Their reliability curve, or the reference's; it has no bins where the model logs no probabilities."""
        tally = self._expected.reference if numbers is None else self._total(numbers)
        return curves.curve(tally, tau=self._how.tau)

    def parts(self, numbers: Iterable[int]) -> Callable[[], Parts]:
        """What makes the figures of each part of some cohorts together: counted now, made wherever it is called."""
        numbers = tuple(numbers)
        made = {
            kind: {self.divided.slots[kind].name(place): one for place, one in tallied.total(numbers).items()}
            for kind, tallied in self._parts.items()
        }
        return partial(parts_of, self._expected, self.divided.names, self._total(numbers), made, self._how)

    @property
    def _all(self) -> dict[str, Tallied]:
        """All counts, by what the keys of their states begin with."""
        return {"": self._whole, **{f"{kind}/": one for kind, one in self._parts.items()}}

    def _total(self, numbers: Iterable[int]) -> Tally:
        return self._whole.total(numbers).get(0, counts.empty(self._expected.layout))

    def _add(self, cohort: IntArray, values: Values, truth: FloatArray, sign: int) -> None:
        """Of cohorts that are too old to be followed nothing is counted."""
        self._newest = max(self._newest, int(cohort.max(initial=0)))
        if (old := cohort <= self._newest - MOST).any():
            young = np.flatnonzero(~old)
            cohort, values, truth = cohort[young], _of(values, young), truth[young]
        if not len(truth):
            return
        self._changes += 1
        outcomes = self._answers.outcomes(self._answers.kept(values), truth)
        self._whole.add(cohort, np.zeros(len(truth), np.int64), outcomes, sign)
        for kind, one in self._parts.items():
            one.add(cohort, values[kind].astype(np.int64), outcomes, sign)


def _of(values: Values, rows: IntArray) -> dict[str, NDArray[Any]]:
    return {name: part[rows] for name, part in values.items()}
