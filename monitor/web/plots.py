"""Plots as data: what the script draws, and what stands in the table beside it. Pure.

Every share is one of all rows of the column, those without a usual value included: the shares of a column and of its
faults make up a whole. Counts on the reference's bins are drawn on thirty even ones, by straight lines through the
distribution function: bins that hold equal shares show a person nothing. The outermost values are single rows' own, and
not drawn.
"""

from __future__ import annotations

import dataclasses
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
PLAIN: Final = 0.005
"""A fault that rose by less than this share of the rows is told like all others."""
SURE: Final = 3.0
"""Standard deviations by which it must have risen to be more than chance."""
HIGHER: Final = 0.53
"""Chance that a row of now has a larger value than one of before, from which on values are called higher."""
WIDER: Final = 1.15
"""By so much the middle half of the rows must have widened, or narrowed, to be told."""
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
_COUNTED: Final = {
    "e_missing": ("missing",),
    "e_nonfinite": ("nonfinite",),
    "e_new_category": ("new",),
    "e_out_of_range": ("below range", "above range"),
}
"""Rate detector -> what it counts; values of a wrong type are counted apart."""
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

    def rose(self, rows: tuple[int, int]) -> bool:
        """Whether its share rose by more than chance and trifles, among so many ``rows`` before and now."""
        both = max((self.before * rows[0] + self.now * rows[1]) / max(sum(rows), 1), 0.0)
        error = math.sqrt(both * max(1 - both, 0.0) * sum(1 / max(one, 1) for one in rows))
        return self.moved > max(PLAIN, SURE * error)


@dataclass(frozen=True, slots=True)
class Column:
    """One column before and now: ``spec`` is drawn where it is numeric, else there are ``bars``.

    ``faults`` are what counts besides its distribution, if there is any of it; ``where`` says in which direction the
    numbers moved, "" where they did not; ``named`` whether the bars have the names of their values.
    """

    name: str
    numeric: bool
    spec: Mapping[str, Any]
    bars: tuple[Bar, ...]
    faults: tuple[Bar, ...]
    rows: tuple[int, int]
    where: str = ""
    named: bool = True


def columns(bins: Iterable[Bin], *, values: bool, labels: tuple[str, str]) -> list[Column]:
    """Every column of a table of histograms; ``labels`` name the two sides, ``values``: their values may be named."""
    groups: dict[str, list[Bin]] = {}
    for one in bins:
        groups.setdefault(one["unit"], []).append(one)
    return [_column(name, group, values=values, labels=labels) for name, group in groups.items()]


def fault_shares(column: Column, detector: str) -> tuple[float, float] | None:
    """Shares before and now of a column's rows that have the fault of a rate detector; None where it counts none."""
    labels = [_FAULTS[name] for name in _COUNTED.get(detector, ())]
    found = [one for one in column.faults if one.label in labels]
    return (sum(one.before for one in found), sum(one.now for one in found)) if labels else None


def _column(name: str, bins: list[Bin], *, values: bool, labels: tuple[str, str]) -> Column:
    ordered = sorted(bins, key=lambda one: one["position"])
    body, counters = ordered[: -len(FAULTS)], ordered[-len(FAULTS) :]
    numeric = any(math.isfinite(one["upper"]) for one in body)
    rows = (_total(ordered, "reference"), _total(ordered, "window"))
    outside = [one for one in (body[0], body[-1]) if numeric]
    faults = tuple(
        Bar(_FAULTS[one["label"]], one["reference"] / max(rows[0], 1), one["window"] / max(rows[1], 1))
        for one in (*outside, *counters)
        if one["reference"] or one["window"]
    )
    spec = _steps(body[1:-1], rows, labels) if numeric else {}
    bars = () if numeric else tuple(_bars(body, rows, values=values))
    return Column(name, numeric, spec, bars, faults, rows, _where(body) if numeric else "", values)


def _total(bins: Sequence[Bin], side: str) -> int:
    return int(sum(one[side] for one in bins))


def _where(body: Sequence[Bin]) -> str:
    """In which direction the values of a column moved, and whether they spread; of rows that have one."""
    shares = [np.array([one[side] for one in body], np.float64) for side in ("reference", "window")]
    if min(one.sum() for one in shares) == 0:
        return ""
    before, now = (one / one.sum() for one in shares)
    above = float(now @ (np.cumsum(before) - before / 2))
    middle = "higher" if above >= HIGHER else "lower" if above <= 1 - HIGHER else ""
    edges = np.array([body[0]["upper"], *(one["upper"] for one in body[:-1]), body[-1]["lower"]])
    quarters = [np.interp([0.25, 0.75], np.concatenate([[0.0], np.cumsum(one)]), edges) for one in (before, now)]
    was, is_ = (float(high - low) for low, high in quarters)
    spread = (
        "" if not was > 0 else "spread wider" if is_ > WIDER * was else "closer together" if is_ * WIDER < was else ""
    )
    told = " and ".join(one for one in (middle, spread) if one)
    return f"Values are {told} than before." if told else ""


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
        Bar(one["label"], one["reference"] / max(rows[0], 1), one["window"] / max(rows[1], 1))
        for one in body
        if one["reference"] or one["window"]
    ]
    bars.sort(key=lambda one: -abs(one.moved))
    shown = sorted(bars[:SHOWN], key=lambda one: -max(one.before, one.now))
    if not values:
        shown = [dataclasses.replace(one, label=f"value {place}") for place, one in enumerate(shown, 1)]
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
