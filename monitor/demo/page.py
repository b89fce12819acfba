"""`driftwarden demo --stack`: the documented drift, from the model's log to the pager and back to its incident page."""

from __future__ import annotations

import html
import time
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import urlsplit

from rich.console import Console

from monitor.demo import hurry, processes, verdict
from monitor.demo.files import MODEL, folder
from monitor.demo.processes import Interrupted
from monitor.demo.receiver import Alert, Notification
from monitor.demo.show import LIVE_SECONDS, ONCE_SECONDS, REFRESH_SECONDS, measure
from monitor.demo.stack import Stack
from monitor.demo.telemetry import Follower, Line, Scrape
from monitor.demo.verdict import event
from monitor.errors import DriftwardenError
from monitor.signals import Signals

HELD_ROW = 140_000
"""Where the log stops until the page is out: amid the episode, which lasts but seconds at the demo's pace."""
PAGE_SECONDS = 180.0
"""How long the way to the pager may take, from the first process on."""
RESOLVE_SECONDS = 90.0
LOOK_SECONDS = 300.0
"""How long a person may look at the open incident before the log goes on."""


def show(signals: Signals, *, once: bool, port: int) -> int:
    """Run the demo with everything around it; the exit code. Any signal ends it."""
    console = Console(highlight=False)
    try:
        with ExitStack() as held:
            where = held.enter_context(processes.place(port))
            stack = held.enter_context(Stack(where, signals))
            return Story(stack, signals, console).tell(once=once)
    except Interrupted:
        return 1 if once else 0


class Story:
    """What happens, told as it happens."""

    def __init__(self, stack: Stack, signals: Signals, console: Console) -> None:
        """Nothing runs yet."""
        self._stack, self._signals, self._console = stack, signals, console
        self._findings = Follower(stack.where.findings)
        self._log = measure(stack.where.configuration(), folder() / "production.parquet")
        self._began, self._sent = time.monotonic(), time.time()
        self._told: set[str] = set()
        self.lines: list[Line] = []
        self.calls: list[Notification] = []

    def tell(self, *, once: bool) -> int:
        """From the first process to the verdict; the exit code."""
        pace = ONCE_SECONDS if once else LIVE_SECONDS
        fault = self.follow_link(self.until_page(pace))
        self._say("opened", fault or "the link leads to the incident of the documented drift, with its columns")
        if not once:
            self._wait(LOOK_SECONDS, "look at it; the log goes on in five minutes, Ctrl-C ends the demo")
        self.until_over(pace)
        good = self._sum_up(fault)
        if not once:
            self._wait(None, "the log is at its end and everything goes on; Ctrl-C ends the demo")
        return 0 if good or not once else 1

    def until_page(self, pace: float) -> Alert:
        """Start everything and send the log as far as amid the episode; the first page that comes."""
        self.start()
        self._stack.send(pace, end=HELD_ROW)
        self._until(lambda: bool(self.pages("firing")), PAGE_SECONDS, "no page has come")
        return self.pages("firing")[0]

    def until_over(self, pace: float) -> None:
        """Send the rest of the log; return when all is judged and the end of the drift was told."""
        self._stack.send(pace, first=HELD_ROW)
        self._until(self._over, RESOLVE_SECONDS + pace, "the end of the drift was not told")

    def pages(self, status: str) -> list[Alert]:
        """Calls to the pager about the model, one for each notification."""
        return [alert for call in self.calls if (alert := call.about(status, "page", MODEL)) is not None]

    def follow_link(self, alert: Alert) -> str | None:
        """Open the link of a page; None when it leads to the right incident, else what is wrong."""
        link = alert.annotations.get("incident_url", "")
        found = verdict.judge(self.lines, self._log).page
        if found is None or not link.startswith(self._stack.where.pages) or found["id"] not in link:
            return f"the page does not link to the documented incident, but to {link or 'nothing'}"
        parts = urlsplit(link)
        text = processes.get(self._stack.where.web_port, parts.path + (f"?{parts.query}" if parts.query else ""))
        if text is None:
            return f"{link} does not answer"
        lacking = [unit["unit"] for unit in found["units"] if html.escape(str(unit["unit"])) not in text]
        return f"{link} does not name {', '.join(lacking)}" if lacking else None

    def look(self) -> None:
        """Read what is new, and tell it."""
        self._stack.check()
        for line in (news := self._findings.news()):
            self._print(event(line, self._log))
        for call in (calls := self._stack.receiver.news()):
            self._called(call)
        self.lines += news
        self.calls += calls

    def start(self) -> None:
        """Start everything but the model server, and tell where it is."""
        for name in ("agent", "alertmanager", "prometheus"):
            self._stack.start(name)
        self._say("agent", self._stack.where.metrics)
        self._say("incidents", self._stack.where.pages)
        for name in ("prometheus", "alertmanager"):
            self._say(name, f"http://{self._stack.address(name)}")
        self._say("rules", f"as shipped, but with all waits divided by {hurry.SPEED}")

    def _until(self, done: Callable[[], bool], seconds: float, else_: str) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            self.look()
            if time.monotonic() > deadline:
                alerts = processes.get(int(self._stack.address("prometheus").rpartition(":")[2]), "/api/v1/alerts")
                raise DriftwardenError(f"{else_} within {seconds:g} s; Prometheus's alerts: {alerts}")
            if self._signals.wake.wait(REFRESH_SECONDS):
                raise Interrupted("stopped before the end")

    def _wait(self, seconds: float | None, text: str) -> None:
        """Leave everything up for a person."""
        self._say("now", text)
        deadline = time.monotonic() + seconds if seconds is not None else float("inf")
        while time.monotonic() < deadline:
            self.look()
            if self._signals.wake.wait(REFRESH_SECONDS):
                raise Interrupted("the user has seen enough")

    def _over(self) -> bool:
        """Whether the end of the drift was told, and all rows are judged: none waits after the last one was sent."""
        if not self._stack.sent:
            self._sent = time.time()
            return False
        text = processes.get(self._stack.where.port, "/metrics") if self.pages("resolved") else None
        scrape = Scrape.of(text) if text is not None else Scrape()
        return scrape.taken > self._sent + REFRESH_SECONDS and scrape.queued == 0

    def _sum_up(self, fault: str | None) -> bool:
        """Print what came of it; whether all is as documented."""
        result = verdict.judge(self.lines, self._log)
        elapsed = time.monotonic() - self._began
        *facts, _ = verdict.summary(result, self._log, elapsed)
        told, ended = len(self.pages("firing")), len(self.pages("resolved"))
        good = result.good and fault is None and (told, ended) == (1, 1)
        for text in facts:
            self._print(text)
        self._say("pager", f"called {told} time{'s' * (told != 1)}, told of the end {ended} time{'s' * (ended != 1)}")
        self._say("verdict", "paged once, with a link to the right incident, and resolved once" if good else "not so")
        return good

    def _called(self, call: Notification) -> None:
        """Tell what came to a receiver, once."""
        for alert in call.alerts:
            what = f"{call.receiver}: {alert.sentence}"
            if what in self._told:
                continue
            self._told.add(what)
            self._say(f"{time.monotonic() - self._began:.0f} s", what)
            if alert.link:
                self._say("", alert.link)

    def _say(self, head: str, text: str) -> None:
        self._print(f"{head:<13}{text}")

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)
