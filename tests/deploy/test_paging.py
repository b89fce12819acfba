"""From the agent's numbers to the pager: Prometheus, Alertmanager and the shipped files, at sixty times the speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from monitor.demo import hurry
from monitor.demo.processes import HOST, Process, free_ports, wait_ready
from monitor.demo.receiver import Notification, Receiver
from monitor.signals import Signals
from tests.deploy import test_alertmanager
from tests.deploy.peers import Peers, generations
from tests.deploy.test_rules import PROMETHEUS, RULES

SECONDS = 60


@dataclass
class Agent:
    """What an agent would say at /metrics; it can be away for a while."""

    port: int
    open: int = 0
    scrapes: int = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Serve until the block ends."""
        server = ThreadingHTTPServer((HOST, self.port), self._handler())
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = agent.metrics().encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
                pass

        return Handler

    def scraped(self, times: int) -> None:
        """Wait until Prometheus has come so often again."""
        wanted, deadline = self.scrapes + times, time.monotonic() + SECONDS
        while self.scrapes < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def metrics(self) -> str:
        self.scrapes += 1
        opened = (
            'driftwarden_finding_opened_timestamp_seconds{model="m",severity="page",triage="shift",finding="0f"} 1.7e9'
        )
        lines = [
            'driftwarden_build_info{version="1",python_version="3"} 1',
            'driftwarden_streams{model="m"} 1',
            f'driftwarden_findings_open{{model="m",severity="page",triage="shift"}} {self.open}',
            *([opened] if self.open else []),
            'driftwarden_web_info{url="https://drift.example"} 1',
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Scene:
    """An agent, and what was told about its model's shift so far."""

    agent: Agent
    pager: Receiver
    prometheus: Callable[[], Any]
    heard: list[Notification]

    def told(self) -> list[str]:
        """Whether it fires or is over, for each call of the pager so far."""
        news = [one for one in self.pager.news() if one.receiver == "page"]
        self.heard.extend(one for one in news if one.alerts[0].labels["alertname"] == "DriftwardenShift")
        return [one.status for one in self.heard]

    def until(self, *statuses: str) -> None:
        """Wait for the calls, and no others."""
        deadline = time.monotonic() + SECONDS
        while self.told() != list(statuses):
            assert time.monotonic() < deadline, self.heard
            time.sleep(0.1)

    def quiet(self, seconds: float, *statuses: str) -> None:
        """Nothing is told for so long."""
        time.sleep(seconds)
        assert self.told() == list(statuses)


@pytest.fixture
def scene(peers: Peers, tmp_path: Path) -> Iterator[Scene]:
    """Alertmanager and a pager; the agent and Prometheus are the test's to start."""
    agent_port, port = free_ports(0, 0)
    routing = yaml.safe_load(test_alertmanager.CONFIG.read_text("utf-8"))
    scraping = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text("utf-8"))
    rules, config, routes = (tmp_path / f"{name}.yaml" for name in ("rules", "prometheus", "alertmanager"))
    rules.write_text(yaml.safe_dump(hurry.rules(yaml.safe_load(RULES.read_text("utf-8")))), "utf-8")
    with closing(Receiver()) as pager:
        routes.write_text(yaml.safe_dump(hurry.routing(routing, pager.url)), "utf-8")
        with test_alertmanager.running(peers, tmp_path, routes) as url:
            place = url.removeprefix("http://")
            config.write_text(
                yaml.safe_dump(hurry.scraping(scraping, f"{HOST}:{agent_port}", place, str(rules))), "utf-8"
            )

            @contextmanager
            def prometheus() -> Iterator[None]:
                options = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path}/data"]
                command = [peers.path("prometheus"), *options, f"--web.listen-address={HOST}:{port}"]
                with Process("prometheus", command, tmp_path / "prometheus.log") as child:
                    wait_ready(child, port, "/-/ready", Signals())
                    yield

            yield Scene(Agent(agent_port), pager, prometheus, [])


@generations
@pytest.mark.slow
@pytest.mark.usefixtures("peers")
def test_a_lasting_shift_pages_once_whatever_restarts_and_its_end_is_told_once(scene: Scene) -> None:
    agent = scene.agent
    with scene.prometheus():
        with agent.answering():
            agent.scraped(6)
            agent.open = 1
            agent.scraped(2)
            agent.open = 0  # a blip
            scene.quiet(8)
            agent.open = 1
            scene.until("firing")
            (page,) = scene.heard[0].alerts
            assert page.labels["alertname"] == "DriftwardenShift"
            assert page.annotations["incident_url"] == "https://drift.example/findings/0f"
            assert page.annotations["runbook_url"] == "https://drift.example/runbooks#driftwardenshift"
            agent.open = 300
            scene.quiet(4, "firing")
        scene.quiet(4, "firing")  # the agent restarts
        with agent.answering():
            scene.quiet(8, "firing")
    with agent.answering(), scene.prometheus():  # Prometheus restarted
        scene.quiet(10, "firing")
        agent.open = 0
        scene.until("firing", "resolved")
        scene.quiet(5, "firing", "resolved")
