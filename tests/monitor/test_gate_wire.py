"""Real sockets: TLS, client certificates, rotated certificates, and connections that mean no good."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from monitor.sources.http import Server
from monitor.web import wire
from monitor.web.gate import gate, settings_of
from monitor.web.section import Web
from tests.monitor.certificates import HASH, Authority, write
from tests.monitor.gate_bench import basic

ASK = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def name(request: Request) -> Response:
    return PlainTextResponse(request.state.person.name)


async def much(_: Request) -> Response:
    return PlainTextResponse("x" * (32 << 20))


class Door:
    """A running server with the gate of a web section, and ways to knock."""

    def __init__(self, folder: Path, connections: int = 64, **section: Any) -> None:
        web = Web.model_validate(section, context={"base": folder, "secrets": True, "environ": {}})
        settings = settings_of(web)
        app = gate(Starlette(routes=[Route("/", name), Route("/much", much)]), settings)
        self.server = Server(app, "127.0.0.1", 0, settings.keeper.file, connections)
        self.server.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=10)

    def secure(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        return context.wrap_socket(self.connect(), server_hostname="localhost")

    def ask(self, context: ssl.SSLContext, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPSConnection("localhost", self.server.port, timeout=10, context=context)
        try:
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


Make = Callable[..., Door]


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Make]:
    opened: list[Door] = []

    def make(connections: int = 64, **section: Any) -> Door:
        opened.append(Door(tmp_path, connections, **section))
        return opened[-1]

    yield make
    for one in opened:
        one.server.stop()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def mutual(authority: Authority, **more: Any) -> dict[str, Any]:
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem", **more}
    return {"tls_server_config": {**authority.server(), **policy}}


def ended(connection: socket.socket) -> bool:
    """Whether the other side ends the connection without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    finally:
        connection.close()


def dropped(door: Door, context: ssl.SSLContext) -> bool:
    """Whether a request over TLS gets no answer."""
    with socket.create_connection(("127.0.0.1", door.server.port), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="localhost") as connection:
                connection.sendall(ASK)
                return connection.recv(1) == b""
        except (ConnectionError, ssl.SSLError):
            return True


def answered(connection: socket.socket) -> bool:
    """Ask, and read one whole answer."""
    connection.sendall(ASK)
    answer = b""
    while not answer.endswith(b"anonymous"):
        piece = connection.recv(4096)
        if not piece:
            return False
        answer += piece
    return answer.startswith(b"HTTP/1.1 200")


def test_tls_is_spoken_and_nothing_else(door: Make, authority: Authority, tmp_path: Path) -> None:
    write(tmp_path, {"tls_server_config": authority.server(), "basic_auth_users": {"anna": HASH}})
    found = door(config_file="web.config.yml")
    assert found.ask(authority.client(), **basic("anna", "geheim")) == (200, "anna")
    assert found.ask(authority.client(), **basic("anna", "falsch"))[0] == 401
    assert found.ask(authority.client())[0] == 401
    with pytest.raises(ssl.SSLCertVerificationError):
        found.ask(ssl.create_default_context())
    plain = found.connect()
    plain.sendall(ASK)
    assert not plain.recv(100).startswith(b"HTTP")
    plain.close()


def test_old_versions_are_not_spoken(door: Make, authority: Authority, tmp_path: Path) -> None:
    write(tmp_path, {"tls_server_config": {**authority.server(), "min_version": "TLS13"}})
    found = door(config_file="web.config.yml")
    older = authority.client()
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        found.ask(older)
    assert found.ask(authority.client())[0] == 200


def test_a_rotated_certificate_serves_the_next_connection_and_ends_none(
    door: Make, authority: Authority, tmp_path: Path
) -> None:
    write(tmp_path, {"tls_server_config": authority.server()})
    found = door(config_file="web.config.yml")
    running = found.secure(authority.client())
    first = running.getpeercert(binary_form=True)
    authority.server()  # the same names, written over
    later = found.secure(authority.client())
    second = later.getpeercert(binary_form=True)
    assert first != second
    assert answered(running)
    assert answered(later)
    running.close()
    later.close()
    moved = Authority(tmp_path)  # another authority altogether
    write(tmp_path, {"tls_server_config": moved.server("moved")})
    assert found.ask(moved.client())[0] == 200
    trusted = ssl.create_default_context()
    authority.ca.configure_trust(trusted)
    with pytest.raises(ssl.SSLCertVerificationError):
        found.ask(trusted)


def test_a_broken_rotation_goes_on_with_the_old_certificate(door: Make, authority: Authority, tmp_path: Path) -> None:
    write(tmp_path, {"tls_server_config": authority.server()})
    found = door(config_file="web.config.yml")
    (tmp_path / "server.key").write_text("no key")
    assert found.ask(authority.client())[0] == 200


def test_a_client_without_a_good_certificate_gets_no_answer(door: Make, authority: Authority, tmp_path: Path) -> None:
    write(tmp_path, mutual(authority))
    found = door(config_file="web.config.yml")
    stranger = authority.client()
    trustme.CA().issue_cert("scraper").configure_cert(stranger)
    for context in (authority.client(), stranger):
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
            found.ask(context)
    assert found.ask(authority.client("scraper")) == (200, "certificate")
    assert found.ask(authority.client("scraper", common_name="prometheus")) == (200, "prometheus")
    assert found.ask(authority.client("scraper", common_name="anonymous")) == (200, "certificate")


def test_a_certificate_stands_for_the_person_that_is_listed(door: Make, authority: Authority, tmp_path: Path) -> None:
    write(tmp_path, mutual(authority))
    found = door(config_file="web.config.yml", people=[{"name": "prometheus"}])
    assert found.ask(authority.client("scraper", common_name="prometheus")) == (200, "prometheus")
    assert found.ask(authority.client("scraper", common_name="anonymous"))[0] == 403
    assert found.ask(authority.client("scraper"))[0] == 403


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_certificate_for_another_name_gets_no_answer(
    door: Make, authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    write(tmp_path, mutual(authority, client_allowed_sans=["scraper", "10.0.0.1", "::1", "a@example.org"]))
    found = door(config_file="web.config.yml")
    for names in (["scraper"], ["other", "10.0.0.1"], ["0:0:0:0:0:0:0:1"], ["a@example.org"]):
        context = authority.client(*names)
        context.maximum_version = version
        assert found.ask(context)[0] == 200, names
    for names in (["other"], ["scraper.example.org"], ["10.0.0.2"], ["*.scraper"]):
        context = authority.client(*names, common_name="scraper")
        context.maximum_version = version
        assert dropped(found, context), names


def test_who_says_nothing_is_not_waited_for(door: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr(wire, "HEAD_SECONDS", 0.2)
    found = door()
    silent, dripping, idle = found.connect(), found.connect(), found.connect()
    assert answered(idle)
    idle.sendall(b"\r\n")  # what ends uvicorn's own patience with an idle connection
    dripping.sendall(b"GET / HT")
    assert [ended(one) for one in (silent, dripping, idle)] == [True] * 3


def test_a_connection_that_pauses_between_requests_is_kept(door: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr(wire, "HEAD_SECONDS", 0.2)
    connection = door().connect()
    for _ in range(2):
        assert answered(connection)
        time.sleep(0.4)
    connection.close()


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nhost: localhost\r\nx: ", b""])
def test_a_head_without_end_takes_no_memory(door: Make, start: bytes) -> None:
    connection = door().connect()
    piece = b"a: b\r\n" * 2000 if not start else b"a" * 12_000
    connection.sendall(start or b"GET / HTTP/1.1\r\nhost: localhost\r\n")
    sent = 0
    try:
        while sent < 64 << 20:
            connection.sendall(piece)
            sent += len(piece)
    except ConnectionError:
        pass
    finally:
        connection.close()
    assert sent < 16 << 20


def test_who_does_not_read_the_answer_is_not_kept(door: Make, monkeypatch: Any) -> None:
    monkeypatch.setattr(wire, "ANSWER_SECONDS", 0.2)
    connection = door().connect()
    connection.sendall(b"GET /much HTTP/1.1\r\nhost: localhost\r\n\r\n")
    time.sleep(1.0)
    got = 0
    while piece := connection.recv(1 << 20):
        got += len(piece)
    assert got < 32 << 20
    connection.close()


def test_a_crowd_of_idle_connections_does_not_grow_without_end(door: Make) -> None:
    found = door(connections=8)
    crowd = [found.connect() for _ in range(8 + wire.SPARE + 5)]
    assert ended(crowd[-1])
    for one in crowd:
        one.close()
    time.sleep(0.2)
    connection = found.connect()
    assert answered(connection)
    connection.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: evil.example\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nhost : evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nhost: evil.example\n\n",
    ],
)
def test_a_crooked_request_reads_nothing(door: Make, head: bytes) -> None:
    connection = door().connect()
    connection.sendall(head)
    answer = connection.recv(4096)
    assert not answer.startswith(b"HTTP/1.1 2")
    assert b"anonymous" not in answer
    connection.close()
