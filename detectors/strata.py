"""Strata: the reference by hour of the week and by declared segment, so that a changed mix is not taken for drift."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.types import IntArray, Summary


@dataclass(frozen=True)
class Strata:
    """The reference's rows by stratum.

    ``parts (c,)`` are the summaries of each stratum's rows on the reference's grid, in the order of ``Grid.strata``.
    ``parent (c,)`` numbers the wider groups to which sparse strata shrink. ``free (u,)`` marks the units that are
    compared without strata: those that make the strata, whose change is the change of the mix.
    """

    parts: tuple[Summary, ...]
    parent: IntArray
    free: NDArray[np.bool_]
