"""Every address of the agent, endpoint by endpoint: without credentials nothing is read and nothing is changed."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from monitor.config import Config, parse_config
from monitor.errors import DriftwardenError
from monitor.intake import Intake
from monitor.ledger import Ledger
from monitor.listeners import Http
from monitor.sources import http as rows
from monitor.web import ops
from monitor.web.doors import Doors
from tests.monitor.certificates import HASH, Authority, write
from tests.monitor.gate_bench import basic, bearer

MODELS = [{"name": "credit", "reference": "a.parquet"}]
READ = ["/", "/metrics"]
ACTS = [("POST", "/-/reload"), ("PUT", "/-/reload")]
HEALTH = ["/healthz", "/livez", "/-/healthy", "/readyz", "/-/ready"]


class Running:
    """What an agent serves, without the agent: operations and rows on one address, pages on another."""

    def __init__(self, folder: Path, http: dict[str, Any], web: dict[str, Any]) -> None:
        def free() -> str:
            with socket.create_server(("127.0.0.1", 0)) as found:
                return f"127.0.0.1:{found.getsockname()[1]}"

        document = {
            "models": MODELS,
            "sources": [{"http": {"listen": free(), **http}}],
            "web": {"listen": free(), **web},
        }
        self.config: Config = parse_config(document, base=folder, environ={})
        self.done: list[str] = []
        self.intake = Intake(models=["credit"], capacity_bytes=1 << 20, ledger=Ledger())
        self.servers: dict[str, rows.Server] = {}
        self.open()

    def open(self) -> None:
        """As the agent wires it."""
        self.doors = doors = Doors()
        source = self.config.sources[0].settings
        assert isinstance(source, Http)
        file, hosts = doors.of(source, source.listen)
        scrape = ops.Scrape()
        scrape.publish(b"driftwarden_secret 1\n", b"# EOF\n")
        operations = ops.Operations(scrape, lambda: None, self.reload, "1", source.token, file, hosts)
        doors.serve(source.listen, ops.routes(operations))
        doors.serve(source.listen, rows.routes(self.intake, rows.Settings(source.token, file=file, hosts=hosts)))
        doors.pages(self.config.web, [Route("/", self.page), Route("/act", self.page, methods=["POST"])])
        self.rows, self.pages = source.listen.port, self.config.web.listen.port
        doors.open(self.servers)

    def reload(self) -> None:
        self.done.append("reload")

    async def page(self, request: Request) -> Response:
        self.done += ["act"] if request.method == "POST" else []
        return PlainTextResponse("driftwarden_secret")

    def ask(
        self,
        port: int,
        method: str,
        path: str,
        headers: dict[str, str],
        body: bytes | None = None,
        tls: ssl.SSLContext | None = None,
        me: str = "127.0.0.1",
    ) -> tuple[int, bytes]:
        with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(me, 0)) as plain:
            connection = http.client.HTTPConnection("localhost", port)
            connection.sock = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
            try:
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()


Make = Callable[..., Running]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Make]:
    opened: list[Running] = []

    def make(http: dict[str, Any] | None = None, web: dict[str, Any] | None = None) -> Running:
        (tmp_path / "token").write_text("s3cret")
        opened.append(Running(tmp_path, http or {}, web or {}))
        return opened[-1]

    yield make
    for one in opened:
        for server in one.servers.values():
            server.stop()


def everything(
    found: Running, headers: dict[str, str], tls: ssl.SSLContext | None = None, me: str = "127.0.0.1"
) -> list[int]:
    """The codes of every endpoint that is not health."""
    asked = [(found.rows, "GET", path, b"") for path in READ]
    asked += [(found.rows, method, path, b"") for method, path in ACTS]
    asked += [(found.rows, "POST", "/v1/ingest/credit", b"{}"), (found.pages, "GET", "/", b"")]
    asked += [(found.pages, "POST", "/act", b"{}")]
    codes = []
    for port, method, path, body in asked:
        media = "application/x-ndjson" if "ingest" in path else "application/json"
        codes.append(found.ask(port, method, path, {"content-type": media, **headers}, body, tls, me)[0])
    return codes


SERVED = [200, 200, 200, 200, 202, 200, 200]
DONE = ["reload", "reload", "act"]


@pytest.mark.parametrize("guard", ["token", "users"])
def test_without_credentials_nothing_is_read_and_nothing_is_changed(running: Make, tmp_path: Path, guard: str) -> None:
    write(tmp_path, {"basic_auth_users": {"anna": HASH}}, "users.yml")
    section = {"token_file": "token"} if guard == "token" else {"config_file": "users.yml"}
    found = running(section, section)
    wrong: list[dict[str, str]] = [{}, bearer("wrong"), basic("anna", "wrong"), {"cookie": "session=s3cret"}]
    for number, one in enumerate(wrong):
        assert everything(found, one, me=f"127.0.0.{number + 2}") == [401] * len(SERVED), one
    assert found.done == []
    assert found.intake.queued_rows == 0
    for path in HEALTH:
        code, text = found.ask(found.rows, "GET", path, {})
        assert (code, b"secret" in text) == (200, False)
    right = bearer("s3cret") if guard == "token" else basic("anna", "geheim")
    assert everything(found, right) == SERVED
    assert found.done == DONE


def test_a_page_that_rebinds_its_name_reads_and_changes_nothing(running: Make) -> None:
    found = running()
    assert everything(found, {"host": "evil.example"}) == [421] * len(SERVED)
    assert (found.done, found.intake.queued_rows) == ([], 0)
    assert everything(found, {}) == SERVED


@pytest.mark.parametrize(
    "page",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors"},
    ],
)
def test_a_page_of_another_site_reads_and_changes_nothing(running: Make, page: dict[str, str]) -> None:
    found = running()
    assert everything(found, page) == [403] * len(SERVED)
    assert everything(found, {**page, "content-type": "text/plain"}) == [403] * len(SERVED)
    assert (found.done, found.intake.queued_rows) == ([], 0)


def test_tls_guards_every_address_that_names_it(running: Make, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    policy = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
    write(tmp_path, {"tls_server_config": {**authority.server(), **policy}}, "tls.yml")
    found = running({"config_file": "tls.yml"}, {"config_file": "tls.yml"})
    assert everything(found, {}, authority.client("scraper", common_name="prometheus")) == SERVED
    for port in (found.rows, found.pages):
        with pytest.raises((OSError, http.client.HTTPException)):
            found.ask(port, "GET", "/livez", {})
        with pytest.raises((OSError, http.client.HTTPException)):
            found.ask(port, "GET", "/livez", {}, tls=authority.client())
    assert found.done == DONE


def test_a_file_that_broke_is_known(running: Make, tmp_path: Path) -> None:
    users = write(tmp_path, {"basic_auth_users": {"anna": HASH}}, "users.yml")
    found = running({"config_file": "users.yml"})
    place = f"127.0.0.1:{found.rows}"
    assert found.doors.sound() == {place: True}
    users.write_text("{")
    assert found.ask(found.rows, "GET", "/metrics", basic("anna", "geheim"))[0] == 200
    assert found.doors.sound() == {place: False}


def test_names_of_a_cluster_pass_where_they_are_given(running: Make) -> None:
    found = running({"hosts": ["agent.svc"]})
    assert found.ask(found.rows, "GET", "/metrics", {"host": "agent.svc:9710"})[0] == 200
    assert found.ask(found.rows, "GET", "/metrics", {"host": "other.svc:9710"})[0] == 421


def test_an_address_that_is_taken_is_told_and_those_before_it_can_be_stopped(running: Make) -> None:
    found = running()
    servers: dict[str, rows.Server] = {}
    doors = Doors()
    doors.pages(found.config.web, [])
    with pytest.raises(DriftwardenError, match="cannot be bound"):
        doors.open(servers)
    assert servers == {}
