"""Flight: each batch is safe before it is acknowledged, and each refusal says how much was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from monitor.config import Config, parse_config
from monitor.envelope import BATCH, Limits
from monitor.errors import DriftwardenError
from monitor.intake import Intake
from monitor.ledger import Ledger
from monitor.listeners import Flight
from monitor.sources import flight
from monitor.sources.flight import FlightSource
from monitor.spool import Spool
from tests.monitor.test_envelope import LIMITS, table


def settings(**more: Any) -> Flight:
    document = {
        "models": [{"name": "credit", "reference": "r.parquet"}],
        "sources": [{"flight": {"listen": "127.0.0.1:0", **more}}],
    }
    config: Config = parse_config(document, base=Path(), environ={"TOKEN": "secret"})
    found = config.sources[0].settings
    assert isinstance(found, Flight)
    return found


class Service:
    """A running source, and senders to it."""

    def __init__(
        self, folder: Path | None = None, capacity: int = 1 << 20, limits: Limits = LIMITS, **more: Any
    ) -> None:
        self.spool = Spool(folder, 64 << 20) if folder is not None else None
        self.intake = Intake(models=["credit"], capacity_bytes=capacity, ledger=Ledger(), spool=self.spool)
        self.source = FlightSource(self.intake, settings(**more), limits)
        self.source.start()

    def close(self) -> None:
        self.source.stop()
        if self.spool is not None:
            self.spool.close()

    def client(self, scheme: str = "grpc", **more: Any) -> fl.FlightClient:
        return fl.connect(f"{scheme}://127.0.0.1:{self.source.port}", **more)

    def put(self, *batches: pa.RecordBatch, path: tuple[str, ...] = ("credit", "v1"), **more: Any) -> list[int]:
        """Send and return the acknowledged row counts."""
        with self.client() as client:
            return put(client, *batches, path=path, **more)


def put(
    client: fl.FlightClient, *batches: pa.RecordBatch, path: tuple[str, ...] = ("credit",), **more: Any
) -> list[int]:
    writer, reader = client.do_put(fl.FlightDescriptor.for_path(*path), batches[0].schema, **more)
    acknowledged = []
    with writer:
        for batch in batches:
            writer.write_batch(batch)
            answer = reader.read()
            if answer is None:
                break
            acknowledged.append(json.loads(answer.to_pybytes())["rows"])
        writer.done_writing()
    return acknowledged


def detail(error: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(error.extra_info)
    return found


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


def test_rows_are_acknowledged_cumulatively(service: Service) -> None:
    assert service.put(table(5), table(7), table(0)) == [5, 12, 12]
    delivery = service.intake.take(0)
    assert delivery is not None
    assert (delivery.model, delivery.version, delivery.rows, delivery.format) == ("credit", "v1", 5, BATCH)
    assert delivery.payload == table(5)
    assert sum(service.intake.ledger.snapshot().acknowledgements["flight"].counts) == 3


def test_acknowledged_rows_are_on_disk(tmp_path: Path) -> None:
    service = Service(tmp_path)
    assert service.put(table(5), table(7)) == [5, 12]
    after = Spool(tmp_path, 64 << 20)
    assert [record.header["rows"] for record in after.recover(0)] == [5, 7]
    after.close()
    service.close()


def test_a_sender_that_does_not_wait_shares_flushes_and_gets_every_answer(tmp_path: Path) -> None:
    service = Service(tmp_path)
    batches = 3 * flight.WINDOW
    with service.client() as client:
        writer, reader = client.do_put(fl.FlightDescriptor.for_path("credit"), table().schema)
        for _ in range(batches):
            writer.write_batch(table(5))
        writer.done_writing()
        acknowledged = [json.loads(reader.read().to_pybytes())["rows"] for _ in range(batches)]
        assert reader.read() is None
        writer.close()
    assert acknowledged == list(range(5, 5 * batches + 5, 5))
    assert sum(service.intake.ledger.snapshot().acknowledgements["flight"].counts) == batches
    service.close()


def test_a_disk_that_fails_says_what_was_safe_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(tmp_path)
    with service.client() as client:
        writer, reader = client.do_put(fl.FlightDescriptor.for_path("credit"), table().schema)
        writer.write_batch(table(5))
        assert json.loads(reader.read().to_pybytes()) == {"rows": 5}

        def broken(*_: Any) -> int:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "pwrite", broken)
        writer.write_batch(table(5))
        with pytest.raises(fl.FlightUnavailableError, match="No space left") as caught:
            writer.close()
    assert detail(caught.value) == {"reason": "spool", "rows": 5, "retry_after": 1.0}
    assert service.intake.queued_rows == 5
    service.close()


def test_an_unknown_model_is_a_clear_error(service: Service) -> None:
    with pytest.raises(
        fl.FlightServerError, match='no model is called "kredit"; configured under models: credit'
    ) as caught:
        service.put(table(), path=("kredit",))
    assert detail(caught.value) == {"reason": "unknown_model", "rows": 0}
    assert service.intake.ledger.snapshot().accounts["flight", ""].refused_requests["unknown_model"] == 1


@pytest.mark.parametrize("path", [(), ("credit", "v1", "more")])
def test_a_descriptor_that_is_no_path_of_one_or_two_is_malformed(service: Service, path: tuple[str, ...]) -> None:
    with pytest.raises(fl.FlightServerError, match="descriptor"):
        service.put(table(), path=path)


def test_a_full_queue_says_when_to_come_back_and_what_is_safe() -> None:
    service = Service(capacity=table(5).nbytes + 10)
    with pytest.raises(fl.FlightUnavailableError, match=r"queue\.bytes") as caught:
        service.put(table(5), table(5))
    assert detail(caught.value) == {"reason": "queue_full", "rows": 5, "retry_after": 1.0}
    assert service.intake.queued_rows == 5
    service.close()


def test_drop_oldest_keeps_the_newest() -> None:
    service = Service(capacity=table(5).nbytes + 10, when_full="drop_oldest")
    assert service.put(*[table(5)] * 4) == [5, 10, 15, 20]
    assert service.intake.queued_rows == 5
    assert service.intake.ledger.snapshot().accounts["flight", "credit"].discarded_rows["queue_full"] == 15
    service.close()


@pytest.mark.parametrize("limits", [Limits(batch_rows=4), Limits(columns=3), Limits(body_bytes=100)])
def test_limits_are_named(limits: Limits) -> None:
    service = Service(limits=limits)
    with pytest.raises(fl.FlightServerError, match=r"limits\.") as caught:
        service.put(table(5))
    assert detail(caught.value)["reason"] == "too_large"
    service.close()


def test_text_that_is_not_utf8_is_refused_and_the_server_lives(service: Service) -> None:
    text = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe"))
    with pytest.raises(fl.FlightServerError, match="damaged"):
        service.put(pa.record_batch({"word": text}))
    assert service.put(table(5)) == [5]


def test_dictionaries_and_nested_types_pass(service: Service) -> None:
    batch = pa.record_batch({"word": pa.array(["a", "b", "a"]).dictionary_encode(), "list": [[1.0], [], None]})
    assert service.put(batch) == [3]
    delivery = service.intake.take(0)
    assert delivery is not None
    assert delivery.payload == batch


def test_the_token_is_asked_for() -> None:
    service = Service(token_env="TOKEN")
    for header in (None, "Bearer wrong", "secret"):
        headers = [] if header is None else [(b"authorization", header.encode())]
        with pytest.raises(fl.FlightUnauthenticatedError, match="bearer token"):
            service.put(table(), options=fl.FlightCallOptions(headers=headers))
    options = fl.FlightCallOptions(headers=[(b"authorization", b"Bearer secret")])
    assert service.put(table(5), options=options) == [5]
    service.close()


def test_a_stopping_agent_refuses(service: Service) -> None:
    with service.client() as client:
        (answer,) = client.do_action("health")
        assert json.loads(answer.body.to_pybytes()) == {"status": "ok"}
        service.intake.close()
        (answer,) = client.do_action("health")
        assert json.loads(answer.body.to_pybytes()) == {"status": "draining"}
        assert [action.type for action in client.list_actions()] == ["health"]
        with pytest.raises(fl.FlightServerError, match="use health"):
            list(client.do_action("explode"))
    with pytest.raises(fl.FlightUnavailableError, match="stopping"):
        service.put(table())


def test_too_many_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight, "STREAMS", 1)
    service = Service()
    with service.client() as first:
        writer, reader = first.do_put(fl.FlightDescriptor.for_path("credit"), table().schema)
        writer.write_batch(table(5))
        reader.read()
        with pytest.raises(fl.FlightUnavailableError, match="streams"):
            service.put(table())
        writer.close()
    assert service.put(table(5)) == [5]
    service.close()


def test_an_idle_sender_does_not_keep_the_agent_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flight, "STOP_SECONDS", 0.05)
    service = Service()
    with service.client() as client:
        writer, reader = client.do_put(fl.FlightDescriptor.for_path("credit"), table().schema)
        writer.write_batch(table(5))
        reader.read()
        service.source.stop()
        writer.close()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with the openssl command")
def test_tls_is_spoken_with_certificate_and_key(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    service = Service(tls_cert=str(cert), tls_key=str(key))
    with service.client("grpc+tls", tls_root_certs=cert.read_bytes(), override_hostname="localhost") as client:
        assert put(client, table(5)) == [5]
    service.close()


def test_an_address_in_use_is_named(service: Service) -> None:
    again = FlightSource(service.intake, settings(listen=f"127.0.0.1:{service.source.port}"), Limits())
    with pytest.raises(DriftwardenError, match=r"flight\.listen: 127\.0\.0\.1"):
        again.start()


def test_flight_is_not_imported_until_it_is_asked_for() -> None:
    check = "import sys, monitor.sources, monitor.intake; sys.exit('pyarrow.flight' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
