"""What the tests of engine, states, streams and replay share: a model, undrifted rows, and ways to shift them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from monitor.config import Model
from monitor.loading import measure_batches
from monitor.report import Finding, Report
from monitor.streams import ModelStreams

NAMES = ("a", "b", "c", "kind")


def model(**changes: Any) -> Model:
    """Panes of 200 rows, windows of 10, one page per 1,000 panes; ``changes`` replace sections."""
    document: dict[str, Any] = {
        "name": "m",
        "reference": "unused.parquet",
        "pane": {"rows": 200},
        "window": {"panes": 10},
        "alarms": {"false_alarms": "1 per 1000 panes"},
    }
    return Model.model_validate(document | changes)


def rows(n: int, seed: int, *, shift: float = 0.0, missing: float = 0.0, new: float = 0.0) -> pa.RecordBatch:
    """Three numeric columns and a categorical one; ``shift`` moves a, ``missing`` empties b, ``new`` renames kinds."""
    rng = np.random.default_rng(seed)
    b = np.where(rng.random(n) < missing, np.nan, rng.standard_normal(n))
    kinds = np.array(["x", "y", "z", "unheard of"])[rng.choice(4, n, p=[0.6, 0.3, 0.1, 0.0])]
    kinds[rng.random(n) < new] = "unheard of"
    columns = {
        "a": pa.array(rng.standard_normal(n) + shift),
        "b": pa.array(b, from_pandas=True),
        "c": pa.array(rng.standard_exponential(n)),
        "kind": pa.array(kinds.tolist()),
    }
    return pa.RecordBatch.from_pydict(columns)


def streams(settings: Model | None = None, reference: pa.RecordBatch | None = None) -> ModelStreams:
    """A model measured on 20,000 undrifted rows."""
    settings = settings or model()
    fitted = measure_batches([reference if reference is not None else rows(20_000, 0)], settings)
    return ModelStreams(settings, fitted, config_id="test", timer=lambda: 0.0)


def findings(reports: list[Report] | tuple[Report, ...], *severities: str) -> list[Finding]:
    """Findings of the given severities, in order."""
    return [one for report in reports for one in report.findings if one.severity in severities]
