"""Performance below expectation: next to never where it is not, however few the rows, and soon where it is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from scipy import special

from detectors.performance import realised
from detectors.performance.layout import layout
from detectors.performance.tallies import tally
from detectors.performance.types import Outcomes
from monitor.outcomes.expectation import below_confirmed

LENGTH = 10_000.0
LOSS = 0.02


def answers(rng: np.random.Generator, n: int, rate: float, turned: float = 0.0) -> Outcomes:
    """Honest scores with so many positives; of ``turned`` rows the label is the other one."""
    score = special.expit(1.8 * rng.normal(size=n) + special.logit(rate))
    truth = (rng.random(n) < score) ^ (rng.random(n) < turned)
    return Outcomes("binary", (score >= 0.5).astype(np.int64), score, None, truth.astype(np.int64))


@pytest.mark.parametrize("rate", [0.5, 0.02])
@pytest.mark.parametrize("n", [3, 30, 300])
def test_as_good_as_the_reference_is_not_below(rate: float, n: int) -> None:
    """Windows of few rows and of few positives, where a figure of 0 or 1 is nothing odd: none of 600 is told."""
    rng = np.random.default_rng([n, int(1_000 * rate)])
    first = answers(rng, 20_000, rate)
    made = layout(first, 2)
    reference = realised.figures(made, tally(made, first))
    told: Counter[str] = Counter()
    for _ in range(600):
        found = realised.figures(made, tally(made, answers(rng, n, rate)))
        told.update(name for name, worse in below_confirmed(found, reference, LENGTH, LOSS).items() if worse)
    assert not told


@pytest.mark.parametrize(("rate", "n", "name"), [(0.5, 300, "accuracy"), (0.5, 300, "auroc"), (0.02, 300, "accuracy")])
def test_a_large_loss_is_told_soon(rate: float, n: int, name: str) -> None:
    rng = np.random.default_rng(7)
    first = answers(rng, 20_000, rate)
    made = layout(first, 2)
    reference = realised.figures(made, tally(made, first))
    found = [realised.figures(made, tally(made, answers(rng, n, rate, turned=0.4))) for _ in range(20)]
    assert sum(below_confirmed(one, reference, LENGTH, LOSS)[name] for one in found) >= 18


def test_a_reference_of_few_rows_holds_nothing_against_anybody() -> None:
    rng = np.random.default_rng(1)
    first = answers(rng, 20, 0.5)
    made = layout(first, 2)
    reference = realised.figures(made, tally(made, first))
    found = realised.figures(made, tally(made, answers(rng, 5_000, 0.5, turned=0.5)))
    assert not any(below_confirmed(found, reference, LENGTH, LOSS).values())
