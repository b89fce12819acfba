"""Plots of the performance as data: estimate and truth over time, the reliability curve, a change as a waterfall."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

STEPS: Final = 100
"""Stretches with labels that are drawn: of more, neighbours are drawn as one."""
STREAMS: Final = 3
"""Versions that are drawn, those judged last."""
_SEAM: Final = 1e-3
"""Seconds before the end of a cohort at which its line ends: the next one begins there."""
_WIDE: Final = 0.04
"""Of the picture's width is left free on both sides of a waterfall."""
Document = Mapping[str, Any]


def over_time(told: Document, metric: str, title: str) -> dict[str, Any]:
    """One metric at the time of the predictions: windows as lines with bands, cohorts as steps with bands."""
    cohorts = _joined([one for one in told["cohorts"] if _known(one, metric)], metric)
    newest: dict[str, float] = {one["stream"]: one["end"] for one in told["windows"]}
    names = sorted(newest, key=lambda name: -newest[name])[:STREAMS]
    windows = {
        name: {
            _middle(one): one["figures"][metric]
            for one in told["windows"]
            if one["stream"] == name and _known(one, metric)
        }
        for name in names
    }
    x = sorted({at for one in windows.values() for at in one} | {at for one in cohorts for at in _ends(one)})
    if not x:
        return {}
    reference = told["reference"].get(metric, {}).get("value", math.nan)
    return {
        "kind": "performance",
        "x": [round(at, 3) for at in x],
        "title": title,
        "reference": _figure(reference),
        "realised": _band([_at(cohorts, at) for at in x], metric),
        "estimates": [
            {"name": name, **_band([{metric: one.get(at)} for at in x], metric)} for name, one in windows.items()
        ],
    }


def reliability(curves: Mapping[str, Sequence[Document]]) -> dict[str, Any]:
    """Share that came true against the probability that was said, for the reference and the newest labels."""
    places = sorted(
        {one["said"] for side in ("reference", "now") for one in curves[side] if math.isfinite(one["said"])}
    )
    if not places:
        return {}
    sides = {side: {one["said"]: one for one in curves[side]} for side in ("reference", "now")}
    made: dict[str, Any] = {"kind": "reliability", "x": [_figure(one) for one in places]}
    for side, name in (("reference", "before"), ("now", "now")):
        made[name] = [_figure(sides[side][at]["came"]) if at in sides[side] else None for at in places]
    for end in ("low", "high"):
        made[end] = [_figure(sides["now"][at][end]) if at in sides["now"] else None for at in places]
    return made


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a change: from where to where it goes, in percent of the picture's width; ``zero`` is no change."""

    part: str
    value: float | None
    low: float | None
    high: float | None
    reason: str
    left: float
    width: float
    whisker: tuple[float, float]
    zero: float
    worse: bool


def waterfall(change: Document) -> list[Bar]:
    """The parts one after the other, then what they add up to; what is not known moves nothing."""
    steps: list[tuple[Document, float, float]] = []
    at = 0.0
    for one in change["parts"]:
        steps.append((one, at, at + (one["value"] or 0.0)))
        at = steps[-1][2]
    total = change["total"]
    steps.append((total, 0.0, total["value"] if total["value"] is not None else at))
    ends = [[start + (one[end] if one[end] is not None else 0.0) for end in ("low", "high")] for one, start, _ in steps]
    every = [0.0, *(place for _, *both in steps for place in both), *(place for pair in ends for place in pair)]
    low, high = min(every), max(every)
    scale = (1 - 2 * _WIDE) * 100 / (high - low) if high > low else 0.0

    def place(value: float) -> float:
        return round(100 * _WIDE + (value - low) * scale, 2)

    return [
        Bar(
            **{key: one[key] for key in ("part", "value", "low", "high", "reason")},
            left=place(min(start, end)),
            width=round(abs(end - start) * scale, 2),
            whisker=(place(pair[0]), place(pair[1])),
            zero=place(0.0),
            worse=(end < start) == bool(change.get("higher_is_better", True)),
        )
        for (one, start, end), pair in zip(steps, ends, strict=True)
    ]


def _joined(cohorts: Sequence[Document], metric: str) -> list[Document]:
    """At most about `STEPS`, in order, with the one metric: each the mean of what it joins, by rows."""
    if len(cohorts) <= STEPS:
        return list(cohorts)
    wide = (cohorts[-1]["end"] - cohorts[0]["start"]) / STEPS
    runs = groupby(cohorts, key=lambda one: (one["start"] - cohorts[0]["start"]) // wide)
    return [_run(list(run), metric) for _, run in runs]


def _run(run: Sequence[Document], metric: str) -> Document:
    figures = [one["figures"][metric] for one in run]
    rows = sum(one["n"] for one in figures)
    value = sum(one["value"] * one["n"] for one in figures) / max(rows, 1)
    half = math.hypot(*((one["high"] - one["low"]) / 2 * one["n"] for one in figures)) / max(rows, 1)
    joined = {"value": value, "low": value - half, "high": value + half, "n": rows}
    return {"start": run[0]["start"], "end": run[-1]["end"], "figures": {metric: joined}}


def _known(stretch: Document, metric: str) -> bool:
    return metric in stretch["figures"] and math.isfinite(stretch["figures"][metric]["value"])


def _middle(stretch: Document) -> float:
    return float(stretch["start"] + stretch["end"]) / 2


def _ends(cohort: Document) -> tuple[float, float, float]:
    """Where its line begins and ends, and where there is a gap, unless the next one begins there."""
    return float(cohort["start"]), float(cohort["end"]) - _SEAM, float(cohort["end"])


def _at(cohorts: Sequence[Document], time: float) -> Document:
    """The figures of the cohort that a time lies in."""
    place = bisect_right(cohorts, time, key=lambda one: float(one["start"])) - 1
    return cohorts[place]["figures"] if place >= 0 and time < cohorts[place]["end"] else {}


def _band(figures: Sequence[Document], metric: str) -> dict[str, list[float | None]]:
    found = [one.get(metric) or {} for one in figures]
    return {key: [_figure(one.get(key)) for one in found] for key in ("value", "low", "high")}


def _figure(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
