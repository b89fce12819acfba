from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import flight

from monitor.demo.classifier import Classifier
from monitor.demo.files import folder
from monitor.demo.sender import FIRST_WAIT_SECONDS, PATIENCE_SECONDS, Link, Sender
from monitor.demo.server import BATCH_LABELS, BATCH_ROWS, Accelerated, read_requests, serve, told
from monitor.errors import DriftwardenError
from monitor.intake import Intake
from monitor.ledger import Ledger
from monitor.limits import Limits
from monitor.listeners import Flight
from monitor.quantities import Address
from monitor.sources.flight import FlightSource


@pytest.fixture(scope="module")
def model() -> Classifier:
    return Classifier.load(folder() / "model.json")


@pytest.fixture(scope="module")
def requests(model: Classifier) -> pa.Table:
    return read_requests(folder() / "production.parquet", model)


# The model.


def small_model() -> Classifier:
    return Classifier("v1", 0.5, {"colour": {"red": 1.0, "blue": -1.0}}, {"age": {"0": 0.0, "10": 2.0}})


def test_a_score_is_the_bias_and_the_weights_of_the_row() -> None:
    rows = pa.table({"colour": ["red", "blue"], "age": [5, 20]})
    expected = 1 / (1 + np.exp(-np.array([0.5 + 1.0 + 1.0, 0.5 - 1.0 + 2.0])))
    np.testing.assert_allclose(small_model().score(rows), expected, rtol=1e-6)


def test_a_level_that_the_model_has_not_met_adds_nothing() -> None:
    rows = pa.table({"colour": pa.array(["green", None, "red"]).dictionary_encode(), "age": [0, 0, 0]})
    expected = 1 / (1 + np.exp(-np.array([0.5, 0.5, 1.5])))
    np.testing.assert_allclose(small_model().score(rows), expected, rtol=1e-6)


def test_a_model_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(small_model().document()), encoding="utf-8")
    assert Classifier.load(tmp_path / "model.json") == small_model()


@pytest.mark.parametrize("text", ["", "[]", '{"version": "v1"}'])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text, encoding="utf-8")
    with pytest.raises(DriftwardenError, match=r"model\.json.*make_data\.py"):
        Classifier.load(tmp_path / "model.json")


# The server.


class FakeTime:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_the_server_reads_no_stored_answer(requests: pa.Table) -> None:
    assert not {"prediction", "score"} & set(requests.column_names)


def test_answers_come_when_the_accelerated_clock_says_so(model: Classifier, requests: pa.Table) -> None:
    clock = FakeTime()
    pace = Accelerated.over(requests, 100.0, clock.read)
    moments = []
    rows = 0
    for batch in serve(requests, model, pace, clock.sleep):
        rows += batch.num_rows
        moments.append(clock.now - 1000.0)
        if len(moments) == 50:
            break
    share = np.arange(1, 51) * BATCH_ROWS / requests.num_rows
    np.testing.assert_allclose(np.array(moments), 100.0 * share, rtol=0.02)
    assert rows == 50 * BATCH_ROWS


def test_what_is_served_equals_what_is_stored(model: Classifier, requests: pa.Table) -> None:
    pace = Accelerated.over(requests, 0.0, time.monotonic)
    part = requests.slice(133_000, 1_050)
    served = pa.Table.from_batches(list(serve(part, model, pace, lambda _: None)))
    stored = pq.read_table(folder() / "production.parquet").slice(133_000, 1_050)
    assert served.drop_columns(["score"]).equals(
        stored.select(served.column_names).drop_columns(["score"]).unify_dictionaries()
    )
    np.testing.assert_allclose(np.asarray(served["score"]), np.asarray(stored["score"]), atol=1e-6)


# The sender.


class Sink(flight.FlightServerBase):  # type: ignore[misc] # pyarrow publishes no types
    """Takes batches; ``refuse`` says for each (counted over all calls) whether it raises instead."""

    def __init__(self, refuse: dict[int, Exception]) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self.refuse = refuse
        self.seen = 0
        self.batches: list[pa.RecordBatch] = []
        self.paths: list[tuple[str, ...]] = []

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        self.paths.append(tuple(part.decode() for part in descriptor.path))
        rows = 0
        for chunk in reader:
            self.seen += 1
            if self.seen in self.refuse:
                raise self.refuse[self.seen]
            self.batches.append(chunk.data)
            rows += chunk.data.num_rows
            writer.write(json.dumps({"rows": rows}).encode())


def numbered(batches: int) -> Iterator[pa.RecordBatch]:
    for start in range(0, 10 * batches, 10):
        yield pa.record_batch({"n": list(range(start, start + 10))})


def numbers(batches: list[pa.RecordBatch]) -> list[int]:
    return [number for batch in batches for number in batch["n"].to_pylist()]


def test_rows_arrive_once_and_in_order_although_the_agent_is_full_now_and_then() -> None:
    hint = json.dumps({"reason": "queue_full", "rows": 0, "retry_after": 0.7}).encode()
    full = flight.FlightUnavailableError("full", extra_info=hint)
    clock = FakeTime()
    with Sink({1: full, 7: full, 8: full, 30: full}) as sink:
        link = Link(f"grpc://127.0.0.1:{sink.port}", ("employment", "v1"))
        sender = Sender(link, clock.read, clock.sleep)
        assert sender.send(numbered(40)) == 400
        assert numbers(sink.batches) == list(range(400))
        assert set(sink.paths) == {("employment", "v1")}
        assert sender.refusals == 4
        assert clock.slept == [0.7] * 4, "the agent's own hint, as it is longer"


def test_a_refusal_that_will_not_pass_is_raised_at_once() -> None:
    clock = FakeTime()
    with Sink({3: flight.FlightServerError("no model is called employment")}) as sink:
        sender = Sender(Link(f"grpc://127.0.0.1:{sink.port}", ("employment",)), clock.read, clock.sleep)
        with pytest.raises(flight.FlightServerError, match="no model"):
            sender.send(numbered(10))
        assert clock.slept == []
        assert sender.logged == 20


def test_an_agent_that_stays_away_is_given_up_with_waits_that_grow() -> None:
    clock = FakeTime()
    with Sink({}) as sink:
        link = Link(f"grpc://127.0.0.1:{sink.port}", ("employment",))
    sender = Sender(link, clock.read, clock.sleep)
    with pytest.raises(flight.FlightUnavailableError):
        sender.send(numbered(1))
    assert clock.slept[:3] == [FIRST_WAIT_SECONDS, 2 * FIRST_WAIT_SECONDS, 4 * FIRST_WAIT_SECONDS]
    assert PATIENCE_SECONDS <= sum(clock.slept) < PATIENCE_SECONDS + 5


def test_nothing_to_send_is_no_call() -> None:
    sender = Sender(Link("grpc://127.0.0.1:1", ("employment",)), time.monotonic, time.sleep)
    assert sender.send(iter(())) == 0


def test_a_small_queue_of_the_real_source_only_delays(model: Classifier, requests: pa.Table) -> None:
    taken: list[int] = []
    ledger = Ledger([("flight", "employment")])
    intake = Intake(models=["employment"], capacity_bytes=20_000, ledger=ledger, spool=None)
    source = FlightSource(intake, Flight(listen=Address("127.0.0.1", 0)), Limits())
    source.start()

    def drain(_: float = 0.0) -> None:
        while (delivery := intake.take(0.0)) is not None:
            assert (delivery.model, delivery.version) == ("employment", "v1")
            taken.append(delivery.rows)
            intake.done(delivery)

    try:
        sender = Sender(Link(f"grpc://127.0.0.1:{source.port}", ("employment", "v1")), time.monotonic, drain)
        pace = Accelerated.over(requests, 0.0, time.monotonic)
        logged = sender.send(serve(requests.slice(0, 5_000), model, pace, lambda _: None))
        drain()
    finally:
        source.stop()
    assert logged == sum(taken) == 5_000
    assert sender.refusals > 2


def test_labels_come_four_weeks_after_their_requests(requests: pa.Table) -> None:
    clock = FakeTime()
    pace = Accelerated.over(requests, 1096.0, clock.read)  # a second is a day
    labels = pq.read_table(folder() / "labels.parquet").slice(0, 4 * BATCH_LABELS)
    for place, batch in enumerate(told(labels, pace, clock.sleep)):
        part = requests.slice(place * BATCH_LABELS, BATCH_LABELS)
        assert batch["id"].to_pylist() == part["id"].to_pylist()
        assert set(batch.schema.names) == {"id", "time", "employed"}
        last = (part["time"][-1].value - requests["time"][0].value) / 86_400_000
        assert clock.now - 1000.0 == pytest.approx(28 + last, abs=0.1)
    assert place == 3
