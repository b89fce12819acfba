"""Small plots as inline SVG: logarithmic axes, a few series, nothing loaded from anywhere.

Colours are classes that the page's style sheet names, so that a plot follows the reader's light or dark scheme. Every
mark has a title that says what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_RIGHT, _TOP, _BOTTOM = 8.0, 8.0, 26.0
_TITLE, _LETTER = 18.0, 5.0
"""Room for the title of the upright axis, and for a letter of its longest tick."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One point: a value with its bounds, and what it says. A hollow one lies beyond the axis and joins no line."""

    x: float
    y: float
    low: float
    high: float
    says: str
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Points joined by a line, in the colour of a style class."""

    style: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True)
class Axis:
    """A logarithmic axis with its ticks; values outside are drawn at its ends."""

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    title: str

    def share(self, value: float) -> float:
        """Place between 0 and 1."""
        inside = min(max(value, self.low), self.high) if not math.isnan(value) else self.low
        return math.log(inside / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True, slots=True)
class Plot:
    """Axes, series, an upright line (with its meaning) where something begins, and a diagonal of equal values."""

    x: Axis
    y: Axis
    series: Sequence[Series]
    says: str
    upright: tuple[float, str] | None = None
    diagonal: bool = False
    width: float = 260.0
    height: float = 170.0

    def svg(self) -> str:
        """The picture."""
        parts = [*self._grid(), *self._lines()]
        for one in self.series:
            parts += self._series(one)
        size = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        return f'<svg {size} role="img" aria-label="{escape(self.says)}">{"".join(parts)}</svg>'

    @property
    def _left(self) -> float:
        return _TITLE + _LETTER * max((len(text) for _, text in self.y.ticks), default=0)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        wide, high = self.width - self._left - _RIGHT, self.height - _TOP - _BOTTOM
        return self._left + wide * self.x.share(x), _TOP + high * (1 - self.y.share(y))

    def _grid(self) -> list[str]:
        left, bottom, right = self._left, self.height - _BOTTOM, self.width - _RIGHT
        parts = []
        for value, text in self.y.ticks:
            _, y = self._at(self.x.low, value)
            parts.append(f'<path class="grid" d="M{left:g} {y:.1f}H{right:g}"/>')
            parts.append(f'<text class="tick" x="{left - 4:g}" y="{y + 3:.1f}" text-anchor="end">{escape(text)}</text>')
        for value, text in self.x.ticks:
            x, _ = self._at(value, self.y.low)
            parts.append(f'<path class="grid" d="M{x:.1f} {_TOP:g}V{bottom:g}"/>')
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{bottom + 11:g}" text-anchor="middle">{escape(text)}</text>'
            )
        middle, foot = (left + right) / 2, self.height - 2
        parts.append(
            f'<text class="tick" x="{middle:g}" y="{foot:g}" text-anchor="middle">{escape(self.x.title)}</text>'
        )
        parts.append(
            f'<text class="tick" transform="translate(8 {(_TOP + bottom) / 2:g}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y.title)}</text>"
        )
        return parts

    def _lines(self) -> list[str]:
        parts = []
        if self.upright is not None:
            x, _ = self._at(self.upright[0], self.y.low)
            path = f"M{x:.1f} {_TOP:g}V{self.height - _BOTTOM:g}"
            parts.append(f'<path class="limit" d="{path}"><title>{escape(self.upright[1])}</title></path>')
        if self.diagonal:
            ends = [self._at(end, end) for end in (max(self.x.low, self.y.low), min(self.x.high, self.y.high))]
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in ends)
            parts.append(f'<path class="limit" d="{path}"><title>what is promised</title></path>')
        return parts

    def _series(self, one: Series) -> list[str]:
        parts = []
        places = [self._at(mark.x, mark.y) for mark in one.marks]
        solid = [place for place, mark in zip(places, one.marks, strict=True) if not mark.hollow]
        if len(solid) > 1:
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in solid)
            parts.append(f'<path class="line {one.style}" d="{path}"/>')
        for (x, y), mark in zip(places, one.marks, strict=True):
            (_, bottom), (_, top) = self._at(mark.x, mark.low), self._at(mark.x, mark.high)
            whisker = f'<path class="line {one.style}" d="M{x:.1f} {bottom:.1f}V{top:.1f}"/>' if top < bottom else ""
            kind = "hollow" if mark.hollow else "dot"
            parts.append(
                f"<g><title>{escape(mark.says)}</title>{whisker}"
                f'<circle class="{kind} {one.style}" cx="{x:.1f}" cy="{y:.1f}" r="3.2"/></g>'
            )
        return parts


def decades(low: float, high: float) -> list[tuple[float, str]]:
    """A tick for every power of ten, and for 3 in between where there are few of them."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1.0, 3.0) if last - first <= 2 else (1.0,)
    values = (step * 10.0**power for power in range(first, last + 1) for step in steps)
    return [(value, f"{value:g}") for value in values if low * 0.999 <= value <= high * 1.001]
