"""The shipped rules and routes with all waiting cut to a sixtieth: a demo shows in seconds what takes minutes.

Nothing else is changed in the rules. In the routes, each webhook becomes one of the demo's own, and planned silences
are taken out: the demo must page on a Sunday night as well. How often an open alert is told again stays as it is.
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
_FOR_SECONDS = 10
"""Prometheus takes its five seconds before it scrapes for the first time, whatever its configuration says."""
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_RANGE = re.compile(rf"(?<=\[){_DURATION}|(?<=\boffset ){_DURATION}")

Document = Mapping[str, Any]


def rules(given: Document) -> dict[str, Any]:
    """Rule groups, with their waits, ranges and offsets cut."""
    return {"groups": [_group(group) for group in given["groups"]]}


def _group(group: Document) -> dict[str, Any]:
    kept = {key: value for key, value in group.items() if key != "interval"}
    return kept | {"rules": [_rule(rule) for rule in group["rules"]]}


def _rule(rule: Document) -> dict[str, Any]:
    made = dict(rule) | {"expr": _ranges(rule["expr"])}
    for key, least in (("for", _FOR_SECONDS), ("keep_firing_for", 0)):
        if key in rule:
            made[key] = shorter(rule[key], least)
    if "annotations" in rule:
        made["annotations"] = {name: _ranges(text) for name, text in rule["annotations"].items()}
    return made


def _ranges(text: str) -> str:
    """An expression or template with its ranges and offsets cut."""
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
    """The shipped alertmanager.yaml: same routes and inhibitions, every webhook at ``receiver``/NAME."""
    receivers = [
        {
            "name": one["name"],
            "webhook_configs": [hook | {"url": f"{receiver}/{one['name']}"} for hook in one.get("webhook_configs", ())],
        }
        for one in given["receivers"]
    ]
    return dict(given) | {"route": _route(given["route"]), "receivers": receivers}


def _route(route: Document) -> dict[str, Any]:
    made = {key: value for key, value in route.items() if key not in {"mute_time_intervals", "active_time_intervals"}}
    for key in ("group_wait", "group_interval"):
        if key in route:
            made[key] = shorter(route[key], 1)
    if "routes" in route:
        made["routes"] = [_route(one) for one in route["routes"]]
    return made
