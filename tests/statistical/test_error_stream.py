"""The error stream on real sets: change points found in time, nothing in shuffled streams; figures as documented."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.performance import curves
from detectors.performance.errors import Errors, tau_of
from detectors.performance.layout import layout
from detectors.performance.realised import figures
from detectors.performance.tallies import tally
from tests.detectors.outcomes import take
from tests.statistical import data
from tests.statistical.errors import (
    MEASURED,
    PANE,
    alarms,
    bike_counts,
    census,
    concept,
    delay,
    minutes,
    room,
    shuffled,
    swapping,
    turned,
)
from tests.statistical.outcomes import seasons


@pytest.mark.parametrize("scored", [True, False])
@pytest.mark.parametrize("change", [12_500, 25_000, 37_500])
def test_the_change_points_of_sea_are_found_within_500_rows(change: int, scored: bool) -> None:  # noqa: FBT001
    data.need("sea_concepts", "sea.parquet")
    late, early = delay(concept(change, scored=scored), Errors())
    assert early == 0
    assert late <= 500  # measured: 350, 200, 150 with scores, 500, 150, 150 without


def test_shuffled_streams_alarm_once_in_10000_panes_at_most() -> None:
    """12,800 panes; 60 streams of `tests.bench errors null` have 48,000 and none."""
    data.need("sea_concepts", "sea.parquet")
    count = panes = 0
    for seed in range(16):
        stream = shuffled(seed)
        count += len(alarms(stream, MEASURED, Errors()))
        panes += (len(stream.truth) - MEASURED) // PANE
    assert panes > 10_000
    assert count <= 1


@pytest.mark.parametrize("boundary", [2, 5, 9, 20])
def test_swapped_classes_are_found_within_150_rows(boundary: int) -> None:
    data.need("interchanging_rbf", "interchanging_rbf.parquet")
    found = [one.rows - 500 for one in alarms(swapping(boundary), 1_500, Errors(), 25)]
    assert 0 < found[0] <= 150


def test_the_growth_of_the_bikes_is_found_in_a_week_and_measured() -> None:
    data.need("bike_sharing", "count_predictions.parquet")
    outcomes, reference, quarter = bike_counts()
    later = np.concatenate([np.arange(reference), reference + np.flatnonzero(quarter[reference:] >= 168)])
    first = alarms(take(outcomes, later), reference, Errors(), 24)[0]
    assert first.rows <= 7 * 24
    assert first.why.startswith(("underestimated", "errors are larger"))
    made = layout(take(outcomes, slice(0, reference)))
    tau = tau_of(Errors().fit(take(outcomes, slice(0, reference))))
    before, now = (
        figures(made, tally(made, take(outcomes, some)), tau=tau)
        for some in (np.arange(reference), np.flatnonzero(quarter == 168))
    )
    assert before["mae"].value == pytest.approx(19.5, abs=0.05)
    assert now["mae"].value == pytest.approx(84.6, abs=0.05)
    assert now["bias"].value == pytest.approx(-83, abs=0.5)
    assert before["mae"].high < now["mae"].low


def test_the_census_alarms_while_dormitories_are_counted_and_at_no_other_time() -> None:
    """208,892 rows in time order; chunks 26 to 28 of 5,000 are rows 130,000 to 145,000."""
    data.need("ma_employment", "analysis.parquet")
    outcomes, reference = census()
    found = [one.rows for one in alarms(outcomes, reference, Errors(), 100)]
    assert 130_000 < found[0] <= 134_000
    assert found[-1] <= 145_100


@pytest.mark.parametrize("seed", range(4))
def test_a_concept_that_no_estimate_can_see_is_found_with_labels(seed: int) -> None:
    """30 % of the labels of those over 50, accuracy 0.83 to 0.76: after 350 to 950 rows; none in 10,000 before."""
    data.need("ma_employment", "analysis.parquet")
    outcomes, reference = turned(seed)
    found = [one.rows - 10_000 for one in alarms(outcomes, reference, Errors())]
    assert 0 < found[0] <= 1_500


def test_the_errors_of_trips_rise_on_the_first_day_of_empty_streets() -> None:
    data.need("nyc_green_taxi_2020", "duration_predictions_2020-03_07.parquet")
    outcomes, before = minutes()
    measured = before // 2
    found = [one.rows - (before - measured) for one in alarms(outcomes, measured, Errors())]
    assert min(found) > -1_500  # the night of Friday 13 March is quieter already
    assert min(one for one in found if one > 0) <= 6_000  # 14 March has 7,800
    assert len(found) > 10
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(before)
        assert alarms(take(outcomes, order), measured, Errors()) == []


@pytest.mark.parametrize("file", ["test1.parquet", "test2.parquet"])
def test_a_drift_of_inputs_alarms_only_where_the_model_loses_by_it(file: str) -> None:
    """Measured: with light no alarm, accuracy 0.978 and 0.992; without 0.884 and 0.757, after 18 and 4 hours."""
    data.need("occupancy", file)
    accuracy = []
    for light in (True, False):
        outcomes, reference = room(file, light=light)
        before, after = take(outcomes, slice(0, reference)), take(outcomes, slice(reference, len(outcomes.truth)))
        made, tau = layout(before), tau_of(Errors().fit(before))
        told = [figures(made, tally(made, one), tau=tau)["accuracy"] for one in (before, after)]
        accuracy.append(told[1].value)
        found = alarms(outcomes, reference, Errors(), 60)
        assert tau > 10
        assert (found == []) == light
        assert light or found[0].rows <= 24 * 60
        assert not light or told[1].low < told[0].value < told[1].high
    assert accuracy[1] < accuracy[0] - 0.08


def test_forecasts_are_over_confident_in_the_season_that_says_so() -> None:
    """NFL 2021: +0.07, of about 280 games, which is +-0.06; MLB in no season."""
    data.need("forecasts_538", "nfl_games.parquet")
    games, season = seasons("nfl_games.parquet")
    made = layout(games.outcomes)
    found = {
        int(year): curves.calibration(made, tally(made, take(games.outcomes, np.flatnonzero(season == year)))).over
        for year in np.unique(season)
    }
    assert [year for year, over in found.items() if over.low > 0] == [2021]
    games, season = seasons("mlb_games.parquet")
    made = layout(games.outcomes)
    for year in np.unique(season):
        counted = tally(made, take(games.outcomes, np.flatnonzero(season == year)))
        one = curves.calibration(made, counted)
        assert one.over.low < 0
        assert one.ece.low == 0
        assert 0.235 < figures(made, counted)["brier"].value < 0.244
