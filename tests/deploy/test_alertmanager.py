"""Who is told what: the example for Alertmanager, asked through amtool and three generations of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from monitor.demo.processes import HOST, Process, free_ports, wait_ready
from monitor.demo.receiver import Receiver
from monitor.signals import Signals
from tests.deploy.peers import ROOT, Peers, generations
from tests.deploy.test_rules import alerts

CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yaml"
SHIFT = {"alertname": "DriftwardenShift", "job": "d", "model": "m", "triage": "shift"}
ATTACK = {"alertname": "DriftwardenAttack", "job": "d", "model": "m", "triage": "attack"}
ABSENT = {"alertname": "DriftwardenAgentAbsent", "job": "d", "model": "m", "component": "agent", "severity": "page"}
SCHEMA = {"alertname": "DriftwardenSchemaChanged", "job": "d", "model": "m", "severity": "page"}
FEW = {"alertname": "DriftwardenTooFewRows", "job": "d", "model": "m", "severity": "ticket"}
STALE = {"alertname": "DriftwardenEvaluationStale", "job": "d", "model": "m", "severity": "ticket"}
PAGE, TICKET = {"severity": "page"}, {"severity": "ticket"}

ROUTES = {
    "page": [SHIFT | PAGE, SCHEMA, ABSENT],
    "ticket": [
        SHIFT | TICKET,
        FEW,
        STALE,
        {"alertname": "DriftwardenCheckpointFailing", "component": "agent", **TICKET},
    ],
    "security,page": [ATTACK | PAGE],
    "security,nobody": [ATTACK | TICKET],
    "nobody": [SHIFT | {"severity": "info"}],
    "deadman": [{"alertname": "DriftwardenWatchdog", "severity": "none"}],
}

Labels = Mapping[str, str]


@generations
def test_amtool_takes_the_configuration(peers: Peers) -> None:
    assert "SUCCESS" in peers.run("amtool", "check-config", CONFIG)


@generations
def test_alerts_go_to_those_whom_they_concern(peers: Peers) -> None:
    for receivers, cases in ROUTES.items():
        for labels in cases:
            words = [f"{name}={value}" for name, value in labels.items()]
            peers.run(
                "amtool",
                "config",
                "routes",
                "test",
                f"--config.file={CONFIG}",
                f"--verify.receivers={receivers}",
                *words,
            )


def test_every_alert_of_the_rules_has_a_route_of_its_severity() -> None:
    severities = {rule["labels"]["severity"] for rule in alerts() if "severity" in rule.get("labels", {})}
    assert severities == {labels["severity"] for cases in ROUTES.values() for labels in cases}


def test_names_in_routes_and_inhibitions_are_those_of_the_rules() -> None:
    named = {rule["alert"] for rule in alerts()}
    document = yaml.safe_load(CONFIG.read_text("utf-8"))
    matchers = [m for rule in document["inhibit_rules"] for m in rule["source_matchers"] + rule["target_matchers"]]
    matchers += [m for route in document["route"]["routes"] for m in route["matchers"]]
    words = {word for text in matchers if text.startswith("alertname") for word in re.findall(r"\w+", text)}
    assert {"Driftwarden" + word.removeprefix("Driftwarden") for word in words - {"alertname", "Driftwarden"}} <= named


def test_nothing_is_muted_until_somebody_writes_down_when() -> None:
    document = yaml.safe_load(CONFIG.read_text("utf-8"))
    assert document["time_intervals"] == [{"name": "planned-retrain", "time_intervals": [{"years": ["2000"]}]}]


@contextmanager
def running(peers: Peers, folder: Path, config: Path) -> Iterator[str]:
    """The address of an Alertmanager with this configuration."""
    (port,) = free_ports(0)
    options = [f"--config.file={config}", f"--storage.path={folder}/am", f"--web.listen-address={HOST}:{port}"]
    command = [peers.path("alertmanager"), *options, "--cluster.listen-address="]
    with Process("alertmanager", command, folder / "alertmanager.log") as child:
        wait_ready(child, port, "/-/ready", Signals())
        yield f"http://{HOST}:{port}"


def post(url: str, given: Iterable[Labels]) -> None:
    """Have Alertmanager take alerts without end."""
    body = [{"labels": dict(labels)} for labels in given]
    httpx.post(f"{url}/api/v2/alerts", json=body).raise_for_status()


def inhibited(url: str) -> list[Labels]:
    """The alerts that Alertmanager keeps to itself because of others."""
    there = httpx.get(f"{url}/api/v2/alerts").raise_for_status().json()
    return [one["labels"] for one in there if one["status"]["inhibitedBy"]]


def bag(given: Iterable[Labels]) -> list[str]:
    """Alerts in an order that does not matter."""
    return sorted(str(sorted(labels.items())) for labels in given)


OTHER, ELSEWHERE = {"model": "n"}, {"job": "e"}
INHIBITIONS: list[tuple[Labels, list[Labels], list[Labels]]] = [
    (ABSENT, [SHIFT | PAGE, SHIFT | TICKET, SCHEMA, STALE], [ATTACK | PAGE, SHIFT | PAGE | OTHER]),
    (SCHEMA, [SHIFT | PAGE, SHIFT | TICKET, FEW], [ATTACK | PAGE, SHIFT | PAGE | ELSEWHERE]),
    (SCHEMA | TICKET, [], [SHIFT | TICKET, SHIFT | PAGE | OTHER]),
    (SHIFT | PAGE, [SHIFT | TICKET], [ATTACK | TICKET, FEW, SHIFT | TICKET | OTHER]),
    (FEW, [STALE], [SHIFT | PAGE, STALE | OTHER]),
]
"""An alert, those that it silences, and those that are told all the same."""


@generations
def test_what_follows_from_another_alert_is_not_told(peers: Peers, tmp_path: Path) -> None:
    for number, (source, quiet, told) in enumerate(INHIBITIONS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with running(peers, folder, CONFIG) as url:
            post(url, [source, *quiet, *told])
            assert bag(inhibited(url)) == bag(quiet)


@generations
@pytest.mark.slow
@pytest.mark.parametrize(("years", "told"), [("2000", {"page", "security"}), ("2000:2999", {"security"})])
def test_a_planned_retrain_mutes_shifts_and_not_attacks(
    peers: Peers, tmp_path: Path, years: str, told: set[str]
) -> None:
    with closing(Receiver()) as pager:
        document = yaml.safe_load(CONFIG.read_text("utf-8").replace("group_wait: 10s", "group_wait: 1s"))
        document["time_intervals"][0]["time_intervals"] = [{"years": [years]}]
        for one in document["receivers"]:
            for hook in one.get("webhook_configs", ()):
                hook["url"] = f"{pager.url}/{one['name']}"
        config = tmp_path / "alertmanager.yaml"
        config.write_text(yaml.safe_dump(document), "utf-8")
        with running(peers, tmp_path, config) as url:
            post(url, [SHIFT | PAGE, ATTACK | TICKET])
            time.sleep(4)
        assert {one.receiver for one in pager.news()} == told
