"""What all senders show is told of all of them, once; honest traffic of an awkward law is told of nobody."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from monitor.config import Model
from monitor.decode import Decoder
from monitor.loading import measure_batches
from monitor.report import Finding
from monitor.security.start import guard_of
from tests.monitor import security_bench as bench

LENGTH = 10_000.0


def said(one: Finding) -> list[str]:
    return [unit.unit for unit in one.units]


def test_a_dead_model_is_one_finding_about_all_senders() -> None:
    trace = bench.benign(3000, seed=11)
    chance = np.zeros_like(trace.probabilities)
    chance[:, 3] = 1.0
    told = bench.run(bench.guard(), bench.batch(trace._replace(probabilities=chance)))
    found = bench.findings(told)
    stuck = [one for one in found if any(unit.detector == "output_integrity" for unit in one.units)]
    assert stuck
    assert {unit for one in found for unit in said(one)} == {"all senders"}
    assert stuck[0].triage == "data_fault"


def test_a_live_model_is_not_taken_for_a_dead_one() -> None:
    one = bench.guard()
    assert not bench.findings(bench.run(one, bench.batch(bench.benign(3000, seed=12))))


def heavy(rows: int, seed: int) -> pa.Table:
    """Two hundred columns with tails so heavy that new extremes are the rule, from forty senders."""
    rng = np.random.default_rng(seed)
    columns = {f"x{j}": pa.array(rng.standard_t(3, rows)) for j in range(200)}
    chance = rng.random(rows)
    names = pa.array([f"sender {i}" for i in rng.integers(0, 40, rows)])
    return pa.table(
        {**columns, "score": pa.array(chance), "answer": pa.array((chance > 0.5).astype(int)), "who": names}
    )


def test_new_extremes_of_heavy_tails_are_no_fault_of_the_data() -> None:
    document = {
        "name": "heavy",
        "reference": "unused.parquet",
        "columns": {"client": "who", "score": "score", "prediction": "answer"},
        "pane": {"rows": 200},
        "alarms": {"false_alarms": "1 per 10000 panes"},
        "security": {"queries": 500},
    }
    model = Model.model_validate(document)
    fitted = measure_batches(heavy(4000, 1).to_batches(), model)
    one = guard_of(model, fitted, bench.KEY, "config", lambda: 0.0)
    assert one is not None
    decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
    live = heavy(8000, 2).combine_chunks().to_batches()[0]
    told = [
        one.feed(decoder.decode(live.slice(start, 200)), "", float(start), start // 200, LENGTH)
        for start in range(0, live.num_rows, 200)
    ]
    assert [finding.sentence() for each in told if each is not None for finding, _ in each.findings] == []
    assert one.tally.flags["integrity"] > 0
