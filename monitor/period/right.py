"""Whether the model was right in the period: estimates and figures by labels, from what the last checkpoint holds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from monitor.archive import Archive
from monitor.outcomes.door import TIMELINE
from monitor.period.plots import ticks
from monitor.web.wording import number

_WIDTH, _LEFT, _RIGHT = 760.0, 46.0, 10.0
_HIGH, _FOOT = 150.0, 20.0
_VALUE, _LOW, _HIGHEST, _ROWS = 1, 2, 3, 5
"""Places in a figure of `detectors.performance.types`, whose name comes first."""


def right(archive: Archive, model: str, since: float, until: float) -> dict[str, Any] | None:
    """What is known of the period; None where the log has no labels, or none have been followed."""
    raw = archive.state(f"{model}/{TIMELINE}")
    if raw is None:
        return None
    kept = json.loads(raw)
    windows = [one for one in kept["windows"] if since <= one[1] and one[2] <= until]
    cohorts = [
        one for one in (*([0, *one] for one in kept["old"]), *kept["truths"]) if since <= one[1] and one[2] <= until
    ]
    names = list(dict.fromkeys(figure[0] for *_, figures in (*cohorts, *windows) for figure in figures))
    return {"metrics": [_metric(name, windows, cohorts) for name in names]} if names else None


def _metric(name: str, windows: Sequence[Any], cohorts: Sequence[Any]) -> dict[str, Any]:
    """One metric: by labels and estimated, over time and in the mean."""
    told = [_point(one[1], one[2], one[-1], name) for one in cohorts]
    guessed = [{"stream": one[0], **_point(one[1], one[2], one[-1], name)} for one in windows]
    known = [one for one in told if one["value"] is not None]
    labels = sum(one["n"] for one in known)
    values = [one["value"] for one in guessed if one["value"] is not None]
    return {
        "metric": name,
        "realised": sum(one["value"] * one["n"] for one in known) / labels if labels else None,
        "lowest": min((one["value"] for one in known), default=None),
        "highest": max((one["value"] for one in known), default=None),
        "labels": labels,
        "estimated": sum(values) / len(values) if values else None,
        "by_labels": known,
        "windows": [one for one in guessed if one["value"] is not None],
    }


def _point(start: float, end: float, figures: Sequence[Sequence[Any]], name: str) -> dict[str, Any]:
    nothing: Sequence[Any] = [name, *(math.nan,) * 4, 0]
    figure = next((one for one in figures if one[0] == name), nothing)
    value, low, high = (one if math.isfinite(one) else None for one in (figure[_VALUE], figure[_LOW], figure[_HIGHEST]))
    return {"start": start, "end": end, "n": figure[_ROWS], "value": value, "low": low, "high": high}


@dataclass(frozen=True, slots=True)
class Over:
    """A metric over the period: ``told`` are steps by labels, ``guessed`` windows as estimated."""

    name: str
    since: float
    until: float
    told: Sequence[Mapping[str, Any]]
    guessed: Sequence[Mapping[str, Any]]

    def svg(self) -> str:
        """The picture; the table below tells it in numbers."""
        height = 8 + _HIGH + _FOOT
        parts = [*self._grid(height), *self._bands(), *self._steps(), *self._line()]
        says = f"{escape(self.name)} over time, by labels and estimated"
        return f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{says}">{"".join(parts)}</svg>'

    @property
    def _ends(self) -> tuple[float, float]:
        every = [one[key] for one in (*self.told, *self.guessed) for key in ("low", "high") if one[key] is not None]
        low, high = min(every, default=0.0), max(every, default=1.0)
        return (low, high) if high > low else (low - 0.5, low + 0.5)

    def _x(self, time: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (time - self.since) / max(self.until - self.since, 1e-9)

    def _y(self, value: float) -> float:
        low, high = self._ends
        return 8 + _HIGH * (1 - (value - low) / (high - low))

    def _grid(self, height: float) -> Iterator[str]:
        low, high = self._ends
        for value in (low, (low + high) / 2, high):
            y = self._y(value)
            yield f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"/>'
            yield f'<text class="tick" x="{_LEFT - 5:g}" y="{y + 3:.1f}" text-anchor="end">{number(value, 3)}</text>'
        for time, text in ticks(self.since, self.until):
            yield f'<path class="grid" d="M{self._x(time):.1f} 8V{height - _FOOT:g}"/>'
            yield f'<text class="tick" x="{self._x(time):.1f}" y="{height - 6:g}" text-anchor="middle">{text}</text>'

    def _bands(self) -> Iterator[str]:
        for kind, points in (("guessed", self.guessed), ("told", self.told)):
            for one in points:
                if one["low"] is not None and one["high"] is not None:
                    x, y = self._x(one["start"]), self._y(one["high"])
                    wide, high = self._x(one["end"]) - x, self._y(one["low"]) - y
                    yield f'<rect class="band {kind}" x="{x:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high:.1f}"/>'

    def _steps(self) -> Iterator[str]:
        for one in self.told:
            y = self._y(one["value"])
            yield f'<path class="line told" d="M{self._x(one["start"]):.1f} {y:.1f}H{self._x(one["end"]):.1f}"/>'

    def _line(self) -> Iterator[str]:
        for stream in dict.fromkeys(one["stream"] for one in self.guessed):
            mine = [one for one in self.guessed if one["stream"] == stream]
            middles = [f"{self._x((one['start'] + one['end']) / 2):.1f} {self._y(one['value']):.1f}" for one in mine]
            yield f'<path class="line guessed" d="M{"L".join(middles * 2 if len(middles) == 1 else middles)}"/>'
