"""Who passes the gate, what each may do, and how often somebody may guess."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.web import guesses, passwords
from tests.monitor.certificates import HASH, write
from tests.monitor.gate_bench import HOME, JSON, Pages, basic, bearer

Make = Callable[..., Pages]


@pytest.fixture
def pages(tmp_path: Path) -> Make:
    def make(**section: Any) -> Pages:
        return Pages(tmp_path, **section)

    return make


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


def test_who_guesses_waits_and_holds_up_nobody_else(pages: Make, capfd: pytest.CaptureFixture[str]) -> None:
    found = pages(token_file="token")
    assert found.ask(headers=basic("anna", "s3cret"), client=("10.0.0.1", 1)).status_code == 200
    tried = [found.ask(headers=bearer(str(one)), client=("10.0.0.1", 1)).status_code for one in range(30)]
    told = "".join(capfd.readouterr())
    assert told.count("too many wrong answers") == 1
    assert "10.0.0.1" in told
    assert "s3cret" not in told
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
