"""A desk with real findings for tests of the pages and for screenshots: agents of this process behind the real gate.

The agent has no engine thread here: rows are fed, and what people do is done, by whoever calls, one at a time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from starlette.applications import Starlette

from monitor.agent import Agent
from monitor.clock import SystemClock
from monitor.config import load
from monitor.demo.files import folder
from monitor.envelope import Delivery
from monitor.intake import Intake
from monitor.interventions import Wanted
from monitor.ledger import Ledger
from monitor.records import Intervention
from monitor.sources.http import Server
from monitor.store import Store
from monitor.web import api, pages
from monitor.web.desk import Desk, Hands
from monitor.web.exporting import links
from monitor.web.gate import gate, settings_of
from monitor.web.live import Live
from monitor.web.section import Web
from tests.attacks import tasks, traces
from tests.monitor import security_bench

EPOCH = time.time() - 1_200.0
"""When things begin to change: twenty minutes ago."""
HOSTILE = "<img src=x onerror=alert(1)>"
BREAKER = "\"'</script><script>alert(2)</script>\u202egnp"


@dataclass
class Bench:
    """An agent that is fed by hand, and the desk over it."""

    place: Path
    models: list[dict[str, Any]]
    web: Web = field(default_factory=lambda: Web(show_values=True))

    def __post_init__(self) -> None:
        shutil.rmtree(self.place / "store", ignore_errors=True)
        path = self.place / "driftwarden.yaml"
        document = {"models": self.models, "store": {"path": str(self.place / "store")}, "sources": [{"http": {}}]}
        path.write_text(yaml.safe_dump(document))
        config, clock = load(path), SystemClock()
        names = [model.name for model in config.models]
        self.store = Store(config.store.path, clock)
        intake = Intake(models=names, capacity_bytes=1 << 28, ledger=Ledger(("http", name) for name in names))
        self.agent = Agent(config, clock=clock, store=self.store, intake=intake)
        self.agent.restore()
        self._sequence, self._lock = 0, Lock()
        hands = Hands(self._intervene, self._undo)
        self.desk = Desk(self.store, Live(lambda: self.agent.models), hands, clock.now)

    def feed(self, model: str, table: pa.Table, size: int = 5_000) -> None:
        """Rows of a model's log."""
        for batch in table.combine_chunks().to_batches(max_chunksize=size):
            self._sequence += 1
            self.agent.handle(Delivery(self._sequence, "http", model, "", batch.num_rows, 1, "batch", batch))
            self.agent.work()
        self.agent.checkpoint()

    def _intervene(self, wanted: Wanted) -> Intervention:
        with self._lock:
            return self.agent.intervene(wanted)

    def _undo(self, id: str, by: str, because: str) -> Intervention:  # noqa: A002 - the field's name
        with self._lock:
            return self.agent.undo(id, by, because)

    @property
    def app(self) -> Any:
        """The pages and their interface behind the gate."""
        routes = [*api.routes(self.desk), *pages.routes(self.desk, version="test", links=pages.Links(), exports=links)]
        return gate(Starlette(routes=routes), settings_of(self.web))

    @contextmanager
    def served(self) -> Iterator[str]:
        """The address while it is served."""
        server = Server(self.app, "127.0.0.1", 0)
        server.start()
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.stop()

    def close(self) -> None:
        """End what runs."""
        self.agent.close()
        self.store.close()


def employment() -> dict[str, Any]:
    """The demo's model."""
    document = yaml.safe_load((folder() / "demo.yaml").read_text())["models"][0]
    return dict(document) | {"reference": str(folder() / "reference.parquet")}


def feed_employment(bench: Bench, panes: int = 276) -> None:
    """The demo's log up to some panes: from 268 on the dormitories come."""
    rows = pq.read_table(folder() / "production.parquet").slice(0, 500 * panes)
    later = np.arange(rows.num_rows) * 0.2 + EPOCH + 800.0 - 0.2 * rows.num_rows
    stamps = pa.array((later * 1e6).astype("int64")).cast(pa.timestamp("us", "UTC"))
    bench.feed("employment", rows.set_column(rows.schema.get_field_index("time"), "time", stamps))


def shop(
    place: Path, name: str = "checkout", names: tuple[str, str, str] = ("amount", "weight", "country")
) -> dict[str, Any]:
    """A model with two numbers that go together, a category, segments and versions."""
    reference = place / f"{name}.parquet"
    pq.write_table(sales(20_000, 1, names), reference)
    return {
        "name": name,
        "reference": str(reference),
        "columns": {"time": "at", "segments": ["region"]},
        "pane": {"rows": 200},
        "window": {"panes": 10},
        "alarms": {"false_alarms": "1 per 10000 panes", "smallest_shift": 0.05},
    }


def sales(
    rows: int,
    seed: int,
    names: tuple[str, str, str],
    *,
    missing: float = 0.0,
    apart: bool = False,
    begin: float = EPOCH,
) -> pa.Table:
    """Rows of `shop`: some amounts are missing, or the numbers go together otherwise."""
    rng = np.random.default_rng(seed)
    whole = rng.standard_normal(rows)
    weight = whole * (-1 if apart else 1) * 0.9 + 0.43 * rng.standard_normal(rows)
    amount = np.exp(3 + 0.6 * whole)
    kinds = np.array([BREAKER if names[0].startswith("<") else "DE", "FR", "PL", "US"])
    region = rng.choice(np.array([HOSTILE if names[0].startswith("<") else "north", "south"]), rows)
    return pa.table(
        {
            names[0]: pa.array(amount, mask=rng.random(rows) < missing),
            names[1]: weight,
            names[2]: rng.choice(kinds, rows, p=[0.4, 0.3, 0.2, 0.1]),
            "items": rng.poisson(3, rows).astype(float),
            "region": region,
            "at": begin + np.arange(rows) * 0.5,
        }
    )


def feed_shop(
    bench: Bench, name: str = "checkout", names: tuple[str, str, str] = ("amount", "weight", "country"), **changes: Any
) -> None:
    """Calm traffic, then what `sales` is told to change."""
    bench.feed(name, sales(6_000, 2, names, begin=EPOCH - 4_000), 200)
    bench.feed(name, sales(1_200, 3, names, begin=EPOCH - 900, **changes), 200)


def digits(place: Path) -> dict[str, Any]:
    """A model of small images that somebody attacks."""
    task = security_bench.task()
    rows = traces.traffic(task.reference[: security_bench.REFERENCE], task.answer, np.random.default_rng(0))
    truth = pa.array(task.reference_labels[: security_bench.REFERENCE].astype(str))
    reference = place / "digits.parquet"
    pq.write_table(_logged(rows).append_column("truth", truth), reference)
    return {
        "name": "digits",
        "reference": str(reference),
        "columns": security_bench.ROLES,
        "pane": {"rows": 200},
        "window": {"panes": 10},
        "alarms": {"false_alarms": "1 per 10000 panes"},
        "security": {"queries": 5_000},
    }


def feed_digits(bench: Bench) -> None:
    """Honest queries, then an attacker among them."""
    calm = security_bench.benign(600, 1, begin=EPOCH)
    bench.feed("digits", _logged(calm), 100)
    attack = security_bench.hop_skip_jump(400)._replace(time=EPOCH + 600.0 + np.arange(400.0))
    honest = security_bench.benign(1_000, 2, begin=EPOCH + 600.0)
    bench.feed("digits", _logged(traces.mix(attack, honest)), 100)


def _logged(trace: traces.Trace) -> pa.Table:
    return pa.Table.from_batches([security_bench.batch(trace)])


__all__ = [
    "BREAKER",
    "EPOCH",
    "HOSTILE",
    "Bench",
    "digits",
    "employment",
    "feed_digits",
    "feed_employment",
    "feed_shop",
    "sales",
    "shop",
    "tasks",
]
