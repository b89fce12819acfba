"""A column of embeddings as a matrix of float32: lists and fixed-size lists of numbers, tensors of one shape.

Nothing here raises on bad values: a vector that is null, of another length, or holds a null or a number that is not
finite is missing as a whole, a row of NaN. Float32 of one length is looked at where Arrow has it, without a copy.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types as at

from detectors.types import SingleArray
from monitor.columns import unwrap
from monitor.schema import is_vector


def lengths(column: pa.Array) -> Counter[int]:
    """How many vectors of a column have which length."""
    column = _flat(column)
    present = len(column) - column.null_count
    if not is_vector(column.type) or not present:
        return Counter()
    if at.is_fixed_size_list(column.type):
        return Counter({int(column.type.list_size): present})
    found = np.diff(column.offsets.to_numpy())[column.is_valid().to_numpy(zero_copy_only=False)]
    return Counter(found.tolist())


def vectors_of(column: pa.Array, length: int) -> SingleArray:
    """The vectors ``(n, length)`` of a column of any type; read-only where Arrow owns them."""
    column = _flat(column)
    if not is_vector(column.type):
        return missing_vectors(len(column), length)
    whole, out = _gathered(column, length)
    lost = ~(np.isfinite(out).all(axis=1) & whole)
    if lost.any():
        out = out if out.flags.writeable else out.copy()
        out[lost] = np.nan
    return out


def missing_vectors(rows: int, length: int) -> SingleArray:
    """Rows without a vector."""
    return np.full((rows, length), np.nan, np.float32)


def _flat(column: pa.Array) -> pa.Array:
    column = unwrap(column)
    return unwrap(column.dictionary.take(column.indices)) if at.is_dictionary(column.type) else column


def _gathered(column: pa.Array, length: int) -> tuple[NDArray[np.bool_], SingleArray]:
    """Which rows hold a vector of the right length, and all rows; those that do not hold one hold anything."""
    n = len(column)
    present = column.is_valid().to_numpy(zero_copy_only=False) if column.null_count else np.ones(n, bool)
    if at.is_fixed_size_list(column.type):
        if column.type.list_size != length:
            return np.zeros(n, bool), np.zeros((n, length), np.float32)
        start = column.offset * length
        return present, _floats(column.values.slice(start, n * length)).reshape(n, length)
    offsets = column.offsets.to_numpy()
    whole = present & (np.diff(offsets) == length)
    if whole.all():
        return whole, _floats(column.values.slice(offsets[0], n * length)).reshape(n, length)
    out = np.zeros((n, length), np.float32)
    if whole.any():
        out[whole] = _floats(column.values)[offsets[:-1][whole][:, None] + np.arange(length)]
    return whole, out


def _floats(values: pa.Array) -> NDArray[Any]:
    """Numbers as float32, null as NaN; beyond float32 they are infinite."""
    plain: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore", invalid="ignore"):
        return plain.astype(np.float32, copy=False)
