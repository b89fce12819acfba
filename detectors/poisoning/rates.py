"""Is a share of rows larger than trusted rows allow? Evidence from counts by bins of difficulty.

Question: H0: in every bin the chance of a hit is at most the ``bound`` measured on trusted rows. H1: a share eps of
the rows was turned into hits on top of it.
Statistic: mean over eps of the product of likelihood ratios with p1 = bound + eps (1 - bound), bin by bin.
Null law: an e-value (a test martingale over rows): P(e >= 1/a) <= a, and at any time where it is carried along; the
mean over eps, and over the row where it began (`Starts`, weights 1/(t (t + 1))), keeps that.
Calibration: the bound is twice the trusted rate, or the upper 99 % limit of that rate (Clopper and Pearson) if more;
where rates fall with sureness, a bin's bound is also one on it together with less sure ones (`falling`). A true rate
beyond that, such as people who label twice as carelessly, is found and is meant to be.
Sees / blind to: more hits than trusted rows have; blind to fewer than the bound allows (about 1 % of 500 rows a bin).
Cost: 8 logarithms a bin and key. Source: Ville 1939; Wang and Ramdas 2022 (e-BH); failures.md 3.0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.types import FloatArray, IntArray

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
"""Shares eps of turned rows that are thought of."""
LEVEL = 0.99
"""Confidence of the limit of a trusted rate."""
TOLERATED = 2.0
"""A rate this many times the trusted one is no sign of anything: people and seasons differ."""
HIGHEST = 0.95
"""No bound is larger."""


def interval(
    hits: NDArray[np.generic], rows: NDArray[np.generic], level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """Limits of a share at ``level``, of any shape (Clopper and Pearson); 0 and 1 without rows."""
    h, n = np.asarray(hits, np.float64), np.asarray(rows, np.float64)
    tail = (1 - level) / 2
    low = np.where(h > 0, special.betaincinv(np.maximum(h, 1), n - h + 1, tail), 0.0)
    high = np.where(h < n, special.betaincinv(h + 1, np.maximum(n - h, 1), 1 - tail), 1.0)
    return low, high


def bound(hits: NDArray[np.generic], rows: NDArray[np.generic]) -> FloatArray:
    """Largest chance of a hit that trusted rows with so many hits allow, of any shape, at most 0.95."""
    h, n = np.asarray(hits, np.float64), np.asarray(rows, np.float64)
    limit = np.where(h < n, special.betaincinv(h + 1, np.maximum(n - h, 1), LEVEL), 1.0)
    return np.minimum(np.maximum(limit, TOLERATED * h / np.maximum(n, 1)), HIGHEST)


def falling(hits: NDArray[np.generic], rows: NDArray[np.generic]) -> FloatArray:
    """The same for bins ``(b, ...)`` whose rates fall from the first to the last, as errors do with sureness.

    A bin's rate is then at most that of it and the bins before it together: the least of these bounds holds.
    """
    best = np.full(np.shape(hits), HIGHEST)
    for first in range(len(best)):
        together = [np.cumsum(np.asarray(one)[first:], axis=0) for one in (hits, rows)]
        best[first:] = np.minimum(best[first:], bound(together[0], together[1]))
    return best


def steps(bounds: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What a hit and a miss add to the log likelihood ratio by share eps, ``(..., 8)`` each."""
    p0 = bounds[..., None]
    share = np.array(SHARES)
    return np.log(p0 + share * (1 - p0)) - np.log(p0), np.broadcast_to(np.log1p(-share), (*bounds.shape, len(SHARES)))


def log_e(hits: IntArray, rows: IntArray, bounds: FloatArray) -> FloatArray:
    """Evidence ``(k,)`` of keys with so many hits among so many rows in each bin, ``(k, b)`` each."""
    hit, miss = steps(np.broadcast_to(bounds, hits.shape))
    total = (hits[..., None] * hit + (rows - hits)[..., None] * miss).sum(axis=-2)
    evidence: FloatArray = special.logsumexp(total, axis=-1) - np.log(len(SHARES))
    return evidence


def upper_tail(value: float, null: FloatArray) -> float:
    """Log p-value of ``value`` by the Gumbel law with the mean and deviation of ``null``: draws of a largest value."""
    beta = max(float(null.std()), 1e-3) * np.sqrt(6) / np.pi
    z = (value - float(null.mean())) / beta + np.euler_gamma
    return float(np.log(-np.expm1(-np.exp(-z)))) if z < 30 else float(-z)


def discoveries(evidence: FloatArray, level: float) -> NDArray[np.bool_]:
    """Keys ``(k,)`` that stand at false discovery rate ``level``, however they depend on each other (e-BH)."""
    known = np.where(np.isnan(evidence), -np.inf, evidence)
    order = np.argsort(-known, kind="stable")
    need = np.log(max(len(known), 1) / level) - np.log(np.arange(1, len(known) + 1))
    passed = np.flatnonzero(known[order] >= need)
    out = np.zeros(len(known), bool)
    out[order[: passed[-1] + 1 if passed.size else 0]] = True
    return out


class Starts(NamedTuple):
    """Keys that may turn bad at any of their rows: evidence ``log_r (k, 8)`` by share, ``rows (k,)`` so far."""

    log_r: FloatArray
    rows: IntArray

    @property
    def log_e(self) -> FloatArray:
        """Evidence ``(k,)``: starts so far, and the weight of those yet to come."""
        known: FloatArray = special.logsumexp(self.log_r, axis=1) - np.log(len(SHARES))
        return np.logaddexp(known, -np.log1p(self.rows))


def no_starts(keys: int) -> Starts:
    """Keys without rows: evidence 0."""
    return Starts(np.full((keys, len(SHARES)), -np.inf), np.zeros(keys, np.int64))


def carry(starts: Starts, key: IntArray, hit: NDArray[np.bool_], bounds: FloatArray) -> Starts:
    """Go on with rows ``(n,)`` in order of arrival: their key, whether they are hits, and the bound of their bin."""
    order = np.argsort(key, kind="stable")
    own, first = np.unique(key[order], return_index=True)
    size = np.diff(np.append(first, len(key)))
    yes, no = steps(bounds[order])
    step = np.where(hit[order][:, None], yes, no)
    total = np.cumsum(step, axis=0)
    before = np.repeat(total[first] - step[first], size, axis=0)
    inside = total - before
    number = np.repeat(starts.rows[own] - first, size) + np.arange(len(key)) + 1
    weight = -np.log(number) - np.log1p(number)
    begun = _summed(weight[:, None] - (inside - step), first, size)
    last = first + size - 1
    log_r, rows = starts.log_r.copy(), starts.rows.copy()
    log_r[own] = inside[last] + np.logaddexp(starts.log_r[own], begun)
    rows[own] += size
    return Starts(log_r, rows)


def _summed(terms: FloatArray, first: IntArray, size: IntArray) -> FloatArray:
    """Logarithms of the sums of exp(terms) over runs of rows that begin at ``first``."""
    if not len(first):
        return terms
    top = np.maximum.reduceat(terms, first, axis=0)
    total: FloatArray = np.log(np.add.reduceat(np.exp(terms - np.repeat(top, size, axis=0)), first, axis=0)) + top
    return total
