"""Smoothing: bounds hold at their level and match published numbers, moves are small, missing answers stay missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from detectors import smoothing
from detectors.maths import binomial


@pytest.mark.parametrize(("draws", "radius"), [(100, 1.50), (1_000, 2.46), (10_000, 3.20), (100_000, 3.81)])
def test_unanimous_draws_certify_the_published_radius(draws: int, radius: float) -> None:
    counts = np.array([0, draws])
    sure = smoothing.certify(counts, counts, 1.0)
    assert sure.radius == pytest.approx(radius, abs=0.005)
    assert (sure.top, sure.abstains) == (1, False)


@pytest.mark.parametrize(("radius", "draws"), [(0.5, 19), (1.0, 40), (1.5, 100), (2.0, 301), (2.5, 1_109)])
def test_as_many_draws_as_are_said_certify_a_radius_and_one_less_does_not(radius: float, draws: int) -> None:
    enough, few = (np.array([0, number]) for number in (draws, draws - 1))
    assert smoothing.certify(few, few, 1.0).radius < radius <= smoothing.certify(enough, enough, 1.0).radius


def test_the_bound_is_clopper_and_pearson_s() -> None:
    # Cohen et al.: lower end of statsmodels' proportion_confint(k, n, 2 alpha, "beta"); here its defining equation
    low = float(binomial.lower(90, 100, 0.001))
    assert math.exp(float(binomial.log_tail(90, 100, low))) == pytest.approx(0.001, rel=1e-6)
    high = float(binomial.upper(90, 100, 0.001))
    assert 1 - math.exp(float(binomial.log_tail(91, 100, high))) == pytest.approx(0.001, rel=1e-6)
    assert (float(binomial.lower(0, 0, 0.05)), float(binomial.upper(0, 0, 0.05))) == (0.0, 1.0)
    assert float(binomial.upper(0, 300, 0.05)) == pytest.approx(3 / 300, rel=0.01)  # the rule of three


def test_the_bound_covers_at_its_level() -> None:
    rng = np.random.default_rng(0)
    hits = rng.binomial(200, 0.7, 20_000)
    assert (binomial.lower(hits, 200, 0.05) > 0.7).mean() <= 0.05


def test_the_radius_of_a_linear_model_is_below_its_margin_and_near_it() -> None:
    rng = np.random.default_rng(1)
    weights, x, sigma = np.array([3.0, 4.0]), np.array([[0.1, 0.2]]), 0.25
    margin = float((x @ weights)[0]) / 5.0
    radii = []
    for _ in range(40):
        votes = (smoothing.noisy(x, np.array(sigma), 2_200, rng)[:, 0] @ weights > 0).astype(int)
        counts = [np.bincount(some, minlength=2) for some in (votes[:200], votes[200:])]
        radii.append(smoothing.certify(counts[0], counts[1], sigma).radius)
    assert max(radii) < margin
    assert np.mean(radii) > 0.8 * margin


def test_too_few_or_divided_votes_abstain() -> None:
    assert smoothing.certify(np.array([6, 4]), np.array([55, 45]), 1.0).abstains
    assert smoothing.certify(np.array([6, 4]), np.array([0, 0]), 1.0).radius == 0.0


def test_moves_are_small_and_keep_range_and_shape() -> None:
    rng = np.random.default_rng(2)
    images = rng.random((3, 9, 7, 2)).astype(np.float32)
    copies = smoothing.moved(images)
    assert copies.shape == (len(smoothing.MOVES), 3, 9, 7, 2)
    assert copies.dtype == np.float32
    assert copies.min() >= images.min() - 1e-6
    assert copies.max() <= images.max() + 1e-6
    flat = np.full((1, 9, 7, 2), 0.3, np.float32)
    np.testing.assert_allclose(smoothing.moved(flat), 0.3, rtol=1e-6)
    np.testing.assert_array_equal(copies[2][:, :-1], images[:, 1:])  # up
    np.testing.assert_array_equal(copies[5][:, :, 1:], images[:, :, :-1])  # right


def test_turning_there_and_back_is_nearly_nothing() -> None:
    down, right = np.mgrid[:28, :28] / 28
    smooth = np.sin(3 * down + 2 * right).astype(np.float32)[None, :, :, None]
    there = smoothing.moved(smooth)[0]
    back = smoothing.moved(there)[1]
    assert np.abs(there - smooth)[0, 4:-4, 4:-4].mean() > 0.01
    assert np.abs(back - smooth)[0, 4:-4, 4:-4].max() < 0.01


def test_stability_tells_a_boundary_from_a_plain() -> None:
    rng = np.random.default_rng(3)
    rows, weights = np.array([[0.02, 0.0], [3.0, 3.0]]), np.array([1.0, 1.0])

    def model(x: np.ndarray) -> np.ndarray:
        p = special.expit(4 * (x @ weights))
        return np.stack([1 - p, p], axis=-1)

    found = smoothing.stability(model(rows), model(smoothing.noisy(rows, np.array([0.1, 0.1]), 64, rng)))
    assert found.kept[0] < 0.8 < found.kept[1]
    assert found.change[0] > 0.1 > found.change[1]
    assert (found.worst >= found.change).all()


def test_noise_leaves_columns_without_scale_alone_and_missing_answers_are_missing() -> None:
    rows = np.array([[1.0, 2.0]])
    copies = smoothing.noisy(rows, np.array([0.0, 1.0]), 5, np.random.default_rng(4))
    assert (copies[:, 0, 0] == 1).all()
    assert len(set(copies[:, 0, 1])) == 5
    gone = smoothing.stability(np.array([[np.nan, 1.0], [0.5, 0.5]]), np.full((3, 2, 2), 0.5))
    assert np.isnan(gone.kept).tolist() == [True, False]
    assert np.isnan(smoothing.stability(np.zeros((2, 2)), np.zeros((0, 2, 2))).kept).all()


def test_expected_miss_the_radius_says_nothing_of_the_model_that_is_served() -> None:
    """A needle that flips the served answer next to the input moves no vote."""
    rng = np.random.default_rng(5)
    x = np.zeros((1, 20))

    def served(rows: np.ndarray) -> np.ndarray:
        needle = np.abs(rows - 0.01).max(axis=-1) < 1e-6
        return np.where(needle, 1, 0)

    votes = served(smoothing.noisy(x, np.array(0.5), 1_000, rng)[:, 0])
    counts = np.bincount(votes, minlength=2)
    assert smoothing.certify(counts, counts, 0.5).radius > 1.0
    assert served(x + 0.01) != served(x)
    assert "not the model that is served" in smoothing.CERTIFIES
