"""Batches into blocks: the same rows in any Arrow clothing give the same block, and nothing a sender does raises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.grid import BINS, CELLS, Grid
from detectors.types import MISSING_CODE, NEW_CODE
from monitor.decode import Coder, Decoder, labels_of
from monitor.schema import Facts, Roles, build

WORDS = ["red", "green", "blue", "rare"]
SCHEMA = pa.schema(
    [
        ("ts", pa.int64()),
        ("x", pa.float64()),
        ("k", pa.int64()),
        ("c", pa.string()),
        ("b", pa.bool_()),
        ("v", pa.string()),
    ]
)
ROLES = Roles(time="ts", version="v", segments=("c",))


def decoder(*, own: int = 3, is_open: bool = False, schema: pa.Schema = SCHEMA, roles: Roles = ROLES) -> Decoder:
    plan = build(schema, roles, {"k": Facts(100, 3), "ts": Facts(100, None)})
    known = {"c": pa.array(WORDS), "k": pa.array([1, 2, 3]), "b": pa.array([False, True])}
    p, q = len(plan.numeric), len(plan.categorical)
    grid = Grid(
        numeric_names=plan.numeric, code_names=plan.categorical,
        centre=np.zeros(p), scale=np.ones(p), lut=np.zeros((p, CELLS), np.uint8),
        edges=np.zeros((p, BINS + 1)), centres=np.zeros((p, BINS)), used=np.zeros(p, np.int64),
        labels=tuple(tuple(map(str, known[n].to_pylist()[:own])) for n in plan.categorical),
        open_vocabulary=np.full(q, is_open), ordered=np.zeros(q, bool),
    )  # fmt: skip
    return Decoder(plan, grid, {name: known[name] for name in plan.categorical})


def rows(n: int = 4) -> dict[str, pa.Array]:
    return {
        "ts": pa.array([1_700_000_000 + i for i in range(n)]),
        "x": pa.array([0.5, None, math.inf, 1e300][:n]),
        "k": pa.array([1, 3, None, 9][:n]),
        "c": pa.array(["red", "rare", None, "mauve"][:n]),
        "b": pa.array([True, None, False, True][:n]),
        "v": pa.array(["1.0", "1.0", None, "2.0"][:n]),
    }


def test_a_batch_becomes_column_major_arrays_with_the_agreed_codes() -> None:
    got = decoder().decode(pa.record_batch(rows()))
    block = got.block
    np.testing.assert_equal(block.numeric, [[0.5], [math.nan], [math.inf], [1e300]])
    assert block.numeric.flags.f_contiguous
    assert block.codes.flags.f_contiguous
    assert block.codes.dtype == np.int32
    assert block.codes.tolist() == [[0, 0, 1], [2, 3, -1], [-1, -1, 0], [NEW_CODE, NEW_CODE, 1]]
    assert block.faults.tolist() == [0, 0, 0, 0]
    assert block.time is not None
    assert block.time.tolist() == [1_700_000_000.0 + i for i in range(4)]
    assert got.version is not None
    assert got.version.values == ("1.0", "2.0")
    assert got.version.codes.tolist() == [0, 0, -1, 1]
    assert [got.segments["c"].values[i] for i in got.segments["c"].codes if i >= 0] == ["red", "rare", "mauve"]
    assert (got.missing_columns, got.extra_columns, dict(got.retyped)) == ((), (), {})


def test_in_an_open_vocabulary_the_unknown_shares_the_slot_of_the_others() -> None:
    block = decoder(is_open=True).decode(pa.record_batch(rows())).block
    assert block.codes[:, 1].tolist() == [0, 3, MISSING_CODE, 3]


CLOTHES: dict[str, list[pa.DataType]] = {
    "x": [pa.float64(), pa.decimal256(60, 3), pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.float64())],
    "k": [pa.int8(), pa.uint64(), pa.float32(), pa.string(), pa.dictionary(pa.int16(), pa.int64())],
    "c": [pa.large_string(), pa.string_view(), pa.dictionary(pa.uint8(), pa.string())],
    "b": [pa.int8(), pa.float64(), pa.string(), pa.dictionary(pa.int8(), pa.bool_())],
}
CLOTHES["k"].append(pa.decimal128(22, 1))
CLOTHES["c"].append(pa.dictionary(pa.int64(), pa.large_string()))


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n, kinds in CLOTHES.items() for k in kinds])
@pytest.mark.parametrize("copies", [1, 400])
def test_the_same_values_in_another_type_give_the_same_block(name: str, kind: pa.DataType, copies: int) -> None:
    arrays = {key: pa.concat_arrays([value] * copies) for key, value in rows().items()}
    if name == "x":
        arrays["x"] = pa.array([0.5, None, 2.25, -8.0] * copies)
    one = decoder()
    expected = one.decode(pa.record_batch(arrays)).block
    plain = arrays[name]
    if pa.types.is_dictionary(kind):
        plain = plain.cast(kind.value_type).dictionary_encode()
        dressed = pa.DictionaryArray.from_arrays(plain.indices.cast(kind.index_type), plain.dictionary)
    else:
        dressed = plain.cast(kind)
    got = one.decode(pa.record_batch(arrays | {name: dressed})).block
    np.testing.assert_equal(got.numeric, expected.numeric)
    np.testing.assert_equal(got.codes, expected.codes)
    assert got.faults.sum() == 0


def test_a_run_end_encoded_column_is_read() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 4], pa.int32()), pa.array(["red", "mauve"]))
    block = decoder().decode(pa.record_batch(rows() | {"c": runs})).block
    assert block.codes[:, 1].tolist() == [0, 0, NEW_CODE, NEW_CODE]


def test_a_dictionary_that_holds_null_as_a_value_gives_missing_codes() -> None:
    odd = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, None], pa.int8()), pa.array(["red", None]))
    block = decoder().decode(pa.record_batch(rows() | {"c": odd})).block
    assert block.codes[:, 1].tolist() == [0, -1, -1, -1]
    assert block.faults.sum() == 0


def test_a_dictionary_much_longer_than_the_batch_gives_the_same_codes_as_a_short_one() -> None:
    many = pa.array([f"word {i}" for i in range(5000)] + WORDS)
    sparse = pa.DictionaryArray.from_arrays(pa.array([5000, 4999, 5003, None], pa.int32()), many)
    block = decoder().decode(pa.record_batch(rows() | {"c": sparse})).block
    assert block.codes[:, 1].tolist() == [0, NEW_CODE, 3, -1]


@pytest.mark.parametrize(
    ("name", "array", "faults"),
    [
        ("x", pa.array([[1.0], None, [2.0], []]), 3),
        ("x", pa.array(["1", "a", "b", None]), 2),
        ("x", pa.array([{"a": 1}] * 4), 4),
        ("k", pa.array(["one", "2", None, ""]), 1),
        ("k", pa.array([1.5, 2.0, math.nan, 3.0]), 1),
        ("c", pa.array([[1], None, [2], []]), 3),
        ("c", pa.array([b"red", b"x", None, b"y"]), 3),
        ("b", pa.array([0, 1, 2, None]), 1),
    ],
)
def test_values_that_do_not_convert_are_missing_counted_and_reported(name: str, array: pa.Array, faults: int) -> None:
    one = decoder()
    got = one.decode(pa.record_batch(rows() | {name: array}))
    names = ("x", "k", "c", "b")
    assert got.block.faults.tolist() == [faults if n == name else 0 for n in names]
    assert set(got.retyped) == ({name} if not (name == "k" and pa.types.is_floating(array.type)) else set())
    if name == "x":
        assert np.isnan(got.block.numeric[:, 0]).sum() == array.null_count + faults


def test_a_text_column_that_became_numbers_shows_new_categories_not_faults() -> None:
    got = decoder().decode(pa.record_batch(rows() | {"c": pa.array([2134, 1, 2, None])}))
    assert got.block.codes[:, 1].tolist() == [NEW_CODE, NEW_CODE, NEW_CODE, MISSING_CODE]
    assert got.block.faults.sum() == 0
    assert got.retyped == {"c": "int64"}


def test_a_column_of_nulls_is_missing_and_not_retyped() -> None:
    got = decoder().decode(pa.record_batch({name: pa.nulls(3) for name in SCHEMA.names}))
    assert np.isnan(got.block.numeric).all()
    assert (got.block.codes == MISSING_CODE).all()
    assert got.block.faults.sum() == 0
    assert got.retyped == {}
    assert got.block.time is not None
    assert np.isnan(got.block.time).all()


def test_a_renamed_column_is_missing_under_the_old_name_and_extra_under_the_new() -> None:
    arrays = rows()
    arrays["x2"] = arrays.pop("x")
    del arrays["b"], arrays["v"], arrays["ts"]
    got = decoder().decode(pa.record_batch(arrays))
    assert got.missing_columns == ("x", "b")
    assert got.extra_columns == ("x2",)
    assert np.isnan(got.block.numeric).all()
    assert got.block.faults.sum() == 0
    assert got.version is None
    assert got.block.time is None


def test_of_two_columns_with_one_name_the_first_counts() -> None:
    arrays = rows()
    batch = pa.RecordBatch.from_arrays(
        [*arrays.values(), pa.array([9.0] * 4), pa.array(["blue"] * 4)], names=[*arrays, "x", "c"]
    )
    got = decoder().decode(batch)
    assert got.block.numeric[0, 0] == 0.5
    assert got.block.codes[0, 1] == 0


@pytest.mark.parametrize("size", [0, 1])
def test_tiny_batches_keep_their_shapes(size: int) -> None:
    block = decoder().decode(pa.record_batch(rows()).slice(0, size)).block
    assert block.numeric.shape == (size, 1)
    assert block.codes.shape == (size, 3)
    assert block.time is not None
    assert block.time.shape == (size,)


def test_a_batch_without_any_known_column_decodes_to_missing() -> None:
    got = decoder().decode(pa.record_batch({"other": [1, 2]}))
    assert got.block.numeric.shape == (2, 1)
    assert (got.block.codes == MISSING_CODE).all()
    assert got.missing_columns == ("x", "k", "c", "b")


def test_a_model_with_only_one_sort_of_columns_decodes() -> None:
    numeric = decoder(schema=pa.schema([("x", pa.float64())]), roles=Roles())
    assert numeric.decode(pa.record_batch({"x": [1.0]})).block.codes.shape == (1, 0)
    words = decoder(schema=pa.schema([("c", pa.string())]), roles=Roles())
    assert words.decode(pa.record_batch({"c": ["red"]})).block.numeric.shape == (1, 0)


def test_unsound_memory_costs_the_column_and_is_counted_as_faults() -> None:
    buffers = [None, pa.py_buffer(np.array([0, 10**6, 1, 2, 3], np.int32)), pa.py_buffer(b"abc")]
    bad = pa.Array.from_buffers(pa.string(), 4, buffers)
    got = decoder().decode(pa.record_batch(rows() | {"c": bad}))
    assert (got.block.codes[:, 1] == MISSING_CODE).all()
    assert got.block.faults.tolist() == [0, 0, 4, 0]
    assert got.batch.column(3).null_count == 4  # the row sample must not carry it on


def test_all_integer_columns_without_nulls_become_floats() -> None:
    schema = pa.schema([("i", pa.int64()), ("j", pa.uint8())])
    one = decoder(schema=schema, roles=Roles(numeric=("i", "j")))
    got = one.decode(pa.record_batch({"i": pa.array([1, 2]), "j": pa.array([3, 4], pa.uint8())}))
    assert got.block.numeric.dtype == np.float64
    assert got.block.numeric.tolist() == [[1, 3], [2, 4]]
    assert got.block.numeric.flags.f_contiguous


def test_a_sender_that_changes_its_schema_every_time_does_not_fill_the_memory() -> None:
    one = decoder()
    for i in range(50):
        one.decode(pa.record_batch(rows() | {f"extra_{i}": pa.array([1] * 4)}))
    assert len(one._recipes) <= 16
    assert one.decode(pa.record_batch(rows())).extra_columns == ()


def test_slices_of_a_batch_give_the_slices_of_its_block() -> None:
    rng = np.random.default_rng(3)
    n = 3000
    batch = pa.record_batch(
        {
            "x": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
            "k": pa.array(rng.integers(0, 5, n), mask=rng.random(n) < 0.1),
            "c": pa.array(np.array([*WORDS, "new"])[rng.integers(0, 5, n)], mask=rng.random(n) < 0.1),
            "b": pa.array(rng.random(n) < 0.5, mask=rng.random(n) < 0.1),
        }
    )
    one = decoder()
    whole = one.decode(batch).block
    for start, end in ((0, 7), (1, 701), (2995, 3000)):
        part = one.decode(batch.slice(start, end - start)).block
        np.testing.assert_equal(part.numeric, whole.numeric[start:end])
        np.testing.assert_equal(part.codes, whole.codes[start:end])


@given(
    known=st.lists(st.text(max_size=3), max_size=30, unique=True),
    values=st.lists(st.one_of(st.none(), st.text(max_size=3)), max_size=60),
    own=st.integers(0, 30),
    is_open=st.booleans(),
    repeat=st.sampled_from([1, 40]),
)
def test_codes_are_what_a_plain_loop_gives(
    known: list[str], values: list[str | None], own: int, is_open: Any, repeat: int
) -> None:
    own, values = min(own, len(known)), values * repeat
    expected = [
        MISSING_CODE if v is None else min(known.index(v), own) if v in known else own if is_open else NEW_CODE
        for v in values
    ]
    coder = Coder(pa.array(known, pa.string()), own, open_vocabulary=is_open)
    column = pa.array(values, pa.string())
    for dressed in (column, column.dictionary_encode(), column.cast(pa.large_string())):
        out = np.empty(len(values), np.int32)
        assert coder.code(dressed, out) == 0
        assert out.tolist() == expected


def test_float_categories_know_nan_and_negative_zero() -> None:
    coder = Coder(pa.array([0.0, 0.5]), 2, open_vocabulary=False)
    out = np.empty(5, np.int32)
    assert coder.code(pa.array([-0.0, 0.5, math.nan, 0.7, None]), out) == 0
    assert out.tolist() == [0, 1, MISSING_CODE, NEW_CODE, MISSING_CODE]


@pytest.mark.parametrize(
    ("column", "names"),
    [
        (pa.array([3, None, 3]), ["3", None, "3"]),
        (pa.array(["a", "b", None]).dictionary_encode(), ["a", "b", None]),
        (pa.array([True, False, None]), ["true", "false", None]),
        (pa.array([[1], None, [2]]), [None, None, None]),
        (pa.array([b"x", b"y", None]), [None, None, None]),
        (pa.nulls(3), [None, None, None]),
    ],
)
def test_labels_of_any_column_are_names(column: pa.Array, names: list[Any]) -> None:
    got = labels_of(column)
    assert [got.values[i] if i >= 0 else None for i in got.codes] == names


def test_labels_carry_no_names_that_no_row_uses() -> None:
    big = pa.DictionaryArray.from_arrays(pa.array([7], pa.int32()), pa.array([f"v{i}" for i in range(1000)]))
    assert labels_of(big).values == ("v7",)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["red", None], pa.string_view()),
        pa.array([b"red", None], pa.binary_view()),
        pa.array([["red"], None], pa.list_(pa.string_view())),
        pa.array([{"a": "red"}, None], pa.struct([("a", pa.string_view())])),
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["red"])),
        pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int8()), pa.array(["red"], pa.string_view())),
    ],
)
def test_rows_can_be_taken_from_every_decoded_batch(column: pa.Array) -> None:
    got = decoder().decode(pa.record_batch({"c": column, "extra": column}))
    assert got.batch.take(pa.array([0])).num_rows == 1
    readable = not pa.types.is_nested(column.type) and column.type != pa.binary_view()
    assert (got.block.codes[0, 1] == 0) == (readable or pa.types.is_run_end_encoded(column.type))
