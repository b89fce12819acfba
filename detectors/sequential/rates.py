"""Fault rates: more values missing, non-finite, out of range, new or of the wrong type than the reference allows.

Question: H0: the rate is at most the reference's, its own error and the smallest fault rate that matters included.
Statistic: mean over five alternatives of Shiryaev-Roberts recursions of the Bernoulli likelihood ratio, upper side.
Null law: E[R_t] <= t, as for e-KS. The reference's error is the upper Clopper-Pearson bound at 97.5 %; with strata it
is Wilson's for the rate at the pane's own mix, which agrees with it for rare faults and costs no inverse beta.
Sees / blind to: any fault counter that rises, even if the values look unchanged; blind to values wrong but usual.
Cost: 5 multiplications a column and pane. Source: Shin, Ramdas and Rinaldo 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.grid import ABOVE, BELOW, Grid
from detectors.sequential import recursion
from detectors.strata import Mixture, Strata, mixture
from detectors.types import Evidence, FloatArray, IntArray, Questions, Reason, Reference, Summary, Window

_LEVEL = 0.025
_QUANTILE = float(special.ndtri(1 - _LEVEL))


def _of_rows(summary: Summary, hits: FloatArray) -> tuple[FloatArray, FloatArray]:
    return hits, np.full(len(hits), float(summary.rows))


def _missing(summary: Summary) -> tuple[FloatArray, FloatArray]:
    return _of_rows(summary, summary.missing.astype(np.float64))


def _nonfinite(summary: Summary) -> tuple[FloatArray, FloatArray]:
    hits, asked = _of_rows(summary, summary.nonfinite.astype(np.float64))
    asked[len(summary.numeric) :] = 0
    return hits, asked


def _type_fault(summary: Summary) -> tuple[FloatArray, FloatArray]:
    return _of_rows(summary, summary.faults.astype(np.float64))


def _out_of_range(summary: Summary) -> tuple[FloatArray, FloatArray]:
    p, u = len(summary.numeric), len(summary.missing)
    hits, asked = np.zeros(u), np.zeros(u)
    hits[:p] = summary.numeric[:, BELOW] + summary.numeric[:, ABOVE]
    asked[:p] = summary.numeric.sum(axis=1)
    return hits, asked


def _new_category(summary: Summary) -> tuple[FloatArray, FloatArray]:
    p, u = len(summary.numeric), len(summary.missing)
    hits, asked = np.zeros(u), np.zeros(u)
    hits[p:] = summary.new[p:]
    asked[p:] = summary.codes.sum(axis=1) + summary.new[p:]
    return hits, asked


COUNTERS: dict[str, Callable[[Summary], tuple[FloatArray, FloatArray]]] = {
    "missing": _missing,
    "nonfinite": _nonfinite,
    "out_of_range": _out_of_range,
    "new_category": _new_category,
    "type_fault": _type_fault,
}
"""Name of a fault -> (hits, rows asked), ``(u,)`` each; a column that cannot have the fault is never asked."""

FAILURE_MODES = {
    "new_category": ("common_corruption", "incomplete_testing"),
    "out_of_range": ("common_corruption", "incomplete_testing", "distributional_shift"),
}
"""Counters whose rise may be something else than damaged data."""


class RateFixed(NamedTuple):
    """One question a column, and the bets on it; ``mixture`` is what the strata answer (None without strata)."""

    questions: Questions
    bets: recursion.Bets
    silent: NDArray[np.bool_]
    reason: NDArray[np.int8]
    mixture: Mixture | None


@dataclass(frozen=True, slots=True)
class Rate:
    """Catalogue entry for one of `COUNTERS`; ``tolerance`` is the smallest fault rate that matters."""

    counter: str
    tolerance: float = 0.01

    @property
    def failure_modes(self) -> tuple[str, ...]:
        """A fault; where the values are new it may be that nobody tested them."""
        return FAILURE_MODES.get(self.counter, ("common_corruption",))

    @property
    def name(self) -> str:
        """Catalogue key."""
        return f"e_{self.counter}"

    def fit(self, reference: Reference) -> RateFixed:
        """Bound the reference's rates from above."""
        hits, asked = COUNTERS[self.counter](reference.summary)
        tau = reference.tau_missing if self.counter == "missing" else np.ones(len(hits))
        bound = upper_bound(hits / tau, asked / tau)
        p0 = np.where(watched(reference.grid, self.counter) & (asked > 0), bound + self.tolerance, 1.0)
        rate = np.divide(hits, asked, out=np.zeros_like(hits), where=asked > 0)
        bets = recursion.bets(p0, tau)
        usable = np.greater(bets.usable[:, 0], 0)
        reason = np.where(usable, Reason.OK, Reason.NOT_APPLICABLE).astype(np.int8)
        strata = None if reference.strata is None else _mixture(COUNTERS[self.counter], reference.strata)
        return RateFixed(Questions(np.arange(len(rate)), rate, p0, tau), bets, ~usable, reason, strata)

    def questions(self, fixed: RateFixed, mix: IntArray | None = None) -> Questions:
        """One a column, ``mix (c,)`` rows in the strata."""
        if mix is None or fixed.mixture is None:
            return fixed.questions
        rate, rows = fixed.mixture.at(mix)
        bound = wilson(rate, rows / fixed.questions.tau) + self.tolerance
        return fixed.questions._replace(share=rate, p0=np.where(fixed.silent, 1.0, bound))

    def answers(self, fixed: RateFixed, summary: Summary) -> tuple[FloatArray, FloatArray]:
        """Faulty rows."""
        del fixed
        return COUNTERS[self.counter](summary)

    def start(self, fixed: RateFixed) -> recursion.Recursion:
        """Begin with no evidence."""
        return recursion.start(fixed.bets)

    def score(
        self, fixed: RateFixed, state: recursion.Recursion, window: Window
    ) -> tuple[recursion.Recursion, Evidence]:
        """One step on the newest pane."""
        hits, asked = self.answers(fixed, window.fresh)
        questions = self.questions(fixed, window.fresh.mix)
        bets = fixed.bets if fixed.mixture is None else recursion.bets(questions.p0, questions.tau)
        state = recursion.step(bets, state, hits, asked)
        nothing = window.comparison.nothing
        mean = np.add.reduce(state.r, axis=1) / len(recursion.STEPS)
        log_e = np.log(mean, out=np.full(len(mean), -np.inf), where=mean > 0)
        since = np.maximum.reduce(state.age, axis=1)
        since[mean == 0] = np.nan
        rate = np.divide(hits, asked, out=nothing.copy(), where=asked > 0)
        for part in (log_e, since, rate):
            part[fixed.silent] = np.nan
        return state, Evidence(
            detector=self.name,
            effect_name="rate_change",
            statistic=rate,
            effect=rate - questions.share,
            effect_low=nothing,
            effect_high=nothing,
            log_p=nothing,
            log_e=log_e,
            n=asked,
            reason=fixed.reason,
            extra={"since": since},
        )

    def forget(self, fixed: RateFixed, state: recursion.Recursion, units: NDArray[np.bool_]) -> recursion.Recursion:
        """Drop the evidence of the marked units."""
        del fixed
        return recursion.forget(state, units)


def watched(grid: Grid, counter: str) -> NDArray[np.bool_]:
    """Whether each unit can have the fault at all."""
    p, q = len(grid.numeric_names), len(grid.code_names)
    numeric, always = np.arange(p + q) < p, np.ones(p + q, bool)
    columns: dict[str, NDArray[np.bool_]] = {
        "missing": always,
        "type_fault": always,
        "nonfinite": numeric,
        "out_of_range": numeric & (np.append(grid.used, np.zeros(q)) > 0),
        "new_category": ~numeric & ~np.append(np.ones(p, bool), grid.open_vocabulary),
    }
    return columns[counter]


def upper_bound(hits: FloatArray, asked: FloatArray) -> FloatArray:
    """Clopper-Pearson upper bound of a rate at 97.5 %; 1 where nothing was asked."""
    bound = special.betaincinv(hits + 1, np.maximum(asked - hits, 1e-9), 1 - _LEVEL)
    return np.where(asked > 0, bound, 1.0)


def wilson(rate: FloatArray, rows: FloatArray) -> FloatArray:
    """Wilson's upper bound of a rate at 97.5 %, seen in ``rows`` (effective) rows; 1 where there are none."""
    some = np.maximum(rows, 1e-9)
    square = _QUANTILE**2 / some
    root = np.sqrt(square * (rate * (1 - rate) + square / 4))
    return np.where(rows > 0, np.minimum((rate + square / 2 + root) / (1 + square), 1.0), 1.0)


def _mixture(counter: Callable[[Summary], tuple[FloatArray, FloatArray]], strata: Strata) -> Mixture:
    hits, asked = (np.array(part) for part in zip(*(counter(part) for part in strata.parts), strict=True))
    return mixture(strata, hits, asked, np.arange(hits.shape[1]), hits)
