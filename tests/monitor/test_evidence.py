"""Counts that are kept with a finding: every row of a column is in exactly one of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from monitor.evidence import CATEGORIES, counts
from monitor.web import plots
from tests.monitor.streams_bench import streams


def many(n: int, seed: int, new: float = 0.0) -> pa.RecordBatch:
    """A number with gaps, and fifty kinds."""
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < 0.1, np.nan, rng.standard_normal(n))
    kind = np.where(rng.random(n) < new, "unheard of", rng.integers(0, 50, n).astype(str))
    return pa.RecordBatch.from_pydict({"x": pa.array(x, from_pandas=True), "kind": pa.array(kind.tolist())})


@pytest.mark.parametrize("unit", [0, 1])
def test_counts_of_a_column_make_up_all_its_rows(unit: int) -> None:
    it = streams(reference=many(20_000, 0))
    report = it.feed(many(200, 1, new=0.25), "", 0.0).reports[-1]
    table = counts([unit], report.comparison)
    assert sum(table["reference"].to_pylist()) == 20_000
    assert sum(table["window"].to_pylist()) == 200
    (drawn,) = plots.columns(table.to_pylist(), values=True, labels=("reference", "now"))
    if unit:
        assert len([label for label in table["label"].to_pylist() if label not in plots.FAULTS]) == CATEGORIES
        assert sum(bar.now for bar in (*drawn.bars, *drawn.faults)) == pytest.approx(1)
        assert np.allclose(plots.fault_shares(drawn, "e_new_category") or (), (0, 0.25), atol=0.1)
