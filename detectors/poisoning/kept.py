"""Putting back what was kept of the parts of `feedback`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def fill(mine: Mapping[str, NDArray[np.generic]], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write ``arrays`` into arrays of the same names and shapes; ValueError, and nothing written, if they differ."""
    for key, array in mine.items():
        if key not in arrays or arrays[key].shape != array.shape:
            raise ValueError(f"feedback state does not fit: {key}")
    for key, array in mine.items():
        array[...] = arrays[key]
