"""ATC: the share of rows that are surer than a threshold, chosen so that on the reference it is the accuracy.

Question: what share of the window's answers is right?
Statistic: share of rows whose calibrated chance of being right is at least t, where t gives the reference its accuracy;
rows at t itself count in part, so that this is exact there. Accuracy only.
Error: binomial, of the reference's accuracy. The rule is a heuristic: it has no law of its own.
Sees / blind to: a cross-check of the average confidence, off by several points where the sure rows change places.
Cost: O(cells). Source: Garg, Balakrishnan, Lipton, Neyshabur and Sedghi 2022.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detectors.performance.calibrate import Known, Scale, Tally
from detectors.performance.cbpe import Guess
from detectors.types import FloatArray


class Threshold(NamedTuple):
    """``least ()`` chance of being right that counts, ``part ()`` of the rows at it; the reference's accuracy, rows."""

    least: FloatArray
    part: FloatArray
    accuracy: FloatArray
    rows: FloatArray


def fit(scale: Scale, known: Known) -> Threshold:
    """Choose the threshold on the reference."""
    sure, rows = _sure(scale, known.tally)
    n = float(rows.sum())
    right = _right(known)
    values, at = np.unique(sure, return_inverse=True)
    mass = np.bincount(at, rows)[::-1]
    above = np.cumsum(mass) - mass
    i = min(int(np.searchsorted(above, right, side="right")) - 1, len(mass) - 1)
    part = (right - above[i]) / mass[i] if mass[i] else 0.0
    return Threshold(*(np.array(float(one)) for one in (values[::-1][i], part, right / n if n else math.nan, n)))


def accuracy(scale: Scale, fixed: Threshold, tally: Tally, tau: float = 1.0) -> Guess:
    """Estimate the accuracy of a window."""
    sure, rows = _sure(scale, tally)
    n, at = float(rows.sum()), float(fixed.least)
    if not n or not float(fixed.rows):
        return Guess(math.nan, math.nan, math.nan)
    value = float(rows[sure > at].sum() + float(fixed.part) * rows[sure == at].sum()) / n
    spread = max(value * (1 - value), 0.0)
    return Guess(
        value,
        math.sqrt(float(fixed.accuracy * (1 - fixed.accuracy) / fixed.rows)),
        math.sqrt(spread * max(tau, 1.0) / n),
    )


def _sure(scale: Scale, tally: Tally) -> tuple[FloatArray, FloatArray]:
    """Chance of being right and rows of all cells, flat; of many classes only cells of what was predicted count."""
    rows = tally.rows.astype(np.float64)
    if int(scale.classes) == 2:
        sure = np.stack([1 - scale.chance[:, 0], scale.chance[:, 1]], axis=1)
        return sure.ravel(), rows.ravel()
    return scale.chance[:, 1].ravel(), rows[:, 1].ravel()


def _right(known: Known) -> float:
    """Right answers on the reference."""
    right = known.hits[:, 1].sum()
    if len(known.hits) == 1 and not known.given.size:
        right += known.tally.rows[0, 0].sum() - known.hits[0, 0].sum()
    return float(right)
