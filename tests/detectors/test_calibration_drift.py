"""Calibration and coverage: what is over-confident is said to be, and what has not changed is left alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.performance import coverage, curves
from detectors.performance.counts import Tally
from detectors.performance.layout import Layout, layout
from detectors.performance.tallies import tally
from detectors.performance.types import Outcomes
from tests.detectors.outcomes import binary, multiclass, regression


def counted(n: int, seed: int, sharp: float = 1.0) -> Tally:
    return tally(RULER, binary(n, seed, sharp=sharp))


RULER: Layout = layout(binary(4_000, 100))


def test_the_curve_is_what_a_loop_over_the_bins_gives() -> None:
    outcomes = binary(3_000, 1)
    assert outcomes.score is not None
    found = curves.curve(tally(RULER, outcomes))
    part = np.searchsorted(RULER.bins, outcomes.score, side="right")
    some = [part == one for one in range(20)]
    assert found.weight.tolist() == [float(one.sum()) for one in some]
    assert np.allclose(found.said, [outcomes.score[one].mean() for one in some], atol=1e-8)
    assert np.allclose(found.came, [outcomes.truth[one].mean() for one in some], atol=1e-12)
    assert ((found.low <= found.came) & (found.came <= found.high)).all()
    plain = sum(abs(outcomes.score[one].mean() - outcomes.truth[one].mean()) * one.mean() for one in some)
    assert curves.ece(tally(RULER, outcomes)).value == pytest.approx(plain, abs=1e-8)


def test_calibrated_scores_may_be_calibrated() -> None:
    """One in forty lower ends at most is above 0: of 100 more than 12 once in a million."""
    found = [curves.calibration(RULER, counted(500, seed)) for seed in range(100)]
    assert sum(one.ece.low > 0 for one in found) <= 12
    assert abs(np.mean([one.ece.value - one.chance for one in found])) < 0.005
    assert np.mean([one.slope.value for one in found]) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("sharp", "word"), [(0.5, "over-confident"), (2.0, "under-confident")])
def test_confidence_that_is_not_borne_out_is_named(sharp: float, word: str) -> None:
    now = counted(4_000, 1, sharp)
    found, drift = curves.calibration(RULER, now), curves.drift(RULER, counted(4_000, 0), now)
    assert drift.verdict == word
    assert drift.log_p < math.log(1e-4)
    assert drift.ece.low > 0
    assert found.slope.low <= sharp <= found.slope.high
    assert (found.over.low > 0) == (sharp < 1)


def test_scores_that_are_all_too_high_are_named() -> None:
    outcomes = binary(4_000, 1)
    assert outcomes.score is not None
    now = outcomes._replace(score=np.clip(outcomes.score * 0.7, 0, 1))
    drift = curves.drift(RULER, counted(4_000, 0), tally(RULER, now))
    assert drift.bias.high < 0
    assert drift.log_p < math.log(1e-4)


def test_no_drift_is_found_where_there_is_none() -> None:
    """At 5 % of 300: more than 34 once in a million. Small windows have few rows a bin."""
    for m, n in ((4_000, 60), (4_000, 800), (500, 500)):
        found = [curves.drift(RULER, counted(m, 1_000 + seed), counted(n, seed)).log_p for seed in range(300)]
        assert sum(one < math.log(0.05) for one in found) <= 34


def test_a_changed_mix_of_scores_is_no_drift_of_calibration() -> None:
    outcomes = binary(20_000, 3)
    assert outcomes.score is not None
    sure = np.flatnonzero((outcomes.score > 0.6) | (np.arange(20_000) % 10 == 0))
    now = Outcomes("binary", outcomes.prediction[sure], outcomes.score[sure], None, outcomes.truth[sure])
    found = curves.drift(RULER, counted(4_000, 0), tally(RULER, now))
    assert found.log_p > math.log(0.01)


def test_many_classes_are_judged_by_the_surest() -> None:
    outcomes = multiclass(6_000, 0)
    assert outcomes.probabilities is not None
    ruler = layout(outcomes)
    sharper = outcomes.probabilities**2
    now = outcomes._replace(probabilities=sharper / sharper.sum(axis=1, keepdims=True))
    assert curves.drift(ruler, tally(ruler, multiclass(6_000, 1)), tally(ruler, outcomes)).verdict == ""
    assert curves.drift(ruler, tally(ruler, outcomes), tally(ruler, now)).verdict == "over-confident"


@pytest.mark.parametrize("score", [0.0, 1.0, 0.3])
def test_one_score_for_all_is_survived(score: float) -> None:
    outcomes = binary(200, 0)._replace(score=np.full(200, score))
    found = curves.drift(RULER, counted(500, 0), tally(RULER, outcomes))
    assert np.isfinite(found.log_p)
    curves.calibration(RULER, tally(RULER, outcomes._replace(truth=np.zeros(200, np.int64))))


def test_nothing_to_measure_says_nothing() -> None:
    found = curves.drift(RULER, counted(500, 0), counted(0, 0))
    assert np.isnan(found.log_p)
    assert found.bins == 0
    assert found.verdict == ""
    assert np.isnan(curves.calibration(RULER, counted(0, 0)).slope.value)


def test_coverage_of_intervals() -> None:
    outcomes = regression(4_000, 0)
    ruler = layout(outcomes)
    before = coverage.of_intervals(ruler, tally(ruler, outcomes), nominal=0.9)
    assert before.figure.low < 0.9 < before.figure.high
    assert before.log_p > math.log(0.01)
    assert before.size == pytest.approx(0.6 * 1.645, rel=1e-9)
    assert before.below + before.figure.value + before.above == pytest.approx(1.0)
    said = np.asarray(outcomes.prediction, np.float64)
    wider = said + 2 * (np.asarray(outcomes.truth, np.float64) - said)
    now = coverage.of_intervals(ruler, tally(ruler, outcomes._replace(truth=wider)), nominal=0.9)
    assert now.log_p < math.log(1e-10)
    moved, log_p = coverage.change(before.figure, now.figure)
    assert moved == pytest.approx(now.figure.value - before.figure.value)
    assert log_p < math.log(1e-10)


def test_coverage_may_be_wrong_in_one_segment_and_right_over_all() -> None:
    outcomes = regression(4_000, 0)
    ruler, segment = layout(outcomes), np.arange(4_000) % 4
    worse = np.where(segment == 3, 1.5, 0.9)
    said = np.asarray(outcomes.prediction, np.float64)
    truth = said + worse * (np.asarray(outcomes.truth, np.float64) - said)
    found = tally(ruler, outcomes._replace(truth=truth), segment, 4)
    log_p = [coverage.of_intervals(ruler, found, one, nominal=0.9).log_p for one in range(4)]
    assert log_p[3] < math.log(1e-6) < min(log_p[:3])


def test_intervals_open_to_one_side_and_upside_down() -> None:
    outcomes = regression(100, 0)
    ruler = layout(outcomes)
    open_ = tally(ruler, outcomes._replace(low=np.full(100, -np.inf)))
    assert coverage.of_intervals(ruler, open_).below == 0.0
    turned = coverage.of_intervals(ruler, tally(ruler, outcomes._replace(low=outcomes.high, high=outcomes.low)))
    assert turned.figure.reason == "no labelled row has an interval or a set"


def test_coverage_of_sets_by_class() -> None:
    outcomes = multiclass(5_000, 0)
    assert outcomes.sets is not None
    found = coverage.of_sets(tally(layout(outcomes), outcomes), nominal=0.98)
    held = outcomes.sets[np.arange(5_000), outcomes.truth.astype(np.int64)]
    assert found.figure.value == pytest.approx(held.mean(), rel=1e-12)
    assert found.size == pytest.approx(outcomes.sets.sum(axis=1).mean(), rel=1e-12)
    assert found.by_class.tolist() == pytest.approx([held[outcomes.truth == c].mean() for c in range(4)])
    without = coverage.change(found.figure, coverage.of_sets(tally(layout(outcomes), multiclass(0, 0))).figure)
    assert np.isnan(without).all()
