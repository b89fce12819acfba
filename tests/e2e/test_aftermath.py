"""After a real drift on a real agent: what is done from the command line, exported, bundled and reported beside it."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from monitor import cli_act, cli_report
from monitor.archive import reading
from monitor.exports import table as exported
from tests.e2e.conftest import Agent, ipc, table

MODEL: dict[str, Any] = {
    "name": "m",
    "columns": {"time": "ts", "id": "row"},
    "pane": {"every": "10s"},
    "window": {"panes": 10},
    "alarms": {"false_alarms": "1 per 1000 panes", "smallest_shift": 0.05},
}


def drifted(begin: float) -> pa.Table:
    """Ten minutes of rows; x0 moves after four of them."""
    whole = pa.concat_tables([table(4_000, 5), table(6_000, 6, shift=1.0)])
    number = np.arange(whole.num_rows)
    return whole.append_column("ts", pa.array(begin + 0.06 * number)).append_column(
        "row", pa.array([f"r{i}" for i in number])
    )


@pytest.fixture
def agent(make_agent: Callable[..., Agent], tmp_path: Path) -> Agent:
    """An agent that has seen the drift, written it down and kept the rows."""
    reference = tmp_path / "timed.parquet"
    begin = time.time() - 700
    old = drifted(begin - 86_400).slice(0, 4_000)
    pq.write_table(old, reference)
    made = make_agent(models=[MODEL | {"reference": str(reference)}], store={"path": "state", "checkpoint": "0.5s"})
    made.start()
    rows = drifted(begin)
    for start in range(0, rows.num_rows, 1_000):
        assert made.post(ipc(rows.slice(start, 1_000))).status_code == 202
    made.settled(rows.num_rows)
    made.wait(lambda: any((made.folder / "state" / "kept").glob("*.seg")))
    made.wait(lambda: made.value("driftwarden_findings_total", 'severity="page"') > 0)
    return made


def run(agent: Agent, verb: Any, *arguments: str) -> Any:
    found = CliRunner().invoke(verb, ["-c", str(agent.config), *arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def head(agent: Agent) -> str:
    with reading(agent.folder / "state") as archive:
        return archive.briefs(heads=True, severity="page")[-1].id


def test_rows_leave_as_weights_and_for_labelling_beside_the_running_agent(agent: Agent, tmp_path: Path) -> None:
    finding, out = head(agent), tmp_path / "weights.parquet"
    facts = json.loads(run(agent, cli_report.export, "weights", "--finding", finding, "--out", str(out), "--json"))
    assert facts["balance"][0]["column"] == "x0"
    assert facts["most_apart"] > 0.8
    assert facts["most_apart_weighted"] < 0.2
    assert 300 < facts["effective_rows"] < 3_900
    rows = pq.read_table(out)
    assert rows.num_rows == facts["reference_rows"] + facts["recent_rows"]
    run(agent, cli_report.export, "labelling", "--finding", finding, "--rows", "50", "--out", str(out))
    label = pq.read_table(out)
    assert label.num_rows == 50
    assert label["x0"].to_numpy().mean() > 0.8
    run(agent, cli_report.export, "telling", "--finding", finding, "--out", str(out))
    assert exported.facts_of(out)["rows"] > 0


def test_the_report_tells_the_drift_and_what_was_done_about_it(agent: Agent, tmp_path: Path) -> None:
    finding, out = head(agent), tmp_path / "report.html"
    said = run(agent, cli_act.acknowledge, finding, "--because", "looking at it", "--by", "ana")
    assert "Acknowledged" in said
    made = json.loads(
        run(agent, cli_act.mute, "--model", "m", "--column", "x1", "--for", "1h", "--because", "known", "--json")
    )
    run(agent, cli_act.undo, made[0]["id"], "--because", "it was another one", "--by", "bo")
    assert run(agent, cli_act.interventions, "--model", "m").count("\n") == 2
    agent.wait(lambda: agent.value("driftwarden_findings_attended", 'state="acknowledged"') > 0)
    document = json.loads(run(agent, cli_report.report, "--last", "1h", "--json", "--out", str(out)))
    model = document["models"][0]
    assert model["alarmed"]["severity"]["page"] >= 1
    assert model["changed"][0]["unit"] == "x0"
    assert {one["kind"] for one in model["done"]} == {"acknowledge", "mute"}
    assert model["streams"][0]["highest"] >= model["streams"][0]["threshold"]
    assert 0 < model["streams"][0]["panes_in_alarm"] < model["streams"][0]["panes"]
    assert out.read_text("utf-8").count("<figure>") >= 1


def test_the_bundle_of_a_running_agent_has_its_metrics_log_and_threads(agent: Agent, tmp_path: Path) -> None:
    out = tmp_path / "support.zip"
    run(agent, cli_report.support_bundle, "--out", str(out))
    with zipfile.ZipFile(io.BytesIO(out.read_bytes())) as made:
        files = {name.partition("/")[2]: made.read(name).decode() for name in made.namelist()}
    assert "driftwarden_processed_rows_total" in files["metrics.txt"]
    assert any(json.loads(line)["msg"] == "ready" for line in files["log.jsonl"].splitlines())
    assert "driftwarden-engine" in files["threads.txt"]
    assert json.loads(files["findings.jsonl"].splitlines()[0])["model"] == "m"
