"""One client or the whole fleet: whose rows a heuristic flags.

Question: H0: every client's rows are flagged at the rate of all the others, but for how benign clients differ anyway.
Statistic: f_k flagged of n_k rows of client k against (F - f_k) of (N - n_k) of the others, for n_k >= 20.
Null law: binomial tail at the others' rate; who passes it is judged by a beta-binomial tail as well, whose variance
holds the error of the others' rate and the fleet's own overdispersion (moments of the clients, the highest tenth left
out, the loss made good under a normal law, and the upper 90 % bound of that taken). Its tail is bounded by
min over t of P(rate > t) + P(Bin(n, t) >= f).
Bonferroni over the clients tested; those found leave "the others" and the rest is tested again (step-down).
Sees / blind to: one or a few names with more flags than the fleet, whatever the fleet's rate does; blind to an attacker
spread over more than a tenth of the clients or over names with fewer than 20 rows, and silent below 5 clients.
Cost: 1 incomplete beta a client, some 80 for each that stands out. Source: failures.md 3.0; Altham 1969 (the prior).
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.types import FloatArray, IntArray

LEAST_ROWS = 20
"""A client with fewer rows is not tested; its rows count for the others."""
LEAST_CLIENTS = 5
"""With fewer clients nobody can say how much clients differ."""
_TRIMMED = 0.1
"""Share of the clients, the most flagged ones, that do not tell how much clients differ."""
_DOUBT = 0.1
"""Chance that clients differ by more than what a few of them show: the upper bound is taken."""
_ROUNDS = 16
_TAILS = 10.0 ** -np.linspace(0.25, 20.0, 40)
"""Upper tail probabilities at which the bound of the beta-binomial tail is tried."""
_FLOOR = 1e-300


class Verdict(StrEnum):
    """``CONCENTRATED``: some clients stand out; ``FLEET``: nobody does, and all together are flagged too often."""

    CONCENTRATED = "concentrated"
    FLEET = "fleet"
    QUIET = "quiet"
    FEW_CLIENTS = "few clients"


class Concentration(NamedTuple):
    """``log_p (k,)`` per client before Bonferroni (NaN: not tested), ``suspects (k,)``, and what that means.

    ``rate`` is the flagged share of those who are no suspects, ``dispersion`` the correlation of rows of one client.
    """

    log_p: FloatArray
    suspects: NDArray[np.bool_]
    verdict: Verdict
    rate: float
    dispersion: float


def concentration(
    flagged: IntArray, rows: IntArray, *, level: float = 0.01, expected: float | None = None
) -> Concentration:
    """Test each client against all others; ``flagged`` and ``rows`` are ``(k,)`` counts of one heuristic and window.

    ``level`` is the chance that anybody is suspected in a window where nobody should be. ``expected`` is the rate that
    the reference allows: without it the fleet as a whole is never found guilty.
    """
    n = np.maximum(np.asarray(rows, np.float64), 0.0)
    f = np.clip(np.asarray(flagged, np.float64), 0.0, n)
    tested = n >= LEAST_ROWS
    number = int(tested.sum())
    suspects, log_p = np.zeros(len(n), bool), np.full(len(n), np.nan)
    if number < LEAST_CLIENTS:
        return Concentration(log_p, suspects, Verdict.FEW_CLIENTS, _share(f, n), 0.0)
    dispersion = _dispersion(f[tested], n[tested])
    bar = np.log(level / number)
    for _ in range(_ROUNDS):
        round_p = _tails(f, n, suspects, dispersion, bar)
        found = tested & ~suspects & (round_p <= bar)
        log_p = np.where(tested & ~suspects, round_p, log_p)
        if not found.any():
            break
        suspects |= found
    verdict = Verdict.CONCENTRATED if suspects.any() else _fleet(f, n, expected, dispersion, level)
    return Concentration(log_p, suspects, verdict, _share(f[~suspects], n[~suspects]), dispersion)


def binomial_tail(f: FloatArray, n: FloatArray, rate: FloatArray) -> FloatArray:
    """Log of P(Binomial(n, rate) >= f)."""
    some = f > 0
    tail = special.betainc(np.where(some, f, 1.0), np.maximum(n - f, 0.0) + 1.0, np.clip(rate, 0.0, 1.0))
    return np.where(some, np.log(np.maximum(tail, _FLOOR)), 0.0)


def _tails(f: FloatArray, n: FloatArray, out: NDArray[np.bool_], dispersion: float, bar: float) -> FloatArray:
    """Log p of each client against the others that are not ``out``."""
    in_pool = np.where(out, 0.0, 1.0)
    others = (n * in_pool).sum() - n * in_pool
    hits = (f * in_pool).sum() - f * in_pool
    rate = (hits + 1) / (others + 1)
    log_p = binomial_tail(f, n, np.minimum(rate, 1.0))
    high = np.flatnonzero((log_p <= bar) & (f < n * 2))
    if len(high):
        between = 1 / (others[high] + 2) + dispersion
        log_p[high] = np.maximum(log_p[high], _mixed_tail(f[high], n[high], rate[high], between))
    return log_p


def _mixed_tail(f: FloatArray, n: FloatArray, rate: FloatArray, between: FloatArray) -> FloatArray:
    """Log of a bound on P(X >= f), X binomial with a Beta rate of mean ``rate``; ``between`` = 1 / (a + b + 1)."""
    mean = np.clip(rate, 1e-9, 1 - 1e-9)
    size = np.maximum(1 / np.minimum(between, 0.5) - 1, 1e-3)
    a, b = (mean * size)[:, None], ((1 - mean) * size)[:, None]
    cut: FloatArray = special.betainccinv(a, b, _TAILS).astype(np.float64)
    cut = np.where(np.isnan(cut), 1.0, cut)
    above = np.maximum(special.betaincc(a, b, cut), _TAILS)
    bound: FloatArray = np.logaddexp(np.log(above), binomial_tail(f[:, None], n[:, None], cut)).min(axis=1)
    return np.minimum(bound, 0.0)


def _dispersion(f: FloatArray, n: FloatArray) -> float:
    """Intraclass correlation of the flags, from all clients but the most flagged ones."""
    share = _share(f, n)
    if not 0 < share < 1:
        return 0.0
    z = (f - n * share) / np.sqrt(n * share * (1 - share))
    kept = np.sort(np.argsort(z, kind="stable")[: len(z) - int(np.ceil(_TRIMMED * len(z)))])
    f, n = f[kept], n[kept]
    share = _share(f, n)
    if len(kept) < 2 or not 0 < share < 1:
        return 0.0
    spread = (f - n * share) ** 2 / (n * share * (1 - share)) / _left(len(kept) / len(z))
    degrees = max(n.sum() ** 2 / (n**2).sum() - 1, 1.0)  # what clients of unlike sizes are worth
    doubt = degrees / float(special.chdtri(degrees, 1 - _DOUBT))
    return float(np.clip(doubt * (spread - 1).sum() / (n - 1).sum(), 0.0, 0.5))


def _left(kept: float) -> float:
    """Variance of a standard normal law without its highest ``1 - kept``."""
    cut = float(special.ndtri(kept))
    density = np.exp(-(cut**2) / 2) / np.sqrt(2 * np.pi) / kept
    return float(1 - cut * density - density**2)


def _fleet(f: FloatArray, n: FloatArray, expected: float | None, dispersion: float, level: float) -> Verdict:
    """Whether everybody together passes the rate that is ``expected``."""
    if expected is None or n.sum() == 0:
        return Verdict.QUIET
    worth = n.sum() / (1 + dispersion * max((n**2).sum() / n.sum() - 1, 0.0))
    hits = np.asarray(_share(f, n) * worth)
    risen = binomial_tail(hits, np.asarray(worth), np.asarray(expected)) <= np.log(level)
    return Verdict.FLEET if risen else Verdict.QUIET


def _share(f: FloatArray, n: FloatArray) -> float:
    return float(f.sum() / max(n.sum(), 1.0))
