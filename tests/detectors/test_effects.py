"""What the shift of one column does to a figure: planted effects, columns of several features, those without any."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.performance import changes, estimate
from detectors.performance.effects import effects
from detectors.performance.trees import BINS
from tests.detectors import scored

RNG = np.random.default_rng


def test_a_large_shift_of_a_column_that_nothing_depends_on_has_no_effect_and_a_small_one_of_another_has() -> None:
    """Answers are wrong in bin 3 of the second column; the first is noise."""
    rng = RNG(0)
    old = rng.integers(0, 4, (16_000, 2)).astype(np.uint8)
    worth = np.where(old[:, 1] == 3, 0.2, 0.9) > rng.random(16_000)
    now = np.stack([np.full(4_000, 2), rng.choice(4, 4_000, p=(0.2, 0.2, 0.2, 0.4))], axis=1).astype(np.uint8)
    found = effects(old, worth.astype(np.float64), now, np.array([0, 1]), 3)
    assert found.moved[0] == pytest.approx(0.75, abs=0.02)
    assert abs(found.effect[0]) < 4 * found.error[0] < 0.04
    assert found.moved[1] == pytest.approx(0.15, abs=0.03)
    assert found.effect[1] == pytest.approx(0.15 * (0.2 - 0.9), abs=3 * found.error[1])
    assert found.effect[1] + 4 * found.error[1] < 0
    assert np.isnan([one[2] for one in found]).all()


def test_without_a_shift_effects_are_as_large_as_their_errors() -> None:
    """z of 80 windows for a column that matters: a variance outside of [0.6, 1.6] comes once in 1,000 times."""
    rng, z = RNG(1), []
    for _ in range(80):
        old, now = (rng.integers(0, 8, (n, 3)).astype(np.uint8) for n in (4_000, 1_000))
        worth = (rng.random(4_000) < 0.6 + 0.04 * old[:, 0]).astype(np.float64)
        found = effects(old, worth, now, np.arange(3), 3)
        z.append(float(found.effect[0] / found.error[0]))
    assert 0.6 < np.var(z) < 1.6


def test_features_of_one_column_are_one_column() -> None:
    rng = RNG(2)
    label = rng.integers(0, 50, 8_000)
    worth = (rng.random(8_000) < np.where(label < 25, 0.9, 0.5)).astype(np.float64)
    codes = np.stack([np.where(label < 25, label + 1, 0), np.where(label >= 25, label - 24, 0)], axis=1).astype(
        np.uint8
    )
    assert codes.max() < BINS
    now = codes[rng.choice(8_000, 4_000, p=np.where(label < 25, 0.5, 1.5) / np.where(label < 25, 0.5, 1.5).sum())]
    found = effects(codes, worth, now, np.array([0, 0]), 1)
    assert found.effect[0] == pytest.approx(-0.25 * 0.4, abs=3 * found.error[0])
    assert found.outside[0] == 0.0


def test_rows_where_the_reference_has_none_are_outside() -> None:
    old, now = np.zeros((500, 1), np.uint8), np.ones((100, 1), np.uint8)
    found = effects(old, np.ones(500), now, np.array([0]), 1)
    assert found.outside[0] == 1.0
    assert np.isfinite(found.effect[0])


def test_columns_of_a_model() -> None:
    """The third input matters not; answers are no columns; a regression's errors follow its first input."""
    rng = RNG(3)
    outcomes, rows = scored.two(12_000, rng)
    window, now = scored.two(6_000, rng, mean=2.0)
    fixed = estimate.fit(outcomes, rng, rows)
    found = changes.effects_of(fixed, estimate.inputs(fixed, window, now), np.arange(5), 5)
    assert found.moved[0] > 0.3
    assert found.moved[2] < 0.1
    assert found.effect[0] > 3 * found.error[0]
    assert abs(found.effect[2]) < 0.01
    outcomes, rows = scored.numbers(12_000, rng)
    window, now = scored.numbers(6_000, rng, mean=1.0)
    errors = estimate.fit(outcomes, rng, rows)
    found = changes.effects_of(errors, estimate.inputs(errors, window, now), np.full(3, -1), 3)
    assert np.isnan(found.effect).all()
    found = changes.effects_of(errors, estimate.inputs(errors, window, now), np.arange(3), 3)
    assert found.effect[0] > 0.1 > abs(found.effect[1])
