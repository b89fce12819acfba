"""Failure directions: a planted group is found and ranked, chance is not, traffic towards it is seen without labels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.slices import directions, predicted, separator
from detectors.types import FloatArray, IntArray

CLASSES, WIDTH = 3, 24


class Rows(NamedTuple):
    """Embeddings, true classes, the planted group (of class 1 alone), and which answers are wrong."""

    z: FloatArray
    y: IntArray
    planted: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


def rows(n: int, seed: int, share: float = 0.2, failing: float = 0.6) -> Rows:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, n)
    planted = (y == 1) & (rng.random(n) < share)
    z = 3 * np.eye(CLASSES, WIDTH)[y] + rng.standard_normal((n, WIDTH))
    z[planted, 10:13] += 2.5
    z = z * np.geomspace(0.01, 100, WIDTH) + 7
    return Rows(z, y, planted, rng.random(n) < np.where(planted, failing, 0.08))


@pytest.fixture(scope="module")
def fixed() -> directions.DirectionsFixed:
    old = rows(4_000, 0)
    return directions.fit(old.z, old.y, old.wrong, np.random.default_rng(1))


def test_the_class_with_a_group_that_fails_has_a_direction_and_no_other(fixed: directions.DirectionsFixed) -> None:
    assert fixed.tested.tolist() == [0, 1, 2]
    assert fixed.classes.tolist() == [1]
    assert fixed.balanced[1] > 0.7
    np.testing.assert_allclose(fixed.chance, 0.5, atol=0.05)  # the best of four ridges: a little above a half
    assert fixed.p[1] == 1 / (separator.PERMUTATIONS + 1)


def test_the_direction_ranks_the_group_among_rows_that_it_has_not_seen(fixed: directions.DirectionsFixed) -> None:
    new = rows(4_000, 2)
    hard = -directions.values(fixed, new.z)[:, 0]
    mine = new.y == 1
    assert separator.auroc(hard[mine], new.planted[mine].astype(float)) >= 0.9
    assert fixed.auroc[0] > 0.7


def test_exemplars_are_of_the_group_and_no_two_alike(fixed: directions.DirectionsFixed) -> None:
    new = rows(4_000, 3)
    z = np.concatenate([new.z, np.repeat(new.z, 3, axis=0)])
    found = directions.values(fixed, z)[:, 0]
    found[np.concatenate([new.y, np.repeat(new.y, 3)]) != 1] = np.nan
    shown = directions.exemplars(fixed, z, found)
    first = [np.where(row < 4_000, row, (row - 4_000) // 3) for row in shown]
    assert all(len(set(one.tolist())) == len(one) == 20 for one in first)
    assert new.planted[first[0]].mean() > 0.85
    assert new.planted[first[1]].mean() == 0


def test_more_traffic_on_the_hard_side_is_seen_without_labels(fixed: directions.DirectionsFixed) -> None:
    quiet = directions.drift(fixed, directions.values(fixed, rows(4_000, 14).z))[0]
    assert quiet.label == 1
    assert quiet.more.low < 0 < quiet.more.high
    assert quiet.log_p > np.log(0.01)
    more = directions.drift(fixed, directions.values(fixed, rows(4_000, 14, share=0.6).z))[0]
    assert more.more.low > 0
    assert more.log_p < np.log(1e-6)
    assert directions.drift(fixed, directions.values(fixed, rows(4_000, 14, share=0.6).z), tau=100.0)[0].log_p > -10


def test_drift_of_nothing_is_told_at_its_level() -> None:
    told, outside = 0, 0
    for seed in range(60):
        old, new = rows(1_200, 100 + seed), rows(1_000, 300 + seed)
        made = directions.fit(old.z, old.y, old.wrong, np.random.default_rng(seed))
        for one in directions.drift(made, directions.values(made, new.z)):
            told += one.log_p < np.log(0.05)
            outside += not one.more.low < 0 < one.more.high
    assert told <= 8  # 5 % of 60, and 2.9 standard deviations more
    assert outside <= 8


def test_random_errors_have_a_direction_in_one_reference_of_twenty() -> None:
    told = 0
    for seed in range(200):
        old = rows(900, 1_000 + seed)
        wrong = np.random.default_rng(seed).random(900) < 0.2
        told += bool(len(directions.fit(old.z, old.y, wrong, np.random.default_rng(9_000 + seed)).classes))
    assert told <= 18  # 5 % of 200, and 2.6 standard deviations more


def test_confidence_stands_beside_the_direction() -> None:
    old = rows(4_000, 5)
    sure = np.where(old.wrong, 0.2, 0.8)
    made = directions.fit(old.z, old.y, old.wrong, np.random.default_rng(0), sure)
    assert made.confidence.tolist() == [1.0]
    assert made.auroc[0] < 1.0


def test_long_embeddings_are_seen_on_their_principal_axes() -> None:
    rng = np.random.default_rng(6)
    old, turn = rows(3_000, 7), np.linalg.qr(rng.standard_normal((300, WIDTH)))[0]
    white = (old.z - 7) / np.geomspace(0.01, 100, WIDTH)
    made = directions.fit(white @ turn.T, old.y, old.wrong, np.random.default_rng(1))
    assert made.turn.shape == (300, directions.AXES)
    assert made.classes.tolist() == [1]


def test_captions_are_ranked_along_the_direction(fixed: directions.DirectionsFixed) -> None:
    white = np.zeros((40, WIDTH))
    white[:, :] = 0.2 * np.random.default_rng(8).standard_normal((40, WIDTH)) + 5
    white[[3, 30], 10:13] += 2.5
    white[11, 10:13] -= 2.5
    shown = directions.captions(fixed, white * np.geomspace(0.01, 100, WIDTH), 0, 2)
    assert set(shown.hard.tolist()) == {3, 30}
    assert shown.easy[0] == 11


def test_the_cut_is_fishers() -> None:
    rng = np.random.default_rng(9)
    kind = (rng.random(5_000) < 0.1).astype(np.float64)
    covariance = np.array([[2.0, 1.5], [1.5, 2.0]])
    x = rng.multivariate_normal([0, 0], covariance, 5_000) + 1.5 * kind[:, None] * [1.0, 0.0]
    made = separator.cut(x, kind, 0)
    expected = np.linalg.solve(covariance + 0.1 * np.eye(2), [1.5, 0.0])
    assert made.normal @ expected / np.linalg.norm(expected) > 0.995
    assert np.linalg.norm(made.normal) == pytest.approx(1.0)
    assert made.offset == pytest.approx(made.normal @ [0.75, 0.0], abs=0.1)


def test_auroc_counts_ties_as_halves() -> None:
    assert separator.auroc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, 1.0])) == 0.875
    assert np.isnan(separator.auroc(np.ones(3), np.ones(3)))


@pytest.mark.parametrize("fault", ["none", "few", "constant", "missing", "one class", "huge"])
def test_what_cannot_be_known_is_not_told(fault: str) -> None:
    old = rows(0 if fault == "none" else 40 if fault == "few" else 600, 10)
    z, y = old.z, old.y
    if fault == "constant":
        z = np.full_like(z, 3.0)
    if fault == "missing":
        z = np.where(np.random.default_rng(0).random(z.shape) < 0.9, np.nan, z)
    if fault == "one class":
        y = np.full_like(y, -1)
    if fault == "huge":
        z = z * 1e305
    made = directions.fit(z, y, old.wrong, np.random.default_rng(0))
    assert made.classes.tolist() == []
    assert directions.values(made, z).shape == (len(z), 0)
    assert directions.drift(made, directions.values(made, z)) == ()


def test_one_enormous_row_does_not_hide_the_direction() -> None:
    old = rows(3_000, 15)
    z = old.z.astype(np.float32)
    z[7], z[8, 0], z[9, 0] = 3e38, np.inf, np.nan
    made = directions.fit(z, old.y, old.wrong, np.random.default_rng(0))
    assert 1 in made.classes
    assert np.isfinite(directions.values(made, z)[6:11, 0]).tolist() == [True, True, False, False, True]


def test_rows_without_embedding_have_no_value(fixed: directions.DirectionsFixed) -> None:
    z = rows(5, 11).z
    z[1, 0], z[3, 2] = np.nan, np.inf
    found = directions.values(fixed, z)[:, 0]
    assert np.isnan(found).tolist() == [False, True, False, True, False]
    assert set(directions.exemplars(fixed, z, found).hard.tolist()) == {0, 2, 4}
    nothing = directions.drift(fixed, found[[1, 3], None])[0]
    assert nothing.hard.reason == nothing.more.reason != ""
    assert np.isnan(nothing.log_p)


def test_predicted_errors_rank_rows_without_labels_and_are_calibrated() -> None:
    def features(some: Rows, seed: int) -> NDArray[np.float32]:
        sure = 0.8 + 0.1 * np.random.default_rng(seed).standard_normal(len(some.y))
        return np.column_stack([some.z[:, 10:14], some.y, sure]).astype(np.float32)

    old, new = rows(6_000, 12, share=0.4), rows(6_000, 13, share=0.4)
    made = predicted.fit(features(old, 0), np.full(6, -1), old.wrong.astype(float), np.random.default_rng(0))
    said = predicted.chance(made, features(new, 1))
    assert separator.auroc(said.wrong, new.planted.astype(float)) > 0.9
    assert said.wrong.mean() == pytest.approx(new.wrong.mean(), abs=0.02)
    assert float(made.auroc) == pytest.approx(separator.auroc(said.wrong, new.wrong.astype(float)), abs=0.04)
    assert 0 < said.apart.mean() < 0.1


def test_predicted_errors_survive_what_is_logged() -> None:
    odd = np.array([[np.nan, np.inf], [-np.inf, 1e38], [0.0, 0.0]], np.float32)
    nothing = predicted.fit(odd, np.full(2, -1), np.full(3, np.nan), np.random.default_rng(0))
    assert np.isnan(predicted.chance(nothing, odd).wrong).all()
    for loss in (np.zeros(3), np.ones(3)):
        made = predicted.fit(odd, np.full(2, -1), loss, np.random.default_rng(0))
        np.testing.assert_allclose(predicted.chance(made, odd).wrong, loss, atol=1e-5)
