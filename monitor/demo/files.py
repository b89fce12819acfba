"""Where the demo's files and the shipped rules are, and what is documented about the data (deploy/demo/README.md)."""

from __future__ import annotations

from pathlib import Path

from monitor.errors import DriftwardenError

MODEL = "employment"
"""Name of the monitored model in demo.yaml."""
EPISODE = (130_000, 145_000)
"""Rows of the production log in which NannyML documents the drift, counted from 0, the end not among them."""
COLUMNS = ("RELP", "SCHL", "AGEP")
"""Columns that it documents as drifting most."""


def folder() -> Path:
    """The demo's folder."""
    return _shipped("data", "demo", "demo.yaml").parent


def rules() -> Path:
    """The rules for Prometheus."""
    return _shipped("prometheus", "prometheus", "driftwarden.rules.yaml")


def scraping() -> Path:
    """The example of a configuration of Prometheus."""
    return _shipped("prometheus", "prometheus", "prometheus.yaml")


def routing() -> Path:
    """The configuration of Alertmanager."""
    return _shipped("alertmanager", "alertmanager", "alertmanager.yaml")


def _shipped(packaged: str, deployed: str, name: str) -> Path:
    """A file of deploy/: inside the package when installed from a wheel, else in the checkout."""
    here = Path(__file__).resolve()
    places = (here.parent / packaged, here.parents[2] / "deploy" / deployed)
    for place in places:
        if (place / name).is_file():
            return place / name
    message = f"{name} is not in {' nor in '.join(map(str, places))}; install driftwarden again"
    raise DriftwardenError(message)
