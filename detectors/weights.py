"""Importance weights: how much more often rows like this one come now than in the reference.

Question: with which weights do old rows stand for the traffic of now, and how many rows is that worth?
Statistic: the odds of a ridge-penalised logistic regression on the features of `multivariate.classifier` and on squares
(the ratio of two normal laws is the exponential of a quadratic), both sides weighing alike; the penalty of least loss
on rows left out. A row is judged by the model that was
trained without it and without every row equal to it: rows are dealt to the folds by a hash of what is in them. The
log odds are corrected by a line fitted to rows left out (Platt), so that a model that is too sure does no harm.
Clipping: at sqrt(m) times the mean for m reference rows (Ionides 2008); then the mean over the reference is 1.
Sees / blind to: shifts of the inputs' law (covariate shift). It takes for granted that what an input means has not
changed, and it cannot stand for rows of which the reference has none: then few rows carry all the weight, which the
effective sample size (Kish) tells. Rows that depend on their neighbours make it look better than it is.
Cost: at most `FOLDS` x `PENALTIES` fits on 2 x `MOST_ROWS` rows: some seconds. Not for the hot path.
Source: Shimodaira 2000; Bickel, Brueckner and Scheffer 2009 (by classification); Yamada et al. 2013 (relative ratio).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.multivariate.classifier import ClassifierFixed, Model, feature_map, features, mid_ranks, newton
from detectors.multivariate.samples import mixed
from detectors.types import FloatArray, IntArray, SingleArray

FOLDS = 4
MOST_ROWS = 8_192
"""Rows of each side that it learns from."""
LEAST_ROWS = 200
"""With fewer rows on either side there are no weights."""
PENALTIES = (100.0, 10.0, 1.0, 0.1)
"""Ridges that are tried, the strongest first: each fit begins at the one before."""
MOST_SQUARES = 128
"""Dimensions whose squares are looked at; of more only the first, which are numbers."""
_FAR = 3.0
"""Squares are taken of values up to so many standard deviations."""
_LEAST_SCALE = np.float32(1.0)
"""An encoded dimension of less spread is a rare category: in its own standard deviations it would decide alone."""
_LINE_STEPS = 20
_LONGEST = 30.0
"""Log odds beyond this are no longer told apart."""


class Ratio(NamedTuple):
    """A density ratio of now to the reference: features, and by fold ``weight (k, D)`` and ``intercept (k,)``.

    ``slope`` and ``offset ()`` correct the log odds, ``cap ()`` clips the ratio, ``level ()`` is its mean over the
    reference after that. ``auc ()`` tells rows left out apart: 0.5 where nothing has shifted.
    """

    known: ClassifierFixed
    weight: FloatArray
    intercept: FloatArray
    slope: FloatArray
    offset: FloatArray
    cap: FloatArray
    level: FloatArray
    ridge: FloatArray
    auc: FloatArray


class Balance(NamedTuple):
    """Distance ``(d,)`` of the new means from the reference's, as it is and weighted, in standard deviations.

    They are the root mean square of both sides' own (the standardised mean difference of Austin 2009).
    """

    before: FloatArray
    after: FloatArray


def fit(reference: SingleArray, now: SingleArray, rng: np.random.Generator) -> Ratio:
    """Learn from encoded rows ``(m, d)`` and ``(n, d)``; `ValueError` with fewer than `LEAST_ROWS` on either side."""
    if min(len(reference), len(now)) < LEAST_ROWS or not reference.shape[1]:
        raise ValueError(f"it takes {LEAST_ROWS} rows on either side that vary, not {len(reference)} and {len(now)}")
    sides = [_some(rows, rng) for rows in (reference, now)]
    known = feature_map(sides[0], rng)
    known = known._replace(scale=np.maximum(known.scale, _LEAST_SCALE))
    x, fold = _features(known, np.concatenate(sides)), np.concatenate([folds(rows) for rows in sides])
    y = np.repeat([0.0, 1.0], [len(rows) for rows in sides])
    weight = np.repeat([len(y) / (2 * len(rows)) for rows in sides], [len(rows) for rows in sides])
    models, ridge, odds = _chosen(x, y, weight, fold)
    slope, offset = _line(odds, y, weight)
    cap = math.sqrt(len(reference))
    ratio = Ratio(
        known,
        np.array([one.weight for one in models]),
        np.array([one.intercept for one in models]),
        *(np.array(one) for one in (slope, offset, cap, 1.0, ridge, _auc(odds, y))),
    )
    return ratio._replace(level=np.array(np.mean(clipped(ratio, log_ratio(ratio, reference)))))


def folds(rows: SingleArray) -> IntArray:
    """The fold of each row ``(n,)``: equal rows are in one."""
    words = np.ascontiguousarray(rows, np.float32).view(np.uint32).astype(np.uint64)
    multipliers = mixed(np.arange(rows.shape[1], dtype=np.uint64)) | np.uint64(1)
    hashes = mixed((words * multipliers).sum(axis=1, dtype=np.uint64))
    return (hashes % np.uint64(FOLDS)).astype(np.int64)


def log_ratio(ratio: Ratio, rows: SingleArray) -> FloatArray:
    """Log of how much more often each row ``(n,)`` comes now, by a model that never saw it; not clipped."""
    fold, out = folds(rows), np.zeros(len(rows))
    for k in range(FOLDS):
        mine = fold == k
        out[mine] = _features(ratio.known, rows[mine]) @ ratio.weight[k] + ratio.intercept[k]
    return np.clip(out * ratio.slope + ratio.offset, -_LONGEST, _LONGEST)


def clipped(ratio: Ratio, log: FloatArray) -> FloatArray:
    """Weights of rows of the reference ``(n,)``, of mean 1 over it, from their `log_ratio`."""
    out: FloatArray = np.minimum(np.exp(log), ratio.cap) / ratio.level
    return out


def pooled(weight: FloatArray, share: float) -> FloatArray:
    """Weights for training on old and new rows together, the new ones being ``share`` of them: at most 1 / share."""
    out: FloatArray = weight / (share * weight + 1 - share)
    return out


def effective(weight: FloatArray) -> float:
    """How many equally weighted rows these are worth (Kish)."""
    return float(weight.sum() ** 2 / np.square(weight).sum()) if len(weight) else 0.0


def balance(reference: SingleArray, now: SingleArray, weight: FloatArray) -> Balance:
    """Compare the means of the sides, without and with weights ``(m,)`` on the reference."""
    old, new = (side.mean(axis=0, dtype=np.float64) for side in (reference, now))
    spread = np.sqrt((reference.var(axis=0, dtype=np.float64) + now.var(axis=0, dtype=np.float64)) / 2)
    spread = np.where(spread > 1e-6, spread, 1.0)
    weighted = weight @ reference.astype(np.float64) / weight.sum()
    return Balance((new - old) / spread, (new - weighted) / spread)


def _some(rows: SingleArray, rng: np.random.Generator) -> SingleArray:
    return rows if len(rows) <= MOST_ROWS else rows[np.sort(rng.choice(len(rows), MOST_ROWS, replace=False))]


def _features(known: ClassifierFixed, rows: SingleArray) -> SingleArray:
    """Features ``(n, D)``: those of the classifier, and squares."""
    some = slice(min(rows.shape[1], MOST_SQUARES))
    z = np.clip((rows[:, some] - known.centre[some]) / known.scale[some], -_FAR, _FAR)
    return np.hstack([features(known, rows), (np.square(z) - 1) * np.float32(1 / math.sqrt(2 * z.shape[1]))])


def _chosen(x: SingleArray, y: FloatArray, weight: FloatArray, fold: IntArray) -> tuple[list[Model], float, FloatArray]:
    """The models of the ridge of least loss, one a fold left out, that ridge, and the log odds of rows left out."""
    starts: list[Model | None] = [None] * FOLDS
    least = math.inf
    best: tuple[list[Model], float, FloatArray] = ([], math.nan, np.zeros(0))
    for ridge in PENALTIES:
        models, odds = [], np.zeros(len(y))
        for k in range(FOLDS):
            mine = fold == k
            models.append(newton(x[~mine], y[~mine], weight[~mine], ridge, starts[k]))
            odds[mine] = x[mine] @ models[k].weight + models[k].intercept
        starts = list(models)
        loss = float(weight @ np.logaddexp(0.0, np.where(y > 0, -odds, odds)))
        if loss < least:
            least, best = loss, (models, ridge, odds)
    return best


def _line(odds: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Slope and offset of the log odds that fit rows left out; never steeper than they are, never turned round."""
    slope, offset = 1.0, 0.0
    for _ in range(_LINE_STEPS):
        p = special.expit(slope * odds + offset)
        curve = weight * np.maximum(p * (1 - p), 1e-6)
        x = np.stack([odds, np.ones_like(odds)])
        step = np.linalg.solve((x * curve) @ x.T + 1e-9 * np.eye(2), x @ (weight * (y - p)))
        slope, offset = float(np.clip(slope + step[0], 0.0, 1.0)), float(offset + step[1])
    return slope, offset


def _auc(odds: FloatArray, y: FloatArray) -> float:
    """Area under the ROC curve."""
    new = float(y.sum())
    return float((mid_ranks(odds)[y > 0].sum() - new * (new + 1) / 2) / (new * (len(y) - new)))
