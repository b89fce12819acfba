"""Rankings inside the agent: each query judged once all of its labels are there, whatever way these come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.outcomes import rankings
from tests.monitor.lane_bench import COLUMNS, NOW, Bench, labels, silent

DAY = 86_400.0
ROLES = {name: one for name, one in COLUMNS.items() if name != "prediction"} | {"query": "query", "version": "version"}


def ranked(queries: int, seed: int, *, noise: float = 1.0) -> pa.Table:
    """Five rows for each query, in the order of a score that follows their relevance with some ``noise``."""
    rng = np.random.default_rng(seed)
    n = 5 * queries
    relevance = rng.integers(0, 4, n)
    query = np.arange(queries).repeat(5)
    return pa.table(
        {
            "ts": NOW + np.sort(rng.uniform(0, 60, queries)).repeat(5) + np.tile(np.arange(5) / 1_000, queries),
            "id": [f"{seed}-{i}" for i in range(n)],
            "query": [f"{seed}/{i}" for i in query],
            "version": np.array(["v1", "v2"])[query % 2],
            "a": rng.normal(size=n),
            "score": relevance + noise * rng.normal(size=n),
            "truth": relevance,
        }
    )


def ndcg(rows: pa.Table, places: int = 5) -> dict[str, float]:
    """NDCG of each query, one by one."""
    found = {}
    queries, scores, gains = (np.array(rows[name].to_pylist()) for name in ("query", "score", "truth"))
    discount = (1 / np.log2(np.arange(2, 7)) * (np.arange(5) < places))[:5]
    for name in sorted(set(queries)):
        mine = queries == name
        gain = gains[mine][np.argsort(-scores[mine])]
        best = float(np.sort(gain)[::-1] @ discount)
        if best:
            found[str(name)] = float(gain @ discount) / best
    return found


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(name: str, **roles: Any) -> Bench:
        changes = {"columns": ROLES | roles, "pane": {"rows": 5_000}, "labels": {"rows": 100_000, "hours": 48.0}}
        made.append(Bench(tmp_path / name, ranked(600, 0), **changes))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def told(bench: Bench) -> Any:
    """Figures once nothing more can come."""
    bench.lane.realised._rests = -np.inf
    bench.send(labels(ranked(1, 9).slice(0, 1)), NOW + 1.5 * DAY)
    return bench.lane.confirmed


def test_queries_are_judged_as_a_clean_batch_would(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), ranked(400, 1)
    bench.send(silent(rows))
    order = np.random.default_rng(0).permutation(rows.num_rows)
    shuffled = labels(rows.take(order))
    wrong = labels(rows.slice(0, 300)).set_column(1, "truth", pa.array([3] * 300))
    bench.send(wrong, NOW + 100)
    bench.agent.checkpoint()
    bench.send(shuffled.slice(0, 900), NOW + 200)  # lost with the crash, and sent again
    bench.stop()
    bench = make("one")
    bench.send(shuffled.slice(0, 900), NOW + 200)
    bench.send(shuffled.slice(700), NOW + 300)
    found, clean = told(bench), ndcg(rows)
    assert found.figures["ndcg"].n == len(clean)
    assert found.figures["ndcg"].value == pytest.approx(np.mean(list(clean.values())), rel=1e-12)
    assert bench.side.beside.wait(60)
    mine = [one for name, one in clean.items() if int(name.split("/")[1]) % 2 == 0]
    assert bench.lane.parts.versions["v1"].figures["ndcg"].value == pytest.approx(np.mean(mine), rel=1e-12)
    assert bench.lane.realised.reference["ndcg"].value == pytest.approx(np.mean(list(ndcg(ranked(600, 0)).values())))
    assert dict(bench.performance["driftwarden_performance_realised"])["m", "ndcg"] == found.figures["ndcg"].value


def test_a_query_that_lacks_a_label_is_not_judged(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), ranked(200, 2)
    bench.send(silent(rows))
    bench.send(labels(rows.slice(1)), NOW + 100)
    clean = ndcg(rows)
    del clean["2/0"]
    assert told(bench).figures["ndcg"].n == len(clean)
    bench.send(labels(rows.slice(0, 1)), NOW + 1.5 * DAY)
    assert told(bench).figures["ndcg"].n == len(ndcg(rows))


def test_a_correction_changes_what_was_told(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), ranked(200, 3)
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    before = told(bench).figures["ndcg"].value
    turned = rows.set_column(rows.column_names.index("truth"), "truth", pa.array(3 - rows["truth"].to_numpy()))
    bench.send(labels(turned), NOW + 1.5 * DAY)
    after = told(bench).figures["ndcg"].value
    assert before - after > 0.1
    assert after == pytest.approx(np.mean(list(ndcg(turned).values())), rel=1e-12)


def test_of_many_rows_whole_queries_are_left_out(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench, rows = make("one"), ranked(800, 4)
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    monkeypatch.setattr(rankings, "MOST_ROWS", 2_500)
    found, clean = told(bench).figures["ndcg"], ndcg(rows)
    assert 250 < found.n < 500
    assert found.low < np.mean(list(clean.values())) < found.high


def test_only_so_many_places_count(make: Callable[..., Bench]) -> None:
    bench, rows = make("one", places=2), ranked(300, 5)
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    assert told(bench).figures["ndcg"].value == pytest.approx(np.mean(list(ndcg(rows, 2).values())), rel=1e-12)


def test_rankings_that_have_become_worse_are_below_expectation(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), ranked(800, 6, noise=20.0)
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    assert told(bench).figures["ndcg"].high < bench.lane.realised.reference["ndcg"].low
    assert dict(bench.performance["driftwarden_performance_below_expectation"])["m", "ndcg"] == 1.0
