"""Logarithms of upper tail probabilities. Floored at -690 (1e-300): nobody acts on more."""

from __future__ import annotations

import numpy as np
from scipy import special

from detectors.types import FloatArray

_FLOOR = 1e-300


def _log(p: FloatArray) -> FloatArray:
    logarithm: FloatArray = np.log(np.maximum(p, _FLOOR))
    return logarithm


def chi2(statistic: FloatArray, df: FloatArray) -> FloatArray:
    """Chi-square with ``df`` degrees of freedom; NaN where ``df`` is below one."""
    usable = df >= 1
    return np.where(usable, _log(special.gammaincc(np.where(usable, df, 1) / 2, np.maximum(statistic, 0) / 2)), np.nan)


def normal_two_sided(z: FloatArray) -> FloatArray:
    """Standard normal, both tails."""
    log_p: FloatArray = np.minimum(np.log(2.0) + special.log_ndtr(-np.abs(z)), 0.0)
    return log_p


def gamma(statistic: FloatArray, mean: FloatArray, variance: FloatArray, skew: float | FloatArray = 1.0) -> FloatArray:
    """Shifted gamma law (Pearson III) with two given moments and ``skew`` times the skewness of the plain gamma law."""
    usable = (mean > 0) & (variance > 0)
    mean, deviation = np.where(usable, mean, 1.0), np.sqrt(np.where(usable, variance, 1.0))
    root = mean / deviation / skew  # square root of the shape: skewness 2 / root
    z = (statistic - mean) / deviation
    tail = special.gammaincc(root**2, np.maximum(root**2 + z * root, 0))
    return np.where(usable, _log(tail), np.nan)


def quadratic_form(statistic: FloatArray, cumulants: FloatArray) -> FloatArray:
    """Sum of lambda_i chi2_1 given ``cumulants (..., 3)`` = sums of lambda, lambda^2, lambda^3.

    Pearson's three-moment approximation (Imhof 1961).
    """
    c1, c2, c3 = np.moveaxis(cumulants, -1, 0)
    usable = c3 > 0
    c2, c3 = np.where(usable, c2, 1.0), np.where(usable, c3, 1.0)
    h = c2**3 / c3**2
    x = (statistic - c1) * np.sqrt(h / c2) + h
    return np.where(usable, _log(special.gammaincc(h / 2, np.maximum(x, 0) / 2)), np.nan)


def kolmogorov(x: FloatArray) -> FloatArray:
    """Supremum of the absolute Brownian bridge."""
    return _log(np.asarray(special.kolmogorov(np.maximum(x, 0)), np.float64))
