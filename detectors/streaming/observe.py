"""One observation a column and pane for the streaming detectors: how far the pane's mean is from the reference's.

A numeric column gives the mean of its scaled, clipped values, a categorical one the share of the reference's commonest
category, both minus the reference's and divided by the standard deviation that means of so many rows have, rows being
worth 1/tau each. Without drift an observation has mean 0 and standard deviation 1, but for the reference's own error: a
reference of m rows puts all panes of n rows off by about sqrt(n tau / m) in the same direction. CUSUM, EWMA and
Page-Hinkley find that too; keep n well below m / 100. Strata are not looked at: a changed mix or a daily cycle moves
the means, and these detectors will say so.

This is for detectors of kind ``values``. Those of kind ``errors`` take the 0/1 stream of a model's errors row by row,
which the agent does not have without labels: they are reached from Python, through `detectors.streaming.catalog`.
A detector's memory counts in panes here: KSWIN's window of 100 observations is 100 panes.
"""

from __future__ import annotations

import numpy as np

from detectors.sequential.events import answered
from detectors.types import FloatArray, IntArray, Reference, Summary


def observations(reference: Reference, fresh: Summary) -> FloatArray:
    """Standardised means of one pane, ``(1, u)``; NaN for columns without rows there or without spread before.

    Refuses a summary of another grid (ValueError).
    """
    if fresh.grid_id != reference.summary.grid_id:
        msg = f"`fresh` was measured on grid {fresh.grid_id}, the reference on {reference.summary.grid_id}"
        raise ValueError(msg)
    top = reference.summary.codes.argmax(axis=1)
    mean, square = _moments(reference.summary, top)
    n = answered(fresh)
    variance = (square - mean**2) * reference.tau
    usable = (n > 0) & (answered(reference.summary) > 0) & (variance > 0)
    z = (_moments(fresh, top)[0] - mean) * np.sqrt(n / np.where(usable, variance, 1.0))
    return np.where(usable, z, np.nan)[None]


def _moments(summary: Summary, top: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean and mean square of the scaled values, and of "is it this category?", ``(u,)`` each."""
    rows = np.maximum(answered(summary), 1)
    yes = summary.codes[np.arange(len(top)), top].astype(np.float64)
    sums = np.concatenate([summary.sums, np.stack([yes, yes], axis=1)])
    return sums[:, 0] / rows, sums[:, 1] / rows
