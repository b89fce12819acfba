"""Figures by labels of each version and segment: their own rows and no others, to the last digit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from detectors.performance import realised, tallies
from detectors.performance.layout import layout
from detectors.performance.types import Outcomes
from monitor.errors import ConfigError
from monitor.metrics import table
from monitor.outcomes.divided import coarse
from monitor.outcomes.measured import known_of, tau_of
from monitor.outcomes.parts import Parts, worth
from monitor.outcomes.slots import OTHER, Slots
from monitor.sections import Labels
from monitor.sinks.outcomes import of_parts
from tests.monitor.lane_bench import COLUMNS, NOW, Bench, labels, scored, silent

DAY = 86_400.0
ROLES = COLUMNS | {"segments": ["kind"], "version": "version"}


def versioned(n: int, seed: int, versions: tuple[str, ...] = ("v1", "v2/b")) -> pa.Table:
    chosen = np.random.default_rng(seed + 1_000).integers(0, len(versions), n)
    return scored(n, seed).append_column("version", pa.array(np.array(versions)[chosen]))


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(name: str, **changes: Any) -> Bench:
        changes = {"columns": ROLES, "pane": {"rows": 5_000}, "labels": {"rows": 100_000, "hours": 24.0}, **changes}
        made.append(Bench(tmp_path / name, versioned(8_000, 0), **changes))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def told(bench: Bench) -> Parts:
    """The parts once they are made."""
    bench.send(labels(scored(1, 9)), NOW + 2 * DAY)  # time passes
    assert bench.lane.confirmed is not None
    assert bench.side.beside.wait(60)
    parts: Parts = bench.lane.parts
    return parts


def clean(bench: Bench, rows: pa.Table, which: Any) -> dict[str, Any]:
    """The figures of some rows of a table, computed at once."""
    streams = bench.agent.models["m"].streams
    assert streams is not None
    known = known_of(streams.fitted).expected
    assert known is not None
    made = coarse(known.layout)
    some = rows.filter(pa.array(which))
    said = some["said"].to_numpy(), some["score"].to_numpy(), None, some["truth"].to_numpy()
    return realised.figures(made, tallies.tally(made, Outcomes("binary", *said)), tau=tau_of(streams.fitted))


def test_every_part_has_the_figures_of_its_rows_to_the_last_digit(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), versioned(4_000, 1)
    bench.send(silent(rows))
    bench.send(labels(rows.slice(0, 500)).set_column(1, "truth", pa.array([0] * 500)), NOW + 100)
    bench.agent.checkpoint()
    bench.send(labels(rows.slice(0, 2_000)), NOW + 200)  # lost with the crash, and sent again
    bench.stop()
    again = make("one")
    order = np.random.default_rng(0).permutation(4_000)
    again.send(labels(rows.take(order)), NOW + 200)
    lane = again.lane
    states = lane.states()
    lane.realised.rebuild(lane.index.rows(), lane.index.cohorts(), lane.index.width)
    assert lane.states() == states
    parts = told(again)
    versions, kinds = (np.array(rows[name].to_pylist()) for name in ("version", "kind"))
    assert set(parts.versions) == {"v1", "v2%2Fb"}  # as their streams are called
    assert set(parts.segments) == {"kind=x", "kind=y", "kind=z"}
    assert parts.versions["v2%2Fb"].figures == clean(again, rows, versions == "v2/b")
    for value in "xyz":
        assert parts.segments[f"kind={value}"].figures == clean(again, rows, kinds == value)
    assert sum(one.figures["accuracy"].n for one in parts.versions.values()) == 4_000


def test_a_segment_is_held_against_its_own_rows_of_the_reference(make: Callable[..., Bench]) -> None:
    bench, rows, before = make("one"), versioned(2_000, 2), versioned(8_000, 0)
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    mine = np.array(before["kind"].to_pylist()) == "y"
    right = np.equal(before["said"].to_numpy(), before["truth"].to_numpy())[mine]
    assert told(bench).segments["kind=y"].reference["accuracy"].value == right.mean()


def test_calibration_that_drifts_in_one_segment_is_told_of_it_alone(make: Callable[..., Bench]) -> None:
    bench, rows = make("one"), versioned(12_000, 3)
    score, kind = rows["score"].to_numpy(), np.array(rows["kind"].to_pylist())
    milder = np.where(kind == "y", 0.5 + 0.6 * (score - 0.5), score)  # what really happens where more is said
    truth = (np.random.default_rng(4).random(12_000) < milder).astype(np.int64)
    rows = rows.set_column(rows.column_names.index("truth"), "truth", pa.array(truth))
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    parts = told(bench)
    found = {name: one.calibrated for name, one in parts.segments.items() if one.calibrated is not None}
    assert found["kind=y"].verdict == "over-confident"
    assert found["kind=y"].log_p < -20
    assert found["kind=y"].now["overconfidence"].low > 0.05
    assert found["kind=y"].change["error"].low > 0.03
    assert all(found[name].log_p > np.log(0.001) for name in ("kind=x", "kind=z"))
    made = of_parts("m", parts)
    assert dict(made["driftwarden_calibration_change_log_p"])["m", "kind=y"] == found["kind=y"].log_p
    assert ("m", "", "overconfidence") in dict(made["driftwarden_calibration_gap"])  # of all rows together
    known = table()
    for name, rows_of in made.items():
        assert {len(values) for values, _ in rows_of} == {len(known[name].labels)}


def test_names_that_senders_make_up_share_a_place(make: Callable[..., Bench]) -> None:
    bench = make("one")
    rows = versioned(2_000, 5, tuple(f"made up {i}" for i in range(60)))
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    parts = told(bench)
    assert len(parts.versions) == 9
    assert parts.versions[OTHER].figures["accuracy"].n > 1_000


def test_a_place_is_taken_once_no_row_of_the_old_name_can_wait() -> None:
    slots = Slots(2, 100.0)
    two = np.array([0, 1, -1, 0])
    places, freed = slots.of(two, ("a", "b"), 0.0)
    assert (places.tolist(), freed) == ([0, 1, -1, 0], [])
    again = Slots(2, 100.0)
    again.restore(slots.state())
    assert again.of(np.array([0]), ("c",), 100.0)[0].tolist() == [2]
    again.of(np.array([0]), ("b",), 60.0)
    places, freed = again.of(np.array([0]), ("c",), 102.0)
    assert (places.tolist(), freed, again.name(0), again.name(1)) == ([0], [0], "c", "b")
    assert again.of(np.array([0]), ("d",), 102.0)[0].tolist() == [2]
    assert again.name(2) == OTHER


def test_rows_of_a_version_that_has_gone_count_for_no_other(make: Callable[..., Bench]) -> None:
    bench = make("one", labels={"rows": 100_000, "hours": 1.0})
    many = versioned(800, 6, tuple(f"v{i}" for i in range(8)))
    bench.send(silent(many))
    bench.send(labels(many), NOW + 100)
    later = NOW + 2 * 3_600
    fresh = versioned(300, 7, ("new",)).set_column(0, "ts", pa.array(np.full(300, later)))
    bench.send(silent(fresh), later)
    bench.send(labels(fresh), later + 100)
    assert bench.lane.realised.divided.slots["version"].name(0) == "new"
    parts = bench.lane.realised.parts(bench.lane.index.cohorts().number.tolist())()
    assert parts.versions["new"].figures["accuracy"].n == 300
    assert parts.whole.figures["accuracy"].n == 1_100


def test_answers_are_worth_what_the_configuration_says(make: Callable[..., Bench]) -> None:
    worth = {"true_positive": 5, "false_positive": -1, "false_negative": -10}
    bench = make("one", labels={"rows": 100_000, "hours": 24.0, "values": worth})
    rows = versioned(3_000, 8)
    bench.send(silent(rows))
    bench.send(labels(rows), NOW + 100)
    parts = told(bench)
    said, truth = rows["said"].to_numpy(), rows["truth"].to_numpy()
    value = np.array([[0, -10], [-1, 5]])[said, truth]
    mine = np.array(rows["version"].to_pylist()) == "v1"
    assert parts.whole.figures["business_value"].value == pytest.approx(value.mean(), abs=1e-12)
    assert parts.versions["v1"].figures["business_value"].value == pytest.approx(value[mine].mean(), abs=1e-12)
    assert ("m", "business_value") in dict(bench.performance["driftwarden_performance_realised"])
    below = dict(bench.performance["driftwarden_performance_below_expectation"])
    assert below["m", "business_value"] == 0.0


def test_values_must_be_those_of_the_models_classes(make: Callable[..., Bench]) -> None:
    three = Labels.model_validate({"values": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]})
    with pytest.raises(ConfigError, match=r"labels\.values: 3 rows of values, but the model has 2 classes: 0, 1"):
        worth(three, make("one").lane.answers)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"true_positiv": 1}, 'did you mean "true_positive"'),
        ([[1, 2]], "must be"),
        ([[1, 2], [3, float("nan")]], "must be"),
        ({"true_positive": "much"}, "must be"),
        (7, "must be"),
    ],
)
def test_values_that_are_none_are_refused(given: object, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Labels.model_validate({"values": given})


def test_values_are_shown_as_they_can_be_loaded_again() -> None:
    one = Labels.model_validate({"values": {"true_positive": 5, "false_positive": -1}})
    assert one.values == ((0.0, 0.0), (-1.0, 5.0))
    assert Labels.model_validate(one.model_dump(mode="json")) == one


def test_parts_of_a_model_of_many_classes_are_counted_without_ranks() -> None:
    rng = np.random.default_rng(3)
    chances = rng.dirichlet(np.ones(12), 500)
    answers = Outcomes("multiclass", chances.argmax(axis=1), None, chances, rng.integers(0, 12, 500))
    made = coarse(layout(answers, 12))
    found = realised.figures(made, tallies.tally(made, answers))
    assert found["accuracy"].n == 500
    assert np.isnan(found["auroc"].value)
