"""Recovery: columns that alarmed and are back within what is too small to matter.

Question: H0: at least one of the unit's questions is still answered yes more often than p0; H1: none is.
Statistic: per question, Shiryaev-Roberts recursions of the likelihood ratio of p1 < p0, p1 between the reference's
share and p0; the unit's evidence is that of its slowest question.
Null law: for every p >= p0 the ratio has expectation at most one, so a unit that is still shifted is taken for
recovered once in at least `RECOVERED` panes in the mean.
Sees / blind to: a shift that ends near p0 is neither an alarm nor a recovery: the finding stays open and says so.
Where there are strata, p0 and the share are those of each pane's own mix, and so are the bets.
Cost: 2 multiplications a question and pane, only while something is open. Source: as e-KS, with the sides exchanged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.sequential.recursion import Bets, Recursion, step
from detectors.types import FloatArray, Questions

RECOVERED = np.log(1000.0)
"""Log evidence at which a unit counts as recovered."""
_LEAST = 1e-300
"""R of a question once asked: never 0, so that it stays watched while a changed mix makes it unusable."""
_BETWEEN = np.array([0.1, 0.5])
"""Where p1 lies between the reference's share (0) and p0 (1)."""


def bets(asked: Questions) -> Bets:
    """Bets that the share of yes is below p0; questions that cannot be violated are marked unusable."""
    usable = asked.p0 < 1
    p0 = np.where(usable, asked.p0, 0.5)[:, None]
    p1 = np.clip(asked.share[:, None] + _BETWEEN * (p0 - asked.share[:, None]), 1e-6, 1 - 1e-6)
    tau = asked.tau[:, None]
    flags = np.repeat(usable[:, None], len(_BETWEEN), axis=1).astype(np.float64)
    return Bets(np.log(p1 / p0) / tau, np.log((1 - p1) / (1 - p0)) / tau, flags)


def start(bet: Bets) -> Recursion:
    """Begin with no evidence of recovery."""
    zeros = np.zeros(bet.yes.shape)
    return Recursion(zeros, zeros, zeros)


def follow(
    bet: Bets, asked: Questions, state: Recursion, answers: tuple[FloatArray, FloatArray], open_: NDArray[np.bool_]
) -> tuple[Recursion, FloatArray]:
    """Fold in one pane for the units that are open ``(u,)``; log evidence of recovery ``(u,)``, NaN for the others.

    With strata, ``bet`` and ``asked`` are those at the pane's own mix.
    """
    state = step(bet, state, *answers)
    keep = np.where(open_[asked.unit], 1.0, 0.0)[:, None]
    state = Recursion(np.maximum(state.r, _LEAST * bet.usable) * keep, state.cusum * keep, state.age * keep)
    slowest = np.full(len(open_), np.inf)
    watched = (bet.usable[:, 0] > 0) | (state.r[:, 0] > 0)  # now, or with another mix before
    np.minimum.at(slowest, asked.unit[watched], state.r[watched].mean(axis=1))
    with np.errstate(divide="ignore"):
        log_e = np.log(slowest)
    return state, np.where(open_ & np.isfinite(slowest), log_e, np.nan)
