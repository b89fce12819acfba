"""Was it found? Findings held against what is documented about the demo's data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from monitor.demo.files import COLUMNS, EPISODE
from monitor.demo.telemetry import Line

ALARMS = ("page", "ticket")
"""Severities that ask something of somebody; the others are notes."""
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Log:
    """How the log was cut: panes of ``pane_rows``, judged by windows of ``window_panes``, ``rows`` in all."""

    pane_rows: int
    window_panes: int
    rows: int

    @property
    def panes(self) -> int:
        """Whole panes in the log; the rows after the last one are not judged."""
        return self.rows // self.pane_rows

    def span(self, pane: int) -> tuple[int, int]:
        """First row of a pane and the first after it, counted from 0."""
        return (pane - 1) * self.pane_rows, pane * self.pane_rows

    def where(self, pane: int) -> str:
        """One of "before", "episode", "recovering" (one window after the episode) and "after"."""
        first, end = self.span(pane)
        if end <= EPISODE[0]:
            return "before"
        if first < EPISODE[1]:
            return "episode"
        return "recovering" if first < EPISODE[1] + self.window_panes * self.pane_rows else "after"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``page`` is the first page in the episode that names a documented column; ``false`` are alarms with no cause."""

    page: Line | None
    end: Line | None
    joined: tuple[Line, ...]
    false: tuple[Line, ...]
    notes: tuple[Line, ...]

    @property
    def good(self) -> bool:
        """Whether the documented drift was found and nothing else."""
        return self.page is not None and not self.false


def judge(lines: Sequence[Line], log: Log) -> Verdict:
    """Hold findings and recoveries against the documentation."""
    found = [line for line in lines if line["kind"] == "finding"]
    alarms = [line for line in found if line["severity"] in ALARMS]
    inside = [line for line in alarms if log.where(line["pane"]) == "episode"]
    pages = [line for line in inside if line["severity"] == "page" and documented(line)]
    page = pages[0] if pages else None
    return Verdict(
        page=page,
        end=None if page is None else recovery_of(page, lines),
        joined=tuple(line for line in inside if line is not page),
        false=tuple(line for line in alarms if log.where(line["pane"]) in ("before", "after")),
        notes=tuple(line for line in found if line["severity"] not in ALARMS),
    )


def recovery_of(finding: Line, lines: Iterable[Line]) -> Line | None:
    """The line that says a finding is over."""
    return next((line for line in lines if line["kind"] == "recovery" and finding["id"] in line["findings"]), None)


def documented(finding: Line) -> bool:
    """Whether a finding names a column that is documented to drift."""
    return bool({unit["unit"] for unit in finding["units"]} & set(COLUMNS))


def summary(verdict: Verdict, log: Log, seconds: float) -> list[str]:
    """What was found and when, a sentence a line."""
    first, end = EPISODE
    lines = [
        f"{log.rows:,} rows in {log.panes} panes of {log.pane_rows}, in {seconds:.0f} s",
        "a number beside a column is the share of people that moved; rows and dates are those of the pane's end",
    ]
    if verdict.page is None:
        lines.append(f"missed     no page names {' or '.join(COLUMNS)} in the documented rows {first:,} to {end:,}")
    else:
        lines.append(f"found      {event(verdict.page, log)}")
        lines += [f"           {event(line, log)}" for line in verdict.joined]
        over = "not yet at the end of the log" if verdict.end is None else event(verdict.end, log)
        lines.append(f"recovered  {over}")
        lines.append(f"documented {', '.join(COLUMNS)} drift most, somewhere in rows {first:,} to {end:,}")
    lines += [f"false      {event(line, log)}" for line in verdict.false]
    if not verdict.false:
        after = end + log.window_panes * log.pane_rows
        lines.append(f"quiet      no alarm before row {first:,} and none after row {after:,}")
    noted = sorted({unit["unit"] for line in verdict.notes for unit in line["units"]})
    if noted:
        lines.append(f"noted      {len(verdict.notes)} smaller changes, nobody was called: {', '.join(noted)}")
    result = "the documented drift was found, and nothing else" if verdict.good else "not as documented"
    return [*lines, f"verdict    {result}"]


def event(line: Line, log: Log) -> str:
    """A finding or recovery in one line of text."""
    pane = line["pane"]
    where = f"pane {pane:>3}  row {log.span(pane)[1]:>7,}  {date(line['time'])}"
    if line["kind"] == "recovery":
        names = list(dict.fromkeys(line["units"]))
        return f"{where}  {'back':<6}  {_some(names)}"
    return f"{where}  {line['severity']:<6}  {_some(_moved(line['units']))}"


def date(seconds: float | None) -> str:
    """Day of an event time."""
    return "no date" if seconds is None else datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _moved(units: Iterable[Line]) -> list[str]:
    """Columns with how far they moved, each once: of what several detectors say, the largest."""
    largest: dict[str, float | None] = {}
    for unit in units:
        known, effect = largest.setdefault(unit["unit"], unit["effect"]), unit["effect"]
        if effect is not None and (known is None or abs(effect) > abs(known)):
            largest[unit["unit"]] = effect
    return [name if effect is None else f"{name} {effect:+.2f}" for name, effect in largest.items()]
