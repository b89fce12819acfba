"""What the shared expressions of the dashboards mean, asked of three generations of promtool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana import series
from grafana.rendered import filled
from tests.deploy.peers import Peers, generations

AGENT = 'job="j", instance="i"'
VALUES = {"job": ".+", "instance": ".+", "model": ".+", "stream": ".+", "__range": "10m", "__rate_interval": "5m"}
pytestmark = generations


def holds(peers: Peers, folder: Path, given: dict[str, str], expr: str, wanted: list[dict[str, Any]]) -> None:
    """After ten minutes of the given series, the expression has exactly these samples."""
    inputs = [
        {"series": f"driftwarden_{name.replace('}', f', {AGENT}}}')}", "values": values}
        for name, values in given.items()
    ]
    asked = {"expr": filled(expr, VALUES), "eval_time": "10m", "exp_samples": wanted}
    document = {"rule_files": [], "tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": [asked]}]}
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(document))
    assert "SUCCESS" in peers.run("promtool", "test", "rules", path)


@pytest.mark.parametrize(
    ("page", "ticket", "info", "attended", "wanted"),
    [(1, 1, 1, 1, 4), (0, 2, 0, 1, 3), (0, 0, 1, 1, 2), (0, 0, 9, 0, 1), (0, 0, 0, 0, 0)],
)
def test_the_worst_that_is_open_is_the_state(
    peers: Peers, tmp_path: Path, page: int, ticket: int, info: int, attended: int, wanted: int
) -> None:
    given = {
        f'findings_open{{model="m", severity="{severity}", triage="shift"}}': f"{number}x10"
        for severity, number in (("page", page), ("ticket", ticket), ("info", info))
    }
    given['findings_attended{model="m", state="muted"}'] = f"{attended}x10"
    holds(peers, tmp_path, given, series.state(series.fleet), [{"labels": '{model="m"}', "value": wanted}])


@pytest.mark.parametrize(("evidence", "alarm", "wanted"), [("-Inf", 0, 0), ("5", 0, 0.5), ("-3", 1, 1), ("2", 1, 1)])
def test_evidence_is_whole_while_an_alarm_is_open(
    peers: Peers, tmp_path: Path, evidence: str, alarm: int, wanted: float
) -> None:
    stream = '{model="m", stream="all"}'
    given = {
        f"evidence_log_e{stream}": f"{evidence} " * 11,
        f"alarm_threshold_log_e{stream}": "10x10",
        f"alarm_active{stream}": f"{alarm}x10",
    }
    holds(
        peers,
        tmp_path,
        given,
        series.share_of_threshold(series.fleet, "model"),
        [{"labels": '{model="m"}', "value": wanted}],
    )


FINDING = '{model="m", severity="page", triage="shift", failure_mode="f", finding="id"}'


@pytest.mark.parametrize("served", [True, False])
def test_incidents_have_the_address_of_the_pages_where_there_are_any(
    peers: Peers, tmp_path: Path, *, served: bool
) -> None:
    given = {f"finding_opened_timestamp_seconds{FINDING}": "7x10"}
    given |= {'web_info{url="http://x"}': "1x10"} if served else {}
    labels = FINDING.replace("}", ', url="http://x"}') if served else FINDING
    holds(peers, tmp_path, given, series.incidents(series.fleet), [{"labels": labels, "value": 7}])


def test_leading_series_are_those_that_weigh_most_in_the_whole_range(peers: Peers, tmp_path: Path) -> None:
    given = {
        'findings_total{model="early"}': "0 0 50 50 50 50 50 50 50 50 50",
        'findings_total{model="late"}': "0 0 0 0 0 0 0 0 0 5 10",
    }
    counter = series.fleet("findings_total")
    expr = series.leading(1, series.rate(counter, "model"), series.total(counter, "model"), "model")
    holds(peers, tmp_path, given, expr, [{"labels": '{model="early"}', "value": 0}])


@pytest.mark.parametrize(("log_p", "wanted"), [("-6.907755278982137", 3), ("-Inf", 300), ("0", 0)])
def test_surprise_is_in_powers_of_ten(peers: Peers, tmp_path: Path, log_p: str, wanted: float) -> None:
    given = {'mix_log_p{model="m", stream="all"}': f"{log_p} " * 11}
    expr = f"round({series.strength(series.fleet('mix_log_p'), 'model')}, 0.001)"
    holds(peers, tmp_path, given, expr, [{"labels": '{model="m"}', "value": wanted}])
