"""The same vectors in any Arrow clothing give the same matrix; what is no vector is missing, and nothing raises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.grid import BINS, CELLS, Grid
from monitor.decode import Decoder
from monitor.schema import Facts, Roles, build, is_vector
from monitor.vectors import lengths, vectors_of

ROWS: list[Any] = [[1.0, 2.0, 3.0], None, [4.0, 5.0, -6.5], [0.0, 0.25, 1.5]]
WANTED = np.array([[1, 2, 3], [np.nan] * 3, [4, 5, -6.5], [0, 0.25, 1.5]], np.float32)
KINDS = [
    make(value)
    for value in (pa.float16(), pa.float32(), pa.float64())
    for make in (lambda v: pa.list_(v, 3), pa.list_, pa.large_list)
]


def column(kind: pa.DataType, rows: list[Any] = ROWS) -> pa.Array:
    if kind.value_type == pa.float16():
        rows = [None if row is None else [None if x is None else np.float16(x) for x in row] for row in rows]
    return pa.array(rows, kind)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_lists_of_any_sort_give_the_same_matrix(kind: pa.DataType) -> None:
    whole = column(kind)
    got = vectors_of(whole, 3)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, WANTED)
    for start, end in ((0, 1), (1, 3), (2, 4), (1, 1)):
        np.testing.assert_array_equal(vectors_of(whole.slice(start, end - start), 3), WANTED[start:end])
    assert lengths(whole) == {3: 3}
    assert is_vector(kind)


def test_tensors_dictionaries_and_integers_are_read() -> None:
    flat = pa.array([ROWS[0], ROWS[2], ROWS[3], ROWS[0]], pa.list_(pa.float32(), 3))
    tensor = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [3]), flat)
    np.testing.assert_array_equal(vectors_of(tensor, 3), WANTED[[0, 2, 3, 0]])
    indices = pa.array([1, None, 0], pa.int8())
    shared = pa.DictionaryArray.from_arrays(indices, pa.array(ROWS[2:], pa.list_(pa.float64())))
    np.testing.assert_array_equal(vectors_of(shared, 3), WANTED[[3, 1, 2]])
    assert vectors_of(pa.array([[1, 2], [-3, 127]], pa.list_(pa.int8())), 2).tolist() == [[1, 2], [-3, 127]]


def test_float32_of_one_length_is_not_copied() -> None:
    values = pa.array(np.arange(12, dtype=np.float32))
    for one in (
        pa.FixedSizeListArray.from_arrays(values, 3),
        pa.ListArray.from_arrays(pa.array([0, 3, 6, 9, 12], pa.int32()), values),
    ):
        got = vectors_of(one.slice(1, 2), 3)
        assert got.tolist() == [[3, 4, 5], [6, 7, 8]]
        assert got.__array_interface__["data"][0] == values.buffers()[1].address + 12


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("bad", [[1.0, None, 2.0], [1.0, np.nan, 2.0], [np.inf, 0.0, 0.0]])
def test_a_vector_with_a_hole_is_missing_as_a_whole(kind: pa.DataType, bad: list[float | None]) -> None:
    got = vectors_of(column(kind, [ROWS[0], bad, ROWS[2]]), 3)
    np.testing.assert_array_equal(got, WANTED[[0, 1, 2]])


def test_a_number_beyond_float32_is_a_hole() -> None:
    got = vectors_of(pa.array([[1e300, 0.0, 0.0], ROWS[0]]), 3)
    np.testing.assert_array_equal(got, WANTED[[1, 0]])


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float64())], ids=str)
def test_vectors_of_another_length_are_missing(kind: pa.DataType) -> None:
    odd = pa.array([[1.0, 2.0], ROWS[0], [], None, [1.0] * 4, ROWS[2]], kind)
    np.testing.assert_array_equal(vectors_of(odd, 3), WANTED[[1, 0, 1, 1, 1, 2]])
    assert lengths(odd) == {3: 2, 2: 1, 0: 1, 4: 1}


@pytest.mark.parametrize(
    "other",
    [
        pa.array([1.0, 2.0]),
        pa.array(["[1, 2, 3]", None]),
        pa.nulls(2),
        pa.array([["a"], ["b"]]),
        pa.array([[[1.0]], None]),
        pa.array([[1.0, 2.0]] * 2, pa.list_(pa.float32(), 2)),
        pa.nulls(2, pa.list_(pa.float32(), 3)),
        pa.nulls(2, pa.list_(pa.float32())),
        pa.array([{"a": 1.0}, None]),
        pa.array([[1.0], [2.0]], pa.list_view(pa.float32())),
    ],
    ids=lambda one: str(one.type),
)
def test_a_column_of_another_type_is_missing_in_all_rows(other: pa.Array) -> None:
    assert np.isnan(vectors_of(other, 3)).all()
    assert vectors_of(other, 3).shape == (2, 3)
    assert vectors_of(other.slice(0, 0), 3).shape == (0, 3)


def test_the_decoder_gives_embeddings_in_the_order_of_the_grid() -> None:
    schema = pa.schema([("x", pa.float64()), ("late", pa.list_(pa.float32(), 2)), ("emb", pa.list_(pa.float64()))])
    facts = {"late": Facts(9, None, 2), "emb": Facts(9, None, 3)}
    plan = build(schema, Roles(embeddings=("emb", "late")), facts)
    assert plan.vectors == ("late", "emb")
    none = np.zeros((0,), bool)
    grid = Grid(
        ("x",), (), np.zeros(1), np.ones(1), np.zeros((1, CELLS), np.uint8), np.zeros((1, BINS + 1)),
        np.zeros((1, BINS)), np.zeros(1, np.int64), (), none, none, (("late", 2), ("emb", 3)),
    )  # fmt: skip
    decoder = Decoder(plan, grid, {})
    batch = pa.record_batch({"x": [1.0] * 4, "emb": pa.array(ROWS)})
    decoded = decoder.decode(batch)
    assert np.isnan(decoded.block.vectors[0]).all()
    np.testing.assert_array_equal(decoded.block.vectors[1], WANTED)
    assert decoded.missing_columns == ("late",)
    assert decoded.block.faults.tolist() == [0]


@pytest.mark.parametrize(
    ("kind", "length", "monitored", "note"),
    [
        (pa.list_(pa.float32(), 8), 8, True, "embedding of 8"),
        (pa.list_(pa.float64()), 4096, True, "embedding of 4096"),
        (pa.list_(pa.float64()), 4097, False, "more than 4096"),
        (pa.list_(pa.float64()), 0, False, "without a vector"),
        (pa.string(), 0, False, "cannot be the embedding"),
    ],
)
def test_the_plan_says_of_an_embedding_whether_it_is_monitored(
    kind: pa.DataType,
    length: int,
    monitored: bool,  # noqa: FBT001
    note: str,
) -> None:
    (got,) = build(pa.schema([("e", kind)]), Roles(embeddings=("e",)), {"e": Facts(9, None, length)}).columns
    assert got.monitored == monitored
    assert note in got.note


def test_a_damaged_embedding_is_missing() -> None:
    offsets = pa.py_buffer(np.array([0, 10**9, 3], np.int32).tobytes())
    values = pa.array([1.0, 2.0, 3.0])
    damaged = pa.Array.from_buffers(pa.list_(pa.float64()), 2, [None, offsets], children=[values])
    plan = build(
        pa.schema([("x", pa.float64()), ("e", damaged.type)]), Roles(embeddings=("e",)), {"e": Facts(2, None, 3)}
    )
    none = np.zeros((0,), bool)
    grid = Grid(
        ("x",), (), np.zeros(1), np.ones(1), np.zeros((1, CELLS), np.uint8), np.zeros((1, BINS + 1)),
        np.zeros((1, BINS)), np.zeros(1, np.int64), (), none, none, (("e", 3),),
    )  # fmt: skip
    batch = pa.RecordBatch.from_arrays([pa.array([1.0, 2.0]), damaged], ["x", "e"])
    assert np.isnan(Decoder(plan, grid, {}).decode(batch).block.vectors[0]).all()
