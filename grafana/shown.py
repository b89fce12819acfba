"""What a panel shows, worked out as Grafana would: series with legends, tables with headings, values as text.

Only what these dashboards use of Grafana's options is understood.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana.ask import Prometheus, Series
from grafana.rendered import Json, Panel, filled

POINTS = 240
_DAY = 86400.0
_SECONDS = ((60.0, 1.0, "s"), (3600.0, 60.0, "min"), (_DAY, 3600.0, "h"), (math.inf, _DAY, "d"))


@dataclass(frozen=True, slots=True)
class Span:
    """The time range of a dashboard, and the time between two scrapes, in seconds."""

    start: float
    end: float
    scrape: float

    def step(self, panel: Panel) -> float:
        """Seconds from one point to the next."""
        minutes = float(panel.document.get("interval", "0m").removesuffix("m"))
        return max((self.end - self.start) / POINTS, minutes * 60, 1.0)

    def variables(self, panel: Panel) -> dict[str, str]:
        """The variables that Grafana itself makes."""
        rate = max(self.step(panel) + self.scrape, 4 * self.scrape)
        return {"__range": f"{self.end - self.start:.0f}s", "__rate_interval": f"{rate:.0f}s"}


@dataclass(frozen=True, slots=True)
class Named:
    """A series under its legend."""

    name: str
    series: Series


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: its text and the colour of its ground, if it has one."""

    text: str
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as it is shown."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def answers(panel: Panel, server: Prometheus, span: Span, variables: Mapping[str, str]) -> list[list[Named]]:
    """Series of each query of a panel."""
    made = []
    for target in panel.targets:
        expr = filled(target["expr"], {**variables, **span.variables(panel)})
        instant = bool(target.get("instant"))
        found = server.now(expr, span.end) if instant else _with_gaps(server, expr, span, span.step(panel))
        made.append([Named(legend(target.get("legendFormat", ""), one), one) for one in found])
    return made


def _with_gaps(server: Prometheus, expr: str, span: Span, step: float) -> list[Series]:
    """Values over time, and no number where there was none, from the first value to the last."""
    made = []
    for one in server.over(expr, span.start, span.end, step):
        known = {round((at - span.start) / step): value for at, value in one.points}
        places = range(min(known), max(known) + 1)
        points = ((span.start + place * step, known.get(place, math.nan)) for place in places)
        made.append(Series(one.labels, tuple(points)))
    return made


def legend(form: str, series: Series) -> str:
    """The legend's text of a series."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: series.labels.get(found[1], ""), form)


def option(panel: Panel, name: str, default: Any = None) -> Any:
    """A field option of the whole panel, dots for depth: ``custom.drawStyle``."""
    found: Any = panel.document.get("fieldConfig", {}).get("defaults", {})
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return default if found is None else found


def overrides(panel: Panel, name: str) -> dict[str, Any]:
    """Field options for the field of that name."""
    made: dict[str, Any] = {}
    for one in panel.document.get("fieldConfig", {}).get("overrides", []):
        if one["matcher"]["options"] == name:
            made |= {each["id"]: each.get("value") for each in one["properties"]}
    return made


def text(value: float, unit: str, decimals: int | None = None) -> str:
    """A value in its unit, short."""
    if not math.isfinite(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.{1 if decimals is None else decimals}f} %"
    if unit == "dateTimeFromNow":
        return f"{text(time.time() - value / 1000, 's')} ago"
    if unit == "s":
        return _duration(value)
    suffix = {"bytes": "B", "Bps": "B/s", "reqps": "/s"}.get(unit, "")
    return f"{_thousands(value, decimals)}{suffix}"


def _duration(value: float) -> str:
    if abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    size, name = next((size, name) for most, size, name in _SECONDS if abs(value) < most)
    return f"{value / size:.3g} {name}"


def _thousands(value: float, decimals: int | None) -> str:
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{name}"
    return f"{value:.3g}" if decimals is None else f"{value:.{decimals}f}"


def colour(value: float, steps: Sequence[Mapping[str, Any]]) -> str:
    """The colour of the step that a value has reached."""
    reached = [str(step["color"]) for step in steps if step.get("value") is None or value >= step["value"]]
    return reached[-1] if reached else ""


def mapped(value: str, mappings: Sequence[Mapping[str, Any]]) -> Cell | None:
    """The word for a value, where there is one."""
    for one in mappings:
        found = one["options"].get(value)
        if found is not None:
            return Cell(str(found["text"]), str(found["color"]))
    return None


def grid(panel: Panel, found: Sequence[Sequence[Named]]) -> Grid:
    """A table as its transformations and options make it."""
    steps = {one["id"]: one["options"] for one in panel.document.get("transformations", [])}
    rows = _ends(found) if "reduce" in steps else _merged(found)
    organise = steps["organize"]
    hidden, names = organise.get("excludeByName", {}), organise.get("renameByName", {})
    order = organise.get("indexByName", {})
    fields = sorted(dict.fromkeys(name for row in rows for name in row), key=lambda name: order.get(name, len(order)))
    shown = [name for name in fields if not hidden.get(name) and not _is_hidden(panel, names.get(name, name))]
    rows = _sorted(panel, rows, names)
    cells = (tuple(_cell(panel, names.get(name, name), row.get(name)) for name in shown) for row in rows)
    return Grid(tuple(names.get(name, name) for name in shown), tuple(cells))


def _is_hidden(panel: Panel, name: str) -> bool:
    return bool(overrides(panel, name).get("custom.hidden"))


Row = dict[str, str | float]


def _merged(found: Sequence[Sequence[Named]]) -> list[Row]:
    """Answers side by side, one row for each set of labels; an answer with more labels than others joins their row."""
    rows: list[Row] = []
    for place, answer in enumerate(found):
        name = "Value" if len(found) == 1 else f"Value #{chr(ord('A') + place)}"
        for one in answer:
            row = next((row for row in rows if name not in row and _agree(row, one.series.labels)), None)
            if row is None:
                rows.append(row := {})
            row.update(one.series.labels)
            row[name] = one.series.last
    return rows


def _agree(row: Row, labels: Mapping[str, str]) -> bool:
    return all(row[name] == value for name, value in labels.items() if name in row)


def _ends(found: Sequence[Sequence[Named]]) -> list[Row]:
    """First, last and largest value of each line."""
    made: list[Row] = []
    for one in (one for answer in found for one in answer):
        values = [value for _, value in one.series.points if math.isfinite(value)]
        if values:
            made.append({"Field": one.name, "First *": values[0], "Last *": values[-1], "Max": max(values)})
    return made


def _sorted(panel: Panel, rows: list[Row], names: Mapping[str, str]) -> list[Row]:
    fields = {names.get(name, name): name for row in rows for name in row}
    for by in panel.document.get("options", {}).get("sortBy", []):
        field = fields.get(by["displayName"], "")
        rows = sorted(rows, key=lambda row: _rank(row.get(field)), reverse=bool(by.get("desc")))
    return rows


def _rank(value: str | float | None) -> float:
    return value if isinstance(value, float) and math.isfinite(value) else -math.inf


def _cell(panel: Panel, name: str, value: str | float | None) -> Cell:
    own: Json = overrides(panel, name)
    if value is None:
        return Cell("-")
    word = mapped(f"{value:g}" if isinstance(value, float) else value, own.get("mappings", []))
    if word is not None:
        return word
    if isinstance(value, str):
        return Cell(value)
    steps = own.get("thresholds", {}).get("steps", [])
    return Cell(text(value, own.get("unit", option(panel, "unit", "")), own.get("decimals")), colour(value, steps))
