"""What a model said of rows, in numbers that can be kept until their labels come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types as at

from detectors.types import FloatArray, IntArray, SingleArray
from monitor import columns
from monitor.decode import labels_of
from monitor.outcomes.ids import Hasher
from monitor.outcomes.truths import class_of

MOST_IN_SETS: Final = 63
"""Sets of more classes are not kept."""
_GIVEN: Final = np.uint64(1 << MOST_IN_SETS)
"""The bit of a set's number that says that there is one."""
_LISTS: Final = (at.is_list, at.is_large_list, at.is_fixed_size_list)
_HASHER: Final = Hasher(b"driftwarden queries")


class Said(NamedTuple):
    """Answers ``(n,)``: class or number, NaN where there is none; None for what the log does not carry.

    ``score`` of class 1 or by which rows are ranked, ``chances (n, k)`` of all classes, ``low`` and ``high`` ends of an
    interval, ``sets`` of classes bit by bit (0: no set), ``query`` that rows are ranked for.
    """

    prediction: FloatArray
    score: FloatArray | None = None
    chances: SingleArray | None = None
    low: FloatArray | None = None
    high: FloatArray | None = None
    sets: NDArray[np.uint64] | None = None
    query: IntArray | None = None

    def rows(self, index: IntArray) -> Said:
        """Some of them."""
        return Said(*(None if one is None else one[index] for one in self))  # type: ignore[arg-type]

    def beside(self, more: Said) -> Said:
        """These and more."""
        pairs = zip(self, more, strict=True)
        parts = (None if one is None or other is None else np.concatenate([one, other]) for one, other in pairs)
        return Said(*parts)  # type: ignore[arg-type]

    @property
    def kept(self) -> dict[str, NDArray[Any]]:
        """By name, without what there is not."""
        return {name: one for name, one in self._asdict().items() if one is not None}


def sets_of(column: pa.Array | None, codes: Mapping[str, int], rows: int) -> NDArray[np.uint64]:
    """Sets of classes from a column of lists of their names; a class that nobody knows is in none."""
    found = np.zeros(rows, np.uint64)
    column = None if column is None else columns.unwrap(column)
    if column is None or not any(test(column.type) for test in _LISTS):
        return found
    found[column.is_valid().to_numpy(zero_copy_only=False)] = _GIVEN
    names = labels_of(pc.list_flatten(column))
    bits = np.array([_bit(class_of(name, codes)) for name in names.values] + [0], np.uint64)
    np.bitwise_or.at(found, pc.list_parent_indices(column).to_numpy(), bits[names.codes])
    return found


def members(sets: NDArray[np.uint64], k: int) -> NDArray[np.int8]:
    """Sets as ``(n, k)``: 1 for what is in it, -1 in the rows that have none."""
    held = (sets[:, None] >> np.arange(k, dtype=np.uint64) & np.uint64(1)).astype(np.int8)
    held[sets < _GIVEN] = -1
    return held


def queries_of(column: pa.Array | None, rows: int) -> IntArray:
    """Queries as numbers; rows without one are queries of their own."""
    if column is None:
        return np.arange(rows, dtype=np.int64)
    ids = _HASHER.ids(column)
    found: IntArray = ids.keys[:, 0].view(np.int64).copy()
    found[~ids.known] = np.flatnonzero(~ids.known)
    return found


def _bit(code: float) -> int:
    return 0 if np.isnan(code) else 1 << int(code)
