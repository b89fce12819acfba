"""The alarm on errors through the agent's own path: change points found in time, nothing in shuffled streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.performance.types import Outcomes
from tests.monitor.lane_bench import NOW, Bench
from tests.statistical import data
from tests.statistical.errors import BLOCK, MEASURED, TRAINED, concept, sea, shuffled

QUIET = BLOCK - TRAINED - MEASURED
"""Rows before the change, after the reference."""
COLUMNS = ("f1", "f2", "f3")


def logged(outcomes: Outcomes, x: Any) -> pa.Table:
    """Rows as they are logged, one a second."""
    n = len(outcomes.truth)
    columns = {name: x[:, place] for place, name in enumerate(COLUMNS)}
    answers = {"said": outcomes.prediction, "truth": outcomes.truth}
    answers |= {} if outcomes.score is None else {"score": outcomes.score}
    return pa.table({"ts": NOW + np.arange(n), "id": [str(i) for i in range(n)], **columns, **answers})


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Any]:
    made: list[Bench] = []

    def bench(reference: pa.Table) -> Bench:
        alarms = {"false_alarms": "1 per 10000 panes"}
        settings = {
            "joint": {"enabled": False},
            "pane": {"rows": 50},
            "labels": {"rows": 100_000, "hours": 24.0},
            "alarms": alarms,
        }
        made.append(Bench(tmp_path / str(len(made)), reference, **settings))
        return made[-1]

    yield bench
    for one in made:
        one.stop()


def alarms(bench: Bench) -> list[dict[str, Any]]:
    return [line for line in bench.agent.findings.lines if line["kind"] == "finding"]


@pytest.mark.slow
@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("change", [12_500, 25_000, 37_500])
def test_the_change_points_of_sea_page_within_500_rows(begin: Any, change: int, scored: bool) -> None:  # noqa: FBT001
    """Measured: 400, 200, 150 with scores, 650, 200, 150 without, at a fifth of the budget, rises above 0.02."""
    data.need("sea_concepts", "sea.parquet")
    outcomes = concept(change, scored=scored)
    x, _ = sea()
    order = np.arange(change - BLOCK, change + 3_000)
    rows = logged(outcomes, x[order[TRAINED:]])
    bench = begin(rows.slice(0, MEASURED))
    for first in range(MEASURED, rows.num_rows - 49, 50):
        batch = rows.slice(first, 50)
        bench.send(batch, NOW + first + 50)
        found = [line for line in alarms(bench) if line["subject"] == "outcome"]
        if found:
            break
    late = first + 50 - MEASURED - QUIET
    assert 0 < late <= (500 if scored or change > BLOCK else 700)
    began = found[0]["since_time"] - NOW - MEASURED - QUIET
    assert -50 <= began <= max(200, late / 2)
    assert found[0]["units"][0]["effect_low"] > 0
    assert [line for line in alarms(bench) if line["subject"] != "outcome" and line["severity"] == "page"] == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_shuffled_streams_open_nothing_about_answers(begin: Any, seed: int) -> None:
    """800 panes each, labels in another order than rows; `test_error_stream` has 12,800 of the detector itself."""
    data.need("sea_concepts", "sea.parquet")
    outcomes, (x, _) = shuffled(seed), sea()
    order = np.random.default_rng(seed).permutation(len(x))
    rows = logged(outcomes, x[order[TRAINED:]])
    bench = begin(rows.slice(0, MEASURED))
    for first in range(MEASURED, rows.num_rows, 1_000):
        batch = rows.slice(first, 1_000)
        bench.send(batch.drop_columns(["truth"]), NOW + first + 1_000)
        mixed = np.random.default_rng(first).permutation(batch.num_rows)
        bench.send(batch.select(["id", "truth"]).take(mixed), NOW + first + 1_001)
    errors = bench.agent.models["m"].side.errors
    assert errors.counts["panes"] == 800
    assert [line for line in alarms(bench) if line["subject"] == "outcome"] == []
