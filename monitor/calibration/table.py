"""A study on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from monitor.calibration import words
from monitor.calibration.result import Result, poisson
from monitor.calibration.study import ROWS_UNIT

_PAIRS = (("mean", "mix"), ("scale",), ("spike", "new category"), ("missing",))


def print_result(result: Result) -> None:
    """Promise, false alarms, smallest shifts found by column, joint shifts, warnings."""
    console = Console(width=None if Console().is_terminal else 160)

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False)

    say(f"{result.model}: {words.traffic(result)}; {result.streams} streams, {result.seconds_cpu:.0f} CPU s")
    say(f"promised: {words.promise(result)}")
    say(f"measured: {words.measured(result)}")
    console.print(_ladder(result))
    console.print(_columns(result))
    console.print(_rows(result))
    for note in result.notes:
        say(f"note: {note}")
    for warning in result.warnings:
        say(f"warning: {warning}")


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _ladder(result: Result) -> Table:
    table = _table("The same evidence under lower budgets", "one page in", "pages", "panes at risk", "pages per pane")
    for rung in result.false_alarms.ladder:
        rate = words.interval(poisson(rung.pages, rung.panes))
        table.add_row(f"{rung.length:,.0f} panes", str(rung.pages), f"{rung.panes:,}", rate)
    return table


def _columns(result: Result) -> Table:
    table = _table(
        f"Smallest injected shift found in 90 % of the streams within {result.horizon:g} panes: median (90 %) delay",
        "column", "tolerated", "mean / mix", "scale", "spikes / new category", "missing",
    )  # fmt: skip
    for column in result.columns:
        cells = (
            "; ".join(filter(None, (words.smallest(result, column.name, kind) for kind in pair))) for pair in _PAIRS
        )
        table.add_row(column.name, f"{column.tolerated:.3f}", *cells)
    return table


def _rows(result: Result) -> Table:
    table = _table(
        "Shifts of whole rows", "shift", "size", "found", "median (90 %) delay in panes", "median", "raised by"
    )
    for one in result.delays:
        if one.unit == ROWS_UNIT:
            wall = words.span(result.traffic.seconds(one.median))
            delay = f"{words.panes(one.median)} ({words.panes(one.ninety)})"
            found = f"{one.found} of {one.streams}"
            by = ", ".join(words.raisers(one))
            table.add_row(words.LABELS[one.kind], words.size(one.kind, one.size), found, delay, wall, by)
    return table
