"""The rules for Prometheus: what promtool says of three generations, and that they speak of series that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.metrics import SEVERITIES, TRIAGES, table
from tests.deploy.peers import ROOT, Peers, generations

PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "driftwarden.rules.yaml"
SCENARIOS = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
TARGET = {"job", "instance", "pod"}
"""Labels that Prometheus attaches."""


def rules() -> list[dict[str, Any]]:
    """All rules in order."""
    return [rule for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def expressions() -> Iterator[str]:
    """Everything that is asked of Prometheus: expressions, and queries in templates without their quotation marks."""
    for rule in rules():
        yield rule["expr"]
        yield from (text.replace('\\"', '"') for text in rule.get("annotations", {}).values() if "query" in text)


@generations
def test_promtool_lints_the_rules_and_the_example(peers: Peers) -> None:
    assert "SUCCESS" in peers.run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert "SUCCESS" in peers.run("promtool", "check", "config", PROMETHEUS / "prometheus.yaml")


@generations
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_rules_fire_when_they_should_and_only_then(peers: Peers, scenario: Path) -> None:
    assert "SUCCESS" in peers.run("promtool", "test", "rules", scenario)


def test_every_alert_fires_in_a_scenario_with_all_its_words() -> None:
    tested = set()
    for file in SCENARIOS:
        for group in yaml.safe_load(file.read_text("utf-8"))["tests"]:
            for case in group.get("alert_rule_test", ()):
                tested |= {(case["alertname"], one["exp_labels"]["severity"]) for one in case["exp_alerts"]}
    known = {(rule["alert"], rule["labels"]["severity"]) for rule in alerts() if "severity" in rule.get("labels", {})}
    kinds = {rule["alert"] for rule in alerts()}
    assert known <= tested
    assert kinds == {name for name, _ in tested}


def test_every_kind_of_finding_has_its_alert() -> None:
    asked = [re.search(r'findings_open:min2m\{triage="(\w+)"\}', rule["expr"]) for rule in alerts()]
    assert sorted(found[1] for found in asked if found) == sorted(TRIAGES)


def test_alerts_have_the_words_that_a_tired_person_needs() -> None:
    for rule in alerts():
        name, told = rule["alert"], rule["annotations"]
        assert name.startswith("Driftwarden")
        assert {"summary", "description", "dashboard_url", "runbook_url"} <= set(told), name
        assert "incident_url" in told or name in {"DriftwardenAgentAbsent", "DriftwardenWatchdog"}, name
        assert "{{" not in told["summary"], f"{name}: a summary heads a group of alerts"
        assert told["summary"].endswith(".")
        assert told["runbook_url"].endswith(f"#{name.lower()}")


def test_labels_stay_the_same_while_an_alert_lasts() -> None:
    for rule in alerts():
        labels = rule.get("labels", {})
        assert not [text for text in labels.values() if "{{" in text], rule["alert"]
        asks_findings = "findings_open" in rule["expr"]  # these bring the finding's own severity along
        assert (labels.get("severity") in {*SEVERITIES, "none"}) != asks_findings, rule["alert"]
        assert asks_findings or labels["severity"] == "info" or "finding=" not in rule["expr"]


def asked() -> Iterator[tuple[str, set[str]]]:
    """Every series that is asked for, with the labels that it is asked for by."""
    for text in expressions():
        for name, matchers in re.findall(r"(?<![\w:])([\w:]*driftwarden[_:][\w:]+)(\{[^}]*\})?", text):
            yield name, set(re.findall(r"(\w+)(?:=~|!~|!=|=)", matchers))


def test_what_is_asked_for_exists_with_its_labels() -> None:
    known = {name: set(metric.labels) for name, metric in table().items()}
    known |= {
        f"{name}_bucket": {*metric.labels, "le"} for name, metric in table().items() if metric.kind == "histogram"
    }
    for name, labels in asked():
        if ":" not in name:
            assert name in known
            assert labels <= known[name] | TARGET, name


def test_what_is_recorded_is_asked_for_and_the_other_way_round() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    assert {name for name, _ in asked() if ":" in name} == recorded


def test_records_are_named_by_level_metric_and_operations() -> None:
    for rule in rules():
        if "record" in rule:
            assert re.fullmatch(r"[a-z]+:[a-z_]+:[a-z0-9_]+", rule["record"]), rule["record"]


def test_dashboards_that_are_linked_to_exist() -> None:
    linked = {uid for text in expressions() for uid in re.findall(r"/d/([\w-]+)", text)}
    there = {
        yaml.safe_load(file.read_text("utf-8"))["uid"] for file in (ROOT / "grafana" / "dashboards").glob("*.json")
    }
    assert linked
    assert linked <= there
