"""Start-up and memory: CPU seconds until ready, and resident memory over twenty million rows of sixty columns."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

from tests.bench.common import agent, mixed, table
from tests.bench.flight import send

MILLIONS = 20
PACE = 200_000
"""Rows a second: what the agent can well keep up with on one core."""


def run() -> None:
    """Print the tables."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "monitor", "version"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    version = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rows = mixed(20_000, seed=1)
    resident = []
    with agent(durable=True, pane_rows=10_000) as server:
        ready = server.cpu()
        started = server.resident()
        for million in range(1, MILLIONS + 1):
            for _ in range(1_000_000 // rows.num_rows):
                due = time.perf_counter() + rows.num_rows / PACE
                send(server.flight, rows, 2_000, 1)
                time.sleep(max(0.0, due - time.perf_counter()))
            server.wait_rows(million * 1_000_000)
            resident.append(server.resident())
    table(
        "Start-up",
        ("what", "figure"),
        [
            ("driftwarden version", f"{version:.2f} CPU s"),
            ("ready, measuring a reference of 20,000 rows first", f"{ready:.2f} CPU s"),
        ],
    )
    shown = [(f"{million}", f"{resident[million - 1]:.0f}") for million in (1, 2, 5, 10, 15, 20)]
    table("Resident memory, 60 columns", ("million rows", "MB"), [("0", f"{started:.0f}"), *shown])
