"""Which rows are worth a label: what the model is unsure of, what the reference lacks, and not the same thing twice.

Question: if only so many rows can be labelled, which tell a model trained anew the most?
Statistic: the sum of two surprises, each the negative logarithm of the share of reference rows that are at least as
unsure (the model's own doubt), and at least as typical of now (`weights.log_ratio`); what is not known adds nothing.
Rows are then taken one after the other, each the one of greatest sum, discounted by how near it lies to those already
taken: a row beside one of them tells little more.
Sees / blind to: new regions, boundaries between classes. Blind to answers that are wrong and sure of themselves where
the traffic is as it was; there only a random sample of labels helps. A row that comes once is not typical of now:
outliers and garbage come late.
Cost: n d for each row taken, among `MOST_CANDIDATES`.
Source: Lewis and Gale 1994 (uncertainty); Settles and Craven 2008 (density); Sener and Savarese 2018 (cover).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.types import FloatArray, IntArray, SingleArray

MOST_CANDIDATES = 5_000
"""Rows of greatest worth among which the taken ones are spread out."""
_ALIKE = 1 - 1e-9
"""No row is nearer to another than this: equal ones come last, in the order of their worth."""
_PAIRS = 500
"""Reference rows whose distances to each other tell what is near."""


class Worth(NamedTuple):
    """Of n rows: the share of reference rows at least as unsure, and as typical of now, and the worth ``(n,)``.

    NaN for a share that is not known.
    """

    unsure: FloatArray
    novel: FloatArray
    total: FloatArray


class Taken(NamedTuple):
    """The rows taken, the first ones first, and how near the nearest of those before lay ``(k,)``: 0 far, 1 equal."""

    rows: IntArray
    nearness: FloatArray


def share_above(values: FloatArray, known: FloatArray) -> FloatArray:
    """Share of ``known`` that is at least as large as each value ``(n,)``, never 0; NaN where either is missing."""
    known = np.sort(known[np.isfinite(known)])
    if not len(known):
        return np.full(len(values), np.nan)
    above = len(known) - np.searchsorted(known, values, side="left")
    return np.where(np.isnan(values), np.nan, (above + 1) / (len(known) + 1))


def worth(doubt: tuple[FloatArray, FloatArray], novelty: tuple[FloatArray, FloatArray]) -> Worth:
    """The worth of rows from their doubt and novelty, each with that of reference rows beside it; NaN: not known."""
    unsure, novel = share_above(*doubt), share_above(*novelty)
    return Worth(unsure, novel, -np.log(np.nan_to_num(unsure, nan=1.0)) - np.log(np.nan_to_num(novel, nan=1.0)))


def near(reference: SingleArray, rng: np.random.Generator) -> float:
    """What counts as near: the median distance of reference rows ``(m, d)`` to the nearest of some hundred others."""
    some = reference[rng.permutation(len(reference))[:_PAIRS]].astype(np.float64)
    squares = np.square(some).sum(axis=1)
    apart = squares[:, None] + squares - 2 * some @ some.T
    np.fill_diagonal(apart, np.inf)
    return float(np.sqrt(max(np.median(apart.min(axis=1, initial=np.inf)), 0.0))) if len(some) > 1 else 0.0


def taken(total: FloatArray, places: SingleArray, number: int, width: float) -> Taken:
    """Take ``number`` rows of n at ``places (n, d)``; ``width`` is what counts as near. Of equal ones the first."""
    candidates = np.argsort(-total, kind="stable")[: max(MOST_CANDIDATES, number)]
    left, where = total[candidates] + 1e-9, places[candidates].astype(np.float32)
    squares, closest = np.square(where).sum(axis=1), np.zeros(len(candidates))
    order, nearness = np.zeros(min(number, len(candidates)), np.int64), np.zeros(min(number, len(candidates)))
    for place in range(len(order)):
        best = int(np.argmax(left * (1 - closest)))
        order[place], nearness[place] = best, closest[best]
        apart = np.maximum(squares + squares[best] - 2 * (where @ where[best]), 0).astype(np.float64)
        alike = np.exp(-apart / (2 * width**2)) if width > 0 else (apart <= 0).astype(np.float64)
        closest = np.maximum(closest, np.minimum(alike, _ALIKE))
        left[best] = -np.inf
    return Taken(candidates[order], nearness)
