"""The share of a drift's energy in weak directions: unbiased, careful with noise, and what it cannot tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.multivariate import robust_share
from detectors.multivariate.robust_share import MIXED, NATURAL, NOT_ESTABLISHED, PERTURBATION, RobustShare
from detectors.types import FloatArray, View
from tests.detectors.views import sample_of, view_of

WIDTH = 12
SPREAD = np.linspace(3.0, 0.2, WIDTH)
TURN = np.linalg.qr(np.random.default_rng(5).standard_normal((WIDTH, WIDTH)))[0]
FIRST = np.where(np.arange(WIDTH) == 0, SPREAD, 0.0)
LAST = np.where(np.arange(WIDTH) == WIDTH - 1, SPREAD, 0.0)


def rows(n: int, shift: FloatArray | float, seed: int) -> FloatArray:
    made: FloatArray = (np.random.default_rng(seed).standard_normal((n, WIDTH)) * SPREAD + shift) @ TURN
    return made


@pytest.fixture(scope="module")
def view() -> View:
    return view_of(rows(4000, 0.0, seed=0), run=8)


def judged(view: View, shift: FloatArray | float, seed: int = 1, n: int = 800) -> RobustShare:
    return robust_share.robust_share(robust_share.fit(view), view, sample_of(rows(n, shift, seed), run=8))


def test_without_drift_nothing_is_established_though_the_raw_share_would_be_that_of_noise(view: View) -> None:
    seen = [judged(view, 0.0, seed) for seed in range(1, 41)]
    assert all(one.character == NOT_ESTABLISHED and math.isnan(one.share) for one in seen)
    assert abs(np.mean([one.energy for one in seen])) < 0.004  # noise alone would be 12 (1/800 + 1/4000) = .018
    assert "not established" in seen[0].sentence


@pytest.mark.parametrize(("shift", "share", "character"), [(FIRST, 0.0, NATURAL), (LAST, 1.0, PERTURBATION)])
def test_strong_and_weak_directions_are_told_apart_through_a_rotation(
    view: View, shift: FloatArray, share: float, character: str
) -> None:
    seen = judged(view, 0.5 * shift)
    assert seen.character == character
    assert seen.low <= share <= seen.high or abs(seen.share - share) < 0.02
    assert seen.energy == pytest.approx(0.25, rel=0.25)


def test_a_shift_like_the_data_is_mixed_and_its_share_is_unbiased(view: View) -> None:
    seen = [judged(view, 0.2 * SPREAD, seed) for seed in range(1, 31)]
    fixed = robust_share.fit(view)
    moved = np.square(0.2 * SPREAD @ TURN @ fixed.axes)
    true = moved[int(fixed.strong) :].sum() / moved.sum()
    assert np.mean([one.share for one in seen]) == pytest.approx(true, abs=0.03)
    assert np.mean([one.low <= true <= one.high for one in seen]) >= 0.8
    assert {one.character for one in seen} <= {MIXED, NATURAL}


def test_rows_that_depend_on_their_neighbours_are_not_taken_for_a_shift() -> None:
    def slow(n: int, seed: int) -> FloatArray:
        return np.repeat(rows(n // 32, 0.0, seed), 32, axis=0)

    view = view_of(slow(32_000, 0), run=32)
    fixed = robust_share.fit(view)
    seen = [robust_share.robust_share(fixed, view, sample_of(slow(3200, seed), run=32)) for seed in range(1, 21)]
    assert all(one.character == NOT_ESTABLISHED for one in seen)


def test_another_mix_of_strata_is_no_shift() -> None:
    def at(strata: FloatArray, seed: int) -> FloatArray:
        return rows(len(strata), 0.0, seed) + 2.0 * np.asarray(strata)[:, None]

    known, now = np.repeat([0, 1], [3200, 800]), np.repeat([0, 1], [160, 640])
    view = view_of(at(known, 0), run=8, strata=known)
    fixed = robust_share.fit(view)
    told = robust_share.robust_share(fixed, view, sample_of(at(now, 1), run=8, strata=now))
    blind = robust_share.robust_share(fixed, view, sample_of(at(now, 1), run=8))
    assert told.character == NOT_ESTABLISHED
    assert blind.character != NOT_ESTABLISHED


def test_rows_of_unknown_strata_are_left_out(view: View) -> None:
    strata = np.where(np.arange(800) < 400, 0, -1)
    window = np.concatenate([rows(400, 0.0, 1), rows(400, 5.0, 2)])
    fixed = robust_share.fit(view)
    told = robust_share.robust_share(fixed, view, sample_of(window, run=8, strata=strata))
    assert told.character == NOT_ESTABLISHED
    known = np.where(np.arange(4000) < 3200, 0, -1)
    half = robust_share.fit(view_of(view.sample.rows, run=8, strata=known))
    assert half.axes.shape == fixed.axes.shape


@pytest.mark.parametrize("n", [0, 1, 8, 56])
def test_too_few_rows_establish_nothing(view: View, n: int) -> None:
    assert judged(view, 5.0, n=n).character == NOT_ESTABLISHED


def test_views_that_do_not_vary_or_are_too_short_establish_nothing() -> None:
    for view in (view_of(np.zeros((800, 3)), run=8), view_of(rows(16, 0.0, 0), run=8)):
        window = sample_of(view.sample.rows + 1.0, run=8)
        assert robust_share.robust_share(robust_share.fit(view), view, window).character == NOT_ESTABLISHED


def test_a_column_given_twice_has_no_weak_direction_of_its_own() -> None:
    base = rows(4000, 0.0, 0)
    view = view_of(np.column_stack([base, base[:, 0]]), run=8)
    assert robust_share.fit(view).axes.shape[1] == WIDTH


def test_expected_miss_a_perturbation_without_a_mean(view: View) -> None:
    noise = rows(800, 0.0, 3) + np.random.default_rng(4).choice([-2.0, 2.0], (800, 1)) * LAST @ TURN
    seen = robust_share.robust_share(robust_share.fit(view), view, sample_of(noise, run=8))
    assert seen.character == NOT_ESTABLISHED


def test_expected_miss_an_attack_confined_to_strong_directions_looks_natural(view: View) -> None:
    gradient = np.sign(np.random.default_rng(6).standard_normal(WIDTH)) * 0.6
    assert judged(view, gradient).character == PERTURBATION
    assert judged(view, np.where(np.arange(WIDTH) < 3, gradient, 0.0)).character == NATURAL
