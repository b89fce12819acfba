"""Sizes, delays and rates in a person's words; the terminal and the page say them alike."""

from __future__ import annotations

import math

from monitor.calibration.result import Delay, Interval, Result

NOT_FOUND = "not found"
LABELS = {
    "mean": "mean",
    "mix": "mix of categories",
    "scale": "scale",
    "spike": "spikes",
    "new category": "new category",
    "missing": "missing values",
    "correlation": "correlation break",
    "mode drop": "mode drop",
    "row mix": "mix of rows",
}
MEANINGS = {
    "mean": "every value moves by so many standard deviations",
    "mix": "a share of the rows gets the rarest known category",
    "scale": "distances from the mean grow by a factor",
    "spike": "a share of the values lies 10 standard deviations out",
    "new category": "a share of the values was never seen before",
    "missing": "a share of the values is missing",
    "correlation": "a share of the rows gets each value from another row: columns stay as they were",
    "mode drop": "a cluster that held a share of the rows is gone",
    "row mix": "rows of one sort, a fifth of the population, come so many times as often",
}
_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))


def size(kind: str, value: float) -> str:
    """A shift's size: 0.2 sd, x1.5 or 5 %."""
    if kind == "mean":
        return f"{value:g} sd"
    return f"x{value:g}" if kind in {"scale", "row mix"} else f"{100 * value:g} %"


def span(seconds: float | None) -> str:
    """Seconds in the largest unit that leaves at least one; empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    unit, name = next(((unit, name) for unit, name in _UNITS if seconds >= unit), _UNITS[-1])
    number = seconds / unit
    return f"{number:.0f} {name}" if number >= 10 else f"{number:.2g} {name}"


def panes(value: float) -> str:
    """A number of panes, or that there was none."""
    return f"{value:,.0f}" if math.isfinite(value) else NOT_FOUND


def smallest(result: Result, unit: str, kind: str) -> str:
    """The smallest size that is found, with its delay: ``0.2 sd in 8 (12) panes, 3 min``."""
    found = result.smallest(unit, kind)
    if found is None:
        return NOT_FOUND if result.of(unit, kind) else ""
    wall = span(result.traffic.seconds(found.median))
    return f"{size(kind, found.size)} in {found.median:.0f} ({panes(found.ninety)}) panes{', ' if wall else ''}{wall}"


def raisers(one: Delay) -> list[str]:
    """What raised the page of a joint shift, the most frequent first."""
    return sorted(one.by, key=lambda name: -one.by[name])


def length(seconds: float) -> str:
    """A duration for a configuration, rounded up: 5039 s are 84m."""
    return f"{math.ceil(seconds)}s" if seconds <= 120 else f"{math.ceil(seconds / 60)}m"


def interval(one: Interval, digits: int = 3) -> str:
    """An estimate with its bounds."""
    value, low, high = (
        f"{it:,.0f}" if it >= 10**digits else f"{it:.{digits}g}" for it in (one.value, one.low, one.high)
    )
    return f"{value} ({low} to {high})"


def traffic(result: Result) -> str:
    """The panes, in one sentence."""
    it = result.traffic
    rate = f" at {it.rate:g} rows a second" if it.rate else ""
    length = f", {span(it.pane_seconds)} each" if it.pane_seconds else ""
    split = f", simulated in {it.parts} parts" if it.parts > 1 else ""
    return f"panes of {it.pane_rows:,} rows{length}{rate}{split}"


def promise(result: Result) -> str:
    """The budget in panes."""
    shares = result.traffic.shares
    shared = f", shared by {shares} streams" if shares > 1 else ""
    return f"{result.budget}: one false page in {result.traffic.run_length:,.0f} panes{shared}"


def measured(result: Result) -> str:
    """False pages that were seen, and what that says of the budget's period."""
    alarms, period = result.false_alarms, result.per_period
    text = (
        f"{alarms.pages} false pages in {alarms.panes:,} undrifted panes: {interval(result.per_thousand)} per 1,000 "
        f"panes, 95 % interval"
    )
    if alarms.panes < result.traffic.run_length:
        return f"{text}; too few panes to test one in {result.traffic.run_length:,.0f}, see the lower budgets"
    return f"{text}; {interval(period)} in the budget's period, promised {result.budget.alarms:g}"
