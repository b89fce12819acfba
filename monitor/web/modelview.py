"""All that the page of one model shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from monitor.records import Judged
from monitor.watched import Watched
from monitor.web import plots, wording
from monitor.web.desk import Desk, document_of
from monitor.web.live import StreamState, Unit

PANES: Final = 600
"""Panes of the evidence that are drawn."""

ALARMS: Final = 20
"""Pages whose own evidence is put into the picture."""


@dataclass(frozen=True, slots=True)
class ModelView:
    """The page of one model, at one of its streams."""

    stream: str
    learning: bool
    learnt: int
    wanted: int
    numeric: int
    categorical: int
    rows: int
    created: float
    streams: list[StreamState]
    history: dict[str, Any]
    judged: list[Judged]
    units: list[Unit]
    views: list[tuple[str, float | None]]
    mix: list[plots.Bar]


def model_view(desk: Desk, name: str, stream: str, *, values: bool, most: int | None = None) -> ModelView:
    """The page of a model that is watched; ``stream`` is the chosen one, else that with the most evidence.

    At ``most`` so many columns are on it.
    """
    live = desk.live
    states = live.states(name)
    known = [one.name for one in states]
    chosen = stream if stream in known else next(iter(known), "")
    judged = desk.store.history(f"{name}/{chosen}", limit=PANES) if chosen else []
    strongest = list(judged[-1].units) if judged else []
    learning, learnt, wanted, facts = _reference(live.watched(name))
    return ModelView(
        stream=chosen,
        learning=learning,
        learnt=learnt,
        wanted=wanted,
        numeric=facts[0],
        categorical=facts[1],
        rows=facts[2],
        created=facts[3],
        streams=states,
        history=plots.evidence(judged, units=strongest, alarms=_alarms(desk, name, chosen, judged)) if judged else {},
        judged=judged,
        units=live.units(name, chosen, values=values, most=most),
        views=live.views(name, chosen),
        mix=[plots.Bar(stratum, expected, now) for stratum, expected, now in live.mix(name, chosen)],
    )


def _alarms(desk: Desk, name: str, stream: str, judged: list[Judged]) -> dict[int, float | None]:
    """The evidence of the pages that were raised in these panes."""
    found = desk.store.briefs(model=name, severity="page", heads=True, since=judged[0].start, limit=ALARMS)
    rows = (desk.store.finding(one.id) for one in found if one.stream == stream)
    documents = [document_of(row) for row in rows if row is not None]
    return {one["pane"]: one["log_e"] for one in documents if wording.sequential(one["detector"])}


def _reference(watched: Watched | None) -> tuple[bool, int, int, tuple[int, int, int, float]]:
    """Whether a first reference is being learnt, how far the next one is, and what is known of the present one."""
    learner = None if watched is None else watched.learner
    learnt, wanted = (0, 0) if learner is None else (learner.rows, learner.wanted)
    if watched is None or watched.streams is None:
        return True, learnt, wanted, (0, 0, 0, float("nan"))
    fitted = watched.streams.fitted
    grid = fitted.reference.grid
    facts = (len(grid.numeric_names), len(grid.code_names), fitted.rows, fitted.created)
    return False, learnt, wanted, facts
