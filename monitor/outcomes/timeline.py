"""Performance over time: what windows were estimated to do, and what cohorts have turned out to have done.

Both are kept at the time of the predictions, so that they can be laid on each other: in a plot, and in numbers
(`detectors.performance.past`). Where labels have shown estimates to be off by more than their errors say, later ones
take that on as an error of their own. Bounded; touched by the engine's thread, read by any: parts are replaced whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from detectors.performance.answer import WIDE
from detectors.performance.past import Past, past
from detectors.performance.types import Figure
from detectors.types import FloatArray, IntArray
from monitor.outcomes.delays import Completeness
from monitor.outcomes.estimates import Told
from monitor.outcomes.realised import Realised

MOST: Final = 400
"""Windows that are kept; of more, those that lie closest to others go."""
MOST_OLD: Final = 256
"""Stretches that are kept of cohorts that the index follows no more; of more, the shortest are joined."""
RECENT: Final = 60
"""Stretches of time on which what is known of past estimates rests, the newest ones."""
LEAST: Final = 6
"""So many stretches are wanted before estimates take on an error."""
LEVEL: Final = math.log(1e-3)
"""And chance must explain what they were off by in fewer cases than these."""
_AT_ONCE: Final = 8
"""Cohorts whose figures are made at one look, a millisecond each."""


class Window(NamedTuple):
    """An estimated window of one version; errors of ``figures`` are without what past estimates were off by."""

    stream: str
    start: float
    end: float
    figures: Mapping[str, Figure]

    @property
    def middle(self) -> float:
        """Of its time."""
        return (self.start + self.end) / 2


class Truth(NamedTuple):
    """A cohort whose labels are as good as all there, with so many labels when its ``figures`` were made."""

    start: float
    end: float
    labelled: int
    figures: Mapping[str, Figure]


class Pairs(NamedTuple):
    """Of stretches of time ``(s,)`` what was estimated and what came true, with standard errors."""

    estimated: FloatArray
    realised: FloatArray
    error: FloatArray
    floor: FloatArray


class Timeline:
    """Windows and cohorts of one model with one reference."""

    def __init__(self, identity: int) -> None:
        """``identity`` is what estimates and figures rest on: what was kept of another one is not gone on with."""
        self.windows: tuple[Window, ...] = ()
        self.truths: Mapping[int, Truth] = {}
        self.old: tuple[Truth, ...] = ()
        """Those of cohorts before these."""
        self.past: Mapping[str, Past] = {}
        self.excess: Mapping[str, float] = {}
        """What estimates to come take on, by metric."""
        self._identity = identity
        self._turn = 0

    def estimated(self, told: Mapping[str, Told]) -> bool:
        """Keep the newest windows; whether there are any."""
        known = {one.stream: one.end for one in self.windows}
        new = [_window(stream, one) for stream, one in told.items() if one.end > known.get(stream, -math.inf)]
        if new:
            self.windows = _thinned(sorted((*self.windows, *new), key=lambda one: one.end))
        return bool(new)

    def labelled(self, realised: Realised, cohorts: Completeness, width: float) -> bool:
        """Keep the figures of complete cohorts: new ones, those with more labels, and by turns all for corrections.

        Whether anything is new.
        """
        followed = set(cohorts.number.tolist())
        left = [one for number, one in self.truths.items() if number not in followed]
        whole = ~np.isin(cohorts.number, list(realised.partial))
        done = np.flatnonzero(cohorts.complete & (cohorts.labelled > 0) & whole)
        held = {number: self.truths[number] for number in cohorts.number[done].tolist() if number in self.truths}
        new = len(held) < len(self.truths)
        for i in self._due(held, cohorts, done)[:_AT_ONCE]:
            number, start = int(cohorts.number[i]), float(cohorts.start[i])
            made = Truth(start, start + width, int(cohorts.labelled[i]), realised.figures((number,)))
            new |= repr(made) != repr(held.get(number))
            held[number] = made
        self.truths = dict(sorted(held.items()))
        self.old = _merged((*self.old, *left))
        return new

    def reconcile(self, width: float) -> None:
        """What estimates were worth, with cohorts of so many seconds."""
        found = {name: past(*pairs) for name, pairs in pairs_of(self.windows, self.truths, width).items()}
        self.past = {name: one for name, one in found.items() if one.n}
        self.excess = {
            name: one.excess for name, one in self.past.items() if one.n >= LEAST and one.log_p_excess < LEVEL
        }

    def state(self) -> bytes:
        """Everything, for a checkpoint."""
        return json.dumps(
            {
                "identity": self._identity,
                "windows": [[*one[:3], _plain(one.figures)] for one in self.windows],
                "truths": [[number, *one[:3], _plain(one.figures)] for number, one in self.truths.items()],
                "old": [[*one[:3], _plain(one.figures)] for one in self.old],
            }
        ).encode()

    def restore(self, state: bytes, width: float) -> None:
        """Inverse of `state`, unless it rests on something else."""
        kept = json.loads(state)
        if kept["identity"] != self._identity:
            return
        self.windows = tuple(
            Window(stream, start, end, _figures(given)) for stream, start, end, given in kept["windows"]
        )
        self.truths = {
            number: Truth(start, end, labelled, _figures(given))
            for number, start, end, labelled, given in kept["truths"]
        }
        self.old = tuple(Truth(start, end, count, _figures(given)) for start, end, count, given in kept["old"])
        self.reconcile(width)

    def _due(self, held: Mapping[int, Truth], cohorts: Completeness, done: IntArray) -> list[int]:
        """Cohorts whose figures are to be made: the newest that have changed, and one by turns."""
        due = [i for i in done[::-1].tolist() if _count(held, int(cohorts.number[i])) != int(cohorts.labelled[i])]
        if len(done):
            self._turn += 1
            due.insert(_AT_ONCE - 1, int(done[self._turn % len(done)]))
        return due


def pairs_of(windows: Sequence[Window], truths: Mapping[int, Truth], width: float) -> dict[str, Pairs]:
    """Of each metric the newest stretches of time that are estimated and whose labels are there, none in two of them.

    A stretch is one cohort, with all windows whose middle lies in it, or all cohorts that a longer window spans.
    """
    groups: dict[tuple[int, int], list[Window]] = {}
    for one in windows:
        groups.setdefault(_stretch(one, width), []).append(one)
    apart: list[tuple[int, int]] = []
    for first, end in sorted(groups, key=lambda one: (one[1], one[0])):
        if (not apart or first >= apart[-1][1]) and all(number in truths for number in range(first, end)):
            apart.append((first, end))
    names = list(windows[0].figures) if apart else []
    pairs = [
        (*_estimated(groups[one], names), *_realised([truths[number] for number in range(*one)], names))
        for one in apart[-RECENT:]
    ]
    estimated, error, realised, floor = (
        (np.array(column).T for column in zip(*pairs, strict=True)) if pairs else ((),) * 4
    )
    return {name: Pairs(*one) for name, *one in zip(names, estimated, realised, error, floor, strict=True)}


def _stretch(window: Window, width: float) -> tuple[int, int]:
    """First cohort, and the one after the last."""
    if window.end - window.start < width:
        first = math.floor(window.middle / width)
        return first, first + 1
    first = round(window.start / width)
    return first, max(round(window.end / width), first + 1)


def _estimated(windows: Sequence[Window], names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Values and errors by metric: a version counts by its rows a second; errors of one reference go together."""
    streams: dict[str, list[Window]] = {}
    for one in windows:
        streams.setdefault(one.stream, []).append(one)
    means = [np.mean([_columns(one.figures, names) for one in some], axis=0) for some in streams.values()]
    seconds = [max(np.mean([one.end - one.start for one in some]), 1e-3) for some in streams.values()]
    rates = np.array([mean[2].max(initial=0.0) / span for mean, span in zip(means, seconds, strict=True)])
    whole = np.average(means, axis=0, weights=rates if rates.sum() > 0 else None)
    return whole[0], whole[1]


def _realised(truths: Sequence[Truth], names: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Values and errors by metric: a cohort counts by its labels."""
    value, error, rows = np.moveaxis(np.array([_columns(one.figures, names) for one in truths]), 1, 0)
    weight = rows / np.maximum(rows.sum(axis=0), 1)
    return (weight * value).sum(axis=0), np.sqrt(np.square(weight * error).sum(axis=0))


def _columns(figures: Mapping[str, Figure], names: Sequence[str]) -> FloatArray:
    """Values, errors and rows of metrics, ``(3, m)``."""
    nothing = Figure("", math.nan, math.nan, math.nan, math.nan, 0)
    found = (figures.get(name, nothing) for name in names)
    return np.array([(one.value, one.error, one.n) for one in found], np.float64).T


def _window(stream: str, told: Told) -> Window:
    figures = {
        name: one._replace(error=math.sqrt(max(one.error**2 - told.excess.get(name, 0.0) ** 2, 0.0)))
        for name, one in told.estimate.figures.items()
    }
    return Window(stream, told.start, told.end, figures)


def _thinned(windows: Sequence[Window]) -> tuple[Window, ...]:
    """At most `MOST`: one goes whose neighbours of its version are closest, never a version's newest."""
    kept = list(windows)
    while len(kept) > MOST:
        gaps = {}
        before: dict[str, list[int]] = {}
        for place, one in enumerate(kept):
            seen = before.setdefault(one.stream, [])
            if seen:
                gaps[seen[-1]] = one.middle - (kept[seen[-2]].middle if len(seen) > 1 else -math.inf)
            seen.append(place)
        kept.pop(min(gaps, key=gaps.__getitem__) if gaps and min(gaps.values()) < math.inf else 0)
    return tuple(kept)


def _merged(old: tuple[Truth, ...]) -> tuple[Truth, ...]:
    """At most `MOST_OLD`, in order: of more, the two neighbours that are the shortest together are made one."""
    kept = list(old)
    while len(kept) > MOST_OLD:
        spans = [after.end - one.start for one, after in pairwise(kept)]
        place = spans.index(min(spans))
        kept[place : place + 2] = [_both(kept[place], kept[place + 1])]
    return tuple(kept)


def _both(one: Truth, other: Truth) -> Truth:
    """Two stretches as one; its figures are their means, by labels."""
    figures = {}
    for name in one.figures.keys() & other.figures.keys():
        a, b = one.figures[name], other.figures[name]
        share = a.n / max(a.n + b.n, 1)
        value, error = share * a.value + (1 - share) * b.value, math.hypot(share * a.error, (1 - share) * b.error)
        figures[name] = Figure(name, value, value - WIDE * error, value + WIDE * error, error, a.n + b.n)
    return Truth(one.start, other.end, one.labelled + other.labelled, figures)


def _count(truths: Mapping[int, Truth], number: int) -> int:
    return truths[number].labelled if number in truths else -1


def _plain(figures: Mapping[str, Figure]) -> list[Any]:
    return [list(one) for one in figures.values()]


def _figures(plain: Iterable[Sequence[Any]]) -> dict[str, Figure]:
    return {one[0]: Figure(*one) for one in plain}
