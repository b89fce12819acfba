"""Timing, tables and the agent process that the benchmarks share."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml


def cpu(work: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of ``work`` after one warm-up."""
    work()
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return float(np.median(spent))


def table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print(f"\n### {title}\n\n| {' | '.join(headings)} |\n|{'---|' * len(headings)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def mixed(rows: int, seed: int, numeric: int = 50, categorical: int = 10) -> pa.Table:
    """Normal numbers and string categories, like a tabular model's log."""
    rng = np.random.default_rng(seed)
    words = pa.array([f"word{i:02d}" for i in range(12)])
    columns: dict[str, pa.Array] = {f"x{j}": pa.array(rng.standard_normal(rows)) for j in range(numeric)}
    for j in range(categorical):
        codes = pa.array(rng.integers(0, 12, rows).astype(np.int8))
        columns[f"c{j}"] = pa.DictionaryArray.from_arrays(codes, words)
    return pa.table(columns)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Running:
    """A running agent."""

    pid: int
    port: int
    flight: int

    def cpu(self) -> float:
        """CPU seconds so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """Resident memory in MB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def value(self, name: str) -> float:
        """Sum of a metric's series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            text = answer.read().decode()
        return sum(float(found) for found in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def wait_rows(self, rows: int) -> None:
        """Until so many rows are processed."""
        while self.value("driftwarden_processed_rows_total") < rows:
            time.sleep(0.2)


@contextmanager
def agent(
    *,
    durable: bool,
    pane_rows: int,
    queue: str = "64MiB",
    reference: pa.Table | None = None,
    model: Mapping[str, Any] | None = None,
) -> Iterator[Running]:
    """An agent with everything on, watching 60 columns or those of ``reference``; stopped at the end.

    ``model`` holds further keys of the model's section.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(mixed(20_000, seed=0) if reference is None else reference, folder / "reference.parquet")
        port, flight = free_port(), free_port()
        document = {
            "models": [
                {
                    "name": "m",
                    "reference": str(folder / "reference.parquet"),
                    "pane": {"rows": pane_rows},
                    "alarms": {"false_alarms": "1 per 100000 panes"},
                    **(model or {}),
                }
            ],
            "sources": [
                {"http": {"listen": f"127.0.0.1:{port}"}},
                {"flight": {"listen": f"127.0.0.1:{flight}"}},
            ],
            "store": {"path": str(folder / "state"), "durable": durable, "spool_bytes": "4GiB"},
            "queue": {"bytes": queue},
        }
        (folder / "c.yaml").write_text(yaml.safe_dump(document))
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "monitor", "run", "--config", str(folder / "c.yaml")]
            process = subprocess.Popen(command, stderr=log)
        try:
            _await(f"http://127.0.0.1:{port}/readyz", process, folder / "log")
            yield Running(process.pid, port, flight)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    while True:
        if process.poll() is not None:
            sys.exit(log.read_text())
        try:
            with urllib.request.urlopen(url) as answer:  # noqa: S310 - loopback
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.05)
