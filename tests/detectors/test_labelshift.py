"""Shares of the classes from scores: right, as sure as they say, and not taken for other shifts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from detectors.performance import calibrate, labelshift
from detectors.performance.labelshift import Looks, Shift
from detectors.performance.types import Outcomes
from tests.detectors import scored


def measured(reference: Outcomes) -> tuple[calibrate.Scale, calibrate.Known, Looks]:
    scale, known = calibrate.fit(reference)
    look = labelshift.looks(scale, known)
    assert look is not None
    return scale, known, look


def judged(scale: calibrate.Scale, look: Looks, window: Outcomes) -> Shift:
    return labelshift.mlls(look, labelshift.counts(scale, calibrate.tally(scale, window)))


def reweighted(rows: Outcomes, factor: float, number: int, rng: np.random.Generator) -> Outcomes:
    weight = np.where(rows.truth == 1, factor, 1.0)
    return scored.take(rows, rng.choice(len(weight), number, p=weight / weight.sum()))


def test_shares_of_two_classes_are_found_and_as_sure_as_they_say() -> None:
    """60 windows: a standard deviation of z within 30 % of 1 is missed once in 1,000 times."""
    rng = np.random.default_rng(1)
    z, off = [], []
    for _ in range(60):
        scale, _, look = measured(scored.two(4_000, rng)[0])
        pool = scored.two(20_000, rng)[0]
        factor = rng.uniform(0.2, 4)
        share = factor * pool.truth.mean() / (factor * pool.truth.mean() + 1 - pool.truth.mean())
        found = judged(scale, look, reweighted(pool, factor, 2_000, rng))
        off.append(found.share[1] - share)
        z.append(off[-1] / np.sqrt(found.covariance[1, 1]))
    assert np.abs(off).mean() < 0.025
    assert 0.7 < np.std(z) < 1.3
    assert abs(np.mean(z)) < 0.5


def test_shares_of_many_classes_are_found_and_as_sure_as_they_say() -> None:
    rng = np.random.default_rng(2)
    scale, known, look = measured(scored.many(8_000, 4, rng))
    z = []
    for _ in range(30):
        share = rng.dirichlet(np.full(4, 3.0))
        window = scored.many(2_000, 4, rng, share)
        found = judged(scale, look, window)
        z += ((found.share - share) / np.sqrt(np.diag(found.covariance))).tolist()
        inverted = labelshift.bbse(look, scale, calibrate.tally(scale, window), known)
        np.testing.assert_allclose(inverted, share, atol=0.09)
        assert found.share.sum() == pytest.approx(1)
    assert 0.7 < np.std(z) < 1.4


def test_the_verdict_keeps_its_level_and_sees_what_there_is() -> None:
    """150 windows without shift: 7 rejections at 1 % once in 3,000 times."""
    rng = np.random.default_rng(3)
    scale, _, look = measured(scored.two(20_000, rng)[0])
    verdicts: dict[str, list[str]] = {"none": [], "label": [], "covariate": []}
    for _ in range(150):
        verdicts["none"].append(_verdict(judged(scale, look, scored.two(2_000, rng)[0])))
    for _ in range(25):
        window = reweighted(scored.two(20_000, rng)[0], rng.choice([0.3, 3.0]), 2_000, rng)
        verdicts["label"].append(_verdict(judged(scale, look, window)))
        narrow = scored.two(20_000, rng)[0]
        assert narrow.score is not None
        weight = np.square(narrow.score - 0.5)
        which = rng.choice(20_000, 2_000, p=weight / weight.sum())
        verdicts["covariate"].append(_verdict(judged(scale, look, scored.take(narrow, which))))
    assert verdicts["none"].count("none") >= 144
    assert verdicts["label"].count("label") >= 22
    assert verdicts["covariate"].count("covariate") == 25


def test_chances_move_as_bayes_says() -> None:
    rng = np.random.default_rng(4)
    scale, known, look = measured(scored.two(20_000, rng)[0])
    share = np.array([0.9, 0.1])
    odds = labelshift.shifted(scale, known, look, share)
    p, prior = scale.chance[0, 0], look.prior
    up, down = p * share[1] / prior[1], (1 - p) * share[0] / prior[0]
    np.testing.assert_allclose(odds.chance[0, 0], up / (up + down), rtol=1e-9)
    step = 1e-6
    nearby = labelshift.shifted(scale, known, look, share + np.array([-step, step]))
    slope = (odds.by_share[0, 0, 1] - odds.by_share[0, 0, 0]) * odds.chance[0, 0] * (1 - odds.chance[0, 0])
    np.testing.assert_allclose(slope, (nearby.chance - odds.chance)[0, 0] / step, atol=1e-4)
    same = labelshift.shifted(scale, known, look, prior)
    np.testing.assert_allclose(same.chance, scale.chance, rtol=1e-9)
    np.testing.assert_allclose(same.by_chance, 1, rtol=1e-9)


def test_a_row_of_a_model_that_is_never_wrong_is_worth_a_label_and_of_one_that_knows_nothing_none() -> None:
    rng = np.random.default_rng(5)
    worth = []
    for strength in (0.0, 1.0, 20.0):
        odds = strength * rng.standard_normal(20_000)
        score = special.expit(odds)
        truth = (rng.random(20_000) < score).astype(np.int64)
        rows = Outcomes("binary", (score > 0.5).astype(np.int64), score, None, truth)
        scale, _, look = measured(rows)
        worth.append(judged(scale, look, rows).worth)
    assert worth[0] < 0.01 < worth[1] < 0.5
    assert worth[2] > 0.85


def test_a_reference_without_one_of_the_classes_says_nothing() -> None:
    rng = np.random.default_rng(6)
    rows = scored.two(1_000, rng)[0]
    scale, known = calibrate.fit(rows._replace(truth=np.ones(1_000, np.int64)))
    assert labelshift.looks(scale, known) is None


def test_no_rows_leave_the_reference_shares() -> None:
    rng = np.random.default_rng(7)
    scale, _, look = measured(scored.two(1_000, rng)[0])
    found = labelshift.mlls(look, np.zeros(scale.chance.shape[2]))
    np.testing.assert_array_equal(found.share, look.prior)
    assert np.isnan(found.log_p_none)


def _verdict(found: Shift) -> str:
    return labelshift.verdict(found.log_p_none, found.log_p_label)
