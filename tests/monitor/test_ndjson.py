"""JSON lines: fast where it is safe, line by line where it is not, and every line accounted for."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.envelope import NDJSON, Limits, count_rows
from monitor.errors import Malformed, Refused, TooLarge
from monitor.ndjson import cut, rows_of
from tests.monitor.test_envelope import lines, opened

LIMITS = Limits()


def rows(payload: bytes, types: pa.Schema | None = None) -> tuple[list[dict[str, Any]], Counter[str]]:
    found, lost = opened(NDJSON, payload, types=types)
    return [row for batch in found for row in batch.to_pylist()], lost


def test_plain_lines_become_one_batch() -> None:
    found, lost = opened(NDJSON, lines({"a": 1, "b": "x"}, {"a": 2.5, "b": None}))
    assert [batch.to_pylist() for batch in found] == [[{"a": 1.0, "b": "x"}, {"a": 2.5, "b": None}]]
    assert not lost


@pytest.mark.parametrize(
    ("payload", "number"),
    [
        (b'{"a":1}\n{"a":2}\n', 2),
        (b'{"a":1}\r\n{"a":2}\r\n', 2),
        (b'\n\n{"a":1}\n\n  \n\t{"a":2}\n \n', 2),
        (b'\xef\xbb\xbf{"a":1}\n{"a":2}', 2),
        (b"{}\n{}\n{}", 3),
        (b"\n \n", 0),
    ],
)
def test_lines_are_counted_without_the_blank_ones(payload: bytes, number: int) -> None:
    assert rows_of(payload, LIMITS) == number
    found, lost = rows(payload)
    assert len(found) == number
    assert not lost


@pytest.mark.parametrize(
    "bad",
    ["[1, 2]", "5", '"text"', "null", "{", '{"a":1}{"a":2}', '{"a":1} x', '{"a":' + "[" * 200_000, "}", "\x00"],
)
def test_one_bad_line_is_discarded_and_the_others_live(bad: str) -> None:
    found, lost = rows(lines({"a": 1}, bad, {"a": 3}))
    assert found == [{"a": 1}, {"a": 3}]
    assert lost == {"malformed": 1}


def test_a_line_that_is_not_utf8_is_discarded() -> None:
    found, lost = rows(b'{"a":"x"}\n{"a":"\xff\xfe"}\n{"a":"y"}')
    assert found == [{"a": "x"}, {"a": "y"}]
    assert lost == {"malformed": 1}


def test_objects_that_do_not_keep_to_their_lines_are_discarded() -> None:
    found, lost = rows(b'{"a":1}\n{"a":\n2}\n{"a":3}')
    assert found == [{"a": 1}, {"a": 3}]
    assert lost == {"malformed": 2}


def test_nesting_without_end_never_reaches_the_recursive_parser() -> None:
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    slanted = "".join('{"a":1,"b":' for _ in range(5000)) + "1" + "}" * 5000
    found, lost = rows(lines({"a": 1}, deep, slanted, {"a": 2}))
    assert found == [{"a": 1}, {"a": 2}]
    assert lost == {"malformed": 1, "limit": 1}  # the first counts as nested, the second as having too many names


def test_brackets_in_text_are_not_nesting() -> None:
    text = "[" * 500
    found, lost = rows(lines(*({"a": text} for _ in range(3))))
    assert found == [{"a": text}] * 3 or lost == {"malformed": 3}


def test_nothing_but_rubbish_is_refused_at_the_door() -> None:
    with pytest.raises(Malformed, match="one JSON object a line"):
        count_rows(NDJSON, b"name,age\nada,36\n", LIMITS)


def test_mixed_types_become_text_for_the_decoder_to_judge() -> None:
    found, lost = rows(lines({"a": 1.5, "b": True}, {"a": "n/a", "b": 0}, {"a": None}))
    assert found == [{"a": "1.5", "b": "true"}, {"a": "n/a", "b": "0"}, {"a": None, "b": None}]
    assert not lost


def test_numbers_beyond_every_type_survive() -> None:
    found, lost = rows(lines('{"a": NaN, "b": 1e999, "c": 1}', '{"a": -Infinity, "b": 2, "c": ' + "9" * 30 + "}"))
    assert math.isnan(found[0]["a"])
    assert found[1]["a"] == -math.inf
    assert found[0]["b"] == math.inf
    assert found[1]["c"] == pytest.approx(1e30)
    assert not lost


def test_half_of_a_surrogate_pair_becomes_a_question_mark() -> None:
    found, lost = rows(b'{"a":"\\ud800","b\\ud800":1}')
    assert found == [{"a": "?", "b?": 1}]
    assert not lost


def test_a_name_given_twice_means_its_last_value() -> None:
    assert rows(b'{"a":1,"a":2}')[0] == [{"a": 2}]


def test_text_that_looks_like_a_time_stays_text_where_the_reference_has_text() -> None:
    payload = lines({"day": "2020-01-01", "n": 1, "seen": "2020-01-01T00:00:00"})
    types = pa.schema({"day": pa.dictionary(pa.int32(), pa.string()), "n": pa.float32(), "gone": pa.string()})
    found, _ = opened(NDJSON, payload, types=types)
    assert found[0].schema.field("day").type == pa.string()
    assert found[0].schema.field("n").type == pa.float64()
    assert pa.types.is_timestamp(found[0].schema.field("seen").type)
    assert "gone" not in found[0].schema.names


def test_a_column_that_breaks_its_type_does_not_change_the_others() -> None:
    types = pa.schema({"day": pa.string(), "zip": pa.string()})
    found, lost = opened(NDJSON, lines(*({"day": "2020-01-01", "zip": 12345} for _ in range(3))), types=types)
    assert found[0].to_pylist() == [{"day": "2020-01-01", "zip": 12345}] * 3
    assert not lost


def test_a_column_that_is_null_and_expected_is_kept_as_null() -> None:
    found, _ = opened(NDJSON, lines({"a": None}), types=pa.schema({"a": pa.string()}))
    assert found[0].to_pylist() == [{"a": None}]


def test_large_bodies_come_in_pieces_with_one_schema() -> None:
    many = [{f"c{column}": row if row > 3000 else None for column in range(50)} for row in range(4000)]
    payload = lines(*many)
    found, lost = opened(NDJSON, payload)
    assert not lost
    assert [row["c7"] for batch in found for row in batch.to_pylist()] == [row["c7"] for row in many]
    assert len(found) < 20


def test_rows_that_each_bring_names_of_their_own_cannot_take_the_memory() -> None:
    payload = b"\n".join(b'{"k%d":1}' % index for index in range(50_000))
    _, lost = opened(NDJSON, payload, limits=Limits(columns=100))
    assert lost["limit"] > 40_000
    sparse = b'{"a":1,' + b",".join(b'"c%d":1' % index for index in range(3000)) + b"}\n" + b"{}\n" * 50_000
    assert not opened(NDJSON, sparse)[1]


def test_one_row_of_a_million_names_is_discarded() -> None:
    payload = b"{" + b",".join(b'"%d":1' % index for index in range(200_000)) + b'}\n{"a":1}'
    found, lost = rows(payload)
    assert found == [{"a": 1}]
    assert lost == {"limit": 1}


def test_too_many_lines_name_the_limit() -> None:
    with pytest.raises(TooLarge, match="batch_rows"):
        rows_of(b"{}\n" * 11, Limits(batch_rows=10))


def test_cutting_keeps_every_line() -> None:
    payload = b"".join(b'{"a":%d}\n' % index for index in range(1000)) + b"\n\n" + b'{"a":1000}'
    parts = list(cut(payload, Limits(batch_rows=64)))
    assert b"".join(part for part, _ in parts).replace(b"\n", b"") == payload.replace(b"\n", b"")
    assert sum(number for _, number in parts) == 1001
    assert max(number for _, number in parts) <= 64


@given(
    st.lists(st.one_of(st.binary(max_size=20), st.just(b'{"a":1}'), st.just(b'{"a":"x"}'), st.just(b"{}")), max_size=9)
)
def test_any_mix_of_lines_is_accounted_for(parts: list[bytes]) -> None:
    try:
        opened(NDJSON, b"\n".join(parts))
    except Refused:
        return


@given(
    st.lists(
        st.dictionaries(st.text(max_size=3), st.none() | st.booleans() | st.floats() | st.text(max_size=5), max_size=4),
        max_size=8,
    )
)
def test_any_objects_are_all_kept(objects: list[dict[str, Any]]) -> None:
    found, lost = rows("\n".join(json.dumps(one) for one in objects).encode())
    assert len(found) == len(objects)
    assert not lost
