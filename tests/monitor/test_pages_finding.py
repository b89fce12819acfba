"""The page of a finding: rows that show it, shares that agree, plain words where rows or a beginning are missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.clock import ManualClock
from monitor.records import Checkpoint, FindingRow, News
from monitor.store import Store
from monitor.web import wording
from monitor.web.desk import Desk, Hands
from monitor.web.findingview import FindingView, view_of
from monitor.web.live import Live
from monitor.web.people import Person
from tests.e2e.desk_bench import Bench, feed_shop, shop
from tests.monitor.findings_bench import culprit
from tests.monitor.pages_bench import NOW, client, row


def nothing(*_: Any) -> Any:
    raise AssertionError("nobody acts here")


def page(place: Path, told: FindingRow) -> str:
    """What is shown to somebody who may see values."""
    with Store(place, ManualClock(NOW)) as store:
        store.commit(Checkpoint(0, {}, {}, {}, NOW), News(findings=(told,)))
        desk = Desk(store, Live(dict), Hands(nothing, nothing), lambda: NOW)
        return client(desk).get(f"/findings/{told.id}").text


def of_all_senders(since: float) -> FindingRow:
    units = (dataclasses.replace(culprit("all senders"), detector="integrity"),)
    return row(8, units=units, subject="sender", triage="data_fault", since_time=since)


def test_a_finding_about_all_senders_says_what_was_looked_at(tmp_path: Path) -> None:
    text = page(tmp_path, of_all_senders(NOW - 8))
    assert "400 rows looked at until then" in text
    assert "not known<small>" in text
    assert "since it began" not in text
    assert "No rows were kept with it." in text


def test_where_a_beginning_is_known_it_is_told(tmp_path: Path) -> None:
    assert "not known<small>" not in page(tmp_path, of_all_senders(NOW - 80))


@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_where_no_row_came_since_a_finding_began_that_is_said(tmp_path: Path, severity: str) -> None:
    text = page(tmp_path, row(1, severity=severity))
    assert "400 rows since it began" in text
    assert "None of the rows that were kept came after it began." in text


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A third of the amounts goes missing."""
    place = tmp_path_factory.mktemp("bench")
    made = Bench(place, [shop(place)])
    feed_shop(made, missing=0.3)
    yield made
    made.close()


def seen(bench: Bench, *, values: bool) -> FindingView:
    (brief, *_) = bench.store.briefs(severity="page")
    found = bench.store.finding(brief.id)
    assert found is not None
    return view_of(bench.desk, Person("ada", values=values), found)


def test_the_rows_of_a_page_carry_the_fault(bench: Bench) -> None:
    told = seen(bench, values=True).telling
    assert told is not None
    assert told.columns[0] == "amount"
    assert {row.values[0] for row in told.rows} == {"missing"}
    assert any(row.near for row in told.rows)
    assert seen(bench, values=False).telling is None


def test_the_headline_and_the_card_agree(bench: Bench) -> None:
    view = seen(bench, values=True)
    (card,) = view.changed
    assert card.column is not None
    (missing,) = (one for one in card.column.faults if one.label == "missing")
    assert wording.percent(missing.now) in view.told.detail
    assert view.told.detail == f"amount: {card.says[0]}"


def test_what_it_has_to_do_with_the_performance_is_told_in_words(tmp_path: Path) -> None:
    column = {"column": "age<b>", "by": "measured", "loss": -0.001, "most": 0.004}
    severity = {"usual": "page", "severity": "ticket", "smallest_loss": 0.02, "columns": [column], "because": "..."}
    known = {"value": -0.0624, "low": -0.07, "high": 0.05, "reason": ""}
    rate = {"part": "rate", "value": None, "low": None, "high": None, "reason": "only labels can tell"}
    parts = [{"part": "mix", **known}, {"part": "prior", **known}, rate]
    change = {"by": "estimate", "metric": "accuracy", "verdict": "virtual", "parts": parts}
    evidence = {"severity": severity, "change": {"estimate": change | {"total": {"part": "total", **known}}}}
    text = page(tmp_path, row(1, severity="ticket", evidence=evidence))
    assert "This would have been a page." in text
    assert "age&lt;b&gt;: as measured by itself, its shift costs 0 %, at most 0.4 %." in text
    assert "Accuracy against the reference" in text
    assert "as good as before" in text
    assert "-6.2 %" in text
    assert "-7 % to" in text or "-7.0 % to" in text
    assert "only labels can tell" in text
    assert "What it has to do with the performance" not in page(tmp_path / "other", row(2))
