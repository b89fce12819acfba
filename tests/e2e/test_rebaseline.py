"""A person says that the traffic of now is the new normal; what follows outlives a kill, and can be taken back."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import yaml
from pyarrow import parquet as pq

from tests.e2e.conftest import Agent, ipc, table


def quick(agent: Agent) -> Agent:
    """With a checkpoint five times a second, so that rows are kept soon."""
    document = yaml.safe_load(agent.config.read_text())
    document["store"]["checkpoint"] = "200ms"
    agent.config.write_text(yaml.safe_dump(document))
    agent.start()
    return agent


def send(agent: Agent, seeds: range, shift: float = 2.0) -> None:
    for seed in seeds:
        assert agent.post(ipc(table(200, seed, shift))).status_code == 202


def told(agent: Agent, *words: str) -> subprocess.CompletedProcess[str]:
    """A command about the running agent."""
    command = [sys.executable, "-m", "monitor", words[0], "--config", str(agent.config), "--json", *words[1:]]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def done(agent: Agent, *words: str) -> dict[str, Any]:
    ran = told(agent, *words)
    assert ran.returncode == 0, ran.stderr
    (one,) = json.loads(ran.stdout)
    return dict(one)


def history(agent: Agent) -> list[dict[str, Any]]:
    text = (agent.folder / "state" / "references" / "history.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_rebaseline_ends_the_finding_and_is_kept_with_its_reason_over_a_kill(make_agent: Callable[..., Agent]) -> None:
    agent = quick(make_agent())
    send(agent, range(10))
    agent.settled(2000)
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'severity="page"') >= 1)
    why = ("--because", "the new tariff is here to stay", "--by", "ana")
    assert "'other' is not watched" in told(agent, "rebaseline", "--model", "other", *why).stderr
    asked = done(agent, "rebaseline", "--model", "m", *why, "--rows", "3000")
    assert asked["by"] == "ana (anonymous)"
    assert told(agent, "rebaseline", "--model", "m", *why, "--rows", "1").returncode == 2
    send(agent, range(10, 16))
    agent.settled(3200)
    before = agent.value("driftwarden_checkpoints_total")
    agent.wait(lambda: agent.value("driftwarden_checkpoints_total") > before + 1)
    agent.kill()
    agent.start()
    send(agent, range(16, 30))
    agent.settled(6000)
    agent.wait(lambda: agent.value("driftwarden_reference_rows") == 3000)
    assert agent.value("driftwarden_rebaselines_total") == 1
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'severity="page"') == 0)
    (line,) = history(agent)
    assert {key: line[key] for key in ("id", "because", "by", "rows")} == {
        "id": asked["id"],
        "because": why[1],
        "by": "ana (anonymous)",
        "rows": 3000,
    }
    agent.kill()
    agent.start()
    assert agent.value("driftwarden_reference_rows") == 3000
    undone = done(agent, "undo", asked["id"], "--because", "it was a mistake", "--by", "bob")
    assert undone["undone_by"] == "bob (anonymous)"
    assert agent.value("driftwarden_rebaselines_total") == 0
    agent.wait(lambda: agent.value("driftwarden_reference_rows") == 4000)
    assert [("undone" in one) for one in history(agent)] == [False, True]
    assert agent.stop() == 0


def test_the_rows_of_a_span_become_the_reference_at_once(make_agent: Callable[..., Agent]) -> None:
    agent = quick(make_agent())
    send(agent, range(6), shift=0.0)
    agent.settled(1200)
    time.sleep(1.0)  # rows without a time of their own are told apart by when they came
    moved = time.time()
    send(agent, range(10, 20))
    agent.settled(3200)
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'severity="page"') >= 1)
    agent.wait(lambda: agent.value("driftwarden_spool_bytes") == 0)
    why = ("--because", "the new tariff is here to stay")
    few = told(agent, "rebaseline", "--model", "m", *why, "--since", str(moved + 3600), "--until", str(moved + 7200))
    assert "0 rows of this span are kept" in few.stderr
    pages = yaml.safe_load(agent.config.read_text())["web"]["listen"]
    for kind, target in (("rebaseline", {"since": "x", "until": 5}), ("quarantine", {"clients": 5})):
        wish = {"kind": kind, "model": "m", "target": target, "because": "the new tariff"}
        refused = httpx.post(f"http://{pages}/api/v1/interventions", json=wish)
        assert (refused.status_code, "target" in refused.text) == (400, True)
    asked = done(agent, "rebaseline", "--model", "m", *why, "--since", str(moved))
    agent.wait(lambda: agent.value("driftwarden_reference_rows") == 2000)
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'severity="page"') == 0)
    send(agent, range(30, 45))
    agent.settled(6200)
    agent.wait(lambda: agent.value("driftwarden_panes_closed_total") == 62)
    assert agent.value("driftwarden_findings_open", 'severity="page"') == 0
    done(agent, "undo", asked["id"], "--because", "it was a mistake")
    agent.wait(lambda: agent.value("driftwarden_reference_rows") == 4000)
    send(agent, range(50, 60))
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'severity="page"') >= 1)
    assert agent.stop() == 0


def test_a_reference_of_a_span_takes_the_labels_that_came_alone(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    reference = answered(4_000, 0, right=0.9)
    pq.write_table(reference, agent.folder / "reference.parquet")
    document = yaml.safe_load(agent.config.read_text())
    document["models"][0]["columns"] = {"id": "id", "prediction": "said", "label": "truth"}
    document["models"][0]["security"] = {"enabled": False}
    agent.config.write_text(yaml.safe_dump(document))
    quick(agent)
    began = time.time()
    rows = answered(2_000, 1, right=0.6)
    for part in (rows.drop_columns(["truth"]), rows.select(["id", "truth"])):
        assert agent.post(ipc(part)).status_code == 202
    agent.wait(lambda: agent.value("driftwarden_outcome_labels_total", 'fate="joined"') == 2_000)
    agent.wait(lambda: agent.value("driftwarden_spool_bytes") == 0)
    accuracy = 'metric="accuracy"'
    assert agent.value("driftwarden_performance_reference", accuracy) > 0.85
    done(agent, "rebaseline", "--model", "m", "--because", "the world has changed", "--since", str(began - 60))
    agent.wait(lambda: agent.value("driftwarden_reference_rows") == 2_000)
    agent.wait(lambda: 0.5 < agent.value("driftwarden_performance_reference", accuracy) < 0.7)
    assert agent.stop() == 0


def answered(rows: int, seed: int, right: float) -> pa.Table:
    """Rows with ids, answers and labels, of which a share is right."""
    rng = np.random.default_rng(seed)
    said = rng.integers(0, 2, rows)
    columns: dict[str, Any] = {"id": [f"{seed}-{i}" for i in range(rows)], "said": said}
    columns["truth"] = np.where(rng.random(rows) < right, said, 1 - said)
    made = table(rows, seed)
    for name, values in columns.items():
        made = made.append_column(name, pa.array(values))
    return made
