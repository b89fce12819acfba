"""The rules of dashboard-linter hold, and each of them can tell when they do not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from grafana.rendered import committed
from tests.deploy.dashboard_lint import RULES, variables

DASHBOARDS = committed()
Json = dict[str, Any]


def panel(dashboard: Json) -> Json:
    found: Json = next(one for one in dashboard["panels"] if one["type"] == "timeseries")
    return found


def variable(dashboard: Json, name: str) -> Json:
    return variables(dashboard)[name]


def asked(expr: str) -> Callable[[Json], object]:
    return lambda dashboard: panel(dashboard)["targets"][0].update(expr=expr)


GOOD = '{job=~"$job", instance=~"$instance"}'
BREAKS: dict[str, Callable[[Json], object]] = {
    "template-datasource-rule": lambda it: variable(it, "datasource").update(label="Source"),
    "template-job-rule": lambda it: variable(it, "job").update(allValue=".*"),
    "template-instance-rule": lambda it: variable(it, "instance").update(multi=False),
    "template-label-promql-rule": lambda it: variable(it, "instance")["query"].update(query="label_values(x{, y)"),
    "template-on-time-change-reload-rule": lambda it: variable(it, "job").update(refresh=1),
    "panel-datasource-rule": lambda it: panel(it).update(datasource={"type": "prometheus", "uid": "mine"}),
    "panel-title-description-rule": lambda it: panel(it).update(description=""),
    "panel-units-rule": lambda it: panel(it)["fieldConfig"]["defaults"].update(unit="secs"),
    "panel-no-targets-rule": lambda it: panel(it).update(targets=[]),
    "target-promql-rule": asked("sum(("),
    "target-rate-interval-rule": asked(f"rate(x_total{GOOD}[5m])"),
    "target-job-rule": asked('up{instance=~"$instance"}'),
    "target-instance-rule": asked('up{job=~"$job"}'),
    "target-counter-agg-rule": asked(f"sum(x_total{GOOD})"),
    "uneditable-dashboard": lambda it: it.update(editable=True),
    "target-logql-rule, target-logql-auto-rule": lambda it: panel(it)["targets"][0].update(datasource={"type": "loki"}),
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_keep_the_rules(name: str, rule: str) -> None:
    assert list(RULES[rule](DASHBOARDS[name])) == []


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_sees_its_breach(rule: str) -> None:
    broken = copy.deepcopy(DASHBOARDS["driftwarden-fleet"])
    BREAKS[rule](broken)
    assert list(RULES[rule](broken))
