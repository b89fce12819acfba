from __future__ import annotations

import io
import math
import os
import re
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from monitor.config import load
from monitor.demo import processes, show, verdict
from monitor.demo.classifier import Classifier
from monitor.demo.files import COLUMNS, EPISODE, folder
from monitor.demo.server import read_requests
from monitor.demo.telemetry import Follower, Scrape, Speed
from monitor.demo.verdict import Log
from monitor.demo.view import Lines, Screen, Status, performance
from monitor.errors import DriftwardenError
from monitor.replay import replay
from monitor.signals import Signals

LOG = Log(pane_rows=500, window_panes=20, rows=208_892)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return Classifier.load(folder() / "model.json")


@pytest.fixture(scope="module")
def requests(model: Classifier) -> pa.Table:
    return read_requests(folder() / "production.parquet", model)


# The data.


def test_the_committed_files_are_small_and_carry_their_licence() -> None:
    files = [file for file in folder().iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 3_000_000
    assert "Niels Nuyttens" in (folder() / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in (folder() / "LICENSE").read_text(encoding="utf-8")
    assert "NannyML/nannyml@4c86ee350d" in (folder() / "README.md").read_text(encoding="utf-8")


def test_all_rows_are_there_in_the_order_of_the_source() -> None:
    reference = pq.read_table(folder() / "reference.parquet")
    production = pq.read_table(folder() / "production.parquet")
    ids = np.concatenate([np.asarray(reference["id"]), np.asarray(production["id"])])
    assert np.array_equal(ids, np.arange(68_785 + 208_892))
    assert (np.diff(np.asarray(production["time"].cast(pa.int64()))) > 0).all()


def test_the_episode_lies_where_it_is_documented(requests: pa.Table) -> None:
    grouped = np.isin(np.array(requests["RELP"].to_pylist()), ["16", "17"])
    rows = np.flatnonzero(grouped)
    rows = rows[rows >= 100_000]
    assert (rows[0], rows[-1]) == (133_619, 143_889)
    assert EPISODE[0] < rows[0] < rows[-1] < EPISODE[1]


@pytest.mark.parametrize("name", ["reference.parquet", "production.parquet"])
def test_stored_answers_are_those_of_the_model(name: str, model: Classifier) -> None:
    table = pq.read_table(folder() / name)
    prediction, score = model.answer(table)
    np.testing.assert_allclose(score, np.asarray(table["score"]), atol=1e-6)
    assert (prediction != np.asarray(table["prediction"])).mean() < 1e-5  # a score of just one half may round away


def test_the_model_is_of_use(model: Classifier) -> None:
    table = pq.read_table(folder() / "reference.parquet")
    truth = np.asarray(table["employed"]) == 1
    score = model.score(table)
    rng = np.random.default_rng(0)
    yes, no = rng.choice(score[truth], 20_000), rng.choice(score[~truth], 20_000)
    assert 0.88 < (yes > no).mean() < 0.92


def test_demo_yaml_finds_the_drift_and_nothing_else() -> None:
    lines: list[dict[str, Any]] = []
    config = load(folder() / "demo.yaml")
    outcome = replay(config, [str(folder() / "production.parquet")], emit=lines.append)
    found = verdict.judge(lines[:-1], LOG)
    assert outcome[0].rows == LOG.rows
    assert found.good
    assert found.page is not None
    assert found.page["pane"] <= 268 + 3, "a few panes after the first affected one"
    assert found.end is not None
    named = {unit["unit"] for line in (found.page, *found.joined) for unit in line["units"]}
    assert named.issuperset(COLUMNS)


# What the agent says.

SCRAPE = """\
driftwarden_snapshot_timestamp_seconds 100
driftwarden_ingest_received_rows_total{source="flight",model="employment"} 2500
driftwarden_outcome_predictions_total{model="employment",fate="kept"} 1499
driftwarden_outcome_predictions_total{model="employment",fate="repeated"} 1
driftwarden_outcome_predictions_total{model="other",fate="kept"} 7
driftwarden_outcome_labels_total{model="employment",fate="joined"} 990
driftwarden_outcome_labels_total{model="employment",fate="repeated"} 10
driftwarden_performance_estimate{model="employment",stream="v1",metric="accuracy"} 0.8125
driftwarden_performance_estimate{model="employment",stream="v1",metric="auroc"} 0.9
driftwarden_performance_reference{model="employment",metric="accuracy"} 0.8225
driftwarden_buffered_rows{place="queue"} 30
driftwarden_panes_closed_total{model="employment",stream="v1"} 3
driftwarden_findings_total{model="employment",severity="page",triage="shift"} 1
driftwarden_findings_total{model="employment",severity="info",triage="shift"} 4
driftwarden_findings_recovered_total{model="employment"} 2
driftwarden_watermark_timestamp_seconds{model="employment",stream="v1"} 1451606400
driftwarden_evidence_log_e{model="employment",stream="v1"} 3.5
driftwarden_alarm_threshold_log_e{model="employment",stream="v1"} 9.2
driftwarden_alarm_active{model="employment",stream="v1"} 1
driftwarden_feature_log_e{model="employment",stream="v1",feature="AGEP",detector="e_ks"} 1
driftwarden_feature_log_e{model="employment",stream="v1",feature="RELP",detector="e_ks"} 12
driftwarden_feature_log_e{model="employment",stream="v1",feature="AGEP",detector="e_missing"} 2
driftwarden_feature_effect{model="employment",stream="v1",feature="RELP",measure="psi"} 3
driftwarden_feature_effect{model="employment",stream="v1",feature="RELP",measure="total_variation"} 0.5
"""


def test_a_scrape_gives_the_strongest_column_first() -> None:
    scrape = Scrape.of(SCRAPE)
    assert (scrape.received, scrape.queued, scrape.panes, scrape.findings, scrape.recoveries) == (1500, 30, 3, 5, 2)
    assert performance(scrape) == "accuracy 0.812 estimated, 0.823 of the reference  990 labels"
    assert scrape.alarm
    assert scrape.log_e == 3.5
    assert [(column.name, column.log_e) for column in scrape.columns] == [("RELP", 12.0), ("AGEP", 2.0)]
    assert scrape.columns[0].distance == 0.5
    assert math.isnan(scrape.columns[1].distance)


def test_a_scrape_before_the_first_row_has_no_evidence() -> None:
    scrape = Scrape.of("")
    assert scrape.log_e == -math.inf
    assert math.isnan(scrape.threshold)
    assert scrape.columns == ()
    assert performance(scrape) == "accuracy not known yet"


def test_speed_is_that_between_snapshots() -> None:
    speed = Speed()
    given = [Scrape(taken=1.0, received=0), Scrape(taken=1.0, received=0), Scrape(taken=3.0, received=500)]
    assert [speed.follow(scrape) for scrape in given] == [0.0, 0.0, 250.0]
    assert speed.follow(given[-1]) == 250.0


def test_lines_are_read_when_they_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    follower = Follower(path)
    assert follower.news() == []
    with path.open("w", encoding="utf-8") as file:
        for text, expected in (('{"a": 1}\n{"a"', [1]), ("", []), (": 2}\n", [2]), ('{"a": 3}\n', [3])):
            file.write(text)
            file.flush()
            assert [line["a"] for line in follower.news()] == expected


# The verdict.


def finding(pane: int, severity: str = "page", *units: str) -> dict[str, Any]:
    named = [{"unit": unit, "effect": 0.25} for unit in units or ("RELP",)]
    return {"kind": "finding", "id": f"f{pane}", "pane": pane, "severity": severity, "units": named, "time": 1.5e9}


def recovery(pane: int, *ids: str) -> dict[str, Any]:
    return {"kind": "recovery", "pane": pane, "units": ["RELP", "RELP"], "findings": list(ids), "time": 1.5e9}


def test_a_page_in_the_episode_that_recovers_is_as_documented() -> None:
    lines = [finding(20, "info", "ANC"), finding(268), finding(270, "ticket", "MAR"), recovery(289, "f268")]
    found = verdict.judge(lines, LOG)
    assert found.good
    assert found.page == lines[1]
    assert found.end == lines[3]
    assert found.joined == (lines[2],)
    text = "\n".join(verdict.summary(found, LOG, 25.0))
    assert "found      pane 268  row 134,000" in text
    assert "recovered  pane 289  row 144,500" in text
    assert "1 smaller changes, nobody was called: ANC" in text
    assert "verdict    the documented drift was found, and nothing else" in text


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "nothing was found"),
        ([finding(268, "ticket")], "a ticket calls nobody at night"),
        ([finding(268, "page", "MAR", "score")], "no documented column"),
        ([finding(260)], "before the episode"),
        ([finding(268), finding(100)], "a false page before"),
        ([finding(268), finding(400, "page", "ANC")], "a false page after"),
        ([finding(268), finding(400, "ticket", "ANC")], "a false ticket after"),
    ],
)
def test_anything_else_is_not(lines: list[dict[str, Any]], why: str) -> None:
    found = verdict.judge(lines, LOG)
    assert not found.good, why
    assert verdict.summary(found, LOG, 25.0)[-1] == "verdict    not as documented"


@pytest.mark.parametrize(
    ("pane", "where"),
    [(1, "before"), (260, "before"), (261, "episode"), (290, "episode"), (291, "recovering"), (310, "recovering")],
)
def test_panes_are_placed_by_their_rows(pane: int, where: str) -> None:
    assert LOG.where(pane) == where
    assert LOG.where(311) == "after"


def test_the_summary_says_when_an_alarm_did_not_end() -> None:
    text = "\n".join(verdict.summary(verdict.judge([finding(268)], LOG), LOG, 1.0))
    assert "recovered  not yet at the end of the log" in text


# The view.


def status(text: str = SCRAPE) -> Status:
    return Status(Scrape.of(text), 250.0, LOG, "http://127.0.0.1:9710/metrics")


def test_lines_tell_events_as_they_come_and_the_address() -> None:
    written = io.StringIO()
    lines = Lines(Console(file=written, width=80))
    lines.update(status(), [finding(268)])
    lines.update(status(), [recovery(289, "f268")])
    lines.close()
    text = written.getvalue().splitlines()
    assert text[0] == "metrics at http://127.0.0.1:9710/metrics"
    assert text[1].endswith("page    RELP +0.25")
    assert text[2].startswith("2016-01-01  row 1,500 of 208,892  pane 3 of 417")
    assert text[3].endswith("back    RELP")


def test_the_screen_shows_evidence_against_the_threshold() -> None:
    written = io.StringIO()
    screen = Screen(Console(file=written, width=120, force_terminal=True, color_system=None))
    screen.update(status(""), [])
    screen.update(status(), [finding(268), recovery(289, "f268")])
    screen.close()
    screen.close()
    text = written.getvalue()
    assert "no pane yet" in text
    assert " ALARM " in text
    assert "3.5 of 9.2" in text
    assert text.index("RELP  ") < text.index("AGEP  ")
    assert "50.0%" in text
    assert "back    RELP" in text


# The processes.


def test_the_agent_gets_a_configuration_that_is_valid_and_in_its_folder() -> None:
    with processes.place(0) as where:
        config = load(where.configuration())
        assert config.store.path == where.path / "store"
        assert str(config.endpoint.address) == f"127.0.0.1:{where.port}"
        assert config.web.address_text == where.pages
        assert Path(config.models[0].reference.paths[0]).is_file()
        assert config.models[0].alarms == load(folder() / "demo.yaml").models[0].alarms
        assert len({where.port, where.flight_port, where.web_port}) == 3
    assert not where.path.exists()


def test_a_port_that_is_taken_is_refused_before_anything_starts() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(DriftwardenError, match=r"--port: .* cannot be used"),
        processes.place(taken.getsockname()[1]),
    ):
        pass
    with pytest.raises(DriftwardenError, match="is no port"), processes.place(70_000):
        pass


def test_a_child_that_breaks_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = processes.module("monitor", "validate", "--config", "nowhere.yaml")
    with processes.Process("model server", command, tmp_path / "log") as child:
        child._child.wait(60)
        with pytest.raises(DriftwardenError, match=r"model server ended with code 78(.|\n)*nowhere\.yaml"):
            _ = child.ended


def test_a_child_does_not_outlive_its_block(tmp_path: Path) -> None:
    command = processes.module("http.server", "0", "--bind", "127.0.0.1")
    with processes.Process("server", command, tmp_path / "log") as child:
        assert not child.ended
        pid = child.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_nobody_there_is_no_answer() -> None:
    with processes.place(0) as where:
        assert processes.get(where.port, "/readyz") is None


def test_a_signal_ends_the_demo_before_it_has_begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    signals = Signals()
    signals.wake.set()
    assert show.show(signals, once=True, port=0) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_demo_runs_to_its_end_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert show.show(Signals(), once=True, port=0, seconds=4.0) == 0
    text = capsys.readouterr().out
    assert "verdict    the documented drift was found, and nothing else" in text
    assert "208,892 rows in 417 panes" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_demo_serves_until_a_signal_comes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    signals = Signals()
    kept = threading.Event()
    wait = signals.wake.wait

    def until_kept(timeout: float | None = None) -> bool:
        if kept.is_set():
            signals.wake.set()
        return wait(timeout)

    def keep(self: show.Demo, signals: Signals, console: Console) -> None:
        assert processes.get(self._where.port, "/metrics") is not None
        kept.set()
        real(self, signals, console)

    real = show.Demo.keep
    monkeypatch.setattr(show.Demo, "keep", keep)
    monkeypatch.setattr(signals.wake, "wait", until_kept)
    assert show.show(signals, once=False, port=0, seconds=2.0) == 0
    assert re.search(r"the agent goes on: http://127\.0\.0\.1:\d+/metrics, incidents at http:", capsys.readouterr().out)
    assert list(tmp_path.iterdir()) == []


def test_a_column_is_named_once_with_the_furthest_that_it_moved() -> None:
    line = finding(100)
    units = [{"unit": "AGEP", "effect": -0.05}, {"unit": "MAR", "effect": None}, {"unit": "AGEP", "effect": 0.23}]
    assert verdict.event({**line, "units": units}, LOG).endswith("  AGEP +0.23, MAR")
