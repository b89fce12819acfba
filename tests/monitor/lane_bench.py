"""What the tests of the outcome lane share: a scored log with ids, its labels, and an agent without sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from monitor.agent import Agent
from monitor.clock import SystemClock
from monitor.config import parse_config
from monitor.envelope import Delivery
from monitor.intake import Intake
from monitor.ledger import Ledger
from monitor.metrics import Snapshot
from monitor.outcomes.side import Side
from monitor.sinks.outcomes import of_performance
from monitor.store import Store

NOW = 1_700_000_000.0
DAY = 86_400.0
COLUMNS = {"time": "ts", "id": "id", "prediction": "said", "score": "score", "label": "truth"}


def scored(n: int, seed: int, *, moved: float = 0.0, start: float = NOW) -> pa.Table:
    """Rows of a classifier with honest scores; ``moved`` shifts an input on which the labels depend."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(moved, 1, n), rng.normal(size=n)
    score = 1 / (1 + np.exp(-(a - 1.5 * b)))
    return pa.table(
        {
            "ts": start + np.sort(rng.uniform(0, 60, n)),
            "id": [f"{seed}-{i}" for i in range(n)],
            "a": a,
            "b": b,
            "kind": np.array(["x", "y", "z"])[rng.integers(0, 3, n)],
            "said": (score >= 0.5).astype(np.int64),
            "score": score,
            "truth": (rng.random(n) < score).astype(np.int64),
        }
    )


def numbered(n: int, seed: int, *, spread: float = 1.0, start: float = NOW) -> pa.Table:
    """Rows of a regression whose errors grow with an input, which ``spread`` scales."""
    rng = np.random.default_rng(seed)
    a = spread * rng.normal(size=n)
    said = 100 + 10 * a
    return pa.table(
        {
            "ts": start + np.sort(rng.uniform(0, 60, n)),
            "id": [f"{seed}-{i}" for i in range(n)],
            "a": a,
            "b": rng.normal(size=n),
            "said": said,
            "truth": said + (1 + np.abs(a)) * rng.normal(size=n),
        }
    )


class Bench:
    """An agent that is fed by hand."""

    def __init__(self, folder: Path, reference: pa.Table, **model: Any) -> None:
        """Begin, or go on where the last checkpoint in the folder left it."""
        folder.mkdir(exist_ok=True)
        path = folder / "reference.parquet"
        if not path.exists():
            pa.parquet.write_table(reference, path)
        columns = {key: name for key, name in COLUMNS.items() if name in reference.column_names or key == "label"}
        section: dict[str, Any] = {"name": "m", "reference": str(path), "columns": columns, "pane": {"rows": 200}}
        section |= {"window": {"panes": 5}, "selfcheck": False, "security": {"enabled": False}, **model}
        self.config = parse_config({"models": [section], "store": {"path": str(folder / "state")}}, base=folder)
        clock = SystemClock()
        self.store = Store(self.config.store.path, clock)
        self.intake = Intake(models=["m"], capacity_bytes=1 << 28, ledger=Ledger([("http", "m")]))
        self.agent = Agent(self.config, clock=clock, store=self.store, intake=self.intake)
        self.agent.restore()

    @property
    def side(self) -> Side:
        """What follows the performance."""
        side = self.agent.models["m"].side
        assert side is not None
        return side

    @property
    def lane(self) -> Any:
        return self.side.lane

    @property
    def performance(self) -> Snapshot:
        """Its series."""
        streams = self.agent.models["m"].streams
        assert streams is not None
        return of_performance(self.side, streams.threshold)

    @property
    def panes(self) -> int:
        """Panes judged of the whole stream."""
        streams = self.agent.models["m"].streams
        assert streams is not None
        return streams.streams["all"].panes.number

    def send(self, table: pa.Table, arrived: float = NOW + 60, *, form: str = "batch") -> None:
        """Judge one delivery."""
        sequence = self.agent.saving.progress.sequence + 1
        for batch in table.combine_chunks().to_batches():
            payload: Any = batch
            if form == "ndjson":
                payload = "".join(json.dumps(row) + "\n" for row in batch.to_pylist()).encode()
            rows = batch.num_rows
            self.agent.handle(Delivery(sequence, "http", "m", "", rows, 1, form, payload, None, arrived))
            sequence += 1

    def stop(self) -> None:
        """Let go as a crash would: nothing more is written."""
        self.agent.close()
        self.store.close()


def labels(table: pa.Table) -> pa.Table:
    """Ids and labels alone."""
    return table.select(["id", "truth"])


def silent(table: pa.Table) -> pa.Table:
    """The rows without their labels."""
    return table.drop_columns(["truth"])
