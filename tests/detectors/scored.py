"""Rows of models whose chances are known: two classes, many classes, numbers."""

from __future__ import annotations

import numpy as np
from scipy import special

from detectors.performance.types import Outcomes
from detectors.types import FloatArray, SingleArray


def two(n: int, rng: np.random.Generator, *, mean: float = 0.0, bend: float = 1.0) -> tuple[Outcomes, SingleArray]:
    """Five inputs, of which two matter; ``mean`` moves the first, scores are too sure by ``bend``."""
    x = rng.standard_normal((n, 5))
    x[:, 0] += mean
    odds = 1.2 * (x[:, 0] + x[:, 1] - 0.3)
    truth = (rng.random(n) < special.expit(odds)).astype(np.int64)
    score = special.expit(bend * odds)
    return Outcomes("binary", (score >= 0.5).astype(np.int64), score, None, truth), x.astype(np.float32)


def many(n: int, k: int, rng: np.random.Generator, share: FloatArray | None = None) -> Outcomes:
    """Classes as frequent as ``share (k,)`` say; scores are the chances for classes that are equally frequent."""
    share = np.full(k, 1 / k) if share is None else share
    truth = rng.choice(k, n, p=share)
    odds = rng.standard_normal((n, k))
    odds[np.arange(n), truth] += 2.0
    p = special.softmax(2.0 * odds, axis=1)  # the likelihood ratio of N(2, 1) to N(0, 1) is exp(2 z - 2)
    return Outcomes("multiclass", p.argmax(axis=1), None, p, truth)


def numbers(n: int, rng: np.random.Generator, *, mean: float = 0.0) -> tuple[Outcomes, SingleArray]:
    """A regression whose errors have a standard deviation of 0.2 + |first input|."""
    x = rng.standard_normal((n, 3))
    x[:, 0] += mean
    truth = 10 + x[:, 1] + (0.2 + np.abs(x[:, 0])) * rng.standard_normal(n)
    return Outcomes("regression", 10 + x[:, 1], None, None, truth), x.astype(np.float32)


def take(outcomes: Outcomes, which: np.ndarray) -> Outcomes:
    """Some rows."""
    score, p = outcomes.score, outcomes.probabilities
    return outcomes._replace(
        prediction=outcomes.prediction[which],
        score=None if score is None else score[which],
        probabilities=None if p is None else p[which],
        truth=outcomes.truth[which],
    )
