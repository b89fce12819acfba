"""Relations between numeric columns that every row of the reference kept: sums, differences, one-hot groups, orderings.

Question: do the columns of a row still fit each other?
Statistic: a relation is a weighted sum of standardised columns that lies in an interval. Linear relations are the null
space of the reference's covariance, brought to echelon form so that each names few columns: totals and their parts,
shares that add up to one, one-hot groups, copies, changed units. Orderings are pairs a <= b that always held though
the columns' ranges overlap.
Calibration: found on the first half of the reference, kept if at most 0.1 % of the second half's rows break it.
Sees / blind to: an edit of one member; blind to edits that keep the relation, and to relations that are not linear.
Cost: a fit of p columns p^3 + p^2 n; a row r p multiplications for r relations.
Source: H5 (relations mined on the reference); cf. Daikon (Ernst et al. 2007) and conformance constraints (Fariha,
Tiwari, Radhakrishna, Gulwani and Meliou 2021), whose strongest invariants are the directions of least variance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray

MOST_COLUMNS = 256
"""Only so many columns, the first ones, are looked at together."""
MOST_ORDERINGS = 64
BROKEN = 0.001
"""A relation that more rows than this break is none."""
_EXACT = 1e-4
"""Standard deviation, in those of the columns, below which a direction is called a relation."""
_PER_COLUMN = 10
"""Complete rows a column, at least, to look for relations."""
_CHANCE = 0.01
"""An ordering says something if at least so many pairs of values of different rows break it."""
_SLACK = 4.0
"""A linear relation may be off by so many times its greatest residual in the reference."""
_NEGLIGIBLE = 1e-3
"""Weights below this (the greatest is one) are the arithmetic's noise."""


class Relations(NamedTuple):
    """``weights (r, p)`` on standardised columns ((x - ``centre``) * ``inverse``), held in ``[least, most] (r,)``."""

    weights: FloatArray
    least: FloatArray
    most: FloatArray
    centre: FloatArray
    inverse: FloatArray


def none(columns: int) -> Relations:
    """No relation between so many columns."""
    empty = np.zeros(0)
    return Relations(np.zeros((0, columns)), empty, empty, np.zeros(columns), np.ones(columns))


def mine(values: FloatArray, features: IntArray) -> Relations:
    """Find relations between the columns ``features`` of reference rows ``values (n, p)``, in order."""
    p = values.shape[1]
    chosen = _usable(values, features[:MOST_COLUMNS])
    rows = values[np.isfinite(values[:, chosen]).all(axis=1)][:, chosen]
    half = len(rows) // 2
    if len(chosen) < 2 or half < _PER_COLUMN * len(chosen):
        return none(p)
    found = none(p)
    found.centre[chosen] = rows[:half].mean(axis=0)
    deviation = rows[:half].std(axis=0)
    found.inverse[chosen] = 1.0 / np.where(deviation > 0, deviation, 1.0)
    z = (rows - found.centre[chosen]) * found.inverse[chosen]
    linear, orders = _null_space(z[:half]), _orderings(rows[:half])
    apart = orders * (1.0 / found.inverse[chosen])  # back to the columns' own units, then to standardised ones
    greatest = np.abs(apart).max(axis=1, initial=0.0, keepdims=True)
    apart = apart / np.where(greatest > 0, greatest, 1.0)
    weights = np.concatenate([linear, apart])
    least, most = _bounds(z[:half] @ linear.T)
    zero = -((orders @ found.centre[chosen])[:, None] / np.where(greatest > 0, greatest, 1.0)).ravel()
    least = np.concatenate([least, zero - 1e-6])
    most = np.concatenate([most, np.full(len(orders), np.inf)])
    held = z[half:] @ weights.T
    keep = ((held < least) | (held > most)).mean(axis=0) <= BROKEN
    whole = np.zeros((int(keep.sum()), p))
    whole[:, chosen] = weights[keep]
    return found._replace(weights=whole, least=least[keep], most=most[keep])


def broken(relations: Relations, values: FloatArray) -> NDArray[np.bool_]:
    """Whether each row breaks each relation, ``(n, r)``; a row that lacks a member breaks nothing."""
    if not len(relations.weights):
        return np.zeros((len(values), 0), np.bool_)
    members = np.abs(relations.weights).max(axis=0) > 0
    weights, some = relations.weights[:, members], values[:, members]
    finite = np.isfinite(some)
    with np.errstate(over="ignore", invalid="ignore"):
        z = np.where(finite, (some - relations.centre[members]) * relations.inverse[members], 0.0)
        sums = z @ weights.T
        off = (sums < relations.least) | (sums > relations.most)
    lacks = (~finite).astype(np.float64) @ (weights != 0).astype(np.float64).T > 0
    verdict: NDArray[np.bool_] = off & ~lacks
    return verdict


def _usable(values: FloatArray, features: IntArray) -> IntArray:
    """Columns that are nearly always there and vary; squares of them must not overflow."""
    some = values[:, features]
    finite = np.isfinite(some)
    with np.errstate(invalid="ignore"):
        least = np.where(finite, some, np.inf).min(axis=0, initial=np.inf)
        most = np.where(finite, some, -np.inf).max(axis=0, initial=-np.inf)
    small = (np.abs(least) < 1e100) & (np.abs(most) < 1e100)
    return features[small & (most > least) & (finite.mean(axis=0) >= 0.99)] if len(values) else features[:0]


def _null_space(z: FloatArray) -> FloatArray:
    """Directions along which standardised rows do not vary, one a row, each as few columns as elimination gives."""
    varies = z.std(axis=0) > 0
    variance, axes = np.linalg.eigh(z[:, varies].T @ z[:, varies] / max(len(z), 1))
    flat = np.zeros((int((variance < _EXACT**2).sum()), z.shape[1]))
    flat[:, varies] = axes[:, variance < _EXACT**2].T
    return _echelon(flat)


def _echelon(rows: FloatArray) -> FloatArray:
    """Reduced echelon form with the greatest entries as pivots; the greatest weight of a row is one."""
    rows = rows.copy()
    free = np.ones(rows.shape, np.bool_)
    for _ in range(len(rows)):
        i, j = np.unravel_index(int(np.argmax(np.where(free, np.abs(rows), -1.0))), rows.shape)
        rows[i] /= rows[i, j]
        others = np.arange(len(rows)) != i
        rows[others] -= rows[others, j][:, None] * rows[i]
        free[i], free[:, j] = False, False
    rows /= np.abs(rows).max(axis=1, initial=1.0, keepdims=True)
    rows[np.abs(rows) < _NEGLIGIBLE] = 0.0
    return rows


def _bounds(residuals: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Interval around the mean of each residual, ``(r,)`` each."""
    mean = residuals.mean(axis=0)
    reach = _SLACK * np.abs(residuals - mean).max(axis=0, initial=0.0) + 1e-9
    return mean - reach, mean + reach


def _orderings(rows: FloatArray) -> FloatArray:
    """Pairs a <= b as rows with -1 and +1, most telling first; pairs whose ranges hardly overlap say nothing."""
    d, shift = rows.shape[1], max(len(rows) // 2, 1)
    other = np.roll(rows, shift, axis=0)
    found: list[tuple[float, int, int]] = []
    for a in range(d):
        holds = (rows[:, [a]] <= rows).all(axis=0) & (rows[:, [a]] != rows).any(axis=0)
        chance = (rows[:, [a]] > other).mean(axis=0)
        found += [(-float(chance[b]), a, int(b)) for b in np.flatnonzero(holds & (chance >= _CHANCE)) if b != a]
    best = sorted(found)[:MOST_ORDERINGS]
    pairs = np.zeros((len(best), d))
    for i, (_, a, b) in enumerate(best):
        pairs[i, a], pairs[i, b] = -1.0, 1.0
    return pairs
