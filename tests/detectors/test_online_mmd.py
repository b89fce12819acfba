"""Online MMD: its statistic is that of the definition, its run length the stated one, and pieces change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from detectors.streaming.online_mmd import OnlineMMD, OnlineMMDFixed
from detectors.types import FloatArray

DETECTOR = OnlineMMD(window=8, run_length=40, draws=800)


def rows(seed: int, number: int, shift: float = 0.0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((number, 3)) + shift


@pytest.fixture(scope="module")
def fixed() -> OnlineMMDFixed:
    return DETECTOR.fit(rows(0, 600), np.random.default_rng(1))


def by_definition(fixed: OnlineMMDFixed, window: FloatArray) -> float:
    """Unbiased MMD^2, pair by pair."""

    def mean(x: FloatArray, y: FloatArray, *, same: bool) -> float:
        k = np.exp(-np.square(x[:, None] - y[None]).sum(axis=2) / (2 * float(fixed.bandwidth) ** 2))
        return float((k.sum() - len(x)) / (len(x) * (len(x) - 1)) if same else k.mean())

    reference = fixed.reference
    return (
        mean(reference, reference, same=True)
        + mean(window, window, same=True)
        - 2 * mean(reference, window, same=False)
    )


def test_statistic_is_the_unbiased_squared_distance(fixed: OnlineMMDFixed) -> None:
    new = rows(2, 3)
    step = DETECTOR.update(fixed, DETECTOR.start(fixed), new)
    window = np.concatenate([fixed.first, new])[-DETECTOR.window :]
    assert step.alarms == 0
    assert step.statistic == pytest.approx(by_definition(fixed, window), abs=1e-12)


def test_run_length_is_about_the_stated_one() -> None:
    lengths = []
    for seed in range(6):
        measured = DETECTOR.fit(rows(seed, 500), np.random.default_rng(seed))
        stream = rows(100 + seed, 2_500)
        lengths.append(2_500 / max(DETECTOR.update(measured, DETECTOR.start(measured), stream).alarms, 1))
    assert 30 < np.mean(lengths) < 55


def test_a_shift_is_found_within_the_window(fixed: OnlineMMDFixed) -> None:
    step = DETECTOR.update(fixed, DETECTOR.start(fixed), rows(3, 40, shift=2.0))
    assert step.first < DETECTOR.window


def test_pieces_give_the_same_alarms(fixed: OnlineMMDFixed) -> None:
    stream = rows(4, 700, shift=0.3)
    at_once = DETECTOR.update(fixed, DETECTOR.start(fixed), stream)
    state, alarms = DETECTOR.start(fixed), 0
    for begin in range(0, len(stream), 7):
        step = DETECTOR.update(fixed, state, stream[begin : begin + 7])
        state, alarms = step.state, alarms + step.alarms
    assert alarms == at_once.alarms > 5
    np.testing.assert_allclose(state.window, at_once.state.window)
    assert state.seen == at_once.state.seen


def test_no_rows_change_nothing(fixed: OnlineMMDFixed) -> None:
    state = DETECTOR.start(fixed)
    step = DETECTOR.update(fixed, state, np.zeros((0, 3)))
    assert step.state is state
    assert step.alarms == 0


def test_a_row_that_is_no_number_alarms_rather_than_passing(fixed: OnlineMMDFixed) -> None:
    assert DETECTOR.update(fixed, DETECTOR.start(fixed), np.full((1, 3), np.nan)).alarms == 1


def test_few_reference_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="31 reference rows are too few for a window of 8"):
        DETECTOR.fit(rows(0, 31), np.random.default_rng(0))


def test_constant_rows_never_alarm() -> None:
    measured = DETECTOR.fit(np.ones((100, 2)), np.random.default_rng(0))
    assert DETECTOR.update(measured, DETECTOR.start(measured), np.ones((50, 2))).alarms == 0
