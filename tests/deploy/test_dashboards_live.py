"""Every panel of every dashboard shows something when real Prometheus servers have watched a real agent through a shift
and an attack; and the check that says so can tell an empty panel."""

from __future__ import annotations

from pathlib import Path

import pytest

from grafana.ask import Prometheus
from grafana.rendered import committed, expressions, filled
from tests.deploy.live_dashboards import check
from tests.deploy.scene import Scene, binaries, scene

STEPS, PAUSE = 300, 0.1
CREDIT = {"__range": "5m", "__rate_interval": "10s", "model": "credit", "job": ".+", "instance": ".+", "stream": ".+",
          "metric": "accuracy"}  # fmt: skip


def told(story: Scene) -> None:
    """Play the story; go on when all is found that must be, and every server has seen it."""
    story.play(STEPS, PAUSE)
    agent = story.agent
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'model="glyphs"', 'triage="attack"') > 0, 60)
    agent.wait(lambda: agent.value("driftwarden_findings_open", 'model="credit"', 'severity="page"') > 0, 60)
    agent.wait(lambda: agent.value("driftwarden_selfcheck_delay_panes", 'model="credit"') > 0, 180)
    agent.wait(lambda: agent.value("driftwarden_label_ever_ratio", 'model="credit"') == 1, 90)
    seen = 'driftwarden_selfcheck_delay_panes{model="credit"} and on (model) driftwarden_label_ever_ratio'
    agent.wait(lambda: all(Prometheus(url).now(seen) for url in story.servers.values()), 20)


@pytest.mark.slow
@pytest.mark.skipif(not binaries(), reason="no Prometheus is unpacked; sh .ci/peers .venv/peers says why")
def test_every_panel_shows_something(tmp_path: Path) -> None:
    with scene(tmp_path, binaries()) as story:
        told(story)
        for url in story.servers.values():
            assert check(url, CREDIT, without=("probes", "coverage")) == []
            empty = check(url, {**CREDIT, "model": "nobody"}, without=("probes", "coverage"))
            assert empty
            assert all(where.startswith(("driftwarden-model: ", "driftwarden-performance: ")) for where in empty)
            annotated(Prometheus(url))


def annotated(server: Prometheus) -> None:
    """Marks are at times of the story, and pages lead to the agent's own."""
    asked = {where: filled(expr, CREDIT) for where, expr in expressions(committed()["driftwarden-model"])}
    pages = server.now(asked["driftwarden-model: annotation Pages"])
    assert pages
    assert all(one.labels["url"].startswith("http://127.0.0.1:") for one in pages)
    (reference,) = server.now(asked["driftwarden-model: annotation References"])
    assert reference.labels["model"] == "credit"
