"""Groups on which the model fails, by late labels: found, followed by name, confirmed, and nothing by chance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.interventions import Wanted
from monitor.metrics import table
from monitor.outcomes import failing, lane
from monitor.sinks.failing import of_failing
from tests.monitor.failing_bench import KEY, QUARTER, Alone
from tests.monitor.lane_bench import NOW, Bench, labels, numbered, silent

USUAL, HARD = 0.08, 0.4


def inside(rows: pa.Table) -> np.ndarray[Any, Any]:
    """The planted group, about 9 % of the rows."""
    return np.asarray((rows["kind"].to_numpy() == "y") & (rows["a"].to_numpy() > 0.6))


def answered(n: int, seed: int, *, hard: float = USUAL, start: float = NOW) -> pa.Table:
    """Rows of a classifier that is wrong in 8 of 100, and in ``hard`` of the planted group."""
    rng = np.random.default_rng(seed)
    a, b, kind = rng.normal(size=n), rng.normal(size=n), np.array(["x", "y", "z"])[rng.integers(0, 3, n)]
    said = (a > b).astype(np.int64)
    wrong = rng.random(n) < np.where((kind == "y") & (a > 0.6), hard, USUAL)
    return pa.table(
        {
            "ts": start + np.sort(rng.uniform(0, 60, n)),
            "id": [f"{seed}-{i}" for i in range(n)],
            "a": a,
            "b": b,
            "kind": kind,
            "said": said,
            "truth": np.where(wrong, 1 - said, said),
        }
    )


REFERENCE = answered(8_000, 0)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []
    monkeypatch.setattr(lane, "key_of", lambda _: KEY)

    def begin(name: str, reference: pa.Table = REFERENCE, **changes: Any) -> Bench:
        changes = {"pane": {"rows": 1_000}, "labels": {"rows": 100_000, "hours": 24.0}, **changes}
        made.append(Bench(tmp_path / name, reference, **changes))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def quarter(bench: Bench, number: int, rows: pa.Table, *, lag: float = 300.0) -> None:
    """Rows of a quarter of an hour, their labels, and the end of it."""
    start = NOW + QUARTER * number
    bench.send(silent(rows), start + 60)
    bench.send(labels(rows), start + lag)
    bench.send(labels(answered(1, 10_000)), start + QUARTER + 10)


def told(bench: Bench) -> dict[str, Any]:
    assert bench.side.beside.wait(60)
    assert bench.lane.failing.failures == 0
    document: dict[str, Any] = bench.lane.failing.document
    assert json.loads(json.dumps(document)) == document
    return document


def precision(one: dict[str, Any], rows: pa.Table) -> float:
    """Share of a slice's rows that are in the planted group, by its conditions in words."""
    mine = np.ones(rows.num_rows, bool)
    for condition in one["conditions"]:
        column, kind, rest = condition.split(" ", 2)
        values = rows[column].to_numpy()
        if kind == "=":
            mine &= values == rest
        elif kind == "in":
            low, high = (float(end) for end in rest.strip("[)").split(","))
            mine &= (values >= low) & (values < high)
        else:
            mine &= values >= float(rest) if kind == ">=" else values < float(rest)
    return float(inside(rows)[mine].mean())


def test_a_group_that_fails_is_found_compared_with_the_reference_and_confirmed_by_later_rows(
    make: Callable[..., Bench],
) -> None:
    bench = make("one")
    first = answered(6_000, 1, hard=HARD)
    quarter(bench, 0, first)
    document = told(bench)
    best = max(document["slices"][:5], key=lambda one: precision(one, first))
    assert precision(best, first) >= 0.8
    assert best["p"] <= 0.05
    assert best["status"] == "worse"
    assert best["loss"]["low"] < HARD < best["loss"]["high"]
    assert best["before"]["low"] < USUAL < best["before"]["high"]
    assert not best["confirmed"]
    assert document["reference_slices"] == []
    for number in (1, 2):
        quarter(bench, number, answered(6_000, number + 1, hard=HARD, start=NOW + QUARTER * number))
    again = next(one for one in told(bench)["slices"] if one["id"] == best["id"])
    assert again["confirmed"]
    assert (again["since"], again["name"]) == (best["since"], best["name"])
    assert again["seen"] == best["since"] + 2 * QUARTER


def test_a_slice_that_was_weak_in_the_reference_is_told_as_such(make: Callable[..., Bench]) -> None:
    bench = make("weak", answered(8_000, 0, hard=HARD))
    quarter(bench, 0, answered(6_000, 1, hard=HARD))
    document = told(bench)
    one = document["slices"][0]
    assert one["id"] in [weak["id"] for weak in document["reference_slices"]]
    assert one["weak_in_reference"]
    assert one["status"] == "weak before"


def test_a_slice_that_does_not_come_again_is_forgotten(make: Callable[..., Bench]) -> None:
    bench = make("once", labels={"rows": 100_000, "hours": 0.5})
    start, first = 0.0, ""
    for number in range(14):
        hard = HARD if number < 2 else USUAL
        rows = answered(3_000, number + 1, hard=hard, start=NOW + start)
        bench.send(silent(rows), NOW + start + 60)
        bench.send(labels(rows), NOW + start + 61)
        start += 3_600
        bench.send(labels(answered(1, 10_000)), NOW + start)
        told(bench)
        first = told(bench)["slices"][0]["id"] if number == 1 else first
    assert first
    assert first not in [one["id"] for one in told(bench)["slices"]]


def test_what_has_no_label_is_never_counted(make: Callable[..., Bench]) -> None:
    bench, rows = make("late"), answered(6_000, 1, hard=HARD)
    bench.send(silent(rows))
    assert bench.lane.failing.counts() == (0, 6_000)
    wrong = rows.filter(pa.array(rows["said"].to_numpy() != rows["truth"].to_numpy()))
    bench.send(labels(wrong), NOW + 100)
    assert bench.lane.failing.counts() == (wrong.num_rows, 6_000 - wrong.num_rows)
    assert bench.side.beside.wait(60)
    assert bench.lane.failing.document is None
    bench.send(labels(rows), NOW + 1_000)
    bench.send(labels(answered(1, 10_000)), NOW + 2_000)
    assert told(bench)["rows"] == 6_000


def test_labels_of_errors_alone_are_no_search_however_old_they_are(make: Callable[..., Bench]) -> None:
    bench, rows = make("some", labels={"rows": 100_000, "hours": 0.25}), answered(6_000, 1)
    bench.send(silent(rows))
    wrong = rows.filter(pa.array(rows["said"].to_numpy() != rows["truth"].to_numpy()))
    bench.send(labels(wrong), NOW + 100)
    for later in (800, 1_500):
        bench.send(labels(answered(1, 10_000)), NOW + later)
    assert bench.lane.index.cohorts().complete.all()
    bench.agent.checkpoint()
    assert bench.side.beside.wait(60)
    assert bench.lane.failing.document is None


def test_labels_that_are_corrected_count_as_they_are_now(make: Callable[..., Bench]) -> None:
    bench, rows = make("corrected"), answered(6_000, 1)
    bench.send(silent(rows))
    turned = 1 - rows["truth"].to_numpy()
    bench.send(labels(rows).set_column(1, "truth", pa.array(turned)).slice(0, 5_000), NOW + 100)
    bench.send(labels(rows), NOW + 200)
    bench.send(labels(answered(1, 10_000)), NOW + 2_000)
    loss = told(bench)["loss"]["value"]
    assert loss == pytest.approx(float(np.mean(rows["said"].to_numpy() != rows["truth"].to_numpy())), abs=1e-9)


def test_the_sample_is_the_same_however_rows_come_and_over_a_crash(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "MOST_ROWS", 2_000)
    rows, made = answered(6_000, 1, hard=HARD), {}
    for name, size in (("large", 6_000), ("small", 177)):
        bench = make(name)
        for first in range(0, 6_000, size):
            bench.send(silent(rows.slice(first, size)))
            bench.send(labels(rows.slice(max(first - size, 0), size)), NOW + 90)
            if first == 3 * 177:
                bench.agent.checkpoint()
                bench.send(silent(rows.slice(first + size, size)))  # lost, and sent again
                bench.stop()
                bench = make(name)
        bench.send(labels(rows), NOW + 100)
        made[name] = bench.lane.failing.states(bench.lane.index.cohorts().number)
        assert bench.lane.failing.counts() == (2_000, 0)
        assert bench.lane.failing.nbytes < 2_000 * 40
    mine = [{key: blob for key, blob in one.items() if "/rows/" in key} for one in made.values()]
    assert mine[0]
    assert mine[0] == mine[1]


def test_what_is_known_comes_back_with_a_checkpoint_and_goes_with_another_reference(
    make: Callable[..., Bench],
) -> None:
    bench = make("again")
    quarter(bench, 0, answered(6_000, 1, hard=HARD))
    before = told(bench)
    bench.agent.checkpoint()
    bench.stop()
    again = make("again")
    assert told(again) == before
    quarter(again, 1, answered(6_000, 2, hard=HARD, start=NOW + QUARTER))
    one = told(again)["slices"][0]
    assert one["id"] == before["slices"][0]["id"]
    assert one["confirmed"]
    again.agent.intervene(Wanted("rebaseline", "m", "a test", "ana", {"rows": 4_000}))
    quarter(again, 2, answered(6_000, 3, start=NOW + 2 * QUARTER))
    assert again.agent.models["m"].tally.rebaselined == 1
    assert again.lane.failing.document is None


def test_errors_of_numbers_are_searched_by_their_size(make: Callable[..., Bench]) -> None:
    bench, rows = make("numbers", numbered(8_000, 0)), numbered(6_000, 1)
    quarter(bench, 0, rows)
    document = told(bench)
    off = np.abs(np.subtract(rows["said"].to_numpy(), rows["truth"].to_numpy()))
    assert document["loss_is"] == "absolute error"
    assert document["loss"]["value"] == pytest.approx(float(off.mean()), rel=1e-9)
    assert {column for one in document["slices"] for column in one["columns"]} == {"a"}
    assert document["slices"][0]["weak_in_reference"]


def test_metrics_are_in_the_table_and_hold_no_values(make: Callable[..., Bench]) -> None:
    bench = make("metrics")
    rows = of_failing(bench.lane.failing)
    assert "driftwarden_slice_loss" not in rows
    quarter(bench, 0, answered(6_000, 1, hard=HARD))
    document, made, known = told(bench), of_failing(bench.lane.failing), table()
    for name, series in made.items():
        assert all(len(labels) == len(known[name].labels) for labels, _ in series)
    ids = [one["id"] for one in document["slices"]]
    assert [labels for labels, _ in made["driftwarden_slice_loss"]] == [
        ("m", one["id"], ", ".join(one["columns"])) for one in document["slices"]
    ]
    assert 1 <= len(ids) <= 10
    assert dict(made["driftwarden_slice_sample_rows"])["m", "labelled"] == 6_000


def test_what_fails_costs_no_figure(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench, rows = make("broken"), answered(3_000, 1)

    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(bench.lane.failing, "_take", broken)
    monkeypatch.setattr(bench.lane.failing, "_look", broken)
    quarter(bench, 0, rows)
    bench.agent.checkpoint()
    assert bench.lane.confirmed.figures["accuracy"].n == 3_000
    assert bench.lane.failures == 0
    assert bench.lane.failing.failures > 2


@pytest.mark.slow
def test_where_errors_are_random_at_most_one_in_twenty_searches_tells_anything_and_none_is_confirmed(
    tmp_path: Path,
) -> None:
    alone, some, confirmed = Alone(tmp_path, REFERENCE), 0, 0
    for seed in range(100):
        rows = [answered(3_000, 1_000 + 2 * seed + i, start=NOW + QUARTER * i) for i in range(2)]
        first = alone.found(rows[0])
        both = alone.found(*rows) if first else []
        some, confirmed = some + bool(first), confirmed + any(one["confirmed"] for one in both)
    assert some <= 10  # the 97.5th percentile of 5 %
    assert confirmed <= 1


@pytest.mark.slow
def test_planted_groups_are_found_with_precision(tmp_path: Path) -> None:
    alone, precise = Alone(tmp_path, REFERENCE), 0
    for seed in range(40):
        rows = answered(6_000, 2_000 + seed, hard=HARD)
        found = alone.found(rows)
        precise += max((precision(one, rows) for one in found[:5]), default=0.0) >= 0.8
    assert precise >= 39
