"""What the command shows of references and findings: tables and sentences for people, documents for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from monitor.fitted import Fitted

if TYPE_CHECKING:
    from monitor.compare_runs import Comparison, Episode
    from monitor.coverage import Coverage, Gap, Watcher

Row = dict[str, Any]
_SHOWN: Final = ("accuracy", "auroc", "mae", "bias")
"""Metrics that a line in words names; its JSON form has all."""


def rows_of(fitted: Fitted) -> list[Row]:
    """One row per column of the reference: what it was taken for and how it looks."""
    reference = fitted.reference
    grid, summary = reference.grid, reference.summary
    units = {name: position for position, name in enumerate(grid.names)}
    rows = []
    for column in fitted.plan.columns:
        row: Row = {
            "column": column.name,
            "kind": str(column.kind),
            "role": column.role,
            "monitored": column.monitored,
            "note": column.note,
        }
        unit = units.get(column.name)
        if unit is not None:
            row["missing"] = round(float(summary.missing[unit]) / max(summary.rows, 1), 6)
            row["autocorrelation_rows"] = round(float(reference.tau[unit]), 2)
            row["shape"] = _shape(fitted, unit)
        rows.append(row)
    return rows


def _shape(fitted: Fitted, unit: int) -> str:
    grid = fitted.reference.grid
    p = len(grid.numeric_names)
    if unit >= p:
        known = len(grid.labels[unit - p])
        more = " and more" if grid.open_vocabulary[unit - p] else ""
        return f"{known} categories{more}"
    used = int(grid.used[unit])
    if used == 0:
        return "no values"
    low, middle, high = grid.edges[unit, 0], grid.centre[unit], grid.edges[unit, used]
    return f"{low:.4g} .. {middle:.4g} .. {high:.4g} in {used} bins"


def document_of(fitted: Fitted) -> Row:
    """The same for programs."""
    grid_id = fitted.reference.grid.id
    return {"rows": fitted.rows, "grid_id": grid_id, "columns": rows_of(fitted), "notes": list(fitted.notes)}


def print_fitted(name: str, fitted: Fitted, place: Path) -> None:
    """Print what was understood of a reference."""
    console = Console(width=None if Console().is_terminal else 160)
    table = Table(title=f"{name}: {fitted.rows:,} rows", title_justify="left")
    for heading in ("column", "kind", "role", "missing", "tau", "min .. median .. max / categories", "note"):
        table.add_column(heading, overflow="fold")
    for row in rows_of(fitted):
        watched = row["monitored"]
        table.add_row(
            row["column"],
            row["kind"],
            row["role"] if watched else f"{row['role']} (not watched)",
            f"{row['missing']:.2%}" if "missing" in row else "",
            f"{row['autocorrelation_rows']:g}" if "autocorrelation_rows" in row else "",
            row.get("shape", ""),
            row["note"],
            style=None if watched else "dim",
        )
    console.print(table)
    for note in fitted.notes:
        console.print(f"note: {note}", markup=False)
    tau = float(np.max(fitted.reference.tau, initial=1.0))
    if tau > 2:
        console.print(f"note: neighbouring rows depend on each other (up to {tau:.0f} rows count as one)", markup=False)
    console.print(f"written to {place}", markup=False)


def sentence(line: Row, *, timed: bool = False) -> str:
    """One replay line in words; ``timed`` says that times are seconds and not rows."""
    if line["kind"] == "summary":
        discarded = ", ".join(f"{number} {reason}" for reason, number in line["discarded"].items()) or "none"
        return (
            f"{line['model']}: {line['rows']:,} rows, {line['panes']:,} panes, {line['findings']} findings, "
            f"discarded: {discarded}, {line['seconds_cpu']} CPU s{_past(line.get('performance'))}"
        )
    when = f"pane {line['pane']:>6}  " + (f"{_minute(line['time'])}  " if timed else "")
    where = "" if line["stream"] == "all" else f"[{line['stream']}] "
    if line["kind"] == "performance":
        return f"{when}right? {where}{_performance(line)}"
    if line["kind"] == "recovery":
        return f"{when}back   {where}{', '.join(line['units'])}"
    units = ", ".join(_unit(unit) for unit in line["units"][:5])
    rest = len(line["units"]) - 5
    more = f" and {rest} more" if rest > 0 else ""
    what = str({"mix": "mix", "outcome": "errors"}.get(line["subject"], line["triage"]))
    since = f"since pane {line['since_pane']}" + (f", {_minute(line['since_time'])}" if timed else "")
    return f"{when}{line['severity']:<6} {where}{what.replace('_', ' ')}: {units}{more}  {since}"


def _performance(line: Row) -> str:
    """What was estimated of some panes, and what their labels say."""
    said = _figures(line["estimate"]) or "nothing"
    by = f" by {line['estimator']}" if line["estimator"] else ""
    real = f"labels of {line['labelled']:,} of {line['rows']:,} rows: {_figures(line['realised'])}"
    told = [f"since pane {line['since_pane']}: {said} estimated{by}", real if line["labelled"] else "no labels"]
    worse = list(dict.fromkeys(name for names in line["below_expectation"].values() for name in names))
    told += [f"below expectation: {', '.join(worse)}"] if worse else []
    return "; ".join([*told, *([f"in doubt: {', '.join(line['doubts'])}"] if line["doubts"] else [])])


def _figures(figures: Row) -> str:
    """The metrics that tell most, with their intervals."""
    shown = [(name, figures[name]) for name in _SHOWN if name in figures]
    return ", ".join(f"{name} {one['value']:.4g} [{one['low']:.4g}, {one['high']:.4g}]" for name, one in shown)


def _past(performance: Row | None) -> str:
    """How far estimates were from labels."""
    compared = {} if performance is None else performance["estimates_less_labels"]
    told = [
        f"{name} off by {compared[name]['mae']:.3g} in the mean of {compared[name]['n']} windows, "
        f"{compared[name]['within']:.0%} of labels' figures within the interval"
        for name in _SHOWN
        if name in compared
    ]
    return f"; estimates: {', '.join(told)}" if told else ""


def _minute(time: float | None) -> str:
    return "" if time is None else datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%MZ")


def intervention_line(done: Row) -> str:
    """What somebody did, in a line; ``done`` is an intervention's JSON form."""
    from monitor.web.wording import KINDS, clean, instant, targets

    finding = done["target"].get("finding")
    target = ", ".join([*targets(done["target"]), *([f"finding {clean(finding)}"] if finding else [])])
    ends = f" until {instant(done['until'])}" if done["until"] is not None else ""
    back = f"; taken back by {clean(done['undone_by'])}: {clean(done['undone_because'], 500)}" if done["undone"] else ""
    what = f"{KINDS.get(done['kind'], done['kind'])}: {target}{ends}, {clean(done['model'])}"
    return f"{done['id']}  {instant(done['time'])}  {what} ({clean(done['by'])}: {clean(done['because'], 500)}{back})"


def print_coverage(found: Coverage) -> None:
    """Print the failure modes with what watches them."""
    console = Console(width=None if Console().is_terminal else 160)
    known = "its measured reference" if found.source == "reference" else "the configuration alone"
    title = f"{found.model}: failure modes, told from {known}"
    table = Table(title=title, title_justify="left", show_lines=True)
    for heading in ("", "failure mode", "watched", "by", "missing to watch more", "what no log shows"):
        table.add_column(heading, overflow="fold", ratio=None if heading in ("", "watched") else 1)
    for row in found.rows:
        mode = row.mode
        by, missing = _watched_by(row.watchers), _missing(row.missing)
        cells = (str(mode.number), mode.title, row.status, by, missing, mode.not_observable)
        table.add_row(*(Text(cell) for cell in cells))  # names of columns are no markup
    console.print(table)
    wanted = {gap.name: gap.what for row in found.rows for gap in row.missing if not (gap.key or gap.given)}
    for name, what in wanted.items():
        console.print(f"{name.replace('_', ' ')}: {what}", markup=False, highlight=False)
    for absence in found.absent:
        console.print(absence.sentence, markup=False, highlight=False)


def _watched_by(watchers: tuple[Watcher, ...]) -> str:
    """What pages by name; many tests of columns as a number."""
    lines = []
    for does in dict.fromkeys(one.does for one in watchers):
        mine = [one for one in watchers if one.does == does]
        tests = [one for one in mine if does == "explains" and not one.views]
        named = [f"{len(tests)} tests of columns"] if tests else []
        lines.append(f"{does}: " + ", ".join([*named, *(_looking(one) for one in mine if one not in tests)]))
    return "\n".join(lines)


def _looking(one: Watcher) -> str:
    if one.views:
        return f"{one.detector} (views: {', '.join(one.views)})"
    return one.detector if one.columns is None else f"{one.detector} ({one.columns} columns)"


def _missing(gaps: tuple[Gap, ...]) -> str:
    """What the log lacks, what nothing reads yet (though it may be logged), and what has no key yet."""
    keys = [(one, one.key or one.name) for one in gaps]
    groups = {
        "set": [one.key for one in gaps if one.read and one.key],
        "not read yet": [
            key + (" (logged)" if one.given else "") for one, key in keys if not one.read and (one.key or one.given)
        ],
        "no key yet": [one.name.replace("_", " ") for one in gaps if not (one.key or one.given)],
    }
    return "\n".join(f"{head}: {', '.join(names)}" for head, names in groups.items() if names)


def print_comparison(found: Comparison, names: tuple[str, str]) -> None:
    """Alarms of two configurations side by side."""
    console = Console(width=None if Console().is_terminal else 160)
    for key, name, outcome in zip("AB", names, found.outcomes, strict=True):
        console.print(f"{key} = {name}: {sentence(outcome.as_dict())}", markup=False, highlight=False)
    table = Table(title="Pages and tickets of both", title_justify="left")
    for heading in ("", "stream", "units", "A", "B", "B later by"):
        table.add_column(heading, overflow="fold")
    for pair in found.pairs:
        sides = (pair.a, pair.b)
        named = dict.fromkeys(unit["unit"] for side in sides if side is not None for unit in side.line["units"])
        streams = dict.fromkeys(side.line["stream"] for side in sides if side is not None)
        where = "both" if all(sides) else "only A" if pair.a is not None else "only B"
        units = ", ".join(list(named)[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "")
        table.add_row(
            where,
            ", ".join(streams),
            units,
            *(_alarm(side, timed=found.timed) for side in sides),
            _later(pair.later, found),
        )
    console.print(table)
    if not found.pairs:
        console.print("neither would have raised an alarm", markup=False)


def _alarm(side: Episode | None, *, timed: bool) -> str:
    if side is None:
        return ""
    when = _minute(side.raised) if timed else f"row {side.raised:,.0f}"
    return f"{side.line['severity']}, pane {side.line['pane']}, {when}"


def _later(later: float | None, found: Comparison) -> str:
    if later is None:
        return ""
    return f"{later:+,.0f} {'s' if found.timed else 'rows'}"


def _unit(unit: Row) -> str:
    effect = unit["effect"]
    size = "" if effect is None else f"{unit['effect_name'].replace('_', ' ')} {effect:+.3g}, "
    return f"{unit['unit']} ({size}{unit['detector']})"
