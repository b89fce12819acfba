"""The gate under attack: no page of another site, no false name and no oversized body gets through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.datastructures import Headers

from monitor.web import csrf
from monitor.web.gate import BODY_BYTES, HEADERS
from monitor.web.hosts import Hosts
from tests.monitor.certificates import write
from tests.monitor.gate_bench import FORM, HOME, JSON, Pages, basic, bearer

Make = Callable[..., Pages]


@pytest.fixture
def pages(tmp_path: Path) -> Make:
    def make(**section: Any) -> Pages:
        return Pages(tmp_path, **section)

    return make


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
