"""Single columns: unsound memory, numbers in any clothing, times of any unit."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor import columns

YEAR_1, YEAR_9999 = -62_135_596_800.0, 253_402_300_799.0


def unsound_text(offsets: list[int], data: bytes) -> pa.Array:
    buffers = [None, pa.py_buffer(np.array(offsets, np.int32)), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(offsets) - 1, buffers)


def test_a_sound_batch_comes_back_as_it_is() -> None:
    batch = pa.record_batch({"a": [1, 2], "b": ["x", None]})
    assert columns.sound(batch) == (batch, {})


def test_offsets_that_point_outside_cost_the_column_and_nothing_else() -> None:
    batch = pa.record_batch({"a": [1, 2], "b": unsound_text([0, 1_000_000, 2], b"ab")})
    fixed, lost = columns.sound(batch)
    assert lost == {1: 2}
    assert fixed.to_pydict() == {"a": [1, 2], "b": [None, None]}


def test_text_that_is_not_utf8_costs_only_the_bad_values() -> None:
    batch = pa.record_batch({"b": unsound_text([0, 1, 2, 4], b"a\xffcd")})
    fixed, lost = columns.sound(batch)
    assert lost == {0: 1}
    assert fixed.column(0).to_pylist() == ["a", None, "cd"]


def test_a_dictionary_index_out_of_range_costs_the_column() -> None:
    bad = pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int8()), pa.array(["a"]), safe=False)
    fixed, lost = columns.sound(pa.record_batch({"d": bad}))
    assert lost == {0: 2}
    assert fixed.column(0).null_count == 2


def test_a_dictionary_with_broken_text_loses_the_rows_that_use_it() -> None:
    bad = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, None], pa.int8()), unsound_text([0, 1, 2], b"a\xff"))
    fixed, lost = columns.sound(pa.record_batch({"d": bad}))
    assert lost == {0: 2}
    assert fixed.column(0).to_pylist() == ["a", None, None, None]


@pytest.mark.parametrize(
    ("array", "expected", "faults"),
    [
        (pa.array([1, None], pa.int8()), [1, math.nan], 0),
        (pa.array([1.5, None], pa.float16()), [1.5, math.nan], 0),
        (pa.array([Decimal("1.25"), None]), [1.25, math.nan], 0),
        (pa.array([True, False, None]), [1, 0, math.nan], 0),
        (pa.array([1500], pa.duration("ms")), [1500], 0),
        (pa.array([2**64 - 1], pa.uint64()), [2.0**64], 0),
        (pa.array(["1e300", "-inf", None]), [1e300, -math.inf, math.nan], 0),
        (pa.array([" 2 ", "", "two", "nan", None, "1_0"]), [2, *[math.nan] * 5], 2),
        (pa.array(["1", "x", "x"]).dictionary_encode(), [1, math.nan, math.nan], 2),
        (pa.array(["7"], pa.string_view()), [7], 0),
        (pa.array([[1.0], None]), [math.nan, math.nan], 1),
        (pa.array([b"1"]), [math.nan], 1),
        (pa.array([datetime(2020, 1, 1, tzinfo=UTC)]), [math.nan], 1),
        (pa.nulls(2), [math.nan, math.nan], 0),
    ],
)
def test_numbers_in_any_clothing_become_floats_and_the_rest_is_counted(
    array: pa.Array, expected: list[float], faults: int
) -> None:
    got, bad = columns.floats(array)
    assert got.type == pa.float64()
    np.testing.assert_equal(got.to_numpy(zero_copy_only=False), np.array(expected, float))
    assert bad == faults


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
def test_timestamps_of_every_unit_read_from_year_1_to_9999(unit: str, zone: str | None) -> None:
    scale = {"s": 1, "ms": 10**3, "us": 10**6}[unit]
    values = pa.array([int(YEAR_1) * scale, 0, int(YEAR_9999) * scale, None], pa.timestamp(unit, zone))
    np.testing.assert_equal(columns.seconds(values), [YEAR_1, 0, YEAR_9999, math.nan])


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (pa.array([1_700_000_000, 1_700_000_000_000, None]), [1.7e9, 1.7e9, math.nan]),
        (pa.array([1_700_000_000_000_000, 1_700_000_000_000_000_000]), [1.7e9, 1.7e9]),
        (pa.array([1.7e9 + 0.25, math.nan, math.inf]), [1.7e9 + 0.25, math.nan, math.nan]),
        (pa.array([int(YEAR_1), int(YEAR_9999)]), [YEAR_1, YEAR_9999]),
        (pa.array([18_262, None], pa.date32()), [1_577_836_800, math.nan]),
        (pa.array([1_577_836_800_000], pa.date64()), [1_577_836_800]),
        (pa.array(["2020-01-01T00:00:00Z", "2020-01-01T00:00:00.5+00:00"]), [1_577_836_800, 1_577_836_800.5]),
        (pa.array(["2020-01-01 00:00:00", "2020-01-01"]), [1_577_836_800, 1_577_836_800]),
        (pa.array(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59"]), [YEAR_1, YEAR_9999]),
        (
            pa.array(["2020-01-01T00:00:00Z", "nonsense", "", None, "1577836800"]),
            [1.5778368e9, *[math.nan] * 3, 1.5778368e9],
        ),
        (pa.array(["0001-01-01T00:00:00+14:00"]), [math.nan]),
        (pa.array([2**62], pa.timestamp("s")), [math.nan]),
        (pa.array([-(2**63), 2**63 - 1], pa.timestamp("ns")), [-(2**63) / 1e9, (2**63 - 1) / 1e9]),
        (pa.array([[1]]), [math.nan]),
        (pa.array([True]), [math.nan]),
        (pa.nulls(1), [math.nan]),
        (pa.array([], pa.string()), []),
        (pa.array([None], pa.string()), [math.nan]),
    ],
)
def test_times_of_every_form_become_seconds_or_nan(array: pa.Array, expected: list[float]) -> None:
    np.testing.assert_allclose(columns.seconds(array), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "target", "expected", "faults"),
    [
        (pa.array([1.0, 2.5, math.nan, math.inf]), pa.int64(), [1, None, None, None], [0, 1, 0, 1]),
        (pa.array(["1", "2.0", "x", "", "9" * 30]), pa.int64(), [1, 2, None, None, None], [0, 0, 1, 0, 1]),
        (pa.array([0, 1, 7]), pa.bool_(), [False, True, None], [0, 0, 1]),
        (pa.array(["true", "0", "maybe"]), pa.bool_(), [True, False, None], [0, 0, 1]),
        (pa.array([3, 4]), pa.string(), ["3", "4"], [0, 0]),
        (pa.array([-1, 5]), pa.uint64(), [None, 5], [1, 0]),
        (pa.array([[1], None]), pa.string(), [None, None], [1, 0]),
        (pa.array([b"a"]), pa.string(), [None], [1]),
        (pa.array([datetime(2020, 1, 1, tzinfo=UTC)]), pa.bool_(), [None], [1]),
    ],
)
def test_distinct_values_convert_one_by_one(
    values: pa.Array, target: pa.DataType, expected: list[Any], faults: list[int]
) -> None:
    got, bad = columns.values_as(values, target)
    assert got.type == target
    assert got.to_pylist() == expected
    assert bad.tolist() == [bool(f) for f in faults]


def test_a_view_behind_a_null_is_never_followed() -> None:
    views = np.zeros(4, dtype=[("size", "<i4"), ("prefix", "<i4"), ("buffer", "<i4"), ("offset", "<i4")])
    views["size"] = [2, 16_711_680, 1, 0]  # the second points far outside, and is null: validation does not look at it
    views["prefix"] = [0x6161, 0, 0x62, 0]
    views["offset"] = [0, 2**30, 0, 0]
    array = pa.Array.from_buffers(pa.string_view(), 4, [pa.py_buffer(bytes([0b1101])), pa.py_buffer(views.tobytes())])
    fixed, lost = columns.sound(pa.record_batch({"c": array}))
    assert lost == {}
    plain = columns.takeable(fixed)
    assert plain.column(0).to_pylist() == ["aa", None, "b", ""]
    assert plain.column(0).type == pa.string()


def test_a_view_that_points_outside_costs_the_column() -> None:
    views = np.zeros(1, dtype=[("size", "<i4"), ("prefix", "<i4"), ("buffer", "<i4"), ("offset", "<i4")])
    views["size"] = 100
    array = pa.Array.from_buffers(pa.string_view(), 1, [None, pa.py_buffer(views.tobytes())])
    assert columns.sound(pa.record_batch({"c": array}))[1] == {0: 1}


def test_a_column_name_that_is_not_utf8_is_replaced_and_the_others_stay() -> None:
    batch = pa.record_batch({"good": [1], "zzzz": [2]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    broken = sink.getvalue().to_pybytes().replace(b"zzzz", b"z\xff\xfez")
    fixed, lost = columns.sound(next(iter(pa.ipc.open_stream(broken))))
    assert lost == {}
    assert fixed.schema.names[0] == "good"
    assert "column 2" in fixed.schema.names[1]
