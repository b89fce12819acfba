"""A changed mix alone is reported as such and as nothing else; a shift within one segment is found and named."""

from __future__ import annotations

import numpy as np
import pytest

from tests.statistical.mix import COLUMNS, TENANT, streams, window_levels

FEW = 40


@pytest.fixture(scope="module")
def mixed_only() -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return window_levels(0.8, 0.0, FEW, seed=3)


def test_window_test_takes_a_changed_mix_for_drift_only_without_strata(
    mixed_only: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
) -> None:
    # 160 tests at 5 % of nearly independent columns: the standard error is 1.7 points
    assert mixed_only["unstratified"][:, :COLUMNS].mean() > 0.9
    assert mixed_only["stratified"][:, :COLUMNS].mean() <= 0.08
    assert mixed_only["mix"].mean() == 1


def test_shift_within_one_tenant_is_found_beside_a_changed_mix() -> None:
    found = window_levels(0.8, 0.2, FEW, seed=4)
    assert found["stratified"][:, 0].mean() > 0.9
    assert found["stratified"][:, 1:COLUMNS].mean() <= 0.1
    assert found["own stream"][:, 0].mean() > 0.9


def test_changed_mix_pages_for_the_tenant_and_for_no_other_column() -> None:
    told = streams(0.8, 0.0, 8, seed=5)
    assert all(one.column > 0 for one in told["unstratified"])
    assert all(one.units == (TENANT,) and not one.column for one in told["stratified"])
    assert not any(one.pane for one in told["own stream"])


def test_shift_within_one_tenant_pages_in_its_own_stream() -> None:
    # its reference is 5,000 rows, whose own error may hide a shift of 0.08 beside a smallest one of 0.02 for long
    told = streams(0.8, 0.2, 8, seed=6)["own stream"]
    found = [one for one in told if one.pane]
    assert len(found) >= 7
    assert all(one.units == (0,) for one in found)
    assert np.mean([one.column for one in found]) < 30
