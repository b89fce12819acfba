"""A daily cycle pages nobody beside a reference by hour of the week, and a shift on top of it is found."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.types import Reference
from tests.statistical.mix import Agent, unstratified
from tests.statistical.season import WEEK, WEEKS, level, measured, stream, tau_of, watch


@pytest.fixture(scope="module")
def reference() -> Reference:
    return measured(np.random.default_rng(11))


def test_cycle_is_not_taken_for_dependence(reference: Reference) -> None:
    np.testing.assert_array_equal(tau_of(reference), 1)


def test_two_weeks_of_cycles_page_nobody_by_hour_of_week(reference: Reference) -> None:
    told = watch(Agent(reference), stream(reference, np.random.default_rng(12), 2 * WEEK), 2 * WEEK)
    assert told.pane == 0
    # 33 windows of four columns: a level of 8 % or more has a chance of one in twenty if it is 5 %
    assert told.before.mean() <= 0.08


def test_cycle_pages_within_a_day_beside_one_reference_for_all_hours(reference: Reference) -> None:
    told = watch(Agent(unstratified(reference)), stream(reference, np.random.default_rng(13), 144), 144)
    assert told.pane > 0


def test_shift_on_top_of_the_cycle_is_found(reference: Reference) -> None:
    onset = 300
    told = watch(Agent(reference), stream(reference, np.random.default_rng(14), onset + 200, 0.2, onset), onset)
    assert onset < told.pane < onset + 100


def test_shift_near_the_smallest_that_matters_is_left_to_the_windows(reference: Reference) -> None:
    told = watch(Agent(reference, 0.05), stream(reference, np.random.default_rng(15), 600, 0.2, 60), 60)
    assert told.pane == 0
    assert told.after[:, 0].all()


@pytest.mark.slow
def test_eight_weeks_of_cycles_page_nobody(reference: Reference) -> None:
    told = watch(Agent(reference), stream(reference, np.random.default_rng(16), WEEKS * WEEK), WEEKS * WEEK)
    assert told.pane == 0
    assert float(level(told.before)) <= 8
