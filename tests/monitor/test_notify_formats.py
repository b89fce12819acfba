"""What a message holds, and what never leaves the machine."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from monitor.notify.formats import message
from monitor.notify.section import Format
from monitor.notify.signing import signed
from monitor.records import Event
from tests.monitor.findings_bench import culprit
from tests.monitor.notify_bench import NOW, URL, World, events

TOLD = "a no longer looks like the reference. a: 30 % of the rows now lie where 10 % of the reference did."
"""What is said of the bench's finding."""
FORMATS: tuple[Format, ...] = ("cloudevents", "slack", "pagerduty")
HOSTILE = "<!channel> @here `x` [pay](http://evil.example) \u202egpj\x1b[2J & <http://evil.example|bank>"


def sent(form: Format, event: Event, url: str = URL, key: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message(form, event, url, key).body)
    return found


def story(world: World) -> dict[str, Event]:
    """An incident that is seen and passes, by kind of event."""
    one = world.open()
    world.do("acknowledge", {"finding": one.id})
    world.clock.advance(45 * 60)
    world.recover(one)
    return {event.kind: event for event in events(world)}


def test_a_cloudevent_has_what_version_1_0_asks_for(world: World) -> None:
    one = world.open()
    (event,) = events(world)
    made = message("cloudevents", event, URL)
    assert made.content_type.startswith("application/cloudevents+json")
    body = json.loads(made.body)
    assert {key: value for key, value in body.items() if key != "data"} == {
        "specversion": "1.0",
        "id": event.id,
        "source": URL,
        "type": "driftwarden.finding.opened",
        "subject": one.id,
        "time": "2026-09-21T14:13:20.000Z",
        "sequence": "00000000000000000001",
        "datacontenttype": "application/json",
    }
    found = body["data"]["finding"]
    assert found["url"] == f"{URL}/findings/{one.id}"
    assert (found["incident"], found["severity"], found["state"], found["muted"]) == (one.id, "page", "open", False)
    assert found["columns"][0]["unit"] == "a"
    assert found["sentence"] == one.sentence()
    assert (found["title"], found["told"]) == ("a shifted", TOLD)


def test_a_finding_that_joins_is_told_under_its_incident(world: World) -> None:
    head = world.open()
    world.open(pane=6, joins=head.id)
    second = events(world)[1]
    assert sent("cloudevents", second)["subject"] == head.id
    assert sent("pagerduty", second)["dedup_key"] == f"driftwarden-{head.id}"


def test_without_an_outside_address_there_are_no_links(world: World) -> None:
    world.open()
    for form in FORMATS:
        assert "http" not in message(form, events(world)[0], "").body.decode()
    assert sent("cloudevents", events(world)[0], "")["source"] == "/driftwarden"


def test_pagerduty_opens_sees_and_closes_one_incident(world: World) -> None:
    told = story(world)
    kinds = ("finding.opened", "finding.acknowledged", "finding.recovered")
    made = [sent("pagerduty", told[kind], key="routing") for kind in kinds]
    assert [one["event_action"] for one in made] == ["trigger", "acknowledge", "resolve"]
    assert len({one["dedup_key"] for one in made}) == 1
    assert {one["routing_key"] for one in made} == {"routing"}
    payload = made[0]["payload"]
    assert payload["severity"] == "critical"
    assert payload["summary"] == f"m: {TOLD}"
    assert set(payload) >= {"summary", "source", "timestamp", "component", "group", "class", "custom_details"}
    assert payload["custom_details"]["columns"] == "a"
    assert made[0]["links"][0]["href"].startswith(f"{URL}/findings/")


@pytest.mark.parametrize(("severity", "expected"), [("page", "critical"), ("ticket", "warning"), ("info", "info")])
def test_severities_in_pagerduty_s_words(world: World, severity: str, expected: str) -> None:
    world.open(severity=severity)
    assert sent("pagerduty", events(world)[0])["payload"]["severity"] == expected


def test_slack_is_told_in_a_line_and_a_card_with_the_link(world: World) -> None:
    told = story(world)
    opened, seen, over = (sent("slack", told[f"finding.{kind}"]) for kind in ("opened", "acknowledged", "recovered"))
    assert opened["text"] == "PAGE m: a shifted"
    assert seen["text"] == "ACKNOWLEDGED m: a shifted by ana"
    assert over["text"] == "RECOVERED m: a shifted (after 45 minutes)"
    card = opened["attachments"][0]
    assert card["text"] == TOLD
    assert card["title_link"].startswith(f"{URL}/findings/")
    fields = {one["title"]: one["value"] for one in card["fields"]}
    assert set(fields) == {"Columns", "Looks like", "Since", "First"}
    assert (fields["Looks like"], fields["Since"]) == ("Distributional shift", "21 Sep 2026, 14:12 UTC")
    assert len({one["attachments"][0]["color"] for one in (opened, seen, over)}) == 3


def test_what_people_did_can_be_told(world: World) -> None:
    world.do("mute", {"segment": "country=secret-value"}, NOW + 3600)
    world.do("quarantine", {"clients": ["3fa4c0ffee"], "finding": "f"})
    mute, quarantine = (sent("cloudevents", one)["data"]["intervention"] for one in events(world))
    assert mute["target"] == {"segment_column": "country"}
    assert mute["until"] == "2026-09-21T15:13:20.000Z"
    assert quarantine["target"] == {"finding": "f", "clients": 1}
    assert sent("slack", events(world)[0])["text"] == "m: mute by ana"


def test_no_stratum_is_named_where_the_mix_changed(world: World) -> None:
    world.open(subject="mix", strata=(("country=secret-value", 0.1, 0.2),))
    for form in FORMATS:
        text = message(form, events(world)[0], URL).body.decode()
        assert "secret-value" not in text
        assert "mix of the traffic changed" in text.lower()


@pytest.mark.parametrize("form", FORMATS)
def test_no_value_of_a_feature_and_no_sender_leaves(world: World, form: Format) -> None:
    secret = "secret-value"
    world.open(
        stream=f"v1/country={secret}",
        strata=((secret, 0.1, 0.2),),
        subject="sender",
        evidence={"suspicions": [{"clients": [[secret, 3]], "facts": {secret: 1}}]},
    )
    assert secret not in message(form, events(world)[0], URL).body.decode()


@pytest.mark.parametrize("form", FORMATS)
def test_a_finding_with_many_columns_stays_small(world: World, form: Format) -> None:
    world.open(units=tuple(culprit("c" * 500 + str(at), at) for at in range(300)))
    made = message(form, events(world)[0], URL)
    assert len(made.body) < 16_000
    if form == "pagerduty":
        assert len(json.loads(made.body)["payload"]["summary"]) <= 1024


def test_hostile_names_call_nobody_link_nowhere_and_hide_nothing(world: World) -> None:
    world.open(units=(culprit(HOSTILE),))
    body = sent("slack", events(world)[0])
    card = body["attachments"][0]
    texts = [body["text"], card["text"], card["fallback"], *(one["value"] for one in card["fields"])]
    for text in texts:
        assert "<" not in text
        assert "@here" not in text
        assert "](" not in text
        assert "http://evil" not in text
        assert "\u202e" not in text
        assert "\x1b" not in text
    assert "&lt;!channel&gt;" in card["text"]
    assert (card["mrkdwn_in"], body["parse"], body["link_names"]) == ([], "none", False)
    assert "\u202e" not in sent("pagerduty", events(world)[0])["payload"]["summary"]


def test_what_people_write_is_as_harmless_in_slack(world: World) -> None:
    world.do("mute", {"column": "a"}, NOW + 60)
    assert sent("slack", events(world)[0])["attachments"][0]["fields"][0]["value"] == "seen &lt;!channel&gt;"


# Signatures, checked by the reference implementation of Standard Webhooks.

KEYS = (b"k" * 32, b"o" * 24)


def verifier(key: bytes) -> Verifier:
    return Verifier(key)


def test_signatures_of_all_keys_are_those_of_the_standard() -> None:
    body = '{"a":"\u00e9"}'.encode()
    headers = signed(KEYS, "f-finding.opened", time.time(), body)
    assert headers["webhook-id"] == "f-finding_opened"
    for key in KEYS:
        verifier(key).verify(body, headers)
    for changed in (body + b" ", body.replace(b"a", b"b")):
        with pytest.raises(WebhookVerificationError):
            verifier(KEYS[0]).verify(changed, headers)
    with pytest.raises(WebhookVerificationError):
        verifier(b"x" * 32).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        verifier(KEYS[0]).verify(body, headers | {"webhook-id": "f-finding_recovered"})


def test_a_signature_is_as_old_as_the_attempt() -> None:
    headers = signed(KEYS, "f", time.time() - 600, b"{}")
    with pytest.raises(WebhookVerificationError, match="too old"):
        verifier(KEYS[0]).verify(b"{}", headers)


def test_without_a_key_nothing_is_signed() -> None:
    assert signed((), "f", NOW, b"{}") == {}


def test_an_event_without_a_finding_cannot_be_told_to_pagerduty(world: World) -> None:
    world.open()
    event = dataclasses.replace(events(world)[0], document={})
    with pytest.raises(KeyError):
        message("pagerduty", event, URL)
