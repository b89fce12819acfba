"""The yes-or-no questions that the sequential layer asks of every row.

A numeric column is asked "is the value at or below the cut?" at cuts near j/16 of the reference. A categorical column
is asked "is it this category?" for its most frequent ones and "is it among the first ones?" at cuts of its slot order
(numeric order for integer codes, falling frequency for others). The largest change of such a probability is the KS
distance at the cuts: the number that the user states as the smallest shift that matters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.grid import SLOTS, Grid
from detectors.strata import Mixture, Strata
from detectors.strata import mixture as mixed
from detectors.types import FloatArray, IntArray, Summary

CUTS = 15
"""Cut points u_j = j/16, j = 1..15."""


class Events(NamedTuple):
    """``k`` questions: the unit of each, where its count lies (see `_laid_out`), and the reference's share of yes."""

    unit: IntArray
    slot: IntArray
    share: FloatArray


def choose(grid: Grid, reference: Summary) -> Events:
    """Pick the events of every unit from the reference's counts; units without usable events get none."""
    p, width = len(grid.numeric_names), reference.codes.shape[1]
    singles, cuts = p * SLOTS, p * SLOTS + reference.codes.size
    rows: list[tuple[int, int, float]] = []
    for j, counts in enumerate(reference.numeric):
        rows += [(j, j * SLOTS + cut, share) for cut, share in _cuts(counts)]
    for j, counts in enumerate(reference.codes):
        slots = len(grid.labels[j]) + 1
        total = max(int(counts.sum()), 1)
        top = np.argsort(-counts[:slots], kind="stable")[:CUTS]
        rows += [(p + j, singles + j * width + int(s), counts[s] / total) for s in top if 0 < counts[s] < total]
        rows += [(p + j, cuts + j * width + cut, share) for cut, share in _cuts(counts[:slots])]
    table = np.array(rows, np.float64).reshape(-1, 3)
    return Events(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2].copy())


def _cuts(counts: IntArray) -> list[tuple[int, float]]:
    """Bins whose cumulative share is nearest to j/16, each once, with that share."""
    total = counts.sum()
    if total == 0:
        return []
    share = np.cumsum(counts) / total
    wanted = np.arange(1, CUTS + 1) / (CUTS + 1)
    nearest = np.unique(np.abs(share[None, :] - wanted[:, None]).argmin(axis=1))
    return [(int(cut), float(share[cut])) for cut in nearest if 0 < share[cut] < 1]


def count(events: Events, summary: Summary) -> tuple[FloatArray, FloatArray]:
    """Rows that say yes, and rows that say anything, ``(k,)`` each."""
    return _laid_out(summary)[events.slot].astype(np.float64), answered(summary)[events.unit]


def answered(summary: Summary) -> FloatArray:
    """Rows with a value, ``(u,)``: those that a column's questions are put to."""
    new = summary.new[len(summary.numeric) :]
    return np.concatenate([summary.numeric.sum(axis=1), summary.codes.sum(axis=1) + new]).astype(np.float64)


def mixture(events: Events, strata: Strata) -> Mixture:
    """What each stratum of the reference answers."""
    yes = np.array([count(events, part)[0] for part in strata.parts])
    asked = np.array([answered(part) for part in strata.parts])
    return mixed(strata, yes, asked, events.unit, yes)


def _laid_out(summary: Summary) -> IntArray:
    """All counts in one row: cumulated bins, categories, cumulated categories."""
    cumulated = [np.cumsum(counts, axis=1).reshape(-1) for counts in (summary.numeric, summary.codes)]
    return np.concatenate([cumulated[0], summary.codes.reshape(-1), cumulated[1]])
