"""The report of a period says what happened in it and nothing else, in a page that loads and runs nothing."""

from __future__ import annotations

import dataclasses
import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from detectors.performance.types import Figure
from monitor.archive import reading
from monitor.cli_report import report
from monitor.clock import ManualClock
from monitor.config import Config, describe
from monitor.outcomes.door import TIMELINE
from monitor.outcomes.timeline import Timeline, Truth, Window
from monitor.period import page
from monitor.period.figures import _samples
from monitor.period.gather import Span, gather
from monitor.period.plots import Evidence, ticks
from monitor.records import Checkpoint, FindingRow, Intervention, Judged, News
from monitor.store import Store
from tests.monitor.exports_bench import NOW, config, finding, write

DAY = 86_400.0
HOSTILE = '"><script>alert(1)</script>\x1b[31m\u202e'


def panes(stream: str = "m/all", first: int = 0) -> tuple[Judged, ...]:
    """Two days of panes, a minute each, with an alarm in the last hours."""
    rng = np.random.default_rng(0)
    found = []
    for i in range(first, 2 * 1440):
        log_e = float(rng.normal(1.0, 0.5)) if i < 2_700 else 3.0 + (i - 2_700) * 0.2
        start = NOW - 2 * DAY + 60.0 * i
        found.append(Judged(stream, i, start, start + 60, 200, log_e if i % 500 else None, 11.8, {"right": log_e}))
    return tuple(found)


def incidents() -> tuple[FindingRow, ...]:
    opened = [NOW - 9 * DAY, NOW - 3 * DAY, NOW - 10_000.0, NOW - 9_990.0, NOW - 2_000.0]
    rows = [finding(f"{i}" * 16, document={"time": time, "since_time": time - 60}) for i, time in enumerate(opened)]
    return (
        dataclasses.replace(rows[0], closed=NOW - 8 * DAY, state="recovered"),
        dataclasses.replace(rows[1], closed=NOW - 1.5 * DAY, state="recovered"),
        dataclasses.replace(rows[2], state="acknowledged"),
        dataclasses.replace(rows[3], joins=rows[2].id, severity="ticket"),
        dataclasses.replace(rows[4], severity="ticket", muted=True, closed=NOW - 500.0, state="recovered"),
    )


def acts() -> tuple[Intervention, ...]:
    told = Intervention("a1", "acknowledge", "m", {"finding": "2" * 16}, "looking at it", "ana", NOW - 9_400.0)
    mute = Intervention("a2", "mute", "m", {"column": HOSTILE}, HOSTILE, HOSTILE, NOW - 2_500.0, until=NOW + DAY)
    old = Intervention("a3", "quarantine", "m", {"clients": ["0" * 16]}, "long ago", "bo", NOW - 20 * DAY)
    undone = dataclasses.replace(old, id="a4", undone=NOW - 300.0, undone_by="bo", undone_because="was wrong")
    return told, mute, old, undone


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    made = config(tmp_path_factory.mktemp("report"), security={"enabled": False})
    news = News(findings=incidents(), history=panes() + panes("m/all/kind=x", 2_000), interventions=acts())
    write(made, news)
    return made


def told(settings: Config, days: float = 2.0, **figures: float) -> dict[str, Any]:
    span = Span(NOW - days * DAY, NOW + 60, NOW + 60)
    with reading(settings.store.path) as archive:
        found = gather(settings, archive, span, settings.models, {"m": figures} if figures else {})
    return json.loads(json.dumps(found, allow_nan=False))  # type: ignore[no-any-return]


def test_a_period_has_what_was_open_in_it_and_counts_what_began(settings: Config) -> None:
    alarmed = told(settings)["models"][0]["alarmed"]
    assert [one["id"][0] for one in alarmed["list"]] == ["4", "2", "1"]
    assert (alarmed["incidents"], alarmed["carried_in"], alarmed["findings"]) == (2, 1, 3)
    assert alarmed["severity"] == {"ticket": 1, "page": 1}
    assert alarmed["list"][1]["joined"] == 1
    assert alarmed["list"][1]["acknowledged"] == NOW - 9_400.0
    assert (alarmed["open_at_the_end"], alarmed["muted"]) == (1, 1)
    assert alarmed["median_seconds_to_acknowledge"] == 600.0
    assert alarmed["median_seconds_to_recover"] == 1_500.0
    assert [one["id"][0] for one in told(settings, 10)["models"][0]["alarmed"]["list"]] == ["4", "2", "1", "0"]


def test_what_was_done_in_the_period_is_told_also_where_it_was_taken_back(settings: Config) -> None:
    done = told(settings)["models"][0]["done"]
    assert {one["id"] for one in done} == {"a1", "a2", "a4"}
    assert {one["id"]: one["active"] for one in done} == {"a1": True, "a2": True, "a4": False}


def test_what_changed_is_told_by_its_strongest_evidence_and_without_what_only_went_on(settings: Config) -> None:
    changed = told(settings)["models"][0]["changed"]
    assert [(one["unit"], len(one["incidents"])) for one in changed] == [("right", 2)]
    assert changed[0]["since"] == NOW - 10_060.0
    assert "70 %" in changed[0]["size"]


def test_what_only_joined_an_incident_is_told_too_and_each_incident_once(tmp_path: Path) -> None:
    made = config(tmp_path, security={"enabled": False})
    first, second = NOW - 5_000.0, NOW - 4_000.0
    unit = json.loads(finding("h" * 16).document)["units"][0]
    head = finding("h" * 16, document={"time": first, "units": [unit | {"unit": "all senders", "log_e": 3.0}] * 2})
    wide = finding("j" * 16, document={"time": second, "units": [unit | {"unit": "income", "log_e": 99.0}]})
    write(made, News(findings=(head, dataclasses.replace(wide, joins=head.id))))
    changed = told(made)["models"][0]["changed"]
    assert [(one["unit"], one["incidents"]) for one in changed] == [
        ("income", [head.id]),
        ("all senders", [head.id]),
    ]


def test_rows_of_all_versions_are_counted_and_those_of_segments_only_once(tmp_path: Path) -> None:
    made = config(tmp_path, security={"enabled": False})
    old, new = panes("m/v1")[:1_800], panes("m/v2", 1_440)
    write(made, News(history=old + new + panes("m/v1/kind=x")[:1_800]))
    model = told(made)["models"][0]
    assert (model["rows"], model["panes"]) == (200 * (1_800 + 1_440), 1_800 + 1_440)
    assert model["calibration"]["panes"] == 2_880  # two versions at once have one budget
    assert f"<b>{200 * 3_240:,}</b>rows judged" in page.html(told(made))


def test_streams_come_by_their_evidence_with_few_points_that_keep_the_peaks(settings: Config) -> None:
    streams = told(settings)["models"][0]["streams"]
    assert [one["stream"] for one in streams] == ["all", "all/kind=x"]
    first = streams[0]
    assert (first["panes"], first["rows"]) == (2_880, 576_000)
    assert first["highest"] == 41.0
    assert first["panes_in_alarm"] == 167 + 720  # since the page that is still open, and until the old one's end
    assert first["evidence"][len(first["evidence"]) * 40 // 2880][1] == 41.0  # an alarm's own height, in its pane
    assert len(first["evidence"]) <= 600
    assert max(point[1] for point in first["evidence"]) == first["highest"]


def test_calibration_says_what_was_promised_and_what_the_agent_measured(settings: Config) -> None:
    calibration = told(settings)["models"][0]["calibration"]
    assert calibration["selfcheck"] is None
    assert calibration["false_pages_allowed"] == pytest.approx(2_880 / settings.models[0].run_length)
    assert calibration["pages"] == 1
    measured = {"panes": 5_000.0, "false_alarms": 0.0, "injected": 40.0, "found": 39.0, "delay_panes": 7.0}
    text = page.html(told(settings, **measured))
    assert "0 false pages in 5,000 resampled panes" in text
    assert "Of 40 shifts of twice the smallest one that matters, 39 were found, half of them within 7 panes" in text


class Tags(HTMLParser):
    """Collects what a page would load or run, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [name for name, _ in attrs if name in ("src", "href", "xlink:href") or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_loads_nothing_runs_nothing_and_shows_hostile_text_as_text(settings: Config) -> None:
    text = page.html(told(settings))
    tags = Tags()
    tags.feed(text)
    assert tags.loads == []
    assert not tags.tags & {"script", "link", "img", "iframe", "object"}
    assert "url(" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert any("<script>alert(1)</script>" in one for one in tags.text)
    assert "2 incidents began (1 ticket, 1 page). 1 went on from before. 1 was still going on" in text


def test_an_empty_period_says_so(settings: Config) -> None:
    with reading(settings.store.path) as archive:
        found = gather(settings, archive, Span(0.0, 60.0, NOW), settings.models, {})
    text = page.html(found)
    assert "Nothing was judged in this period" in text
    assert "Nobody acknowledged" in text


def test_a_plot_without_evidence_or_with_endless_evidence_is_drawn() -> None:
    far: list[list[float | None]] = [[5.0, 1e300, 11.0, None], [6.0, -40.0, 11.0, 1e300], [7.0, 3.0, 11.0, 2.0]]
    none: list[list[float | None]] = [[5.0, None, 11.0, None]]
    for points in (none[:0], none, far):
        plot = Evidence("all", 0.0, 10.0, points, [])
        assert plot.svg().startswith("<svg")
        assert "nan" not in plot.svg()
    assert "nothing was judged" in Evidence("all", 0.0, 10.0, [], []).says()


@pytest.mark.parametrize(("wide", "text"), [(3_600, ":"), (7 * DAY, " Sep"), (400 * DAY, " ")])
def test_ticks_are_few_and_round(wide: float, text: str) -> None:
    found = ticks(NOW - wide, NOW)
    assert 2 <= len(found) <= 16
    assert all(NOW - wide <= time <= NOW for time, _ in found)
    assert text in found[-1][1]
    assert ticks(0.0, 0.0) == [(0.0, "00:00")]


def test_figures_are_read_from_metrics_by_model() -> None:
    text = (
        "# TYPE driftwarden_selfcheck_panes_total counter\n"
        'driftwarden_selfcheck_panes_total{model="m"} 120\n'
        "# TYPE driftwarden_selfcheck_delay_panes gauge\n"
        'driftwarden_selfcheck_delay_panes{model="m"} NaN\n'
    )
    assert list(_samples(text)) == [("m", "panes", 120.0)]


def run(settings: Config, folder: Path, *arguments: str) -> Result:
    file = folder / "c.yaml"
    file.write_text(describe(settings), "utf-8")
    return CliRunner().invoke(report, ["-c", str(file), *arguments], catch_exceptions=False)


def test_the_command_writes_a_page_and_prints_a_summary_or_json(settings: Config, tmp_path: Path) -> None:
    since = ("--since", str(NOW - 2 * DAY), "--until", str(NOW + 60))
    said = run(settings, tmp_path, *since, "--out", str(tmp_path / "report.html"))
    assert said.exit_code == 0
    assert "m: 2 incidents began" in said.output
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")
    document = json.loads(run(settings, tmp_path, *since, "--json").output)
    assert document["models"][0]["alarmed"]["incidents"] == 2
    assert run(settings, tmp_path, "--since", "2026-01-02", "--until", "2026-01-01").exit_code == 2
    assert run(settings, tmp_path, "--since", "2026-01-02", "--last", "7d").exit_code == 2


def test_coverage_is_still_told_without_a_store(tmp_path: Path) -> None:
    found = json.loads(run(config(tmp_path / "other"), tmp_path, "--coverage", "--json").output)
    assert len(found[0]["modes"]) == 17


def test_whether_the_model_was_right_is_told_from_the_last_checkpoint(tmp_path: Path) -> None:
    made = config(tmp_path, security={"enabled": False})
    write(made, News())
    assert told(made)["models"][0]["right"] is None
    kept = Timeline(1)
    figure = {"accuracy": Figure("accuracy", 0.8, 0.7, 0.9, 0.05, 100), "f1": Figure("f1", *(math.nan,) * 4, 0)}
    kept.windows = (Window("v<b>", NOW - 7_000, NOW - 6_000, figure), Window("old", NOW - 9e5, NOW - 8e5, figure))
    right = {"accuracy": figure["accuracy"]._replace(value=0.6, n=300)}
    kept.truths = {1: Truth(NOW - 7_200, NOW - 3_600, 90, figure), 2: Truth(NOW - 3_600, NOW, 90, right)}
    with Store(made.store.path, ManualClock(NOW)) as store:
        store.commit(Checkpoint(9, {f"m/{TIMELINE}": kept.state()}, {}, {}, NOW), News())
    found = told(made)
    accuracy, f1 = found["models"][0]["right"]["metrics"]
    assert accuracy["realised"] == pytest.approx((0.8 * 100 + 0.6 * 300) / 400)
    assert (accuracy["lowest"], accuracy["highest"], accuracy["estimated"]) == (0.6, 0.8, 0.8)
    assert [one["stream"] for one in accuracy["windows"]] == ["v<b>"]
    assert (f1["realised"], f1["by_labels"]) == (None, [])
    text = page.html(found)
    assert "Was it right?" in text
    assert text.count('class="line told"') == 2
    assert "v<b>" not in text
