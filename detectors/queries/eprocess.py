"""Evidence that a key's rows are flagged too often, from its first row on, for many keys and kinds of flag at once.

Question: H0: given the past, each of the key's rows is flagged with a chance of at most p0. H1: from some row on more.
Statistic: for each alternative p1 the mixture over start times s with weights 1 / (s (s + 1)) of the likelihood ratios
from s on: M <- (M + w_t) e_t, and E = M + 1 / (t + 1) for the starts still to come; then the mean over p1.
Null law: E is an e-process from the key's birth: P(sup E >= 1 / a) <= a, whenever looked at (Ville).
p0 = max(3 q0, the upper 99 % bound of q0): clients differ, and the calibration rows were finite in number.
Sees / blind to: flag rates above p0, late starts at a cost of 2 ln t; blind to rates up to p0.
Cost: 5 exponentials a row and kind. A key's 5 numbers and one count a kind. Up to rounding it does not matter how rows
are batched. Source: failures.md 3.0; Shin, Ramdas and Rinaldo 2022 (mixtures over starts).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.types import FloatArray, IntArray

ALTERNATIVES = np.array([0.05, 0.1, 0.2, 0.4, 0.8])
ALLOWED = 3.0
"""A key may be flagged so many times as often as the reference."""
_LEVEL = 0.01
_LEAST_RATIO = 1.5
"""An alternative this little above p0 would take thousands of rows to tell from it."""


class Bets(NamedTuple):
    """``p0 (k,)`` per kind; log likelihood ratios of a flagged and an unflagged row, and log weights, ``(k, g)``."""

    p0: FloatArray
    yes: FloatArray
    no: FloatArray
    log_weight: FloatArray


class Evidence(NamedTuple):
    """The moving part of ``c`` keys: log M ``(c, k, g)`` and the rows asked ``(c, k)``."""

    log_m: FloatArray
    asked: IntArray


def bets(flagged: FloatArray, asked: FloatArray) -> Bets:
    """Bets for kinds that flagged so many of the ``asked`` calibration rows, both ``(k,)``.

    A kind that was never asked, or is flagged too often for any alternative, has no bets: its evidence stays 0.
    """
    return bets_at(allowed_rate(np.asarray(flagged, np.float64), np.asarray(asked, np.float64)))


def bets_at(p0: FloatArray) -> Bets:
    """Bets against rates ``p0 (k,)``."""
    base = np.clip(p0, 1e-9, 1 - 1e-9)[:, None]
    usable = (base * _LEAST_RATIO < ALTERNATIVES) & (p0[:, None] < 1)
    p1 = np.where(usable, ALTERNATIVES, base)
    number = np.maximum(usable.sum(axis=1, keepdims=True), 1)
    log_weight = np.where(usable, -np.log(number), -np.inf)
    return Bets(p0, np.log(p1 / base), np.log((1 - p1) / (1 - base)), log_weight)


def allowed_rate(flagged: FloatArray, asked: FloatArray) -> FloatArray:
    """``p0 (k,)``: max(3 q0, Clopper-Pearson bound of q0 at 99 %), at most 1; 1 where nothing was asked."""
    some = asked > 0
    bound = special.betaincinv(flagged + 1, np.maximum(asked - flagged, 1e-9), 1 - _LEVEL)
    rate = np.divide(flagged, asked, out=np.ones_like(flagged), where=some)
    return np.where(some, np.minimum(np.maximum(ALLOWED * rate, bound), 1.0), 1.0)


def start(keys: int, bet: Bets) -> Evidence:
    """No evidence."""
    return Evidence(np.full((keys, *bet.yes.shape), -np.inf), np.zeros((keys, len(bet.p0)), np.int64))


def update(bet: Bets, before: Evidence, key: IntArray, flags: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Evidence:
    """Evidence of ``c`` keys after rows in order of arrival; ``key (n,)`` numbers them, each 0..c-1 at least once.

    ``flags`` and ``asked`` are ``(n, k)``: a row that a kind was not asked about is none of its steps.
    """
    order = np.argsort(key, kind="stable")
    whose, flags, asked = key[order], flags[order], asked[order]
    first = np.flatnonzero(np.diff(whose, prepend=-1))
    seen = _within(asked.astype(np.float64), first, whose)
    step = np.where(flags[..., None], bet.yes, bet.no) * asked[..., None]
    up_to = _within(step, first, whose)
    at = before.asked[whose] + seen
    begin = np.where(asked, -np.log(np.maximum(at * (at + 1), 1.0)), -np.inf)
    begun = _log_sum(begin[..., None] - (up_to - step), first)
    last = np.append(first[1:], len(whose)) - 1
    log_m = up_to[last] + np.logaddexp(before.log_m, begun)
    return Evidence(log_m, before.asked + seen[last].astype(np.int64))


def log_e(bet: Bets, state: Evidence) -> FloatArray:
    """Evidence of each key and kind ``(c, k)``, in logarithms; 0 at birth."""
    to_come = -np.log1p(state.asked.astype(np.float64))[..., None]
    each = np.logaddexp(state.log_m, to_come) + bet.log_weight
    total: FloatArray = np.logaddexp.reduce(each, axis=-1)
    return np.where(np.isneginf(bet.log_weight).all(axis=1), 0.0, total)


def _within(values: FloatArray, first: IntArray, whose: IntArray) -> FloatArray:
    """Running sums along the first axis that begin anew with each key."""
    total = np.cumsum(values, axis=0)
    before: FloatArray = (total[first] - values[first])[whose]
    return total - before


def _log_sum(values: FloatArray, first: IntArray) -> FloatArray:
    """Log of the sum of exponentials over each key's rows."""
    top = np.maximum.reduceat(values, first, axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    rows = np.diff(np.append(first, len(values)))
    total = np.add.reduceat(np.exp(values - np.repeat(safe, rows, axis=0)), first, axis=0)
    with np.errstate(divide="ignore"):
        return safe + np.log(total)
