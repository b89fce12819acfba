"""HTTP: every answer says what happened, every refusal is counted, and no body can take the memory."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from starlette.applications import Starlette

from monitor.envelope import ARROW, NDJSON, Limits
from monitor.errors import DriftwardenError, Refused
from monitor.intake import Intake
from monitor.ledger import Account, Ledger
from monitor.sources import SOURCES, http, load
from monitor.sources.http import Server, Settings, routes
from monitor.spool import Spool
from tests.monitor.test_envelope import stream, table

ARROW_TYPE = {"content-type": "application/vnd.apache.arrow.stream"}
LINES_TYPE = {"content-type": "application/x-ndjson"}
JSON_TYPE = {"content-type": "application/json; charset=utf-8"}


class Agent:
    """The routes over an intake, without a socket."""

    def __init__(self, capacity: int = 1 << 20, **settings: Any) -> None:
        self.intake = Intake(models=["credit"], capacity_bytes=capacity, ledger=Ledger())
        self.app = Starlette(routes=routes(self.intake, Settings(**settings)))

    def post(self, content: Any, headers: dict[str, str], path: str = "/v1/ingest/credit") -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
                return await client.post(path, content=content, headers=headers)

        return asyncio.run(send())

    def account(self, model: str = "credit") -> Account:
        return self.intake.ledger.snapshot().accounts["http", model]


def refused(answer: httpx.Response, status: int, reason: str, words: str) -> None:
    assert answer.status_code == status
    document = answer.json()
    assert set(document) == {"error", "reason", "hint"}
    assert document["reason"] == reason
    assert document["hint"]
    assert words in document["error"]


@pytest.mark.parametrize(
    ("content", "headers", "form"),
    [(stream(table(5)), ARROW_TYPE, ARROW), (b'{"a":1}\n' * 5, LINES_TYPE, NDJSON)],
)
def test_rows_are_accepted_undecoded(content: bytes, headers: dict[str, str], form: str) -> None:
    agent = Agent()
    answer = agent.post(content, headers, "/v1/ingest/credit?version=v3")
    assert (answer.status_code, answer.json()) == (202, {"accepted_rows": 5})
    delivery = agent.intake.take(0)
    assert delivery is not None
    assert (delivery.format, delivery.payload, delivery.version, delivery.source) == (form, content, "v3", "http")
    assert agent.account().received_rows == 5
    assert sum(agent.intake.ledger.snapshot().acknowledgements["http"].counts) == 1


def test_the_version_may_come_in_a_header() -> None:
    agent = Agent()
    agent.post(b"{}", {**LINES_TYPE, "X-Driftwarden-Version": "v4"})
    delivery = agent.intake.take(0)
    assert delivery is not None
    assert delivery.version == "v4"


@pytest.mark.parametrize(
    ("document", "rows"), [({"a": 1}, 1), ([{"a": 1}, {"a": "x\ny"}], 2), ([], 0)], ids=["object", "array", "empty"]
)
def test_a_json_document_becomes_lines(document: Any, rows: int) -> None:
    agent = Agent()
    answer = agent.post(json.dumps(document, indent=2), JSON_TYPE)
    assert answer.json() == {"accepted_rows": rows}
    delivery = agent.intake.take(0)
    assert delivery is not None
    assert delivery.format == NDJSON
    found = [json.loads(line) for line in bytes(delivery.payload).splitlines()]
    assert found == (document if isinstance(document, list) else [document])


@pytest.mark.parametrize("body", [b"{", b"5", b"[1]", b"\xff", b"[" * 100_000, b'{"a":' * 100_000])
def test_json_that_is_no_row_is_malformed(body: bytes) -> None:
    agent = Agent()
    refused(agent.post(body, JSON_TYPE), 400, "malformed", "object")
    assert agent.account().refused_requests["malformed"] == 1


@pytest.mark.parametrize("body", [b"", stream(table())[:-40], b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 1000, b"{}"])
def test_what_is_no_arrow_stream_is_malformed(body: bytes) -> None:
    agent = Agent()
    refused(agent.post(body, ARROW_TYPE), 400, "malformed", "")
    assert agent.account().refused_requests["malformed"] == 1
    assert agent.account().received_rows == 0


def test_an_unknown_model_is_404_and_gets_no_series_of_its_own() -> None:
    agent = Agent()
    refused(agent.post(b"{}", LINES_TYPE, "/v1/ingest/kredit"), 404, "unknown_model", "credit")
    assert agent.account("").refused_requests["unknown_model"] == 1
    assert ("http", "kredit") not in agent.intake.ledger.snapshot().accounts


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/csv"},
        {},
        {**LINES_TYPE, "content-encoding": "gzip"},
        {**ARROW_TYPE, "content-encoding": "zstd"},
    ],
)
def test_other_media_and_encodings_are_415_with_a_hint(headers: dict[str, str]) -> None:
    answer = Agent().post(b"{}", headers)
    refused(answer, 415, "media_type", "is not read")


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic secret", "secret", "Bearer ", "Bearer s\u00e9cret"])
def test_a_wrong_token_is_401(header: str | None) -> None:
    agent = Agent(token="secret")
    headers = LINES_TYPE if header is None else {**LINES_TYPE, "authorization": header.encode("latin-1")}
    answer = agent.post(b"{}", headers)  # type: ignore[arg-type]
    refused(answer, 401, "unauthorised", "token")
    assert answer.headers.get_list("www-authenticate")[1] == "Bearer"
    assert agent.intake.queued_rows == 0


def test_the_right_token_opens_the_door() -> None:
    assert Agent(token="secret").post(b"{}", {**LINES_TYPE, "authorization": "bearer secret"}).status_code == 202


def test_an_announced_body_beyond_the_limit_is_refused_before_it_is_read() -> None:
    agent = Agent(limits=Limits(body_bytes=1000))
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for size in range(100):
            read.append(size)
            yield b"x" * 100

    headers = {**LINES_TYPE, "content-length": str(2 << 30)}
    refused(agent.post(body(), headers), 413, "too_large", "limits.body_bytes")
    assert len(read) <= 1


def test_a_chunked_body_is_cut_off_at_the_limit() -> None:
    agent = Agent(limits=Limits(body_bytes=1000))
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for size in range(100):
            read.append(size)
            yield b"x" * 100

    refused(agent.post(body(), LINES_TYPE), 413, "too_large", "limits.body_bytes")
    assert len(read) <= 12


@pytest.mark.parametrize("claim", ["-1", "many", "1e3", "\u0663"])
def test_a_length_that_is_no_number_is_malformed(claim: str) -> None:
    headers = [(b"content-type", b"application/x-ndjson"), (b"content-length", claim.encode())]
    refused(Agent().post(b"{}", dict(headers)), 400, "malformed", "Content-Length")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "body"),
    [(Limits(batch_rows=4), stream(table(5))), (Limits(columns=2), stream(table(5)))],
)
def test_rows_and_columns_have_limits_too(limits: Limits, body: bytes) -> None:
    refused(Agent(limits=limits).post(body, ARROW_TYPE), 413, "too_large", "limits.")


def test_a_full_queue_is_429_with_the_seconds_to_wait() -> None:
    agent = Agent(capacity=100)
    assert agent.post(b'{"a":1}\n' * 12, LINES_TYPE).status_code == 202
    answer = agent.post(b'{"a":1}\n' * 12, LINES_TYPE)
    refused(answer, 429, "queue_full", "queue.bytes")
    assert int(answer.headers["retry-after"]) >= 1
    assert agent.account().refused_requests["queue_full"] == 1


def test_drop_oldest_accepts_always() -> None:
    agent = Agent(capacity=100, policy="drop_oldest")
    for _ in range(5):
        assert agent.post(b'{"a":1}\n' * 12, LINES_TYPE).status_code == 202
    assert agent.account().received_rows == 60
    assert agent.account().discarded_rows["queue_full"] == 48
    assert agent.intake.queued_rows == 12


def test_a_stopping_agent_answers_503() -> None:
    agent = Agent()
    agent.intake.close()
    answer = agent.post(b"{}", LINES_TYPE)
    refused(answer, 503, "draining", "stopping")
    assert "retry-after" in answer.headers


def test_all_bodies_together_have_a_budget() -> None:
    agent = Agent(limits=Limits(body_bytes=1000))
    gate = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b'{"a":1}\n' * 100
        await gate.wait()
        yield b"\n"

    async def crowd() -> list[httpx.Response]:
        transport = httpx.ASGITransport(agent.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            tasks = [
                asyncio.create_task(client.post("/v1/ingest/credit", content=body(), headers=LINES_TYPE))
                for _ in range(5)
            ]
            done, _ = await asyncio.wait(tasks, timeout=30, return_when=asyncio.FIRST_COMPLETED)
            assert done
            gate.set()
            answers = await asyncio.gather(*tasks)
            answers.append(await client.post("/v1/ingest/credit", content=b"{}", headers=LINES_TYPE))
            return answers

    statuses = [answer.status_code for answer in asyncio.run(crowd())]
    assert sorted(statuses[:5]) == [202, 202, 429, 429, 429]
    assert statuses[5] == 202


def test_a_body_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_SECONDS", 0.01)

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    refused(Agent().post(body(), LINES_TYPE), 408, "timeout", "did not arrive")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Server, Intake]]:
    spool = Spool(tmp_path, 64 << 20)
    intake = Intake(models=["credit"], capacity_bytes=64 << 20, ledger=Ledger(), spool=spool)
    served = Server(Starlette(routes=routes(intake)), "127.0.0.1", 0)
    served.start()
    yield served, intake
    served.stop()
    spool.close()


def test_a_real_server_answers_at_once_and_stops(server: tuple[Server, Intake], tmp_path: Path) -> None:
    served, intake = server
    assert served.port > 0
    url = f"http://127.0.0.1:{served.port}/v1/ingest/credit"
    with httpx.Client() as client:
        for _ in range(3):
            assert client.post(url, content=stream(table(5)), headers=ARROW_TYPE).json() == {"accepted_rows": 5}
        assert client.post(url, content=iter([b"{}\n", b"{}"]), headers=LINES_TYPE).json() == {"accepted_rows": 2}
        assert client.get(url).status_code == 405
    assert intake.queued_rows == 17
    after = Spool(tmp_path, 64 << 20)
    assert sum(record.header["rows"] for record in after.recover(0)) == 17
    after.close()


def test_one_connection_per_request_from_many_senders(server: tuple[Server, Intake]) -> None:
    served, intake = server
    url = f"http://127.0.0.1:{served.port}/v1/ingest/credit"
    statuses: list[int] = []

    def send() -> None:
        for _ in range(5):
            headers = {**ARROW_TYPE, "connection": "close"}
            statuses.append(httpx.post(url, content=stream(table(5)), headers=headers, timeout=30).status_code)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 20
    assert intake.queued_rows == 100


def test_a_sender_that_hangs_up_in_the_middle_costs_nothing(server: tuple[Server, Intake]) -> None:
    served, intake = server
    with socket.create_connection(("127.0.0.1", served.port)) as sender:
        sender.sendall(b"POST /v1/ingest/credit HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n")
        sender.sendall(b"Content-Length: 100\r\n\r\n{}\n")
    with socket.create_connection(("127.0.0.1", served.port)) as sender:
        sender.sendall(b"\x16\x03\x01 this is not HTTP \xff\xfe\r\n\r\n")
        assert sender.recv(100).startswith(b"HTTP/1.1 400")
    url = f"http://127.0.0.1:{served.port}/v1/ingest/credit"
    assert httpx.post(url, content=b"{}", headers=LINES_TYPE).status_code == 202
    assert intake.queued_rows == 1


def test_an_answer_is_not_held_back_for_a_packet_to_fill(server: tuple[Server, Intake]) -> None:
    """Nagle's delay costs 40 ms an answer; asyncio only turns it off for sockets that say they speak TCP."""
    served, _ = server
    assert served._server is not None
    (listening,) = served._server.servers
    assert [sock.proto for sock in listening.sockets] == [socket.IPPROTO_TCP]


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DriftwardenError, match=rf"listen: 127\.0\.0\.1:{port} cannot be bound"):
            Server(Starlette(), "127.0.0.1", port).start()


def test_every_source_can_be_loaded_and_started() -> None:
    for name in SOURCES:
        kind = load(name)
        assert callable(kind.start)
        assert callable(kind.stop)


def test_every_refusal_has_a_hint() -> None:
    kinds = {kind.reason for kind in _refusals(Refused)} - {"refused"}
    assert kinds == set(http._HINTS)


def _refusals(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _refusals(below)


def test_arrow_with_compressed_buffers_is_read() -> None:
    answer = Agent().post(stream(pa.record_batch({"x": [1.0] * 1000}), compression="zstd"), ARROW_TYPE)
    assert answer.json() == {"accepted_rows": 1000}
