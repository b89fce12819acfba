"""What to label next: rows are drawn with the odds stated, and estimates are unbiased whatever was predicted."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from detectors.slices import sampling
from detectors.types import FloatArray


class Rows(NamedTuple):
    """Predicted chance to be wrong, distance of the predictors, and what is true."""

    wrong: FloatArray
    apart: FloatArray
    truth: FloatArray


def rows(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    p = rng.beta(0.3, 2.0, n)
    return Rows(p, np.abs(0.05 * rng.standard_normal(n)), (rng.random(n) < p).astype(np.float64))


PREDICTED: dict[str, Callable[[FloatArray], FloatArray]] = {
    "good": lambda p: p,
    "none": lambda p: np.full(len(p), np.nan),
    "constant": lambda p: np.full(len(p), 0.1),
    "wrong": lambda p: 1 - p,
    "sure and wrong": lambda p: np.zeros(len(p)),
}


@pytest.mark.parametrize("name", PREDICTED)
def test_estimates_are_unbiased_and_intervals_cover_whatever_was_predicted(name: str) -> None:
    some, rng = rows(4_000, 0), np.random.default_rng(1)
    truth, got, covered = some.truth.mean(), [], 0
    for _ in range(300):
        drawn = sampling.draw(PREDICTED[name](some.wrong), some.apart, 200, rng)
        said = sampling.estimate(drawn, some.truth[drawn.rows])
        got.append(said.horvitz_thompson.value)
        covered += said.hajek.low <= truth <= said.hajek.high
    assert np.mean(got) == pytest.approx(truth, abs=4 * float(np.std(got)) / 300**0.5)
    assert covered >= 270


def test_rows_are_drawn_with_the_odds_that_are_stated() -> None:
    some, rng = rows(300, 2), np.random.default_rng(3)
    counts, stated = np.zeros(300), np.zeros(300)
    for _ in range(2_000):
        drawn = sampling.draw(some.wrong, some.apart, 60, rng)
        assert len(drawn.rows) == 60
        counts[drawn.rows] += 1
        stated[drawn.rows] = drawn.probability
    assert (stated > 0).all()
    z = (counts / 2_000 - stated) / np.sqrt(np.maximum(stated * (1 - stated), 1e-9) / 2_000)
    assert np.abs(z).max() < 4.5


def test_all_samples_of_a_small_set_together_are_exactly_right() -> None:
    y = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 2.0])
    stratum, sizes, taken = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([4, 3]), np.array([2, 2])
    said, variances = [], []
    for first in itertools.combinations(range(4), 2):
        for second in itertools.combinations(range(4, 7), 2):
            picked = np.array(first + second)
            mine = stratum[picked]
            drawn = sampling.Draw(picked, (taken / sizes)[mine], mine, sizes, taken)
            one = sampling.estimate(drawn, y[picked])
            assert one.hajek.value == pytest.approx(one.horvitz_thompson.value)
            said.append(one.horvitz_thompson.value)
            variances.append(one.hajek.error**2)
    assert np.mean(said) == pytest.approx(y.mean(), abs=1e-12)
    assert np.mean(variances) == pytest.approx(np.var(said), abs=1e-12)


def test_a_good_prediction_is_worth_labels() -> None:
    some, rng = rows(8_000, 4), np.random.default_rng(5)
    errors = []
    for wrong in (some.wrong, np.full(8_000, 0.1)):
        made = [sampling.draw(wrong, some.apart, 500, rng) for _ in range(40)]
        errors.append(np.mean([sampling.estimate(one, some.truth[one.rows]).hajek.error for one in made]))
    assert errors[0] < 0.8 * errors[1]  # 500 labels are worth 800


def test_disagreement_is_looked_at_more_closely() -> None:
    apart = np.where(np.arange(10_000) < 1_000, 0.6, 0.0)
    drawn = sampling.draw(np.full(10_000, 0.05), apart, 300, np.random.default_rng(6))
    assert drawn.probability[drawn.rows < 1_000].mean() > 2 * drawn.probability[drawn.rows >= 1_000].mean()


def test_labels_that_never_come_leave_hajek() -> None:
    some, rng = rows(4_000, 7), np.random.default_rng(8)
    got = []
    for _ in range(200):
        drawn = sampling.draw(some.wrong, some.apart, 300, rng)
        loss = np.where(rng.random(300) < 0.3, np.nan, some.truth[drawn.rows])
        said = sampling.estimate(drawn, loss)
        assert said.horvitz_thompson.reason == sampling.MISSING_LABELS
        got.append(said.hajek.value)
    assert np.mean(got) == pytest.approx(some.truth.mean(), abs=0.004)


def test_a_part_of_the_rows_has_its_own_estimate() -> None:
    some, rng = rows(6_000, 9), np.random.default_rng(10)
    part, got, covered = rng.random(6_000) < 0.3, [], 0
    for _ in range(200):
        drawn = sampling.draw(some.wrong, some.apart, 400, rng)
        said = sampling.estimate(drawn, some.truth[drawn.rows], part[drawn.rows]).hajek
        got.append(said.value)
        covered += said.low <= some.truth[part].mean() <= said.high
    assert np.mean(got) == pytest.approx(some.truth[part].mean(), abs=0.01)
    assert covered >= 178


@pytest.mark.parametrize("unit", [1.0, 1e-300, 1e290])
def test_errors_of_a_regression_may_have_any_size(unit: float) -> None:
    rng = np.random.default_rng(11)
    expected = rng.gamma(0.5, 2.0, 5_000)
    loss = expected * np.abs(rng.standard_normal(5_000))
    got = []
    for _ in range(100):
        drawn = sampling.draw(expected * unit, np.zeros(5_000), 200, rng, shares=False)
        got.append(sampling.estimate(drawn, loss[drawn.rows] * unit).horvitz_thompson.value / unit)
    assert np.mean(got) == pytest.approx(loss.mean(), abs=0.4 * float(np.std(got)))
    assert np.std(got) < 0.7 * loss.std() / np.sqrt(200)


@pytest.mark.parametrize(("n", "number"), [(0, 5), (5, 0), (1, 1), (3, 3), (7, 100), (40, 16), (100, 99)])
def test_any_number_of_any_rows(n: int, number: int) -> None:
    some = rows(n, 12)
    drawn = sampling.draw(some.wrong, some.apart, number, np.random.default_rng(0))
    assert len(drawn.rows) == min(n, number) == drawn.taken.sum()
    said = sampling.estimate(drawn, some.truth[drawn.rows])
    if n and number >= n:
        assert said.horvitz_thompson.value == pytest.approx(some.truth.mean())
        assert said.hajek.error == 0
    assert bool(said.hajek.reason) == (not len(drawn.rows))
