"""e-KS: columns that moved by more than the smallest shift that matters, at any time so far.

Question: H0: every cut's (category's) probability stays within delta of the reference. H1: one left it.
Statistic: mean over the unit's cuts, both sides and five alternatives of Shiryaev-Roberts recursions.
Null law: E[R_t] <= t for every shift within delta, whatever the dependence between columns: mean run length >= A.
delta is the user's smallest shift plus sqrt(ln(2/0.05) / (2 m)), the error of a reference of m rows (m divided by tau),
and evidence is tempered by 1/tau: without these two every such promise is broken.
Sees / blind to: any shift of mean, scale, shape or mix of one column above delta; blind to what only shows jointly.
Cost: 300 multiplications a column and pane. Source: Shin, Ramdas and Rinaldo 2022
(e-detectors); Massart 1990 (the radius).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.sequential import events, recursion
from detectors.types import Evidence, FloatArray, Questions, Reason, Reference, Summary, Window

_OK = int(Reason.OK)
REFERENCE_LEVEL = 0.05
"""Chance that the reference's own error passes its allowance, before the user's tolerance is added."""


def reference_error(m: FloatArray) -> FloatArray:
    """Dvoretzky-Kiefer-Wolfowitz radius of a reference of ``m`` rows; 1 where there are none."""
    return np.where(m > 0, np.minimum(np.sqrt(np.log(2 / REFERENCE_LEVEL) / (2 * np.maximum(m, 1))), 1.0), 1.0)


class EKSFixed(NamedTuple):
    """The events, and questions and bets on them: first the upper side of all events, then the lower side."""

    asked: events.Events
    questions: Questions
    bets: recursion.Bets
    reason: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class EKS:
    """Catalogue entry; ``tolerance`` is the user's smallest shift (probability mass).

    ``known`` declares the reference exact (a law, not a sample): then only the tolerance counts.
    """

    tolerance: float = 0.05
    known: bool = False
    name: str = "e_ks"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, reference: Reference) -> EKSFixed:
        """Choose events and widen the tolerance by the reference's own error."""
        chosen = events.choose(reference.grid, reference.summary)
        _, rows = events.count(chosen, reference.summary)
        tau = reference.tau[chosen.unit]
        delta = np.full(len(rows), self.tolerance)
        if not self.known:
            delta += reference_error(rows / tau)
        both = Questions(
            unit=np.tile(chosen.unit, 2),
            share=np.concatenate([chosen.share, 1 - chosen.share]),
            p0=np.concatenate([chosen.share + delta, 1 - chosen.share + delta]),
            tau=np.tile(tau, 2),
        )
        reason = np.full(len(reference.grid.names), Reason.CONSTANT_REFERENCE, np.int8)
        reason[chosen.unit] = Reason.OK
        return EKSFixed(chosen, both, recursion.bets(both.p0, both.tau), reason)

    def questions(self, fixed: EKSFixed) -> Questions:
        """Both sides of every event."""
        return fixed.questions

    def answers(self, fixed: EKSFixed, summary: Summary) -> tuple[FloatArray, FloatArray]:
        """Yes to an event, and yes to its opposite."""
        yes, asked = events.count(fixed.asked, summary)
        return np.concatenate([yes, asked - yes]), np.concatenate([asked, asked])

    def start(self, fixed: EKSFixed) -> recursion.Recursion:
        """Begin with no evidence."""
        return recursion.start(fixed.bets)

    def score(
        self, fixed: EKSFixed, state: recursion.Recursion, window: Window
    ) -> tuple[recursion.Recursion, Evidence]:
        """One step on the newest pane."""
        yes, asked = self.answers(fixed, window.fresh)
        state = recursion.step(fixed.bets, state, yes, asked)
        units = len(window.comparison.n)
        unit, share, _, _ = fixed.questions
        shown, since = recursion.by_unit(state, unit, units)
        moved = np.divide(yes, asked, out=share.copy(), where=asked > 0) - share
        effect, n = np.zeros(units), np.zeros(units)
        np.maximum.at(effect, unit, moved)
        n[unit] = asked
        effect[fixed.reason != _OK] = np.nan
        nothing = window.comparison.nothing
        return state, Evidence(
            self.name,
            "ks_distance",
            effect,
            effect,
            nothing,
            nothing,
            nothing,
            shown,
            n,
            fixed.reason,
            {"since": since},
        )

    def forget(self, fixed: EKSFixed, state: recursion.Recursion, units: NDArray[np.bool_]) -> recursion.Recursion:
        """Drop the evidence of the marked units."""
        return recursion.forget(state, units[fixed.questions.unit])
