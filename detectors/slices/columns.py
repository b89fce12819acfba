"""The few bins a column that slices are made of, and what slices are called.

A numeric column has up to `BINS` runs of bins of the grid that hold about equally many reference rows, and one for what
is missing or not finite; a categorical one the categories that are frequent in the reference, one for all others, one
for new ones, one for missing ones. All of it comes from the reference, so that a slice has one name for as long as the
reference stands.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.grid import BINS as GRID_BINS
from detectors.grid import Grid
from detectors.types import Block, FloatArray, Summary

Codes = NDArray[np.uint8]

BINS: Final = 8
MOST_CATEGORIES: Final = 24
"""Categories with a bin of their own."""
FREQUENT: Final = 0.005
"""Categories with a smaller share of the reference are among the others."""
MISSING: Final = 0
NEW: Final = 1
OTHERS: Final = 2
OWN: Final = 3


class ColumnsFixed(NamedTuple):
    """``cuts (p, BINS - 1)``, infinite after the last: bin 1 + the number of cuts at or below a value.

    ``group (q, v + 2)`` takes a code + 2 to its bin; ``own (q, MOST_CATEGORIES)`` is the grid's slot that a bin stands
    for, -1 after the last.
    """

    cuts: FloatArray
    group: Codes
    own: NDArray[np.int64]


class Condition(NamedTuple):
    """A column (position in ``Grid.names``) has a bin from ``low`` to ``high``."""

    column: int
    low: int
    high: int


Slice = tuple[Condition, ...]
"""Rows that meet all of the conditions, which are in the order of the columns."""


def fit(grid: Grid, reference: Summary) -> ColumnsFixed:
    """Choose the bins from the reference's counts."""
    cuts = np.full((len(grid.numeric_names), BINS - 1), np.inf)
    for j, counts in enumerate(reference.numeric):
        made = _cuts(counts[1 : GRID_BINS + 1][: grid.used[j]].astype(np.float64), grid.edges[j])
        cuts[j, : len(made)] = made
    group = np.full((len(grid.code_names), grid.slots + 2), OTHERS, np.uint8)
    own = np.full((len(group), MOST_CATEGORIES), -1, np.int64)
    for j, counts in enumerate(reference.codes):
        named = counts[: len(grid.labels[j])]
        order = np.argsort(-named, kind="stable")[:MOST_CATEGORIES]
        chosen = order[named[order] >= max(FREQUENT * reference.rows, 1)]
        own[j, : len(chosen)] = chosen
        group[j, chosen + 2] = OWN + np.arange(len(chosen))
    group[:, 0], group[:, 1] = NEW, MISSING
    return ColumnsFixed(cuts, group, own)


def codes(fixed: ColumnsFixed, block: Block) -> Codes:
    """Bins ``(n, p + q)`` of rows."""
    p = len(fixed.cuts)
    out = np.zeros((block.rows, p + len(fixed.group)), np.uint8, order="F")
    for j, cuts in enumerate(fixed.cuts):
        column = block.numeric[:, j]
        finite = np.isfinite(column)
        out[finite, j] = 1 + np.searchsorted(cuts[np.isfinite(cuts)], column[finite], side="right")
    for j, group in enumerate(fixed.group):
        out[:, p + j] = group[block.codes[:, j] + 2]
    return out


def name(fixed: ColumnsFixed, grid: Grid, group: Slice) -> str:
    """What a slice is called: its conditions in words, in the order of the columns' names; rules alone tell it."""
    said = sorted((grid.names[one.column], _said(fixed, grid, one)) for one in group)
    return " & ".join(f"{column} {rule}" for column, rule in said)


def inside(group: Slice, binned: Codes) -> NDArray[np.bool_]:
    """Which rows ``(n,)`` are in the slice."""
    out = np.ones(len(binned), np.bool_)
    for column, low, high in group:
        out &= (binned[:, column] >= low) & (binned[:, column] <= high)
    return out


def conditions(fixed: ColumnsFixed) -> list[Condition]:
    """All single conditions: runs of neighbouring bins of numeric columns, single bins of categorical ones."""
    out = []
    for j, cuts in enumerate(fixed.cuts):
        last = 1 + int(np.isfinite(cuts).sum())
        runs = [(low, high) for low in range(1, last + 1) for high in range(low, last + 1)]
        out += [Condition(j, *run) for run in [(MISSING, MISSING), *runs]]
    for j, own in enumerate(fixed.own):
        last = OWN + int((own >= 0).sum())
        out += [Condition(len(fixed.cuts) + j, one, one) for one in range(last)]
    return out


def _cuts(counts: FloatArray, edges: FloatArray) -> FloatArray:
    """Edges of the grid that part the reference about evenly ``(at most BINS - 1,)``."""
    total = counts.sum()
    if total <= 0 or len(counts) < 2:
        return np.zeros(0)
    below = np.cumsum(counts)[:-1]
    wanted = total * np.arange(1, BINS) / BINS
    nearest = np.unique(np.abs(below[None, :] - wanted[:, None]).argmin(axis=1))
    return _readable(np.unique(edges[1:][nearest]))


def _readable(cuts: FloatArray) -> FloatArray:
    """Numbers with few digits beside the cuts."""
    wide = (cuts[-1] / 200 - cuts[0] / 200) if len(cuts) > 1 else abs(cuts[0]) / 200
    if not (np.isfinite(wide) and 1e-12 < wide < 1e12):
        return cuts
    return np.unique(np.round(cuts, -int(np.floor(np.log10(wide)))))


def _said(fixed: ColumnsFixed, grid: Grid, one: Condition) -> str:
    if one.low == MISSING:
        return "missing"
    p = len(fixed.cuts)
    if one.column >= p:
        j = one.column - p
        if one.low < OWN:
            return {NEW: "new", OTHERS: "others"}[one.low]
        return f"= {grid.labels[j][fixed.own[j, one.low - OWN]]}"
    cuts = fixed.cuts[one.column]
    low = None if one.low == 1 else f"{cuts[one.low - 2]:.6g}"
    last = 1 + int(np.isfinite(cuts).sum())
    high = None if one.high == last else f"{cuts[one.high - 1]:.6g}"
    if low is None:
        return "present" if high is None else f"< {high}"
    return f">= {low}" if high is None else f"in [{low}, {high})"
