"""The gate under attack: no page of another site, no false name, no guess and no oversized body gets through."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from monitor.web import csrf, guesses, passwords
from monitor.web.gate import BODY_BYTES, HEADERS, gate, settings_of
from monitor.web.hosts import Hosts
from monitor.web.people import Person
from monitor.web.section import Web
from tests.monitor.certificates import HASH, write

HOME = "http://127.0.0.1:9711"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Pages:
    """An application that keeps what reaches it, behind the gate that a configuration makes."""

    def __init__(self, folder: Path, **section: Any) -> None:
        (folder / "token").write_text("s3cret")
        (folder / "token-of-carl").write_text("carl's")
        context = {"base": folder, "secrets": True, "environ": {}}
        self.done: list[tuple[str, Any]] = []
        self.folder = folder
        self.web = Web.model_validate(section, context=context)
        routes = [
            Route("/", self._show),
            Route("/livez", self._show),
            Route("/act", self._act, methods=["POST", "PUT", "DELETE"]),
        ]
        self.app = gate(Starlette(routes=routes), settings_of(self.web, open_paths=frozenset({"/livez"})))

    async def _show(self, request: Request) -> Response:
        person: Person = request.state.person
        models = None if person.models is None else sorted(person.models)
        told = {"name": person.name, "models": models, "values": person.values, "act": person.act}
        return JSONResponse({**told, "token": csrf.csrf_token(request)})

    async def _act(self, request: Request) -> Response:
        body = await request.body()
        form = request.headers["content-type"] == FORM["content-type"]
        self.done.append((request.state.person.name, parse_qs(body.decode()) if form else json.loads(body or b"null")))
        return PlainTextResponse("done")

    def ask(self, method: str = "GET", path: str = "/", base: str = HOME, **how: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=how.pop("client", ("127.0.0.1", 1)))
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return await client.request(method, path, **how)

        return asyncio.run(send())

    def who(self, **headers: str) -> Any:
        return self.ask(headers=headers).json()

    def submit(self, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        return self.ask("POST", "/act", content=urlencode(fields), headers={**FORM, **(headers or {})})


@pytest.fixture
def pages(tmp_path: Path) -> Callable[..., Pages]:
    def make(**section: Any) -> Pages:
        return Pages(tmp_path, **section)

    return make


Make = Callable[..., Pages]


# Who


def test_on_loopback_anybody_may_look_and_act_but_sees_no_values(pages: Make) -> None:
    found = pages().who()
    assert {**found, "token": ""} == {"name": "anonymous", "models": None, "values": False, "act": True, "token": ""}
    assert pages(show_values=True).who()["values"] is True


def test_where_strangers_are_let_in_without_a_word_they_may_only_look(pages: Make) -> None:
    found = pages(listen=":9711", allow_unauthenticated=True)
    assert found.who()["act"] is False
    answer = found.ask("POST", "/act", json={})
    assert (answer.status_code, found.done) == (403, [])


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/act", "/nowhere", "//livez", "/livez/", "/LIVEZ", "/livez/../act"])
def test_without_credentials_nothing_is_read_nor_changed(pages: Make, method: str, path: str) -> None:
    found = pages(token_file="token")
    for headers in (
        {},
        bearer(""),
        bearer("s3cre"),
        bearer("s3cret!"),
        basic("anna", "s3cre"),
        basic("s3cret", ""),
        {"authorization": "s3cret"},
        {"authorization": "Bearer"},
        {"authorization": "Basic s3cret"},
        {"authorization": "Digest s3cret"},
        {"cookie": "token=s3cret"},
        {"x-forwarded-user": "anna", "x-remote-user": "anna"},
    ):
        answer = found.ask(method, path, headers={**JSON, **headers}, client=(str(headers), 1))
        assert answer.status_code == 401, headers
        assert "anonymous" not in answer.text
        assert [one.split()[0] for one in answer.headers.get_list("www-authenticate")] == ["Basic", "Bearer"]
    assert found.done == []


def test_two_authorization_headers_are_none(pages: Make) -> None:
    twice = [("authorization", "Bearer s3cret"), ("authorization", "Bearer wrong")]
    assert pages(token_file="token").ask(headers=twice).status_code == 401


def test_the_token_opens_as_bearer_and_as_password_of_any_name(pages: Make) -> None:
    found = pages(token_file="token")
    assert found.who(**bearer("s3cret"))["name"] == "token"
    assert found.who(authorization="bearer  s3cret")["name"] == "token"
    assert found.who(**basic("whoever", "s3cret"))["name"] == "token"


def test_only_open_paths_are_open_and_they_know_nobody(pages: Make) -> None:
    found = pages(token_file="token").ask(path="/livez", headers=bearer("s3cret")).json()
    assert {**found, "token": ""} == {"name": "anonymous", "models": [], "values": False, "act": False, "token": ""}


def test_each_person_has_their_own_rights(pages: Make, tmp_path: Path) -> None:
    write(tmp_path, {"basic_auth_users": {"anna": HASH, "bert": HASH, "eve": HASH}})
    people = [
        {"name": "anna", "models": ["credit"], "values": True},
        {"name": "bert", "act": True},
        {"name": "carl", "token_file": "token-of-carl", "act": True, "models": "fraud"},
        {"name": "token"},
    ]
    found = pages(config_file="web.config.yml", token_file="token", people=people)
    anna, bert = found.who(**basic("anna", "geheim")), found.who(**basic("bert", "geheim"))
    assert (anna["models"], anna["values"], anna["act"]) == (["credit"], True, False)
    assert (bert["models"], bert["values"], bert["act"]) == (None, False, True)
    assert found.who(**bearer("carl's"))["models"] == ["fraud"]
    assert found.who(**basic("anna", "carl's"))["name"] == "carl", "a token tells who it is, whatever name is claimed"
    assert found.who(**bearer("s3cret"))["act"] is False
    assert found.ask(headers=basic("eve", "geheim")).status_code == 403, "known, but not listed"
    assert found.ask("POST", "/act", json={}, headers=basic("anna", "geheim")).status_code == 403
    assert found.ask("POST", "/act", json={}, headers=basic("bert", "geheim")).status_code == 200


@pytest.mark.parametrize("password", ["", "Geheim", "geheim ", "geheim\0", HASH, "x" * 5000, "ge\ud800heim"])
@pytest.mark.parametrize("user", ["anna", "nobody", ""])
def test_wrong_passwords_open_nothing(pages: Make, tmp_path: Path, user: str, password: str) -> None:
    write(tmp_path, {"basic_auth_users": {"anna": HASH}})
    told = base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogatepass")).decode()
    assert pages(config_file="web.config.yml").ask(headers={"authorization": f"Basic {told}"}).status_code == 401


def test_a_changed_password_applies_to_the_next_request(pages: Make, tmp_path: Path) -> None:
    import bcrypt

    file = write(tmp_path, {"basic_auth_users": {"anna": HASH}})
    found = pages(config_file="web.config.yml")
    assert found.ask(headers=basic("anna", "geheim")).status_code == 200
    write(tmp_path, {"basic_auth_users": {"anna": bcrypt.hashpw(b"neu", bcrypt.gensalt(5)).decode()}}, "next")
    (tmp_path / "next").replace(file)
    assert found.ask(headers=basic("anna", "geheim")).status_code == 401
    assert found.ask(headers=basic("anna", "neu")).status_code == 200


def test_a_good_password_is_hashed_once_and_not_kept(pages: Make, tmp_path: Path, monkeypatch: Any) -> None:
    asked: list[str] = []
    fits = passwords._fits

    def count(known: str, given: str) -> bool:
        asked.append(given)
        return fits(known, given)

    monkeypatch.setattr(passwords, "_fits", count)
    write(tmp_path, {"basic_auth_users": {"anna": HASH}})
    found = pages(config_file="web.config.yml")
    assert [found.ask(headers=basic("anna", "geheim")).status_code for _ in range(5)] == [200] * 5
    assert asked == ["geheim"]
    assert [found.ask(headers=basic("anna", "falsch")).status_code for _ in range(2)] == [401] * 2
    assert asked == ["geheim", "falsch", "falsch"], "a wrong one is never remembered"
    assert found.ask(headers=basic("nobody", "falsch")).status_code == 401
    assert len(asked) == 4, "an unknown user costs as much as a known one"


# How often


def test_who_guesses_waits_and_holds_up_nobody_else(pages: Make) -> None:
    found = pages(token_file="token")
    assert found.ask(headers=basic("anna", "s3cret"), client=("10.0.0.1", 1)).status_code == 200
    tried = [found.ask(headers=bearer(str(one)), client=("10.0.0.1", 1)).status_code for one in range(30)]
    assert tried == [401] * guesses.GUESSES + [429] * (30 - guesses.GUESSES)
    refused = found.ask(headers=bearer("s3cret"), client=("10.0.0.1", 2))
    assert (refused.status_code, int(refused.headers["retry-after"]) >= 1) == (429, True)
    assert found.ask(headers=basic("anna", "s3cret"), client=("10.0.0.1", 3)).status_code == 200, "known from there"
    assert found.ask(headers=bearer("s3cret"), client=("10.0.0.2", 1)).status_code == 200
    assert found.ask(client=("10.0.0.1", 1)).status_code == 401, "asking who one is is no guess"


def test_one_machine_has_one_budget_however_many_addresses_it_owns() -> None:
    now = [0.0]
    found = guesses.Guesses(lambda: now[0])
    waits = [found.take(f"2001:db8::{one:x}") for one in range(guesses.GUESSES + 1)]
    assert waits[:-1] == [0.0] * guesses.GUESSES
    assert waits[-1] == pytest.approx(guesses.GUESS_SECONDS)
    assert found.take("2001:db8:0:1::1") == 0
    assert found.take("::ffff:10.0.0.1") == 0
    now[0] += guesses.GUESS_SECONDS
    assert found.take("2001:db8::1") == 0
    for one in range(2 * guesses.ADDRESSES):
        found.take(f"10.{one >> 16}.{one >> 8 & 255}.{one & 255}")
    assert len(found._buckets) == guesses.ADDRESSES


def test_a_flood_of_logins_does_not_queue_without_end(pages: Make, tmp_path: Path, monkeypatch: Any) -> None:
    def slow(_known: str, _given: str) -> bool:
        time.sleep(0.02)
        return False

    monkeypatch.setattr(passwords, "_fits", slow)
    write(tmp_path, {"basic_auth_users": {"anna": HASH}})
    found = pages(config_file="web.config.yml")

    async def flood() -> list[int]:
        transports = [httpx.ASGITransport(found.app, client=(f"10.0.{number}.1", 1)) for number in range(60)]
        clients = [httpx.AsyncClient(transport=one, base_url=HOME, headers=basic("anna", "x")) for one in transports]
        answers = await asyncio.gather(*(client.get("/") for client in clients))
        return [answer.status_code for answer in answers]

    codes = asyncio.run(flood())
    assert set(codes) == {401, 429}
    assert codes.count(401) == passwords.WAITING


def test_the_rate_limit_of_the_file_holds_for_everybody(pages: Make, tmp_path: Path) -> None:
    write(tmp_path, {"rate_limit": {"interval": "1h", "burst": 3}})
    found = pages(config_file="web.config.yml")
    assert [found.ask().status_code for _ in range(5)] == [200, 200, 200, 429, 429]


# Under which name


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:9711",
        "127.0.0.1.nip.io",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "evil.example#127.0.0.1",
        "127.0.0.1:9711, evil.example",
        "10.0.0.7",
        "[::2]:9711",
        "",
        "localhost:evil",
        "[127.0.0.1",
    ],
)
def test_a_page_that_rebinds_its_name_to_loopback_reads_nothing(pages: Make, host: str) -> None:
    found = pages()
    assert found.ask(headers={"host": host}).status_code == 421
    assert found.ask("POST", "/act", json={}, headers={"host": host}).status_code == 421
    assert found.done == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9711", "localhost.:9711", "127.0.0.1:80", "[::1]:9711"])
def test_loopback_has_its_own_names(pages: Make, host: str) -> None:
    assert pages().ask(headers={"host": host}).status_code == 200


def test_names_come_from_the_configuration(pages: Make) -> None:
    found = pages(url="https://drift.example.org", hosts=["agent.svc"], listen="10.1.2.3:9711", token_file="token")
    for host, code in (
        ("drift.example.org", 200),
        ("agent.svc:9711", 200),
        ("10.1.2.3:9711", 200),
        ("10.1.2.4", 421),
        ("svc", 421),
        ("x.agent.svc", 421),
    ):
        assert found.ask(headers={"host": host, **bearer("s3cret")}).status_code == code, host


def test_two_hosts_are_none_and_forwarded_ones_do_not_count(pages: Make) -> None:
    assert pages().ask(headers=[("host", "localhost"), ("host", "localhost")]).status_code == 421
    forwarded = {"host": "evil.example", "x-forwarded-host": "localhost", "forwarded": "host=localhost"}
    assert pages().ask(headers=forwarded).status_code == 421


def test_the_address_that_a_connection_came_to_is_ours(pages: Make) -> None:
    web = pages(listen=":9711", token_file="token").web
    hosts = Hosts.of(web, web.listen)
    from starlette.datastructures import Headers

    scope = {"type": "http", "method": "GET", "server": ("10.9.8.7", 9711), "scheme": "http"}
    hosts.check(scope, Headers({"host": "10.9.8.7:9711"}))
    with pytest.raises(Exception, match="not called by that Host"):
        hosts.check(scope, Headers({"host": "10.9.8.8:9711"}))


# From which page


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://127.0.0.1:9712"},
        {"origin": "http://127.0.0.1:9711.evil.example"},
        {"origin": "http://localhost:9711"},
        {"origin": "file://"},
        {"origin": ""},
        {"origin": HOME, "sec-fetch-site": "cross-site"},
        {"origin": HOME, "sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "invented"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_a_page_of_another_site_changes_nothing(pages: Make, method: str, headers: dict[str, str]) -> None:
    found = pages(token_file="token")
    token = found.who(**bearer("s3cret"))["token"]
    content = urlencode({"csrf_token": token, "because": "x"})
    for media, body in ((FORM, content), (JSON, "{}")):
        answer = found.ask(method, "/act", content=body, headers={**media, **basic("a", "s3cret"), **headers})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert found.done == []


def test_our_own_page_and_programs_act(pages: Make) -> None:
    found = pages()
    own = {"origin": HOME, "sec-fetch-site": "same-origin"}
    assert found.ask("POST", "/act", json={"a": 1}, headers=own).status_code == 200
    assert found.ask("POST", "/act", json={"a": 2}).status_code == 200
    assert found.done == [("anonymous", {"a": 1}), ("anonymous", {"a": 2})]


def test_behind_a_proxy_the_outside_address_is_our_own(pages: Make) -> None:
    found = pages(url="https://drift.example.org")
    own = {"origin": "https://drift.example.org", "sec-fetch-site": "same-origin"}
    assert found.ask("POST", "/act", json={}, headers=own).status_code == 200
    assert found.ask("POST", "/act", json={}, headers={**own, "host": "drift.example.org"}).status_code == 200
    assert found.ask("POST", "/act", json={}, headers={"origin": "http://drift.example.org"}).status_code == 403


@pytest.mark.parametrize(
    ("mode", "dest", "code"),
    [
        ("navigate", "document", 200),
        ("navigate", "iframe", 403),
        ("navigate", "object", 403),
        ("no-cors", "image", 403),
        ("no-cors", "script", 403),
        ("cors", "empty", 403),
    ],
)
def test_a_link_from_an_alert_opens_and_an_embedded_page_does_not(pages: Make, mode: str, dest: str, code: int) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    assert pages().ask(headers=headers).status_code == code


def test_a_form_brings_the_token_of_its_page(pages: Make, monkeypatch: Any) -> None:
    found = pages(token_file="token")
    mine = bearer("s3cret")
    token = found.who(**mine)["token"]
    assert found.submit(mine, csrf_token=token, because="new tariff").status_code == 200
    assert found.done == [("token", {"csrf_token": [token], "because": ["new tariff"]})]
    other = found.ask(path="/livez").json()["token"]
    issued, _, seal = token.partition(".")
    for bad in ("", "x", ".", token[:-1], f"{int(issued, 16) + 1:x}.{seal}", f"zz.{seal}", other, "\u20ac.\u20ac"):
        assert found.submit(mine, csrf_token=bad).status_code == 403, bad
    assert found.submit(mine, because="x").status_code == 403
    twice = f"csrf_token={token}&csrf_token={token}"
    assert found.ask("POST", "/act", content=twice, headers={**FORM, **mine}).status_code == 403
    later = time.time() + csrf.LIFE_SECONDS + 1
    monkeypatch.setattr("monitor.web.csrf.time.time", lambda: later)
    assert found.submit(mine, csrf_token=token).status_code == 403
    assert len(found.done) == 1


@pytest.mark.parametrize(
    ("media", "body", "code"),
    [
        ("text/plain", b'{"act": 1}', 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/json-patch+json", b"[]", 415),
        ("", b"{}", 415),
        (FORM["content-type"], b"\xff\xfe", 400),
        (FORM["content-type"], b"csrf_token", 403),
        (FORM["content-type"], b"&" * 20_000, 400),
        (FORM["content-type"], b"", 403),
        ("application/json; charset=utf-8", b"{}", 200),
    ],
)
def test_what_a_form_of_another_site_can_send_is_not_read(pages: Make, media: str, body: bytes, code: int) -> None:
    found = pages()
    assert found.ask("POST", "/act", content=body, headers={"content-type": media} if media else {}).status_code == code
    assert len(found.done) == (code == 200)


# How much


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(pages: Make) -> None:
    found = pages()
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 1024

    assert found.ask("POST", "/act", content=endless(), headers=JSON).status_code == 413
    assert read <= BODY_BYTES // 1024 + 2
    for length in (str(BODY_BYTES + 1), "9" * 30, "-1", "1e3", "\u0661"):
        headers = [(b"content-type", b"application/json"), (b"content-length", length.encode())]
        assert found.ask("POST", "/act", content=b"{}", headers=headers).status_code == 413
    assert found.done == []


def test_a_body_that_never_comes_is_not_waited_for(pages: Make, monkeypatch: Any) -> None:
    from monitor.web import gate as module

    monkeypatch.setattr(module, "BODY_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(30)

    found = pages()
    sent: list[Any] = []
    bodies = slow()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": await anext(bodies), "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/act", "headers": headers, "scheme": "http"}
    run: Callable[..., Coroutine[Any, Any, None]] = found.app  # type: ignore[assignment]
    asyncio.run(run(scope, receive, send))
    assert sent[0]["status"] == 408
    assert found.done == []


# What browsers are told


def test_every_answer_forbids_what_the_pages_do_not_need(pages: Make) -> None:
    found = pages(token_file="token")
    for answer in (
        found.ask(headers=bearer("s3cret")),
        found.ask(),
        found.ask(headers={"host": "evil.example"}),
        found.ask(path="/nowhere", headers=bearer("s3cret")),
        found.ask("POST", "/act", json={}, headers={**bearer("s3cret"), "origin": "null"}),
    ):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "set-cookie" not in answer.headers
        assert "server" not in answer.headers
    policy = HEADERS["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_headers_of_the_file_come_last(pages: Make, tmp_path: Path) -> None:
    given = {"Strict-Transport-Security": "max-age=1", "X-Frame-Options": "sameorigin"}
    write(tmp_path, {"http_server_config": {"headers": given}})
    found = pages(config_file="web.config.yml").ask().headers
    assert found["strict-transport-security"] == "max-age=1"
    assert found.get_list("x-frame-options") == ["sameorigin"]
