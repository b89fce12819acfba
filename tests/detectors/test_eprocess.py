from __future__ import annotations

import numpy as np
import pytest

from detectors.queries import eprocess
from detectors.types import FloatArray, IntArray

BETS = eprocess.bets(np.array([2.0, 20.0]), np.array([1000.0, 1000.0]))


def by_hand(key: IntArray, flags: FloatArray, asked: FloatArray) -> FloatArray:
    """Every start time kept apart."""
    out = np.zeros((int(key.max()) + 1, flags.shape[1]))
    for c in range(len(out)):
        for k in range(flags.shape[1]):
            mine = flags[(key == c) & (asked[:, k] > 0), k]
            log = np.where(mine[:, None] > 0, BETS.yes[k], BETS.no[k])
            total = np.exp(BETS.log_weight[k]) / (len(mine) + 1)
            for s in range(1, len(mine) + 1):
                total = total + np.exp(BETS.log_weight[k] + log[s - 1 :].sum(axis=0)) / (s * (s + 1))
            out[c, k] = np.log(total.sum())
    return out


def rows(seed: int, n: int = 300) -> tuple[IntArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    flags, asked = rng.random((n, 2)) < 0.1, rng.random((n, 2)) < 0.9
    return rng.integers(0, 3, n), flags.astype(np.float64), asked.astype(np.float64)


def test_recursion_is_the_mixture_over_all_start_times() -> None:
    key, flags, asked = rows(0)
    state = eprocess.update(BETS, eprocess.start(3, BETS), key, flags > 0, asked > 0)
    assert eprocess.log_e(BETS, state) == pytest.approx(by_hand(key, flags, asked), rel=1e-9)


def test_batches_may_be_cut_anywhere() -> None:
    key, flags, asked = rows(1)
    whole = eprocess.update(BETS, eprocess.start(3, BETS), key, flags > 0, asked > 0)
    state = eprocess.start(3, BETS)
    for begin in range(0, len(key), 50):
        some = slice(begin, begin + 50)
        state = eprocess.update(BETS, state, key[some], flags[some] > 0, asked[some] > 0)
    assert eprocess.log_e(BETS, state) == pytest.approx(eprocess.log_e(BETS, whole), rel=1e-9)
    assert (state.asked == whole.asked).all()


def test_no_evidence_at_birth_and_none_where_no_bet_can_be_made() -> None:
    bets = eprocess.bets(np.array([2.0, 900.0, 0.0]), np.array([1000.0, 1000.0, 0.0]))
    state = eprocess.start(4, bets)
    assert eprocess.log_e(bets, state) == pytest.approx(0.0)
    flags = np.ones((8, 3), np.bool_)
    state = eprocess.update(bets, state, np.repeat(np.arange(4), 2), flags, flags)
    found = eprocess.log_e(bets, state)
    assert (found[:, 0] > 1).all()
    assert found[:, 1:] == pytest.approx(0.0)


def test_allowed_rate_is_thrice_the_rate_or_its_upper_bound() -> None:
    p0 = eprocess.allowed_rate(np.array([0.0, 20.0]), np.array([100.0, 1000.0]))
    assert p0 == pytest.approx([1 - 0.01 ** (1 / 100), 0.06])


@pytest.mark.parametrize("rate", [0.3, 1.0])
def test_evidence_passes_a_level_at_any_time_no_more_often_than_the_level(rate: float) -> None:
    rng = np.random.default_rng(5)
    keys, length, level = 2000, 400, 0.05
    bets = eprocess.bets_at(np.array([0.06]))
    state, highest = eprocess.start(keys, bets), np.zeros(keys)
    for _ in range(length):
        flags = rng.random((keys, 1)) < 0.06 * rate
        state = eprocess.update(bets, state, np.arange(keys), flags, np.ones((keys, 1), np.bool_))
        highest = np.maximum(highest, eprocess.log_e(bets, state)[:, 0])
    assert (highest >= np.log(1 / level)).mean() <= level + 3 * np.sqrt(level * (1 - level) / keys)


def test_late_start_is_found_at_the_price_of_the_weights() -> None:
    bets = eprocess.bets_at(np.array([0.02]))
    flags = np.zeros((2040, 1), np.bool_)
    flags[2000::2] = True
    state = eprocess.update(bets, eprocess.start(1, bets), np.zeros(2040, np.int64), flags, np.ones_like(flags))
    assert eprocess.log_e(bets, state)[0, 0] > np.log(1e6)


def test_expected_miss_rate_within_the_allowance_is_never_found() -> None:
    bets = eprocess.bets(np.array([100.0]), np.array([10_000.0]))
    flags = np.zeros((5000, 1), np.bool_)
    flags[::40] = True  # 2.5 times the reference's rate
    state = eprocess.update(bets, eprocess.start(1, bets), np.zeros(5000, np.int64), flags, np.ones_like(flags))
    assert eprocess.log_e(bets, state)[0, 0] < np.log(20)
