"""One model's streams: versions, segments, shares of the budget, and rows that are odd."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from monitor.streams import MOST_VERSIONS, OTHER
from tests.monitor.streams_bench import findings, model, rows, streams

SEGMENTED = model(columns={"segments": ["kind"]}, max_segments=2)


def _with(batch: pa.RecordBatch, name: str, values: list[str | None]) -> pa.RecordBatch:
    return batch.append_column(name, pa.array(values, pa.string()))


def test_senders_version_names_the_stream() -> None:
    it = streams()
    it.feed(rows(200, 1), "v1", 0.0)
    it.feed(rows(200, 2), "v2", 0.0)
    it.feed(rows(200, 3), "", 0.0)
    assert list(it.streams) == ["v1", "v2", "all"]
    assert it.shares == 3


def test_version_column_parts_the_rows_and_beats_the_senders_word() -> None:
    it = streams(model(columns={"version": "version"}))
    fed = it.feed(_with(rows(400, 1), "version", ["v1", "v2", None, "v1"] * 100), "sent", 0.0)
    assert fed.rows == 400
    assert {name: one.panes.pending_rows for name, one in it.streams.items()} == {"v1": 0, "v2": 100, "sent": 100}
    assert [report.stream for report in fed.reports] == ["v1"]


def test_versions_beyond_the_cap_share_one_stream() -> None:
    it = streams()
    for number in range(MOST_VERSIONS + 5):
        it.feed(rows(10, number), f"v{number}", 0.0)
    assert len(it.streams) == MOST_VERSIONS + 1
    assert it.streams[OTHER].panes.pending_rows == 50


def test_segments_have_streams_of_their_own_up_to_a_cap() -> None:
    it = streams(SEGMENTED)
    it.feed(rows(2_000, 1), "", 0.0)
    assert len(it.streams) == 3
    assert {name.split("=")[0] for name in it.streams} == {"all", "all/kind"}
    assert len(it.suppressed) == 1


def test_shift_in_one_segment_is_found_there() -> None:
    it = streams(model(columns={"segments": ["kind"]}))
    batch = rows(40_000, 2)
    kinds = np.array(batch.column("kind").to_pylist())
    a = batch.column("a").to_numpy() + np.where(kinds == "z", 2.0, 0.0)
    reports = it.feed(batch.set_column(0, "a", pa.array(a)), "", 0.0).reports
    named = {
        stream: {unit.unit for one in findings(reports, "page", "ticket") if one.stream == stream for unit in one.units}
        for stream in it.streams
    }
    assert "a" in named["all/kind=z"]
    assert "a" not in named["all/kind=x"] | named["all/kind=y"]


def test_segment_that_is_as_it_always_was_pages_nobody() -> None:
    it = streams(model(columns={"segments": ["kind"]}))
    assert not findings(it.feed(rows(10_000, 2), "", 0.0).reports, "page")


def test_streams_share_the_budget_and_the_shares_never_fall() -> None:
    it = streams()
    alone = it.feed(rows(200, 1), "v1", 0.0).reports[0].threshold
    it.feed(rows(10, 2), "v2", 0.0)
    shared = it.feed(rows(200, 3), "v1", 0.0).reports[0].threshold
    assert (alone, shared) == (1_000, 2_000)
    again = streams()
    again.restore(it.state(), lambda _: [])
    del again.streams["v2"]
    assert again.shares == 2


def test_budget_in_time_is_counted_in_the_panes_that_time_really_has() -> None:
    settings = model(columns={"time": "time"}, alarms={"false_alarms": "1 per 1d"})
    timed = rows(20_000, 0).append_column("time", pa.array(np.zeros(20_000)))
    it = streams(settings, timed)
    batch = rows(200 * 50, 1)
    # a pane a second: a day has 86,400 of them, and not the 1,440 of panes of a minute
    batch = batch.append_column("time", pa.array(1.7e9 + np.arange(batch.num_rows) / 200))
    reports = it.feed(batch, "", 0.0).reports
    assert reports[0].threshold == pytest.approx(1_440)
    assert reports[-1].threshold == pytest.approx(86_400, rel=0.05)


def test_renamed_and_retyped_columns_are_told_and_judged_as_missing() -> None:
    it = streams()
    batch = rows(2_000, 1)
    odd = pa.RecordBatch.from_pydict(
        {
            "A": batch.column("a"),
            "b": batch.column("b"),
            "c": pa.array(["rubbish"] * 2_000),
            "kind": batch.column("kind"),
        }
    )
    fed = it.feed(odd, "", 0.0)
    assert fed.missing_columns == ("a",)
    assert fed.extra_columns == ("A",)
    assert "c" in fed.retyped
    assert fed.faults == 2_000
    named = {unit.unit for page in findings(fed.reports, "page", "ticket") for unit in page.units}
    assert {"a", "c"} <= named


def test_empty_batch_changes_nothing() -> None:
    it = streams()
    it.feed(rows(300, 1), "", 0.0)
    before = it.state()
    fed = it.feed(rows(0, 1), "", 0.0)
    assert fed.reports == ()
    assert fed.rows == 0
    assert it.state() == before


def test_rows_are_conserved() -> None:
    settings = model(columns={"time": "time"}, pane={"every": "60s"})
    timed = rows(20_000, 0).append_column("time", pa.array(np.zeros(20_000)))
    it = streams(settings, timed)
    rng = np.random.default_rng(1)
    judged = sent = lost = 0
    for seed in range(20):
        time = 1.7e9 + 50 * seed + rng.exponential(40, 500) * rng.choice([1, -20], 500, p=[0.98, 0.02])
        time[rng.random(500) < 0.01] = 1e13
        fed = it.feed(rows(500, seed).append_column("time", pa.array(time)), "", 0.0)
        sent += fed.rows
        lost += fed.late + fed.implausible
        judged += sum(report.rows for report in fed.reports)
    pending = sum(one.panes.pending_rows for one in it.streams.values())
    assert lost > 0
    assert sent == judged + lost + pending
    judged += sum(report.rows for report in it.flush())
    assert sent == judged + lost


def test_versions_may_be_called_anything_and_stay_bounded() -> None:
    it = streams(SEGMENTED)
    for number in range(MOST_VERSIONS + 5):
        it.feed(rows(10, number), f"prod/stage={number}", 0.0)
    versions = {name.partition("/")[0] for name in it.streams}
    assert versions == {*(f"prod%2Fstage={number}" for number in range(MOST_VERSIONS)), OTHER}
    again = streams(SEGMENTED)
    again.restore(it.state(), lambda _: [])
    assert set(again.streams) == set(it.streams)
