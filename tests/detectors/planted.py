"""Windows with planted shifts, of which it is known by how much each changes the figure: by rows without number."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from detectors.performance import changes, estimate
from detectors.performance.decompose import Change
from detectors.performance.types import Figure, Outcomes
from detectors.types import FloatArray, SingleArray
from tests.detectors import scored

MANY = 300_000


class Planted(NamedTuple):
    """Rows of a window, and what of the accuracy's change is mix, prior and rate."""

    outcomes: Outcomes
    rows: SingleArray
    truth: tuple[float, float, float]


def accuracy(rows: Outcomes) -> float:
    return float((rows.prediction == rows.truth).mean())


@cache
def pool(mean: float = 0.0) -> tuple[Outcomes, SingleArray]:
    return scored.two(MANY, np.random.default_rng(100), mean=mean)


def flipped(outcomes: Outcomes, rows: SingleArray, rng: np.random.Generator) -> Outcomes:
    """Four in ten labels turned round where the first input is large."""
    some = (rows[:, 0] > 0.5) & (rng.random(len(rows)) < 0.4)
    return outcomes._replace(truth=np.where(some, 1 - outcomes.truth, outcomes.truth))


def drawn(rng: np.random.Generator, n: int, *, mean: float = 0.0, odds: float = 1.0, flip: bool = False) -> Planted:
    """Inputs that moved by ``mean``, or class 1 so many times as frequent beside class 0; and labels turned round."""
    whole, rows = pool(mean)
    base, weight = accuracy(pool()[0]), np.where(whole.truth == 1, odds, 1.0)
    which = rng.choice(MANY, n, p=weight / weight.sum())
    kept = whole.prediction == whole.truth
    before = float(np.average(kept, weights=weight))
    turned = flipped(whole, rows, np.random.default_rng(101))
    after = float(np.average(turned.prediction == turned.truth, weights=weight))
    mix, prior = (0.0, before - base) if odds != 1.0 else (before - base, 0.0)
    chosen = scored.take(turned if flip else whole, which)
    return Planted(chosen, rows[which], (mix, prior, after - before if flip else 0.0))


def figure(outcomes: Outcomes) -> Figure:
    share, n = accuracy(outcomes), len(outcomes.truth)
    error = (share * (1 - share) / n) ** 0.5
    return Figure("accuracy", share, share - 1.96 * error, share + 1.96 * error, error, n)


def divided(
    fixed: estimate.Fixed, outcomes: Outcomes, rows: SingleArray, reference: Outcomes | None = None, k: int = 2
) -> Change:
    """The change, with the window's labels if there is a ``reference`` to hold them against."""
    now = estimate.inputs(fixed, outcomes, rows)
    made = estimate.estimate(fixed, estimate.count(fixed, outcomes, rows), now)
    rng = np.random.default_rng(5)
    if reference is None:
        return changes.change(fixed, now, rng, shares=changes.shares_of(made))
    labels: FloatArray = np.bincount(outcomes.truth.astype(np.int64), minlength=k).astype(np.float64)
    shares = changes.shares_of(made, labels)
    told = figure(outcomes), figure(reference)
    return changes.change(fixed, now, rng, shares=shares, realised=told[0], reference=told[1])
