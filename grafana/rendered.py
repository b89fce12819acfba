"""Dashboards as Grafana loads them: JSON, rendered from the Python of this folder, and read back as panels and queries.

Reading needs neither Grafana nor the SDK: tests, the live check and the preview see what a Grafana would see.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).parent / "dashboards"
Json = dict[str, Any]


def rendered() -> dict[str, str]:
    """What each file of `DASHBOARDS` must hold."""
    from grafana import agent, fleet, model, performance, sdk, security

    made = {
        "fleet": fleet.build,
        "model": model.build,
        "performance": performance.build,
        "security": security.build,
        "agent": agent.build,
    }
    return {
        f"{name}.json": json.dumps(build(), cls=sdk.JSONEncoder, indent=1, sort_keys=True) + "\n"
        for name, build in made.items()
    }


def committed() -> dict[str, Json]:
    """The files of `DASHBOARDS`, by their dashboard's name in addresses."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(DASHBOARDS.glob("*.json")))
    return {document["uid"]: document for document in found}


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: its dashboard's name in addresses, and its JSON."""

    dashboard: str
    document: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Its heading."""
        return str(self.document["title"])

    @property
    def kind(self) -> str:
        """What draws it."""
        return str(self.document["type"])

    @property
    def targets(self) -> list[Json]:
        """Its queries, as Grafana keeps them."""
        return list(self.document["targets"])


def panels_of(dashboard: Mapping[str, Any]) -> list[Panel]:
    """All panels of a dashboard, without the headings of rows."""
    return [Panel(dashboard["uid"], one) for one in dashboard["panels"] if one["type"] != "row"]


def expressions(dashboard: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every PromQL expression of a dashboard and where it stands: queries of panels, and annotations."""
    for panel in panels_of(dashboard):
        for target in panel.targets:
            yield f"{panel.dashboard}: {panel.title}: {target['refId']}", target["expr"]
    for one in dashboard["annotations"]["list"]:
        yield f"{dashboard['uid']}: annotation {one['name']}", one["expr"]


def filled(expr: str, variables: Mapping[str, str]) -> str:
    """An expression with Grafana's variables replaced, longest names first: ``$job`` is not the begin of ``$jobs``."""
    for name in sorted(variables, key=len, reverse=True):
        expr = expr.replace(f"${{{name}}}", variables[name]).replace(f"${name}", variables[name])
    return expr
