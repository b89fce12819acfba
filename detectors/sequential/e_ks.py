"""e-KS: columns that moved by more than the smallest shift that matters, at any time so far.

Question: H0: every cut's (category's) probability stays within delta of the reference. H1: one left it.
Statistic: mean over the unit's cuts, both sides and five alternatives of Shiryaev-Roberts recursions.
Null law: E[R_t] <= t for every shift within delta, whatever the dependence between columns: mean run length >= A.
delta is the user's smallest shift plus sqrt(ln(2/0.05) / (2 m)), the error of a reference of m rows (m divided by tau),
and evidence is tempered by 1/tau: without these two every such promise is broken.
With strata, "the reference" is the reference at the pane's own mix: a share sum_c w_c share_c, and m the rows it is
worth (`detectors.strata`). If every row of stratum c says yes with p_i <= share_c + delta, then the expectation of the
likelihood ratio, prod_i (a + b p_i), is at most (a + b mean p)^n <= 1: unequal rows cost nothing.
Sees / blind to: any shift of mean, scale, shape or mix of one column above delta; blind to what only shows jointly.
Cost: 300 multiplications a column and pane (with strata 300 logarithms as well). Source: Shin, Ramdas and Rinaldo 2022
(e-detectors); Massart 1990 (the radius).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.sequential import events, recursion
from detectors.strata import Mixture
from detectors.types import Evidence, FloatArray, IntArray, Questions, Reason, Reference, Summary, Window

_OK = int(Reason.OK)
REFERENCE_LEVEL = 0.05
"""Chance that the reference's own error passes its allowance, before the user's tolerance is added."""


def reference_error(m: FloatArray) -> FloatArray:
    """Dvoretzky-Kiefer-Wolfowitz radius of a reference of ``m`` rows; 1 where there are none."""
    return np.where(m > 0, np.minimum(np.sqrt(np.log(2 / REFERENCE_LEVEL) / (2 * np.maximum(m, 1))), 1.0), 1.0)


class EKSFixed(NamedTuple):
    """The events, and questions and bets on them: first the upper side of all events, then the lower side.

    ``tau (u,)`` is the columns' autocorrelation time, ``mixture`` what the strata answer (None without strata).
    """

    asked: events.Events
    questions: Questions
    bets: recursion.Bets
    reason: NDArray[np.int8]
    tau: FloatArray
    mixture: Mixture | None


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
        chosen = events.choose(reference.grid, reference.ruler or reference.summary)
        yes, rows = events.count(chosen, reference.summary)
        share = np.divide(yes, rows, out=chosen.share.copy(), where=rows > 0)
        delta = self._tolerated(rows / reference.tau[chosen.unit])
        both = _both_sides(chosen, share, delta, reference.tau)
        reason = np.full(len(reference.grid.names), Reason.CONSTANT_REFERENCE, np.int8)
        reason[chosen.unit] = Reason.OK
        mixture = None if reference.strata is None else events.mixture(chosen, reference.strata)
        return EKSFixed(chosen, both, recursion.bets(both.p0, both.tau), reason, reference.tau, mixture)

    def _tolerated(self, rows: FloatArray) -> FloatArray:
        delta = np.full(len(rows), self.tolerance)
        return delta if self.known else delta + reference_error(rows)

    def questions(self, fixed: EKSFixed, mix: IntArray | None = None) -> Questions:
        """Both sides of every event, ``mix (c,)`` rows in the strata."""
        if mix is None or fixed.mixture is None:
            return fixed.questions
        share, rows = fixed.mixture.at(mix)
        delta = self._tolerated(rows / fixed.tau)[fixed.asked.unit]
        return _both_sides(fixed.asked, share, delta, fixed.tau)

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
        questions = self.questions(fixed, window.fresh.mix)
        bets = fixed.bets if fixed.mixture is None else recursion.bets(questions.p0, questions.tau)
        state = recursion.step(bets, state, yes, asked)
        units = len(window.comparison.n)
        unit, share, _, _ = questions
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


def _both_sides(asked: events.Events, share: FloatArray, delta: FloatArray, tau: FloatArray) -> Questions:
    """Every event and its opposite; ``share`` and ``delta`` are ``(k,)``, ``tau`` is ``(u,)``."""
    return Questions(
        unit=np.tile(asked.unit, 2),
        share=np.concatenate([share, 1 - share]),
        p0=np.concatenate([share + delta, 1 - share + delta]),
        tau=np.tile(tau[asked.unit], 2),
    )
