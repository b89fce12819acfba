"""The rule that opens tickets: calibrated window tests, once a full window, with a false-ticket budget of their own.

A unit is *significant* when twice the smaller of its Anderson-Darling and G p-values passes the budget's share: window
panes / panes allowed per false ticket, divided by the number of units. It is *relevant* when the 95 % interval of its
KS distance, or of its total variation, lies above the smallest shift that matters. Significant and relevant: a ticket.
Significant only: a note (info), so that a small, real shift is on record without work for anybody. Either stays
open until the unit's p-value is unremarkable (above 5 %) in a later full window.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import Evidence, FloatArray

NOTE, TICKET = 1.0, 2.0
_UNREMARKABLE = np.log(0.05)
NOTABLE = 1e-3
"""A joint permutation p-value worth a note: one false one in a thousand windows, on record and without work."""


class TicketState(NamedTuple):
    """``level (u,)``: 0 nothing open, `NOTE` or `TICKET`."""

    level: FloatArray


class Tickets(NamedTuple):
    """Units ``(u,)`` whose note or ticket opens, and units that recover; ``log_p`` is the combined p-value."""

    notes: NDArray[np.bool_]
    tickets: NDArray[np.bool_]
    recovered: NDArray[np.bool_]
    log_p: FloatArray


def start(units: int) -> TicketState:
    """Nothing is open."""
    return TicketState(np.zeros(units))


def combined(evidence: Mapping[str, Evidence], units: int) -> FloatArray:
    """Bonferroni over Anderson-Darling and G: log p ``(u,)``, NaN where neither speaks (or both have failed)."""
    told = [evidence[name].log_p for name in ("anderson_darling", "g_test") if name in evidence]
    both = np.stack([*told, np.full(units, np.nan)])
    spoke = (~np.isnan(both)).sum(axis=0)
    least = np.where(np.isnan(both), 0.0, both).min(axis=0)
    return np.where(spoke > 0, np.minimum(least + np.log(np.maximum(spoke, 1)), 0.0), np.nan)


def relevance(effect: FloatArray, low: FloatArray, tolerance: float) -> FloatArray:
    """Log p-value of "no more than ``tolerance`` of the probability mass moved", from a 95 % DKW interval.

    The interval is for three witnesses at once (`detectors.multivariate.joint`): its half width is sqrt(ln(240) / 2) s
    with s = n^-1/2 + m^-1/2, and the chance that any of them shows a distance e above the tolerance is at most
    12 exp(-2 e^2 / s^2) (Massart 1990). NaN where there is no effect.
    """
    over = np.maximum(effect - tolerance, 0.0) / np.maximum(effect - low, 1e-300)
    return np.where(np.isfinite(effect), np.minimum(np.log(12.0) - np.log(240.0) * over**2, 0.0), np.nan)


def decide_joint(
    state: TicketState,
    evidence: Mapping[str, Evidence],
    *,
    tolerance: float,
    level: float,
    busy: NDArray[np.bool_],
) -> tuple[TicketState, Tickets]:
    """Judge the joint tests of one full window, ``(v,)`` views; several tests share the level.

    A ticket needs a `relevance` below the level: permutations cannot tell a rare chance from a rarer one. A view whose
    permutations say that it differs, by an amount that may be too small to matter, gets a note. ``busy`` views get
    neither.
    """
    views = len(state.level)
    if not views:
        none = np.zeros(0, bool)
        return state, Tickets(none, none, none, np.zeros(0))
    log_p, over = np.full((2, views), np.nan)
    for one in evidence.values():
        log_p = np.fmin(log_p, one.log_p + np.log(len(evidence)))
        over = np.fmin(over, relevance(one.effect, one.effect_low, tolerance) + np.log(len(evidence)))
    with np.errstate(invalid="ignore"):
        large = over < np.log(level / views)
        differs = log_p <= np.log(max(level / views, NOTABLE))
        quiet = log_p > _UNREMARKABLE
    return _latched(state, log_p, ~busy & large, ~busy & differs & ~large, quiet)


def decide(
    state: TicketState, evidence: Mapping[str, Evidence], *, tolerance: float, level: float, busy: NDArray[np.bool_]
) -> tuple[TicketState, Tickets]:
    """Judge one full window. ``level`` is the chance of a false ticket it may cost; ``busy`` units have a page open."""
    log_p = combined(evidence, len(state.level))
    units = max(int((~np.isnan(log_p)).sum()), 1)
    with np.errstate(invalid="ignore"):
        significant = ~busy & (log_p < np.log(level / units))
        large = np.zeros(len(log_p), bool)
        for name in ("relevant_drift", "total_variation"):
            if name in evidence:
                large |= evidence[name].effect_low > tolerance
        quiet = log_p > _UNREMARKABLE
    return _latched(state, log_p, significant & large, significant & ~large, quiet)


def together(columns: Tickets, views: Tickets) -> Tickets:
    """Verdicts on columns, then views, as one."""
    return Tickets(*(np.concatenate(pair) for pair in zip(columns, views, strict=True)))


def _latched(
    state: TicketState,
    log_p: FloatArray,
    large: NDArray[np.bool_],
    small: NDArray[np.bool_],
    quiet: NDArray[np.bool_],
) -> tuple[TicketState, Tickets]:
    """What is new opens, what is quiet again closes."""
    tickets = large & (state.level < TICKET)
    notes = small & (state.level < NOTE)
    recovered = quiet & (state.level > 0)
    new = np.where(tickets, TICKET, np.where(notes, NOTE, state.level))
    return TicketState(np.where(recovered, 0.0, new)), Tickets(notes, tickets, recovered, log_p)
