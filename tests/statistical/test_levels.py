"""Every p-value keeps its level: normal, skewed and discrete columns, few and many categories."""

from __future__ import annotations

import pytest
from scipy import stats

from detectors.registry import WINDOWED
from tests.statistical import levels
from tests.statistical.levels import COPIES, KINDS, SIZES, WINDOWS

CONSERVATIVE = "relevant_drift"
"""Its null is composite and its bound holds for finite samples: only its upper side is asserted."""
_CHANCE = 1e-6
"""Chance that a test with exactly the bound's level fails by luck, per assertion."""
FAST = {SIZES[0]: 60, SIZES[1]: 50, SIZES[2]: 25, SIZES[3]: 10}


def _bounds(tests: int, low: float, high: float) -> tuple[int, int]:
    """Counts that levels within [low, high] do not pass; windows of one reference count once."""
    effective = tests // WINDOWS
    least, most = stats.binom.ppf(_CHANCE, effective, low), stats.binom.ppf(1 - _CHANCE, effective, high)
    return int(least * WINDOWS), int(most * WINDOWS)


@pytest.mark.parametrize("size", SIZES)
def test_levels_are_not_far_from_nominal(size: tuple[int, int]) -> None:
    table = levels.measure(*size, FAST[size], seed=2)
    for name in WINDOWED:
        cells = [table[name, kind] for kind in KINDS if (name, kind) in table]
        tests = sum(cell.tests for cell in cells)
        least, most = _bounds(tests, 0.04, 0.06)
        five = sum(cell.five_percent for cell in cells)
        assert five <= most, name
        assert five >= least or name == CONSERVATIVE, name
        assert sum(cell.one_permille for cell in cells) <= _bounds(tests, 0, 0.002)[1], name


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_levels_are_within_a_fifth_at_five_percent_and_a_factor_two_at_one_permille(size: tuple[int, int]) -> None:
    repetitions = 60_000 // (COPIES * WINDOWS)
    table = levels.measure(*size, repetitions, seed=1)
    wrong = {}
    for (name, kind), cell in table.items():
        five, one = cell.five_percent / cell.tests, cell.one_permille / cell.tests
        assert cell.tests >= 59_000, (name, kind)
        if name == CONSERVATIVE:
            good = five <= 0.05 and one <= 0.001
        else:
            good = 0.04 <= five <= 0.06 and 0.0005 <= one <= 0.002
        if not good:
            wrong[name, kind] = (five, one)
    assert not wrong
