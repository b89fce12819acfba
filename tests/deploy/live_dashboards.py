"""Every query of every dashboard, put to a live Prometheus as Grafana would put it."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping

from grafana.ask import Prometheus, RefusedError
from grafana.rendered import Json, Panel, committed, filled, panels_of

VARIABLES = {"__range": "1h", "__rate_interval": "1m", "metric": "accuracy"}
"""What Grafana would put in place of its own variables, and a metric of all classifiers."""
LOOK_BACK = 3600.0
POINTS = 240
SECURITY, PERFORMANCE = "driftwarden-security: ", "driftwarden-performance: "
NEEDS: Mapping[str, tuple[str, ...]] = {
    "incident": ("driftwarden-fleet: Open incidents", "driftwarden-model: Open incidents"),
    "attack": (f"{SECURITY}Open attacks", f"{SECURITY}Most suspect senders", f"{SECURITY}Evidence against senders"),
    "segments": ("driftwarden-model: Mix of the traffic",),
    "selfcheck": ("driftwarden-model: Injected shifts found", "driftwarden-model: Panes to a page"),
    "labels": (f"{SECURITY}Poisoning",),
    "probes": (f"{SECURITY}Probes leave the endpoint alone",),
    "receivers": ("driftwarden-agent: Notifications", "driftwarden-agent: Notifications that wait"),
    "guard": (SECURITY,),
    "outcomes": (PERFORMANCE,),
    "coverage": (
        f"{PERFORMANCE}Coverage",
        f"{PERFORMANCE}Coverage: what is missed",
        f"{PERFORMANCE}Evidence of a change",
    ),
}
"""Panels that are rightly empty without something: an open incident, a caught attacker, segment columns, a finished
self-check, labels, active probes, receivers, a model whose rows are looked at one by one, ids with labels, and
intervals or sets."""


def check(prometheus_url: str, variables: Mapping[str, str], without: Collection[str] = ()) -> list[str]:
    """Queries without a series that holds a number, as "dashboard: panel: query"; what is refused says why.

    ``variables`` names at least the ``model`` of the dashboard of one model; all else is "all" unless given.
    ``without`` are keys of `NEEDS` that this Prometheus has nothing of: panels that need them are not asked for.
    """
    spared = tuple(f"{where}:" if not where.endswith(" ") else where for need in without for where in NEEDS[need])
    server, end = Prometheus(prometheus_url), time.time()
    empty = []
    for document in committed().values():
        values = {**VARIABLES, **_chosen(document, variables)}
        for where, target in _targets(document):
            if where.startswith(spared):
                continue
            try:
                shown = _shows(server, filled(target["expr"], values), end, instant=bool(target.get("instant")))
            except RefusedError as error:
                empty.append(f"{where}: refused: {error}")
            else:
                empty += [] if shown else [where]
    return empty


def _chosen(document: Json, variables: Mapping[str, str]) -> dict[str, str]:
    """Values of the dashboard's variables: a choice of one model is for the dashboard of one model."""
    made = dict(variables)
    for one in document["templating"]["list"]:
        if one.get("multi") and (one["name"] == "model" or one["name"] not in variables):
            made[one["name"]] = ".+"
    return made


def _targets(document: Json) -> Iterator[tuple[str, Json]]:
    for panel in panels_of(document):
        yield from ((f"{_place(panel)}: {target['refId']}", target) for target in panel.targets)


def _place(panel: Panel) -> str:
    return f"{panel.dashboard}: {panel.title}"


def _shows(server: Prometheus, expr: str, end: float, *, instant: bool) -> bool:
    """Whether there is anything to see."""
    found = server.now(expr, end) if instant else server.over(expr, end - LOOK_BACK, end, LOOK_BACK / POINTS)
    return any(math.isfinite(value) for series in found for _, value in series.points)
