"""Intervals, sets and quantiles that come with answers: read, kept until labels come, and told with their coverage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from monitor.metrics import table
from monitor.outcomes.parts import Parts
from monitor.outcomes.said import members, queries_of, sets_of
from monitor.schema import Kind, Roles, build
from monitor.sections import Columns
from monitor.sinks.outcomes import of_parts
from tests.monitor.lane_bench import COLUMNS, NOW, Bench, labels, numbered, silent

DAY = 86_400.0
ENDS = COLUMNS | {"lower": "low", "upper": "high", "quantile": 0.5, "segments": ["kind"]}
del ENDS["score"]
CLASSES = ("cat", "dog", "fox")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(name: str, reference: pa.Table, **changes: Any) -> Bench:
        changes = {"pane": {"rows": 5_000}, "labels": {"rows": 100_000, "hours": 24.0}, **changes}
        made.append(Bench(tmp_path / name, reference, **changes))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def told(bench: Bench, fresh: pa.Table) -> Parts:
    """The parts once they are made; a label of a stranger lets time pass."""
    bench.send(labels(fresh.slice(0, 1)), NOW + 2 * DAY)
    assert bench.lane.confirmed is not None
    assert bench.side.beside.wait(60)
    parts: Parts = bench.lane.parts
    return parts


def bounded(n: int, seed: int, *, narrow: str = "") -> pa.Table:
    """A regression with intervals that hold 90 % of the truths, or half as wide ones where ``kind`` is ``narrow``."""
    rows = numbered(n, seed)
    kind = np.array(["x", "y"])[np.random.default_rng(seed + 50).integers(0, 2, n)]
    said, a = rows["said"].to_numpy(), rows["a"].to_numpy()
    half = 1.6448536 * (1 + np.abs(a)) * np.where(kind == narrow, 0.5, 1.0)
    ends = {"kind": kind, "low": said - half, "high": said + half}
    for name, values in ends.items():
        rows = rows.append_column(name, pa.array(values))
    return rows


def sorted_into(n: int, seed: int, *, worse: float = 0.0) -> pa.Table:
    """Three classes; the set holds the truth in 85 % of the rows less ``worse``, and a further class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    hit = rng.random(n) < 0.85 - worse
    first = np.where(hit, truth, (truth + 1) % 3)
    sets = [[CLASSES[one], CLASSES[(one + 1) % 3]] if hit[i] else [CLASSES[one]] for i, one in enumerate(first)]
    return pa.table(
        {
            "ts": NOW + np.sort(rng.uniform(0, 60, n)),
            "id": [f"{seed}-{i}" for i in range(n)],
            "a": rng.normal(size=n),
            "said": np.array(CLASSES)[first],
            "sets": pa.array(sets),
            "truth": np.array(CLASSES)[truth],
        }
    )


def test_intervals_that_hold_too_few_truths_are_told_of_their_segment(make: Callable[..., Bench]) -> None:
    bench = make("one", bounded(6_000, 0), columns=ENDS, labels={"rows": 100_000, "hours": 24.0, "coverage": 0.9})
    rows = bounded(4_000, 1, narrow="y")
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    parts = told(bench, bounded(1, 9))
    inside = (rows["low"].to_numpy() <= rows["truth"].to_numpy()) & (
        rows["truth"].to_numpy() <= rows["high"].to_numpy()
    )
    mine = np.array(rows["kind"].to_pylist()) == "y"
    x, y = (parts.segments[f"kind={value}"].covered for value in "xy")
    assert x is not None
    assert y is not None
    assert y.now.figure.value == inside[mine].mean()
    assert y.now.below + y.now.above == pytest.approx(1 - inside[mine].mean())
    assert (x.now.log_p > np.log(0.001), y.now.log_p < -50, y.log_p < -50) == (True, True, True)
    assert y.change == pytest.approx(inside[mine].mean() - 0.9, abs=0.03)
    made, known = of_parts("m", parts), table()
    assert dict(made["driftwarden_coverage_nominal_log_p"])["m", "kind=y"] == y.now.log_p
    assert all(len(labels_) == len(known[name].labels) for name, series in made.items() for labels_, _ in series)
    assert dict(bench.performance["driftwarden_performance_realised"])["m", "coverage"] == inside.mean()
    assert "driftwarden_calibration_gap" not in made


def test_ends_of_intervals_are_watched_and_are_no_inputs(make: Callable[..., Bench]) -> None:
    fitted = make("one", bounded(3_000, 2), columns=ENDS).agent.models["m"].streams
    assert fitted is not None
    plan = {one.name: (one.role, one.kind, one.monitored) for one in fitted.fitted.plan.columns}
    assert plan["low"] == ("lower", Kind.NUMERIC, True)
    assert plan["high"] == ("upper", Kind.NUMERIC, True)
    assert {"low", "high"} <= set(fitted.engine.names)


def test_few_whole_numbers_as_ends_are_numbers_all_the_same() -> None:
    schema = pa.schema([("low", pa.int64()), ("high", pa.int64()), ("said", pa.float64())])
    plan = build(schema, Roles(prediction="said", lower="low", upper="high"), {})
    assert plan.numeric == ("low", "high", "said")


def test_sets_that_hold_too_few_truths_are_told(make: Callable[..., Bench]) -> None:
    roles = {"time": "ts", "id": "id", "prediction": "said", "set": "sets", "label": "truth"}
    bench = make("one", sorted_into(5_000, 0), columns=roles, labels={"hours": 24.0, "coverage": 0.85})
    rows = sorted_into(3_000, 1, worse=0.1)
    bench.send(silent(rows))
    bench.agent.checkpoint()
    bench.stop()
    bench = make("one", rows, columns=roles, labels={"hours": 24.0, "coverage": 0.85})
    bench.send(labels(rows), NOW + 100)
    parts = told(bench, sorted_into(1, 9))
    held = np.array(
        [truth in some for truth, some in zip(rows["truth"].to_pylist(), rows["sets"].to_pylist(), strict=True)]
    )
    covered = parts.whole.covered
    assert covered is not None
    assert covered.now.figure.value == held.mean()
    assert covered.now.size == np.mean([len(one) for one in rows["sets"].to_pylist()])
    assert max(covered.now.log_p, covered.log_p) < np.log(1e-6)
    assert parts.whole.figures["set_coverage"].n == 3_000


def test_of_sets_null_is_none_and_empty_is_empty() -> None:
    codes = {"cat": 0, "dog": 1}
    column = pa.array([["cat"], [], None, ["dog", "cat"], ["cow"]])
    assert members(sets_of(column, codes, 5), 2).tolist() == [[1, 0], [0, 0], [-1, -1], [1, 1], [0, 0]]
    fixed = pa.array([[0, 1], None, [1, 1]], pa.list_(pa.int64(), 2))
    assert members(sets_of(fixed, {"0": 0, "1": 1}, 3), 2).tolist() == [[1, 1], [-1, -1], [0, 1]]
    for strange in (None, pa.array(["cat"] * 5), pa.array([[["cat"]]] * 5)):
        assert set(members(sets_of(strange, codes, 5), 2).ravel().tolist()) <= {-1, 0}
    sliced = pa.array([["cat"], ["dog"], None, ["dog"]]).slice(1)
    assert members(sets_of(sliced, codes, 3), 2).tolist() == [[0, 1], [-1, -1], [0, 1]]


def test_rows_without_a_query_are_queries_of_their_own() -> None:
    found = queries_of(pa.array(["a", None, "b", "a", ""]), 5)
    assert found[0] == found[3]
    assert len(set(found.tolist())) == 4


def test_a_quantile_that_is_predicted_is_judged_as_one(make: Callable[..., Bench]) -> None:
    roles = {name: one for name, one in COLUMNS.items() if name != "score"} | {"quantile": 0.9}
    bench = make("one", numbered(3_000, 0), columns=roles)
    rows = numbered(2_000, 1)
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    error = rows["said"].to_numpy() - rows["truth"].to_numpy()
    parts = told(bench, numbered(1, 9))
    expected = np.maximum(-0.9 * error, 0.1 * error).mean()
    assert parts.whole.figures["quantile_loss"].value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"prediction": "y", "lower": "a"}, "needs columns.upper beside it"),
        ({"lower": "a", "upper": "b"}, "needs columns.prediction beside it"),
        ({"prediction": "y", "quantile": 1.5}, "less than 1"),
        ({"query": "q"}, "needs columns.score beside it"),
        ({"score": "s", "places": 5}, "needs columns.query beside it"),
        ({"query": "q", "score": "s", "probabilities": "p"}, "a ranking has no probabilities"),
        ({"prediction": "y", "lower": "y", "upper": "b"}, "is named under prediction already"),
    ],
)
def test_roles_that_do_not_go_together_are_refused(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Columns.model_validate(columns)
