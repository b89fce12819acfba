"""The run behind the golden scrape: a small seeded log with one drift, through the parts that ``run`` uses.

``python -m tests.golden.run`` writes `scrape.txt` and `scrape.openmetrics` anew; read the difference before you commit
it, for it is what every dashboard and alert of every user will see. Time is a constant, random numbers are uniform ones
(the stream that NumPy keeps), and numbers are rounded to six digits, as processors differ in the last bits.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from detectors.registry import CATALOG
from monitor.config import parse_config
from monitor.exposition import Exposition
from monitor.interventions import KINDS
from monitor.ledger import REASONS, REFUSALS
from monitor.loading import measure_batches
from monitor.logbook import Logbook
from monitor.metrics import Snapshot, complete, zeros
from monitor.sinks.prometheus import ModelTally, merged, of_findings, of_model
from monitor.streams import ModelStreams

FOLDER: Final = Path(__file__).parent
FILES: Final = ("scrape.txt", "scrape.openmetrics")
ROLLOUT: Final = 20
"""Pane after which another version of the model answers."""
NOON: Final = 1_700_000_000.0
ROWS: Final = 200
PANES: Final = 24
MOVES: Final = 12
"""Pane after which ``age`` moves and ``country`` begins to be missing."""
CONFIG: Final = {
    "models": [
        {
            "name": "credit",
            "reference": {"learn_rows": 4000},
            "columns": {"time": "ts"},
            "pane": {"every": "60s", "lateness": "0s"},
            "window": {"panes": 6},
            "alarms": {"false_alarms": "1 per 1000 panes"},
            "top_features": 3,
            "joint": {"enabled": False},  # products of matrices differ in their last bits from machine to machine
        }
    ]
}


def rows(rng: np.random.Generator, start: float, number: int, moved: float) -> pa.RecordBatch:
    """Rows of one minute; ``moved`` is added to the age, and so large a share of the countries is missing."""
    country = np.array(["at", "ch", "de"])[(rng.random(number) * 3).astype(int)]
    return pa.RecordBatch.from_pydict(
        {
            "ts": start + 60 * np.sort(rng.random(number)),
            "age": 40 + 10 * rng.random(number) + 10 * rng.random(number) + moved,
            'income "net"': 1000 * rng.random(number) ** 4,
            "country": pa.array(country, mask=rng.random(number) < moved / 20),
            "channel": np.array(["app", "web"])[(rng.random(number) < 0.4).astype(int)],
        }
    )


def snapshot() -> Snapshot:
    """The series of the model, and a zero for each one that can be foreseen."""
    rng = np.random.default_rng(20)
    model = parse_config(CONFIG, base=FOLDER).models[0]
    fitted = dataclasses.replace(measure_batches([rows(rng, NOON - 3600, 4000, 0.0)], model), created=NOON - 60)
    streams = ModelStreams(model, fitted, config_id="golden", timer=lambda: 0.0)
    streams.prepare()
    tally = ModelTally()
    findings = Logbook()
    for pane in range(PANES):
        start = NOON + 60 * pane
        version = "v2" if pane >= ROLLOUT else "v1"
        fed = streams.feed(rows(rng, start, ROWS, 4.0 if pane >= MOVES else 0.0), version, start + 60)
        tally.fed(fed)
        for report in fed.reports:
            tally.judged(report, report.end)
            for finding in report.findings:
                findings.opened(finding, b"")
    known = {
        "model": (model.name,),
        "source": ("flight", "http"),
        "detector": tuple(CATALOG),
        "task": ("checkpoint",),
        "driftwarden_interventions_total.kind": KINDS,
        "driftwarden_discarded_rows_total.reason": REASONS,
        "driftwarden_ingest_refused_requests_total.reason": REFUSALS,
        "driftwarden_ingest_refused_rows_total.reason": REFUSALS,
    }
    return complete(merged([of_model(streams, tally), of_findings(model.name, findings, NOON)]), zeros(known))


def rounded(snapshot: Snapshot) -> Snapshot:
    """Plain numbers with six digits; histograms are counts of a timer that stands still."""
    return {
        name: [(labels, float(f"{value:.6g}") if isinstance(value, float | int) else value) for labels, value in series]
        for name, series in snapshot.items()
    }


def scrape() -> tuple[bytes, bytes]:
    """The two expositions."""
    return Exposition().render(rounded(snapshot()))


if __name__ == "__main__":
    for name, written in zip(FILES, scrape(), strict=True):
        (FOLDER / name).write_bytes(written)
