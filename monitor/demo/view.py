"""The demo on a terminal: a live screen, or plain lines where standard output is no terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from monitor.demo.telemetry import METRIC, Line, Scrape
from monitor.demo.verdict import Log, date, event

_COLUMNS = 8
_EVENTS = 10
_BAR = 30
_PROGRESS_SECONDS = 5.0
_STYLES = {"page": "bold red", "ticket": "yellow", "info": "dim"}


@dataclass(frozen=True, slots=True)
class Status:
    """What there is to show."""

    scrape: Scrape
    rows_a_second: float
    log: Log
    metrics: str

    @property
    def sentence(self) -> str:
        """Progress in one line."""
        scrape = self.scrape
        return (
            f"{date(scrape.event_time or None)}  row {scrape.received:,} of {self.log.rows:,}  "
            f"pane {scrape.panes} of {self.log.panes}  {self.rows_a_second:,.0f} rows/s"
        )


def performance(scrape: Scrape) -> str:
    """How well the model does, as far as that is known."""
    known = {"estimated": scrape.estimated, "by labels": scrape.realised, "of the reference": scrape.reference}
    told = [f"{value:.3f} {name}" for name, value in known.items() if not math.isnan(value)]
    return f"{METRIC} {', '.join(told)}  {scrape.labels:,} labels" if told else f"{METRIC} not known yet"


class View(Protocol):
    """Told everything, shows what fits. Whoever makes one must close it."""

    def update(self, status: Status, news: Sequence[Line]) -> None:
        """Show the state and what has just been found."""

    def close(self) -> None:
        """Show no more."""


class Lines:
    """A line for each event, and one now and then for the progress."""

    def __init__(self, console: Console) -> None:
        """Write to ``console``."""
        self._console = console
        self._told = -math.inf

    def update(self, status: Status, news: Sequence[Line]) -> None:
        """Write what is new."""
        if self._told == -math.inf:
            self._write(f"metrics at {status.metrics}")
        for line in news:
            self._write(event(line, status.log))
        if time.monotonic() - self._told >= _PROGRESS_SECONDS:
            self._told = time.monotonic()
            self._write(f"{status.sentence}  {performance(status.scrape)}")

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


class Screen:
    """A picture that is drawn anew several times a second."""

    def __init__(self, console: Console) -> None:
        """Take the terminal until `close`."""
        self._live = Live(console=console, auto_refresh=False)
        self._events: list[Line] = []
        self._live.start()

    def update(self, status: Status, news: Sequence[Line]) -> None:
        """Draw."""
        self._events += news
        self._live.update(picture(status, self._events), refresh=True)

    def close(self) -> None:
        """Give the terminal back, with the last picture on it. May be called twice."""
        self._live.stop()


def picture(status: Status, events: Sequence[Line]) -> RenderableType:
    """The whole screen."""
    scrape = status.scrape
    head = Text.assemble(("Driftwarden demo  ", "bold"), (status.metrics, "cyan"))
    state = Text(" ALARM ", "bold white on red") if scrape.alarm else Text(" quiet ", "black on green")
    evidence = Text.assemble("evidence  ", bar(scrape.log_e, scrape.threshold), "  ", state)
    recent = Text("\n").join(_event(line, status.log) for line in events[-_EVENTS:])
    return Group(head, Text(status.sentence), Text(performance(scrape)), evidence, columns(scrape), recent)


def columns(scrape: Scrape) -> Table:
    """The columns with the most evidence, and how far each is from the reference."""
    table = Table(box=None, pad_edge=False)
    table.add_column("column", width=12)
    table.add_column("evidence", width=_BAR + 20)
    table.add_column("moved share", justify="right")
    for column in scrape.columns[:_COLUMNS]:
        moved = "" if math.isnan(column.distance) else f"{column.distance:.1%}"
        table.add_row(column.name, bar(column.log_e, scrape.threshold), moved)
    return table


def bar(log_e: float, threshold: float) -> Text:
    """Evidence as a bar whose end is the threshold."""
    if math.isnan(threshold):
        return Text("no pane yet", "dim")
    share = log_e / threshold if threshold > 0 and math.isfinite(log_e) else 0.0
    full = round(_BAR * min(max(share, 0.0), 1.0))
    style = "red" if share >= 1 else "yellow" if share >= 0.5 else "green"
    number = f"{log_e:5.1f}" if math.isfinite(log_e) else "   no"
    return Text.assemble(("█" * full, style), ("░" * (_BAR - full), "dim"), f" {number} of {threshold:.1f}")


def _event(line: Line, log: Log) -> Text:
    style = "green" if line["kind"] == "recovery" else _STYLES.get(line["severity"], "")
    return Text(event(line, log), style, no_wrap=True, overflow="ellipsis")
