"""Plots as data: what the script draws, and what stands in the table beside it. Pure.

A column's counts on the reference's bins are drawn on thirty even ones, by straight lines through the distribution
function: bins that hold equal shares show a person nothing. The outermost values are single rows' own, and not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pyarrow as pa

from detectors.types import FloatArray
from monitor.records import Judged

BARS: Final = 30
DOTS: Final = 500
"""Reference rows in a picture of two columns."""
SHOWN: Final = 8
"""Categories shown; the others are added up."""
RARE: Final = 20
"""A category with fewer reference rows than this is somebody's own value: its name is for those who may see values."""
TAIL: Final = 0.012
"""Share of the rows that may lie beyond either end of the picture."""
POINTS: Final = 600
"""Panes drawn in one picture."""
UNITS: Final = 5
"""Columns whose own evidence is drawn."""
FAULTS: Final = ("missing", "nonfinite", "new")
_FAULTS: Final = {
    "missing": "missing",
    "nonfinite": "not finite",
    "new": "never seen before",
    "below range": "below the known range",
    "above range": "above the known range",
}
_CEILING: Final = 1e12
"""Evidence above this is drawn there: nothing is learnt from more, and the threshold stays in sight."""
Bin = Mapping[str, Any]
"""A row of the table of `monitor.evidence.histograms`."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A category, or a fault: its share of the rows before and now."""

    label: str
    before: float
    now: float

    @property
    def moved(self) -> float:
        """By how much its share changed."""
        return self.now - self.before


@dataclass(frozen=True, slots=True)
class Column:
    """One column before and now: ``spec`` is drawn where it is numeric, else there are ``bars``.

    ``faults`` are what counts besides its distribution, if there is any of it.
    """

    name: str
    numeric: bool
    spec: Mapping[str, Any]
    bars: tuple[Bar, ...]
    faults: tuple[Bar, ...]
    rows: tuple[int, int]


def columns(bins: Iterable[Bin], *, values: bool, labels: tuple[str, str]) -> list[Column]:
    """Every column of a table of histograms; ``labels`` name the two sides, ``values``: rare values may be named."""
    groups: dict[str, list[Bin]] = {}
    for one in bins:
        groups.setdefault(one["unit"], []).append(one)
    return [_column(name, group, values=values, labels=labels) for name, group in groups.items()]


def _column(name: str, bins: list[Bin], *, values: bool, labels: tuple[str, str]) -> Column:
    ordered = sorted(bins, key=lambda one: one["position"])
    body, counters = ordered[: -len(FAULTS)], ordered[-len(FAULTS) :]
    numeric = any(math.isfinite(one["upper"]) for one in body)
    rows = (_total(body, "reference"), _total(body, "window"))
    whole = (_whole(body, counters, "reference"), _whole(body, counters, "window"))
    outside = [one for one in (body[0], body[-1]) if numeric]
    faults = tuple(
        Bar(_FAULTS[one["label"]], one["reference"] / max(whole[0], 1), one["window"] / max(whole[1], 1))
        for one in (*outside, *counters)
        if one["reference"] or one["window"]
    )
    spec = _steps(body[1:-1], rows, labels) if numeric else {}
    bars = () if numeric else tuple(_bars(body, rows, values=values))
    return Column(name, numeric, spec, bars, faults, rows)


def _total(bins: Sequence[Bin], side: str) -> int:
    return int(sum(one[side] for one in bins))


def _whole(body: Sequence[Bin], counters: Sequence[Bin], side: str) -> int:
    """All rows: those with a value that has a bin, and those without; new categories are counted in "other"."""
    without = sum(one[side] for one in counters if one["label"] != "new")
    return int(_total(body, side) + without)


def _steps(bins: Sequence[Bin], rows: tuple[int, int], labels: tuple[str, str]) -> dict[str, Any]:
    """A numeric column as two stairs over even bins."""
    if not bins:
        return {}
    edges = np.array([bins[0]["lower"], *(one["upper"] for one in bins)])
    shares = [np.array([one[side] for one in bins]) / max(total, 1) for side, total in _sides(rows)]
    even = _even(edges, shares)
    before, now = (np.diff(np.interp(even, edges, np.concatenate([[0.0], np.cumsum(one)]))) for one in shares)
    return {
        "kind": "steps",
        "x": _figures(even),
        "labels": list(labels),
        "before": _figures([*before, before[-1]]),
        "now": _figures([*now, now[-1]]),
    }


def _sides(rows: tuple[int, int]) -> tuple[tuple[str, int], ...]:
    return (("reference", rows[0]), ("window", rows[1]))


def _even(edges: FloatArray, shares: Sequence[FloatArray]) -> FloatArray:
    """Even bins over all but the tails of either side."""
    ends = [np.concatenate([[0.0], np.cumsum(one)]) / max(one.sum(), 1e-300) for one in shares if one.sum() > 0]
    low = min((float(np.interp(TAIL, end, edges)) for end in ends), default=float(edges[0]))
    high = max((float(np.interp(1 - TAIL, end, edges)) for end in ends), default=float(edges[-1]))
    if not high > low:
        low, high = low - 0.5, low + 0.5
    return np.linspace(low, high, BARS + 1)


def _bars(body: Sequence[Bin], rows: tuple[int, int], *, values: bool) -> list[Bar]:
    """The categories that moved most, most frequent first, and all others together."""
    bars = [
        Bar(_label(one, place, values=values), one["reference"] / max(rows[0], 1), one["window"] / max(rows[1], 1))
        for place, one in enumerate(body)
        if one["reference"] or one["window"]
    ]
    bars.sort(key=lambda one: -abs(one.moved))
    shown = sorted(bars[:SHOWN], key=lambda one: -max(one.before, one.now))
    rest = bars[SHOWN:]
    if rest:
        shown.append(
            Bar(
                f"{len(rest)} other{'' if len(rest) == 1 else 's'}",
                sum(one.before for one in rest),
                sum(one.now for one in rest),
            )
        )
    return shown


def _label(one: Bin, place: int, *, values: bool) -> str:
    return one["label"] if values or one["reference"] >= RARE or one["label"] == "other" else f"rare value {place + 1}"


def evidence(
    judged: Sequence[Judged],
    *,
    units: Sequence[str] = (),
    marks: Mapping[str, float | None] = MappingProxyType({}),
    alarms: Mapping[int, float | None] = MappingProxyType({}),
) -> dict[str, Any]:
    """The evidence of a stream over time, as powers of ten, against its threshold.

    ``units`` are columns whose own evidence is drawn as well, ``marks`` are moments that are named in the picture.
    ``alarms`` are the log e-values by pane that raised them: the history has what was left without their culprits.
    """
    own = [name for name in dict.fromkeys(units) if any(name in one.units for one in judged)][:UNITS]
    return {
        "kind": "evidence",
        "x": [round(one.end, 3) for one in judged],
        "panes": [one.pane for one in judged],
        "whole": [ten(alarms.get(one.pane, one.log_e)) for one in judged],
        "threshold": [ten(one.threshold) for one in judged],
        "units": [{"name": name, "y": [ten(one.units.get(name)) for one in judged]} for name in own],
        "marks": [{"label": label, "x": x} for label, x in marks.items() if x is not None],
    }


def scatter(sides: tuple[pa.Table, pa.Table], names: tuple[str, str], labels: tuple[str, str]) -> dict[str, Any]:
    """Rows of both sides as points over two columns; nothing where these are not both numbers of both sides."""
    try:
        points = [np.array([side[name].to_numpy() for name in names], np.float64) for side in sides]
    except (KeyError, ValueError, TypeError, pa.ArrowException):
        return {}
    whole = [one[:, np.isfinite(one).all(axis=0)][:, :DOTS] for one in points]
    if not all(one.shape[1] for one in whole):
        return {}
    x = np.concatenate([one[0] for one in whole])
    order = np.argsort(x, kind="stable")
    y = np.concatenate([one[1] for one in whole])[order]
    now = (np.arange(len(x)) >= whole[0].shape[1])[order]
    return {
        "kind": "scatter",
        "x": _figures(x[order]),
        "before": [None if later else value for value, later in zip(_figures(y), now, strict=True)],
        "now": [value if later else None for value, later in zip(_figures(y), now, strict=True)],
        "names": list(names),
        "labels": list(labels),
    }


def thinned(judged: Sequence[Judged]) -> list[Judged]:
    """At most `POINTS` panes: of neighbours the one with the most evidence."""
    step = -(-len(judged) // POINTS)
    if step <= 1:
        return list(judged)
    runs = (judged[start : start + step] for start in range(0, len(judged), step))
    return [max(run, key=lambda one: -math.inf if one.log_e is None else one.log_e) for run in runs]


def ten(log_e: float | None) -> float | None:
    """A natural logarithm as a power of ten, within the picture."""
    if log_e is None or not math.isfinite(log_e):
        return None
    return round(min(log_e, math.log(_CEILING)) / math.log(10), 3)


def _figures(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
