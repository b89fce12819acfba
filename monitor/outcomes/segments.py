"""The segments whose errors are counted apart: those that the reference shows most often."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.types import CodeArray, IntArray
from monitor.schema import Plan

MOST: Final = 16
"""Segments whose errors are judged by themselves."""


class Segments(NamedTuple):
    """Their names, and into how many strata the hours divide each."""

    names: tuple[str, ...] = ()
    cells: int = 1

    def of(self, stratum: CodeArray | IntArray | None) -> IntArray | None:
        """The segment of each row ``(n,)`` from 0, -1 for none; None where there are no segments."""
        if stratum is None or not self.names:
            return None
        segment = stratum.astype(np.int64) // self.cells
        return np.where((stratum >= 0) & (segment < len(self.names)), segment, -1)


def segments_of(plan: Plan) -> Segments:
    """Those of a reference, the most frequent first."""
    strata = plan.strata
    if strata is None or not strata.columns:
        return Segments()
    named = (zip(strata.columns, values, strict=True) for values in strata.combinations[:MOST])
    return Segments(tuple(", ".join(f"{column}={value}" for column, value in one) for one in named), strata.cells)
