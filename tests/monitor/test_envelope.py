"""The envelope: counted without being opened, refused before anything is allocated, decoded without ever raising."""

from __future__ import annotations

import json
import resource
import struct
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import ipc
from monitor.envelope import ARROW, BATCH, NDJSON, Delivery, Limits, batches, count_rows, encode
from monitor.errors import Malformed, Refused, TooLarge

LIMITS = Limits()


def table(rows: int = 5, columns: int = 3) -> pa.RecordBatch:
    generator = np.random.default_rng(7)
    data: dict[str, Any] = {f"x{index}": generator.normal(size=rows) for index in range(columns)}
    return pa.record_batch(data | {"word": pa.array(["w" * (index % 4) for index in range(rows)], pa.string())})


def stream(*parts: pa.RecordBatch, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, parts[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for part in parts:
            writer.write_batch(part)
    return bytes(sink.getvalue())


def opened(
    form: str, payload: Any, rows: int | None = None, limits: Limits = LIMITS, types: pa.Schema | None = None
) -> tuple[list[pa.RecordBatch], Counter[str]]:
    """Decode; rows yielded and discarded must add up, whatever the payload."""
    rows = count_rows(form, payload, limits) if rows is None else rows
    lost: Counter[str] = Counter()

    def discard(reason: str, number: int, message: str) -> None:
        assert number > 0
        assert message
        lost[reason] += number

    delivery = Delivery(1, "http", "credit", "", rows, 1, form, payload)
    found = list(batches(delivery, limits, discard, types))
    for batch in found:
        batch.validate(full=True)
        assert batch.num_rows
    assert sum(batch.num_rows for batch in found) + lost.total() == rows
    return found, lost


def lines(*rows: Any) -> bytes:
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode()


def test_arrow_rows_are_counted_over_all_batches() -> None:
    payload = stream(table(5), table(7), table(0))
    assert count_rows(ARROW, payload, LIMITS) == 12
    found, lost = opened(ARROW, payload)
    assert [batch.num_rows for batch in found] == [5, 7]
    assert not lost


def test_zero_rows_are_a_delivery_of_nothing() -> None:
    assert opened(ARROW, stream(table(0))) == ([], Counter())
    assert opened(NDJSON, b"") == ([], Counter())
    assert opened(BATCH, table(0)) == ([], Counter())


def test_dictionary_and_nested_types_pass_through() -> None:
    batch = pa.record_batch(
        {
            "word": pa.array(["a", "b", "a"]).dictionary_encode(),
            "list": [[1.0], [], None],
            "struct": [{"x": 1, "y": [2]}] * 3,
            "null": pa.nulls(3),
            "view": pa.array(["a", "b", None], pa.string_view()),
            "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([1.0, 2.0])),
        }
    )
    for options in ({}, {"compression": "zstd"}, {"compression": "lz4"}, {"use_legacy_format": True}):
        found, lost = opened(ARROW, stream(batch, **options))
        assert found[0].equals(batch)
        assert not lost


def test_a_batch_in_memory_keeps_its_identity() -> None:
    batch = table()
    found, _ = opened(BATCH, batch)
    assert found[0] is batch


def test_an_encoded_batch_is_a_stream() -> None:
    batch = table()
    found, lost = opened(ARROW, encode(batch))
    assert found[0].equals(batch)
    assert not lost


def test_every_truncation_is_refused_or_a_counted_discard() -> None:
    payload = stream(table(50), table(50))
    for size in range(0, len(payload), 7):
        try:
            opened(ARROW, payload[:size])
        except Malformed:
            continue


@given(st.binary(max_size=300))
def test_random_bytes_never_crash(payload: bytes) -> None:
    for form in (ARROW, NDJSON):
        try:
            opened(form, payload)
        except Refused:
            continue


def test_flipped_bytes_never_crash() -> None:
    dictionary = pa.record_batch({"word": pa.array(["a", "bb", "a"] * 9).dictionary_encode(), "x": [[1.5, 2]] * 27})
    chooser = np.random.default_rng(11)
    for original in (stream(table(30)), stream(dictionary), stream(table(30), compression="lz4")):
        for _ in range(400):
            payload = bytearray(original)
            for place in chooser.integers(0, len(payload), chooser.integers(1, 5)):
                payload[place] = chooser.choice([0, 1, 127, 128, 255, int(chooser.integers(256))])
            try:
                opened(ARROW, bytes(payload))
            except Refused:
                continue


def test_offsets_that_point_out_of_the_buffer_are_discarded() -> None:
    batch = pa.record_batch({"word": ["aaaa"] * 4})
    payload = bytearray(stream(batch))
    offsets = payload.find(struct.pack("<5i", 0, 4, 8, 12, 16))
    payload[offsets : offsets + 20] = struct.pack("<5i", 0, 1 << 30, 8, 12, 1 << 30)
    found, lost = opened(ARROW, bytes(payload))
    assert not found
    assert lost == {"decode_error": 4}


def test_text_that_is_not_utf8_is_discarded() -> None:
    payload = stream(pa.record_batch({"word": ["aaaa"] * 4})).replace(b"aaaa", b"\xff\xfe\xfd\xfc")
    assert opened(ARROW, payload) == ([], Counter(decode_error=4))


def test_two_gigabytes_claimed_in_a_kilobyte_cost_nothing() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    payload = stream(table(5))[:1024]
    body = struct.pack("<q", 2 << 30)
    for position in range(8, 300, 4):
        claimed = payload[:position] + body + payload[position + 8 :]
        try:
            opened(ARROW, claimed)
        except Refused:
            continue
    for claim in (0x7FFFFFFF, 0x7FFFFFF8, 0x80000000):
        with pytest.raises(Malformed, match="claims a header"):
            count_rows(ARROW, b"\xff\xff\xff\xff" + struct.pack("<I", claim) + b"x" * 1000, LIMITS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_compressed_bomb_is_refused_by_what_it_would_become() -> None:
    bomb = pa.record_batch({"x": np.zeros(900_000)})
    payload = stream(bomb, compression="zstd")
    assert len(payload) < 10_000
    with pytest.raises(TooLarge, match="would grow"):
        count_rows(ARROW, payload, Limits(body_bytes=1 << 20))
    assert count_rows(ARROW, payload, LIMITS) == 900_000


def test_ten_thousand_columns_are_refused_by_number() -> None:
    wide = pa.record_batch({f"c{index}": [1] for index in range(10_000)})
    with pytest.raises(TooLarge, match="10000 columns"):
        count_rows(ARROW, stream(wide), LIMITS)
    with pytest.raises(TooLarge, match=r"limits\.columns"):
        count_rows(BATCH, wide, LIMITS)
    body = lines(dict.fromkeys(wide.schema.names, 1))
    assert opened(NDJSON, body)[1] == {"limit": 1}


def test_nested_fields_do_not_escape_the_limit_on_columns() -> None:
    deep = pa.struct([pa.field(f"a-rather-long-name-{index}", pa.int8()) for index in range(5000)])
    payload = stream(pa.record_batch([pa.nulls(1, deep)], names=["x"]))
    with pytest.raises(TooLarge, match="nested"):
        count_rows(ARROW, payload, Limits(columns=100))
    assert count_rows(ARROW, payload, LIMITS) == 1


@pytest.mark.parametrize(
    ("limits", "payload", "word"),
    [
        (Limits(body_bytes=100), stream(table()), "body_bytes"),
        (Limits(batch_rows=4), stream(table(5)), "batch_rows"),
        (Limits(batch_rows=9), stream(table(5), table(5)), "batch_rows"),
        (Limits(columns=3), stream(table()), "columns"),
    ],
)
def test_each_limit_names_itself(limits: Limits, payload: bytes, word: str) -> None:
    with pytest.raises(TooLarge, match=word):
        count_rows(ARROW, payload, limits)


def test_countless_tiny_batches_are_refused() -> None:
    with pytest.raises(TooLarge, match="messages"):
        count_rows(ARROW, stream(*[table(1, 1)] * 5000), LIMITS)


def test_a_second_stream_behind_the_first_is_not_lost_silently() -> None:
    with pytest.raises(Malformed, match="after the end"):
        count_rows(ARROW, stream(table()) * 2, LIMITS)


@pytest.mark.parametrize("payload", [b"", stream(table())[8:], b"ARROW1\0\0" + stream(table())])
def test_what_is_no_stream_says_so(payload: bytes) -> None:
    with pytest.raises(Malformed):
        count_rows(ARROW, payload, LIMITS)


def test_header_fields_are_read_as_arrow_wrote_them() -> None:
    payload = stream(table(5, 3))
    start, length = ipc.frame(payload)
    header = ipc.parse(payload[start : start + length], LIMITS)
    assert (header.kind, header.columns, header.body) == (ipc.SCHEMA, 4, 0)


def test_a_string_beyond_the_limit_costs_its_row_only() -> None:
    limits = Limits(string_bytes=100)
    texts = ["short", "x" * 101, None, "y" * 100]
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        batch = pa.record_batch({"id": [0, 1, 2, 3], "text": pa.array(texts, pa.string()).cast(kind)})
        found, lost = opened(ARROW, stream(batch), limits=limits)
        assert found[0].column("id").to_pylist() == [0, 2, 3]
        assert lost == {"limit": 1}


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(Malformed, match="csv"):
        count_rows("csv", b"a,b", LIMITS)
