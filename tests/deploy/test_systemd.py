from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from monitor.demo import processes
from monitor.demo.processes import Process
from monitor.demo.telemetry import Scrape
from monitor.signals import Signals
from tests.deploy import sandbox

ROOT: Final = Path(__file__).resolve().parents[2]
UNIT: Final = ROOT / "deploy" / "systemd" / "driftwarden.service"
MOST_EXPOSURE: Final = 1.1
"""In systemd's own points from 0 to 10; below 2 it says OK."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this machine")


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
    found = sandbox.settings(UNIT)
    assert found["ExecStartPre"] == [
        "/opt/driftwarden/bin/driftwarden validate --config /etc/driftwarden/driftwarden.yaml"
    ]
    assert found["RestartPreventExitStatus"] == ["78"]
    assert found["Restart"] == ["on-failure"]


def test_it_has_longer_to_end_than_it_takes() -> None:
    from monitor.app import DRAIN_SECONDS, HALT_SECONDS

    assert float(sandbox.settings(UNIT)["TimeoutStopSec"][0].removesuffix("s")) > DRAIN_SECONDS + HALT_SECONDS


def test_process_metrics_need_all_of_proc() -> None:
    assert sandbox.settings(UNIT).get("ProcSubset") is None, (
        "with pid alone there is no /proc/stat, and process_* would be gone"
    )


# Under the filter.

needs_filter = pytest.mark.skipif(sandbox.lacking() is not None, reason=str(sandbox.lacking()))


def confined(*command: str) -> list[str]:
    """A command without capabilities and under the unit's filter."""
    drop = ["setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
    return [*drop, sys.executable, "-m", "tests.deploy.sandbox", str(UNIT), *command]


@needs_filter
@pytest.mark.parametrize(
    "forbidden",
    [
        "import mmap; mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)",
        "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
        "import os; os.chroot('/')",
        "import os; os.nice(-5)",
        "import ctypes; c = ctypes.CDLL(None, use_errno=True); assert c.unshare(0x10000000) == 0",
    ],
)
def test_the_filter_forbids_what_the_unit_says(forbidden: str) -> None:
    done = subprocess.run(
        confined(sys.executable, "-c", forbidden), capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert "PermissionError" in done.stderr or "AssertionError" in done.stderr


@pytest.mark.slow
@needs_filter
def test_the_agent_needs_nothing_that_the_unit_forbids() -> None:
    with processes.place(0) as where:
        command = confined(*processes.module("monitor", "run", "--config", str(where.configuration())))
        with Process("agent", command, where.path / "agent.log") as agent:
            processes.wait_ready(agent, where.port, "/readyz", Signals())
            with processes.model_server(where, 8.0, 125_000, 140_000) as server:
                deadline = time.monotonic() + 60
                while not (server.ended and Scrape.of(processes.get(where.port, "/metrics") or "").panes >= 29):
                    assert time.monotonic() < deadline, agent.tail()
                    time.sleep(0.2)
            text = processes.get(where.port, "/metrics") or ""
            assert Scrape.of(text).findings > 0
            assert "driftwarden_process_resident_memory_bytes" in text
            agent._child.send_signal(signal.SIGTERM)
            assert agent._child.wait(60) == 0, agent.tail()
