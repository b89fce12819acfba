"""Open incidents as alerts: the names, labels and links of the rules, sent while they last and once when they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.notify.alerts import NAMES, OUTLIVES, WATCHDOG, Herald
from monitor.notify.section import OWN_LABELS
from tests.monitor.findings_bench import culprit
from tests.monitor.notify_bench import NOW, URL, Receiver, World, alertmanager, answer

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "driftwarden.rules.yaml"
SOON = "2026-09-21T14:13:20.000Z"
LATER = "2026-09-21T14:43:20.000Z"
assert OUTLIVES == 1800


def herald(world: World, receiver: Receiver, **changes: Any) -> Herald:
    return Herald(world.store, alertmanager(receiver, **changes), URL, world.clock)


def last(receiver: Receiver) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(receiver.raw[-1])
    return found


def test_an_open_incident_is_an_alert_that_outlives_a_restart(world: World, receiver: Receiver) -> None:
    one = world.open()
    herald(world, receiver).step()
    (made,) = last(receiver)
    assert made["labels"] == {"alertname": "DriftwardenShift", "model": "m", "severity": "page", "triage": "shift"}
    assert (made["startsAt"], made["endsAt"]) == (SOON, LATER)
    assert made["generatorURL"] == made["annotations"]["incident_url"] == f"{URL}/findings/{one.id}"
    assert made["annotations"]["runbook_url"] == f"{URL}/runbooks#driftwardenshift"
    described = (
        "Model m: 1 open incident that nobody has acknowledged, the newest of 21 Sep 2026, 14:13 UTC: a shifted."
    )
    assert made["annotations"]["description"] == described
    assert receiver.paths == ["/api/v2/alerts"]


@pytest.mark.parametrize("prefix", ["/am", "/am/"])
def test_an_alertmanager_may_live_below_a_path(world: World, receiver: Receiver, prefix: str) -> None:
    world.open()
    herald(world, receiver, url=receiver.url + prefix, token_env="TOKEN", username="me").step()
    assert receiver.paths == ["/am/api/v2/alerts"]
    assert receiver.headers[0]["authorization"] == "Basic bWU6aHVzaA=="


def test_many_columns_are_one_alert_whose_labels_stay(world: World, receiver: Receiver) -> None:
    told = herald(world, receiver)
    head = world.open()
    told.step()
    for at in range(20):
        world.open(pane=6, joins=head.id, severity="ticket", units=(culprit(f"c{at}", at),))
    told.step()
    first, second = (json.loads(raw) for raw in receiver.raw)
    assert [one["labels"] for one in first] == [one["labels"] for one in second]


def test_two_incidents_of_a_kind_are_one_alert_that_links_to_the_newer(world: World, receiver: Receiver) -> None:
    world.open(pane=1)
    world.clock.advance(60)
    newer = world.open(pane=2)
    herald(world, receiver).step()
    (made,) = last(receiver)
    assert made["startsAt"] == SOON
    assert "2 open incidents" in made["annotations"]["description"]
    assert made["annotations"]["incident_url"].endswith(newer.id)


def test_while_it_lasts_it_is_sent_again_and_again(world: World, receiver: Receiver) -> None:
    told = herald(world, receiver, interval="30s")
    world.open()
    for _ in range(90):
        told.step()
        world.clock.advance(1)
    assert len(receiver.raw) == 3
    assert told.counts.failures == 0


def test_a_recovery_is_told_once_with_its_time(world: World, receiver: Receiver) -> None:
    told = herald(world, receiver)
    one = world.open()
    told.step()
    world.clock.advance(1)
    world.recover(one)
    told.step()
    (made,) = last(receiver)
    assert made["endsAt"] == "2026-09-21T14:13:21.000Z"
    assert made["startsAt"] == SOON
    world.clock.advance(300)
    told.step()
    assert len(receiver.raw) == 2


@pytest.mark.parametrize("way", ["acknowledge", "mute"])
def test_what_somebody_attends_to_is_no_alert_any_more(world: World, receiver: Receiver, way: str) -> None:
    told = herald(world, receiver)
    one = world.open()
    told.step()
    world.clock.advance(1)
    if way == "acknowledge":
        world.do("acknowledge", {"finding": one.id})
    else:
        world.do("mute", {"column": "a"}, NOW + 3600)
    told.step()
    assert [made["endsAt"] for made in last(receiver)] == ["2026-09-21T14:13:21.000Z"]


def test_the_rest_of_an_incident_whose_head_is_over_is_an_alert(world: World, receiver: Receiver) -> None:
    head = world.open()
    world.open(pane=6, joins=head.id, severity="ticket")
    world.recover(head)
    herald(world, receiver).step()
    assert [made["labels"]["severity"] for made in last(receiver)] == ["ticket"]


def test_an_end_that_nobody_took_is_told_later(world: World, receiver: Receiver) -> None:
    told = herald(world, receiver)
    one = world.open()
    told.step()
    receiver.script = [answer(503), answer(400)]
    world.recover(one)
    for _ in range(20):
        world.clock.advance(1)
        told.step()
    assert len(receiver.raw) == 4
    assert len(last(receiver)) == 1
    assert told.counts.failures == 2


def test_what_ended_around_a_restart_is_ended_for_alertmanager_too(world: World, receiver: Receiver) -> None:
    told = herald(world, receiver)
    one = world.open()
    told.step()
    world.recover(one)
    world.restart()
    world.clock.advance(5)
    herald(world, receiver).step()
    assert [made["endsAt"] for made in last(receiver)] == ["2026-09-21T14:13:25.000Z"]


def test_a_restart_changes_nothing_that_tells_alerts_apart(world: World, receiver: Receiver) -> None:
    world.open()
    herald(world, receiver).step()
    world.restart()
    world.clock.advance(60)
    herald(world, receiver).step()
    first, second = (json.loads(raw) for raw in receiver.raw)
    assert [one["labels"] for one in first] == [one["labels"] for one in second]
    assert [one["startsAt"] for one in first] == [one["startsAt"] for one in second]


def test_an_incident_of_tomorrow_begins_now(world: World, receiver: Receiver) -> None:
    world.open(time=NOW + 86_400)
    herald(world, receiver).step()
    assert last(receiver)[0]["startsAt"] == SOON


def test_nothing_open_is_nothing_sent_unless_there_is_a_watchdog(world: World, receiver: Receiver) -> None:
    herald(world, receiver).step()
    assert receiver.raw == []
    herald(world, receiver, watchdog=True, labels={"cluster": "eu"}).step()
    (made,) = last(receiver)
    assert made["labels"] == {"alertname": WATCHDOG, "severity": "none", "cluster": "eu"}
    assert made["endsAt"] == "2026-09-21T14:15:20.000Z"  # soon after the agent has gone


def test_severities_models_and_labels_of_the_place(world: World, receiver: Receiver) -> None:
    world.open(severity="ticket")
    world.open(model="n")
    told = herald(world, receiver, severities=["page"], labels={"cluster": "eu"}, dashboards="https://g.example.org/")
    told.step()
    (made,) = last(receiver)
    assert (made["labels"]["model"], made["labels"]["cluster"]) == ("n", "eu")
    assert made["annotations"]["dashboard_url"] == "https://g.example.org/d/driftwarden-model?var-model=n"


@pytest.mark.parametrize("triage", list(NAMES))
def test_names_and_words_are_those_of_the_rules(triage: str) -> None:
    rules = yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]
    name, summary = NAMES[triage]
    (rule,) = (one for one in rules if one.get("alert") == name)
    assert f'triage="{triage}"' in rule["expr"]
    assert rule["annotations"]["summary"] == summary
    assert rule["annotations"]["runbook_url"].endswith(f"#{name.lower()}")
    page = "driftwarden-security" if triage == "attack" else "driftwarden-model"
    assert f"/d/{page}?var-model=" in rule["annotations"]["dashboard_url"]
    assert set(rule.get("labels", {})) <= set(OWN_LABELS)
    assert f"[{OUTLIVES / 60:.0f}m]" in rule["expr"]
    assert next(one for one in rules if one.get("alert") == WATCHDOG)["labels"] == {"severity": "none"}
