"""A column of labels as numbers: classes by their codes, or the values themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.types import FloatArray
from monitor import columns
from monitor.decode import labels_of

OTHER: Final = float(1 << 30)
"""Code of a class that the model does not know: whatever it says of such a row is wrong."""
_TRUTH_VALUES = {"true": "1", "false": "0", "1": "true", "0": "false"}


class Truths(NamedTuple):
    """Labels ``(n,)``, NaN where there is none; ``wrong``: there was a value, but it is no label."""

    values: FloatArray
    wrong: NDArray[np.bool_]


def classes(column: pa.Array, codes: Mapping[str, int]) -> Truths:
    """Class of each label; whole numbers may be written as floats, and truth values as 0 and 1 or the other way.

    What looks as classes look here, and is none of them, is `OTHER`: a whole number where they are numbers, else text.
    """
    labels = labels_of(column)
    whole = all(_whole(name) for name in codes)
    table = np.array([*(_code(name, codes, whole=whole) for name in labels.values), np.nan])
    values: FloatArray = table[labels.codes]
    return Truths(values, np.isnan(values) & _given(column))


def numbers(column: pa.Array) -> Truths:
    """Value of each label; infinity is none."""
    floats, _ = columns.floats(column)
    values = np.array(floats.to_numpy(zero_copy_only=False), np.float64)
    values[np.isinf(values)] = np.nan
    return Truths(values, np.isnan(values) & _given(column))


def class_of(name: str, codes: Mapping[str, int]) -> float:
    """Code of a class by its name as logged; NaN if it is none of them."""
    plain = name.strip()
    for one in (plain, plain.removesuffix(".0"), _TRUTH_VALUES.get(plain.lower().removesuffix(".0"), plain)):
        if one in codes:
            return float(codes[one])
    return float("nan")


def _code(name: str, codes: Mapping[str, int], *, whole: bool) -> float:
    code = class_of(name, codes)
    other = np.isnan(code) and name.strip().lower() not in ("", "nan") and _whole(name) == whole
    return OTHER if other else code


def _whole(name: str) -> bool:
    return name.strip().removesuffix(".0").removeprefix("-").isdecimal()


def _given(column: pa.Array) -> NDArray[np.bool_]:
    """Rows that hold something, even if it is no label; NaN and empty texts are nothing."""
    labels = labels_of(column)
    if not labels.values and column.null_count < len(column):
        given: NDArray[np.bool_] = ~column.is_null().to_numpy(zero_copy_only=False)
        return given  # nested values and bytes have no names
    something = np.array([*(name.strip().lower() not in ("", "nan") for name in labels.values), False])
    found: NDArray[np.bool_] = something[labels.codes]
    return found
