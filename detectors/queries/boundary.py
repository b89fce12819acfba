"""Boundary walking inside a cluster of near-duplicates: changes of the answer, and margins where two answers are alike.

Question: H0: each member of the cluster changes its nearest earlier neighbour's answer (has a low margin) with a chance
of at most p0. H1: more often from some member on: somebody asks where the boundary is (H10).
Statistic: for each alternative p1 the mixture over starts t with weights 1 / (t (t + 1)) of the likelihood ratios
since, one recursion a member: M <- (M + w_t) e_t, E = mean over p1 of M + 1 / (t + 1).
Null law: E is an e-process from the cluster's birth on; 1 / E is a p-value whenever it is looked at (Ville).
Calibration: p0 = max(3 q0, upper 99 % bound of q0); q0 for flips is how often a reference row is answered unlike its
nearest other one (at any distance: more often than near ones), for low margins the share below the reference's 1 %.
Clusters are not rows: a camera that looks at one doubtful object makes as many flips and low margins as it sends
frames, and has been lucky once, not each time. So unless the steps have many scales (`many_scales`) the evidence is no
stronger than the share of the reference's rows that are as doubtful as the cluster's median one (`doubt`).
A search bisects and refines, its steps shrink and grow by orders of magnitude; frames differ by one sensor's noise:
nearest distances in D dimensions have a logarithm of standard deviation 1.28 / D, and no noise fills fewer than two.
Where the reference's own nearest distances spread by more (tables of few columns, or of whole numbers) this tells
nothing and is not used: there one cluster is never sure, and only what its sender does elsewhere can make it so.
Sees / blind to: Boundary, HopSkipJump, SignOPT and their like; blind to attacks by score that cross at the end only,
and to margins that are not logged. Indistinguishable from a camera on a doubtful object: a search that adds noise wider
than its own steps, or one that keeps its steps to one length. Indistinguishable from a search: a doubtful object that
moves along one line, without noise, by steps of very different length.
Cost: 20 multiplications a member. Source: failures.md 3.0 and 3.3, H10; Shin, Ramdas and Rinaldo 2022.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import special

from detectors.types import CodeArray, FloatArray, IntArray, SingleArray

LOW: Final = 0.01
"""Share of reference rows whose margin counts as low."""
_ALTERNATIVES: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
_ALLOWED: Final = 3.0
_LEVEL: Final = 0.99
_LEAST_RATIO: Final = 1.5
_LEAST: Final = 1e-9
_MOST: Final = 1e300
_WIDE: Final = math.pi / math.sqrt(6) / 2
_FEWEST_STEPS: Final = 16


class BoundaryFixed(NamedTuple):
    """``flip ()`` and ``low ()`` are the p0 of flips and of low margins (1: unknown, no evidence).

    ``margins (n,)`` are the reference's, rising; ``spread ()`` is the standard deviation of the logarithm of its rows'
    distances to their nearest other one.
    """

    flip: FloatArray
    low: FloatArray
    margins: SingleArray
    spread: FloatArray

    @property
    def low_margin(self) -> float:
        """Below this a margin is low (NaN: unknown)."""
        return float(np.quantile(self.margins, LOW)) if len(self.margins) else math.nan


def calibrate(predicted: CodeArray, margin: SingleArray, neighbour: IntArray, distance: FloatArray) -> BoundaryFixed:
    """Measure on reference rows, ``(n,)`` each; ``neighbour`` is each one's nearest other row, so far away."""
    known = (predicted >= 0) & (predicted[neighbour] >= 0)
    flips = int((known & (predicted != predicted[neighbour])).sum())
    margins = np.sort(margin[np.isfinite(margin)])
    low = int((margins < np.quantile(margins, LOW)).sum()) if len(margins) else 0
    apart = distance[distance > 0]
    spread = np.log(apart).std() if len(apart) else np.inf
    p0 = allowed(flips, int(known.sum())), allowed(low, len(margins))
    return BoundaryFixed(np.asarray(p0[0]), np.asarray(p0[1]), margins, np.asarray(spread))


def allowed(count: int, rows: int) -> float:
    """p0 for what ``count`` of ``rows`` reference rows do."""
    if rows == 0:
        return 1.0
    bound = float(np.asarray(special.betaincinv(count + 1, max(rows - count, 1e-9), _LEVEL)))
    return min(max(_ALLOWED * count / rows, bound), 1.0)


class Bet:
    """The bets against one p0: factors of a yes and of a no for each alternative above it."""

    def __init__(self, p0: float) -> None:
        """No alternatives, and so no evidence, where p0 is too high for any."""
        p0 = max(p0, _LEAST)
        chosen = [p1 for p1 in _ALTERNATIVES if p1 > _LEAST_RATIO * p0]
        self.yes = [p1 / p0 for p1 in chosen]
        self.no = [(1 - p1) / (1 - p0) for p1 in chosen]

    def start(self) -> list[float]:
        """M of each alternative, and the steps so far."""
        return [0.0] * (len(self.yes) + 1)

    def step(self, state: list[float], *, yes: bool, after: int = 0) -> None:
        """One more: a yes or a no, after so many noes that are no starts."""
        steps = state[-1] + 1.0
        weight = 1.0 / (steps * (steps + 1.0))
        for k, (up, down) in enumerate(zip(self.yes, self.no, strict=True)):
            factor = (up if yes else down) * down**after
            state[k] = min((state[k] + weight) * factor, _MOST)
        state[-1] = steps

    def log_e(self, state: Sequence[float]) -> float:
        """Evidence so far; 0 at birth."""
        if not self.yes:
            return 0.0
        return math.log(sum(state[:-1]) / len(self.yes) + 1.0 / (state[-1] + 1.0))


def many_scales(fixed: BoundaryFixed, steps: int, log_sum: float, log_square: float) -> bool:
    """Whether ``steps`` distances, by sums of their logarithms and squares of them, are of more than one scale."""
    if steps < _FEWEST_STEPS or fixed.spread > _WIDE:
        return False
    return log_square / steps - (log_sum / steps) ** 2 > _WIDE**2


def doubt(fixed: BoundaryFixed, margin: float) -> float:
    """Logarithm of the share of reference rows whose margin is at most this (0 where it is unknown)."""
    if not len(fixed.margins) or math.isnan(margin):
        return 0.0
    below = int(np.searchsorted(fixed.margins, margin, side="right"))
    return math.log((1 + below) / (1 + len(fixed.margins)))
