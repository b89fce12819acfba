"""Evidence over a period as inline SVG: a stream's way to its alarms, and its incidents as bars below."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from monitor.web.wording import SEVERITIES, instant, number

TOP: Final = 3.0
"""Evidence is drawn up to so many times what an alarm takes; more lies on the upper edge."""
_WIDTH, _LEFT, _RIGHT = 760.0, 46.0, 10.0
_HIGH, _BAR, _FOOT = 120.0, 9.0, 20.0
_STEPS = (300, 900, 3_600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 2_592_000, 7_776_000, 31_536_000)
_MOST_TICKS = 8
_MOST_BARS = 40
_DAY = 86_400


@dataclass(frozen=True, slots=True)
class Evidence:
    """A stream's points and its incidents, in the span of the report.

    A point is a time, the stream's log evidence, its threshold, and the evidence of the strongest column.
    """

    name: str
    since: float
    until: float
    points: Sequence[Sequence[float | None]]
    incidents: Sequence[Mapping[str, Any]]

    def svg(self) -> str:
        """The picture; what it shows is told in words as well."""
        bars = list(self.incidents)[:_MOST_BARS]
        height = 8 + _HIGH + 6 + _BAR * len(bars) + _FOOT
        lines = (*self._line("strongest", 3), *self._line("evidence", 1))
        parts = [*self._grid(height), *lines, *(self._bar(i, one) for i, one in enumerate(bars))]
        says = f"{self.name}: {self.says()}"
        return f'<svg viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{escape(says)}">{"".join(parts)}</svg>'

    def says(self) -> str:
        """The picture in a sentence."""
        known = [(log_e, threshold) for _, log_e, threshold, *_ in self.points if log_e is not None and threshold]
        if not known:
            return "nothing was judged"
        log_e, threshold = max(known, key=lambda one: one[0] / one[1])
        above = log_e >= threshold
        much = f"{number(log_e / threshold, 2)} times what an alarm takes" if above else "below an alarm throughout"
        return f"evidence at most {number(log_e, 3)} (natural logarithm), {much}; {self._incidents}"

    @property
    def _incidents(self) -> str:
        return "1 incident" if len(self.incidents) == 1 else f"{len(self.incidents)} incidents"

    def _x(self, time: float) -> float:
        share = (time - self.since) / max(self.until - self.since, 1e-9)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(share, 0.0), 1.0)

    @staticmethod
    def _y(ratio: float) -> float:
        return 8 + _HIGH * (1 - min(max(ratio, 0.0), TOP) / TOP)

    def _grid(self, height: float) -> Iterator[str]:
        for value, text in ((0.0, "0"), (1.0, "alarm"), (2.0, "2 x"), (TOP, f"{TOP:g} x")):
            y = self._y(value)
            kind = "limit" if value == 1 else "grid"
            yield f'<path class="{kind}" d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"/>'
            yield f'<text class="tick" x="{_LEFT - 5:g}" y="{y + 3:.1f}" text-anchor="end">{text}</text>'
        for time, text in ticks(self.since, self.until):
            x = self._x(time)
            yield f'<path class="grid" d="M{x:.1f} 8V{height - _FOOT:g}"/>'
            yield f'<text class="tick" x="{x:.1f}" y="{height - 6:g}" text-anchor="middle">{text}</text>'

    def _line(self, kind: str, place: int) -> Iterator[str]:
        """One of the values of the points, broken where nothing could be said."""
        pieces: list[list[str]] = [[]]
        for point in self.points:
            time, threshold, log_e = point[0], point[2], point[place]
            if log_e is None or not threshold or time is None:
                pieces.append([])
            else:
                pieces[-1].append(f"{self._x(time):.1f} {self._y(log_e / threshold):.1f}")
        for piece in pieces:
            if piece:
                path = "L".join(piece if len(piece) > 1 else piece * 2)
                yield f'<path class="line {kind}" stroke-linecap="round" d="M{path}"/>'

    def _bar(self, place: int, one: Mapping[str, Any]) -> str:
        """An incident from its opening to its end."""
        end = one["closed"] if one["closed"] is not None else self.until
        x, y = self._x(one["opened"]), 8 + _HIGH + 6 + _BAR * place
        wide = max(self._x(end) - x, 3.0)
        ended = "still open" if one["closed"] is None else f"ended {instant(end)}"
        says = f"{SEVERITIES.get(one['severity'], one['severity'])}: {one['title']}, {instant(one['opened'])}, {ended}"
        return (
            f'<g><title>{escape(says)}</title><rect class="bar {escape(one["severity"])}" x="{x:.1f}" y="{y:.1f}" '
            f'width="{wide:.1f}" height="{_BAR - 3:g}" rx="2"/></g>'
        )


def ticks(since: float, until: float) -> list[tuple[float, str]]:
    """Round times in UTC, a few of them, with what is written below."""
    wide = until - since
    step = next((one for one in _STEPS if wide / one <= _MOST_TICKS), _STEPS[-1])
    first = math.ceil(since / step)
    form = "%H:%M" if step < _DAY else "%d %b" if step < _STEPS[-2] else "%b %Y"
    times = (place * step for place in range(first, min(int(until // step), first + 2 * _MOST_TICKS) + 1))
    return [(float(time), datetime.fromtimestamp(time, UTC).strftime(form)) for time in times]
