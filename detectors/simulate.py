"""References and streams for power tests, calibration and drills: blocks in, blocks out, all randomness from ``rng``.

`reference_of` measures an in-memory block exactly as ``driftwarden fit`` measures a file.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors import parts
from detectors.grid import MAX_CATEGORIES, Grid, bins_of_cells, centre_and_scale
from detectors.sequential.dependence import autocorrelation_time, base_rows
from detectors.types import Block, FloatArray, Reference


def block_of(numeric: FloatArray, codes: NDArray[np.int32] | None = None) -> Block:
    """Put ``(n, p)`` values and ``(n, q)`` codes into a block."""
    n, p = numeric.shape
    codes = np.zeros((n, 0), np.int32) if codes is None else codes
    return Block(
        np.asfortranarray(numeric, np.float64),
        np.asfortranarray(codes, np.int32),
        np.zeros(p + codes.shape[1], np.int64),
    )


def take(block: Block, rows: NDArray[np.int64] | slice) -> Block:
    """Rows of a block, in the given order."""
    return block_of(block.numeric[rows], block.codes[rows])


def reference_of(block: Block, *, labels: Sequence[Sequence[str]] | None = None, dependent: bool = True) -> Reference:
    """Measure a block as reference. Codes are taken as slots in their order; ``dependent`` measures tau as well."""
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
    )
    summary = parts.summarise(grid, block)
    independent = np.ones(len(grid.names))
    tau, tau_missing = independent, independent
    if dependent:
        size = base_rows(block.rows)
        pieces = (take(block, slice(i, i + size)) for i in range(0, block.rows - size + 1, size))
        tau, tau_missing = autocorrelation_time(grid, summary, (parts.summarise(grid, piece) for piece in pieces))
    return Reference(grid, summary, tau, tau_missing)
