"""What the tests of exports, report and bundle share: a state folder with a reference, kept rows, findings and acts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from monitor.clock import ManualClock
from monitor.config import Config, parse_config
from monitor.evidence import NO_HISTOGRAMS, pack_evidence
from monitor.loading import fitted_of
from monitor.offer import Offer
from monitor.records import Checkpoint, FindingRow, News
from monitor.security.pseudonyms import Pseudonyms, key_of
from monitor.segment import Segment, Stage
from monitor.store import Store

NOW = 1_790_000_000.0
COLUMNS = {
    "time": "ts",
    "id": "row",
    "client": "who",
    "prediction": "answer",
    "score": "chance",
    "label": "truth",
}


def rows(n: int, seed: int, *, shift: float = 0.0, first: int = 0, labelled: bool = True) -> pa.RecordBatch:
    """Answers by the sum of two columns; ``shift`` moves the second, every fifth row is eve's."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    x[:, 1] += shift
    chance = 1 / (1 + np.exp(-2 * (x[:, 0] + x[:, 1] - shift)))
    kinds = np.array(["x", "y", "z"])[rng.choice(3, n, p=[0.6, 0.3, 0.1])]
    number = first + np.arange(n)
    truth = pa.array([("n", "y")[int(one)] for one in rng.random(n) < chance])
    return pa.RecordBatch.from_pydict(
        {
            "row": pa.array([f"r{i}" for i in number]),
            "ts": pa.array(NOW - 3600 + 0.1 * number),
            "who": pa.array([("eve" if i % 5 == 0 else f"c{i % 7}") for i in number]),
            "left": pa.array(x[:, 0]),
            "right": pa.array(x[:, 1]),
            "kind": pa.array(kinds.tolist()),
            "chance": pa.array(chance),
            "answer": pa.array([("n", "y")[int(one)] for one in chance > 0.5]),
            "truth": truth if labelled else pa.nulls(n, pa.string()),
        }
    )


def config(folder: Path, **changes: Any) -> Config:
    """One model, whose reference is a file of 4,000 rows."""
    file = folder / "reference.parquet"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_batches([rows(4_000, 0, first=-10_000)]), file)
    model = {"name": "m", "reference": str(file), "columns": COLUMNS, "pane": {"every": "60s"}, "joint": {}}
    return parse_config({"models": [model | changes], "store": {"path": str(folder / "state")}}, base=folder)


def measured(settings: Config) -> None:
    """Measure the reference where an agent would keep it."""
    fitted_of(settings.models[0], settings.store.path / "references")


def keep(settings: Config, *batches: pa.RecordBatch) -> None:
    """Rows that an agent has judged and kept."""
    folder = settings.store.path / "kept"
    folder.mkdir(parents=True, exist_ok=True)
    stage, segment = Stage(1 << 20), Segment(folder / f"{1:020d}.seg")
    stage.begin(segment)
    for sequence, batch in enumerate(batches, 1):
        offer = Offer("http", settings.models[0].name, "batch", batch, batch.num_rows, batch.nbytes)
        stage.add(sequence, json.dumps(offer.header()).encode(), batch)
    stage.finish()
    segment.close()


def finding(name: str, **changes: Any) -> FindingRow:
    """A page about the column `right`; ``document`` and ``tables`` are put into the row as they are kept."""
    unit = {"unit": "right", "detector": "e_ks", "log_e": 40.0, "effect": 0.2, "effect_name": "ks_distance"}
    unit |= {"effect_low": 0.1, "effect_high": 0.3, "reference": 0.5, "window": 0.7, "together": [], "view": None}
    document = {
        "kind": "finding",
        "id": name,
        "model": "m",
        "stream": "all",
        "time": NOW - 1_200,
        "pane": 40,
        "failure_mode": "distributional_shift",
        "triage": "shift",
        "severity": "page",
        "units": [unit],
        "log_e": 41.0,
        "threshold": 12.0,
        "since_pane": 38,
        "since_time": NOW - 1_320,
        "rows": 1_000,
        "evidence": {},
    } | changes.pop("document", {})
    tables = changes.pop("tables", {"rows": pa.Table.from_batches([rows(5, 9)])})
    row = {
        "id": name,
        "model": "m",
        "stream": document["stream"],
        "opened": document["time"],
        "closed": None,
        "state": "open",
        "severity": document["severity"],
        "triage": document["triage"],
        "failure_mode": document["failure_mode"],
        "subject": "data",
        "joins": "",
        "detector": "e_ks",
        "unit": "right",
        "units": 1,
        "sentence": "page: distributional shift in right",
        "muted": False,
        "document": json.dumps(document),
        "evidence": pack_evidence(NO_HISTOGRAMS, tables.pop("rows", pa.table({})), tables),
    }
    return FindingRow(**(row | changes))


def write(settings: Config, news: News) -> None:
    """Write news into the store, as an agent would."""
    with Store(settings.store.path, ManualClock(NOW)) as store:
        store.commit(Checkpoint(1, {}, {}, {}, NOW), news)


def pseudonym(settings: Config, name: str) -> str:
    """Under which a sender is known here."""
    return f"{Pseudonyms(key_of(settings.store.path)).of_name(name):016x}"
