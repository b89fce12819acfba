"""Boosted trees: what they learn, that they learn nothing from noise, and that a row is judged by what never saw it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from detectors.performance import trees


def made(rows: np.ndarray, unit: np.ndarray | None = None) -> tuple[trees.Binner, trees.Codes]:
    rows = rows.astype(np.float32)
    how = trees.binner(rows, np.full(rows.shape[1], -1) if unit is None else unit)
    return how, trees.codes(how, rows)


def test_interactions_are_learnt_on_rows_left_out() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((12_000, 6))
    y = np.where((x[:, 0] > 0) & (x[:, 1] < 0.5), 2.0, 0.0) + 0.5 * rng.standard_normal(12_000)
    how, binned = made(x)
    said = trees.left_out(trees.crossed(how, binned, y, np.ones(12_000), "squared"), binned)
    assert np.square(y - said).mean() < 0.25 * 1.2  # 0.25 is the noise; 0 and 0.5 lie inside of bins
    assert np.square(y - y.mean()).mean() > 1


def test_log_odds_are_calibrated_on_rows_left_out() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((16_000, 4))
    odds = x[:, 0] - 0.5 * np.abs(x[:, 1])
    y = (rng.random(16_000) < special.expit(odds)).astype(np.float64)
    how, binned = made(x)
    said = trees.left_out(trees.crossed(how, binned, y, np.ones(16_000), "logistic"), binned)
    assert np.corrcoef(said, odds)[0, 1] > 0.94
    assert special.expit(said).mean() == pytest.approx(y.mean(), abs=0.02)


def test_noise_teaches_next_to_nothing() -> None:
    rng = np.random.default_rng(3)
    how, binned = made(rng.standard_normal((6_000, 10)))
    y = rng.standard_normal(6_000)
    said = trees.left_out(trees.crossed(how, binned, y, np.ones(6_000), "squared"), binned)
    assert np.square(y - said).mean() < np.square(y).mean() * 1.01


def test_dimensions_of_one_column_become_one_feature() -> None:
    rng = np.random.default_rng(4)
    category = rng.integers(0, 6, 8_000)
    rows = np.hstack([(category[:, None] == np.arange(5)) * 1.0, rng.standard_normal((8_000, 1))])
    how, binned = made(rows, np.array([3, 3, 3, 3, 3, -1]))
    assert binned.shape[1] == 2
    assert len(np.unique(binned[:, 0])) == 6
    y = np.array([5.0, -1.0, 3.0, 0.0, 8.0, 2.0])[category]
    said = trees.left_out(trees.crossed(how, binned, y, np.ones(8_000), "squared"), binned)
    assert np.abs(y - said).max() < 0.6


def test_equal_rows_are_in_one_fold() -> None:
    rng = np.random.default_rng(5)
    _, binned = made(rng.integers(0, 3, (5_000, 2)))
    fold = trees.folds(binned)
    for one in np.unique(binned, axis=0):
        assert len(set(fold[(binned == one).all(axis=1)].tolist())) == 1


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_rows_that_are_all_equal_or_none_at_all_give_their_mean(loss: trees.Loss) -> None:
    for n in (0, 1, 400):
        how, binned = made(np.ones((n, 3)))
        y = np.resize([0.0, 1.0, 1.0, 1.0], n)
        said = trees.left_out(trees.crossed(how, binned, y, np.ones(n), loss), binned)
        assert said.shape == (n,)
        if n == 400:
            value = special.expit(said) if loss == "logistic" else said
            np.testing.assert_allclose(value, 0.75, atol=1e-6)


def test_what_is_said_of_a_row_depends_on_that_row_alone() -> None:
    rng = np.random.default_rng(6)
    how, binned = made(rng.standard_normal((3_000, 5)))
    pair = trees.crossed(how, binned, rng.standard_normal(3_000) + binned[:, 0], np.ones(3_000), "squared")
    whole = trees.both(pair, binned)
    parts = np.concatenate([trees.both(pair, part) for part in np.array_split(binned, 7)])
    np.testing.assert_array_equal(whole, parts)
