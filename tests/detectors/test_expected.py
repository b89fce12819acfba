"""Expected figures against labels that are drawn, and their slopes against small differences."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.performance import calibrate, cbpe, expected
from detectors.performance.expected import Cells
from detectors.types import FloatArray, IntArray
from tests.detectors import scored


def realised(name: str, score: FloatArray, prediction: IntArray, truth: IntArray) -> float:
    """Figures of single rows, by their definitions; scores are all different."""
    tp = float(((prediction == 1) & (truth == 1)).sum())
    order = np.argsort(-score)
    hits = np.cumsum(truth[order])
    rank = np.empty(len(score))
    rank[order[::-1]] = np.arange(1, len(score) + 1)
    real = truth.sum()
    found: dict[str, float] = {
        "accuracy": float((prediction == truth).mean()),
        "precision": tp / prediction.sum(),
        "recall": tp / real,
        "f1": 2 * tp / (prediction.sum() + real),
        "auroc": float((rank[truth == 1].sum() - real * (real + 1) / 2) / (real * (len(score) - real))),
        "average_precision": float((hits / np.arange(1, len(score) + 1))[truth[order] == 1].mean()),
        "log_loss": float(-np.log(np.where(truth == 1, score, 1 - score)).mean()),
        "brier": float(np.square(score - truth).mean()),
    }
    return found[name]


def small() -> Cells:
    """Six cells of two predictions with uneven rows."""
    rng = np.random.default_rng(3)
    n = rng.integers(0, 30, (1, 2, 6)).astype(np.float64)
    s = np.sort(rng.uniform(0.05, 0.95, 6))
    sums = n[:, :, None] * np.stack([s, s * s, np.log(s), np.log(1 - s)])[None, None]
    return Cells(n, sums, rng.uniform(0.1, 0.9, (1, 2, 6)))


@pytest.mark.parametrize("name", expected.BINARY)
def test_slope_is_the_derivative_by_each_chance(name: str) -> None:
    cells, step = small(), 1e-6
    slope = expected.figure(name, cells, many=False).slope
    for at in np.ndindex(cells.p.shape):
        up, down = cells.p.copy(), cells.p.copy()
        up[at] += step
        down[at] -= step
        high, low = (expected.figure(name, cells._replace(p=p), many=False).value[0] for p in (up, down))
        assert slope[at] == pytest.approx((high - low) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("name", expected.MANY)
def test_slope_of_many_classes_is_the_derivative_too(name: str) -> None:
    one, step = small(), 1e-6
    cells = Cells(*(np.concatenate([part, part[:, ::-1]]) for part in one))
    slope = expected.figure(name, cells, many=True).slope
    for at in ((0, 0, 2), (0, 1, 4), (1, 1, 0), (1, 0, 5)):
        up, down = cells.p.copy(), cells.p.copy()
        up[at] += step
        down[at] -= step
        high, low = (expected.figure(name, cells._replace(p=p), many=True).value[at[0]] for p in (up, down))
        assert slope[at] == pytest.approx((high - low) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("name", expected.BINARY)
def test_labels_that_are_drawn_scatter_around_the_expected_figure_by_the_floor(name: str) -> None:
    rng = np.random.default_rng(5)
    reference, _ = scored.two(200_000, rng)
    scale, known = calibrate.fit(reference)
    window, _ = scored.two(1_000, rng)
    assert window.score is not None
    cells = calibrate.cells(scale, calibrate.tally(scale, window))
    guess = cbpe.guesses(scale, cells, cbpe.reference_noise(scale, known), cbpe.anchor(scale, known))[name]
    drawn = np.array(
        [
            realised(name, window.score, window.prediction.astype(np.int64), (rng.random(1_000) < window.score) * 1)
            for _ in range(600)
        ]
    )
    # 600 draws know their mean to 4 % and their spread to 3 % of it; the chances of 200,000 rows add the guess's error
    assert guess.value == pytest.approx(drawn.mean(), abs=4 * (guess.error + drawn.std() / np.sqrt(600)))
    assert guess.floor == pytest.approx(drawn.std(), rel=0.13)


def test_figures_that_rows_do_not_define_are_not_numbers() -> None:
    cells = small()
    empty = cells._replace(n=cells.n * 0, sums=cells.sums * 0)
    for name in ("accuracy", "precision", "recall", "f1", "auroc", "average_precision"):
        made = expected.figure(name, empty, many=False)
        assert np.isnan(made.value).all()
        assert np.isfinite(made.slope).all()
    nobody = cells._replace(n=cells.n * np.array([1.0, 0.0])[:, None])
    assert np.isnan(expected.figure("precision", nobody, many=False).value).all()


def test_equal_scores_rank_by_half() -> None:
    n = np.array([[[0.0, 0.0], [40.0, 0.0]]])
    cells = Cells(n, np.zeros((1, 2, 4, 2)), np.full((1, 2, 2), 0.3))
    assert expected.figure("auroc", cells, many=False).value[0] == pytest.approx(0.5)
