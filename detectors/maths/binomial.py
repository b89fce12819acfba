"""Exact binomial intervals and tails, all elements at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from detectors.types import FloatArray

_FLOOR = 1e-300


def lower(hits: ArrayLike, draws: ArrayLike, level: float) -> FloatArray:
    """Clopper-Pearson: below it the chance lies with probability ``level`` at most; 0 without hits or draws."""
    h, n = np.asarray(hits, np.float64), np.asarray(draws, np.float64)
    return np.where(h > 0, special.betaincinv(np.maximum(h, 1.0), np.maximum(n - h, 0.0) + 1.0, level), 0.0)


def upper(hits: ArrayLike, draws: ArrayLike, level: float) -> FloatArray:
    """Clopper-Pearson: above it the chance lies with probability ``level`` at most; 1 without misses or draws."""
    h, n = np.asarray(hits, np.float64), np.asarray(draws, np.float64)
    return 1.0 - lower(n - h, n, level)


def log_tail(hits: ArrayLike, draws: ArrayLike, chance: ArrayLike) -> FloatArray:
    """Log of P(Bin(``draws``, ``chance``) >= ``hits``), floored at -690."""
    h, n, p = np.broadcast_arrays(*(np.asarray(each, np.float64) for each in (hits, draws, chance)))
    tail = special.betainc(np.maximum(h, 1.0), np.maximum(n - h, 0.0) + 1.0, np.clip(p, 0.0, 1.0))
    return np.where(h > 0, np.log(np.maximum(tail, _FLOOR)), 0.0)
