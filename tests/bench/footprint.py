"""Start-up and memory: CPU seconds until ready, and resident memory over twenty million rows of sixty columns."""

from __future__ import annotations

import resource
import subprocess
import sys

from tests.bench.common import agent, mixed, table
from tests.bench.flight import send

MILLIONS = 20


def run() -> None:
    """Print the tables."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "monitor", "version"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    version = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rows = mixed(100_000, seed=1)
    resident = []
    with agent(durable=True, pane_rows=10_000) as server:
        ready = server.cpu()
        started = server.resident()
        for million in range(1, MILLIONS + 1):
            send(server.flight, rows, 2_000, 10)
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
