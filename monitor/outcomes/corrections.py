"""Labels of one id that follow each other: which is the first, says it again, corrects, or is out of date.

Of two labels the one with the later time counts, of two with the same time the one that came later. All ids of a batch
at once, as if the labels came one by one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray
from monitor.outcomes.table import Keys

FIRST: Final = 0
REPEATED: Final = 1
CORRECTED: Final = 2
STALE: Final = 3


class Groups(NamedTuple):
    """Rows of a batch by their id: ``order (n,)`` sorts them, by id and then as they came.

    ``of (n,)`` is the group of each row in that order, ``first (g,)`` where in it each group begins.
    """

    order: IntArray
    of: IntArray
    first: IntArray


class Held(NamedTuple):
    """The label of each id ``(g,)``; ``truth`` is NaN where ``known`` is not."""

    known: NDArray[np.bool_]
    time: FloatArray
    truth: FloatArray


def groups(keys: Keys) -> Groups:
    """Rows with the same id."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    new = np.ones(len(keys), bool)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return Groups(order, np.cumsum(new) - 1, np.flatnonzero(new))


def follow(group: Groups, time: FloatArray, truth: FloatArray, held: Held) -> tuple[IntArray, Held]:
    """What each label is ``(n,)``, and what each id's label is afterwards.

    The held label of each id stands before those that follow as a row of its own; of times only the ranks count, below
    all of them that of an id without a label.
    """
    n, g = len(time), len(group.first)
    mine = np.arange(n) + group.of + 1
    before = group.first + np.arange(g)
    owner = np.empty(n + g, np.int64)
    times, truths = np.empty(n + g), np.empty(n + g)
    for where, whose, when, what in (
        (mine, group.of, time[group.order], truth[group.order]),
        (before, np.arange(g), held.time, held.truth),
    ):
        owner[where], times[where], truths[where] = whose, when, what
    rank = np.unique(times, return_inverse=True)[1] + 1
    rank[before[~held.known]] = 0
    height = owner * (n + g + 1) + rank
    highest = np.maximum.accumulate(height)
    counts = np.ones(n + g, bool)  # it was the id's label once
    counts[mine] = height[mine] >= highest[mine - 1]
    latest = np.maximum.accumulate(np.where(counts, np.arange(n + g), 0))
    earlier = latest[mine - 1]
    again = truths[mine] == truths[earlier]
    first = ~held.known[group.of] & (earlier == before[group.of])
    kind = np.where(counts[mine], CORRECTED, STALE)
    kind[again] = REPEATED
    kind[first] = FIRST
    out = np.empty(n, np.int64)
    out[group.order] = kind
    last = latest[np.append(before, n + g)[1:] - 1]
    return out, Held(rank[last] > 0, times[last], truths[last])
