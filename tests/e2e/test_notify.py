"""Notifications where they are made for: real Alertmanagers, and a real agent that is killed and started again."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from standardwebhooks import Webhook as Verifier

from monitor.clock import SystemClock
from monitor.notify.dispatcher import Dispatcher
from monitor.notify.section import Notify
from tests.e2e.conftest import Agent, free_port, ipc, table
from tests.monitor.endpoint import running
from tests.monitor.notify_bench import ENVIRON, URL, Receiver, World, context

PEERS = sorted((Path(__file__).parents[2] / ".venv" / "peers").glob("*/usr/bin/alertmanager"))
GENERATIONS = [pytest.param(path, id=path.parents[2].name) for path in PEERS]
ROUTE = {
    "receiver": "pager",
    "group_by": ["alertname", "model"],
    "group_wait": "100ms",
    "group_interval": "1s",
    "repeat_interval": "1h",
}


def until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def pager() -> Iterator[Receiver]:
    with running(Receiver()) as server:
        yield server


@pytest.fixture
def alertmanager(request: pytest.FixtureRequest, tmp_path: Path, pager: Receiver) -> Iterator[str]:
    """The address of a real one that tells the pager."""
    port = free_port()
    config = {"route": ROUTE, "receivers": [{"name": "pager", "webhook_configs": [{"url": pager.url}]}]}
    (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    command = [request.param, f"--config.file={tmp_path}/alertmanager.yaml", f"--storage.path={tmp_path}/data"]
    places = [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    process = subprocess.Popen([*command, *places], stderr=subprocess.DEVNULL)
    try:
        until(lambda: _ready(f"http://127.0.0.1:{port}"))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=1) as reply:  # noqa: S310 - our own
            return bool(reply.status == 200)
    except OSError:
        return False


def alerts(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as reply:  # noqa: S310 - our own
        found: list[dict[str, Any]] = json.load(reply)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not PEERS, reason="no Alertmanager is unpacked: sh .ci/peers .venv/peers")
@pytest.mark.parametrize("alertmanager", GENERATIONS, indirect=True)
def test_alertmanager_pages_once_over_a_restart_and_resolves_once(
    tmp_path: Path, alertmanager: str, pager: Receiver
) -> None:
    raw = {"alertmanager": {"name": "am", "url": alertmanager, "interval": "1s", "labels": {"cluster": "eu"}}}
    section = Notify.model_validate(raw, context=context())
    world = World(tmp_path / "state")
    made = Dispatcher(world.store, (section,), URL, SystemClock())
    made.start()
    head = world.open(time=time.time())
    joined = [world.open(time=time.time(), pane=at, joins=head.id, severity="ticket") for at in range(6, 16)]
    until(lambda: pager.bodies)
    made.stop()
    world.restart()
    made = Dispatcher(world.store, (section,), URL, SystemClock())
    made.start()
    until(lambda: made.counts()["am"].sent >= 3)
    (active,) = alerts(alertmanager)
    assert active["labels"]["alertname"] == "DriftwardenShift"
    world.clock.jump(time.time())
    world.recover(head, *joined)
    until(lambda: len(pager.bodies) > 1)
    time.sleep(2.5)  # two more of Alertmanager's rounds
    made.stop()
    world.store.close()
    assert [body["status"] for body in pager.bodies] == ["firing", "resolved"]
    (alert,) = pager.bodies[0]["alerts"]
    assert alert["annotations"]["incident_url"] == f"{URL}/findings/{head.id}"
    assert alert["labels"]["cluster"] == "eu"
    assert alert["generatorURL"] == f"{URL}/findings/{head.id}"


def shifted(agent: Agent, seeds: range, shift: float) -> None:
    for seed in seeds:
        assert agent.post(ipc(table(100, seed, shift))).status_code == 202


@pytest.mark.slow
def test_a_killed_agent_tells_each_event_once_and_signed(make_agent: Callable[..., Agent], pager: Receiver) -> None:
    hook = {"name": "pager", "url": pager.url, "secret_file": "keys", "severities": ["page"]}
    with running(Receiver()) as dead:
        dead.server_close()
        agent = make_agent(notify=[{"webhook": hook}, {"webhook": {"name": "dead", "url": dead.url}}])
        (agent.folder / "keys").write_text(ENVIRON["KEYS"])
        agent.start()
        shifted(agent, range(10), 0.0)
        shifted(agent, range(10, 30), 1.0)
        until(lambda: pager.bodies)
        agent.settled(3000)
        time.sleep(1.5)  # for the place in the log to be written, and for a second message that must not come
        agent.kill()
        agent.start()
        shifted(agent, range(30, 90), 0.0)
        until(lambda: len(pager.bodies) > 1)
        assert agent.value("driftwarden_notification_failures_total", 'receiver="dead"') > 0
        assert agent.value("driftwarden_notifications_total", 'receiver="pager"') == 1
        assert agent.stop() == 0
    assert pager.kinds() == ["finding.opened", "finding.recovered"]
    assert len({body["subject"] for body in pager.bodies}) == 1
    for raw, headers in zip(pager.raw, pager.headers, strict=True):
        Verifier(ENVIRON["KEYS"]).verify(raw, headers)
    assert ENVIRON["KEYS"] not in agent.log.read_text()
