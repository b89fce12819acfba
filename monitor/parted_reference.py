"""The reference by segment and by stratum: one more pass over its rows, where there are segments or a season."""

from __future__ import annotations

import numpy as np

from detectors.grid import Grid
from detectors.parts import merge, summarise, zero
from detectors.strata import Strata
from detectors.types import Block, Summary
from monitor.decode import Decoder, Labels
from monitor.fitted import Segments
from monitor.passes import Batches, decoded, taken, together
from monitor.schema import Plan

MOST_SEGMENTS = 1000
"""Values of a segment column that get a reference of their own, in the order in which they are met."""
SEGMENT_ROWS = 50
"""Fewer reference rows than this are no reference: the segment's rows are judged in the whole only."""
_TOGETHER = 1 << 16
"""Rows parted at a time, so that a stratum's rows are summed up together."""


def parted(batches: Batches, decoder: Decoder, plan: Plan, grid: Grid) -> tuple[Segments, Strata | None]:
    """Summaries of each segment value's rows, and of each stratum's."""
    found: dict[str, dict[str, Summary]] = {}
    strata = [zero(grid)] * len(grid.strata)
    held: list[Block] = []
    for piece in decoded(batches, decoder, len(grid.names)):
        for column, labels in piece.segments.items():
            _into_segments(found.setdefault(column, {}), labels, piece.block, grid)
        held.append(piece.block)
        if sum(block.rows for block in held) >= _TOGETHER:
            _into_strata(strata, held, grid)
            held = []
    _into_strata(strata, held, grid)
    segments = {
        column: {value: one for value, one in values.items() if one.rows >= SEGMENT_ROWS}
        for column, values in found.items()
    }
    if plan.strata is None:
        return segments, None
    free = np.isin(grid.names, plan.strata.columns)
    return segments, Strata(tuple(strata), plan.strata.parents, free, plan.strata.hours)


def _into_segments(values: dict[str, Summary], labels: Labels, block: Block, grid: Grid) -> None:
    """A segment is compared with itself: with rows of its own value."""
    for code in np.unique(labels.codes[labels.codes >= 0]):
        value = labels.values[code]
        if value in values or len(values) < MOST_SEGMENTS:
            part = taken(block, np.flatnonzero(labels.codes == code))
            values[value] = merge(values.get(value, zero(grid)), summarise(grid, part))


def _into_strata(strata: list[Summary], held: list[Block], grid: Grid) -> None:
    block = together(held) if held else None
    if block is None or block.strata is None:
        return
    order = np.argsort(block.strata, kind="stable")
    codes, first = np.unique(block.strata[order], return_index=True)
    block = taken(block, order)
    for code, start, end in zip(codes, first, [*first[1:], block.rows], strict=True):
        strata[code] = merge(strata[code], summarise(grid, taken(block, slice(start, end))))
