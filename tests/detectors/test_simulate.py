"""Injected faults and shifts: each does what it says, to one column, and keeps what belongs to the rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from detectors import simulate
from detectors.types import NEW_CODE, Block

ROWS = 2_000
RNG = np.random.default_rng


def block() -> Block:
    """Two correlated columns in two modes, a label, and all that a row may carry, marked by its number."""
    rng = RNG(0)
    mode = rng.random(ROWS) < 0.3
    base = rng.standard_normal(ROWS) + 6 * mode
    numeric = np.column_stack([base, base + 0.1 * rng.standard_normal(ROWS)])
    codes = mode.astype(np.int32)[:, None]
    number = np.arange(ROWS)
    return dataclasses.replace(
        simulate.block_of(numeric, codes),
        time=number.astype(np.float64),
        vectors=(np.column_stack([number, base]).astype(np.float32),),
        strata=(number % 5).astype(np.int32),
    )


Inject = Callable[[Block], Block]
SAME_ROWS: dict[str, Inject] = {
    "moved": lambda it: simulate.moved(it, 0, 1.0),
    "stretched": lambda it: simulate.stretched(it, 0, 2.0),
    "replaced": lambda it: simulate.replaced(it, 0, 0.1, 3.0, RNG(1)),
    "recoded": lambda it: simulate.recoded(it, 2, 0.1, NEW_CODE, RNG(1)),
    "mistyped": lambda it: simulate.mistyped(it, 2, 0.1, RNG(1)),
}
OTHER_ROWS: dict[str, Inject] = {
    "reweighted": lambda it: simulate.reweighted(it, it.codes[:, 0] == 1, 4.0, RNG(1)),
    "taken": lambda it: simulate.take(it, np.array([5, 3, 8])),
}


@pytest.mark.parametrize("name", SAME_ROWS)
def test_one_column_changes_and_the_rest_is_carried_along(name: str) -> None:
    before = block()
    after = SAME_ROWS[name](before)
    assert after.time is before.time
    assert after.vectors is before.vectors
    assert after.strata is before.strata
    changed = [not np.array_equal(after.numeric[:, j], before.numeric[:, j], equal_nan=True) for j in range(2)]
    changed.append(not np.array_equal(after.codes, before.codes))
    assert changed == [unit == (2 if name in ("recoded", "mistyped") else 0) for unit in range(3)]
    np.testing.assert_array_equal(before.numeric, block().numeric)
    np.testing.assert_array_equal(before.codes, block().codes)


@pytest.mark.parametrize("name", OTHER_ROWS)
def test_rows_go_with_all_that_belongs_to_them(name: str) -> None:
    before = block()
    after = OTHER_ROWS[name](before)
    assert after.time is not None
    assert after.strata is not None
    rows = after.time.astype(np.int64)
    np.testing.assert_array_equal(after.numeric, before.numeric[rows])
    np.testing.assert_array_equal(after.codes, before.codes[rows])
    np.testing.assert_array_equal(after.vectors[0], before.vectors[0][rows])
    np.testing.assert_array_equal(after.strata, rows % 5)
    assert after.numeric.flags.f_contiguous
    assert after.faults.shape == before.faults.shape


def test_labels_are_reweighted_and_each_class_stays_as_it_is() -> None:
    before = block()
    after = simulate.reweighted(before, before.codes[:, 0] == 1, 4.0, RNG(5))
    assert after.rows == before.rows
    share = before.codes[:, 0].mean()
    assert after.codes[:, 0].mean() == pytest.approx(4 * share / (4 * share + 1 - share), abs=0.04)
    for code in (0, 1):
        means = [one.numeric[one.codes[:, 0] == code, 0].mean() for one in (before, after)]
        assert means[0] == pytest.approx(means[1], abs=0.15)
    assert after.time is not None
    assert (np.diff(after.time) >= 0).all()
