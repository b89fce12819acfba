"""The outcome lane when a disk or a clock fails, or a reference changes: what waits is kept, the rest counted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monitor.errors import StoreError
from monitor.outcomes.realised import Realised
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
        one.send(labels(scored(1, 9)), NOW + 2 * DAY)
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
    again.send(labels(scored(1, 9)), NOW + 2 * DAY)
    assert confirmed(again).figures["accuracy"].n == 600


def test_of_a_cohort_that_predictions_have_left_nothing_is_told_after_counting_anew(make: Callable[..., Bench]) -> None:
    """An index of 600 rows: of the first 600 only the newest 200 are there when another layout counts them."""
    bench = make(labels={"hours": 24, "rows": 600})
    first, then = scored(600, 1), scored(400, 2, start=NOW + DAY / 2)
    bench.send(first)
    bench.send(then, NOW + DAY / 2 + 60)
    assert confirmed(bench).figures["accuracy"].n == 1_000
    lane = bench.lane
    lane._recount()
    assert confirmed(bench).figures["accuracy"].n == 400
    bench.agent.checkpoint()
    bench.stop()
    assert confirmed(make(labels={"hours": 24, "rows": 600})).figures["accuracy"].n == 400
