"""CPU of /metrics with 20,000 series: of a scrape, of the snapshot taken each second, and of writing it down.

The model has a stream for each segment and a hundred columns in each. No rows come to the real agent while it is
measured, so that what it spends is the snapshot, and the rest of an idle agent.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from monitor.config import parse_config
from monitor.exposition import Exposition
from monitor.loading import measure_batches
from monitor.metrics import Snapshot
from monitor.sinks.prometheus import ModelTally, of_model
from monitor.streams import ModelStreams
from tests.bench.common import Running, agent, cpu, mixed, table
from tests.bench.flight import send

SERIES = 20_000
SEGMENTS = 15
COLUMNS = 100
PANE_ROWS = 1_000
BATCH_ROWS = 2_000
SCRAPES = 200
IDLE_SECONDS = 20.0
QUIET_SECONDS = 20.0
"""After the last row: collectors of garbage have had their turn."""
MODEL: dict[str, Any] = {
    "columns": {"segments": ["segment"]},
    "max_segments": SEGMENTS,
    "window": {"panes": 2},
    "top_features": COLUMNS,
    "joint": {"enabled": False},
    "selfcheck": False,
}


def run() -> None:
    """Print the table."""
    rows = _rows()
    text, scraped, idle = _live(rows)
    series = sum(1 for line in text.splitlines() if not line.startswith("#"))
    take = _taker(rows)
    snapshot = take()
    if min(series, sum(map(len, snapshot.values()))) < SERIES:
        message = f"only {series} series, {SERIES} are wanted"
        raise RuntimeError(message)
    warm = Exposition()
    taking, writing = cpu(take, 20), cpu(lambda: warm.render(snapshot), 20)
    table(
        f"/metrics with {series:,} series, {len(text) / 1e6:.1f} MB",
        ("what", "CPU, ms"),
        [
            ("a scrape, answered by the agent", f"{1e3 * scraped:.1f}"),
            ("the snapshot of each second, taken", f"{1e3 * taking:.0f}"),
            ("the same, written in both formats", f"{1e3 * writing:.0f}"),
            ("written for the first time", f"{1e3 * cpu(lambda: Exposition().render(snapshot), 5):.0f}"),
            ("a second of the idle agent in all", f"{1e3 * idle:.0f}"),
        ],
    )


def _live(rows: pa.Table) -> tuple[str, float, float]:
    """A scrape of a real agent; CPU seconds of one, and of a second without."""
    with agent(durable=False, pane_rows=PANE_ROWS, reference=rows, model=MODEL) as server:
        send(server.flight, rows, BATCH_ROWS, 1)
        server.wait_rows(rows.num_rows)
        time.sleep(QUIET_SECONDS)
        text = _scrape(server)
        idle = _spent(server, lambda: time.sleep(IDLE_SECONDS)) / IDLE_SECONDS
        began = time.perf_counter()
        busy = _spent(server, lambda: [_scrape(server) for _ in range(SCRAPES)])
        return text, (busy - idle * (time.perf_counter() - began)) / SCRAPES, idle


def _taker(rows: pa.Table) -> Callable[[], Snapshot]:
    """What the agent does once a second for a model that has judged these rows."""
    alarms = {"false_alarms": "1 per 100000 panes"}
    document = {"models": [MODEL | {"name": "m", "reference": {"learn_rows": 1}, "alarms": alarms}]}
    document["models"][0]["pane"] = {"rows": PANE_ROWS}
    (model,) = parse_config(document, base=Path()).models
    streams = ModelStreams(model, measure_batches(rows.to_batches(), model), config_id="bench", timer=time.perf_counter)
    streams.prepare()
    tally = ModelTally()
    for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
        for report in streams.feed(batch, "v1", 0.0).reports:
            tally.judged(report, 0.0)
    return lambda: of_model(streams, tally)


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
