"""Counts of outcomes: whole numbers that merge, are taken back, and say of every row what became of it."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.performance import counts, tallies
from detectors.performance.layout import layout
from detectors.performance.realised import figures
from detectors.performance.types import METRICS, Kind, Outcomes
from tests.detectors.outcomes import MADE, binary, multiclass, ranking, regression, take

KINDS = tuple(MADE)


def same(one: counts.Tally, other: counts.Tally) -> bool:
    return all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_in_any_order_are_the_whole_to_the_last_bit(kind: Kind) -> None:
    outcomes = MADE[kind](1_000, 0)
    made = layout(outcomes)
    whole = tallies.tally(made, outcomes)
    pieces = np.random.default_rng(0).permutation(np.arange(1_000).reshape(10, 100))
    found = counts.empty(made)
    for piece in pieces:
        order = piece if kind != "ranking" else piece.reshape(10, 10)[:, ::-1].ravel()
        found = counts.merge(found, tallies.tally(made, take(outcomes, order)))
    assert same(found, whole)
    assert figures(made, found) == figures(made, whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_corrected_label_leaves_what_a_clean_batch_has(kind: Kind) -> None:
    outcomes, wrong = MADE[kind](500, 1), MADE[kind](500, 2)
    made = layout(outcomes)
    first = take(outcomes, slice(0, 300))
    mistaken = outcomes._replace(truth=np.concatenate([first.truth, wrong.truth[300:]]))
    late, early = take(outcomes, slice(300, 500)), take(mistaken, slice(300, 500))
    found = counts.merge(tallies.tally(made, first), tallies.tally(made, early))
    found = counts.merge(counts.remove(found, tallies.tally(made, early)), tallies.tally(made, late))
    assert same(found, tallies.tally(made, outcomes))
    assert same(counts.remove(found, found), counts.empty(made))


@pytest.mark.parametrize("kind", KINDS)
def test_segments_are_what_each_has_alone(kind: Kind) -> None:
    outcomes = MADE[kind](600, 3)
    made, segment = layout(outcomes), (np.arange(600) // 100) % 3 - 1
    found = tallies.tally(made, outcomes, segment, 2)
    for one in (0, 1):
        alone = tallies.tally(made, take(outcomes, np.flatnonzero(segment == one)))
        assert all((a[one] == b[0]).all() for a, b in zip(found, alone, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_all_alike_change_nothing(kind: Kind) -> None:
    outcomes = MADE[kind](400, 4)
    heavy = outcomes._replace(weight=np.full(400, 3.5))
    plain, weighed = (figures(made, tallies.tally(made, one)) for one in (outcomes, heavy) for made in (layout(one),))
    for name, one in plain.items():
        assert np.allclose(weighed[name][1:6], one[1:6], rtol=1e-6, atol=1e-9, equal_nan=True), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_two_is_a_row_twice(kind: Kind) -> None:
    outcomes = MADE[kind](400, 4)
    again = take(outcomes, np.arange(400).repeat(2))
    if again.group is not None:
        again = again._replace(group=np.repeat(outcomes.group, 2) * 2 + np.tile([0, 1], 400))  # type: ignore[arg-type]
    made = layout(outcomes)._replace(base=np.array(1.0))
    once = tallies.tally(made, outcomes._replace(weight=np.full(400, 2.0)))
    twice = tallies.tally(made, again)
    assert (once.confusion[:, 0] == twice.confusion[:, 0]).all()
    assert (once.ranks == twice.ranks).all()
    assert (once.sides == twice.sides).all()
    one, two = (figures(made, found) for found in (once, twice))
    for name in one:
        if not one[name].n:
            continue  # no sets
        assert one[name].value == pytest.approx(two[name].value, rel=2e-2 if name == "average_precision" else 1e-6), (
            name
        )
        assert one[name].error > 1.3 * two[name].error  # two rows tell more than one that counts twice


def test_not_labelled_yet_is_never_correct() -> None:
    outcomes = binary(100, 5)
    late = outcomes._replace(truth=np.where(np.arange(100) < 60, outcomes.truth, -1))
    made = layout(outcomes)
    found = tallies.tally(made, late)
    assert found.seen[0].tolist() == [60, 40, 0, 0, 0, 0]
    assert figures(made, found) == figures(made, tallies.tally(made, take(outcomes, slice(0, 60))))


def test_every_row_is_accounted_for() -> None:
    said = np.array([0.0, 1.0, np.nan, 2.0, 1.0, 1.0, 0.0, 0.5])
    truth = np.array([0.0, np.nan, 1.0, 1.0, 7.0, 1.0, 0.0, 1.0])
    weight = np.array([1.0, 1.0, 1.0, 1.0, 1.0, -1.0, 1e308, 1.0])
    found = tallies.tally(layout(binary(50, 0)), Outcomes("binary", said, None, None, truth, weight))
    told = dict(zip(counts.SEEN, found.seen[0].tolist(), strict=True))
    assert told == {
        "labelled": 3,
        "unlabelled": 1,
        "no_prediction": 3,
        "bad_weight": 1,
        "clipped_weight": 1,
        "unknown_class": 1,
    }


def test_a_class_that_the_model_does_not_know_is_a_wrong_answer() -> None:
    outcomes = multiclass(100, 0)
    made = layout(outcomes)
    strange = outcomes._replace(truth=np.full(100, 9))
    found = figures(made, tallies.tally(made, strange))
    assert found["accuracy"].value == 0
    assert found["log_loss"].reason == "no labelled row has probabilities"


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_at_all_has_reasons_and_no_values(kind: Kind) -> None:
    outcomes = MADE[kind](50, 0)
    for made in (layout(outcomes), layout(take(outcomes, slice(0, 0)), classes=4)):
        if made.cuts.shape == layout(outcomes).cuts.shape:
            nothing = tallies.tally(made, take(outcomes, slice(0, 0)))
            assert same(nothing, counts.empty(made))
            for name, one in figures(made, nothing).items():
                assert name in METRICS
                assert np.isnan(one.value)
                assert one.reason


@pytest.mark.parametrize("value", [0.0, 1e308, -1e308, 5e-324, np.nan, np.inf])
def test_numbers_of_any_size_are_survived(value: float) -> None:
    outcomes = regression(60, 0)
    strange = outcomes._replace(prediction=np.full(60, value), low=np.full(60, -value), high=np.full(60, value))
    made = layout(outcomes)
    for some in (strange, outcomes._replace(truth=np.full(60, value)), outcomes._replace(weight=np.full(60, value))):
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            for one in figures(made, tallies.tally(made, some)).values():
                assert bool(one.reason) == bool(np.isnan(one.value))
        layout(some)


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0, 1e308, -1e308, np.nan, np.inf])
def test_constant_scores_are_survived(score: float) -> None:
    outcomes = binary(60, 0)._replace(score=np.full(60, score))
    for made in (layout(outcomes), layout(binary(60, 0))):
        found = figures(made, tallies.tally(made, outcomes))
        assert found["auroc"].value == 0.5 if np.isfinite(score) else found["auroc"].reason
        assert np.isfinite(found["log_loss"].value) == (0 <= score <= 1)


def test_rows_of_another_kind_are_refused() -> None:
    made = layout(multiclass(50, 0))
    for other in (binary(50, 0), regression(50, 0), ranking(50, 0)):
        with pytest.raises(ValueError, match="`outcomes`"):
            tallies.tally(made, other)
    with pytest.raises(ValueError, match="`segment`"):
        tallies.tally(made, multiclass(50, 0), np.full(50, 3), 3)
    with pytest.raises(ValueError, match="at most 1024"):
        layout(Outcomes("multiclass", np.array([5_000]), None, None, np.array([0])))
