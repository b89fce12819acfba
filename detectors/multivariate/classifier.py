"""Classifier two-sample test: a model that tells the window's rows from the reference's.

Question: H0: window and reference have the same law. H1: a classifier trained on some bins ranks the others.
Statistic: ridge-penalised logistic regression on random Fourier features of four bandwidths and on the dimensions
themselves, trained on the odd bins of the window against half A; area under its ROC curve on the even bins against
half B, from mid-ranks.
Null law: exact: held-out bins are permuted (within a stratum); the model never saw them.
Sees / blind to: what is smooth at the bandwidths; half of the window goes into training, so smaller shifts are missed
than by MMD on all rows.
Cost: n D^2 for D = 2 `FREQUENCIES` + d, `STEPS` Newton steps on at most `MOST_ROWS` rows a side.
Source: Lopez-Paz and Oquab 2017; Kim, Ramdas, Singh and Wasserman 2021; Rahimi and Recht 2007 (features).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.multivariate import binned, kernels
from detectors.multivariate.bins import Bins, bins_of, half_a
from detectors.multivariate.permutation import labels, rank_p
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Sample, SingleArray, View

FREQUENCIES = 96
BANDWIDTHS = 4
"""Bandwidths of the random features, from half the 5 % quantile of distances to twice the 95 % quantile."""
MOST_ROWS = 4096
STEPS = 4
PENALTY = 1.0
"""Ridge on weights of features of unit length, for losses summed over rows."""
MOST_LINEAR = 256
"""Dimensions that enter as they are; of more only the random features do."""


class ClassifierFixed(NamedTuple):
    """Feature map: ``centre (d,)``, ``scale (d,)``, ``frequencies (d, F)``; half A's ``features (n, D)``, strata."""

    centre: SingleArray
    scale: SingleArray
    frequencies: SingleArray
    features: SingleArray
    strata: IntArray


class Model(NamedTuple):
    """Weights ``(D,)`` and the intercept: larger is more like the window."""

    weight: FloatArray
    intercept: float


@dataclass(frozen=True, slots=True)
class ClassifierTwoSample:
    """Catalogue entry; extra gives the held-out ``auc``."""

    draws: int = 299
    name: str = "classifier_two_sample"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> ClassifierFixed:
        """Draw the feature map from half A and keep half A's features."""
        mine = half_a(view)
        rows = binned.learnt(view)
        strata = view.sample.strata[mine].astype(np.int64) if len(mine) > 1 else np.zeros(len(rows), np.int64)
        made = feature_map(rows, rng)
        some = np.sort(rng.choice(len(rows), min(len(rows), MOST_ROWS), replace=False))
        return made._replace(features=features(made, rows[some]), strata=strata[some])

    def score(self, fixed: ClassifierFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window: train on its odd bins, test on its even ones."""
        bins = bins_of(view, sample)
        if bins.few:
            return binned.few(bins)
        trained = train(fixed, sample, bins)
        even = bins.window_rows[::2]
        flat = [predict(fixed, trained, sample.rows[even.reshape(-1)])]
        flat.append(predict(fixed, trained, view.sample.rows[bins.reference_rows.reshape(-1)]))
        rank = mid_ranks(np.concatenate(flat))
        contrast = labels(bins.window_strata[::2], bins.reference_strata, self.draws, rng)
        line = rank.reshape(-1, even.shape[1]).mean(axis=1) @ contrast / len(rank)
        return Outcome(float(0.5 + line[0]), math.log(rank_p(line)), bins.n, extra={"auc": float(0.5 + line[0])})


def feature_map(rows: SingleArray, rng: np.random.Generator) -> ClassifierFixed:
    """Draw the features from rows ``(n, d)``; it holds no rows yet."""
    centre, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)
    width = np.repeat(kernels.geometric(kernels.pairs(rows, rng), BANDWIDTHS), FREQUENCIES // BANDWIDTHS)
    frequencies = (rng.standard_normal((rows.shape[1], len(width))) / width).astype(np.float32)
    return ClassifierFixed(centre, scale, frequencies, rows[:0], np.zeros(0, np.int64))


def features(fixed: ClassifierFixed, rows: SingleArray) -> SingleArray:
    """Features ``(n, D)`` of unit length or so: cosines, sines and, where they are few, the dimensions themselves."""
    angle = (rows - fixed.centre) @ fixed.frequencies
    root = np.float32(1 / math.sqrt(max(angle.shape[1], 1)))
    parts = [np.cos(angle) * root, np.sin(angle) * root]
    d = rows.shape[1]
    if d <= MOST_LINEAR:
        parts.append((rows - fixed.centre) / (fixed.scale * np.float32(math.sqrt(d))))
    return np.hstack(parts)


def train(fixed: ClassifierFixed, sample: Sample, bins: Bins) -> Model:
    """Train on the window's odd bins against half A; strata weigh there as they do in the window."""
    odd = bins.window_rows[1::2].reshape(-1)[-MOST_ROWS:]
    x = np.concatenate([features(fixed, sample.rows[odd]), fixed.features])
    weight = binned.shares(fixed.strata, bins.window_strata) * len(odd)
    y = np.repeat([1.0, 0.0], [len(odd), len(fixed.features)])
    return newton(x, y, np.concatenate([np.ones(len(odd)), weight]))


def predict(fixed: ClassifierFixed, model: Model, rows: SingleArray) -> FloatArray:
    """Log odds ``(n,)`` that a row ``(n, d)`` is the window's."""
    out: FloatArray = features(fixed, rows) @ model.weight + model.intercept
    return out


def mid_ranks(values: FloatArray) -> FloatArray:
    """Ranks from 1; ties share their mean."""
    ordered = np.sort(values)
    low, high = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    rank: FloatArray = (low + high + 1) / 2
    return rank


def newton(
    x: SingleArray, y: FloatArray, weight: FloatArray, ridge: float = PENALTY, start: Model | None = None
) -> Model:
    """Penalised logistic regression of ``y (n,)`` on ``x (n, D)`` in a few Newton steps, from 0 or from ``start``."""
    x = np.hstack([x, np.ones((len(x), 1), np.float32)])
    penalty = np.full(x.shape[1], ridge)
    penalty[-1] = 1e-6
    beta = np.zeros(x.shape[1]) if start is None else np.append(start.weight, start.intercept)
    for _ in range(STEPS):
        p = special.expit(x @ beta)
        curve = (weight * np.maximum(p * (1 - p), 1e-6)).astype(np.float32)
        hessian = (x.T @ (x * curve[:, None])).astype(np.float64) + np.diag(penalty)
        slope = x.T @ (weight * (y - p)) - penalty * beta
        beta = beta + np.linalg.solve(hessian, slope)
    return Model(beta[:-1], float(beta[-1]))
