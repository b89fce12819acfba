"""What estimates were worth: each laid beside the figure that labels gave later.

Question: have estimates been off by more than their errors say? H0: they have not.
Statistic: mean, absolute and root mean square difference; what of the last their errors and the labels' draw do not
explain (``excess``: to be added to the errors of estimates to come); share of realised figures within the interval.
Null law: the sum of the differences is normal, that of their squares in units of the errors chi-square, if windows
are apart and their errors are not the same one (that of a small reference makes ``log_p_excess`` too small).
Sees / blind to: everything that estimates cannot see, concept shift above all, one delay of the labels later.
Cost: O(windows). Source: methods.md section 5; DerSimonian and Laird 1986 (excess as variance between).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detectors.maths import tails
from detectors.types import FloatArray

_WIDE = 1.959964


class Past(NamedTuple):
    """Of ``n`` windows: mean difference, estimate less truth, its mean size, ``excess``, share ``within``, ``log_p``.

    ``log_p_excess`` is that of no excess. NaN without windows.
    """

    n: int
    bias: float
    mae: float
    excess: float
    within: float
    log_p: float
    log_p_excess: float


def past(estimated: FloatArray, realised: FloatArray, error: FloatArray, floor: FloatArray) -> Past:
    """Compare estimates ``(w,)``, their errors and floors with what came true; NaN is left out."""
    off, variance = estimated - realised, np.square(error) + np.square(floor)
    known = np.isfinite(off) & np.isfinite(variance)
    off, variance = off[known], variance[known]
    if not len(off):
        return Past(0, *(math.nan,) * 6)
    excess = math.sqrt(max(float(np.square(off).mean() - variance.mean()), 0.0))
    spread = math.sqrt(float(variance.sum()))
    z = float(off.sum()) / spread if spread > 0 else math.copysign(math.inf, off.sum()) if off.any() else 0.0
    within = float((np.abs(off) <= _WIDE * np.sqrt(variance)).mean())
    log_p = float(tails.normal_two_sided(np.array(np.clip(z, -1e3, 1e3))))
    with np.errstate(divide="ignore"):
        chi2 = np.square(off) / np.where(variance > 0, variance, np.where(off == 0, 1.0, 0.0))
    log_p_excess = float(tails.chi2(np.array(chi2.sum()), np.array(float(len(off)))))
    return Past(len(off), float(off.mean()), float(np.abs(off).mean()), excess, within, log_p, log_p_excess)
