"""Made outcomes of every kind for the tests of realised figures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from detectors.performance.types import Kind, Outcomes
from detectors.types import IntArray


def binary(n: int, seed: int, *, sharp: float = 1.0, cut: float = 0.4) -> Outcomes:
    """Scores that are calibrated; ``sharp`` below 1: over-confident."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal(n) * 1.5 - 1
    score = 1 / (1 + np.exp(-z))
    truth = (rng.random(n) < 1 / (1 + np.exp(-sharp * z))).astype(np.int64)
    return Outcomes("binary", (score > cut).astype(np.int64), score, None, truth)


def multiclass(n: int, seed: int) -> Outcomes:
    """Four classes with calibrated probabilities, and sets of those above 0.05."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.array([1.0, 1.0, 0.5, 0.3]), n)
    truth = (p.cumsum(axis=1) > rng.random(n)[:, None]).argmax(axis=1)
    return Outcomes("multiclass", p.argmax(axis=1), None, p, truth, sets=p > 0.05)


def regression(n: int, seed: int) -> Outcomes:
    """Errors of 0.3 around a truth of 5 and 1, intervals of 90 %."""
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(n) + 5
    said = truth + 0.3 * rng.standard_normal(n)
    return Outcomes("regression", said, None, None, truth, low=said - 0.3 * 1.645, high=said + 0.3 * 1.645)


def ranking(n: int, seed: int) -> Outcomes:
    """Queries of ten rows."""
    rng = np.random.default_rng(seed)
    gain = rng.integers(0, 4, n).astype(np.float64)
    score = np.round(gain + rng.standard_normal(n), 1)
    return Outcomes("ranking", score, score, None, gain, group=np.arange(n) // 10)


MADE: dict[Kind, Callable[[int, int], Outcomes]] = {
    "binary": binary,
    "multiclass": multiclass,
    "regression": regression,
    "ranking": ranking,
}


def take(outcomes: Outcomes, which: IntArray | slice) -> Outcomes:
    """Some rows."""
    columns: list[Any] = [None if one is None else one[which] for one in outcomes[1:]]
    return Outcomes(outcomes.kind, *columns)
