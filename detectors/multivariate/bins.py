"""Bins of a window and of its reference: groups of equal size of neighbouring rows, the unit that permutations move.

The reference sample is cut into blocks of whole runs of one stratum. Every second block of a stratum belongs to half B,
which is tested against; the others make half A, from which landmarks, bandwidths and scales are learnt. What is learnt
on A may therefore depend on A in any way: window and half B stay exchangeable. Blocks are merged to bins as large as
the window allows, so that few bins carry all rows; window bins hold as many rows as reference bins.

Source: Domingo-Enrich, Dwivedi and Mackey 2025 (binned permutations).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import IntArray, Sample, View

TAUS = 4.0
"""A bin holds at least so many autocorrelation times: then bins are all but exchangeable (methods.md 6)."""
MOST_BLOCKS = 1000
"""Blocks of half B at most: what is stored a block stays small."""
FEWEST_WINDOW_BINS = 8
FEWEST_REFERENCE_BINS = 4
WANTED_REFERENCE_BINS = 40


class Blocks(NamedTuple):
    """Rows ``(s, q)`` of a sample that lie together in time, and the stratum ``(s,)`` of each block."""

    rows: IntArray
    strata: IntArray


class Bins(NamedTuple):
    """Equal groups of rows: ``window_rows (s_w, q)`` of the sample, ``reference_rows (s_r, q)`` of ``view.sample``.

    ``merged (s_r, k)`` are the blocks of half B (rows of `half_b`) that make up each reference bin. Strata are ``(s,)``
    codes, 0 without strata. Only strata that both sides have.
    """

    window_rows: IntArray
    reference_rows: IntArray
    window_strata: IntArray
    reference_strata: IntArray
    merged: IntArray

    @property
    def few(self) -> bool:
        """Whether there are too few bins for a test."""
        return len(self.window_rows) < FEWEST_WINDOW_BINS or len(self.reference_rows) < FEWEST_REFERENCE_BINS

    @property
    def n(self) -> int:
        """Rows of the window that are tested."""
        return int(self.window_rows.size)


def half_a(view: View) -> IntArray:
    """Rows of ``view.sample`` to learn from: they are never tested."""
    blocks = _reference(view)
    mine: IntArray = blocks.rows[_place(blocks.strata) % 2 == 1].reshape(-1)
    return mine


def half_b(view: View) -> Blocks:
    """Blocks of ``view.sample`` to test against."""
    blocks = _reference(view)
    mine = _place(blocks.strata) % 2 == 0
    return Blocks(blocks.rows[mine], blocks.strata[mine])


def bins_of(view: View, sample: Sample, *, wanted: int = 20) -> Bins:
    """Bins of a window and of half B: ``wanted`` or more window bins, of as many rows as that allows.

    Rows of incomplete runs and of strata that the reference does not have are left out.
    """
    base = half_b(view)
    size = base.rows.shape[1]
    order, strata = _ordered(sample, view.run)
    number = 1 + max(base.strata.max(initial=0), strata.max(initial=0))
    here, there = np.bincount(strata, minlength=number), np.bincount(base.strata, minlength=number)
    k = _merge(here, there, size, wanted)
    usable = there >= k
    window = _cut(order, strata, k * size)
    mine = usable[window.strata]
    merged = _cut(np.arange(len(base.strata)), base.strata, k)
    theirs = (here >= k * size)[merged.strata]
    blocks = merged.rows[theirs]
    rows = base.rows[blocks].reshape(len(blocks), k * size)
    return Bins(window.rows[mine], rows, window.strata[mine], merged.strata[theirs], blocks)


def thinned(bins: Bins, run: int, window: int, reference: int, rng: np.random.Generator) -> Bins:
    """Fewer and smaller bins: about so many rows a side at most, in whole runs; ``merged`` no longer applies."""
    most = min(max(window // run, FEWEST_WINDOW_BINS), WANTED_REFERENCE_BINS)
    mine = _some(len(bins.window_rows), most, rng)
    size = min(bins.window_rows.shape[1], max(window // max(len(mine), 1) // run * run, run))
    near = np.flatnonzero(np.isin(bins.reference_strata, bins.window_strata[mine]))
    theirs = near[_some(len(near), max(reference // size, FEWEST_REFERENCE_BINS), rng)]
    return Bins(
        bins.window_rows[mine, :size],
        bins.reference_rows[theirs, :size],
        bins.window_strata[mine],
        bins.reference_strata[theirs],
        np.zeros((len(theirs), 0), np.int64),
    )


def _some(number: int, most: int, rng: np.random.Generator) -> IntArray:
    """At most so many of ``number`` places, in order."""
    if number <= most:
        return np.arange(number)
    chosen: IntArray = np.sort(rng.choice(number, most, replace=False))
    return chosen


def _merge(here: IntArray, there: IntArray, size: int, wanted: int) -> int:
    """Most blocks a bin such that both sides keep the bins that they need; 1 where they cannot."""
    k = np.arange(1, max(int(here.sum()) // (wanted * size), 1) + 1)
    k = k[k <= max(int(there.max(initial=0)), 1)]
    window, reference = here // (k[:, None] * size), there // k[:, None]
    inside = (np.where(reference > 0, window, 0)).sum(axis=1)
    outside = (np.where(window > 0, reference, 0)).sum(axis=1)
    fine = np.flatnonzero((inside >= wanted) & (outside >= WANTED_REFERENCE_BINS))
    return int(k[fine[-1]]) if len(fine) else 1


def _reference(view: View) -> Blocks:
    order, strata = _ordered(view.sample, view.run)
    most = max(1, -(-len(order) // (2 * MOST_BLOCKS * view.run)), math.ceil(TAUS * view.tau / view.run))
    return _cut(order, strata, most * view.run)


def _ordered(sample: Sample, run: int) -> tuple[IntArray, IntArray]:
    """Rows of complete runs in known strata, by stratum and then time, and their strata."""
    _, member, count = np.unique(sample.run, return_inverse=True, return_counts=True)
    keep = np.flatnonzero((count[member] >= run) & (sample.strata >= 0))
    keep = keep[np.argsort(sample.strata[keep], kind="stable")]
    return keep.astype(np.int64), sample.strata[keep].astype(np.int64)


def _cut(order: IntArray, strata: IntArray, size: int) -> Blocks:
    """Cut each stratum's part of ``order`` into blocks of ``size``; what is left over is left out."""
    count = np.bincount(strata)
    place = _place(strata)
    full: NDArray[np.bool_] = place < (count[strata] // size) * size
    return Blocks(order[full].reshape(-1, size), strata[full][::size])


def _place(strata: IntArray) -> IntArray:
    """Position of each entry within its stratum; ``strata`` ascends."""
    place: IntArray = np.arange(len(strata)) - np.searchsorted(strata, strata, side="left")
    return place
