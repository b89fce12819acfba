"""Ramps: functions of a projection from 0 to 1, what the reference says of them at any mix of strata, and bets on them.

A ramp climbs from 0 at one quantile of the reference's projections to 1 at another: it is the mean of the events
"beyond this cut" over the cuts between. So where every event's probability is within delta of the reference's, the
ramp's mean is within delta too: the tolerance keeps its unit, probability mass, and the ramp has less variance than any
one of the events.

A bet on "the mean is above m0" is 1 + lam (h - m0), one on "below" 1 + lam (m0 - h): never negative, and of expectation
at most one for every mean on the other side; with strata for the mean over a pane's rows, by the inequality of the
means. Source: Waudby-Smith and Ramdas 2024 (bets on bounded means); Massart 1990 (why all cuts count as one).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, SingleArray

QUANTILES = np.array([[0.02, 0.2], [0.1, 0.9], [0.3, 0.7], [0.8, 0.98]])
"""Where the ramps begin and end: what left the far side, the middle twice, what gathered on the near side."""
STEPS = np.array([0.02, 0.05, 0.1, 0.2])
"""Alternatives: mass beyond m0."""
BETWEEN = np.array([0.1, 0.5])
"""Alternatives on the way back: where the mean lies between the reference's (0) and m0 (1)."""
NARROWEST = 0.02
"""Least width of a ramp, in units of a whitened projection: equal rows must not fall apart by rounding."""
DEVIATIONS = 2.24
"""Normal quantile of 1 - 0.05 / 4: in one direction of 20 some ramp's reference error passes its allowance."""
_CEILING = 0.9
"""Largest share of everything that a bet stakes."""
_LEAST_VARIANCE = 1e-4
_SORTED = 2_500
"""Projections that tell the quantiles, about: where a ramp begins need not be exact, only what it says."""
_BLOCK = 2_048
_FACTORS = 16


class Expected(NamedTuple):
    """The reference's mean of every ramp, ``(h, k)``, its variance, and one over the rows that the mean is worth."""

    mean: FloatArray
    variance: FloatArray
    doubt: FloatArray


def edges(projected: SingleArray) -> SingleArray:
    """Where ramps begin and end, ``(2, h, k)``, from reference projections ``(h, m)``, m > 0."""
    ordered = np.sort(projected[:, :: max(1, projected.shape[1] // _SORTED)], axis=1)
    place = np.rint(QUANTILES * (ordered.shape[1] - 1)).astype(np.int64)
    low, high = ordered[:, place[:, 0]], ordered[:, place[:, 1]]
    return np.stack([low, np.maximum(high, low + np.float32(NARROWEST))])


def heights(projected: SingleArray, edge: SingleArray) -> SingleArray:
    """Ramps ``(h, k, n)`` of projections ``(h, n)``."""
    out: SingleArray = projected[:, None] - edge[0][..., None]
    out *= (1 / (edge[1] - edge[0]))[..., None]
    np.maximum(out, 0, out=out)
    np.minimum(out, 1, out=out)
    return out


def expected(height: SingleArray, rows: FloatArray, mix: FloatArray, tau: float) -> Expected:
    """The reference at the shares ``mix (c,)``, from ``height (h, k, m)`` sorted by stratum, ``rows (c,)`` of each.

    Rows of the mix in strata that the reference does not have count as drawn from all of it.
    """
    m = height.shape[-1]
    whole = height.mean(axis=-1).astype(np.float64)
    variance = np.maximum(np.einsum("hkm,hkm->hk", height, height) / m - whole**2, 0)
    if len(rows) == 1:
        return Expected(whole, variance, np.full(whole.shape, tau / m))
    return _mixture(height, rows, mix, whole, variance, tau)


def _mixture(
    height: SingleArray, rows: FloatArray, mix: FloatArray, whole: FloatArray, variance: FloatArray, tau: float
) -> Expected:
    """Strata shrink to the whole by as many rows as their own differences allow, ramp by ramp."""
    some = rows > 0
    n, share = rows[some], mix[some]
    start = np.concatenate([[0], np.cumsum(n)[:-1]]).astype(np.int64)
    own = np.add.reduceat(height, start, axis=-1, dtype=np.float64) / n
    worth, m = n / tau, height.shape[-1] / tau
    pseudo = pseudo_rows(own, worth, whole, variance)[..., None]
    lean = own + (whole[..., None] - own) * (pseudo / (worth + pseudo))
    alone = 1 - share.sum()
    doubt = (share**2 / np.minimum(worth + pseudo, m)).sum(axis=-1) + alone**2 / m
    return Expected(lean @ share + alone * whole, variance, doubt)


def pseudo_rows(own: FloatArray, n: FloatArray, whole: FloatArray, variance: FloatArray) -> FloatArray:
    """Rows ``(...)`` that the whole counts for in a stratum: variance within over (a bound on) variance between.

    ``own (..., c)`` are the means of strata of ``n (c,)`` rows. Few strata cannot show that they agree: the variance
    between them is taken at the upper end of its 95 % interval (moments: Cochran 1954).
    """
    total, freedom = n.sum(), len(n) - 1
    if freedom == 0:
        return np.full(whole.shape, total)
    q = np.square(own - whole[..., None]) @ n / np.maximum(variance, 1e-12)
    between = np.maximum(q - freedom + 1.645 * np.sqrt(2 * freedom), 1e-9) / (total - (n**2).sum() / total)
    rows: FloatArray = np.minimum(1 / between, total)
    return rows


def bound(about: Expected, tolerance: float, *, known: bool) -> FloatArray:
    """m0: the largest mean ``(h, k)`` that the null allows. The error's bound is that of Bernstein and Wilson."""
    if known:
        return about.mean + tolerance
    return about.mean + tolerance + DEVIATIONS * np.sqrt(about.variance * about.doubt) + DEVIATIONS**2 * about.doubt


def stakes(about: Expected, m0: FloatArray) -> FloatArray:
    """Stakes ``(h, k, a)`` of the bets that the mean is m0 + `STEPS`; 0 where m0 cannot be passed."""
    lam = STEPS / np.maximum(about.variance, _LEAST_VARIANCE)[..., None]
    limit = np.where(m0 < 1, _CEILING / np.clip(m0, 1e-6, 1), 0.0)[..., None]
    return np.minimum(lam, limit)


def stakes_back(about: Expected, m0: FloatArray) -> FloatArray:
    """Stakes ``(h, k, b)``, negative, of the bets that the mean is back below m0; 0 where it is always below."""
    gap = (1 - BETWEEN) * (m0 - about.mean)[..., None]
    lam = gap / np.maximum(about.variance, _LEAST_VARIANCE)[..., None]
    limit = np.where(m0 < 1, _CEILING / np.maximum(1 - m0, 1e-6), 0.0)[..., None]
    return -np.minimum(lam, limit)


def log_bets(height: SingleArray, m0: FloatArray, stake: FloatArray) -> FloatArray:
    """Log of the product of 1 + stake (h - m0) over rows: ``(h, k, n)``, ``(h, k)`` and ``(h, k, a)`` to the last."""
    out = np.zeros(stake.shape)
    still = 1 - stake * m0[..., None]
    for begin in range(0, height.shape[-1], _BLOCK):
        factor = stake[..., None] * height[..., None, begin : begin + _BLOCK]
        factor += still[..., None]
        out += _log_product(factor)
    return out


def _log_product(factor: FloatArray) -> FloatArray:
    """Sum of logs over the last axis, with one logarithm for `_FACTORS` rows: factors lie between 0.01 and 1e6."""
    whole = factor.shape[-1] // _FACTORS * _FACTORS
    grouped = factor[..., :whole].reshape(*factor.shape[:-1], _FACTORS, whole // _FACTORS).prod(axis=-2)
    total: FloatArray = np.log(grouped).sum(axis=-1) + np.log(factor[..., whole:]).sum(axis=-1)
    return total


def mixes(strata: NDArray[np.integer], number: int) -> FloatArray:
    """Shares ``(number,)`` of the strata among rows; codes outside count among none."""
    inside = strata[(strata >= 0) & (strata < number)]
    return np.bincount(inside, minlength=number) / max(len(strata), 1)
