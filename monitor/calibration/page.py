"""A study as one HTML page that needs nothing else: no script, no font, no address outside itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from monitor import paper
from monitor.calibration import words
from monitor.calibration.plots import Axis, Mark, Plot, Series, decades
from monitor.calibration.result import Column, Delay, Result, poisson
from monitor.calibration.shifts import SIZES
from monitor.calibration.study import ROWS_UNIT

_KINDS = ("mean", "mix", "scale", "spike", "new category", "missing")
_LEAST_MASS = 0.005
_STYLE = """
:root { --mean: #0067a8; --mix: #0067a8; --scale: #b8480f; --spike: #00794f; --new: #00794f; --missing: #9c3b7c;
  --promise: #0067a8; }
@media (prefers-color-scheme: dark) { :root { --mean: #5cb8f0; --mix: #5cb8f0; --scale: #f2905c; --spike: #4cc79a;
  --new: #4cc79a; --missing: #e08fc2; --promise: #5cb8f0; } }
.few { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: .8rem; }
.wide { max-width: 32rem; } .dot { stroke: none; } .hollow { fill: var(--card); stroke-width: 1.6; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: 0; list-style: none; font-size: .85rem; }
.legend span { display: inline-block; width: .8rem; height: .8rem; border-radius: 50%; margin-right: .35rem;
  vertical-align: -.08rem; }
"""


def html(result: Result) -> str:
    """The whole page."""
    body = "".join(
        (
            f"<h1>{escape(result.model)}: what its alarms will do</h1>",
            f'<p class="faint">{escape(_about(result))}</p>',
            *_warnings(result),
            *_alarms(result),
            *_delays(result),
            *_rows(result),
            *_table(result),
            "<h2>How this was measured</h2>",
            *(f"<p>{escape(note)}</p>" for note in result.notes),
        )
    )
    return paper.page(f"{result.model}: calibration", body, _STYLE + _colours())


def _about(result: Result) -> str:
    streams = f"{result.streams} streams of {result.horizon:g} panes, seed {result.seed}"
    return f"{words.traffic(result)}; {streams}; reference {result.grid_id}"


def _colours() -> str:
    styles = sorted({_style(kind) for kind in _KINDS} | {"promise"})
    return "\n".join(
        f".{one}.line, .{one}.hollow {{ stroke: var(--{one}); }} .{one}.dot {{ fill: var(--{one}); }} "
        f".legend .{one} {{ background: var(--{one}); }}"
        for one in styles
    )


def _style(kind: str) -> str:
    return kind.split(maxsplit=1)[0] if kind in _KINDS else "promise"


def _warnings(result: Result) -> Iterator[str]:
    if result.warnings:
        lines = "".join(f"<li>{escape(one)}</li>" for one in result.warnings)
        yield f'<h2>Before you rely on it</h2><ul class="warnings">{lines}</ul>'


def _alarms(result: Result) -> Iterator[str]:
    yield "<h2>False alarms</h2>"
    yield f"<p>Promised: {escape(words.promise(result))}.</p><p>Measured: {escape(words.measured(result))}.</p>"
    marks = []
    for rung in result.false_alarms.ladder:
        rate = poisson(rung.pages, rung.panes)
        says = f"budget of one in {rung.length:g} panes: {rung.pages} pages in {rung.panes:,} panes"
        value, low = (max(one, 1e-5) for one in (rate.value, rate.low))
        marks.append(Mark(1 / rung.length, value, low, rate.high, says, hollow=not rung.pages))
    ticks = [(rate, f"1 in {1 / rate:,.0f}") for rate, _ in decades(1e-5, 0.2)]
    titles = {"false pages per pane, promised": ticks, "measured, with 95 %": ticks[1:]}  # one label in the corner
    axis = [Axis(1e-5, 0.2, shown, title) for title, shown in titles.items()]
    says = "Measured rate of false pages against the promised one, for budgets that a short study can test"
    plot = Plot(axis[0], axis[1], [Series("promise", marks)], says, diagonal=True, width=420, height=220)
    yield f'<figure class="wide">{plot.svg()}<figcaption>{escape(says)}. Below the dashed line the'
    yield " promise is kept; hollow: no page.</figcaption></figure>"


def _delays(result: Result) -> Iterator[str]:
    yield "<h2>Delay against the size of a shift, column by column</h2>"
    yield (
        "<p>Across: how much probability mass moved. Up: panes from the onset to the page, median with the 90 % point. "
        "Hollow: not found in time. Left of the dashed line a shift of the values is tolerated; faults (spikes beyond "
        "the known range, new categories, missing values) have a smaller tolerance of their own.</p>"
    )
    items = (
        f'<li><span class="{_style(kind)}"></span>{escape(words.LABELS[kind])}: {escape(words.MEANINGS[kind])}</li>'
        for kind in _KINDS
    )
    yield f'<ul class="legend">{"".join(items)}</ul><div class="few">'
    for column in result.columns:
        yield _column(result, column)
    yield "</div>"


def _column(result: Result, column: Column) -> str:
    series = []
    for kind in _KINDS:
        marks = [_mark(result, one, max(one.mass, _LEAST_MASS)) for one in result.of(column.name, kind)]
        series.append(Series(_style(kind), marks))
    limit = f"up to {column.tolerated:.3f} is tolerated"
    upright = (column.tolerated, limit) if math.isfinite(column.tolerated) else None
    x = Axis(_LEAST_MASS, 1.0, decades(0.01, 1.0), "probability mass moved")
    says = f"Delay against size in {column.name}"
    plot = Plot(x, _panes_axis(result), series, says, upright)
    caption = f"<b>{escape(column.name)}</b> {escape(limit) if upright else 'values are not watched'}"
    return f"<figure>{plot.svg()}<figcaption>{caption}</figcaption></figure>"


def _panes_axis(result: Result) -> Axis:
    top = max(result.horizon, 2.0)
    ticks = [tick for tick in decades(1.0, top) if tick[0] < 0.7 * top]
    return Axis(0.8, 1.6 * top, [*ticks, (1.4 * top, "never")], "panes")


def _mark(result: Result, one: Delay, x: float) -> Mark:
    seen = f"found in {one.found} of {one.streams} streams" if one.streams else "not simulated: out of reach"
    says = f"{words.LABELS[one.kind]} {words.size(one.kind, one.size)}: {seen}"
    if not math.isfinite(one.median):
        never = 1.4 * result.horizon
        return Mark(x, never, never, never, says, hollow=True)
    wall = words.span(result.traffic.seconds(one.median))
    says += f", median {one.median:.0f} panes {wall}"
    high = one.ninety if math.isfinite(one.ninety) else 1.4 * result.horizon
    return Mark(x, one.median, one.median, high, says)


def _rows(result: Result) -> Iterator[str]:
    joint = [one for one in result.delays if one.unit == ROWS_UNIT]
    if not joint:
        return
    yield "<h2>Shifts of whole rows</h2>"
    yield "<p>Across: the size. These show in several columns together, or only there.</p>"
    yield '<div class="few">'
    for kind in dict.fromkeys(one.kind for one in joint):
        marks = [_mark(result, one, one.size) for one in joint if one.kind == kind]
        x = _sizes_axis(kind)
        by = dict.fromkeys(name for one in joint if one.kind == kind for name in words.raisers(one))
        plot = Plot(x, _panes_axis(result), [Series("promise", marks)], f"Delay against size: {words.LABELS[kind]}")
        raised = f" Raised by {escape(', '.join(by))}." if by else ""
        caption = f"<b>{escape(words.LABELS[kind])}</b>: {escape(words.MEANINGS[kind])}.{raised}"
        yield f"<figure>{plot.svg()}<figcaption>{caption}</figcaption></figure>"
    yield "</div>"


def _sizes_axis(kind: str) -> Axis:
    """Across: all sizes of a joint kind."""
    sizes = SIZES[kind]
    ticks = [(size, words.size(kind, size)) for size in sizes]
    return Axis(0.8 * min(sizes), 1.25 * max(sizes), ticks, "how often" if kind == "row mix" else "share of the rows")


def _table(result: Result) -> Iterator[str]:
    yield "<h2>Smallest injected shift that is found</h2>"
    yield (
        f"<p>Found in at least 90 % of the streams within {result.horizon:g} panes; median (90 %) delay.</p>"
        '<div class="scroll"><table>'
    )
    yield paper.line("th", ["column", "tolerated", *(words.LABELS[kind] for kind in _KINDS)])
    for column in result.columns:
        cells = (words.smallest(result, column.name, kind) for kind in _KINDS)
        yield paper.line("td", [column.name, f"{column.tolerated:.3f}", *cells])
    yield "</table></div>"
