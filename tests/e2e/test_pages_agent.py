"""The pages of a real agent process: a new normal accepted from a finding's page survives a kill, and is taken back."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import yaml

from tests.e2e.conftest import Agent, free_port, ipc, table


class Reader:
    """Somebody on call, who uses forms as a browser does."""

    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str) -> httpx.Response:
        answer = httpx.get(self.address + path, timeout=30)
        answer.raise_for_status()
        return answer

    def do(self, page: str, path: str, form: dict[str, str]) -> httpx.Response:
        """Send a form with the token that its page has."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.get(page).text)
        assert found is not None
        body = {"csrf_token": found[1], "by": "Ada", "because": "the new tariff"} | form
        return httpx.post(self.address + path, data=body, headers={"origin": self.address}, timeout=60)

    def incidents(self, **query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = httpx.get(f"{self.address}/api/v1/incidents", params=query).json()["incidents"]
        return found


def test_a_new_normal_from_a_findings_page_survives_a_kill_and_is_taken_back(
    make_agent: Callable[..., Agent],
) -> None:
    port = free_port()
    agent = make_agent(web={"listen": f"127.0.0.1:{port}"})
    document = yaml.safe_load(agent.config.read_text())
    document["store"]["checkpoint"] = "200ms"  # rows are kept for later once a checkpoint has settled them
    agent.config.write_text(yaml.safe_dump(document))
    reader = Reader(f"http://127.0.0.1:{port}")
    agent.start()
    for seed in range(15):
        assert agent.post(ipc(table(200, seed, shift=2.0))).status_code == 202
    agent.settled(3_000)
    before = agent.value("driftwarden_checkpoints_total")
    agent.wait(lambda: agent.value("driftwarden_checkpoints_total") > before + 1)
    agent.wait(lambda: bool(reader.incidents(severity="page")))
    (finding,) = reader.incidents(severity="page")
    page = f"/findings/{finding['id']}"
    assert "x0 no longer looks like the reference" in reader.get(page).text
    assert "data-plot" in reader.get("/models/m").text

    accept = {"kind": "rebaseline", "finding": finding["id"], "span": "since"}
    done = reader.do(page, "/interventions", accept)
    assert (done.status_code, done.headers.get("location")) == (303, f"{page}?done=rebaseline"), done.text
    assert [one["state"] for one in reader.incidents(state="over", severity="page")] == ["rebaselined"]
    agent.wait(lambda: 1_000 <= agent.value("driftwarden_reference_rows") <= 3_000)

    agent.kill()
    agent.start()
    assert 1_000 <= agent.value("driftwarden_reference_rows") <= 3_000
    for path in ("/", page, "/models", "/models/m", "/interventions", "/runbooks"):
        assert "Driftwarden" in reader.get(path).text
    (act,) = httpx.get(f"{reader.address}/api/v1/interventions").json()["interventions"]
    assert (act["kind"], act["by"], act["because"]) == ("rebaseline", "Ada (anonymous)", "the new tariff")
    assert reader.do("/interventions", f"/interventions/{act['id']}/undo", {}).status_code == 303
    agent.wait(lambda: agent.value("driftwarden_reference_rows") == 4_000)
    assert agent.stop() == 0
