"""All that is known of a model's performance: as a document for programs, and as the page of one model draws it.

Read from threads of the server: what the engine's thread and those beside it leave is replaced whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from monitor.web import wording
from monitor.web.outcomeplots import Bar, over_time, reliability, waterfall

if TYPE_CHECKING:
    from detectors.performance.curves import Curve
    from detectors.performance.types import Figure
    from monitor.outcomes.estimates import Told
    from monitor.outcomes.side import Side

NUMBERS: Final = 60
"""Windows and cohorts in the table below the plot, the newest."""
Document = dict[str, Any]


def document(side: Side, *, values: bool) -> Document:
    """Everything as JSON; NaN where something is not known. Without ``values``, what names some of them is left out."""
    lane, estimates, timeline = side.lane, side.estimates, side.timeline
    realised = None if lane is None else lane.realised
    told = {} if estimates is None else estimates.told
    reference = {name: _plain(value) for one in told.values() for name, value in one.estimate.reference.items()}
    reference |= {} if realised is None else _figures(realised.reference)
    confirmed, curve = side.confirmed or (None, None)
    return {
        "model": side.model.name,
        "smallest_loss": side.model.labels.smallest_loss,
        "metrics": list(reference),
        "reference": reference,
        "estimates": [_estimate(stream, one) for stream, one in told.items()],
        "realised": None if confirmed is None else _stretch(confirmed.start, confirmed.end, confirmed.figures),
        "windows": [{"stream": one.stream, **_stretch(*one[1:])} for one in timeline.windows],
        "cohorts": [
            {**_stretch(one.start, one.end, one.figures), "labelled": one.labelled}
            for one in (*timeline.old, *timeline.truths.values())
        ],
        "past": {name: one._asdict() for name, one in timeline.past.items()},
        "reliability": {
            "reference": [] if realised is None else _curve(realised.curve()),
            "now": [] if curve is None else _curve(curve),
        },
        "changes": _changes(side, told),
        "failing": _failing(side, values=values),
    }


@dataclass(frozen=True, slots=True)
class Line:
    """One metric: its title, the reference's figure, what labels say, what is estimated, and what that was worth."""

    name: str
    title: str
    reference: Document
    realised: Document | None
    estimates: list[tuple[str, Document, bool]]
    past: Document | None


@dataclass(frozen=True, slots=True)
class PerformanceView:
    """The page of one model's performance, at one metric."""

    metric: str
    title: str
    lines: list[Line]
    doubts: list[tuple[str, list[str]]]
    since: float | None
    until: float | None
    plot: Document
    windows: list[Document]
    cohorts: list[Document]
    reliability: Document
    changes: list[tuple[Document, list[Bar]]]
    failing: Document | None


def performance_view(side: Side, metric: str, *, values: bool) -> PerformanceView:
    """``metric`` is the chosen one, else the first that is known."""
    told = document(side, values=values)
    known = told["metrics"]
    chosen = metric if metric in known else wording.foremost(known)
    realised = told["realised"]
    return PerformanceView(
        metric=chosen,
        title=wording.metric(chosen),
        lines=[_line(name, told) for name in known],
        doubts=[(one["stream"], doubts_of(one["doubts"])) for one in told["estimates"]],
        since=None if realised is None else realised["start"],
        until=None if realised is None else realised["end"],
        plot=over_time(told, chosen, wording.metric(chosen)),
        windows=_of_metric(told["windows"], chosen),
        cohorts=_of_metric(told["cohorts"], chosen),
        reliability=reliability(told["reliability"]),
        changes=[(one | {"title": wording.metric(one["metric"])}, waterfall(one)) for one in told["changes"]],
        failing=told["failing"],
    )


def doubts_of(names: Iterable[str]) -> list[str]:
    """What speaks against an estimate, in words."""
    from detectors.performance.answer import DOUBTS

    return [DOUBTS.get(name, name) for name in names]


def _line(name: str, told: Document) -> Line:
    realised = None if told["realised"] is None else told["realised"]["figures"].get(name)
    estimates = [
        (one["stream"], one["figures"][name], name in one["below"])
        for one in told["estimates"]
        if name in one["figures"]
    ]
    return Line(name, wording.metric(name), told["reference"][name], realised, estimates, told["past"].get(name))


def _of_metric(stretches: Sequence[Document], metric: str) -> list[Document]:
    """The newest first, with the figure of one metric."""
    some = [one | {"figure": one["figures"][metric]} for one in stretches if metric in one["figures"]]
    return some[: -NUMBERS - 1 : -1]


def _estimate(stream: str, told: Told) -> Document:
    below = [name for name, worse in told.below.items() if worse]
    doubts = list(told.estimate.reliability.doubts)
    return {"stream": stream, **_stretch(told.start, told.end, told.estimate.figures), "doubts": doubts, "below": below}


def _changes(side: Side, told: Iterable[str]) -> list[Document]:
    """Why the performance changed: of each version without labels, and of all with them."""
    found = {id(one): one for stream in told for one in side.explained(stream)}
    return [{**one.document(), "higher_is_better": _higher(one.change.metric)} for one in found.values()]


def _higher(metric: str) -> bool:
    from detectors.performance.types import METRICS

    return METRICS[metric].better == "higher"


def _failing(side: Side, *, values: bool) -> Document | None:
    """Where the model fails; names of groups, classes and rows hold values of the log."""
    told = None if side.failing is None else side.failing.document
    if told is None or values:
        return told
    slices = [one | {"name": " & ".join(one["columns"]), "conditions": []} for one in told["slices"]]
    known = [one | {"name": " & ".join(one["columns"]), "conditions": []} for one in told["reference_slices"]]
    return {**told, "slices": slices, "reference_slices": known, "directions": None}


def _stretch(start: float, end: float, figures: Mapping[str, Figure]) -> Document:
    return {"start": start, "end": end, "figures": _figures(figures)}


def _figures(figures: Mapping[str, Figure]) -> Document:
    return {
        name: {"value": one.value, "low": one.low, "high": one.high, "n": one.n, "reason": one.reason}
        for name, one in figures.items()
    }


def _plain(value: float) -> Document:
    return {"value": value, "low": math.nan, "high": math.nan, "n": 0, "reason": ""}


def _curve(curve: Curve) -> list[Document]:
    names: Iterable[str] = ("said", "came", "low", "high", "worth")
    columns = {name: getattr(curve, name).tolist() for name in names}
    return [dict(zip(columns, one, strict=True)) for one in zip(*columns.values(), strict=True)]
