"""Sums without rounding: those of `math.fsum`, whatever the order, and none left when all rows are taken back."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.maths import exact
from detectors.types import FloatArray, IntArray


def limbs(values: FloatArray) -> IntArray:
    return exact.summed(values, np.zeros(len(values), np.int64), 1).reshape(-1)


def wild(seed: int, n: int = 2_000) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(n) * 10.0 ** rng.integers(-320, 300, n)


@pytest.mark.parametrize("seed", range(5))
def test_the_sum_is_that_of_fsum(seed: int) -> None:
    values = wild(seed)
    cancelled = np.concatenate([values, -values[1:], [5e-324, 2.0**-1074]])
    assert exact.value(limbs(values)) == math.fsum(values)
    assert exact.value(limbs(cancelled)) == math.fsum(cancelled)


def test_order_pieces_and_taking_back_leave_the_same_limbs() -> None:
    values, order = wild(9), np.random.default_rng(9).permutation(2_000)
    whole = limbs(values)
    assert (limbs(values[order]) == whole).all()
    assert (limbs(values[:700]) + limbs(values[700:]) == whole).all()
    assert (whole - limbs(values[:700]) == limbs(values[700:])).all()
    assert not (whole - limbs(values[order])).any()


def test_the_ends_of_the_floats() -> None:
    most = np.finfo(np.float64).max
    assert exact.value(limbs(np.array([most, most]))) == math.inf
    assert exact.value(limbs(np.array([most, most, -most]))) == most
    assert exact.value(limbs(np.array([-most, -most]))) == -math.inf
    assert exact.value(limbs(np.zeros(3))) == 0.0
    assert exact.value(limbs(np.array([5e-324, -5e-324, 5e-324]))) == 5e-324


def test_groups_are_apart() -> None:
    values, group = wild(3), np.random.default_rng(3).integers(0, 4, 2_000)
    found = exact.summed(values, group, 4)
    assert [exact.value(one) for one in found] == [math.fsum(values[group == g]) for g in range(4)]


def test_more_rows_than_a_block_takes() -> None:
    assert exact.value(limbs(np.full((1 << 20) + 3, 0.1))) == math.fsum([0.1] * ((1 << 20) + 3))
