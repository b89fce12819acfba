"""The agent as a process, and an attacker among honest senders: told to operators, and to nobody else."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.evidence import unpack_evidence
from monitor.security.pseudonyms import Pseudonyms
from tests.attacks import guarded, tasks, traces
from tests.attacks.campaign import campaign
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.e2e.conftest import Agent, ipc

EVE = "eve@example.org"
BODY = 100
HONEST, ATTACK = 1_000, 400


@pytest.fixture(scope="module")
def task() -> Task:
    return tasks.glyphs()


def honest(task: Task, rows: int, seed: int) -> Trace:
    rng = np.random.default_rng(seed)
    return traces.traffic(tasks.more_glyphs(rows, rng), task.answer, rng)


def logged(task: Task, trace: Trace) -> pa.Table:
    """Rows as the application logs them: honest senders by names that all begin alike, the attacker by its own."""
    rows = guarded.table(task, trace)
    names = [EVE if bad else f"user-{name}" for name, bad in zip(rows["who"].to_pylist(), trace.is_attack, strict=True)]
    return rows.set_column(rows.schema.get_field_index("who"), "who", pa.array(names))


def configured(make_agent: Callable[..., Agent], task: Task, folder: Path) -> Agent:
    reference = folder / "glyphs.parquet"
    rows = traces.traffic(task.reference[:2500], task.answer, np.random.default_rng(0))
    pq.write_table(
        logged(task, rows).append_column("truth", pa.array(task.reference_labels[:2500].astype(str))), reference
    )
    columns = {
        "client": "who", "time": "at", "prediction": "answer", "probabilities": "chance", "label": "truth",
        "image": "image", "image_shape": [*task.image, 1],
    }  # fmt: skip
    one: dict[str, Any] = {
        "name": "m",
        "reference": str(reference),
        "columns": columns,
        "pane": {"rows": 200},
        "window": {"panes": 10},
        "alarms": {"false_alarms": "1 per 10000 panes"},
        "security": {"queries": 5000},
    }
    return make_agent(models=[one])


def post(agent: Agent, rows: pa.Table) -> list[httpx.Response]:
    return [agent.post(ipc(rows.slice(start, BODY))) for start in range(0, rows.num_rows, BODY)]


def told(agent: Agent) -> list[dict[str, Any]]:
    path = agent.folder / "state" / "findings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def attacks(agent: Agent) -> list[dict[str, Any]]:
    """Findings about senders; what the attacker moves in the columns may be one of the stream, too."""
    return [line for line in told(agent) if line.get("triage") == "attack" and line["subject"] == "sender"]


def evidence(agent: Agent, row: str) -> dict[str, pa.Table]:
    with contextlib.closing(sqlite3.connect(agent.folder / "state" / "driftwarden.sqlite3")) as database:
        (blob,) = database.execute("SELECT evidence FROM findings WHERE id = ?", (row,)).fetchone()
    return unpack_evidence(blob)


def balanced(agent: Agent, rows: int) -> None:
    """Every row that was accepted has been processed, none twice."""
    agent.settled(rows)
    assert agent.value("driftwarden_processed_rows_total") == rows
    assert agent.value("driftwarden_security_rows_total", 'fate="looked_at"') <= rows


def test_an_attacker_is_told_to_operators_once_and_to_nobody_else(
    make_agent: Callable[..., Agent], task: Task, tmp_path: Path
) -> None:
    agent = configured(make_agent, task, tmp_path)
    agent.start()
    calm = honest(task, 600, 1)
    attack = campaign(task, "HopSkipJump", np.random.default_rng(5), most=ATTACK, begin=600.0).trace
    later = honest(task, HONEST, 2)._replace(time=600.0 + np.sort(np.random.default_rng(3).uniform(0, 800, HONEST)))
    answers = post(agent, logged(task, calm))
    balanced(agent, 600)
    assert not attacks(agent)
    answers += post(agent, logged(task, traces.mix(attack, later)))
    balanced(agent, 600 + HONEST + ATTACK)
    agent.wait(lambda: bool(attacks(agent)))

    (finding,) = attacks(agent)
    key = (agent.folder / "state" / "security.key").read_bytes()
    eve = f"client {Pseudonyms(key).of_name(EVE):016x}"
    assert (finding["severity"], finding["subject"], finding["stream"]) == ("page", "sender", "senders")
    assert finding["units"][0]["unit"] == eve
    assert finding["failure_modes"][0]["mode"] == "perturbation_attack"
    assert finding["evidence"]["fault_tree"]["triage"] == "attack"
    assert {one["heuristic"] for one in finding["evidence"]["suspicions"]} >= {"near_duplicates", "boundary_walk"}
    shown = evidence(agent, finding["id"])["rows"]
    assert shown.num_rows
    assert set(shown["who"].to_pylist()) == {eve.removeprefix("client ")}

    assert agent.value("driftwarden_suspicions_total", 'verdict="attack"') >= 1
    assert agent.value("driftwarden_suspect_log_e", f'suspect="{eve}"') > finding["threshold"]
    assert agent.value("driftwarden_findings_open", 'severity="page"') >= 1
    assert agent.value("driftwarden_findings_total", 'triage="attack"', 'severity="page"') >= 1
    assert agent.value("driftwarden_heuristic_active", 'heuristic="near_duplicates"') == 1
    assert agent.value("driftwarden_heuristic_active", 'heuristic="version_change"') == 0

    assert {answer.status_code for answer in answers} == {202}
    assert all(answer.json() == {"accepted_rows": BODY} for answer in answers)
    public = agent.metrics() + agent.log.read_text() + (agent.folder / "state" / "findings.jsonl").read_text()
    assert EVE not in public
    assert "user-" not in public
    assert not re.search(r"heuristic failed|batch failed|detector failed", agent.log.read_text())

    before = told(agent)
    agent.kill()
    agent.start()
    balanced(agent, 600 + HONEST + ATTACK)
    assert agent.value("driftwarden_findings_open", 'severity="page"') >= 1
    answers = post(agent, logged(task, honest(task, 600, 4)._replace(time=1_500.0 + np.arange(600.0))))
    balanced(agent, 1_200 + HONEST + ATTACK)
    agent.wait(lambda: agent.value("driftwarden_suspect_log_e", f'suspect="{eve}"') > 0)
    assert [line["id"] for line in attacks(agent)] == [finding["id"]]
    assert told(agent)[: len(before)] == before
    assert {answer.status_code for answer in answers} == {202}
    assert agent.stop() == 0
    assert EVE not in agent.log.read_text()


def test_endpoints_that_senders_reach_say_nothing_of_verdicts(
    make_agent: Callable[..., Agent], task: Task, tmp_path: Path
) -> None:
    """The attacker's own body, refused or accepted, is answered like anybody's."""
    agent = configured(make_agent, task, tmp_path)
    agent.start()
    attack = campaign(task, "HopSkipJump", np.random.default_rng(5), most=600).trace
    rows = logged(task, attack)
    first, *_, last = post(agent, rows)
    agent.settled(600)
    agent.wait(lambda: bool(attacks(agent)))
    assert (first.status_code, first.json()) == (last.status_code, last.json())
    volatile = {"date", "content-length"}
    kept = [{name: value for name, value in one.headers.items() if name not in volatile} for one in (first, last)]
    assert kept[0] == kept[1]
    after = agent.post(ipc(rows.slice(0, BODY)))
    assert (after.status_code, after.json()) == (first.status_code, first.json())
    broken = agent.post(b"no rows at all")
    assert broken.status_code == 400
    assert not re.search("attack|suspect|boundary|perturbation", broken.text)
