"""The shipped rules and routes with all waiting cut to a sixtieth: a demo shows in seconds what takes minutes.

Nothing else is changed in the rules. In the routes, each receiver becomes the demo's own and planned silences are taken
out: the demo must page on a Sunday night as well. How often an open alert is told again stays as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from monitor.quantities import duration

SPEED = 60
SECOND = "1s"
"""How often is scraped and evaluated."""
_RANGE_SECONDS = 5
"""A range must hold a few scrapes, or there is no rate."""
_RANGE = re.compile(r"(?<=\[)(?:\d+(?:ms|[smhdwy]))+")

Document = Mapping[str, Any]


def rules(given: Document) -> dict[str, Any]:
    """Rule groups, with their waits and ranges cut."""
    return {"groups": [_group(group) for group in given["groups"]]}


def _group(group: Document) -> dict[str, Any]:
    kept = {key: value for key, value in group.items() if key != "interval"}
    return kept | {"rules": [_rule(rule) for rule in group["rules"]]}


def _rule(rule: Document) -> dict[str, Any]:
    made = dict(rule) | {"expr": _ranges(rule["expr"])}
    for key in ("for", "keep_firing_for"):
        if key in rule:
            made[key] = shorter(rule[key])
    if "annotations" in rule:
        made["annotations"] = {name: _ranges(text) for name, text in rule["annotations"].items()}
    return made


def _ranges(text: str) -> str:
    """An expression or template with its ranges cut."""
    return _RANGE.sub(lambda found: shorter(found[0], _RANGE_SECONDS), text)


def shorter(text: str, least: int = 0) -> str:
    """A duration of Prometheus at the demo's speed, in whole seconds.

    >>> shorter("5m"), shorter("0s"), shorter("1m", 5)
    ('5s', '0s', '5s')
    """
    return f"{max(math.ceil(duration(text) / SPEED), least)}s"


def scraping(given: Document, agent: str, alertmanager: str, rules_file: str) -> dict[str, Any]:
    """The shipped example of prometheus.yaml, turned to the demo's ports; both addresses are HOST:PORT."""
    (job,) = given["scrape_configs"]
    target = {"static_configs": [{"targets": [alertmanager]}]}
    return dict(given) | {
        "global": dict(given.get("global", {})) | {"scrape_interval": SECOND, "evaluation_interval": SECOND},
        "rule_files": [rules_file],
        "scrape_configs": [dict(job) | {"static_configs": [{"targets": [agent]}]}],
        "alerting": {"alertmanagers": [target]},
    }


def routing(given: Document, receiver: str) -> dict[str, Any]:
    """The shipped alertmanager.yaml: same routes and inhibitions, every receiver at ``receiver``/NAME."""
    kept = {key: value for key, value in given.items() if key not in {"global", "templates"}}
    return kept | {
        "route": _route(given["route"]),
        "receivers": [
            {"name": one["name"], "webhook_configs": [{"url": f"{receiver}/{one['name']}", "send_resolved": True}]}
            for one in given["receivers"]
        ],
    }


def _route(route: Document) -> dict[str, Any]:
    made = {key: value for key, value in route.items() if key not in {"mute_time_intervals", "active_time_intervals"}}
    for key in ("group_wait", "group_interval"):
        if key in route:
            made[key] = shorter(route[key], 1)
    if "routes" in route:
        made["routes"] = [_route(one) for one in route["routes"]]
    return made
