"""Integrated autocorrelation time by batch means, of the very indicators that the sequential layer counts.

Question: by how much does the variance of a batch's count exceed that of independent rows?
Statistic: tau_b = sum_t (k_t - n_t pi)^2 / sum_t n_t pi (1 - pi) over batches of b rows, for b doubling from the base;
the largest tau_b that remains after two standard errors (sqrt(2 / (3 batches)), the factor 3 for the partly
independent events of a column) are divided out, never below 1.
Sees / blind to: dependence in the order of the reference; a shuffled reference looks independent.
Source: batch means after Alexopoulos and Seila (1996).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from detectors.grid import Grid
from detectors.sequential.events import Events, choose, count
from detectors.types import FloatArray, Summary

BASE_ROWS = 64
"""Rows of a base batch for a large reference."""
MOST_BATCHES = 4096
"""Base batches looked at: 262,144 consecutive rows are enough for a tau of several thousand rows."""
_LEAST_BATCHES = 32
_INDEPENDENT_EVENTS = 3.0


def base_rows(reference_rows: int) -> int:
    """Rows per base batch: small references get smaller batches, so that there are enough of them."""
    return int(np.clip(reference_rows // 64, 8, BASE_ROWS))


def autocorrelation_time(grid: Grid, reference: Summary, batches: Iterable[Summary]) -> tuple[FloatArray, FloatArray]:
    """Autocorrelation times ``(u,)`` of the values and of being missing.

    ``batches`` are summaries of consecutive base batches of equal size, in the order of the reference.
    """
    events = choose(grid, reference)
    yes, asked, missing, rows = [], [], [], []
    for batch in batches:
        k, n = count(events, batch)
        yes.append(k)
        asked.append(n)
        missing.append(batch.missing.astype(np.float64))
        rows.append(np.full(len(grid.names), float(batch.rows)))
    u = len(grid.names)
    if len(yes) < _LEAST_BATCHES:
        return np.ones(u), np.ones(u)
    share = reference.missing / max(reference.rows, 1)
    everyone = Events(np.arange(u), np.arange(u), share)
    return (
        _largest(events, np.array(yes), np.array(asked), u, _INDEPENDENT_EVENTS),
        _largest(everyone, np.array(missing), np.array(rows), u, 1.0),
    )


def _largest(events: Events, yes: FloatArray, asked: FloatArray, units: int, independent: float) -> FloatArray:
    best = np.ones(units)
    while len(yes) >= _LEAST_BATCHES:
        batches = len(yes)
        total = asked.sum(axis=0)
        share = np.divide(yes.sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
        excess = np.square(yes - asked * share).sum(axis=0) * batches / (batches - 1)
        expected = total * share * (1 - share)
        over = np.bincount(events.unit, excess, units)
        under = np.bincount(events.unit, expected, units)
        tau = np.divide(over, under, out=np.ones(units), where=under > 0)
        best = np.maximum(best, tau / (1 + 2 * np.sqrt(2 / (independent * batches))))
        even = batches // 2 * 2
        yes = yes[:even:2] + yes[1:even:2]
        asked = asked[:even:2] + asked[1:even:2]
    return best
