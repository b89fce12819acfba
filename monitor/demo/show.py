"""`driftwarden demo`: an agent, a model server that logs to it, and a view of what the agent says."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from monitor.config import load
from monitor.demo import processes, verdict
from monitor.demo.files import folder
from monitor.demo.processes import Interrupted, Place, Process
from monitor.demo.telemetry import Follower, Line, Scrape, Speed
from monitor.demo.verdict import Log
from monitor.demo.view import Lines, Screen, Status, View
from monitor.errors import DriftwardenError
from monitor.reader import Tables
from monitor.signals import Signals

ONCE_SECONDS = 25.0
LIVE_SECONDS = 60.0
"""How long the three years take: with ``--once``, and to be watched."""
SETTLE_SECONDS = 15.0
"""How long the agent may take to judge one pane, once all rows are logged."""
REFRESH_SECONDS = 0.25


def show(signals: Signals, *, once: bool, port: int, seconds: float | None = None) -> int:
    """Run the demo; the exit code. ``seconds`` is how long the log takes. Any signal ends it."""
    console = Console(highlight=False)
    pace = seconds if seconds is not None else ONCE_SECONDS if once else LIVE_SECONDS
    try:
        with ExitStack() as stack:
            where = stack.enter_context(processes.place(port))
            console.print("starting the agent", style="dim")
            agent = stack.enter_context(processes.agent(where))
            processes.wait_ready(agent, where.port, "/readyz", signals)
            server = stack.enter_context(processes.model_server(where, pace))
            log = measure(where.configuration(), folder() / "production.parquet")
            view: View = Screen(console) if console.is_terminal else Lines(console)
            stack.callback(view.close)
            demo = Demo(where, agent, server, log, view)
            elapsed = demo.follow(signals)
            view.close()
            result = verdict.judge(demo.lines, log)
            console.print("\n".join(verdict.summary(result, log, elapsed)), markup=False, soft_wrap=True)
            if not once:
                demo.keep(signals, console)
            return 0 if result.good or not once else 1
    except Interrupted:
        return 1 if once else 0


def measure(config: Path, log: Path) -> Log:
    """How the configuration will cut the log."""
    model = load(config).models[0]
    if model.pane.rows is None:
        raise DriftwardenError("demo.yaml: models.0.pane: must be counted in rows; the demo tells rows by their pane")
    return Log(model.pane.rows, model.window.panes, Tables([str(log)]).row_count or 0)


class Demo:
    """Two processes at work, and what is known of them."""

    def __init__(self, where: Place, agent: Process, server: Process, log: Log, view: View) -> None:
        """Both processes run; ``view`` is told what they do."""
        self._where, self._agent, self._server, self._log, self._view = where, agent, server, log, view
        self._findings = Follower(where.findings)
        self._speed = Speed()
        self._scrape = Scrape()
        self.lines: list[Line] = []

    def follow(self, signals: Signals) -> float:
        """Until all rows are judged; the seconds that it took."""
        began = time.monotonic()
        panes, moved = 0, began
        while not self._refresh():
            if self._agent.ended:
                raise DriftwardenError(f"the agent ended; its last words:\n{self._agent.tail()}")
            if self._scrape.panes > panes or not self._server.ended:
                panes, moved = self._scrape.panes, time.monotonic()
            elif time.monotonic() - moved > SETTLE_SECONDS:
                raise DriftwardenError(self._stuck())
            if signals.wake.wait(REFRESH_SECONDS):
                raise Interrupted("stopped before the end of the log")
        return time.monotonic() - began

    def keep(self, signals: Signals, console: Console) -> None:
        """Leave the agent up until the user has had enough."""
        text = f"the agent goes on: {self._where.metrics}, incidents at {self._where.pages}   Ctrl-C ends it"
        console.print(text, markup=False, soft_wrap=True)
        while not self._agent.ended and not signals.wake.wait(REFRESH_SECONDS):
            pass

    def _refresh(self) -> bool:
        """Look and tell; whether all is judged that will be."""
        text = processes.get(self._where.port, "/metrics")
        if text is not None:
            self._scrape = Scrape.of(text)
        news = self._findings.news()
        self.lines += news
        rows = self._speed.follow(self._scrape)
        self._view.update(Status(self._scrape, rows, self._log, self._where.metrics), news)
        return self._scrape.panes >= self._log.panes and self._told()

    def _told(self) -> bool:
        """Whether the file already has all that the agent has counted."""
        findings = sum(line["kind"] == "finding" for line in self.lines)
        recoveries = sum(len(line["findings"]) for line in self.lines if line["kind"] == "recovery")
        return findings >= self._scrape.findings and recoveries >= self._scrape.recoveries

    def _stuck(self) -> str:
        return (
            f"the agent has judged {self._scrape.panes} of {self._log.panes} panes and written {len(self.lines)} lines "
            f"for {self._scrape.findings} findings, and goes no further; its last words:\n{self._agent.tail()}"
        )
