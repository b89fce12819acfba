"""Where the demo's files are, and what is documented about them (deploy/demo/README.md)."""

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
    """The demo's folder: inside the package when installed from a wheel, else in the checkout."""
    here = Path(__file__).resolve()
    places = (here.parent / "data", here.parents[2] / "deploy" / "demo")
    for place in places:
        if (place / "demo.yaml").is_file():
            return place
    message = f"the demo's files are not in {' nor in '.join(map(str, places))}; install driftwarden again"
    raise DriftwardenError(message)
