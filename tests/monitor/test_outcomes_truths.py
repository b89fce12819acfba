"""Labels as they are logged, as numbers: what is no label is told from what is missing."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from monitor.outcomes.truths import OTHER, Truths, classes, numbers


def told(truths: Truths) -> list[float | str | None]:
    return [
        "wrong" if wrong else None if np.isnan(value) else "other" if value == OTHER else float(value)
        for value, wrong in zip(truths.values.tolist(), truths.wrong.tolist(), strict=True)
    ]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array(["1", "0", "2", None, "", "1.0", " 0 "]), [1.0, 0.0, "other", None, None, 1.0, 0.0]),
        (pa.array([1, 0, 7, None]), [1.0, 0.0, "other", None]),
        (pa.array([1.0, 0.0, 0.5, float("nan"), None]), [1.0, 0.0, "wrong", None, None]),
        (pa.array([True, False, None]), [1.0, 0.0, None]),
        (pa.array(["true", "False"]), [1.0, 0.0]),
        (pa.array(["1", "x", None]).dictionary_encode(), [1.0, "wrong", None]),
        (pa.array([[1], None]), ["wrong", None]),
        (pa.array([b"1", None]), ["wrong", None]),
        (pa.nulls(2), [None, None]),
    ],
    ids=lambda one: str(one.type) if isinstance(one, pa.Array) else "",
)
def test_classes_by_their_names(column: pa.Array, wanted: list[object]) -> None:
    assert told(classes(column, {"0": 0, "1": 1})) == wanted


def test_names_are_taken_as_they_are_where_they_are_classes() -> None:
    assert told(classes(pa.array(["good", "bad", "Good"]), {"bad": 0, "good": 1})) == [1.0, 0.0, "other"]
    assert told(classes(pa.array([1, 0]), {"false": 0, "true": 1})) == [1.0, 0.0]
    assert told(classes(pa.array(["1.0"]), {"1": 0, "1.0": 1})) == [1.0]


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([1.5, float("nan"), None, float("inf")]), [1.5, None, None, "wrong"]),
        (pa.array([1, None], pa.int8()), [1.0, None]),
        (pa.array(["1e3", "x", "", None, "nan", "inf"]), [1000.0, "wrong", None, None, None, "wrong"]),
        (pa.array([[1], None]), ["wrong", None]),
        (pa.array([True]), [1.0]),
    ],
    ids=lambda one: str(one.type) if isinstance(one, pa.Array) else "",
)
def test_numbers_as_they_are(column: pa.Array, wanted: list[object]) -> None:
    assert told(numbers(column)) == wanted
