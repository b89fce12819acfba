"""Estimates and figures by labels side by side: which belong together, what estimates were off by, and what follows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detectors.performance.past import past
from detectors.performance.types import Figure
from monitor.outcomes import timeline
from monitor.outcomes.timeline import LEAST, MOST, MOST_OLD, Timeline, Truth, Window, pairs_of
from tests.monitor.lane_bench import NOW, Bench, labels, scored, silent

HOUR = 3600.0


def figure(value: float, error: float = 0.01, n: int = 1000) -> dict[str, Figure]:
    return {"accuracy": Figure("accuracy", value, value - 2 * error, value + 2 * error, error, n)}


def window(start: float, end: float, value: float, stream: str = "all", **more: Any) -> Window:
    return Window(stream, start * HOUR, end * HOUR, figure(value, **more))


def truths(values: Mapping[int, float], **more: Any) -> dict[int, Truth]:
    return {c: Truth(c * HOUR, (c + 1) * HOUR, 10, figure(value, **more)) for c, value in values.items()}


def values(windows: list[Window], known: dict[int, Truth]) -> list[tuple[float, float]]:
    found = pairs_of(windows, known, HOUR)["accuracy"]
    return [(round(one, 6), round(other, 6)) for one, other in zip(*found[:2], strict=True)]


def test_windows_shorter_than_a_cohort_stand_for_it_together() -> None:
    some = [window(0.1, 0.2, 0.7), window(0.5, 0.7, 0.9), window(0.95, 1.15, 0.5), window(2.2, 2.4, 0.1)]
    assert values(some, truths({0: 0.75, 1: 0.6})) == [(0.8, 0.75), (0.5, 0.6)]


def test_windows_longer_than_a_cohort_stand_for_all_that_they_span_and_none_counts_twice() -> None:
    some = [window(0.1, 3.1, 0.7), window(1.1, 4.1, 0.8), window(3.0, 6.0, 0.9)]
    known = truths(dict.fromkeys(range(6), 0.5) | {0: 0.8})
    assert values(some, known) == [(0.7, 0.6), (0.9, 0.5)]
    del known[4]
    assert values(some, known) == [(0.7, 0.6)], "a stretch with a cohort that is not complete is not judged"


def test_versions_count_by_their_rows_a_second() -> None:
    some = [window(0.0, 0.5, 0.9, "v1", n=3000), window(0.0, 0.5, 0.5, "v2", n=1000)]
    assert values(some, truths({0: 0.8})) == [(0.8, 0.8)]


def test_errors_of_one_reference_go_together_and_those_of_cohorts_do_not() -> None:
    found = pairs_of([window(0, 4, 0.7)], truths(dict.fromkeys(range(4), 0.7)), HOUR)["accuracy"]
    assert found.error == pytest.approx([0.01])
    assert found.floor == pytest.approx([0.005])


def test_many_windows_are_thinned_evenly_and_the_newest_stays() -> None:
    some = [window(place / 10, place / 10 + 0.1, 0.7) for place in range(MOST + 300)]
    kept = timeline._thinned(some)
    assert len(kept) == MOST
    assert kept[-1] == some[-1]
    gaps = np.diff([one.middle for one in kept])
    assert gaps.max() <= 3.01 * gaps.min()


@pytest.mark.parametrize("off", [0.0, 0.05])
def test_only_an_excess_that_chance_does_not_explain_is_taken_on(off: float) -> None:
    rng = np.random.default_rng(3)
    made = Timeline(1)
    made.windows = tuple(window(c, c + 0.5, 0.8 + off + rng.normal(0, 0.007)) for c in range(40))
    made.truths = truths({c: 0.8 + rng.normal(0, 0.007) for c in range(40)})
    made.reconcile(HOUR)
    assert made.past["accuracy"].n == 40
    assert made.excess.get("accuracy", 0.0) == pytest.approx(off, abs=0.01)
    assert bool(made.excess) == (off > 0)


def test_few_stretches_change_no_estimate() -> None:
    made = Timeline(1)
    made.windows = tuple(window(c, c + 0.5, 0.95) for c in range(LEAST - 1))
    made.truths = truths(dict.fromkeys(range(LEAST - 1), 0.7))
    made.reconcile(HOUR)
    assert made.past["accuracy"].n == LEAST - 1
    assert made.excess == {}


def test_chance_alone_takes_on_an_excess_in_fewer_than_one_case_of_a_hundred() -> None:
    rng = np.random.default_rng(8)
    sure = 0
    for _ in range(2000):
        off = rng.normal(0, np.hypot(0.01, 0.02), LEAST)
        sure += past(off, np.zeros(LEAST), np.full(LEAST, 0.01), np.full(LEAST, 0.02)).log_p_excess < timeline.LEVEL
    assert sure <= 8  # 2 are expected


def test_a_state_is_gone_on_with_and_that_of_another_reference_is_not() -> None:
    made = Timeline(1)
    made.windows = tuple(window(c, c + 0.5, 0.95) for c in range(8))
    made.truths = truths(dict.fromkeys(range(8), math.nan)) | truths(dict.fromkeys(range(7), 0.7))
    made.reconcile(HOUR)
    again, other = Timeline(1), Timeline(2)
    again.restore(made.state(), HOUR)
    other.restore(made.state(), HOUR)
    assert again.state() == made.state()
    assert again.past == made.past
    assert again.excess == made.excess
    assert other.windows == ()
    assert other.truths == {}


def test_what_the_index_follows_no_more_stays_in_ever_longer_stretches() -> None:
    kept: tuple[Truth, ...] = ()
    for one in truths({c: c / 10_000 for c in range(3 * MOST_OLD)}).values():
        kept = timeline._merged((*kept, one))
    assert len(kept) == MOST_OLD
    assert [one.start for one in kept[1:]] == [one.end for one in kept[:-1]], "without a gap"
    assert max(one.end - one.start for one in kept) <= 4 * HOUR
    assert sum(one.labelled for one in kept) == 3 * MOST_OLD * 10
    first = kept[0].figures["accuracy"]
    assert first.n == 4000
    assert first.value == pytest.approx(0.00015)
    assert first.error == pytest.approx(0.005)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = begun(tmp_path)
    yield made
    made.stop()


def begun(folder: Path) -> Bench:
    return Bench(folder, scored(8_000, 0), pane={"rows": 500}, window={"panes": 2}, labels={"hours": 2})


def test_a_relation_that_changes_unseen_is_told_once_labels_come_and_widens_later_estimates(bench: Bench) -> None:
    """Labels come an hour late; what they follow from is turned around, which no estimate can see."""
    estimates = bench.side.estimates
    assert estimates is not None
    errors = []
    for hour in range(12):
        rows = scored(1_000, 10 + hour, start=NOW + 60 * hour)
        truth = rows["truth"].to_numpy()
        wrong = np.random.default_rng(hour).random(1_000) < 0.3
        rows = rows.set_column(rows.column_names.index("truth"), "truth", [np.where(wrong, 1 - truth, truth)])
        bench.send(silent(rows), NOW + 60 * (hour + 1))
        assert estimates.wait(60)
        bench.send(labels(rows), NOW + 60 * (hour + 2))
        errors.append(estimates.told["all"].estimate.figures["accuracy"].error)
    bench.side.states()
    told = {name: value for name, value in series(bench).items() if "past" in name}
    assert told["past_stretches"] >= LEAST
    assert told["past_bias"] == pytest.approx(0.3 * (2 * 0.77 - 1), abs=0.03)  # of the 0.77 that were right
    assert told["past_error"] == told["past_bias"]
    assert told["past_within_ratio"] == 0
    newest = estimates.told["all"].estimate
    assert newest.figures["accuracy"].error > 3 * errors[0]
    assert "past_errors" in newest.reliability.doubts


def series(bench: Bench) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, samples in bench.performance.items():
        for labelled, value in samples:
            if labelled[-1] == "accuracy":
                assert isinstance(value, int | float)
                found[name.removeprefix("driftwarden_performance_")] = value
    return found


def test_a_restart_goes_on_with_what_was_known(tmp_path: Path) -> None:
    bench = begun(tmp_path)
    for minute in range(4):
        bench.send(scored(1_000, 10 + minute, start=NOW + 60 * minute), NOW + 60 * (minute + 1))
        assert bench.side.estimates is not None
        assert bench.side.estimates.wait(60)
    bench.agent.checkpoint()
    known = bench.side.timeline
    assert len(known.truths) >= 3
    assert known.past["accuracy"].n >= 3
    bench.stop()
    again = begun(tmp_path)
    assert len(again.side.timeline.windows) == len(known.windows)
    assert again.side.timeline.past == known.past
    again.stop()
