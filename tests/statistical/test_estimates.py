"""Estimates on real rows, beside what labels said later: what the data's README says that a good monitor says."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import pytest

from detectors.performance import estimate as estimates
from detectors.performance.past import past
from tests.statistical import outcomes as sets
from tests.statistical.data import AbsentError
from tests.statistical.outcomes import Set, accuracy, auroc, judged, mae, missed

T = TypeVar("T")
SEED = 20260101
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def census() -> tuple[Set, estimates.Fixed]:
    one = _need(sets.employment)
    return one, estimates.fit(one.reference.outcomes, np.random.default_rng(SEED), one.reference.rows, one.unit)


def _need(made: Callable[[], T]) -> T:
    try:
        return made()
    except AbsentError as absent:
        pytest.skip(str(absent))


def test_cbpe_agrees_with_nannyml_on_the_same_chunks(census: tuple[Set, estimates.Fixed]) -> None:
    """NannyML 0.13.1: ``CBPE(..., chunk_size=5000).fit(reference).estimate(analysis)``, chunks 0, 15 and 27."""
    published = {
        0: (0.82811, 0.80201, 0.86540, 0.83250, 0.90551, 0.88381),
        15: (0.83125, 0.80418, 0.88897, 0.84445, 0.90216, 0.88542),
        27: (0.78391, 0.60250, 0.40567, 0.48487, 0.83678, 0.57253),
    }
    names = ("accuracy", "precision", "recall", "f1", "auroc", "average_precision")
    one, fixed = census
    for chunk, values in published.items():
        window = one.later.take(slice(5_000 * chunk, 5_000 * (chunk + 1)))
        made = estimates.estimate(fixed, estimates.count(fixed, window.outcomes)).beside["cbpe"]
        for name, value in zip(names, values, strict=True):
            assert made[name].value == pytest.approx(value, abs=0.0015), (chunk, name)


@pytest.mark.parametrize(
    ("size", "of_accuracy", "of_auroc", "constant"), [(2_000, 0.65, 0.55, 1.0), (5_000, 0.46, 0.36, 0.8)]
)
def test_in_time_order_the_default_is_as_near_as_labels_allow(
    census: tuple[Set, estimates.Fixed], size: int, of_accuracy: float, of_auroc: float, constant: float
) -> None:
    """Labels alone scatter accuracy by 0.62 and 0.39 points; NannyML's CBPE is off by 0.71 and 0.51."""
    one, fixed = census
    errors = missed(
        fixed, sets.chunks(one.later, size), (accuracy(one.reference.outcomes), auroc(one.reference.outcomes))
    )
    assert mae(errors, "default", 0) <= of_accuracy
    assert mae(errors, "default", 1) <= of_auroc
    assert mae(errors, "default", 0) < mae(errors, "cbpe", 0)
    assert mae(errors, "constant", 0) >= constant
    assert 0.85 < np.std(errors.z) < 1.15
    assert np.mean(np.abs(errors.z) < 1.96) >= 0.9


def test_the_estimate_drops_in_the_dormitory_chunks_only(census: tuple[Set, estimates.Fixed]) -> None:
    one, fixed = census
    windows = list(sets.chunks(one.later, 5_000))
    said = {i: judged(fixed, windows[i]).figures["auroc"].value for i in (0, 10, 20, 26, 27, 28, 35)}
    reference = auroc(one.reference.outcomes)
    assert reference - said[27] > 0.05
    assert reference - said[28] > 0.015
    assert all(abs(reference - said[i]) < 0.015 for i in (0, 10, 20, 26, 35))


def test_a_tilt_of_the_inputs_is_followed(census: tuple[Set, estimates.Fixed]) -> None:
    one, fixed = census
    rng = np.random.default_rng(SEED)
    age = sets.ages()
    for sign in (-0.08, 0.08):
        windows = sets.tilted(one.later, np.exp(sign * (age - 45)), 2_000, 8, rng)
        errors = missed(fixed, windows, (accuracy(one.reference.outcomes), 0.5))
        assert errors.verdicts.count("covariate") == 8
        assert mae(errors, "default", 0) <= 0.8
        assert mae(errors, "constant", 0) >= 2.5


def test_a_change_of_the_classes_shares_is_told_from_one_of_the_inputs(census: tuple[Set, estimates.Fixed]) -> None:
    one, fixed = census
    windows = sets.label_shifted(one.later, 2_000, 30, np.random.default_rng(SEED))
    errors = missed(fixed, windows, (accuracy(one.reference.outcomes), 0.5))
    assert mae(errors, "default", 0) <= 0.8
    assert mae(errors, "cbpe", 0) >= 1.5
    assert errors.verdicts.count("label") >= 24


def test_another_concept_is_not_seen_until_labels_come(census: tuple[Set, estimates.Fixed]) -> None:
    one, fixed = census
    windows = list(sets.flipped(one.later, sets.ages() > 50, 0.3, 2_000, 5, np.random.default_rng(SEED)))
    made = [judged(fixed, window) for window in windows]
    figures = [one.figures["accuracy"] for one in made]
    said, error = (np.array([getattr(one, name) for one in figures]) for name in ("value", "error"))
    real, floor = np.array([accuracy(one.outcomes) for one in windows]), [one.floors["accuracy"] for one in made]
    found = past(said, real, error, np.array(floor))
    assert found.bias > 0.05
    assert found.log_p < math.log(1e-30)


def test_californias_ranks_are_followed_south_and_the_missing_support_is_named() -> None:
    one = _need(sets.houses)
    fixed = estimates.fit(one.reference.outcomes, np.random.default_rng(SEED), one.reference.rows, one.unit)
    made = {month: (judged(fixed, window), window) for month, window in sets.months(one.later)}
    for month in ("2021-07", "2021-08", "2021-09"):
        found, window = made[month]
        assert found.figures["auroc"].value == pytest.approx(auroc(window.outcomes), abs=0.03)
        assert found.figures["accuracy"].value < accuracy(one.reference.outcomes) - 0.1
        assert found.reliability.outside > 0.8
        low, high = found.reliability.bounds
        assert low <= accuracy(window.outcomes) <= high
    off = {month: abs(f.figures["accuracy"].value - accuracy(w.outcomes)) for month, (f, w) in made.items()}
    assert all(made[month][0].reliability.labels_wanted for month, one in off.items() if one > 0.05)


def test_forecasts_of_baseball_are_what_they_say_and_football_of_2021_shows_only_with_labels() -> None:
    for file, since, unlike in (("mlb_games.parquet", 2019, ()), ("nfl_games.parquet", 2020, (2021,))):
        games, season = _need(partial(sets.seasons, file))
        fixed = estimates.fit(games.take(np.flatnonzero(season < since)).outcomes, np.random.default_rng(SEED))
        for year in np.unique(season[season >= since]).tolist():
            window = games.take(np.flatnonzero(season == year))
            made = judged(fixed, window)
            figure, real = made.figures["accuracy"], accuracy(window.outcomes)
            assert made.chosen == "cbpe"
            assert year in unlike or figure.low <= real <= figure.high, (file, year)
            assert abs(made.figures["brier"].value - sets.brier(window.outcomes)) < (0.03 if unlike else 0.006)
            if year in unlike:
                assert figure.value - real > 0.04  # and 284 games give +- 0.06: the interval says so
                assert figure.high - figure.low > 0.1


def test_bicycles_grow_unseen_by_inputs_which_it_says_and_learns_from() -> None:
    one, quarter, _ = _need(sets.bikes)
    fixed = estimates.fit(one.reference.outcomes, np.random.default_rng(SEED), one.reference.rows, one.unit)
    windows = [one.later.take(np.flatnonzero(quarter == q)) for q in range(4)]
    real = [float(np.abs(w.outcomes.prediction - w.outcomes.truth).mean()) for w in windows]
    made = [judged(fixed, window) for window in windows]
    for found, value in zip(made, real, strict=True):
        assert found.figures["mae"].high < 30  # confidently wrong
        assert value > 80
        assert "no_confidence" in found.reliability.doubts
    first = made[0].figures["mae"]
    seen = past(*(np.array([one]) for one in (first.value, real[0], first.error, made[0].floors["mae"])))
    window = windows[1]
    again = estimates.estimate(fixed, estimates.count(fixed, window.outcomes, window.rows), excess={"mae": seen.excess})
    assert "past_errors" in again.reliability.doubts
    assert again.figures["mae"].low < real[1] < again.figures["mae"].high


def test_taxis_keep_their_reference_error_on_new_trips_of_the_same_days() -> None:
    """Errors of empty streets are larger than any input says; the estimate rises with longer trips and says no more."""
    one, month, _ = _need(sets.taxis)
    fixed = estimates.fit(one.reference.outcomes, np.random.default_rng(SEED), one.reference.rows, one.unit)
    april = one.later.take(np.flatnonzero(month == 1))
    made = judged(fixed, april)
    real = float(np.abs(april.outcomes.prediction - april.outcomes.truth).mean())
    assert made.reference["mae"] < made.figures["mae"].value < made.figures["mae"].high < real - 1.5
    assert made.reliability.labels_wanted
