"""Which reference rows speak for an answer: against retraining, with wrong labels, with bad input."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy import optimize, stats

from detectors import influence
from detectors.types import FloatArray, IntArray

CLASSES, WIDTH, ROWS, RIDGE = 3, 5, 300, 0.01


class Model(NamedTuple):
    """Embeddings, labels and probabilities of rows, and the last layer that gave these."""

    z: FloatArray
    y: IntArray
    p: FloatArray
    weights: FloatArray


def probabilities(z: FloatArray, weights: FloatArray) -> FloatArray:
    logits = np.column_stack([z, np.ones(len(z))]) @ weights
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    p: FloatArray = raised / raised.sum(axis=1, keepdims=True)
    return p


def trained(z: FloatArray, y: IntArray) -> FloatArray:
    x = np.column_stack([z, np.ones(len(z))])

    def loss(flat: FloatArray) -> tuple[float, FloatArray]:
        p = probabilities(z, flat.reshape(-1, CLASSES))
        value = -np.log(p[np.arange(len(y)), y]).mean() + RIDGE / 2 * (flat @ flat)
        return float(value), (x.T @ (p - np.eye(CLASSES)[y]) / len(y)).ravel() + RIDGE * flat

    done = optimize.minimize(loss, np.zeros(x.shape[1] * CLASSES), jac=True, method="L-BFGS-B")
    weights: FloatArray = done.x.reshape(-1, CLASSES)
    return weights


def rows(rng: np.random.Generator, n: int, apart: float = 1.5) -> tuple[FloatArray, IntArray]:
    y = rng.integers(0, CLASSES, n)
    return rng.standard_normal((n, WIDTH)) + apart * np.eye(CLASSES, WIDTH)[y], y


@pytest.fixture(scope="module")
def model() -> Model:
    z, y = rows(np.random.default_rng(0), ROWS)
    weights = trained(z, y)
    return Model(z, y, probabilities(z, weights), weights)


def test_scores_rank_what_retraining_without_rows_does(model: Model) -> None:
    rng = np.random.default_rng(1)
    z, y = rows(rng, 20)
    scores = influence.attribution(influence.fit(model.z, model.p, model.y), z, probabilities(z, model.weights), y)
    halves = np.stack([rng.permutation(ROWS) < ROWS // 2 for _ in range(60)])
    p = np.stack([probabilities(z, trained(model.z[half], model.y[half]))[np.arange(20), y] for half in halves])
    margins = np.log(p) - np.log1p(-p)
    ranks = [stats.spearmanr(halves @ scores[i], margins[:, i])[0] for i in range(20)]
    assert np.mean(ranks) > 0.85


def test_rows_with_wrong_labels_do_the_most_harm() -> None:
    rng = np.random.default_rng(2)
    (z, y), wrong = rows(rng, ROWS, apart=3.0), np.arange(ROWS) < ROWS // 20
    given = np.where(wrong, (y + 1) % CLASSES, y)
    weights = trained(z, given)
    trusted, right = rows(rng, 200, apart=3.0)
    fixed = influence.fit(z, probabilities(z, weights), given)
    harm = -influence.attribution(fixed, trusted, probabilities(trusted, weights), right).mean(axis=0)
    assert stats.mannwhitneyu(harm[wrong], harm[~wrong]).statistic / (wrong.sum() * (~wrong).sum()) > 0.95


def test_more_classes_and_dimensions_than_parameters_are_reduced() -> None:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 100, 500)
    z = rng.standard_normal((500, 50)) + rng.standard_normal((100, 50))[y]
    p = rng.dirichlet(np.full(100, 0.1), 500)
    fixed = influence.fit(z, p, y)
    assert fixed.solved.shape == (500, influence.MOST_PARAMETERS)
    assert np.isfinite(influence.attribution(fixed, z[:3], p[:3], y[:3])).all()


def test_rows_that_lack_anything_take_no_part_and_the_others_are_told_the_same(model: Model) -> None:
    z, y, p = model.z.copy(), model.y.copy(), model.p.copy()
    z[0, 0], p[1], y[2], z[3] = np.nan, np.nan, -1, 1e308
    fixed, clean = influence.fit(z, p, y), influence.fit(z[4:], p[4:], y[4:])
    assert not fixed.solved[:4].any()
    np.testing.assert_array_equal(fixed.solved[4:], clean.solved)
    scores = influence.attribution(fixed, z[:5], p[:5], y[:5])
    assert np.isnan(scores[:4]).all()
    assert np.isfinite(scores[4]).all()


def test_without_any_usable_row_there_is_nothing_to_measure() -> None:
    for n in (0, 3):
        with pytest.raises(ValueError, match="no reference row"):
            influence.fit(np.zeros((n, 2)), np.full((n, 2), 0.5), np.full(n, -1))


def test_answers_that_are_certain_and_one_row_give_finite_scores() -> None:
    fixed = influence.fit(np.ones((1, 2)), [[1.0, 0.0]], [0])
    assert np.isfinite(influence.attribution(fixed, np.ones((1, 2)), [[1.0, 0.0]], [0])).all()


def test_exemplars_support_or_oppose_by_sign() -> None:
    scores = np.array([[0.5, -0.2, 0.0, 0.9], [np.nan] * 4])
    found = influence.exemplars(scores, 3)
    assert found.supporting.tolist() == [[3, 0, -1], [-1, -1, -1]]
    assert found.opposing.tolist() == [[1, -1, -1], [-1, -1, -1]]


def test_expected_miss_wrong_labels_that_the_model_learnt_by_heart(model: Model) -> None:
    given = np.where(np.arange(ROWS) < ROWS // 20, (model.y + 1) % CLASSES, model.y)
    by_heart = np.full((ROWS, CLASSES), 1e-9)
    by_heart[np.arange(ROWS), given] = 1.0
    p = np.where(np.arange(ROWS)[:, None] < ROWS // 20, by_heart, model.p)
    z, y = rows(np.random.default_rng(4), 200)
    harm = -influence.attribution(influence.fit(model.z, p, given), z, probabilities(z, model.weights), y).mean(axis=0)
    assert (harm[: ROWS // 20] < np.quantile(harm, 0.9)).all()
