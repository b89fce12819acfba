"""Rows that show a finding came since it began, and carry what was found; where there are none, none are shown."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from detectors import parts
from monitor.config import Model
from monitor.report import Finding, Report
from monitor.samples import RowSample
from monitor.streams import ModelStreams
from monitor.telling import telling
from tests.monitor.streams_bench import findings, model, rows, streams

EPOCH = 1.7e9


def stamped(batch: pa.RecordBatch, start: float) -> pa.RecordBatch:
    """A row a second, and whose number it is."""
    time = pa.array(start + np.arange(batch.num_rows))
    return batch.append_column("at", time)


def shown(settings: Model | None = None, *, size: int = 0, **change: float) -> tuple[Finding, pa.Table, pa.Table]:
    """2,000 rows as ever, then 400 that are changed, in batches of ``size``: the first finding and its rows."""
    it = streams(settings or counted(), stamped(rows(20_000, 0), EPOCH))
    before = stamped(rows(2_000, 1), EPOCH + 30_000)
    assert not findings(list(it.feed(before, "", 0.0).reports), "page", "ticket")
    now = stamped(rows(400, 2, **change), EPOCH + 32_000)
    for batch in (now.slice(at, size or 400) for at in range(0, 400, size or 400)):
        reports = list(it.feed(batch, "", 0.0).reports)
        if found := findings(reports, "page"):
            return found[0], *beside(it, found[0], reports)
    pytest.fail("nothing was found")


def beside(it: ModelStreams, finding: Finding, reports: list[Report]) -> tuple[pa.Table, pa.Table]:
    since, tables = telling(it, it.streams["all"], finding, reports[-1].comparison)
    return since, tables.get("window", pa.table({}))


def counted() -> Model:
    return model(columns={"time": "at"})


def timed() -> Model:
    return model(columns={"time": "at"}, pane={"every": "200s", "lateness": "1s"})


@pytest.mark.parametrize("size", [400, 50])
@pytest.mark.parametrize("settings", [counted(), model(columns={"id": "at"}), timed()], ids=["rows", "untimed", "time"])
def test_rows_of_a_fault_carry_it_and_came_since_it_began(settings: Model, size: int) -> None:
    finding, since, window = shown(settings, size=size, new=0.4)
    assert finding.units[0].unit == "kind"
    assert window.num_rows > 0
    assert set(window["kind"].to_pylist()) == {"unheard of"}
    assert min(window["at"].to_pylist()) >= EPOCH + 32_000
    assert all(at >= EPOCH + 32_000 for at in since["at"].to_pylist())
    assert window["witness"].to_pylist() == sorted(window["witness"].to_pylist(), reverse=True)


def test_missing_values_are_shown_first() -> None:
    _, _, window = shown(missing=0.3)
    assert set(window["b"].to_pylist()) == {None}


def test_rows_of_a_shift_lie_where_more_rows_lie_now() -> None:
    _, _, window = shown(shift=1.5)
    assert window.num_rows == 20
    assert min(window["a"].to_pylist()) > 1.5
    assert window["witness"].to_pylist()[0] > 0.5


def test_where_no_kept_row_came_since_it_began_none_is_shown() -> None:
    it = streams()
    reports = list(it.feed(rows(2_000, 1), "", 0.0).reports)
    reports += it.feed(rows(400, 2, new=0.4), "", 0.0).reports
    (finding, *_) = findings(reports, "page")
    later = dataclasses.replace(finding, since_pane=finding.since_pane + 100)
    since, window = beside(it, later, reports)
    assert (since.num_rows, window.num_rows) == (0, 0)


def test_a_batch_is_at_hand_only_until_the_next() -> None:
    it = streams()
    it.feed(rows(2_000, 1), "", 0.0)
    it.feed(rows(400, 2, new=0.4), "", 0.0)
    sample = it.streams["all"].sample
    at_hand = sample.looked_through(-np.inf).num_rows
    it.feed(rows(10, 3), "", 0.0)
    assert at_hand == 400
    assert sample.looked_through(-np.inf).equals(sample.table())


def test_a_sample_knows_where_its_rows_lie() -> None:
    sample = RowSample("all")
    for first in range(0, 100, 10):
        batch = pa.RecordBatch.from_pydict({"n": list(range(first, first + 10))})
        sample.add(batch, None, lambda chosen, first=first: (first + chosen).astype(float))  # type: ignore[misc]
    kept = sample.table()["n"].to_pylist()
    assert sample.table(50)["n"].to_pylist() == [one for one in kept if one >= 50]


def test_places_are_those_that_a_summary_counts() -> None:
    it = streams()
    fitted = it.fitted
    from monitor.telling import decoder_of

    block = decoder_of(fitted).decode(rows(3_000, 5, missing=0.1, new=0.1, shift=4.0)).block
    grid = fitted.reference.grid
    summary = parts.summarise(grid, block)
    for unit, name in enumerate(grid.names):
        places = parts.places(grid, block, unit)
        assert (places == parts.MISSING).sum() == summary.missing[unit], name
        assert (places == parts.NEW).sum() == summary.new[unit]
        body = summary.numeric[unit] if unit < 3 else summary.codes[unit - 3]
        if unit < 3:
            assert (places == parts.BELOW).sum() == body[0]
            assert (places == parts.ABOVE).sum() == body[-1]
            body = body[1:-1]
        first = 1 if unit < 3 else 0
        np.testing.assert_array_equal(np.bincount(places[places >= 0], minlength=first + len(body))[first:], body)


def test_a_place_that_single_rows_fill_is_no_rise() -> None:
    it = streams()
    before = it.fitted.reference.summary
    now = dataclasses.replace(before, numeric=before.numeric // 100)
    one = now.numeric.copy()
    one[0, -1] += 1
    few, many = (
        parts.rises(before, dataclasses.replace(now, numeric=counts), 0)
        for counts in (one, one + np.eye(one.shape[1], dtype=np.int64)[-1] * 50)
    )
    assert few[parts.ABOVE] < 0 < many[parts.ABOVE]
