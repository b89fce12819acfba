"""Standard input: a pipe of Arrow messages or of lines, with the writer slowed when the queue is full."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from monitor.envelope import ARROW, NDJSON, Limits, batches
from monitor.intake import Intake
from monitor.ledger import Account, Ledger
from monitor.listeners import Stdin
from monitor.sources.stdin import StdinSource
from tests.monitor.test_envelope import LIMITS, stream, table


class Pipe:
    """A source at one end, the test at the other."""

    def __init__(self, limits: Limits = LIMITS, capacity: int = 64 << 20) -> None:
        self.limits = limits
        self.intake = Intake(models=["credit"], capacity_bytes=capacity, ledger=Ledger())
        reading, self._writing = os.pipe()
        self._reading = reading
        self.source = StdinSource(self.intake, Stdin(model="credit"), limits, descriptor=reading)
        self.source.start()

    def write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._writing, view) :]

    def end(self) -> None:
        os.close(self._writing)
        assert self.source.finished.wait(30)
        self.source.stop()
        os.close(self._reading)

    def rows(self) -> list[pa.RecordBatch]:
        found: list[pa.RecordBatch] = []
        while (delivery := self.intake.take(0)) is not None:
            assert delivery.source == "stdin"
            found += batches(delivery, self.limits, lambda *_: None)
            self.intake.done(delivery)
        return found

    @property
    def account(self) -> Account:
        return self.intake.ledger.snapshot().accounts["stdin", "credit"]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    if not made.source.finished.is_set():
        made.end()


def test_lines_come_as_they_are_written(pipe: Pipe) -> None:
    pipe.write(b'{"a":1}\n{"a":')
    first = pipe.intake.take(30)
    assert first is not None
    assert (first.format, first.payload) == (NDJSON, b'{"a":1}\n')
    pipe.write(b'2}\n\n{"a":3}')
    pipe.end()
    assert [row["a"] for batch in pipe.rows() for row in batch.to_pylist()] == [2, 3]


def test_an_arrow_stream_is_cut_into_streams_of_its_own(pipe: Pipe) -> None:
    pipe.write(stream(table(5), table(7)))
    pipe.end()
    assert pipe.account.received_batches == 2
    found = pipe.rows()
    assert [batch.num_rows for batch in found] == [5, 7]
    assert found[0].equals(table(5))


def test_dictionaries_travel_with_the_batches_that_need_them(pipe: Pipe) -> None:
    kind = pa.dictionary(pa.int32(), pa.string())
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(emit_dictionary_deltas=True)
    with pa.ipc.new_stream(sink, pa.schema({"word": kind}), options=options) as writer:
        for values in (["a", "b"], ["a", "b", "c"], ["x"]):
            array = pa.DictionaryArray.from_arrays(pa.array(range(len(values)), pa.int32()), values)
            writer.write_batch(pa.record_batch({"word": array}))
    pipe.write(bytes(sink.getvalue()))
    pipe.end()
    assert [batch.column(0).to_pylist() for batch in pipe.rows()] == [["a", "b"], ["a", "b", "c"], ["x"]]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" * 10, b"a,b\n1,2\n", b"ARROW1\0\0" + stream(table())])
def test_what_makes_no_sense_is_refused_and_ends_the_source(pipe: Pipe, content: bytes) -> None:
    pipe.write(content)
    pipe.end()
    assert pipe.account.refused_requests["malformed"] >= 1
    assert pipe.account.received_rows == 0


def test_a_truncated_stream_keeps_what_came_before(pipe: Pipe) -> None:
    pipe.write(stream(table(5), table(7))[:-60])
    pipe.end()
    assert pipe.account.received_rows == 5
    assert pipe.account.refused_requests["malformed"] == 1


@pytest.mark.parametrize("claim", [1 << 30, 0x7FFFFFFF, 0xFFFFFFF0])
def test_a_claim_beyond_the_limit_is_refused_before_it_is_read(pipe: Pipe, claim: int) -> None:
    pipe.write(b"\xff\xff\xff\xff" + struct.pack("<I", claim) + b"x" * 100)
    pipe.end()
    assert pipe.account.refused_requests["too_large"] == 1


def test_a_batch_beyond_a_limit_is_refused_and_the_next_is_read() -> None:
    pipe = Pipe(Limits(batch_rows=6))
    pipe.write(b"".join(b'{"a":%d}\n' % index for index in range(20)))
    pipe.end()
    assert pipe.account.received_rows == 20
    pipe = Pipe(Limits(string_bytes=10, body_bytes=4096))
    pipe.write(b'{"a":"' + b"x" * 10_000 + b'"}')
    pipe.end()
    assert pipe.account.refused_requests["too_large"] == 1


def test_an_empty_pipe_ends_in_peace(pipe: Pipe) -> None:
    pipe.end()
    assert not pipe.intake.ledger.snapshot().accounts


def test_a_full_queue_slows_the_writer() -> None:
    pipe = Pipe(capacity=100)
    content = b"".join(b'{"a":%d}\n' % index for index in range(50_000))
    writer = threading.Thread(target=pipe.write, args=(content,))
    writer.start()
    values: list[int] = []
    while len(values) < 50_000:
        delivery = pipe.intake.take(30)
        assert delivery is not None
        values += [row for batch in batches(delivery, pipe.limits, lambda *_: None) for row in batch["a"].to_pylist()]
        pipe.intake.done(delivery)
    writer.join()
    pipe.end()
    assert values == list(range(50_000))
    assert pipe.account.received_rows == 50_000


def test_a_silent_pipe_does_not_keep_the_agent_from_stopping() -> None:
    pipe = Pipe()
    pipe.source.stop()
    assert pipe.source.finished.is_set()
    pipe.end()


def test_arrow_payloads_are_complete_streams(pipe: Pipe) -> None:
    pipe.write(stream(table(5), table(6)))
    pipe.end()
    deliveries = [pipe.intake.take(0), pipe.intake.take(0)]
    for delivery, rows in zip(deliveries, (5, 6), strict=True):
        assert delivery is not None
        assert delivery.format == ARROW
        assert pa.ipc.open_stream(delivery.payload).read_all().num_rows == rows
