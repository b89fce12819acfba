"""The joint layer in the engine: what no single column shows is found, named, shown by rows, and ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.multivariate import attribution
from monitor.config import Model
from monitor.loading import measure_batches
from monitor.report import Report
from monitor.streams import ModelStreams
from monitor.telling import telling
from tests.monitor.streams_bench import findings, model

PANE = 200


def rows(n: int, seed: int, *, rho: float = 0.7, shift: float = 0.0) -> pa.RecordBatch:
    """Five normal columns; a and b are correlated, and no marginal tells how much."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5))
    x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1]
    x[:, 2] += shift
    return pa.RecordBatch.from_pydict({name: pa.array(x[:, j]) for j, name in enumerate("abcde")})


def streams(settings: Model | None = None, **changes: Any) -> ModelStreams:
    settings = settings or model(window={"panes": 20}, **changes)
    fitted = measure_batches([rows(20_000, 0)], settings)
    return ModelStreams(settings, fitted, config_id="test", timer=lambda: 0.0)


def _feed(it: ModelStreams, panes: int, seed: int, **shift: float) -> list[Report]:
    return list(it.feed(rows(panes * PANE, seed, **shift), "", 0.0).reports)


@pytest.fixture(scope="module")
def broken() -> tuple[ModelStreams, list[Report]]:
    """60 undrifted panes, then 40 in which the correlation is gone, then 60 in which it is back."""
    it = streams()
    return it, [*_feed(it, 60, 1), *_feed(it, 40, 2, rho=0.0), *_feed(it, 60, 3)]


def test_broken_correlation_pages_once_and_names_both_columns(broken: tuple[ModelStreams, list[Report]]) -> None:
    _, reports = broken
    (page,) = findings(reports, "page")
    assert 61 <= page.pane <= 75
    assert page.detector == "e_witness"
    assert set(page.units[0].unit.split("*")) == {"a", "b"}
    assert set(page.units[0].members) == {0, 1}
    assert abs(page.since_pane - 61) <= 5
    assert page.triage == "shift"
    assert page.units[0].effect > 0.05


def test_finding_ends_when_the_correlation_is_back(broken: tuple[ModelStreams, list[Report]]) -> None:
    _, reports = broken
    (page,) = findings(reports, "page")
    ended = [report.pane for report in reports for back in report.recovered if page.id in back.ids]
    assert len(ended) == 1
    assert ended[0] > 100


def test_undrifted_stream_has_no_joint_page_or_ticket() -> None:
    it = streams()
    reports = _feed(it, 200, 4)
    assert not findings(reports, "page", "ticket")
    tested = [report for report in reports if "joint_min_p" in report.joint]
    assert [report.pane for report in tested] == list(range(20, 201, 20))
    assert all(np.isfinite(report.joint["joint_min_p"].log_p).all() for report in tested)


def test_shift_of_one_column_pages_for_the_column_and_the_view_joins_it() -> None:
    it = streams()
    reports = _feed(it, 20, 5) + _feed(it, 60, 6, shift=0.8)
    (page,) = findings(reports, "page")
    assert page.units[0].unit == "c"
    joint = [
        one for one in findings(reports, "ticket", "info") if any("*" in u.unit or u.index >= 5 for u in one.units)
    ]
    assert all(one.joins == page.id for one in joint)


def test_views_are_silent_while_a_columns_page_is_open_and_begin_anew_afterwards() -> None:
    it = streams()
    reports = _feed(it, 20, 18) + _feed(it, 300, 19, shift=0.8)
    (page,) = findings(reports, "page")
    assert page.units[0].unit == "c"
    assert page.units[0].view == ""
    later = [one for one in findings(reports, "ticket") if one.pane > page.pane + 5]
    assert later == []
    after = _feed(it, 120, 20)
    assert not findings(after, "page", "ticket")
    again = _feed(it, 40, 21, rho=0.0)
    joint = findings(again, "page")[0]
    assert joint.units[0].view == "columns"
    assert joint.as_dict()["units"][0]["view"] == "columns"


def test_most_telling_rows_of_both_sides_are_evidence() -> None:
    it = streams()
    reports = _feed(it, 20, 7)
    for seed in range(20):  # some rows are kept of every batch
        reports += _feed(it, 1, 100 + seed, rho=-0.7)
    page = next(one for one in findings(reports, "page") if one.detector == "e_witness")
    _, sides = telling(it, it.streams["all"], page, reports[-1].comparison)
    assert sides["window"].num_rows == sides["reference"].num_rows == 20

    def product(side: str) -> float:
        return float(np.mean(sides[side]["a"].to_numpy() * sides[side]["b"].to_numpy()))

    assert product("window") < 0 < product("reference")
    assert sides["window"]["witness"].to_pylist() == sorted(sides["window"]["witness"].to_pylist(), reverse=True)


def test_a_view_that_fails_leaves_the_columns_alone() -> None:
    class Broken:
        name = "e_witness"

        def __getattr__(self, name: str) -> Any:
            raise ArithmeticError("broken on purpose")

    it = streams()
    _feed(it, 2, 9)
    layer = it.streams["all"].engine.joint
    layer.__dict__["witness"] = Broken()
    reports = _feed(it, 10, 10, shift=1.0)
    shown = [report for report in reports if report.pane % it.engine.stride == 0]
    assert all("e_witness" in report.failures for report in shown)
    assert findings(reports, "page")[0].units[0].unit == "c"


def test_joint_layer_may_be_left_out() -> None:
    it = streams(joint={"enabled": False})
    reports = _feed(it, 20, 11, rho=0.0)
    assert not any(report.joint for report in reports)
    assert not findings(reports, "page")


def test_classical_detectors_are_heard_only_by_name_and_never_page() -> None:
    quiet, named = streams(), streams(streaming=["cusum"])
    for it, heard in ((quiet, False), (named, True)):
        reports = _feed(it, 40, 12, shift=0.3)
        notes = [one for one in findings(reports, "info") if one.detector == "cusum"]
        assert bool(notes) == heard
        assert all(one.detector != "cusum" for one in findings(reports, "page", "ticket"))


def test_online_mmd_is_heard_by_name_and_speaks_of_the_view() -> None:
    it = streams(streaming=["online_mmd"])
    reports = _feed(it, 20, 16) + _feed(it, 40, 17, rho=-0.9, shift=1.0)
    notes = [one for one in findings(reports, "info") if one.detector == "online_mmd"]
    assert notes[-1].pane > 20
    assert notes[0].units[0].unit == "columns"
    assert "columns" in notes[0].sentence()


def test_moving_reference_follows_a_shift_that_the_fixed_one_keeps() -> None:
    fixed, moving = streams(), streams(moving={"panes": 40})
    for it, follows in ((fixed, False), (moving, True)):
        _feed(it, 40, 13)
        _feed(it, 100, 14, shift=1.0)
        last = _feed(it, 20, 15, shift=1.0)[-1]
        unit = it.engine.names.index("c")
        assert (last.evidence["anderson_darling"].log_p[unit] > np.log(1e-3)) == follows
        assert it.streams["all"].engine.reference.grid.id == it.engine.reference.grid.id


def test_moving_reference_ends_an_open_page_on_a_view_instead_of_holding_it_for_ever() -> None:
    it = streams(moving={"panes": 40, "steps": 2}, streaming=["online_mmd"])
    reports = _feed(it, 60, 21) + _feed(it, 60, 22, rho=0.0)
    opened = {one.id for one in findings(reports, "page")}
    ended = {one for report in reports for back in report.recovered for one in back.ids}
    one = it.streams["all"]
    assert opened
    assert opened <= ended or opened - ended == set(one.state.owners.values())
    assert _feed(it, 60, 23, rho=0.0)
    assert not one.state.pages.latched.any()
    assert (
        one.state.classical.states["online_mmd"].window.shape[1] == one.engine.reference.views[0].sample.rows.shape[1]
    )


def test_an_alarm_that_cannot_be_explained_is_raised_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no such columns")

    monkeypatch.setattr(attribution, "columns", broken)
    it = streams()
    reports = _feed(it, 20, 1) + _feed(it, 30, 2, rho=0.0)
    (page,) = findings(reports, "page")
    assert page.units[0].unit == "columns"
    assert page.detector == "e_witness"
    failed = [report.failures for report in reports if report.failures]
    assert all("no such columns" in one["joint_min_p"] for one in failed)
    assert failed
