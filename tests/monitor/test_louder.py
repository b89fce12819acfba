"""A shift that was too harmless to page when it was found pages once it is so no more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.monitor.lane_bench import COLUMNS, NOW, Bench, silent


def rows(n: int, seed: int, power: float, start: float) -> pa.Table:
    """Above .93 of ``b``, where more and more rows come to lie, answers are guessed; scores do not say so."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.random(n) ** (1 / power)
    score = 1 / (1 + np.exp(-2 * a))
    truth = rng.random(n) < np.where(b > 0.93, 0.5, score)
    columns = {"ts": start + np.sort(rng.uniform(0, 60, n)), "id": [f"{seed}-{i}" for i in range(n)], "a": a, "b": b}
    answers = {"said": (score >= 0.5).astype(np.int64), "score": score, "truth": truth.astype(np.int64)}
    return pa.table(columns | answers)


def test_a_ticket_that_goes_on_to_cost_performance_pages(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path / "one",
        rows(50_000, 0, 1.0, NOW),
        pane={"rows": 500},
        window={"panes": 10},
        columns=dict(COLUMNS),
        alarms={"smallest_shift": 0.02, "false_alarms": "1 per 10000 panes"},
    )
    for step in range(90):
        power = 1 + 25 * max(step - 10, 0) / 120
        bench.send(silent(rows(500, 10 + step, power, NOW + 60 * step)), NOW + 60 * step + 60)
    lines = bench.agent.findings.lines
    first = next(line for line in lines if line["kind"] == "finding" and line["severity"] in ("page", "ticket"))
    assert first["severity"] == "ticket"  # as it was found it cost next to nothing
    assert first["evidence"]["severity"]["usual"] == "page"
    (louder,) = (line for line in lines if line["kind"] == "louder")
    assert louder["finding"] == first["id"]
    row = bench.agent.findings.open[first["id"]]
    assert row.severity == "page"
    assert row.sentence.startswith("page: ")
    events = [one for one in bench.agent.findings.events if one.kind == "finding.opened" and row.id in one.id]
    assert events[-1].document["finding"]["severity"] == "page"
    bench.agent.checkpoint()
    assert bench.store.finding(row.id).severity == "page"  # type: ignore[union-attr]
    bench.stop()
