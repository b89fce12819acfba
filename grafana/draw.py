"""Drawing a row of a dashboard as one picture, panel by panel where Grafana would put them.

Not Grafana's looks: its data, layout, colours and words, so that one can see whether the story can be read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from grafana.panels import WHOLE
from grafana.rendered import Panel
from grafana.shown import Cell, Named, colour, grid, mapped, option, overrides, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Answers = Sequence[Sequence[Named]]
_INCHES = 0.8, 0.42
_GROUND, _CARD, _INK, _FAINT = "#111217", "#181b1f", "#d8d9da", "#3a3d44"
_PAINT = {"green": "#56a64b", "yellow": "#e0b400", "orange": "#ff780a", "red": "#e02f44", "blue": "#5794f2",
          "purple": "#a352cc"}  # fmt: skip
_LEGENDS = 8
_ROWS = 12
_WORD = 30


def picture(title: str, shown: Sequence[tuple[Panel, Answers]], path: Path) -> None:
    """Draw panels at their places of the grid, the uppermost at the top, and write a PNG."""
    import matplotlib.pyplot as plt

    first = min(panel.document["gridPos"]["y"] for panel, _ in shown)
    deepest = max(panel.document["gridPos"]["y"] + panel.document["gridPos"]["h"] for panel, _ in shown) - first + 1
    figure = plt.figure(figsize=(WHOLE * _INCHES[0], deepest * _INCHES[1]), facecolor=_GROUND)
    figure.text(0.005, 1 - 0.6 / deepest, title, color=_INK, fontsize=13, weight="bold")
    for panel, found in shown:
        at = panel.document["gridPos"]
        top = 1 - (at["y"] - first + 1) / deepest
        left, bottom = at["x"] / WHOLE + 0.035, top - (at["h"] - 0.6) / deepest
        axes = figure.add_axes((left, bottom, at["w"] / WHOLE - 0.045, (at["h"] - 1.4) / deepest))
        _panel(axes, panel, found)
    figure.savefig(path, dpi=70, facecolor=_GROUND)
    plt.close(figure)


def _panel(axes: Axes, panel: Panel, found: Answers) -> None:
    axes.set_facecolor(_CARD)
    axes.set_title(panel.title, loc="left", color=_INK, fontsize=9, weight="bold")
    axes.tick_params(colors=_INK, labelsize=7, length=2)
    for edge in axes.spines.values():
        edge.set_color(_FAINT)
    draw = _KINDS[panel.kind]
    if any(found):
        draw(axes, panel, found)
    else:
        _words(axes, str(option(panel, "noValue", "No data")), _FAINT)


def _words(axes: Axes, words: str, ink: str) -> None:
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, words, color=ink, fontsize=16, ha="center", va="center", transform=axes.transAxes, weight="bold"
    )


def _paint(name: str) -> str:
    return _PAINT.get(name, name or _INK)


def _numbers(axes: Axes, panel: Panel, found: Answers) -> None:
    """Stat and gauge: values beside each other."""
    axes.set_axis_off()
    shown = [one for answer in found for one in answer]
    steps = option(panel, "thresholds.steps", [])
    for place, one in enumerate(shown):
        value = one.series.last
        word = mapped(f"{value:g}", option(panel, "mappings", []))
        cell = word or Cell(text(value, option(panel, "unit", ""), option(panel, "decimals")), colour(value, steps))
        x = (place + 0.5) / len(shown)
        large = 15 if len(shown) < 4 else 11
        axes.text(x, 0.55, cell.text, color=_paint(cell.colour), fontsize=large, ha="center", weight="bold")
        axes.text(x, 0.12, one.name if len(shown) > 1 else "", color=_INK, fontsize=8, ha="center")


def _lines(axes: Axes, panel: Panel, found: Answers) -> None:
    shown = sorted((one for answer in found for one in answer), key=_most, reverse=True)
    unit = option(panel, "unit", "")
    bars = option(panel, "custom.drawStyle") == "bars"
    floor: dict[float, float] = {}
    for one in shown:
        own = overrides(panel, one.name)
        at = [datetime.fromtimestamp(moment, UTC) for moment, _ in one.series.points]
        values = [value if math.isfinite(value) else math.nan for _, value in one.series.points]
        ink = _paint(own["color"]["fixedColor"]) if "color" in own else None
        label = f"{one.name[:_WORD]}  last {text(values[-1], unit)}"
        if bars:
            below = [floor.get(moment, 0.0) for moment, _ in one.series.points]
            wide = (one.series.points[-1][0] - one.series.points[0][0]) / max(len(at), 1) / 86400
            axes.bar(at, values, wide, bottom=below, color=ink, label=label)  # type: ignore[arg-type]
            floor |= {moment: low + (0 if math.isnan(value) else value)
                      for (moment, _), low, value in zip(one.series.points, below, values, strict=True)}  # fmt: skip
        else:
            dashed = "--" if "custom.lineStyle" in own else "-"
            axes.plot(at, values, dashed, color=ink, linewidth=1.2, label=label)  # type: ignore[arg-type]
    _clock(axes)
    axes.yaxis.set_major_formatter(lambda value, _: text(value, unit))
    if option(panel, "min") == 0:
        axes.set_ylim(bottom=0)
    axes.grid(color=_FAINT, linewidth=0.4)
    axes.set_ylabel(option(panel, "custom.axisLabel", ""), color=_INK, fontsize=7)
    handles, names = axes.get_legend_handles_labels()
    more = [f"... and {len(names) - _LEGENDS} more"] if len(names) > _LEGENDS else []
    axes.legend(handles[: _LEGENDS + len(more)], names[:_LEGENDS] + more, fontsize=6, labelcolor=_INK,
                facecolor=_CARD, edgecolor=_FAINT, loc="upper left")  # fmt: skip


def _most(one: Named) -> float:
    return max((value for _, value in one.series.points if math.isfinite(value)), default=-math.inf)


def _clock(axes: Axes) -> None:
    from matplotlib.dates import DateFormatter

    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))  # type: ignore[no-untyped-call]


def _bars(axes: Axes, panel: Panel, found: Answers) -> None:
    shown = [one for answer in found for one in answer][::-1]
    steps, unit = option(panel, "thresholds.steps", []), option(panel, "unit", "")
    values = [one.series.last for one in shown]
    axes.barh([one.name[:_WORD] for one in shown], values, color=[_paint(colour(value, steps)) for value in values])
    axes.xaxis.set_major_formatter(lambda value, _: text(value, unit))


def _timeline(axes: Axes, panel: Panel, found: Answers) -> None:
    shown = [one for answer in found for one in answer][::-1]
    mappings = option(panel, "mappings", [])
    for row, one in enumerate(shown):
        points = one.series.points
        for (begin, value), (end, _) in itertools.pairwise(points):
            word = mapped(f"{value:g}", mappings)
            at, until = (datetime.fromtimestamp(moment, UTC) for moment in (begin, end))
            axes.barh(row, until - at, left=at, color=_paint(word.colour if word else ""), height=0.8)  # type: ignore[arg-type]
        axes.text(
            0.01, (row + 0.5) / len(shown), one.name[:_WORD], color="#ffffff", fontsize=7, transform=axes.transAxes
        )
    axes.set_yticks([])
    axes.set_ylim(-0.5, len(shown) - 0.5)
    _clock(axes)


def _heat(axes: Axes, _: Panel, found: Answers) -> None:
    import numpy as np

    shown = sorted((one for answer in found for one in answer), key=lambda one: float(one.name))
    times = sorted({at for one in shown for at, _ in one.series.points})
    whole = np.full((len(shown), len(times)), np.nan)
    for row, one in enumerate(shown):
        for at, value in one.series.points:
            whole[row, times.index(at)] = value
    own = np.diff(np.nan_to_num(whole), axis=0, prepend=0.0)  # buckets are cumulative
    axes.imshow(np.where(own > 0, own, np.nan), aspect="auto", origin="lower", cmap="Oranges", interpolation="nearest")
    axes.set_yticks(range(len(shown)), [one.name for one in shown])
    axes.set_xticks([])


def _table(axes: Axes, panel: Panel, found: Answers) -> None:
    axes.set_axis_off()
    shown = grid(panel, found)
    rows = shown.rows[:_ROWS]
    if not rows:
        return
    made = axes.table([[cell.text[:_WORD] for cell in row] for row in rows], colLabels=shown.headings, loc="upper left",
                      cellLoc="left", colLoc="left")  # fmt: skip
    made.auto_set_font_size(False)  # noqa: FBT003 - positional in matplotlib
    made.set_fontsize(7)
    for (row, column), cell in made.get_celld().items():
        cell.set_edgecolor(_FAINT)
        paint = rows[row - 1][column].colour if row else ""
        cell.set_facecolor(_paint(paint) if paint else _CARD)
        cell.get_text().set_color(_INK if not paint else "#ffffff")


_KINDS: dict[str, Callable[[Axes, Panel, Answers], None]] = {
    "stat": _numbers,
    "gauge": _numbers,
    "timeseries": _lines,
    "bargauge": _bars,
    "state-timeline": _timeline,
    "heatmap": _heat,
    "table": _table,
}
