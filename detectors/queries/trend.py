"""Confidence that climbs or falls inside a cluster of near-duplicates, and steps that are like noise.

Question: does the answer to near-duplicates drift one way, as under an attack by scores or an inversion (H13), and in
directions in which honest inputs do not differ (H11 in place of the cosines of steps: it needs no order of arrival)?
Statistic: the lead is the log-odds of the cluster's first class against its rival, log p(1)/p(2). Over up to 64 members
evenly spread over the cluster's life: Spearman's rank correlation of lead and order. Likeness to noise of the move d
from the first members to the last: d' S^-1 d / |d|^2, S the reference's covariance: how much of it lies where honest
rows hardly vary.
Null law: z = rho sqrt(k - 1) is standard normal for members in no order. Honest traffic has an order, too: a scene that
turns into another one carries the lead from one class to the other. So unless the steps have many scales
(`boundary.many_scales`) the p-value is no smaller than that of the move among moves between random reference rows,
whose upper tail is kept (conformal), and a move that changes the lead by less than what the reference's 5 % least sure
rows have is none. Looked at when 32, 64, 128, ... members are there; the k-th look has the share 1 / (k (k + 1)).
Sees / blind to: NES, SimBA, Square, ZOO, inversion, once the lead has moved; blind where the axes are standardised (all
directions are alike) unless steps have many scales, to shuffled order, to what makes each query its own cluster.
Indistinguishable from an attack: noise of a slowly growing level in directions to which the model is sensitive.
Cost: m^2 multiplications a look. Source: failures.md 2.2, 3.3 (H11, H13), 4.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy import linalg, special

from detectors.types import FloatArray, SingleArray

FIRST_LOOK: Final = 32
"""Members at the first look; each further one comes at twice as many."""
_PAIRS: Final = 65_536
_TURNS: Final = 16
_TAIL: Final = 1_024
_RIDGE: Final = 1e-4
_LEAST: Final = 0.05
_SURE: Final = 20.0
_FEWEST_ROWS: Final = 200


class TrendFixed(NamedTuple):
    """Covariance and moves of the reference.

    ``inverse (m, m)`` of its covariance over its mean eigenvalue, ``tail (t,)`` the greatest likenesses to noise,
    rising, of ``pairs ()`` moves between its rows (empty where noise itself is no greater), ``least ()`` the change of
    the lead that counts (inf: unknown).
    """

    inverse: SingleArray
    tail: FloatArray
    pairs: FloatArray
    least: FloatArray


class Look(NamedTuple):
    """``log_p`` of the trend (0: nothing), its rank correlation, and how noise-like the move is (log p)."""

    log_p: float
    correlation: float
    noise_log_p: float


NOTHING: Final = Look(0.0, math.nan, 0.0)


def calibrate(near: SingleArray, confidence: SingleArray, margin: SingleArray, rng: np.random.Generator) -> TrendFixed:
    """Measure on reference rows, ``near (n, m)`` with a place; ``(n,)`` the others. Below 200 there is none."""
    width = near.shape[1]
    covariance = np.zeros((width, width))
    if len(near) >= _FEWEST_ROWS and width > 0:
        covariance = np.atleast_2d(np.cov(near.astype(np.float64), rowvar=False))
    scale = float(np.trace(covariance)) / max(width, 1)
    if scale <= 0:
        return TrendFixed(np.zeros((width, width), np.float32), np.zeros(0), np.asarray(0.0), np.asarray(np.inf))
    inverse = linalg.inv(covariance / scale + _RIDGE * np.eye(width))
    likeness = np.sort(np.concatenate([_moves(near, inverse.astype(np.float32), rng) for _ in range(_TURNS)]))
    tells = len(likeness) > _TAIL and float(np.trace(inverse)) / len(inverse) > likeness[-1]
    tail = likeness[-_TAIL:] if tells else np.zeros(0)
    leads = leads_of(confidence, margin)
    leads = leads[np.isfinite(leads)]
    least = np.quantile(leads, _LEAST) if len(leads) else np.inf
    return TrendFixed(inverse.astype(np.float32), tail, np.asarray(float(len(likeness))), np.asarray(least))


def _moves(rows: SingleArray, inverse: SingleArray, rng: np.random.Generator) -> FloatArray:
    """Likeness to noise of moves between random rows."""
    one, other = rng.integers(0, len(rows), (2, _PAIRS))
    apart = rows[one] - rows[other]
    square = np.einsum("ij,ij->i", apart, apart)
    likeness = np.einsum("ij,ij->i", apart @ inverse, apart)[square > 0] / square[square > 0]
    return np.asarray(likeness, np.float64)


def leads_of(confidence: SingleArray, margin: SingleArray) -> FloatArray:
    """Log of p(1) / p(2), from the greatest probability and its distance to the second, at most 20; NaN: unknown."""
    first = confidence.astype(np.float64)
    second = np.maximum(first - margin, 1e-12)
    with np.errstate(invalid="ignore", divide="ignore"):
        lead: FloatArray = np.clip(np.log(first / second), 0.0, _SURE)
    return lead


def look(fixed: TrendFixed, leads: FloatArray, move: FloatArray, *, turn: int, many_scales: bool) -> Look:
    """Judge a cluster at its ``turn``-th look: ``leads (k,)`` in order of arrival and the ``move (m,)``."""
    noise = _noise(fixed, move)
    known = leads[np.isfinite(leads)]
    if len(known) < FIRST_LOOK // 2 or np.ptp(known) == 0:
        return Look(0.0, math.nan, noise)
    correlation = _spearman(known)
    ends = max(len(known) // 5, 4)
    if abs(known[-ends:].mean() - known[:ends].mean()) < fixed.least:
        return Look(0.0, correlation, noise)
    chance = math.log(2) + float(special.log_ndtr(-abs(correlation) * math.sqrt(len(known) - 1)))
    log_p = chance if many_scales else max(chance, noise)
    return Look(min(log_p + math.log(turn * (turn + 1)), 0.0), correlation, noise)


def _noise(fixed: TrendFixed, move: FloatArray) -> float:
    """Conformal log p of a move as noise-like as this, between reference rows (0 where it is not in their tail)."""
    length = float(move @ move)
    if length <= 0 or not len(fixed.tail):
        return 0.0
    likeness = float(move @ fixed.inverse.astype(np.float64) @ move) / length
    above = len(fixed.tail) - int(np.searchsorted(fixed.tail, likeness, side="left"))
    return 0.0 if above == len(fixed.tail) else math.log((1 + above) / (1 + float(fixed.pairs)))


def _spearman(values: FloatArray) -> float:
    """Rank correlation with the order; ties are broken by mean ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    order = np.arange(len(values)) - (len(values) - 1) / 2
    rank = rank - rank.mean()
    return float(order @ rank / math.sqrt(float((order @ order) * (rank @ rank))))
