"""Rows chosen for labelling teach a model more than rows chosen by chance, and are not the same row many times."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy.special import expit

from detectors import labelling, weights
from detectors.multivariate.classifier import Model, feature_map, features, newton
from detectors.types import FloatArray, SingleArray


class Labelled(NamedTuple):
    x: SingleArray
    y: FloatArray


def rows(n: int, seed: int, *, share: float = 0.0) -> Labelled:
    """Two classes by the first column; ``share`` come from a new region, where the second column decides."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4))
    new = rng.random(n) < share
    x[new, 2] += 5
    y = np.where(new, x[:, 1] > 0, x[:, 0] > 0)
    return Labelled(x.astype(np.float32), y.astype(float))


def trained(some: Labelled, seed: int) -> tuple[object, Model]:
    known = feature_map(some.x, np.random.default_rng(seed))
    return known, newton(features(known, some.x), some.y, np.ones(len(some.y)))


def chance(model: tuple[object, Model], x: SingleArray) -> FloatArray:
    known, fitted = model
    return expit(features(known, x) @ fitted.weight + fitted.intercept)  # type: ignore[arg-type]


def doubt(model: tuple[object, Model], x: SingleArray) -> FloatArray:
    p = chance(model, x)
    return np.minimum(p, 1 - p)


def chosen(model: tuple[object, Model], old: Labelled, now: Labelled, number: int) -> labelling.Taken:
    ratio = weights.fit(old.x, now.x, np.random.default_rng(0))
    novelty = weights.log_ratio(ratio, now.x), weights.log_ratio(ratio, old.x)
    worth = labelling.worth((doubt(model, now.x), doubt(model, old.x)), novelty)
    return labelling.taken(worth.total, now.x, number, labelling.near(old.x, np.random.default_rng(0)))


def accuracy(model: tuple[object, Model], fresh: Labelled) -> float:
    return float(((chance(model, fresh.x) > 0.5) == fresh.y).mean())


def joined(a: Labelled, b: Labelled) -> Labelled:
    return Labelled(np.concatenate([a.x, b.x]), np.concatenate([a.y, b.y]))


def test_sixty_chosen_labels_teach_more_than_sixty_by_chance() -> None:
    gained, whole = [], []
    for seed in range(100, 108):
        old, now = rows(1_500, seed), rows(1_500, 10 + seed, share=0.2)
        fresh = rows(4_000, 20 + seed, share=0.2)
        model = trained(old, seed)
        mine = chosen(model, old, now, 60).rows
        others = np.random.default_rng(seed).choice(1_500, 60, replace=False)
        more, plain = (joined(old, Labelled(now.x[some], now.y[some])) for some in (mine, others))
        gained.append(accuracy(trained(more, seed), fresh) - accuracy(trained(plain, seed), fresh))
        whole.append(accuracy(trained(more, seed), fresh) - accuracy(model, fresh))
    assert np.mean(whole) > 0.01
    assert np.mean(gained) > 0.005
    assert np.sum(np.array(gained) > 0) >= 7


def test_rows_of_the_new_region_come_first() -> None:
    old, now = rows(2_000, 0), rows(2_000, 1, share=0.1)
    found = chosen(trained(old, 0), old, now, 100).rows
    assert (now.x[found, 2] > 3).mean() > 0.6


def test_a_flood_of_one_row_is_labelled_once() -> None:
    rng = np.random.default_rng(0)
    places = rng.standard_normal((1_000, 3)).astype(np.float32)
    places[:600] = places[0]
    total = np.where(np.arange(1_000) < 600, 10.0, rng.random(1_000))
    found = labelling.taken(total, places, 50, 0.3)
    assert (found.rows < 600).sum() == 1
    assert found.rows[0] == 0
    assert len(set(found.rows.tolist())) == 50


def test_more_are_not_taken_than_there_are_and_each_once() -> None:
    places = np.zeros((7, 2), np.float32)
    for width in (0.0, 1.0):
        found = labelling.taken(np.zeros(7), places, 20, width)
        assert sorted(found.rows.tolist()) == list(range(7))
    assert labelling.taken(np.zeros(0), places[:0], 5, 1.0).rows.tolist() == []
    assert labelling.near(places[:1], np.random.default_rng(0)) == 0


def test_what_is_not_known_adds_nothing() -> None:
    blank = np.full(3, np.nan)
    told = np.array([0.0, 0.5, 2.0]), np.array([0.1, 0.2, np.nan, 1.0])
    found = labelling.worth((blank, blank), told)
    assert np.isnan(found.unsure).all()
    assert found.novel == pytest.approx([1.0, 0.5, 0.25])
    assert found.total == pytest.approx(-np.log([1.0, 0.5, 0.25]))
    assert np.isnan(labelling.share_above(blank, told[1])).all()
