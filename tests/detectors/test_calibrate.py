"""Calibration by pooled neighbours, and counts of rows that merge exactly."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.performance import calibrate
from detectors.performance import estimate as estimates
from detectors.performance.types import Outcomes
from tests.detectors import scored


def test_pooled_means_are_those_of_isotonic_regression() -> None:
    """Reference: ``sklearn.isotonic.isotonic_regression(value, sample_weight=weight)`` of scikit-learn 1.9.1."""
    value = np.array([0.0, 0.45, 0.03, -0.44, 0.15, -0.24, 0.96, 2.39, 0.71, 0.73, 1.99, 2.01])
    weight = np.array([3, 2, 4, 2, 2, 3, 3, 3, 3, 4, 4, 4], np.float64)
    wanted = [*[-0.0175] * 6, 0.96, 1.222, 1.222, 1.222, 1.99, 2.01]
    block = calibrate.pooled(value, weight)
    mean = np.bincount(block, weight * value) / np.bincount(block, weight)
    np.testing.assert_allclose(mean[block], wanted, atol=1e-12)


def test_chances_never_fall_and_keep_the_sum_of_the_labels() -> None:
    rng = np.random.default_rng(1)
    scale, known = calibrate.fit(scored.two(20_000, rng, bend=2.0)[0])
    assert (np.diff(scale.chance[0, 0]) >= 0).all()
    expected = (known.tally.rows * scale.chance).sum()
    assert expected == pytest.approx(known.hits.sum(), abs=1)


def test_scores_that_are_too_sure_are_brought_back() -> None:
    rng = np.random.default_rng(2)
    scale, _ = calibrate.fit(scored.two(50_000, rng, bend=2.0)[0])
    fresh = scored.two(20_000, rng, bend=2.0)[0]
    assert fresh.score is not None
    chance = scale.chance.reshape(-1)[calibrate.placed(scale, fresh).cell[0]]
    odds = np.log(fresh.score / (1 - fresh.score)) / 2
    assert np.abs(chance - 1 / (1 + np.exp(-odds))).mean() < 0.012  # pooling 50,000 labels: about N^(-1/3) / 3


@pytest.mark.parametrize("classes", [2, 5])
def test_merged_counts_are_those_of_all_rows_to_the_last_bit(classes: int) -> None:
    rng = np.random.default_rng(3)
    rows = scored.two(9_000, rng)[0] if classes == 2 else scored.many(9_000, classes, rng)
    scale, _ = calibrate.fit(scored.take(rows, np.arange(5_000)))
    whole = calibrate.tally(scale, rows)
    order, begin, merged = rng.permutation(9_000), 0, calibrate.empty(scale)
    for size in (1, 0, 999, 3_000, 5_000):
        part = scored.take(rows, order[begin : begin + size])
        merged = estimates.merge(calibrate.tally(scale, part), merged)  # type: ignore[assignment]
        begin += size
    for one, other in zip(whole, merged, strict=True):
        assert one.dtype == np.int64
        np.testing.assert_array_equal(one, other)


def test_rows_outside_of_the_references_range_are_counted() -> None:
    rng = np.random.default_rng(4)
    score = rng.uniform(0.3, 0.6, 1_000)
    reference = Outcomes("binary", (score > 0.5).astype(np.int64), score, None, (rng.random(1_000) < score) * 1)
    scale, _ = calibrate.fit(reference)
    now = Outcomes("binary", np.ones(4, np.int64), np.array([0.1, 0.5, 0.9, np.nan]), None, np.full(4, -1))
    assert calibrate.tally(scale, now).seen.tolist() == [3, 1, 2]
    assert calibrate.tally(scale, reference).seen.tolist() == [1_000, 0, 0]


def test_of_many_classes_the_predicted_one_is_calibrated_apart() -> None:
    rng = np.random.default_rng(5)
    rows = scored.many(30_000, 4, rng)
    assert rows.probabilities is not None
    bent = np.sqrt(rows.probabilities)
    rows = rows._replace(probabilities=bent / bent.sum(axis=1, keepdims=True))
    scale, known = calibrate.fit(scored.take(rows, np.arange(20_000)))
    fresh = scored.take(rows, np.arange(20_000, 30_000))
    mine = calibrate.tally(scale, fresh).rows
    right = float((mine[:, 1] * scale.chance[:, 1]).sum() / mine[0].sum())
    assert right == pytest.approx(float((fresh.prediction == fresh.truth).mean()), abs=0.015)
    assert known.given.sum() == 20_000


def test_more_classes_than_can_be_counted_leave_the_accuracy() -> None:
    rng = np.random.default_rng(6)
    rows = scored.many(8_000, calibrate.MOST_CLASSES + 6, rng)
    fixed = estimates.fit(scored.take(rows, np.arange(4_000)), rng)
    made = estimates.estimate(fixed, estimates.count(fixed, scored.take(rows, np.arange(4_000, 8_000))))
    assert set(made.figures) == {"accuracy", "f1_micro"}
    real = float((rows.prediction[4_000:] == rows.truth[4_000:]).mean())
    assert made.figures["accuracy"].low < real < made.figures["accuracy"].high
