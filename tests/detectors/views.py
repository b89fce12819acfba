"""Views and samples made from arrays, for the tests of the joint detectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.types import Block, IntArray, Sample, SingleArray, View


@dataclass(frozen=True)
class Plain:
    """Encodes a block's numeric columns as they are."""

    unit: IntArray

    def encode(self, block: Block) -> SingleArray:
        return block.numeric.astype(np.float32)


def sample_of(rows: NDArray[np.floating], run: int = 10, strata: ArrayLike | None = None) -> Sample:
    """Rows in the order of the stream, in runs of ``run``; the last one may be incomplete."""
    codes = np.zeros(len(rows), np.int32) if strata is None else np.asarray(strata, np.int32)
    return Sample(np.asarray(rows, np.float32), np.arange(len(rows)) // run, codes)


def view_of(
    rows: NDArray[np.floating],
    run: int = 10,
    strata: ArrayLike | None = None,
    name: str = "columns",
    tau: float = 1.0,
) -> View:
    """A view whose dimensions are monitored columns 0, 1, ...; the reference's incomplete last run is left out."""
    whole = len(rows) // run * run
    codes = None if strata is None else np.asarray(strata)[:whole]
    d = rows.shape[1]
    return View(name, Plain(np.arange(d)), sample_of(rows[:whole], run, codes), run, tuple(range(d)), tau)
