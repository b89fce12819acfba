"""Every detector sees the shifts that it is there for, and keeps quiet without them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.registry import CATALOG, SEQUENTIAL, Tolerances
from detectors.types import Block, Evidence, Reference, Window
from tests.contract import bench

COPIES = 12
UNITS = range(COPIES)
CODES = range(COPIES, 2 * COPIES)
Shift = Callable[[Block, np.random.Generator], Block]


def _each(units: range, change: Callable[[Block, int, np.random.Generator], Block]) -> Shift:
    def shift(rows: Block, rng: np.random.Generator) -> Block:
        for unit in units:
            rows = change(rows, unit, rng)
        return rows

    return shift


SHIFTS: dict[str, tuple[range, Shift]] = {
    "mean": (UNITS, _each(UNITS, lambda rows, unit, _: simulate.moved(rows, unit, 0.5))),
    "scale": (UNITS, _each(UNITS, lambda rows, unit, _: simulate.stretched(rows, unit, 1.8))),
    "spike": (UNITS, _each(UNITS, lambda rows, unit, rng: simulate.replaced(rows, unit, 0.15, 0.0, rng))),
    "far": (UNITS, _each(UNITS, lambda rows, unit, rng: simulate.replaced(rows, unit, 0.1, 50.0, rng))),
    "missing value": (UNITS, _each(UNITS, lambda rows, unit, rng: simulate.replaced(rows, unit, 0.1, np.nan, rng))),
    "infinity": (UNITS, _each(UNITS, lambda rows, unit, rng: simulate.replaced(rows, unit, 0.1, -np.inf, rng))),
    "mix": (CODES, _each(CODES, lambda rows, unit, rng: simulate.recoded(rows, unit, 0.3, 3, rng))),
    "new category": (CODES, _each(CODES, lambda rows, unit, rng: simulate.recoded(rows, unit, 0.2, -2, rng))),
    "missing category": (CODES, _each(CODES, lambda rows, unit, rng: simulate.recoded(rows, unit, 0.1, -1, rng))),
    "wrong type": (UNITS, _each(range(2 * COPIES), lambda rows, unit, rng: simulate.mistyped(rows, unit, 0.1, rng))),
}
_INDEX = ("mean", "scale", "spike", "mix", "new category")
SEES: dict[str, tuple[str, ...]] = {
    "anderson_darling": ("mean", "scale"),
    "cramer_von_mises": ("mean", "scale"),
    "kolmogorov_smirnov": ("mean", "scale"),
    "wasserstein": ("mean", "scale", "far"),
    "psi": _INDEX,
    "jensen_shannon": _INDEX,
    "hellinger": _INDEX,
    "kullback_leibler": _INDEX,
    "g_test": _INDEX,
    "chi_square": _INDEX,
    "total_variation": _INDEX,
    "mean_change": ("mean",),
    "scale_change": ("scale",),
    "relevant_drift": ("mean", "mix", "new category"),
    "e_ks": ("mean", "scale", "mix", "new category"),
    "e_missing": ("missing value", "missing category", "wrong type"),
    "e_nonfinite": ("infinity",),
    "e_out_of_range": ("far",),
    "e_new_category": ("new category",),
    "e_type_fault": ("wrong type",),
}
"""What each detector promises to see, at 20 panes of 200 rows."""
CASES = [(name, shift) for name, shifts in SEES.items() for shift in shifts]
STRONG = np.log(1e-3)


@pytest.fixture(scope="module")
def measured() -> Reference:
    return bench.reference(10_000, numeric=COPIES, categorical=COPIES)


def _last(name: str, measured: Reference, shift: Shift | None, seed: int) -> Evidence:
    """Evidence after 20 panes of 200 rows."""
    rng = np.random.default_rng(seed)
    detector = CATALOG[name](Tolerances())
    fixed = detector.fit(measured)
    state = detector.start(fixed)
    merged = parts.zero(measured.grid)
    baseline = Baseline(measured)
    for pane in range(20):
        rows = bench.block(200, 1_000 * seed + pane, COPIES, COPIES)
        fresh = parts.summarise(measured.grid, shift(rows, rng) if shift else rows)
        merged = parts.merge(merged, fresh)
        if name in SEQUENTIAL or pane == 19:
            state, evidence = detector.score(fixed, state, Window(0.0, 1.0, Comparison(baseline, merged), fresh))
    return evidence


def test_every_detector_declares_what_it_sees() -> None:
    assert SEES.keys() == CATALOG.keys()
    assert {shift for shifts in SEES.values() for shift in shifts} == SHIFTS.keys()


@pytest.mark.parametrize(("name", "shift"), CASES)
def test_declared_shift_is_seen_in_every_column_that_has_it(name: str, shift: str, measured: Reference) -> None:
    units, change = SHIFTS[shift]
    evidence = _last(name, measured, change, seed=1)
    told = evidence.log_e if name in SEQUENTIAL else -evidence.log_p
    assert (told[list(units)] > (np.log(1e4) if name in SEQUENTIAL else -STRONG)).all()


@pytest.mark.parametrize("name", CATALOG)
def test_undrifted_columns_are_left_alone(name: str, measured: Reference) -> None:
    evidence = _last(name, measured, None, seed=2)
    if name in SEQUENTIAL:
        assert not (evidence.log_e > np.log(1e3)).any()
    else:
        # 24 independent tests at 0.1 %: two rejections have a chance of 3e-4, and the seed is fixed
        assert (evidence.log_p < STRONG).sum() <= 1
