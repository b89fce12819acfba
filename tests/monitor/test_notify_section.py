"""The `notify` section: what can be told to whom, and what is refused with its fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitor.config import Config, describe, parse_config
from monitor.errors import ConfigError
from monitor.notify.section import PAGERDUTY, Alertmanager, Webhook

KEY = "whsec_" + "QUJD" * 8
SLACK = "https://hooks.example.org/services/T0/B0/very-secret"
ENVIRON = {
    "TOKEN": "hush-hush",
    "KEYS": f"{KEY}\n{KEY}",
    "SHORT": "whsec_QUJD",
    "ODD": "whsec_?",
    "BARE": "QUJD",
    "HOOK": SLACK,
}
MODEL = {"name": "credit", "reference": "reference.parquet"}


def parsed(*notify: Any, secrets: bool = True, base: Path = Path()) -> Config:
    document = {"models": [MODEL], "notify": list(notify)}
    return parse_config(document, base=base, environ=ENVIRON, secrets=secrets)


def faults(*notify: Any) -> list[str]:
    try:
        parsed(*notify)
    except ConfigError as error:
        return error.faults
    return []


def web(**changes: Any) -> dict[str, Any]:
    plain = {"name": "hook", "url": "https://example.org/x", **changes}
    return {"webhook": {key: value for key, value in plain.items() if value is not None}}


def manager(**changes: Any) -> dict[str, Any]:
    return {"alertmanager": {"name": "am", "url": "http://127.0.0.1:9093", **changes}}


def settings(entry: dict[str, Any]) -> Any:
    return parsed(entry).notify[0].settings


@pytest.mark.parametrize(
    ("entry", "place", "word"),
    [
        ({}, "", "webhook, alertmanager"),
        ({"smtp": {}}, ".smtp", "unknown key"),
        (web() | manager(name="b"), "", "webhook and alertmanager at once"),
        (web(name="a b"), ".webhook.name", "label"),
        (web(url=None), ".webhook.url", "url_file or url_env"),
        (web(url="ftp://h"), ".webhook.url", "http://HOST:PORT"),
        (web(url="https://me:pw@h"), ".webhook.url", "token_file"),
        (web(url_env="HOOK"), ".webhook.url_env", "url is given too"),
        (web(url="http://example.org", token_env="TOKEN"), ".webhook.url", "clear text"),
        (web(url=None, url_env="NONE"), ".webhook.url_env", "not set"),
        (web(username="me"), ".webhook.username", "password"),
        (web(severities=["pages"]), ".webhook.severities.0", "'page'"),
        (web(severities=[]), ".webhook.severities", "is empty"),
        (web(models=["debit"]), ".webhook.models", "not configured"),
        (web(secret_env="SHORT"), ".webhook.secret_env", "too short"),
        (web(secret_env="ODD"), ".webhook.secret_env", "not base64"),
        (web(secret_env="BARE"), ".webhook.secret_env", "openssl rand"),
        (web(secret_env="KEYS", secret_file="k"), ".webhook.secret_env", "secret_file is given too"),
        (web(format="slack"), ".webhook.url", "url_file or url_env"),
        (web(format="slack", url=None, url_env="HOOK", secret_env="KEYS"), ".webhook.secret_env", "no signature"),
        (web(format="pagerduty", url=None), ".webhook.token_file", "routing key"),
        (web(format="pagerduty", token_env="TOKEN", interventions=True), ".webhook.interventions", "no place"),
        (web(format="pagerduty", token_env="TOKEN", all=True), ".webhook.all", "incidents"),
        (web(format="teams"), ".webhook.format", "'slack'"),
        (web(give_up="0s"), ".webhook.give_up", "greater than 0"),
        (web(timeout="2m"), ".webhook.timeout", "at most 30"),
        (web(ca_file="no/such.pem"), ".webhook.ca_file", "PEM"),
        (manager(url="http://127.0.0.1/?a=b"), ".alertmanager.url", "path at most"),
        (manager(labels={"severity": "x"}), ".alertmanager.labels.severity", "cannot be a label"),
        (manager(labels={"a-b": "x"}), ".alertmanager.labels.a-b", "cannot be a label"),
        (manager(interval="0s"), ".alertmanager.interval", "at least 1"),
    ],
)
def test_what_cannot_be_told_is_refused_where_it_stands(entry: dict[str, Any], place: str, word: str) -> None:
    told = faults(entry)
    assert len(told) == 1, told
    assert told[0].startswith(f"notify.0{place}")
    assert word in told[0]
    assert "hush" not in told[0]
    assert "very-secret" not in told[0]


def test_a_receiver_with_nothing_said_is_told_what_is_missing() -> None:
    told = faults({"webhook": None})
    assert [fault.partition(": ")[0] for fault in told] == ["notify.0.webhook.name", "notify.0.webhook.url"]


def test_two_receivers_have_two_names() -> None:
    (told,) = faults(web(), manager(name="hook"))
    assert told.startswith("notify.1.alertmanager.name: ")
    assert "another receiver" in told


def test_defaults_say_pages_and_tickets_of_heads_only() -> None:
    made = settings(web())
    assert isinstance(made, Webhook)
    assert (made.format, made.severities, made.all, made.interventions) == (
        "cloudevents",
        ("page", "ticket"),
        False,
        False,
    )
    assert made.wants("page", "credit")
    assert not made.wants("info", "credit")
    assert not settings(web(models=["credit"])).wants("page", "debit")


def test_an_address_that_is_a_secret_is_read_and_never_shown() -> None:
    config = parsed(web(format="slack", url=None, url_env="HOOK"), web(name="b", token_env="TOKEN", secret_env="KEYS"))
    made = config.notify[0].settings
    assert made.endpoint.path == "/services/T0/B0/very-secret"
    assert made.endpoint.address.host == "hooks.example.org"
    for secret in ("very-secret", "hush-hush", "QUJD"):
        assert secret not in describe(config)
        assert secret not in repr(config)


def test_an_address_in_a_file_is_read_relative_to_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(SLACK + "\n")
    made = parsed(web(format="slack", url=None, url_file="hook"), base=tmp_path).notify[0].settings
    assert made.endpoint.secure
    (tmp_path / "hook").write_text("not an address")
    with pytest.raises(ConfigError, match="url_file: must be http"):
        parsed(web(format="slack", url=None, url_file="hook"), base=tmp_path)


def test_a_machine_without_the_secrets_can_check_the_file() -> None:
    config = parsed(web(format="slack", url=None, url_env="NONE"), secrets=False)
    with pytest.raises(ValueError, match="not read"):
        _ = config.notify[0].settings.endpoint


def test_signing_keys_may_be_two_while_they_are_changed() -> None:
    assert settings(web(secret_env="KEYS")).keys == (b"ABC" * 8, b"ABC" * 8)
    assert settings(web()).keys == ()


def test_pagerduty_has_an_address_of_its_own() -> None:
    made = settings(web(format="pagerduty", url=None, token_env="TOKEN"))
    assert f"https://{made.endpoint.address.host}{made.endpoint.path}" == PAGERDUTY


def test_an_alertmanager_may_have_labels_of_the_place() -> None:
    made = settings(manager(labels={"cluster": "eu"}))
    assert isinstance(made, Alertmanager)
    assert made.labels == {"cluster": "eu"}
