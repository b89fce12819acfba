"""DoC: the reference's accuracy, moved by as much as the model's raw confidence has moved.

Question: what share of the window's answers is right?
Statistic: reference accuracy + mean confidence of the window - mean confidence of the reference, uncalibrated.
Error: binomial, of the reference's accuracy; that of the mean confidence is nothing beside it.
Sees / blind to: needs no calibration map, so that it disagrees with CBPE where that map bends; else as `cbpe`.
Cost: O(cells). Source: Guillory, Shankar, Ebrahimi, Darrell and Schmidt 2021.
"""

from __future__ import annotations

import math

from detectors.performance.atc import Threshold
from detectors.performance.calibrate import Known, Scale, Tally, cells
from detectors.performance.cbpe import Guess
from detectors.performance.expected import S


def confidence(scale: Scale, tally: Tally) -> float:
    """Mean probability that the model gave its own answers; NaN without rows, or where scores are no probabilities."""
    mine = cells(scale, tally)
    if not mine.rows or not bool(scale.probability):
        return math.nan
    sure = mine.sums[:, 1, S].sum()
    if int(scale.classes) == 2:
        sure += mine.n[:, 0].sum() - mine.sums[:, 0, S].sum()
    return float(sure) / mine.rows


def accuracy(scale: Scale, known: Known, reference: Threshold, tally: Tally, tau: float = 1.0) -> Guess:
    """Estimate the accuracy of a window."""
    moved = confidence(scale, tally) - confidence(scale, known.tally)
    right, rows = float(reference.accuracy), float(reference.rows)
    if not (math.isfinite(moved) and rows):
        return Guess(math.nan, math.nan, math.nan)
    value = min(max(right + moved, 0.0), 1.0)
    n = float(tally.rows[0].sum())
    return Guess(value, math.sqrt(right * (1 - right) / rows), math.sqrt(value * (1 - value) * max(tau, 1.0) / n))
