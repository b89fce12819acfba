from __future__ import annotations

import json
import time
from collections.abc import Callable

import pyarrow as pa
import yaml

from tests.e2e.conftest import Agent, ipc, table


def _timed(rows: int, seed: int, start: float, shift: float = 0.0) -> bytes:
    """Rows one second apart."""
    one = table(rows, seed, shift)
    return ipc(one.append_column("ts", pa.array([start + i for i in range(rows)], pa.float64())))


def test_reference_is_learnt_from_the_first_traffic_and_kept_over_a_kill(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    document = yaml.safe_load(agent.config.read_text())
    document["models"][0]["reference"] = {"learn_rows": 2500}
    document["store"]["checkpoint"] = "200ms"
    agent.config.write_text(yaml.safe_dump(document))
    agent.start()
    for seed in range(10):
        assert agent.post(ipc(table(100, seed))).status_code == 202
    agent.settled(1000)
    agent.wait(lambda: agent.value("driftwarden_checkpoints_total") >= 1)
    agent.kill()
    agent.start()
    for seed in range(10, 40):
        assert agent.post(ipc(table(100, seed))).status_code == 202
    agent.settled(4000)
    agent.wait(lambda: agent.value("driftwarden_reference_rows") == 2500)
    agent.wait(lambda: agent.value("driftwarden_panes_closed_total") == 15)
    assert agent.stop() == 0


def test_panes_close_by_the_clockwork_when_rows_stop_coming(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    document = yaml.safe_load(agent.config.read_text())
    document["models"][0] |= {"pane": {"every": "2s", "lateness": "0s"}, "columns": {"time": "ts"}}
    agent.config.write_text(yaml.safe_dump(document))
    agent.start()
    start = time.time() // 2 * 2
    assert agent.post(_timed(2, 1, start)).status_code == 202
    agent.wait(lambda: agent.value("driftwarden_panes_closed_total") == 1, 15)


def test_times_of_year_1_and_9999_are_discarded_and_do_not_move_the_clock(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    document = yaml.safe_load(agent.config.read_text())
    document["models"][0] |= {"pane": {"every": "60s", "lateness": "0s"}, "columns": {"time": "ts"}}
    agent.config.write_text(yaml.safe_dump(document))
    agent.start()
    start = 1_700_000_040.0 // 60 * 60
    assert agent.post(_timed(120, 1, start)).status_code == 202
    for wild in (-62_135_596_800.0, 253_402_300_000.0):
        assert agent.post(_timed(1, 2, wild)).status_code == 202
    assert agent.post(_timed(120, 3, start + 120)).status_code == 202
    agent.settled(242)
    assert agent.value("driftwarden_discarded_rows_total", 'reason="implausible_time"') == 2
    assert agent.value("driftwarden_processed_rows_total") == 240
    assert agent.value("driftwarden_panes_closed_total") >= 3


def test_finding_is_told_in_the_file_with_its_columns_and_kept_with_evidence(make_agent: Callable[..., Agent]) -> None:
    from monitor.clock import SystemClock
    from monitor.evidence import unpack_evidence
    from monitor.store import Store

    agent = make_agent()
    agent.start()
    for seed in range(30):
        assert agent.post(ipc(table(100, seed, shift=2.0 if seed >= 15 else 0.0))).status_code == 202
    agent.settled(3000)
    assert agent.stop() == 0
    lines = [json.loads(line) for line in (agent.folder / "state" / "findings.jsonl").read_text().splitlines()]
    page = next(line for line in lines if line["kind"] == "finding" and line["severity"] == "page")
    assert page["units"][0]["unit"] == "x0"
    assert page["pane"] in (16, 17)
    assert page["since_pane"] == 16
    with Store(agent.folder / "state", SystemClock()) as store:
        row = store.finding(page["id"])
    assert row is not None
    kept = unpack_evidence(row.evidence)
    histogram, rows = kept["histograms"], kept["rows"]
    assert set(histogram.column("unit").to_pylist()) >= {"x0"}
    assert rows.num_rows > 0
    assert rows.column_names == ["x0", "x1", "x2", "x3", "kind"]
