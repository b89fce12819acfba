"""The index of labels: what it gives is what a batch computation over all rows would, in whatever order they came."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.outcomes.index import Index
from monitor.outcomes.joined import Values
from monitor.outcomes.truths import Truths
from tests.monitor.outcomes_bench import (
    FIELDS,
    KEY,
    NOW,
    Batch,
    Follower,
    Label,
    Oracle,
    Prediction,
    feed,
    opened,
    stream,
)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    one = opened(tmp_path)
    yield one
    one.close()


def predicted(*ids: str, score: float = 0.75, time: float = NOW, now: float = NOW) -> Batch:
    return Batch(now, tuple(Prediction(one, time, score) for one in ids))


def labelled(*ids: str, truth: float = 1.0, time: float = math.inf, now: float = NOW) -> Batch:
    return Batch(now, tuple(Label(one, truth, time) for one in ids))


def test_a_label_meets_its_prediction_with_what_was_kept_of_it(index: Index) -> None:
    feed(index, predicted("a", time=NOW - 90, score=1 / 3))
    joined = feed(index, labelled("a", truth=2.0, now=NOW + 10))
    assert joined.rows == 1
    assert joined.values["score"] == 1 / 3
    assert [*joined.time, *joined.truth, *joined.delay] == [NOW - 90, 2.0, 100.0]
    assert np.isnan(joined.before)


def test_not_labelled_yet_is_in_no_answer(index: Index) -> None:
    feed(index, predicted("a", "b", "c"))
    assert feed(index, labelled("b")).rows == 1
    assert [len(row.truth) for row in index.rows()] == [3]
    assert [np.isnan(row.truth).tolist() for row in index.rows()] == [[True, False, True]]
    assert (index.figures().rows, index.figures().labelled) == (3, 1)


def test_a_label_that_is_faster_than_its_prediction_waits_for_it(index: Index) -> None:
    assert feed(index, labelled("a", truth=1.0)).rows == 0
    assert index.figures().waiting == 1
    joined = feed(index, predicted("a", now=NOW + 5))
    assert joined.truth.tolist() == [1.0]
    assert index.figures().waiting == 0
    assert index.figures().labels["joined"] == 1


def test_a_label_that_waits_can_be_corrected(index: Index) -> None:
    feed(index, labelled("a", truth=1.0))
    feed(index, labelled("a", truth=0.0, now=NOW + 1))
    feed(index, labelled("a", truth=1.0, time=NOW - 9, now=NOW + 2))
    assert index.figures().waiting == 1
    assert feed(index, predicted("a", now=NOW + 5)).truth == 0.0
    assert index.figures().labels == {
        **dict.fromkeys(index.figures().labels, 0),
        "joined": 1,
        "corrected": 1,
        "stale": 1,
    }


def test_a_correction_says_what_it_replaces(index: Index) -> None:
    feed(index, predicted("a"))
    feed(index, labelled("a", truth=1.0))
    joined = feed(index, labelled("a", truth=0.0, now=NOW + 1))
    assert [*joined.truth, *joined.before] == [0.0, 1.0]
    assert feed(index, labelled("a", truth=0.0, now=NOW + 2)).rows == 0
    counts = index.figures().labels
    assert (counts["joined"], counts["corrected"], counts["repeated"]) == (1, 1, 1)


def test_several_labels_of_one_id_in_a_delivery_count_as_one_after_the_other(index: Index) -> None:
    feed(index, predicted("a"))
    rows = tuple(Label("a", truth, NOW - age) for truth, age in ((0.0, 30), (1.0, 10), (0.0, 20), (1.0, 5)))
    joined = feed(index, Batch(NOW, rows))
    assert joined.truth.tolist() == [1.0]
    counts = index.figures().labels
    assert (counts["joined"], counts["corrected"], counts["stale"], counts["repeated"]) == (1, 1, 1, 1)


def test_an_older_label_changes_nothing_even_if_the_newer_one_only_said_it_again(index: Index) -> None:
    feed(index, predicted("a"))
    feed(index, labelled("a", truth=1.0, time=NOW - 30))
    feed(index, labelled("a", truth=1.0, time=NOW - 10))
    assert feed(index, labelled("a", truth=0.0, time=NOW - 20)).rows == 0
    assert index.figures().labels["stale"] == 1


def test_of_two_predictions_with_one_id_the_first_counts(index: Index) -> None:
    feed(index, predicted("a", score=0.25))
    feed(index, predicted("a", score=0.25, time=NOW + 3))
    feed(index, predicted("a", score=0.5))
    assert feed(index, labelled("a")).values["score"] == 0.25
    counts = index.figures().predictions
    assert (counts["kept"], counts["repeated"], counts["conflicting"]) == (1, 1, 1)


def test_which_predictions_are_new_is_told_row_by_row(index: Index) -> None:
    ids = pa.array(["a", "b", "a", None, "c"])
    values: Values = {"prediction": np.zeros(5), "score": np.zeros(5), "stratum": np.zeros(5, np.int32)}
    assert index.predicted(ids, None, values, NOW).fresh.tolist() == [True, True, False, False, True]
    assert index.predicted(ids, None, values, NOW).fresh.sum() == 0


def test_a_missing_score_is_kept_as_it_is_and_is_the_same_when_it_comes_again(index: Index) -> None:
    values: Values = {"prediction": np.zeros(1), "score": np.array([np.nan]), "stratum": np.zeros(1, np.int32)}
    index.predicted(pa.array(["a"]), None, values, NOW)
    index.predicted(pa.array(["a"]), None, values, NOW)
    assert index.figures().predictions["repeated"] == 1
    assert np.isnan(feed(index, labelled("a")).values["score"])


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (Label("a", None, NOW), "missing"),
        (Label("a", math.inf, NOW), "wrong_type"),
        (Label(None, 1.0, NOW), "no_id"),
        (Label("", 1.0, NOW), "no_id"),
    ],
)
def test_what_is_no_label_is_counted_and_joins_nothing(index: Index, label: Label, reason: str) -> None:
    feed(index, predicted("a"))
    assert feed(index, Batch(NOW, (label,))).rows == 0
    assert index.figures().labels == {**dict.fromkeys(index.figures().labels, 0), reason: 1}


@pytest.mark.parametrize("seed", range(12))
def test_every_row_is_where_a_plain_account_has_it(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index, oracle, follower = opened(tmp_path), Oracle(), Follower()
    batches = stream(rng, 250, int(rng.integers(1, 300)))
    for batch in batches:
        follower.take(feed(index, batch))
    oracle.feed(batches)
    figures = index.figures()
    assert follower.outcomes == oracle.outcomes
    assert [figures.predictions, figures.labels] == oracle.counts[:2]
    assert figures.waiting == len(oracle.labels.keys() - oracle.predictions.keys())
    held = {s: (t, y) for row in index.rows() for s, t, y in zip(row.values["score"], row.time, row.truth, strict=True)}
    assert {score: one for score, one in held.items() if not np.isnan(one[1])} == oracle.outcomes
    index.close()


@pytest.mark.parametrize("seed", range(6))
def test_figures_are_those_of_a_clean_batch_computation_in_any_order(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    batches = stream(rng, 200, 20)
    first = {row.id: row for batch in batches for row in batch.rows if isinstance(row, Prediction) and row.id}
    final: dict[str, Label] = {}
    for row in (row for batch in batches for row in batch.rows):
        if isinstance(row, Label) and row.id in first and row.truth is not None and math.isfinite(row.truth):
            final[row.id] = max(row, final.get(row.id, row), key=lambda one: one.time)
    wanted = sum((label.truth or 0.0) == 1.0 for label in final.values())
    seen = set()
    for turn in range(4):
        order = rng.permutation(len(batches))
        follower, index = Follower(), opened(tmp_path / str(turn))
        for now, place in enumerate(order):
            follower.take(feed(index, Batch(NOW + 1e6 + now, batches[place].rows)))
        index.close()
        assert len(follower.outcomes) == len(final)
        assert sum(count for (_, truth), count in follower.counted.items() if truth == 1.0) == wanted
        assert min(follower.counted.values()) >= 0
        # the scores of conflicting predictions depend on which came first, the labels on nothing
        seen.add(tuple(sorted(truth for _, truth in follower.outcomes.values())))
    assert len(seen) == 1


def test_every_label_is_counted_once(tmp_path: Path) -> None:
    batches = stream(np.random.default_rng(5), 400, 37)
    index = opened(tmp_path, rows=200, hours=300.0)
    for batch in batches:
        feed(index, batch)
    figures = index.figures()
    labels = sum(len(batch.rows) for batch in batches if isinstance(batch.rows[0], Label))
    assert figures.labels["unknown_id"] > 0
    assert sum(figures.labels.values()) + figures.waiting == labels
    assert sum(figures.predictions.values()) == sum(len(batch.rows) for batch in batches) - labels
    assert figures.predictions["kept"] == figures.rows + figures.left["labelled"] + figures.left["unlabelled"]
    assert figures.rows <= 200
    assert figures.waiting <= 10
    index.close()


def test_a_label_a_year_late_is_joined(tmp_path: Path) -> None:
    index = opened(tmp_path, hours=24 * 400)
    feed(index, predicted("a", "b"))
    year = 365 * 86_400
    for day in range(0, 366, 5):
        feed(index, predicted(f"day {day}", now=NOW + day * 86_400))
    joined = feed(index, labelled("a", now=NOW + year))
    assert joined.delay.tolist() == [year]
    index.close()


def test_rows_leave_after_their_hours_and_never_before(tmp_path: Path) -> None:
    index = opened(tmp_path, hours=10.0)
    for minute in range(0, 600, 10):
        feed(index, predicted(f"m{minute}", now=NOW + minute * 60))
    hour = 3600.0
    assert feed(index, labelled("m0", now=NOW + 10 * hour)).rows == 1
    assert feed(index, labelled("m0", truth=0.0, now=NOW + 10.1 * hour)).rows == 0
    assert feed(index, labelled("m10", now=NOW + 10.1 * hour)).rows == 1
    assert index.figures().left == {"labelled": 1, "unlabelled": 0}
    feed(index, labelled("nobody", now=NOW + 30 * hour))
    assert (index.figures().rows, index.figures().left) == (0, {"labelled": 2, "unlabelled": 58})
    index.close()


def test_a_label_that_nobody_asked_about_is_unknown_once_it_has_waited(tmp_path: Path) -> None:
    index = opened(tmp_path, hours=10.0)
    feed(index, labelled("a"))
    assert index.figures().labels["unknown_id"] == 0
    feed(index, predicted("b", now=NOW + 11 * 3600))
    assert (index.figures().labels["unknown_id"], index.figures().waiting) == (1, 0)
    assert feed(index, predicted("a", now=NOW + 11 * 3600)).rows == 0
    index.close()


def test_the_oldest_rows_make_room(tmp_path: Path) -> None:
    index = opened(tmp_path, rows=100)
    for start in range(0, 250, 5):
        feed(index, predicted(*(f"r{one}" for one in range(start, start + 5))))
    assert index.figures().rows == 100
    assert feed(index, labelled("r149")).rows == 0
    assert feed(index, labelled("r150")).rows == 1
    assert feed(index, predicted("r0", score=0.5)).rows == 0  # its id is free again
    assert index.figures().predictions["conflicting"] == 0
    index.close()


def test_strangers_labels_push_no_prediction_out(tmp_path: Path) -> None:
    index = opened(tmp_path, rows=100)
    feed(index, predicted(*(f"r{one}" for one in range(100))))
    for one in range(500):
        feed(index, labelled(f"nobody {one}"))
    figures = index.figures()
    assert (figures.rows, figures.waiting, figures.labels["unknown_id"]) == (100, 5, 495)
    index.close()


def test_an_event_time_of_no_use_is_the_time_of_arrival(index: Index) -> None:
    for number, time in enumerate((math.nan, NOW + 1e9, -1e300, 9e15)):
        feed(index, predicted(str(number), time=time))
    assert feed(index, labelled(*"0123", now=NOW + 7)).delay.tolist() == [7.0] * 4
    feed(index, predicted("soon", time=NOW + 60))
    assert feed(index, labelled("soon", now=NOW + 7)).delay == 0.0


def test_a_label_from_the_future_does_not_count_for_ever(index: Index) -> None:
    feed(index, predicted("a"))
    feed(index, labelled("a", truth=1.0, time=NOW + 1e9))
    assert feed(index, labelled("a", truth=0.0, now=NOW + 60)).before == 1.0


def test_time_never_goes_back(index: Index) -> None:
    feed(index, predicted("a", now=NOW + 1000))
    assert feed(index, labelled("a", now=NOW - 1000)).rows == 1
    assert index.figures().delay_seconds == 1000.0


def test_fields_may_be_vectors(tmp_path: Path) -> None:
    index = Index(tmp_path, {"probabilities": ("f4", (3,))}, key=KEY, rows=100, hours=1.0)
    index.restore(None)
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    index.predicted(pa.array(["a", "b"]), None, {"probabilities": rows}, NOW)
    index.predicted(pa.array(["a"]), None, {"probabilities": rows[:1]}, NOW)
    joined = index.labelled(pa.array(["b"]), Truths(np.ones(1), np.zeros(1, bool)), NOW)
    assert joined.values["probabilities"].tolist() == [[3.0, 4.0, 5.0]]
    assert index.figures().predictions["repeated"] == 1
    index.close()


def test_corrections_do_not_pile_up(tmp_path: Path) -> None:
    index = opened(tmp_path, rows=20_000)
    ids = [f"r{one}" for one in range(5000)]
    feed(index, predicted(*ids))
    for turn in range(40):
        assert feed(index, labelled(*ids, truth=float(turn % 2), now=NOW + turn)).rows == 5000
    book = index._matching.book.log
    assert book.end - book.first <= 1.25 * 5000 + 5000
    truth = {float(one) for row in index.rows() for one in row.truth}
    assert truth == {1.0}
    index.close()


def test_nothing_is_a_delivery_too(index: Index) -> None:
    nothing = pa.array([], pa.string())
    kept = index.predicted(nothing, None, {name: np.empty(0, kind) for name, kind in FIELDS.items()}, NOW)
    assert (len(kept.fresh), kept.joined.rows) == (0, 0)
    joined = index.labelled(nothing, Truths(np.empty(0), np.empty(0, bool)), NOW)
    assert set(joined.values) == set(FIELDS)
    assert joined.rows == 0
    assert list(index.rows()) == []
    assert len(index.cohorts().start) == 0


def test_ten_million_rows_fit_into_a_hundred_megabytes_of_memory(tmp_path: Path) -> None:
    index = Index(tmp_path, FIELDS, key=KEY, rows=10_000_000, hours=24.0)
    assert index.figures().memory_bytes <= 100e6


@pytest.mark.parametrize(("rows", "hours"), [(0, 1.0), (10**12, 1.0), (10, 0.0), (10, math.nan)])
def test_bounds_that_make_no_sense_are_refused(tmp_path: Path, rows: int, hours: float) -> None:
    with pytest.raises(ValueError, match="rows"):
        Index(tmp_path, FIELDS, key=KEY, rows=rows, hours=hours)
