"""The change of a figure divided: planted mixtures whose parts are known, verdicts, and rows that say little."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from detectors.performance import changes, decompose, estimate
from detectors.performance.decompose import Old, Shares
from detectors.performance.types import Figure, Outcomes
from detectors.types import FloatArray, SingleArray
from tests.detectors import planted, scored

RNG = np.random.default_rng
NAMES = decompose.PARTS


@pytest.fixture(scope="module")
def known() -> tuple[estimate.Fixed, Outcomes]:
    outcomes, rows = scored.two(20_000, RNG(0))
    return estimate.fit(outcomes, RNG(0), rows), outcomes


SHIFTS: dict[str, Any] = {
    "nothing": {},
    "mix": {"mean": 0.9},
    "prior": {"odds": 3.0},
    "rate": {"flip": True},
    "mix and rate": {"mean": 0.9, "flip": True},
    "prior and rate": {"odds": 3.0, "flip": True},
}


@pytest.mark.parametrize("name", SHIFTS)
def test_parts_of_planted_shifts_are_found(known: tuple[estimate.Fixed, Outcomes], name: str) -> None:
    """Each within four of its errors, and half a point; what is planted is 2.6 to 15 points, but for the mix."""
    fixed, reference = known
    made = planted.drawn(RNG(1), 8_000, **SHIFTS[name])
    found = planted.divided(fixed, made.outcomes, made.rows, reference)
    for part, truth in zip(NAMES, made.truth, strict=True):
        one = found.parts[part]
        assert abs(one.value - truth) < 4 * one.error + 0.005, (part, one, truth)
        if abs(truth) > 0.02:
            assert math.copysign(1.0, truth) * min(one.low, one.high, key=abs) > 0, part
            assert max(found.parts, key=lambda one: abs(found.parts[one].value)) == NAMES[np.argmax(np.abs(made.truth))]


def test_parts_add_up_to_the_total(known: tuple[estimate.Fixed, Outcomes]) -> None:
    fixed, reference = known
    made = planted.drawn(RNG(2), 3_000, mean=0.5, flip=True)
    found = planted.divided(fixed, made.outcomes, made.rows, reference)
    change = planted.accuracy(made.outcomes) - planted.accuracy(reference)
    assert found.total.value == pytest.approx(change, abs=1e-12)
    assert sum(one.value for one in found.parts.values()) == pytest.approx(change, abs=1e-12)
    assert found.labelled


def test_without_labels_a_shift_of_the_classes_is_told_from_one_of_the_inputs_and_the_rate_is_not_known(
    known: tuple[estimate.Fixed, Outcomes],
) -> None:
    fixed, _ = known
    prior = planted.drawn(RNG(3), 8_000, odds=3.0)
    found = planted.divided(fixed, prior.outcomes, prior.rows)
    assert abs(found.parts["prior"].value - prior.truth[1]) < 4 * found.parts["prior"].error
    assert abs(found.parts["mix"].value) < 4 * found.parts["mix"].error
    assert (found.parts["rate"].reason, math.isnan(found.parts["rate"].value)) == (decompose.NEEDS_LABELS, True)
    mix = planted.drawn(RNG(3), 8_000, mean=0.9)
    found = planted.divided(fixed, mix.outcomes, mix.rows)
    assert (found.parts["prior"].reason, found.labelled) == (decompose.NOT_TOLD, False)
    assert found.total.value == pytest.approx(found.parts["mix"].value)


def test_labels_that_rise_everywhere_while_inputs_stay_are_no_change_of_the_classes_but_of_the_rate(
    known: tuple[estimate.Fixed, Outcomes],
) -> None:
    """The shares of the classes change as well: what the inputs do not show is not theirs."""
    fixed, reference = known
    outcomes, rows = scored.two(8_000, RNG(4))
    risen = np.where(RNG(5).random(8_000) < 0.25, 1, outcomes.truth)
    found = planted.divided(fixed, outcomes._replace(truth=risen), rows, reference)
    assert abs(found.parts["prior"].value) + abs(found.parts["mix"].value) < 0.01
    assert found.parts["rate"].high < -0.05


def test_what_moves_within_a_score_is_mix_too() -> None:
    """Scores know nothing of the third input: what it does is seen by its weights alone."""
    rng = RNG(6)

    def rows_of(n: int, share: float) -> tuple[Outcomes, SingleArray]:
        outcomes, rows = scored.two(n, rng)
        odd = rng.random(n) < share
        rows[:, 2] = np.where(odd, 1, -1)
        return outcomes._replace(truth=np.where(odd & (rng.random(n) < 0.5), 1 - outcomes.truth, outcomes.truth)), rows

    reference, rows = rows_of(20_000, 0.1)
    outcomes, now = rows_of(8_000, 0.6)
    truth = planted.accuracy(rows_of(planted.MANY, 0.6)[0]) - planted.accuracy(rows_of(planted.MANY, 0.1)[0])
    found = planted.divided(estimate.fit(reference, rng, rows), outcomes, now, reference)
    assert abs(found.parts["mix"].value - truth) < 4 * found.parts["mix"].error + 0.005
    assert abs(found.parts["rate"].value) < 4 * found.parts["rate"].error


def test_many_classes() -> None:
    rng, k = RNG(7), 4
    share = np.array([0.7, 0.1, 0.1, 0.1])
    reference, window = scored.many(20_000, k, rng), scored.many(8_000, k, rng, share)
    rows = np.zeros((20_000, 0), np.float32)
    found = planted.divided(estimate.fit(reference, rng, rows), window, rows[:8_000], reference, k)
    assert abs(found.parts["rate"].value) < 4 * found.parts["rate"].error
    turned = window._replace(truth=np.where(rng.random(8_000) < 0.2, (window.truth + 1) % k, window.truth))
    found = planted.divided(estimate.fit(reference, rng, rows), turned, rows[:8_000], reference, k)
    assert found.parts["rate"].high < -0.08


def test_a_regression_whose_errors_grow_with_inputs_or_without_them() -> None:
    rng = RNG(8)
    reference, rows = scored.numbers(12_000, rng)
    fixed = estimate.fit(reference, rng, rows)

    def told(outcomes: Outcomes) -> Figure:
        size = np.abs(outcomes.prediction - outcomes.truth)
        error = float(size.std() / len(size) ** 0.5)
        return Figure("mae", float(size.mean()), 0.0, 0.0, error, len(size))

    root = math.sqrt(2 / math.pi)
    window, now = scored.numbers(6_000, rng, mean=0.5)
    moved = told(scored.numbers(planted.MANY, RNG(9), mean=0.5)[0]).value - 0.2 * root - root**2
    for lift in (0.0, 2.0):
        outcomes = window._replace(truth=window.truth.astype(np.float64) + lift)
        codes = estimate.inputs(fixed, outcomes, now)
        found = changes.change(fixed, codes, RNG(0), realised=told(outcomes), reference=told(reference))
        rest = told(outcomes).value - told(window).value
        assert abs(found.parts["mix"].value - moved) < 3 * found.parts["mix"].error
        assert abs(found.parts["rate"].value - rest) < 3 * found.parts["rate"].error
        assert found.parts["prior"].reason == decompose.NO_CLASSES


def test_verdicts(known: tuple[estimate.Fixed, Outcomes]) -> None:
    fixed, reference = known
    for name, verdict in (("mix", "virtual"), ("rate", "harmful"), ("prior", "unknown")):
        made = planted.drawn(RNG(9), 8_000, **SHIFTS[name])
        found = planted.divided(fixed, made.outcomes, made.rows, reference)
        assert decompose.verdict(found, 0.03) == verdict, name
    unlabelled = found._replace(labelled=False, total=found.total._replace(value=0.0, low=-0.001, high=0.001))
    assert decompose.verdict(unlabelled, 0.03) == "virtual"
    assert decompose.verdict(unlabelled, 0.03, doubted=True) == "unknown"
    errors = found._replace(metric="mae", total=found.total._replace(value=0.5, low=0.4, high=0.6))
    assert decompose.verdict(errors, 0.03) == "harmful"


def test_rows_that_say_nothing_have_a_reason() -> None:
    few = decompose.decompose("accuracy", _old(50), np.zeros(500, np.int64), RNG(0), shape=(4, 1))
    assert (few.total.reason, decompose.verdict(few, 0.02)) == (decompose.FEW, "unknown")
    assert all(one.reason == decompose.FEW for one in few.parts.values())


@pytest.mark.parametrize("worth", [np.zeros(500), np.ones(500)])
@pytest.mark.parametrize("share", [np.array([0.5, 0.5]), np.array([0.0, 1.0])])
def test_degenerate_rows_give_finite_parts(worth: FloatArray, share: FloatArray) -> None:
    """One class, one cell, all right or all wrong, a window in cells that the reference lacks, weights of zero."""
    old = _old(500)._replace(worth=worth, weight=np.where(np.arange(500) < 400, 0.0, 50.0))
    now = np.full(300, 3)
    found = decompose.decompose(
        "accuracy", old, now, RNG(0), shape=(4, 2), shares=Shares(share, np.array([0.1, np.nan]))
    )
    assert math.isfinite(found.total.value)
    assert found.outside == 1.0
    assert abs(found.total.value) < 0.1


def test_intervals_hold_what_was_planted() -> None:
    """Over references too: 3 kinds of shift x 10; fewer than 24 of 30 within 95 % come once in 500 times."""
    within = dict.fromkeys(NAMES, 0)
    shifts: tuple[dict[str, Any], ...] = ({"mean": 0.6}, {"odds": 2.5}, {"mean": 0.6, "flip": True})
    for seed in range(10):
        rng = RNG(200 + seed)
        reference, rows = scored.two(8_000, rng)
        fixed = estimate.fit(reference, rng, rows)
        for shift in shifts:
            made = planted.drawn(rng, 3_000, **shift)
            found = planted.divided(fixed, made.outcomes, made.rows, reference)
            for part, truth in zip(NAMES, made.truth, strict=True):
                within[part] += abs(found.parts[part].value - truth) < 1.96 * max(found.parts[part].error, 1e-3)
    assert min(within.values()) >= 24, within


def _old(m: int) -> Old:
    return Old(np.arange(m) % 2, np.zeros(m, np.int64), np.ones(m), np.ones(m))
