"""Every query of every dashboard, put to a live Prometheus as Grafana would put it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

from grafana.ask import Prometheus, RefusedError
from grafana.rendered import committed, filled, panels_of

VARIABLES = {
    "datasource": "prometheus",
    "job": ".+",
    "instance": ".+",
    "model": ".+",
    "stream": ".+",
    "__range": "1h",
    "__rate_interval": "1m",
}
"""What Grafana would put in place of variables; a dashboard of one model needs ``model`` from the caller."""
LOOK_BACK = 3600.0
POINTS = 240


def check(prometheus_url: str, variables: Mapping[str, str]) -> list[str]:
    """Queries without a series that holds a number, as "dashboard: panel: query"; what is refused says why."""
    server, values, end = Prometheus(prometheus_url), {**VARIABLES, **variables}, time.time()
    empty = []
    for document in committed().values():
        for panel in panels_of(document):
            for target in panel.targets:
                where = f"{panel.dashboard}: {panel.title}: {target['refId']}"
                try:
                    if not _shows(server, filled(target["expr"], values), end, instant=bool(target.get("instant"))):
                        empty.append(where)
                except RefusedError as error:
                    empty.append(f"{where}: refused: {error}")
    return empty


def _shows(server: Prometheus, expr: str, end: float, *, instant: bool) -> bool:
    """Whether there is anything to see."""
    found = server.now(expr, end) if instant else server.over(expr, end - LOOK_BACK, end, LOOK_BACK / POINTS)
    return any(math.isfinite(value) for series in found for _, value in series.points)
