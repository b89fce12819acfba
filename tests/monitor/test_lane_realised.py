"""What labels have confirmed, inside the agent: a clean batch to the last digit, and only of what is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.performance import realised, tallies
from monitor.interventions import Wanted
from monitor.outcomes.answers import Answers
from monitor.outcomes.measured import known_of, tau_of
from monitor.outcomes.said import Said
from tests.monitor.lane_bench import DAY, NOW, Bench, labels, numbered, scored, silent

REFERENCE = scored(8_000, 0)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(name: str, reference: pa.Table = REFERENCE, **changes: Any) -> Bench:
        changes = {"pane": {"rows": 1_000}, "labels": {"rows": 100_000, "hours": 24.0}, **changes}
        made.append(Bench(tmp_path / name, reference, **changes))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def clean(bench: Bench, rows: pa.Table) -> dict[str, Any]:
    """The figures of a table, computed at once."""
    streams = bench.agent.models["m"].streams
    assert streams is not None
    known = known_of(streams.fitted).expected
    assert known is not None
    answers = Answers(streams.fitted)
    score = rows["score"].to_numpy() if "score" in rows.column_names else None
    said = Said(rows["said"].to_numpy().astype(np.float64), score, None)
    outcomes = answers.outcomes(said, rows["truth"].to_numpy().astype(np.float64))
    return realised.figures(known.layout, tallies.tally(known.layout, outcomes), tau=tau_of(streams.fitted))


def expected(bench: Bench) -> dict[str, str]:
    """The reference's own figures."""
    return {name: f"{one.value}" for name, one in bench.lane.realised.reference.items()}


def confirmed(bench: Bench) -> Any:
    return bench.lane.confirmed


@pytest.mark.parametrize("kind", [scored, numbered])
def test_figures_equal_those_of_a_clean_batch_to_the_last_digit(make: Callable[..., Bench], kind: Any) -> None:
    bench, rows = make("one", kind(8_000, 0)), kind(3_000, 1)
    bench.send(silent(rows))
    wrong = rows.slice(0, 500)
    bench.send(labels(wrong).set_column(1, "truth", pa.array([0] * 500)), NOW + 100)
    order = np.random.default_rng(0).permutation(3_000)
    shuffled = labels(rows.take(order))
    for part in (shuffled.slice(0, 1_700), shuffled.slice(1_500), shuffled.slice(0, 10)):
        bench.send(part, NOW + 200)
    bench.send(labels(kind(1, 9)), NOW + 2 * DAY)  # time passes
    assert confirmed(bench).figures == clean(bench, rows)


def test_nothing_is_told_of_what_is_not_complete(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(3_000, 2)
    bench.send(silent(rows))
    assert confirmed(bench) is None
    wrong = rows.filter(np.not_equal(rows["said"].to_numpy(), rows["truth"].to_numpy()).tolist())
    bench.send(labels(wrong), NOW + 1_000)
    assert confirmed(bench) is None
    bench.send(labels(rows), NOW + 2_000)
    bench.send(labels(scored(1, 9)), NOW + 3_000)
    assert confirmed(bench).figures["accuracy"].n == 3_000


def test_a_crash_and_a_reload_change_no_figure(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(3_000, 3)
    bench.send(silent(rows))
    bench.send(labels(rows.slice(0, 2_000)), NOW + 100)
    bench.agent.checkpoint()
    bench.send(labels(rows.slice(2_000)), NOW + 200)  # lost, and sent again
    bench.stop()
    again = make("one")
    again.send(labels(rows.slice(2_000)), NOW + 200)
    lane = again.lane
    told = lane.states()
    lane.realised.rebuild(lane.index.rows(), lane.index.cohorts(), lane.index.width)  # as with another reference
    assert lane.states() == told
    again.send(labels(scored(1, 9)), NOW + 2 * DAY)
    assert confirmed(again).figures == clean(again, rows)


def test_concept_shift_is_below_expectation_by_labels_alone(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(6_000, 4)
    turned = rows.set_column(rows.column_names.index("truth"), "truth", pa.array(1 - rows["truth"].to_numpy()))
    bench.send(silent(rows))
    estimates = bench.side.estimates
    assert estimates is not None
    assert estimates.wait(60)
    before = bench.performance["driftwarden_performance_below_expectation"]
    assert {value for _, value in before} == {0.0}  # no estimate without labels can know
    bench.send(labels(turned), NOW + 1_000)
    bench.send(labels(scored(1, 9)), NOW + 2 * DAY)
    after = dict(bench.performance["driftwarden_performance_below_expectation"])
    assert after["m", "accuracy"] == 1.0
    assert confirmed(bench).figures["accuracy"].high < 0.3


def test_labels_as_usual_are_not_below_expectation(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(6_000, 5)
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 1_000)
    bench.send(labels(scored(1, 9)), NOW + 2 * DAY)
    made = bench.performance
    assert {value for _, value in made["driftwarden_performance_below_expectation"]} == {0.0}


def test_a_new_reference_without_labels_keeps_what_labels_are_held_against(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(3_000, 6)
    before = expected(bench)
    bench.agent.intervene(Wanted("rebaseline", "m", "a test", "ana", {"rows": 3_000}))
    bench.send(silent(rows))
    assert bench.agent.models["m"].tally.rebaselined == 1
    assert bench.side.estimates is None  # there is nothing to learn an estimate from
    assert expected(bench) == before
    later = scored(3_000, 7)
    bench.send(silent(later))
    bench.send(labels(later), NOW + 200)
    bench.agent.checkpoint()
    bench.stop()
    again = make("one")
    assert expected(again) == before
    again.send(labels(scored(1, 9)), NOW + 2 * DAY)
    assert confirmed(again).figures["accuracy"].n == 3_000


def test_a_label_of_an_unknown_class_is_a_wrong_answer(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), scored(2_000, 8)
    truth = rows["truth"].to_numpy().copy()
    truth[:500] = 7
    rows = rows.set_column(rows.column_names.index("truth"), "truth", pa.array(truth))
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 1_000)
    bench.send(labels(scored(1, 9)), NOW + 2 * DAY)
    found = confirmed(bench).figures["accuracy"]
    assert found.value == np.equal(rows["said"].to_numpy(), truth).mean()
    assert found.n == 2_000
