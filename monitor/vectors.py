"""A column of embeddings as a matrix of float32: lists and fixed-size lists of numbers, tensors of one shape.

Nothing here raises on bad values: a vector that is null, of another length, or holds a null or a number that is not
finite is missing as a whole, a row of NaN. Float32 of one length is looked at where Arrow has it, without a copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types as at

from detectors.types import SingleArray
from monitor.columns import unwrap

MOST_LENGTH = 2_048
"""A longer embedding is not monitored."""


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold embeddings: lists of numbers."""
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    is_list = at.is_list(kind) or at.is_large_list(kind) or at.is_fixed_size_list(kind)
    return is_list and bool(at.is_floating(kind.value_type) or at.is_integer(kind.value_type))


def fixed_length(kind: pa.DataType) -> int | None:
    """Length of the vectors if the type itself says it."""
    while isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return int(kind.list_size) if at.is_fixed_size_list(kind) else None


def length_of(column: pa.Array) -> int | None:
    """Length of most vectors of a column; None if there is no vector."""
    column = unwrap(column)
    if at.is_fixed_size_list(column.type):
        return int(column.type.list_size)
    if not is_vector(column.type) or column.null_count == len(column):
        return None
    lengths = np.diff(column.offsets.to_numpy())[column.is_valid().to_numpy(zero_copy_only=False)]
    found, times = np.unique(lengths, return_counts=True)
    return int(found[times.argmax()])


def vectors(column: pa.Array, length: int) -> SingleArray:
    """The vectors ``(n, length)`` of a column of any type; read-only where Arrow owns them."""
    column = unwrap(column)
    if not is_vector(column.type):
        return np.full((len(column), length), np.nan, np.float32)
    whole, out = _gathered(column, length)
    lost = ~(np.isfinite(out).all(axis=1) & whole)
    if lost.any():
        out = out if out.flags.writeable else out.copy()
        out[lost] = np.nan
    return out


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
