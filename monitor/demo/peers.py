"""Finds the programs that run beside the agent in `driftwarden demo --stack`: Prometheus and Alertmanager."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from monitor.errors import DriftwardenError

NAMES = {"prometheus": ("prometheus",), "alertmanager": ("alertmanager", "prometheus-alertmanager")}
"""What each program is called; Debian has a name of its own for the second."""
SUITES = ("trixie", "bookworm", "sid")
"""Folders of unpacked programs, the steadiest choice first; other folders come after them."""


def find(name: str) -> str:
    """Path of a program, from PATH or from where ``.ci/peers`` unpacks it; `DriftwardenError` where there is none."""
    for directory in (*os.get_exec_path(), *_unpacked()):
        for called in NAMES[name]:
            found = shutil.which(called, path=str(directory))
            if found is not None:
                return found
    fix = f"sh .ci/peers {Path(sys.prefix) / 'peers'} unpacks it without installing a service"
    raise DriftwardenError(f"{name} is neither on PATH nor unpacked beside this agent; in a checkout, {fix}")


def _unpacked() -> Iterator[Path]:
    """Folders into which programs were unpacked, for this environment or for the checkout."""
    for base in dict.fromkeys((Path(sys.prefix), Path(__file__).resolve().parents[2] / ".venv")):
        yield from sorted((base / "peers").glob("*/usr/bin"), key=_preference)


def _preference(place: Path) -> tuple[int, str]:
    suite = place.parts[-3]
    return SUITES.index(suite) if suite in SUITES else len(SUITES), suite
