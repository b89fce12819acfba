"""Which rows to label to know how often a model is wrong, and what their labels say: drawn by chance, with known odds.

Question: how large is the mean loss of these rows, if only so many of them can be labelled?
Statistic: rows are put into strata by predicted error and by whether those that predict it disagree; of each stratum a
simple random sample, its size by Neyman's rule: rows times spread, sqrt(p (1 - p) + d^2), which is never taken below
`LEAST_SPREAD`: where the prediction is confidently wrong there are labels too. Every row has a chance to be drawn.
Horvitz-Thompson: the sum of losses over inclusion probabilities, over the rows, unbiased whatever the prediction is
worth. Hajek: over the sum of the inverse probabilities instead; it bears labels that never come, if these are as likely
for right and for wrong answers within a stratum, and it is the one for a part of the rows.
Error: that of stratified sampling without replacement, by the labels' own spread in each stratum; the interval of a
share by Wilson with as many rows as the error is worth.
Sees / blind to: these rows, not the next window's. A bad prediction costs width, never truth.
Cost: O(n log n). Source: Neyman 1934; Dalenius and Hodges 1959 (strata); Horvitz and Thompson 1952; Hajek 1971;
Saerndal, Swensson and Wretman 1992, equations 3.7.8 and 5.7.4. For rows that teach most see `labelling`.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.performance import intervals
from detectors.performance.types import Figure
from detectors.types import FloatArray, IntArray

STRATA: Final = 6
"""Strata by predicted error at most; half of the labels' number over `EACH` if that is less."""
EACH: Final = 8
DISAGREED: Final = 0.2
"""Share of the rows, those that are disagreed on most, that are strata of their own."""
LEAST_SPREAD: Final = 0.1
MISSING_LABELS: Final = "labels are missing"


class Draw(NamedTuple):
    """Rows drawn ``(k,)``, ascending, with their ``probability`` and ``stratum``; all and drawn rows by stratum."""

    rows: IntArray
    probability: FloatArray
    stratum: IntArray
    sizes: IntArray
    taken: IntArray


class Estimates(NamedTuple):
    """The mean loss of all rows by either estimator; equal if all labels have come."""

    horvitz_thompson: Figure
    hajek: Figure


def draw(
    expected: FloatArray, apart: FloatArray, number: int, rng: np.random.Generator, *, shares: bool = True
) -> Draw:
    """Draw ``number`` of n rows by their ``expected (n,)`` loss and how far its predictors are ``apart (n,)``.

    ``shares``: losses are 0 or 1, else any size, and their spread is taken to grow with it. NaN: not known, which is as
    uncertain as can be.
    """
    p, d, spread = _known(expected, apart, shares=shares)
    n, number = len(p), max(min(number, len(p)), 0)
    variance = np.maximum(np.square(spread) + d * d, LEAST_SPREAD**2)
    stratum = _strata(p, d, np.sqrt(variance), number)
    sizes = np.bincount(stratum)
    taken = _allocated(sizes, np.sqrt(np.bincount(stratum, variance) / np.maximum(sizes, 1)), number)
    order = np.argsort(stratum + rng.random(n), kind="stable")
    place = np.empty(n, np.int64)
    place[order] = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rows = np.flatnonzero(place < taken[stratum])
    mine = stratum[rows]
    return Draw(rows, taken[mine] / sizes[mine], mine, sizes, taken)


def estimate(drawn: Draw, loss: FloatArray, within: NDArray[np.bool_] | None = None) -> Estimates:
    """The mean loss of all rows from the ``loss (k,)`` of rows drawn, NaN: no label; or of a part, ``within (k,)``."""
    part = np.ones(len(loss), np.bool_) if within is None else within
    known = np.isfinite(loss)
    ratio = _ratio(drawn, loss, known, part)
    if within is not None:
        return Estimates(intervals.none("loss", ratio.n, "the part's rows are not counted"), ratio)
    if not known.all() or not len(known):
        return Estimates(intervals.none("loss", ratio.n, MISSING_LABELS if len(known) else intervals.NO_ROWS), ratio)
    total = float((loss / drawn.probability).sum()) / float(drawn.sizes.sum())
    return Estimates(ratio._replace(value=total), ratio)


def _known(expected: FloatArray, apart: FloatArray, *, shares: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Expected loss, distance and spread ``(n,)`` without gaps; sizes in units of their mean."""
    known = np.isfinite(expected)
    unit = 1.0
    if not shares and known.any():
        unit = float((np.abs(expected[known]) / known.sum()).sum()) or 1.0
    most = 1.0 if shares else 100.0
    p = np.clip(np.where(known, expected, 0.5 * unit if shares else unit) / unit, 0.0, most)
    d = np.clip(np.where(np.isfinite(apart), apart, 0.5 * unit) / unit, 0.0, most)
    return p, d, np.sqrt(p * (1 - p)) if shares else p


def _strata(p: FloatArray, d: FloatArray, spread: FloatArray, number: int) -> IntArray:
    """Strata ``(n,)``, 0 to their number less 1: runs of rows by p of about equal total spread, times disagreement."""
    many = min(max(number // (2 * EACH), 1), STRATA)
    order = np.lexsort((d, p))
    run = np.zeros(len(p), np.int64)
    total = np.cumsum(spread[order])
    if len(p):
        run[order] = np.minimum((total - spread[order] / 2) / total[-1] * many, many - 1).astype(np.int64)
    if many > 1:
        run = 2 * run + (d > np.quantile(d, 1 - DISAGREED))
    _, stratum = np.unique(run, return_inverse=True)
    return stratum.astype(np.int64)


def _allocated(sizes: IntArray, spread: FloatArray, number: int) -> IntArray:
    """Rows to take of each stratum: two of each if there are, then by Neyman's rule, never more than there are."""
    taken = np.minimum(sizes, min(number, 2))
    while (rest := number - int(taken.sum())) > 0:
        worth = sizes * spread * (taken < sizes)
        wanted = worth / worth.sum() * (number - taken[taken >= sizes].sum()) - taken
        wanted = np.where(worth > 0, np.maximum(wanted, 0.0), 0.0)
        if wanted.sum() <= 0:
            wanted = worth
        more = np.minimum(np.floor(wanted * min(rest / wanted.sum(), 1.0)).astype(np.int64), sizes - taken)
        if not more.any():
            best = np.argsort(-wanted, kind="stable")[:rest]
            more[best[taken[best] < sizes[best]]] = 1
        taken = taken + more
    return taken


def _ratio(drawn: Draw, loss: FloatArray, known: NDArray[np.bool_], part: NDArray[np.bool_]) -> Figure:
    """Hajek's ratio with its error by linearisation: residuals over probabilities, by stratum."""
    mine = known & part
    rows = int(mine.sum())
    if not rows:
        return intervals.none("loss", 0, intervals.NO_ROWS)
    top = max(float(np.abs(loss[mine]).max()), 1e-300)
    y, weight = np.where(mine, loss, 0.0) / top, np.where(mine, 1 / drawn.probability, 0.0)
    mass = float(weight.sum())
    mean = float(weight @ y) / mass
    residual = weight * (y - mean) / mass
    variance = _variance(drawn, residual, known, mean * (1 - mean) * np.square(weight / mass))
    return _figure(mean, variance, rows, top, shares=bool(np.isin(loss[mine], (0.0, 1.0)).all()))


def _variance(drawn: Draw, residual: FloatArray, known: NDArray[np.bool_], alone: FloatArray) -> float:
    """Variance of the sum of residuals; a stratum's only label has the spread that all labels have (``alone``)."""
    h = len(drawn.sizes)
    who = drawn.stratum[known]
    m = np.bincount(who, minlength=h)
    first, second = (np.bincount(who, one[known], minlength=h) for one in (residual, np.square(residual)))
    spread = np.maximum(second - np.square(first) / np.maximum(m, 1), 0.0) * m / np.maximum(m - 1, 1)
    lone = np.bincount(who, np.maximum(alone[known], 0.0), minlength=h)
    left = 1 - m / np.maximum(drawn.sizes, 1)
    return float((np.where(m > 1, spread, lone) * left).sum())


def _figure(mean: float, variance: float, rows: int, top: float, *, shares: bool) -> Figure:
    error = math.sqrt(variance)
    if shares:
        worth = mean * (1 - mean) / variance if variance > 0 and 0 < mean < 1 else float(rows)
        return Figure("loss", mean, *intervals.shares(mean, worth), error, rows)
    half = error * float(special.stdtrit(max(rows - 1, 1), intervals.LEVEL))
    return Figure("loss", mean * top, max(mean - half, 0.0) * top, (mean + half) * top, error * top, rows)
