"""A person says that the traffic of now is the new normal; what follows outlives a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import httpx
import yaml

from tests.e2e.conftest import Agent, ipc, table


def test_rebaseline_ends_the_finding_and_is_kept_with_its_reason_over_a_kill(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    document = yaml.safe_load(agent.config.read_text())
    document["store"]["checkpoint"] = "200ms"
    agent.config.write_text(yaml.safe_dump(document))
    agent.start()
    for seed in range(10):
        assert agent.post(ipc(table(200, seed, shift=2.0))).status_code == 202
    agent.settled(2000)
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'severity="page"') >= 1)
    asked = {"model": "m", "because": "the new tariff is here to stay", "by": "ana", "rows": 3000}
    assert httpx.post(f"{agent.url}/-/rebaseline", json={**asked, "model": "other"}).status_code == 400
    words = ["--model", "m", "--because", str(asked["because"]), "--by", "ana", "--rows", "3000"]
    command = [sys.executable, "-m", "monitor", "rebaseline", "--config", str(agent.config), *words]
    assert "next 3000 rows of m" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wrong = subprocess.run([*command, "--rows", "1"], check=False, capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "rows" in wrong.stderr
    for seed in range(10, 16):
        assert agent.post(ipc(table(200, seed, shift=2.0))).status_code == 202
    agent.settled(3200)
    before = agent.value("driftwarden_checkpoints_total")
    agent.wait(lambda: agent.value("driftwarden_checkpoints_total") > before + 1)
    agent.kill()
    agent.start()
    for seed in range(16, 30):
        assert agent.post(ipc(table(200, seed, shift=2.0))).status_code == 202
    agent.settled(6000)
    agent.wait(lambda: agent.value("driftwarden_reference_rows") == 3000)
    assert agent.value("driftwarden_rebaselines_total") == 1
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'severity="page"') == 0)
    (line,) = (agent.folder / "state" / "references" / "history.jsonl").read_text().splitlines()
    assert {key: json.loads(line)[key] for key in asked} == asked
    agent.kill()
    agent.start()
    assert agent.value("driftwarden_reference_rows") == 3000
    assert agent.stop() == 0
