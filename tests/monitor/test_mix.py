"""Declared segments in the engine: a changed mix is told once, as such; drift in a segment is found in the segment."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from monitor.loading import measure_batches
from monitor.report import Finding, Report
from monitor.streams import ModelStreams
from tests.monitor.streams_bench import findings, model

PANE = 200


def rows(n: int, seed: int, *, north: float = 0.5, shift: float = 0.0) -> pa.RecordBatch:
    """Two regions with incomes of their own; ``north`` is the share of one, ``shift`` moves the other's income."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < north
    income = rng.standard_normal(n) + np.where(first, 1.5, shift)
    age = rng.standard_normal(n) * np.where(first, 2.0, 1.0)
    return pa.RecordBatch.from_pydict(
        {
            "region": pa.array(np.where(first, "north", "south").tolist()),
            "income": pa.array(income),
            "age": pa.array(age),
        }
    )


def streams(*, segments: bool) -> ModelStreams:
    columns = {"segments": ["region"]} if segments else {}
    settings = model(columns=columns, window={"panes": 20}, alarms={"false_alarms": "1 per 10000 panes"})
    return ModelStreams(settings, measure_batches([rows(20_000, 0)], settings), config_id="test", timer=lambda: 0.0)


def _feed(it: ModelStreams, panes: int, seed: int, **change: float) -> list[Report]:
    return [
        report
        for i in range(panes // 10)
        for report in it.feed(rows(10 * PANE, 100 * seed + i, **change), "", 0.0).reports
    ]


def _units(found: list[Finding]) -> set[str]:
    return {unit.unit for one in found for unit in one.units}


@pytest.mark.parametrize("segments", [False, True])
def test_a_changed_mix_is_told_as_such_and_not_as_drift_of_every_column(segments: bool) -> None:  # noqa: FBT001
    it = streams(segments=segments)
    _feed(it, 20, 1)
    found = findings(_feed(it, 60, 2, north=0.8), "page", "ticket")
    whole = [one for one in found if one.stream == "all"]
    if not segments:
        assert "income" in _units(whole)
        return
    assert {one.subject for one in whole} == {"mix"}
    assert _units(whole) == {"region"}
    (page,) = (one for one in found if one.severity == "page")
    told = {name: (before, now) for name, before, now in page.strata}
    assert told.keys() == {"region=north", "region=south"}
    before, now = told["region=north"]
    assert before == pytest.approx(0.5, abs=0.03)
    assert now > 0.55
    assert "mix" in page.sentence()


def test_drift_in_one_segment_is_found_there_though_the_mix_changes_too() -> None:
    it = streams(segments=True)
    _feed(it, 20, 3)
    found = findings(_feed(it, 60, 4, north=0.8, shift=0.8), "page", "ticket")
    own = [one for one in found if one.stream == "all/region=south"]
    assert "income" in _units(own)
    assert not [one for one in found if one.stream == "all/region=north"]


def test_mix_of_every_window_is_tested() -> None:
    it = streams(segments=True)
    quiet, changed = (
        [report for report in _feed(it, 40, seed, north=north) if report.stream == "all"][-1]
        for seed, north in ((5, 0.5), (6, 0.8))
    )
    assert quiet.mix is not None
    assert changed.mix is not None
    assert changed.mix.log_p < np.log(1e-6) < quiet.mix.log_p


def _by_the_hour(regions: int) -> ModelStreams:
    """Regions with incomes of their own, and a reference for each hour of the week."""
    columns = {"time": "ts", "segments": ["region"]}
    settings = model(columns=columns, season={"by": "hour_of_week"}, pane={"rows": 100})
    return ModelStreams(
        settings, measure_batches([_hours(40_000, 0, regions)], settings), config_id="test", timer=lambda: 0.0
    )


def _hours(n: int, seed: int, regions: int) -> pa.RecordBatch:
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, regions, n)
    time = 1.7e9 + (seed * 40_000 + np.arange(n)) * 60.0
    values = {"ts": time, "region": [f"r{one}" for one in chosen], "income": rng.standard_normal(n) + chosen}
    return pa.RecordBatch.from_pydict({name: pa.array(one) for name, one in values.items()})


def test_a_segment_by_the_hour_is_not_compared_with_the_mix_of_all() -> None:
    it = _by_the_hour(2)
    reports = it.feed(_hours(8_000, 1, 2), "", 0.0).reports
    assert set(it.streams) == {"all", "all/region=r0", "all/region=r1"}
    assert not findings(reports, "page", "ticket", "info")
    assert all((report.mix is None) == ("=" in report.stream) for report in reports)


def test_a_segment_whose_hours_are_not_told_apart_has_no_stream() -> None:
    it = _by_the_hour(8)
    reports = it.feed(_hours(16_000, 1, 8), "", 0.0).reports
    assert len(it.streams) == 3
    assert len(it.suppressed) == 6
    assert not findings(reports, "page", "ticket")
