"""CPU of /metrics with 20,000 series: of a scrape, of the snapshot taken each second, and of writing it down.

The agent is a real one with a stream for each segment and a hundred columns in each. No rows come while it is measured,
so that what it spends is the snapshot, and the rest of an idle agent.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable

import numpy as np
import pyarrow as pa
from prometheus_client.parser import text_string_to_metric_families

from monitor.exposition import Exposition
from monitor.metrics import METRICS, Snapshot
from tests.bench.common import Running, agent, cpu, mixed, table
from tests.bench.flight import send

SERIES = 20_000
SEGMENTS = 15
COLUMNS = 100
SCRAPES = 200
IDLE_SECONDS = 20.0
QUIET_SECONDS = 20.0
"""After the last row: the self-check and the collector have had their turn."""


def run() -> None:
    """Print the table."""
    rows = _rows()
    model = {
        "columns": {"segments": ["segment"]},
        "max_segments": SEGMENTS,
        "window": {"panes": 2},
        "top_features": COLUMNS,
        "joint": {"enabled": False},
        "selfcheck": False,
    }
    with agent(durable=False, pane_rows=1_000, reference=rows, model=model) as server:
        send(server.flight, rows, 2_000, 1)
        server.wait_rows(rows.num_rows)
        time.sleep(QUIET_SECONDS)
        text = _scrape(server)
        series = sum(1 for line in text.splitlines() if not line.startswith("#"))
        idle = _spent(server, lambda: time.sleep(IDLE_SECONDS)) / IDLE_SECONDS
        began = time.perf_counter()
        busy = _spent(server, lambda: [_scrape(server) for _ in range(SCRAPES)])
        scraped = (busy - idle * (time.perf_counter() - began)) / SCRAPES
    if series < SERIES:
        message = f"only {series} series, {SERIES} are wanted"
        raise RuntimeError(message)
    snapshot = _snapshot(text)
    warm = Exposition()
    table(
        f"/metrics with {series:,} series, {len(text) / 1e6:.1f} MB",
        ("what", "CPU, ms"),
        [
            ("a scrape, answered by the agent", f"{1e3 * scraped:.1f}"),
            ("a second of the idle agent: taking the numbers and writing them down", f"{1e3 * idle:.0f}"),
            ("writing both formats, names known", f"{1e3 * cpu(lambda: warm.render(snapshot), 20):.0f}"),
            ("writing both formats for the first time", f"{1e3 * cpu(lambda: Exposition().render(snapshot), 5):.0f}"),
        ],
    )


def _rows() -> pa.Table:
    """Rows of every segment, in equal parts."""
    rows = mixed(60_000, seed=0, numeric=COLUMNS - 10)
    names = pa.array([f"segment{number:02d}" for number in range(SEGMENTS)])
    codes = pa.array(np.random.default_rng(1).integers(0, SEGMENTS, rows.num_rows).astype(np.int8))
    return rows.append_column("segment", pa.DictionaryArray.from_arrays(codes, names))


def _scrape(server: Running) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        text: str = answer.read().decode()
    return text


def _spent(server: Running, work: Callable[[], object]) -> float:
    """CPU seconds of the agent while something is done."""
    before = server.cpu()
    work()
    return server.cpu() - before


def _snapshot(text: str) -> Snapshot:
    """The plain series of a scrape, as the agent's sink puts them."""
    wanted = {metric.name: metric for metric in METRICS if metric.kind != "histogram"}
    made: Snapshot = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in wanted:
                labels = tuple(sample.labels[name] for name in wanted[sample.name].labels)
                made.setdefault(sample.name, []).append((labels, float(sample.value)))
    return made
