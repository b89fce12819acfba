"""How loudly findings call: a large shift of a column that nothing depends on, a small one of a decisive column."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from monitor.errors import ConfigError
from monitor.loading import measure_batches, severity_of
from monitor.report import Culprit
from monitor.severity import SEVERITY, Harm, Severity
from monitor.streams import ModelStreams
from tests.monitor.lane_bench import Bench, scored, silent
from tests.monitor.streams_bench import findings, model, rows, streams


def declared(importance: dict[str, float]) -> ModelStreams:
    settings = model(columns={"importance": importance})
    fitted = measure_batches([rows(20_000, 0)], settings)
    severity = severity_of(settings, fitted.reference.grid.names)
    return ModelStreams(settings, fitted, config_id="test", timer=lambda: 0.0, severity=severity)


def fed(it: ModelStreams, panes: int, seed: int, **shift: float) -> list[Any]:
    return list(it.feed(rows(panes * 200, seed, **shift), "", 0.0).reports)


def test_a_shift_of_a_column_that_is_declared_to_matter_not_is_a_ticket_with_its_reason() -> None:
    usual, quiet = streams(), declared({"a": 0.0})
    pages = [findings(fed(it, 20, 2) + fed(it, 20, 3, shift=1.0), "page") for it in (usual, quiet)]
    assert [len(one) for one in pages] == [1, 0]
    it = declared({"a": 0.0})
    (ticket,) = (
        one for one in findings(fed(it, 20, 2) + fed(it, 20, 3, shift=1.0), "ticket") if one.detector[0] == "e"
    )
    assert (ticket.units[0].unit, ticket.triage) == ("a", "shift")
    told = ticket.evidence[SEVERITY]
    assert (told["usual"], told["severity"]) == ("page", "ticket")
    assert told["columns"] == [{"column": "a", "by": "declared", "loss": 0.0, "most": 0.0}]
    assert ticket.as_dict()["evidence"][SEVERITY] == told


def test_importance_times_the_mass_that_moved_is_held_against_the_smallest_loss() -> None:
    """The first pane in which a column is one deviation off: 38 % of its mass has moved."""
    for importance, severity in ((0.01, "ticket"), (0.5, "page")):
        it = declared({"a": importance})
        found = fed(it, 20, 2) + fed(it, 5, 3, shift=1.0)
        assert any(one.units[0].unit == "a" for one in findings(found, severity)), importance


def test_a_fault_of_a_column_that_is_declared_to_matter_not_pages_all_the_same() -> None:
    it = declared({"a": 0.0, "b": 0.0})
    (page,) = findings(fed(it, 10, 4) + fed(it, 10, 5, missing=0.3), "page")
    assert page.triage == "data_fault"
    assert SEVERITY not in page.evidence


def test_what_comes_later_to_a_column_with_an_open_ticket_pages() -> None:
    """Values that are missing are no news of a shift for which nobody was woken."""
    it = declared({"a": 0.0, "b": 0.0})
    assert not findings(fed(it, 10, 4) + fed(it, 40, 5, shift=1.0), "page")
    assert findings(fed(it, 10, 6, shift=1.0, missing=0.3), "page")


def test_a_rule_that_fails_changes_nothing() -> None:
    def fails(panes: object) -> Harm | None:
        raise RuntimeError(f"no {panes!r:.10}")

    settings = model()
    fitted = measure_batches([rows(20_000, 0)], settings)
    it = ModelStreams(settings, fitted, config_id="", timer=lambda: 0.0, severity=Severity({}, 0.02, fails))
    reports = fed(it, 20, 2) + fed(it, 10, 3, shift=1.0)
    assert findings(reports, "page")
    assert any(SEVERITY in report.failures for report in reports)


def culprit(unit: str = "a", index: int = 0, view: str = "", effect: float = 0.3) -> Culprit:
    ends = (effect, effect - 0.02, effect + 0.02)
    return Culprit(unit, index, "e_ks", 30.0, "ks_distance", *ends, 0.0, 0.0, (index,), (), view)


def harm(loss: float, error: float, whole: float = 0.0) -> Harm:
    one = np.array([loss])
    return Harm(one, one - 4 * error, one + 2 * error, whole)


CASES = [
    (harm(0.0, 0.002), "ticket"),
    (harm(-0.5, 0.002), "ticket"),
    (harm(0.018, 0.002), "page"),
    (harm(0.0, 0.02), "page"),
    (harm(0.0, 0.002, 0.03), "page"),
    (harm(math.nan, 0.002), "page"),
    (None, "page"),
]


@pytest.mark.parametrize(("measured", "severity"), CASES)
def test_pages_are_lowered_only_where_the_loss_is_surely_small(measured: Harm | None, severity: str) -> None:
    rule = Severity({}, 0.02, lambda _: measured)
    assert rule.page([], [culprit()])[0] == severity
    assert rule.page([], [culprit(), culprit("view", 5, "all")])[0] == "page"
    assert rule.page([], [culprit(), culprit("b", 1)])[0] == "page"


def test_tickets_are_raised_only_where_the_loss_is_surely_large_and_the_shift_sure() -> None:
    large, vague = Severity({}, 0.02, lambda _: harm(0.05, 0.005)), Severity({}, 0.02, lambda _: harm(0.05, 0.02))
    assert large.ticket([], culprit(), "info", sure=True)[0] == "page"
    assert large.ticket([], culprit(), "info", sure=False)[0] == "info"
    assert vague.ticket([], culprit(), "ticket", sure=True)[0] == "ticket"
    assert Severity({"a": 1.0}, 0.02).ticket([], culprit(), "ticket", sure=True)[0] == "page"
    assert Severity({"a": 0.0}, 0.02, lambda _: harm(0.05, 0.005)).ticket([], culprit(), "info", sure=True)[0] == "info"


def test_importance_is_checked() -> None:
    settings = model(columns={"importance": {"aa": 0.5}})
    with pytest.raises(ConfigError, match=r'columns.importance: unknown column; did you mean "a"'):
        severity_of(settings, ["a", "kind"])
    assert severity_of(model(), ["a"]) is None
    for wrong in (2.0, -0.1, "much"):
        with pytest.raises(ValidationError):
            model(columns={"importance": {"a": wrong}})


REFERENCE_ROWS = 12_000


def labelled(n: int, seed: int, *, unused: float = 0.0, rare: float = 0.04) -> pa.Table:
    """A log with a column on which nothing depends, and a rare kind of row that is nearly always answered wrongly."""
    rng, table = np.random.default_rng(seed), scored(n, seed)
    kind = np.where(rng.random(n) < rare, "z", np.where(rng.random(n) < 0.5, "x", "y"))
    truth = np.where((kind == "z") & (rng.random(n) < 0.9), 1 - table["said"].to_numpy(), table["truth"].to_numpy())
    table = table.set_column(table.column_names.index("kind"), "kind", pa.array(kind.tolist()))
    table = table.set_column(table.column_names.index("truth"), "truth", pa.array(truth))
    return table.append_column("unused", pa.array(rng.standard_normal(n) + unused))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(**changes: Any) -> Bench:
        settings = {"pane": {"rows": 500}, "window": {"panes": 16}, "joint": {"enabled": False}} | changes
        made.append(Bench(tmp_path / str(len(made)), labelled(REFERENCE_ROWS, 0), **settings))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def opened(one: Bench) -> list[dict[str, Any]]:
    return [line for line in one.agent.findings.lines if line["kind"] == "finding"]


def test_a_large_shift_of_an_unused_column_is_measured_and_a_ticket(bench: Callable[..., Bench]) -> None:
    it = bench()
    it.send(silent(labelled(6_000, 1)))
    it.send(silent(labelled(3_000, 2, unused=2.0)))
    calling = [one for one in opened(it) if one["severity"] != "info"]
    assert {one["severity"] for one in calling} == {"ticket"}
    (column,) = calling[0]["evidence"][SEVERITY]["columns"]
    assert (column["column"], column["by"]) == ("unused", "measured")
    assert column["most"] < 0.02


def test_a_small_shift_of_a_decisive_column_pages(bench: Callable[..., Bench]) -> None:
    """4.5 % of the mass move, less than the 5 % that page, and cost nearly 4 points of accuracy."""
    it = bench()
    it.send(silent(labelled(8_000, 3)))
    assert not [one for one in opened(it) if one["severity"] == "page"]
    it.send(silent(labelled(16_000, 4, rare=0.085)))
    pages = [one for one in opened(it) if one["severity"] == "page"]
    assert len(pages) == 1
    told = pages[0]["evidence"][SEVERITY]
    assert (pages[0]["units"][0]["unit"], told["severity"]) == ("kind", "page")
    assert told["usual"] in ("info", "ticket")
    assert told["columns"][0]["loss"] == pytest.approx(0.035, abs=0.01)
    assert not [one for one in it.agent.findings.open.values() if one.severity == "page" and one.joins]


def test_a_shift_that_scores_follow_still_pages(bench: Callable[..., Bench]) -> None:
    """The answers themselves move: nobody knows what that costs by itself."""
    it = bench()
    it.send(silent(labelled(4_000, 5)))
    rows = labelled(12_000, 6)
    unsure = np.abs(rows["score"].to_numpy() - 0.5) < 0.25
    it.send(silent(rows.filter(pa.array(unsure)).slice(0, 3_000)))
    assert [one for one in opened(it) if one["severity"] == "page"]
