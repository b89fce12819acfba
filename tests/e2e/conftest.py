"""A real agent process, and what is needed to talk to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
import yaml

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
NDJSON = {"content-type": "application/x-ndjson"}


def table(rows: int, seed: int, shift: float = 0.0) -> pa.Table:
    """Numbers and names; ``shift`` moves column x0 by so many standard deviations."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"x{j}": rng.standard_normal(rows) + (shift if j == 0 else 0.0) for j in range(4)}
    columns["kind"] = rng.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2])
    return pa.table(columns)


def ipc(rows: pa.Table) -> bytes:
    """An Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Agent:
    """One agent: its configuration, and its process while it runs."""

    folder: Path
    port: int
    config: Path
    process: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.folder / "agent.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "monitor", "run", "--config", str(self.config)],
                stderr=log,
                stdout=log,
                env=environment,
            )
        self.wait(self._ready, 180)

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def wait(self, condition: Callable[[], bool], seconds: float = 30) -> None:
        """Until the condition holds; fail with the agent's log when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-4000:]
            time.sleep(0.05)

    def post(self, body: bytes, headers: dict[str, str] | None = None, model: str = "m") -> httpx.Response:
        return httpx.post(f"{self.url}/v1/ingest/{model}", content=body, headers=headers or ARROW, timeout=30)

    def metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics").text

    def value(self, name: str, *labels: str) -> float:
        """Sum of the series of a metric whose label text holds all of ``labels``."""
        total = 0.0
        for line in self.metrics().splitlines():
            match = re.fullmatch(rf"{name}(\{{.*\}})? (\S+)", line)
            if match and all(label in (match[1] or "") for label in labels):
                total += float(match[2])
        return total

    def settled(self, rows: int) -> None:
        """Wait until so many rows are processed or discarded, and the books balance."""
        self.wait(lambda: self.done_rows() >= rows)
        assert self.done_rows() == rows
        assert self.value("driftwarden_buffered_rows") == 0

    def done_rows(self) -> float:
        return self.value("driftwarden_processed_rows_total") + self.value("driftwarden_discarded_rows_total")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """A maker of agents that are not running yet; all are gone at the end."""
    made: list[Agent] = []

    def make(name: str = "one", **changes: object) -> Agent:
        folder = tmp_path / name
        folder.mkdir()
        reference = folder / "reference.parquet"
        pq.write_table(table(4000, seed=1), reference)
        port = free_port()
        document: dict[str, object] = {
            "models": [
                {
                    "name": "m",
                    "reference": str(reference),
                    "pane": {"rows": 100},
                    "window": {"panes": 10},
                    "alarms": {"false_alarms": "1 per 1000 panes", "smallest_shift": 0.05},
                }
            ],
            "sources": [{"http": {"listen": f"127.0.0.1:{port}"}}],
            "web": {"listen": f"127.0.0.1:{free_port()}"},
            "store": {"path": str(folder / "state"), "checkpoint": "60s"},
            **changes,
        }
        config = folder / "driftwarden.yaml"
        config.write_text(yaml.safe_dump(document))
        agent = Agent(folder, port, config)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        if agent.process is not None and agent.process.poll() is None:
            agent.kill()
