"""Verdicts once a full window, and notes: what opens a ticket, what is only put on record. Pure.

Columns and joint views share the budget of false tickets. What a column shows by itself the views show as well, so that
views are not heard while a column has something open.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.decide import tickets
from detectors.types import FloatArray, IntArray
from monitor.findings import NAMED, Context, begun
from monitor.joint import Told
from monitor.report import Finding, Recovered, window_culprit
from monitor.severity import SHARE

if TYPE_CHECKING:
    from monitor.engine import Engine, StreamState

JOINT_SHARE = 0.25
"""Share of the joint tests in the budget of false tickets, where there are any."""
_SHIFT = ("distributional_shift", "shift", "data")


def of_window(
    engine: Engine, state: StreamState, context: Context, level: float
) -> tuple[StreamState, list[Finding], list[Recovered], Told]:
    """Judge the window if it is full and due; ``level`` is the chance of a false ticket that it may cost."""
    number, u, v = context.pane.number, len(engine.names), engine.views
    if number % engine.window_panes or len(state.panes) < engine.window_panes:
        return state, [], [], Told({}, {}, {})
    # a page's own panes, still in the window after it has recovered, are no news either
    busy = (state.pages.latched > 0).any(axis=0) | (number - state.released < engine.window_panes)
    share = JOINT_SHARE if v else 0.0
    tolerance = engine.tolerances.shift
    open_ = state.tickets.level
    columns, verdict = tickets.decide(
        tickets.TicketState(open_[:u]),
        context.evidence,
        tolerance=tolerance,
        level=level * (1 - share),
        busy=busy[:u],
    )
    known = np.full(v, busy.any() or (columns.level > 0).any())
    samples = [engine.sample(state.panes, i) for i in range(v)]
    told = engine.joint.test(samples, number, ~known & (open_[u:] == 0))
    views, joint = tickets.decide_joint(
        tickets.TicketState(open_[u:]), told.evidence, tolerance=tolerance, level=level * share, busy=known
    )
    state = dataclasses.replace(state, tickets=tickets.TicketState(np.concatenate([columns.level, views.level])))
    sure = np.log(SHARE * engine.window_panes / u) - context.threshold
    state, found, quiet = _tell(engine, state, context, tickets.together(verdict, joint), float(sure))
    return state, found, quiet, told


def note(engine: Engine, state: StreamState, context: Context, name: str, units: IntArray) -> Finding:
    """A classical detector's alarm."""
    size = context.evidence.get("mean_change")
    columns = units[:NAMED][units[:NAMED] < len(engine.names)]
    named = tuple(window_culprit(engine.names[unit], int(unit), size, name) for unit in columns)
    for unit in units[len(columns) :][:1]:  # a view, of which nothing is measured
        named = (*named, dataclasses.replace(window_culprit(engine.name(unit), int(unit), None, name), members=()))
    return engine.writer.finding(state, context, named, _SHIFT, "info", float("nan"), 1)


def _tell(
    engine: Engine, state: StreamState, context: Context, verdict: tickets.Tickets, sure: float
) -> tuple[StreamState, list[Finding], list[Recovered]]:
    """Findings of a verdict, and what it closes; a shift of a smaller log p than ``sure`` may page."""
    found: list[Finding] = []
    owners = dict(state.ticket_owners)
    for severity, marked in (("ticket", verdict.tickets), ("info", verdict.notes)):
        for unit in np.flatnonzero(marked):
            paged = owners.get(int(unit)) == state.incident.id  # a note that was raised is no news as a ticket
            least = -math.inf if paged else sure
            one = _finding(engine, state, context, int(unit), severity, verdict.log_p, least)
            owners[int(unit)] = one.id
            found.append(one)
            if one.severity == "page":
                state = dataclasses.replace(state, incident=begun(one))
    ended = [int(unit) for unit in np.flatnonzero(verdict.recovered)]
    closed = tuple(sorted(owners.pop(unit) for unit in ended if unit in owners))
    state = dataclasses.replace(state, ticket_owners=owners)
    if not closed:
        return state, found, []
    names = tuple(engine.name(unit) for unit in ended)
    return state, found, [Recovered(closed, names, context.pane.number, context.pane.end)]


def _finding(
    engine: Engine, state: StreamState, context: Context, unit: int, severity: str, log_p: FloatArray, sure: float
) -> Finding:
    view, told = unit - len(engine.names), dict[str, Any]()
    if view >= 0:
        samples = [engine.sample(state.panes, view)]
        culprit = engine.joint.culprit(view, samples, float("nan"), unit, context.pane.number, context.failures)
    else:
        culprit = window_culprit(engine.names[unit], unit, context.evidence.get("total_variation"))
        rare = bool(log_p[unit] < sure)
        severity, told = engine.writer.weighed(
            context, lambda rule: rule.ticket(state.panes, culprit, severity, sure=rare), severity
        )
    age, strength = len(state.panes), -float(log_p[unit])
    one = engine.writer.finding(state, context, (culprit,), _SHIFT, severity, strength, age)
    return dataclasses.replace(one, evidence=told)
