"""From the model's log to the pager and back: real agent, real Prometheus, real Alertmanager, a real browser.

Rules, routes and dashboards are the shipped ones; waits are a sixtieth of theirs.
"""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import sync_playwright
from rich.console import Console

from monitor.demo import processes
from monitor.demo.files import MODEL
from monitor.demo.page import Story
from monitor.demo.processes import Place
from monitor.demo.receiver import Alert
from monitor.demo.sender import Link, Sender
from monitor.demo.show import ONCE_SECONDS
from monitor.demo.stack import Stack
from monitor.demo.telemetry import Scrape
from monitor.signals import Signals
from monitor.yaml_text import read_yaml, write_yaml
from tests.deploy import live_dashboards
from tests.deploy.peers import SUITES, UNPACKED

CHROMIUM = "/usr/bin/chromium"
QUIET_BROWSER = ("--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update")
"""Switches without which Chromium looks for its maker's hosts."""
DRIFT = "triage"
"""Label of alerts about findings; those about the agent have none."""
COLUMNS = 300
QUIET_SECONDS = 8.0
"""Eight minutes of the shipped rules."""


def on_path(suite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = UNPACKED / suite / "usr" / "bin"
    if not (programs / "alertmanager").is_file():
        pytest.skip(f"{suite} is not unpacked; sh .ci/peers .venv/peers says why")
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))


@pytest.fixture(params=[SUITES[0], *(pytest.param(one, marks=pytest.mark.slow) for one in SUITES[1:])])
def stack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    on_path(request.param, monkeypatch)
    with processes.place(0) as where, Stack(where, Signals()) as made:
        yield made


def quiet_story(stack: Stack) -> Story:
    return Story(stack, Signals(), Console(file=io.StringIO()))


def told(story: Story, status: str) -> list[Alert]:
    """What the pager was told about findings."""
    return [alert for alert in story.pages(status) if DRIFT in alert.labels]


def wait(story: Story, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        story.look()
        time.sleep(0.1)


def in_a_browser(link: str, columns: tuple[str, ...]) -> None:
    """Open a link as the person who was woken does: the incident is there, and nothing is amiss."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *QUIET_BROWSER])
        page = browser.new_page()
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        answer = page.goto(link, wait_until="networkidle")
        assert answer is not None
        assert answer.status == 200
        shown = page.inner_text("body")
        assert [column for column in columns if column not in shown] == []
        assert faults == []
        browser.close()


def test_the_drift_pages_once_with_a_link_to_the_incident_and_restarts_change_nothing(stack: Stack) -> None:
    story = quiet_story(stack)
    page = story.until_page(ONCE_SECONDS)
    assert story.follow_link(page) is None
    in_a_browser(page.annotations["incident_url"], ("RELP", "prediction", "score", "MAR"))
    url = f"http://{stack.address('prometheus')}"
    without = ("attack", "segments", "selfcheck", "labels", "probes", "receivers", "guard", "outcomes")
    assert live_dashboards.check(url, {"model": "employment"}, without=without) == []

    for name in ("prometheus", "agent"):
        stack.stop(name)
        stack.start(name)
        wait(story, QUIET_SECONDS)
        assert (len(told(story, "firing")), told(story, "resolved")) == (1, []), f"after a restart of {name}"

    story.until_over(ONCE_SECONDS)
    wait(story, QUIET_SECONDS)
    assert (len(told(story, "firing")), len(told(story, "resolved"))) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("stack", SUITES[:1], indirect=True)
def test_a_drift_that_is_soon_over_is_found_and_wakes_nobody(stack: Stack) -> None:
    story = quiet_story(stack)
    story.start()
    stack.send(ONCE_SECONDS)  # its episode lasts for a second: a minute of the shipped rules
    while not stack.sent:
        wait(story, 1.0)
    wait(story, QUIET_SECONDS)
    assert "page" in {line["severity"] for line in story.lines if line["kind"] == "finding"}
    assert (told(story, "firing"), told(story, "resolved")) == ([], [])


@pytest.mark.slow
def test_one_command_shows_all_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_path(SUITES[0], monkeypatch)
    command = [sys.executable, "-m", "monitor", "demo", "--stack", "--once"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "paged once, with a link to the right incident, and resolved once" in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is left"


class Wide(Place):
    """A model of three hundred columns in place of the demo's."""

    def configuration(self) -> Path:
        document = read_yaml(super().configuration().read_text("utf-8"), "demo")
        names = [f"c{number}" for number in range(COLUMNS)]
        reference = self.path / "reference.parquet"
        if not reference.exists():
            pq.write_table(pa.table(normal(5_000, names, 0.0)), reference)
        document["models"][0] |= {"reference": str(reference), "columns": {}, "top_features": COLUMNS}
        made = self.path / "driftwarden.yaml"
        made.write_text(write_yaml(document), "utf-8")
        return made


def normal(rows: int, names: list[str], mean: float) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    return {name: rng.normal(mean, 1.0, rows) for name in names}


@pytest.mark.slow
def test_three_hundred_drifting_columns_make_one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    on_path(SUITES[0], monkeypatch)
    with processes.place(0) as place, Stack(Wide(*dataclasses.astuple(place)), Signals()) as stack:
        story = quiet_story(stack)
        story.start()
        sender = Sender(Link(f"grpc://{processes.HOST}:{place.flight_port}", (MODEL,)), time.monotonic, time.sleep)
        names = [f"c{number}" for number in range(COLUMNS)]
        rows = [pa.table(normal(number, names, mean)) for number, mean in ((10_000, 0.0), (10_001, 1.0))]
        sender.send(batch for table in rows for batch in table.to_batches(max_chunksize=500))
        wait(story, 30.0)
        scrape = Scrape.of(processes.get(place.port, "/metrics") or "")
        assert sum(column.log_e > scrape.threshold for column in scrape.columns) == COLUMNS
        (call,) = [one for one in story.calls if one.about("firing", "page", MODEL)]
        assert len(call.alerts) == 1
        assert [one for one in story.calls if one.receiver == "ticket"] == []
