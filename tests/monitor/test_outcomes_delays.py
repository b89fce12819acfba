"""How long labels take: what has not come yet is told from what will not come, and from what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.outcomes.cohorts import EDGES, MOST, Cohorts, width_of
from monitor.outcomes.delays import Triangle, completeness, delays
from monitor.outcomes.index import Index
from monitor.outcomes.truths import Truths
from tests.monitor.outcomes_bench import KEY, NOW

HOUR = 3600.0
EDGE = np.array([0.0, 1.0, 2.0, 3.0])


def triangle(predicted: list[int], arrived: list[list[int]]) -> Triangle:
    """Cohorts of one second each, from 0 on."""
    return Triangle(np.arange(len(predicted)), 1.0, EDGE, np.array(predicted), np.array(arrived))


def test_shares_are_kaplan_and_meiers() -> None:
    # at time 4 the cohorts have passed 3, 2, 1 and 0 of the bins: worked out by hand
    found = delays(triangle([100, 100, 100, 100], [[50, 20, 10], [40, 30, 7], [60, 8, 0], [9, 0, 0]]), 4.0)
    assert found.arrived.tolist() == [150, 50, 10]
    assert found.risk.tolist() == [300, 110, 30]
    stays = np.cumprod([1 - 150 / 300, 1 - 50 / 110, 1 - 10 / 30])
    assert found.share == pytest.approx(1 - stays, rel=1e-14)
    greenwood = np.cumsum([150 / (300 * 150), 50 / (110 * 60), 10 / (30 * 20)])
    assert found.error == pytest.approx(stays * np.sqrt(greenwood), rel=1e-14)
    assert found.ever == 1 - stays[2]


def test_what_no_cohort_is_old_enough_for_is_not_known() -> None:
    found = delays(triangle([100, 100], [[50, 20, 0], [40, 0, 0]]), 3.0)
    assert np.isnan(found.share).tolist() == [False, False, True]
    assert np.isnan(found.ever)
    assert np.isnan(found.quantile(0.5))


def test_quantiles_are_of_the_labels_that_come() -> None:
    found = delays(triangle([100], [[20, 20, 10]]), 9.0)
    assert found.ever == pytest.approx(0.5)
    assert found.quantile(0.5) == pytest.approx(1.25)
    assert found.quantile(1.0) == pytest.approx(3.0)
    assert np.isnan(delays(triangle([100], [[0, 0, 0]]), 9.0).quantile(0.5))


def test_no_labels_are_expected_from_a_cohort_that_has_all() -> None:
    full = triangle([100, 100], [[100, 0, 0], [100, 0, 0]])
    found = completeness(full, 2.0, 0.95)
    assert found.complete.tolist() == [True, True]
    assert completeness(full, 1.5, 0.95).complete.tolist() == [True, False]  # more predictions may come
    assert found.ratio.tolist() == [1.0, 1.0]


def test_a_cohort_is_not_complete_before_its_labels_can_have_come() -> None:
    old, young = [[50, 30, 10]] * 20, [[50, 0, 0]]
    found = completeness(triangle([100] * 21, old + young), 22.0, 0.95)
    assert found.expected[-1] == pytest.approx(90.0)
    assert found.ratio[-1] == pytest.approx(50 / 90)
    assert 0.5 < found.low[-1] < 50 / 90
    assert found.complete.tolist() == [True] * 19 + [False] * 2  # three seconds after its end nothing more can come
    assert found.ratio[-3] == 1.0


def test_before_anything_is_known_only_full_cohorts_are_complete() -> None:
    found = completeness(triangle([10, 10], [[10, 0, 0], [3, 0, 0]]), 1.5, 0.95)
    assert found.complete.tolist() == [True, False]
    assert np.isnan(found.ratio[1])


def test_a_cohort_without_labels_is_never_complete_before_its_time() -> None:
    found = completeness(triangle([100] * 5 + [100], [[50, 30, 10]] * 5 + [[0, 0, 0]]), 6.0, 0.95)
    assert (found.ratio[-1], found.low[-1], found.complete[-1]) == (0.0, 0.0, False)


@pytest.mark.parametrize("never", [0.0, 0.4])
def test_delays_are_found_although_the_newest_labels_are_still_to_come(never: float) -> None:
    rng = np.random.default_rng(3)
    cohorts, now, days = Cohorts(30 * 24 * HOUR), NOW, 40
    made = NOW - rng.uniform(0, days * 24 * HOUR, 40_000)
    delay = rng.exponential(5 * 24 * HOUR, len(made))
    comes = (rng.random(len(made)) >= never) & (made + delay <= now) & (delay <= 30 * 24 * HOUR)
    cohorts.predicted(made)
    cohorts.labelled(made[comes], delay[comes])
    found = delays(cohorts.triangle(), now)
    at = found.edges[1:]
    truth = (1 - never) * (1 - np.exp(-at / (5 * 24 * HOUR)))
    inside = at <= 30 * 24 * HOUR
    assert np.abs(found.share - truth)[inside].max() < 0.02
    assert (np.abs(found.share - truth)[inside] < 5 * found.error[inside] + 1e-3).all()
    naive = comes.mean()  # what has come by now is much less than what will
    assert found.ever - naive > 0.05
    assert found.quantile(0.5) == pytest.approx(np.log(2) * 5 * 24 * HOUR, rel=0.05)


def test_cohorts_that_are_called_complete_are() -> None:
    rng = np.random.default_rng(4)
    cohorts = Cohorts(30 * 24 * HOUR)
    made = NOW - rng.uniform(0, 60 * 24 * HOUR, 100_000)
    delay = rng.gamma(2.0, 2 * 24 * HOUR, len(made))
    cohorts.predicted(made)
    come = made + delay <= NOW
    cohorts.labelled(made[come], delay[come])
    found = completeness(cohorts.triangle(), NOW, 0.95)
    number = cohorts.of(made)
    true = np.array([come[number == one].mean() for one in found.number])
    young = NOW - found.start < 25 * 24 * HOUR
    assert 0.3 < found.complete.mean() < 0.9
    assert (true[found.complete & young] > 0.94).all()
    assert (true[~found.complete] < 0.99).all()


def test_counts_do_not_depend_on_their_order() -> None:
    rng = np.random.default_rng(5)
    made, delay = NOW - rng.uniform(0, 9 * 24 * HOUR, 3000), rng.uniform(0, 12 * 24 * HOUR, 3000)
    states = []
    for _ in range(3):
        cohorts, order = Cohorts(10 * 24 * HOUR), rng.permutation(3000)
        for some in np.array_split(order, 17):
            cohorts.predicted(made[some])
        for some in np.array_split(rng.permutation(3000), 11):
            cohorts.labelled(made[some], delay[some])
        states.append({name: part.tolist() for name, part in cohorts.state().items()})
    assert states[0] == states[1] == states[2]
    assert sum(states[0]["total"]) == 3000


def test_only_the_newest_cohorts_are_counted_and_the_sums_go_on() -> None:
    cohorts = Cohorts(24 * HOUR)
    for one in range(3 * MOST):
        cohorts.predicted(np.array([one * cohorts.width]))
    cohorts.predicted(np.array([0.0]))
    cohorts.labelled(np.array([0.0, -5.0, 3 * MOST * cohorts.width - 1]), np.array([1.5, 1e9, 2.5]))
    found = cohorts.triangle()
    assert len(found.start) == MOST
    assert found.predicted.sum() == MOST
    assert found.arrived.sum() == 1
    assert cohorts.total.sum() == 3
    assert cohorts.total[-1] == 1
    assert cohorts.milliseconds == 1_000_000_004_000


@pytest.mark.parametrize("hours", [0.01, 1.0, 24.0, 24 * 30.0, 24 * 400.0, 24 * 4000.0])
def test_all_that_is_kept_has_room_in_the_cohorts(hours: float) -> None:
    assert hours * HOUR / width_of(hours * HOUR) <= MOST - 2
    cohorts = Cohorts(hours * HOUR)
    assert cohorts.edges[-1] == hours * HOUR
    assert (np.diff(cohorts.edges) > 0).all()


def test_the_edges_rise() -> None:
    assert (np.diff(EDGES) > 0).all()


def test_a_correction_is_no_second_label(tmp_path: Path) -> None:
    index = Index(tmp_path, {"p": "f8"}, key=KEY, rows=100, hours=24.0)
    index.restore(None)
    ids, no = pa.array(["a", "b"]), np.zeros(2, bool)
    index.predicted(ids, None, {"p": np.zeros(2)}, NOW)
    for turn in range(3):
        index.labelled(ids, Truths(np.full(2, float(turn)), no), NOW + 100 * (turn + 1))
    found = index.cohorts()
    assert (found.predicted.sum(), found.labelled.sum()) == (2, 2)
    assert found.complete.all()
    assert index.figures().delays.sum() == 2
    assert index.figures().delay_seconds == 200.0
    index.close()
