"""References and streams for power tests, calibration and drills: blocks in, blocks out, all randomness from ``rng``.

`reference_of` measures an in-memory block exactly as ``driftwarden fit`` measures a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors import parts
from detectors.grid import MAX_CATEGORIES, Grid, bins_of_cells, centre_and_scale
from detectors.sequential.dependence import autocorrelation_time, base_rows
from detectors.strata import Strata
from detectors.types import MISSING_CODE, Block, FloatArray, Reference


def block_of(numeric: FloatArray, codes: NDArray[np.int32] | None = None) -> Block:
    """Put ``(n, p)`` values and ``(n, q)`` codes into a block."""
    n, p = numeric.shape
    codes = np.zeros((n, 0), np.int32) if codes is None else codes
    return Block(
        np.asfortranarray(numeric, np.float64),
        np.asfortranarray(codes, np.int32),
        np.zeros(p + codes.shape[1], np.int64),
    )


def take(block: Block, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Block:
    """Rows of a block, in the given order, with all that belongs to a row; faults do not."""
    return Block(
        np.asfortranarray(block.numeric[rows]),
        np.asfortranarray(block.codes[rows]),
        np.zeros_like(block.faults),
        None if block.time is None else block.time[rows],
        tuple(vectors[rows] for vectors in block.vectors),
        None if block.strata is None else block.strata[rows],
    )


class Layout(NamedTuple):
    """How a block's strata hang together: see `detectors.strata.Strata`."""

    parent: tuple[int, ...]
    free: tuple[int, ...] = ()
    cell: tuple[int, ...] | None = None


def reference_of(
    block: Block,
    *,
    labels: Sequence[Sequence[str]] | None = None,
    dependent: bool = True,
    layout: Layout | None = None,
) -> Reference:
    """Measure a block as reference. Codes are taken as slots in their order; ``dependent`` measures tau as well.

    ``layout`` makes strata of ``block.strata``; without it they are left out of account.
    """
    centre, scale = centre_and_scale(block.numeric)
    counts, _, _ = parts.count_cells(block.numeric.T, centre, scale)
    bins = bins_of_cells(counts)
    q = block.codes.shape[1]
    if labels is None:
        highest = block.codes.max(axis=0, initial=-1) if q else np.zeros(0, int)
        labels = [[str(i) for i in range(min(int(top) + 1, MAX_CATEGORIES))] for top in highest]
    grid = Grid(
        numeric_names=tuple(f"x{j}" for j in range(len(centre))),
        code_names=tuple(f"c{j}" for j in range(q)),
        centre=centre,
        scale=scale,
        lut=bins.lut,
        edges=centre[:, None] + scale[:, None] * bins.edges,
        centres=centre[:, None] + scale[:, None] * bins.centres,
        used=bins.used,
        labels=tuple(tuple(names) for names in labels),
        open_vocabulary=np.zeros(q, bool),
        ordered=np.zeros(q, bool),
        vectors=tuple((f"v{i}", vectors.shape[1]) for i, vectors in enumerate(block.vectors)),
        strata=() if layout is None else tuple(f"s{i}" for i in range(len(layout.parent))),
    )
    if layout is None:
        block = dataclasses.replace(block, strata=None)
    summary = parts.summarise(grid, block)
    strata = None if layout is None else _strata(grid, block, layout)
    independent = np.ones(len(grid.names))
    tau, tau_missing = independent, independent
    if dependent:
        size = base_rows(block.rows)
        pieces = (take(block, slice(i, i + size)) for i in range(0, block.rows - size + 1, size))
        batches = (parts.summarise(grid, piece) for piece in pieces)
        tau, tau_missing = autocorrelation_time(grid, summary, batches, strata)
    return Reference(grid, summary, tau, tau_missing, strata)


def _strata(grid: Grid, block: Block, layout: Layout) -> Strata:
    if block.strata is None:
        raise ValueError("`block` has no strata; set `strata` or leave `layout` out")
    pieces = [parts.summarise(grid, take(block, block.strata == code)) for code in range(len(layout.parent))]
    return Strata(
        tuple(pieces),
        np.array(layout.parent),
        np.isin(np.arange(len(grid.names)), layout.free),
        None if layout.cell is None else np.array(layout.cell),
    )


def moved(block: Block, unit: int, by: float) -> Block:
    """Add ``by`` to a numeric column: a mean shift."""
    return _with_values(block, unit, block.numeric[:, unit] + by)


def stretched(block: Block, unit: int, by: float) -> Block:
    """Multiply the distances of a numeric column's values from their mean: a scale shift."""
    x = block.numeric[:, unit]
    middle = np.nanmean(x)
    return _with_values(block, unit, middle + by * (x - middle))


def replaced(block: Block, unit: int, share: float, value: float, rng: np.random.Generator) -> Block:
    """Set a random share of a numeric column to ``value``: a spike, outliers, infinities or missing values (NaN)."""
    return _with_values(block, unit, np.where(rng.random(block.rows) < share, value, block.numeric[:, unit]))


def recoded(block: Block, unit: int, share: float, code: int, rng: np.random.Generator) -> Block:
    """Set a random share of a categorical column to ``code``: a new mix, new categories or missing values.

    ``unit`` counts numeric columns first, as everywhere.
    """
    column = unit - block.numeric.shape[1]
    codes = block.codes.copy(order="F")
    codes[rng.random(block.rows) < share, column] = code
    return dataclasses.replace(block, codes=codes)


def mistyped(block: Block, unit: int, share: float, rng: np.random.Generator) -> Block:
    """Turn a random share of a column into values of the wrong type: missing, and counted as faults."""
    hit = rng.random(block.rows) < share
    faults = block.faults.copy()
    faults[unit] += int(hit.sum())
    p = block.numeric.shape[1]
    if unit < p:
        block = _with_values(block, unit, np.where(hit, np.nan, block.numeric[:, unit]))
    else:
        codes = block.codes.copy(order="F")
        codes[hit, unit - p] = MISSING_CODE
        block = dataclasses.replace(block, codes=codes)
    return dataclasses.replace(block, faults=faults)


def reweighted(block: Block, far: NDArray[np.bool_], odds: float, rng: np.random.Generator) -> Block:
    """Draw as many rows again, in their order, the marked ones ``odds`` times as often as the others.

    ``far (n,)`` marks a label or a segment: its share changes, and what its rows say does not.
    """
    weight = np.where(far, odds, 1.0)
    drawn = np.searchsorted(np.cumsum(weight), rng.random(block.rows) * weight.sum(), side="right")
    return take(block, np.sort(np.minimum(drawn, block.rows - 1)))


def _with_values(block: Block, column: int, values: FloatArray) -> Block:
    numeric = block.numeric.copy(order="F")
    numeric[:, column] = values
    return dataclasses.replace(block, numeric=numeric)
