"""How long the pages take with 10,000 findings: the front page, lists, one finding, one model of 300 columns."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monitor.records import Checkpoint, FindingRow, Judged, News
from tests.bench.common import table
from tests.e2e.desk_bench import Bench

FINDINGS = 10_000
COLUMNS = 300
TIMES = 10
NAMES = tuple(f"column_{at:03}" for at in range(COLUMNS))


def run() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as place, _bench(Path(place)) as bench:
        finding = _fill(bench)
        paths = {
            "front page": "/",
            "all states, a model": "/?model=wide&state=all",
            "next page of it": f"/?state=all&after={time.time() - 50_000}~x",
            "10,000 as JSON pages of 500": "/api/v1/incidents?state=all&limit=500",
            f"a finding of {COLUMNS} columns' model": f"/findings/{finding}",
            f"a model of {COLUMNS} columns": "/models/wide",
            "all of them at once": "/models/wide?columns=all",
        }
        with bench.served() as url, httpx.Client(base_url=url, timeout=60) as client:
            lines = [(name, *_timed(client, path)) for name, path in paths.items()]
    table(f"pages with {FINDINGS:,} findings", ("page", "median, ms", "slowest, ms", "kB"), lines)


def _timed(client: httpx.Client, path: str) -> tuple[str, str, str]:
    client.get(path).raise_for_status()
    took = []
    size = 0
    for _ in range(TIMES):
        began = time.perf_counter()
        size = len(client.get(path).content)
        took.append(1_000 * (time.perf_counter() - began))
    return f"{np.median(took):.0f}", f"{max(took):.0f}", f"{size / 1_000:.0f}"


@contextmanager
def _bench(place: Path) -> Iterator[Bench]:
    pq.write_table(_rows(4_000, 0), place / "wide.parquet")
    model: dict[str, Any] = {
        "name": "wide",
        "reference": str(place / "wide.parquet"),
        "pane": {"rows": 200},
        "window": {"panes": 10},
        "joint": {"enabled": False},
        "alarms": {"false_alarms": "1 per 10000 panes"},
    }
    bench = Bench(place, [model])
    try:
        bench.feed("wide", _rows(4_000, 1))
        bench.feed("wide", _rows(400, 2, shift=1.0))
        yield bench
    finally:
        bench.close()


def _rows(rows: int, seed: int, shift: float = 0.0) -> pa.Table:
    values = np.random.default_rng(seed).standard_normal((COLUMNS, rows)) + shift
    return pa.table(dict(zip(NAMES, values, strict=True)))


def _fill(bench: Bench) -> str:
    """Copies of a real finding, all open, and a long history; the real one's id."""
    real = next(one for one in bench.store.findings(over=False) if one.severity == "page")
    copies = tuple(_copy(real, at) for at in range(FINDINGS))
    history = tuple(
        Judged("wide/all", at, at, at + 1.0, 200, -3.0, 9.3, {"column_001": 1.0}) for at in range(-5_000, 0)
    )
    bench.store.commit(Checkpoint(10**6, {}, {}, {}, time.time()), News(findings=copies, history=history))
    return real.id


def _copy(real: FindingRow, at: int) -> FindingRow:
    severity = ("page", "ticket", "info")[at % 3]
    joins = "" if at % 5 else f"copy{at // 5 * 5 + 1:06}"
    opened = time.time() - 10.0 * at
    return dataclasses.replace(real, id=f"copy{at:06}", opened=opened, severity=severity, joins=joins)
