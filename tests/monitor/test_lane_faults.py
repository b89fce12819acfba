"""The outcome lane when a disk or a clock fails, or a reference changes: what waits is kept, the rest counted."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monitor.errors import StoreError
from monitor.interventions import Wanted
from monitor.loading import measure_batches
from monitor.outcomes import rowlog
from monitor.outcomes.realised import Realised
from monitor.watched import Act
from tests.monitor.lane_bench import DAY, NOW, Bench, labels, scored, silent

REFERENCE = scored(4_000, 0)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """A maker of agents; all are stopped at the end."""
    made: list[Bench] = []

    def begin(name: str = "one", reference: pa.Table = REFERENCE, **model: Any) -> Bench:
        made.append(Bench(tmp_path / name, reference, **model))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def confirmed(bench: Bench) -> Any:
    return bench.lane.confirmed


def test_a_fault_that_passes_at_a_start_costs_nothing(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    bench.send(silent(scored(500, 1)))
    states = bench.lane.states()
    bench.lane.close()
    real = os.open

    def crowded(path: Any, *rest: Any, **named: Any) -> int:
        if str(path).endswith(".rows"):
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path, *rest, **named)

    monkeypatch.setattr(os, "open", crowded)
    with pytest.raises(StoreError, match="start again once it can"):
        bench.lane.restore(states)
    monkeypatch.undo()
    bench.lane.restore(states)
    assert bench.lane.index.figures().rows == 500


@pytest.mark.parametrize("times", [1, 2])
def test_counts_that_failed_halfway_are_made_anew(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """After ``times`` parts of an addition: a correction is out and not in, or half of the rows are counted."""
    whole, bench = make("whole", labels={"hours": 24}), make(labels={"hours": 24})
    rows = scored(600, 1)
    wrong = labels(rows).set_column(1, "truth", pa.array([0] * 600))
    for one in (whole, bench):
        one.send(silent(rows))
        one.send(wrong)
    real, calls = Realised._add, 0

    def halfway(*given: Any) -> None:
        nonlocal calls
        calls += 1
        real(*given)
        if calls == times:
            raise MemoryError

    monkeypatch.setattr(Realised, "_add", halfway)
    bench.send(labels(rows))
    monkeypatch.undo()
    whole.send(labels(rows))
    for one in (whole, bench):
        one.send(labels(scored(1, 9)), NOW + DAY / 2)
    assert bench.lane.failures == 1
    assert confirmed(bench) is None  # nothing is told of counts that may be wrong
    bench.agent.checkpoint()
    assert confirmed(bench) == confirmed(whole)
    assert confirmed(bench).figures["accuracy"].n == 600


def test_counts_in_doubt_are_in_no_checkpoint(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench, rows = make(labels={"hours": 24}), scored(600, 1)
    bench.send(silent(rows))

    def broken(*_: object) -> None:
        raise StoreError("store.path: cannot be read")

    monkeypatch.setattr(Realised, "add", broken)
    monkeypatch.setattr(Realised, "rebuild", broken)
    bench.send(labels(rows))
    bench.agent.checkpoint()
    assert (bench.lane.failures, bench.agent.saving.progress.failures) == (2, 0)
    monkeypatch.undo()
    bench.stop()
    again = make(labels={"hours": 24})
    again.send(labels(scored(1, 9)), NOW + DAY / 2)
    assert confirmed(again).figures["accuracy"].n == 600


def test_of_a_cohort_that_predictions_have_left_nothing_is_told_after_counting_anew(make: Callable[..., Bench]) -> None:
    """An index of 600 rows: of the first 600 only the newest 200 are there when another layout counts them."""
    bench = make(labels={"hours": 24, "rows": 600})
    first, then = scored(600, 1), scored(400, 2, start=NOW + DAY / 2)
    bench.send(first)
    bench.send(then, NOW + DAY / 2 + 60)
    bench.send(labels(scored(1, 9)), NOW + DAY / 2 + 3_600)
    assert confirmed(bench).figures["accuracy"].n == 1_000
    lane = bench.lane
    lane._recount()
    assert confirmed(bench).figures["accuracy"].n == 400
    bench.agent.checkpoint()
    bench.stop()
    assert confirmed(make(labels={"hours": 24, "rows": 600})).figures["accuracy"].n == 400


def adopt(bench: Bench, reference: pa.Table) -> None:
    """Another reference is in force, and no checkpoint knows of it yet."""
    watched = bench.agent.models["m"]
    fitted = measure_batches(reference.combine_chunks().to_batches(), watched.model)
    act = Act("an-act", "m", "a test", "ana", 0, NOW)
    bench.agent.references.adopt(watched, act, fitted, bench.agent.config)


def replace(bench: Bench, **section: Any) -> None:
    """Reload with other labels, whatever becomes of the checkpoint."""
    (model,) = bench.config.models
    given = model.model_dump(mode="json") | {"labels": model.labels.model_dump() | section, "top_features": 3}
    config = bench.config.model_copy(update={"models": (type(model).model_validate(given),)})
    bench.agent.replace(config, [bench.agent.watch(config.models[0], config)])


def broken(*_: object) -> None:
    raise OSError(errno.EIO, "Input/output error")


def test_a_crash_between_a_re_baseline_and_its_checkpoint_loses_nothing(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rowlog, "FILE_ROWS", 256)
    bench = make(labels={"rows": 300})
    bench.send(silent(scored(400, 1)))
    bench.agent.checkpoint()
    bench.send(silent(scored(300, 2)))  # the first files are not needed any more but by the checkpoint
    adopt(bench, scored(4_000, 3))
    bench.stop()
    again = make(labels={"rows": 300})
    assert again.lane.index.figures().rows == 300
    again.send(labels(scored(400, 1)))
    assert again.lane.index.figures().labels["joined"] == 300


@pytest.mark.parametrize("name", ["fsync", "pread"])
def test_a_disk_that_fails_while_a_reference_changes_costs_nothing(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """By rows: the reference is in force, and the predictions that wait get their labels; over a restart too."""
    bench, rows = make(labels={"hours": 24}), scored(600, 1)
    bench.send(rows)
    real = getattr(os, name)

    def failing(target: Any, *rest: Any, **named: Any) -> Any:
        inside = str(Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else target)
        return broken() if "/outcomes/" in inside else real(target, *rest, **named)

    monkeypatch.setattr(os, name, failing)
    adopt(bench, numbered_as_scored())
    monkeypatch.undo()
    assert bench.lane.index.figures().rows == 600
    bench.send(labels(rows), NOW + 3_600)
    bench.agent.checkpoint()
    assert confirmed(bench).figures["accuracy"].n == 600
    bench.stop()
    assert confirmed(make(labels={"hours": 24})).figures["accuracy"].n == 600


def numbered_as_scored() -> pa.Table:
    """A reference of another layout: scores of another spread."""
    rows = scored(4_000, 3)
    flat = pa.array(0.5 + 0.2 * (rows["score"].to_numpy() - 0.5))
    return rows.set_column(rows.column_names.index("score"), "score", flat)


def test_a_re_baseline_by_rows_takes_over_on_a_full_disk(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    bench.agent.intervene(Wanted("rebaseline", "m", "a test", "ana", {"rows": 1_000}))
    real = os.fsync

    def full(target: int) -> None:
        if "/outcomes/" in str(Path(f"/proc/self/fd/{target}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(target)

    monkeypatch.setattr(os, "fsync", full)
    for seed in range(1, 4):
        bench.send(silent(scored(500, seed)))
    monkeypatch.undo()
    assert bench.agent.models["m"].tally.rebaselined == 1
    books = bench.intake.ledger.snapshot().accounts["http", "m"]
    assert (books.processed_rows, sum(books.discarded_rows.values())) == (1_500, 0)
    assert bench.lane.index.figures().rows >= 1_000


def test_an_index_that_means_something_else_begins_behind_the_other(
    make: Callable[..., Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the old one go with the checkpoint that does without them, and what was counted goes on."""
    bench = make()
    bench.send(silent(scored(300, 1)))
    bench.send(labels(scored(100, 1)))
    bench.agent.checkpoint()
    folder = tmp_path / "one" / "state" / "outcomes" / "m"
    before = sorted(folder.rglob("*.rows"))
    monkeypatch.setattr(bench.agent.saving, "write", lambda _: None)
    replace(bench, hours=5.0)
    monkeypatch.undo()
    assert set(before) <= set(folder.rglob("*.rows"))
    bench.send(silent(scored(200, 2)))
    bench.agent.checkpoint()
    assert not set(before) & set(folder.rglob("*.rows"))
    figures = bench.lane.index.figures()
    assert (figures.rows, figures.predictions["kept"], figures.left) == (200, 500, {"labelled": 100, "unlabelled": 200})
    bench.stop()
    assert make(labels={"hours": 5.0}).lane.index.figures().rows == 200


def test_a_reload_changes_the_number_of_rows_in_place(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(labels={"rows": 400})
    bench.send(silent(scored(300, 1)))
    bench.send(labels(scored(300, 1).slice(0, 200)))
    replace(bench, rows=5_000)
    bench.send(silent(scored(600, 2)))
    assert (bench.lane.index.figures().rows, bench.lane.index.figures().labelled) == (900, 200)
    monkeypatch.setattr(os, "pread", broken)
    replace(bench, rows=350)
    monkeypatch.undo()
    assert (bench.lane.failures, bench.lane.index.figures().rows) == (1, 900)  # as large as it was
    replace(bench, rows=300)
    bench.send(silent(scored(100, 3)))
    assert bench.lane.index.figures().rows == 300
    bench.send(labels(scored(600, 2)))
    assert bench.lane.index.figures().labelled == 200


def test_a_new_lane_on_a_disk_that_cannot_be_written_begins_without_it(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make(labels={"rows": 0})
    monkeypatch.setattr(rowlog.RowLog, "restore", broken)
    replace(bench, rows=1_000)
    monkeypatch.undo()
    assert bench.lane.failures == 1
    bench.send(silent(scored(300, 1)))
    assert bench.lane.index.figures().rows == 300


def test_rows_that_complete_a_re_baseline_wait_for_their_labels(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.agent.intervene(Wanted("rebaseline", "m", "a test", "ana", {"rows": 1_000}))
    for seed in range(1, 4):
        bench.send(silent(scored(600, seed)))
        bench.send(labels(scored(600, seed)))
    assert bench.agent.models["m"].tally.rebaselined == 1
    figures = bench.lane.index.figures()
    assert (figures.predictions["kept"], figures.labels["joined"]) == (1_800, 1_800)


def test_labels_that_cannot_be_joined_are_not_called_processed(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make()
    bench.send(silent(scored(300, 1)))
    monkeypatch.setattr(bench.lane.index, "labelled", broken)
    bench.send(labels(scored(300, 1)))
    books = bench.intake.ledger.snapshot().accounts["http", "m"]
    assert (books.processed_rows, books.discarded_rows["decode_error"]) == (300, 300)


def test_failures_go_on_over_a_re_baseline(make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make()
    estimates = bench.side.estimates
    assert estimates is not None
    bench.side.beside.failures, estimates.counter.failures = 2, 3
    monkeypatch.setattr(bench.lane.index, "predicted", broken)
    bench.send(silent(scored(200, 1)))
    monkeypatch.undo()
    for reference in (scored(4_000, 3), silent(scored(4_000, 4))):  # the second leaves nothing to estimate by
        adopt(bench, reference)
        assert bench.lane.failures == 1
        assert bench.performance["driftwarden_performance_estimate_failures_total"] == [(("m",), 5)]


def test_the_folder_of_a_model_without_labels_goes_with_the_checkpoint(
    make: Callable[..., Bench], tmp_path: Path
) -> None:
    folder = tmp_path / "one" / "state" / "outcomes"
    (folder / "gone").mkdir(parents=True)  # of a model that the configuration does not name any more
    bench = make()
    bench.send(silent(scored(200, 1)))
    assert (folder / "gone").is_dir()
    bench.agent.checkpoint()
    assert [one.name for one in folder.iterdir()] == ["m"]
    replace(bench, rows=0)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("before", [0, 1])
def test_labels_after_a_quiet_night_are_late_whatever_came_before_them(make: Callable[..., Bench], before: int) -> None:
    """Predictions are kept for two hours: labels of twelve hours later have nothing to join."""
    bench = make(labels={"hours": 2})
    bench.send(silent(scored(500, 1)))
    night = NOW + DAY / 2
    if before:
        bench.send(silent(scored(before, 99, start=night - 60)), night - 1)
    bench.send(labels(scored(500, 1)), night)
    figures = bench.lane.index.figures()
    assert (figures.rows, figures.labels["joined"], figures.left["unlabelled"]) == (before, 0, 500)


def test_one_time_that_cannot_be_true_does_not_end_history(make: Callable[..., Bench]) -> None:
    bench, years = make(labels={"hours": 240}), NOW + 5 * 365 * DAY
    for day in range(4):
        rows = silent(scored(500, day + 1, start=NOW + day * DAY))
        moments = rows["ts"].to_numpy().copy()
        moments[0] = years + (70 * 365 * DAY if day == 3 else -DAY)  # a year of the next century, and one that may be
        bench.send(rows.set_column(0, "ts", pa.array(moments)), years)
    bench.send(labels(scored(500, 1)), years)
    figures = bench.lane.index.figures()
    assert (figures.rows, figures.labels["joined"]) == (2_000, 500)
    assert figures.delay_seconds / 500 < 5 * DAY


def test_history_goes_on_after_a_restart(make: Callable[..., Bench]) -> None:
    bench, years = make(labels={"hours": 24}), NOW + 2 * 365 * DAY
    bench.send(silent(scored(500, 1)), years)
    bench.agent.checkpoint()
    bench.stop()
    again = make(labels={"hours": 24})
    again.send(labels(scored(500, 1)), years + 60)
    assert again.lane.index.figures().labels["joined"] == 500


def test_a_clock_that_was_ahead_is_put_right(make: Callable[..., Bench]) -> None:
    """Afterwards rows leave when they should, and nothing counts as complete because its time seems over."""
    bench = make(labels={"hours": 48})
    ahead = scored(10, 2, start=NOW + 365 * DAY)
    for part in (silent(ahead), labels(ahead)):
        bench.send(part, NOW + 365 * DAY)
    bench.agent.checkpoint()
    bench.stop()
    bench = make(labels={"hours": 48})
    rows = scored(1_000, 3)
    for part in (silent(rows), labels(rows.slice(0, 30))):
        bench.send(part)
    index = bench.lane.index
    assert (index.now, confirmed(bench), index.cohorts().predicted.sum()) == (NOW + 60, None, 1_000)
    bench.send(labels(rows))
    bench.send(labels(scored(1, 9)), NOW + DAY)
    bench.agent.checkpoint()
    assert confirmed(bench).figures["accuracy"].n == 1_000
    bench.send(silent(scored(5, 4, start=NOW + 3 * DAY)), NOW + 3 * DAY)
    assert index.figures().rows == 5


def test_a_time_that_is_to_come_is_forgotten_at_a_start(make: Callable[..., Bench]) -> None:
    soon = time.time() + 365 * DAY
    bench = make(labels={"hours": 48})
    bench.send(silent(scored(10, 2, start=soon)), soon + 60)
    assert bench.lane.index.now == soon + 60
    bench.agent.checkpoint()
    bench.stop()
    bench = make(labels={"hours": 48})
    assert bench.lane.index.now <= time.time()
    assert len(bench.lane.index.cohorts().number) == 0
