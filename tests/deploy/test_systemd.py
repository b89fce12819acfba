from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
UNIT: Final = ROOT / "deploy" / "systemd" / "driftwarden.service"
MOST_EXPOSURE: Final = 1.3
"""In systemd's own points from 0 to 10; below 2 it says OK."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")


def settings() -> dict[str, list[str]]:
    made: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            made.setdefault(key, []).append(value)
    return made


@needs_systemd
def test_systemd_understands_every_line(tmp_path: Path) -> None:
    program = tmp_path / "driftwarden"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    text = UNIT.read_text("utf-8").replace("/opt/driftwarden/bin/driftwarden", str(program))
    unit = tmp_path / UNIT.name
    unit.write_text(text, "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_little_is_exposed() -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={round(10 * MOST_EXPOSURE)}", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-300:]
    level = re.search(r"exposure level for driftwarden.service: ([\d.]+)", done.stdout)
    assert level is not None
    assert float(level[1]) <= MOST_EXPOSURE


def test_a_wrong_configuration_is_told_at_once_and_not_tried_again() -> None:
    found = settings()
    assert found["ExecStartPre"] == [
        "/opt/driftwarden/bin/driftwarden validate --config /etc/driftwarden/driftwarden.yaml"
    ]
    assert found["RestartPreventExitStatus"] == ["78"]
    assert found["Restart"] == ["on-failure"]


def test_it_has_longer_to_end_than_it_takes() -> None:
    from monitor.app import DRAIN_SECONDS, HALT_SECONDS

    assert float(settings()["TimeoutStopSec"][0].removesuffix("s")) > DRAIN_SECONDS + HALT_SECONDS


def test_process_metrics_need_all_of_proc() -> None:
    assert settings().get("ProcSubset") is None, "with pid alone there is no /proc/stat, and process_* would be gone"
