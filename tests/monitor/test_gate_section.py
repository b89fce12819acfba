"""The sections of doors: every mistake that leaves one open is told before the agent starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from monitor.config import parse_config
from monitor.errors import ConfigError
from monitor.strict import faults_of
from monitor.web.gate import settings_of
from monitor.web.people import Person
from monitor.web.section import Web
from tests.monitor.certificates import HASH, Authority, write

MODELS = [{"name": "credit", "reference": "a.parquet"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two", "same"):
        (tmp_path / name).write_text("x" if name == "same" else "x" + name)
    (tmp_path / "also").write_text("x")
    write(tmp_path, {"basic_auth_users": {"anna": HASH}}, "users.yml")
    write(tmp_path, {"tls_server_config": Authority(tmp_path).server()}, "tls.yml")
    write(tmp_path, {"basic_auth_users": {"anna": "geheim"}}, "bad.yml")
    return tmp_path


def faults(folder: Path, **section: Any) -> list[str]:
    try:
        Web.model_validate(section, context={"base": folder, "secrets": True, "environ": {}})
    except ValidationError as error:
        return faults_of(error)
    return []


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"listen": ":9711", "token_file": "one"},
        {"listen": ":9711", "config_file": "users.yml"},
        {"listen": ":9711", "config_file": "tls.yml", "token_file": "one"},
        {"listen": ":9711", "allow_unauthenticated": True},
        {"listen": ":9711", "people": [{"name": "anna", "token_file": "one"}]},
        {"config_file": "tls.yml"},
        {"people": [{"name": "anonymous", "values": True, "act": True}]},
        {"config_file": "users.yml", "people": [{"name": "anna", "models": "credit"}]},
        {"url": "https://drift.example.org/"},
        {"url": "http://[::1]:9711", "enabled": False},
    ],
)
def test_what_is_guarded_or_wanted_open_is_taken(folder: Path, section: dict[str, Any]) -> None:
    assert faults(folder, **section) == []


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"listen": ":9711"}, "listen: 0.0.0.0:9711 can be reached"),
        ({"listen": ":9711", "config_file": "tls.yml"}, "config_file: "),
        ({"listen": ":9711", "config_file": "tls.yml"}, "asks nobody who they are"),
        ({"config_file": "bad.yml"}, "basic_auth_users.anna: is not a bcrypt hash"),
        ({"config_file": "gone.yml"}, "cannot be read"),
        ({"token_file": "gone"}, "token_file"),
        ({"people": [{"name": "anna"}]}, "nobody can show who they are"),
        ({"people": [{"name": "a", "token_file": "one"}] * 2}, 'people.1.name: "a" is listed already'),
        ({"token_file": "one", "people": [{"name": "a", "token_file": "two"}]}, 'list "token"'),
        ({"people": [{"name": "token", "token_file": "one"}]}, "no token of its own"),
        ({"people": [{"name": "a", "token_file": "gone"}]}, "people.0.token_file"),
        ({"people": [{"nam": "a"}]}, 'did you mean "name"?'),
        ({"url": "drift.example.org"}, "url"),
        ({"url": "https://drift.example.org/path"}, "no path"),
        ({"url": "https://a:b@drift.example.org"}, "url"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"host": "x"}, 'did you mean "hosts"?'),
    ],
)
def test_what_leaves_a_door_open_is_told(folder: Path, section: dict[str, Any], told: str) -> None:
    assert told in "\n".join(faults(folder, **section))


def test_two_people_cannot_bring_one_token(folder: Path) -> None:
    people = [{"name": "a", "token_file": "same"}, {"name": "b", "token_file": "also"}]
    web = Web.model_validate({"people": people}, context={"base": folder, "secrets": True, "environ": {}})
    with pytest.raises(ConfigError, match="one of their own"):
        settings_of(web)


def test_files_and_secrets_are_not_needed_to_check_a_configuration_elsewhere(tmp_path: Path) -> None:
    section = {"listen": ":9711", "config_file": "gone.yml", "people": [{"name": "a", "token_file": "gone"}]}
    assert Web.model_validate(section, context={"base": tmp_path, "secrets": False}).secure is False


def test_links_say_how_the_pages_are_spoken_to(folder: Path) -> None:
    def text(**section: Any) -> str:
        return Web.model_validate(section, context={"base": folder, "secrets": True, "environ": {}}).address_text

    assert text() == "http://127.0.0.1:9711"
    assert text(config_file="users.yml") == "http://127.0.0.1:9711"
    assert text(config_file="tls.yml") == "https://127.0.0.1:9711"
    assert text(url="https://drift.example.org/") == "https://drift.example.org"


def test_doors_and_people_fit_the_rest_of_the_file(folder: Path) -> None:
    def told(**top: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            parse_config({"models": MODELS, **top}, base=folder, environ={})
        return str(caught.value)

    assert "web.listen: 127.0.0.1:9710 is taken by the http source" in told(
        sources=[{"http": {}}], web={"listen": "127.0.0.1:9710"}
    )
    assert "web.listen: 127.0.0.1:9711 is taken" in told(telemetry={"listen": "127.0.0.1:9711"})
    assert 'web.people.0.models: "credt" is not configured' in told(web={"people": [{"name": "a", "models": "credt"}]})
    assert "telemetry.config_file: needs telemetry.listen" in told(telemetry={"config_file": "users.yml"})
    assert "sources.0.http.config_file" in told(sources=[{"http": {"config_file": "bad.yml"}}])
    off = {"listen": "127.0.0.1:9710", "enabled": False}
    config = parse_config({"models": MODELS, "sources": [{"http": {}}], "web": off}, base=folder, environ={})
    assert not config.web.enabled


def test_rights_and_names() -> None:
    anna = Person("anna", frozenset({"credit"}), act=True)
    assert (anna.sees("credit"), anna.sees("fraud"), anna.touches("credit"), anna.touches("fraud")) == (
        True,
        False,
        True,
        False,
    )
    assert not Person("bert").touches("credit")
    assert anna.signature("eve") == "anna"
    assert Person("token").signature(" anna\n\tb ") == "anna b (token)"
    assert Person("anonymous").signature() == "anonymous"
    assert len(Person("token").signature("x" * 1000)) == 108
