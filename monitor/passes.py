"""What the passes over a reference share: rows decoded some at a time, and rows of a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.types import Block, IntArray
from monitor.decode import Decoded, Decoder

Batches = Callable[[], Iterator[pa.RecordBatch]]
MATRIX_VALUES = 1 << 22
"""Values decoded at a time: bounds memory for tables of thousands of columns."""


def decoded(batches: Batches, decoder: Decoder, columns: int) -> Iterator[Decoded]:
    """All rows, in pieces that are small enough for so many columns."""
    rows = max(1, MATRIX_VALUES // max(columns, 1))
    for batch in batches():
        for start in range(0, batch.num_rows, rows):
            yield decoder.decode(batch.slice(start, rows))


def taken(block: Block, rows: slice | IntArray | NDArray[np.bool_]) -> Block:
    """Some rows of a block with all that belongs to a row; faults are left out."""
    return Block(
        block.numeric[rows],
        block.codes[rows],
        np.zeros_like(block.faults),
        None if block.time is None else block.time[rows],
        tuple(vectors[rows] for vectors in block.vectors),
        None if block.strata is None else block.strata[rows],
    )


def together(blocks: list[Block]) -> Block:
    """One block with the rows of all, column-major; faults are left out."""
    times = [block.time for block in blocks if block.time is not None]
    strata = [block.strata for block in blocks if block.strata is not None]
    return Block(
        np.asfortranarray(np.concatenate([block.numeric for block in blocks])),
        np.asfortranarray(np.concatenate([block.codes for block in blocks])),
        np.zeros_like(blocks[0].faults),
        np.concatenate(times) if times else None,
        tuple(np.concatenate(vectors) for vectors in zip(*(block.vectors for block in blocks), strict=True)),
        np.concatenate(strata) if strata else None,
    )
