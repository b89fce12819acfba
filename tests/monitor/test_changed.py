"""Why the performance changed, inside the agent: with labels and without, in findings and metrics, over a restart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.performance import decompose
from monitor.metrics import table
from monitor.outcomes import mixes, series
from monitor.outcomes.changed import ESTIMATE, LABELS, Divided
from monitor.outcomes.door import OUTCOMES
from monitor.sinks.outcomes import of_performance
from tests.monitor.lane_bench import DAY, NOW, Bench, labels, numbered, scored, silent

REFERENCE = scored(8_000, 0)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(name: str, reference: pa.Table = REFERENCE, **changes: Any) -> Bench:
        changes = {"pane": {"rows": 500}, "window": {"panes": 8}, "labels": {"rows": 100_000, "hours": 24.0}, **changes}
        made.append(Bench(tmp_path / name, reference, **changes))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def known(bench: Bench) -> dict[str, Divided]:
    """What is known now, after a checkpoint, by what it is known."""
    bench.agent.checkpoint()
    assert bench.side.beside.wait(60)
    return {one.by: one for one in bench.side.explained("all")}


def turned(rows: pa.Table) -> pa.Table:
    """Half of the labels turned round where the second input is large."""
    some = (rows["b"].to_numpy() > 0.5) & (np.random.default_rng(0).random(rows.num_rows) < 0.5)
    truth = np.where(some, 1 - rows["truth"].to_numpy(), rows["truth"].to_numpy())
    return rows.set_column(rows.column_names.index("truth"), "truth", pa.array(truth))


def right(rows: pa.Table) -> float:
    return float(np.mean(np.equal(rows["said"].to_numpy(), rows["truth"].to_numpy())))


def labelled(bench: Bench, rows: pa.Table) -> None:
    bench.send(labels(rows), NOW + 1_000)
    bench.send(labels(scored(1, 9)), NOW + 2 * DAY)  # time passes


def test_labels_that_turned_round_are_rate_once_they_are_there(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), turned(scored(6_000, 1))
    bench.send(silent(rows))
    before = known(bench)
    assert set(before) == {ESTIMATE}
    assert before[ESTIMATE].verdict == "virtual"
    assert before[ESTIMATE].change.parts["rate"].reason == decompose.NEEDS_LABELS
    labelled(bench, rows)
    after = known(bench)[LABELS]
    lost = right(rows) - right(REFERENCE)
    assert after.verdict == "harmful"
    assert after.change.total.value == pytest.approx(lost, abs=1e-9)
    assert after.change.parts["rate"].value == pytest.approx(lost, abs=0.03)
    assert after.start <= NOW < after.end


def test_inputs_that_moved_are_mix_by_labels_and_without_them(make: Callable[..., Bench]) -> None:
    """Rows about which the model is not sure: 8 points are lost, none of them by the rate."""
    bench, rows = make("one"), scored(30_000, 2)
    unsure = np.abs(rows["score"].to_numpy() - 0.5) < 0.35
    rows = rows.filter(pa.array(unsure | (np.random.default_rng(1).random(30_000) < 0.2))).slice(0, 4_000)
    bench.send(silent(rows))
    labelled(bench, rows)
    told, lost = known(bench), right(rows) - right(REFERENCE)
    assert lost < -0.05
    for one in told.values():
        assert one.change.parts["mix"].value == pytest.approx(lost, abs=0.025)
        assert one.verdict == "harmful"
    assert abs(told[LABELS].change.parts["rate"].value) < 0.025


def test_classes_that_became_more_frequent_are_prior_also_where_labels_turn_round(make: Callable[..., Bench]) -> None:
    """The scores say so before labels do, and what they said is kept for their time."""
    bench, rows = make("one"), scored(30_000, 3)
    ones = rows["truth"].to_numpy() == 1
    plain = rows.filter(pa.array(ones | (np.random.default_rng(2).random(30_000) < 0.3))).slice(0, 4_000)
    rows = turned(plain)
    bench.send(silent(rows))
    assert known(bench)[ESTIMATE].change.parts["prior"].reason == ""
    bench.send(silent(scored(1, 8, start=NOW + 61)))
    labelled(bench, rows)
    bench.agent.models["m"].judged("all")
    parts = known(bench)[LABELS].change.parts
    planted = right(plain) - right(REFERENCE), right(rows) - right(plain)
    for part, truth in (("prior", planted[0]), ("rate", planted[1])):
        assert abs(parts[part].value - truth) < 3 * parts[part].error + 0.005


def test_a_regression_has_no_prior(make: Callable[..., Bench]) -> None:
    bench, rows = make("one", numbered(8_000, 0)), numbered(4_000, 1)
    worse = rows.set_column(rows.column_names.index("truth"), "truth", pa.array(rows["truth"].to_numpy() + 3.0))
    bench.send(silent(rows))
    labelled(bench, worse)
    told = known(bench)
    assert told[ESTIMATE].verdict == "unknown"  # nobody knows how sure a regression is
    assert (told[LABELS].verdict, told[LABELS].change.metric) == ("harmful", "mae")
    assert told[LABELS].change.parts["prior"].reason == decompose.NO_CLASSES
    assert told[LABELS].change.parts["rate"].low > 1.0


def test_open_findings_say_why_the_performance_changed(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), turned(scored(6_000, 4, moved=1.5))
    bench.send(silent(rows))
    labelled(bench, rows)
    known(bench)
    bench.send(silent(scored(500, 5, moved=1.5, start=NOW + 61)))
    calling = [row for row in bench.agent.findings.open.values() if row.severity in ("page", "ticket")]
    assert calling
    for row in calling:
        told = json.loads(row.document)["evidence"]["change"]
        assert set(told) == ({LABELS} if row.stream == OUTCOMES else {ESTIMATE, LABELS})
        assert [part["part"] for part in told[LABELS]["parts"]] == list(decompose.PARTS)
        assert told[LABELS]["parts"][2]["value"] < -0.03
    bench.agent.checkpoint()
    kept = {row.id: json.loads(row.document) for row in bench.store.findings(over=False)}
    assert all("change" in kept[row.id]["evidence"] for row in calling)


def test_what_waits_for_labels_survives_a_restart_and_tells_the_same(make: Callable[..., Bench]) -> None:
    rows, told = turned(scored(6_000, 6)), []
    for name, stop in (("whole", False), ("stopped", True)):
        bench = make(name)
        bench.send(silent(rows.slice(0, 3_000)))
        bench.agent.checkpoint()
        if stop:
            bench.send(silent(rows.slice(3_000, 500)))  # lost, and sent again
            bench.stop()
            bench = make(name)
        bench.send(silent(rows.slice(3_000)))
        labelled(bench, rows)
        told.append(known(bench)[LABELS])
    assert told[0].document() == told[1].document()


def test_samples_are_bounded_fair_and_of_one_reference(make: Callable[..., Bench]) -> None:
    bench = make("one")
    bench.send(silent(scored(6_000, 7)))
    changes = bench.side.changes
    assert changes is not None
    (kept,) = changes.mixes._held.values()
    assert len(kept.hashes) == mixes.MOST == len(kept.inputs)
    assert kept.hashes.max() == kept.limit
    streams = bench.agent.models["m"].streams
    assert streams is not None
    counter = bench.side.counter
    assert counter is not None
    again = mixes.Mixes(counter)
    again.restore(changes.mixes.states())
    assert again.states() == changes.mixes.states()
    panes = streams.streams["all"].state.panes
    again.add("all", panes, 3_600.0)
    assert again.states() == changes.mixes.states()  # no pane twice
    anew = [dataclasses.replace(panes[0], number=1)]
    again.add("all", anew, 3_600.0)
    assert again._last == {"all": 1}
    again.keep(10**9)
    assert again.inputs(range(10**6)) is None


def test_metrics(make: Callable[..., Bench]) -> None:
    assert tuple(decompose.VERDICTS) == series.VERDICTS
    bench, rows = make("one"), turned(scored(6_000, 8))
    bench.send(silent(rows))
    labelled(bench, rows)
    known(bench)
    made = of_performance(bench.side, 1_000.0)
    parts = dict(made["driftwarden_performance_part"])
    assert {key[1:] for key in parts} == {
        *((ESTIMATE, part) for part in ("mix", "total")),
        *((LABELS, part) for part in (*decompose.PARTS, "total")),
    }
    assert dict(made["driftwarden_performance_drift"])["m", LABELS, "harmful"] == 1.0
    for name, rows_of in made.items():
        assert all(len(key) == len(table()[name].labels) for key, _ in rows_of)
