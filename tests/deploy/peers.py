"""Prometheus and Alertmanager of three generations, as ``.ci/peers`` unpacks them, and their tools."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNPACKED = ROOT / ".venv" / "peers"
SUITES = ("bookworm", "trixie", "sid")
"""Prometheus 2.42, 2.53 and 3; Alertmanager 0.25, 0.28 and what is current."""


@dataclass(frozen=True, slots=True)
class Peers:
    """The programs of one generation."""

    suite: str

    def path(self, name: str) -> str:
        """Where prometheus, promtool, alertmanager or amtool is."""
        return str(UNPACKED / self.suite / "usr" / "bin" / name)

    def run(self, name: str, *arguments: str | Path) -> str:
        """What a tool printed; the test fails with it where the tool finds fault."""
        command = [self.path(name), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        printed = done.stdout + done.stderr
        assert done.returncode == 0, printed
        return printed


def _generation(suite: str) -> object:
    names = ("prometheus", "promtool", "alertmanager", "amtool")
    there = all(Path(Peers(suite).path(name)).is_file() for name in names)
    skip = pytest.mark.skipif(not there, reason=f"{suite} is not unpacked; sh .ci/peers .venv/peers says why")
    return pytest.param(Peers(suite), id=suite, marks=skip)


generations = pytest.mark.parametrize("peers", [_generation(suite) for suite in SUITES])
"""Runs a test with each generation, and says which are not to be had."""
