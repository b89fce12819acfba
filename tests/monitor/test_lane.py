"""The outcome lane inside the agent: labels of every way to come are joined once, over crashes and reloads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from detectors.performance import answer
from monitor.metrics import Distribution, table
from monitor.offer import Offer
from monitor.outcomes import series
from monitor.outcomes.door import judged, only_labels
from monitor.sections import Columns
from monitor.sinks.outcomes import of_labels
from tests.monitor.lane_bench import COLUMNS, DAY, NOW, Bench, labels, numbered, scored, silent

REFERENCE = scored(4_000, 0)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """A maker of agents; all are stopped at the end."""
    made: list[Bench] = []

    def begin(name: str, reference: pa.Table = REFERENCE, **model: object) -> Bench:
        made.append(Bench(tmp_path / name, reference, **model))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    return make("one")


def joined(bench: Bench) -> dict[tuple[float, float], int]:
    """How often each answer came with each truth, by what the index holds."""
    counts: dict[tuple[float, float], int] = {}
    for row in bench.lane.index.rows():
        for pair in zip(row.values["prediction"].tolist(), row.truth.tolist(), strict=True):
            counts[pair] = counts.get(pair, 0) + 1
    return counts


def clean(*tables: pa.Table) -> dict[tuple[float, float], int]:
    """The same by counting the tables."""
    counts: dict[tuple[float, float], int] = {}
    for one in tables:
        for pair in zip(one["said"].to_pylist(), one["truth"].to_pylist(), strict=True):
            counts[pair] = counts.get(pair, 0) + 1
    return counts


def test_labels_that_come_later_alone_are_joined_and_are_no_drift(bench: Bench) -> None:
    rows = scored(600, 1)
    bench.send(silent(rows))
    for form, part in (("batch", rows.slice(0, 300)), ("ndjson", rows.slice(300))):
        bench.send(labels(part), NOW + 7200, form=form)
    assert joined(bench) == clean(rows)
    figures = bench.lane.index.figures()
    assert (figures.labels["joined"], figures.labelled, figures.labels["unknown_id"]) == (600, 600, 0)
    assert bench.panes == 3  # of the 600 rows, not of their labels
    assert bench.agent.models["m"].tally.violations == {}
    books = bench.intake.ledger.snapshot().accounts["http", "m"]
    assert (books.processed_rows, sum(books.discarded_rows.values())) == (1_200, 0)


def test_labels_in_the_rows_of_the_log_are_joined(bench: Bench) -> None:
    rows = scored(400, 2)
    some = rows.set_column(7, "truth", pa.array(rows["truth"].to_pylist(), mask=np.arange(400) % 2 == 0))
    bench.send(some)
    figures = bench.lane.index.figures()
    assert (figures.rows, figures.labelled, figures.labels["missing"]) == (400, 200, 0)


def test_repeats_corrections_strangers_and_wrong_types_are_counted(bench: Bench) -> None:
    rows = scored(200, 3)
    bench.send(labels(rows.slice(0, 5)), NOW)  # before their predictions
    bench.send(silent(rows))
    bench.send(labels(rows.slice(0, 50)))
    wrong = labels(rows.slice(50, 10)).set_column(1, "truth", pa.array(["seven"] * 10))
    bench.send(wrong)
    other = labels(rows.slice(0, 1)).set_column(1, "truth", pa.array([1 - rows["truth"][0].as_py()]))
    bench.send(other, NOW + 90)
    bench.send(pa.table({"id": ["nobody"], "truth": [1]}))
    counts = bench.lane.index.figures().labels
    assert (counts["joined"], counts["repeated"], counts["corrected"], counts["wrong_type"]) == (50, 5, 1, 10)
    assert bench.lane.index.figures().waiting == 1


def test_after_a_crash_the_same_deliveries_give_the_same_index(make: Callable[..., Bench], tmp_path: Path) -> None:
    tables = [scored(300, seed) for seed in range(1, 5)]
    deliveries = [(silent(one), NOW + 60 * i) for i, one in enumerate(tables)]
    deliveries += [(labels(one), NOW + 4_000 + 60 * i) for i, one in enumerate(tables)]
    whole = make("whole")
    for one, arrived in deliveries:
        whole.send(one, arrived)
    crashed = make("crashed")
    (tmp_path / "crashed" / "state").joinpath("security.key").write_bytes(
        (tmp_path / "whole" / "state").joinpath("security.key").read_bytes()
    )
    crashed.stop()
    for stop in (3, 6, 8):
        crashed = make("crashed")
        done = crashed.agent.saving.progress.sequence
        for place, (one, arrived) in enumerate(deliveries[done:stop], done):
            crashed.send(one, arrived)
            if place % 2:
                crashed.agent.checkpoint()
        if stop < 8:
            crashed.stop()
    assert crashed.lane.states() == whole.lane.states()
    assert joined(crashed) == clean(*tables)


def test_a_reload_keeps_what_waits_unless_it_means_something_else(bench: Bench) -> None:
    rows = scored(200, 5)
    bench.send(silent(rows))
    for changes, kept in ((), 200), ((("rows", 500_000),), 200), ((("hours", 5.0),), 0):
        section = bench.config.models[0].model_dump(mode="json") | {"top_features": len(changes)}
        section["labels"] |= dict(changes)
        config = bench.config.model_copy(update={"models": (type(bench.config.models[0]).model_validate(section),)})
        begun = bench.agent.watch(config.models[0], config)
        bench.agent.replace(config, [begun])
        assert bench.lane.index.figures().rows == kept


def test_a_model_without_an_index_discards_labels_that_come_alone(make: Callable[..., Bench]) -> None:
    bench = make("none", labels={"rows": 0})
    assert bench.lane is None
    bench.send(labels(scored(100, 6)))
    assert bench.intake.ledger.snapshot().accounts["http", "m"].discarded_rows["schema"] == 100


def test_of_a_regression_numbers_are_kept(make: Callable[..., Bench]) -> None:
    bench = make("numbers", numbered(2_000, 0))
    rows = numbered(300, 1)
    bench.send(silent(rows))
    bench.send(labels(rows))
    held = list(bench.lane.index.rows())
    off = np.concatenate([row.values["prediction"] - row.truth for row in held])
    assert sorted(off) == sorted(np.subtract(rows["said"].to_numpy(), rows["truth"].to_numpy()))


def test_a_fault_in_the_lane_costs_no_row(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(bench.lane.index, "predicted", broken)
    bench.send(silent(scored(200, 8)))
    assert bench.lane.failures == 1
    assert bench.panes == 1


@pytest.mark.parametrize(
    ("names", "alone"),
    [
        (["id", "truth"], True),
        (["id", "truth", "ts"], True),
        (["id", "truth", "a"], False),
        (["id", "truth", "score"], False),
        (["id"], False),
        (["truth"], False),
    ],
)
def test_what_labels_alone_are(names: list[str], *, alone: bool) -> None:
    assert only_labels(Columns.model_validate(COLUMNS), names) is alone
    assert not only_labels(Columns(), names)


def test_metrics_are_of_the_table_and_add_up(bench: Bench) -> None:
    rows = scored(300, 9)
    bench.send(silent(rows))
    bench.send(labels(rows.slice(0, 200)), NOW + 7200)
    made = of_labels(bench.lane)
    known = table()
    assert all(len(labels_) == len(known[name].labels) for name, some in made.items() for labels_, _ in some)
    assert made["driftwarden_outcome_rows"] == [
        (("m", "labelled"), 200),
        (("m", "unlabelled"), 100),
        (("m", "early"), 0),
    ]
    (((_, delays),),) = (made["driftwarden_label_delay_seconds"],)
    assert isinstance(delays, Distribution)
    assert sum(delays.counts) == 200
    assert delays.counts[series.DELAYS.index(21_600.0)] == 200
    assert tuple(answer.DOUBTS) == series.DOUBTS


def test_a_delivery_keeps_its_time_of_arrival_over_a_crash() -> None:
    offer = Offer("http", "m", "ndjson", b"{}\n", 1, 3)
    assert abs(offer.arrived - time.time()) < 10
    assert offer.header()["arrived"] == offer.arrived == offer.delivery(b"").arrived


def test_labels_that_come_alone_are_no_rows_for_those_who_ask_later() -> None:
    rows = scored(10, 1)
    batches = [one for table_ in (rows, labels(rows)) for one in table_.combine_chunks().to_batches()]
    assert [one.num_columns for one in judged(Columns.model_validate(COLUMNS), batches)] == [8]


def test_after_a_restart_the_window_is_estimated_without_waiting_for_rows(make: Callable[..., Bench]) -> None:
    bench = make("one")
    bench.send(silent(scored(1_000, 2)))
    bench.agent.checkpoint()
    bench.stop()
    again = make("one").side.estimates
    assert again is not None
    assert again.wait(60)
    assert again.told["all"].estimate.figures["accuracy"].n == 1_000


def test_history_that_is_read_has_its_own_clock(make: Callable[..., Bench]) -> None:
    """Rows of years ago are not too old for their labels, and labels come as late as the log says."""
    bench, rows = make("one", labels={"hours": 240}), scored(4_000, 8)
    years = NOW + 5 * 365 * DAY
    bench.send(silent(rows), years)
    first, later = labels(rows.slice(0, 2_000)), labels(rows.slice(2_000))
    times = pa.array(np.full(2_000, NOW + 3 * DAY), pa.float64())
    bench.send(first.append_column("ts", times), years + 60)
    bench.send(later, years + 120)
    figures = bench.lane.index.figures()
    assert (figures.labels["joined"], figures.rows) == (4_000, 4_000)
    assert 2.5 * DAY < figures.delay_seconds / 4_000 < 3 * DAY
    bench.send(silent(scored(500, 9, start=years)), years + 180)  # the present again
    assert bench.lane.index.figures().rows == 500


def test_labels_may_come_with_columns_that_the_model_does_not_know(bench: Bench) -> None:
    rows = scored(100, 9)
    bench.send(silent(rows))
    panes = bench.panes
    bench.send(labels(rows).append_column("labeller", pa.array(["ana"] * 100)))
    assert bench.lane.index.figures().labels["joined"] == 100
    assert bench.panes == panes


def test_rows_without_a_time_can_be_put_on_a_checkpoint(tmp_path: Path) -> None:
    timeless = scored(2_000, 0).drop_columns(["ts"])
    bench = Bench(tmp_path, timeless)
    bench.send(scored(300, 1).drop_columns(["ts"]))
    bench.agent.checkpoint()
    assert bench.store.load() is not None
    bench.stop()
