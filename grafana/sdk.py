"""The foundation SDK under short names.

It warns of classic dashboards, because there is a newer form. Classic JSON is what Grafana 10 to 13 all load from a
folder, so it stays, and the warning is silenced here and nowhere else.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import (
        bargauge,
        common,
        dashboard,
        gauge,
        heatmap,
        prometheus,
        stat,
        statetimeline,
        table,
        timeseries,
    )
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.variants import Dataquery
    from grafana_foundation_sdk.models import common as common_models
    from grafana_foundation_sdk.models import dashboard as models
    from grafana_foundation_sdk.models import heatmap as heatmap_models
    from grafana_foundation_sdk.models import prometheus as prometheus_models

__all__ = [
    "Builder",
    "Dataquery",
    "JSONEncoder",
    "bargauge",
    "common",
    "common_models",
    "dashboard",
    "gauge",
    "heatmap",
    "heatmap_models",
    "models",
    "prometheus",
    "prometheus_models",
    "stat",
    "statetimeline",
    "table",
    "timeseries",
]
