"""Integrity: what the reference's format was is learnt, what breaks it is named, what keeps it passes."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import simulate
from detectors.rows import integrity
from detectors.rows.layout import Layout
from detectors.types import MISSING_CODE, NEW_CODE, Block, CodeArray, FloatArray, SingleArray

NONE = np.zeros(0, np.int64)
MINUS = np.array(-1, np.int64)


def layout_of(features: int, image: tuple[int, ...] = ()) -> Layout:
    return Layout(np.arange(features), np.array(image, np.int64), MINUS, MINUS, MINUS, MINUS, MINUS, NONE)


def block_of(numeric: FloatArray, codes: CodeArray | None = None, images: SingleArray | None = None) -> Block:
    codes = np.zeros((len(numeric), 0), np.int32) if codes is None else codes
    vectors = () if images is None else (images,)
    return Block(numeric, codes, np.zeros(numeric.shape[1] + codes.shape[1], np.int64), vectors=vectors)


def fitted(block: Block, labels: tuple[tuple[str, ...], ...] = (), *, image: bool = False) -> integrity.IntegrityFixed:
    reference = simulate.reference_of(block, dependent=False, labels=[list(names) for names in labels])
    shape = (0, 4, 4, 1) if image else ()
    layout = layout_of(len(reference.grid.names), shape)
    return integrity.fit(layout, reference.grid, reference.summary, block)


def customers(n: int, seed: int) -> FloatArray:
    """Whole years, cents, a total of three parts, minimum below maximum, an integer code, a plain number."""
    rng = np.random.default_rng(seed)
    parts = np.round(rng.lognormal(3, 1, (n, 3)), 2)
    low = rng.standard_normal(n)
    return np.column_stack(
        [
            rng.integers(18, 90, n),
            parts,
            parts.sum(axis=1),
            low,
            low + rng.exponential(0.5, n),
            rng.standard_normal(n),
        ]
    ).astype(np.float64)


def test_rows_of_the_reference_s_kind_pass() -> None:
    fixed = fitted(block_of(customers(4_000, 0)))
    fresh = integrity.check(fixed, block_of(customers(20_000, 1)))
    assert fresh.rows.astype(bool).mean() < 0.002
    assert (fresh.flags.mean(axis=0) <= integrity.null_rates(fixed)).all()


@pytest.mark.parametrize(
    ("column", "value", "kind"),
    [
        (0, 33.5, integrity.GRID),
        (1, 12.3456, integrity.GRID),
        (0, -999.0, integrity.RANGE),
        (7, 1e308, integrity.RANGE),
        (7, np.inf, integrity.INFINITE),
        (7, np.nan, integrity.MISSING),
    ],
)
def test_one_damaged_value_is_named_in_its_column(column: int, value: float, kind: int) -> None:
    fixed = fitted(block_of(customers(4_000, 0)))
    rows = customers(50, 2)
    rows[7, column] = value
    found = integrity.check(fixed, block_of(rows))
    assert found.kinds[7, column] & kind
    assert found.score[7] >= 1
    assert not found.rows[np.arange(50) != 7].any()


def test_broken_totals_and_orderings_are_told_by_all_their_columns() -> None:
    fixed = fitted(block_of(customers(4_000, 0)))
    rows = customers(50, 3)
    rows[4, 2] += 7.0  # a part that the total does not know of
    rows[5, [5, 6]] = rows[5, [6, 5]]
    found = integrity.check(fixed, block_of(rows))
    assert np.flatnonzero(found.kinds[4] & integrity.RELATION).tolist() == [1, 2, 3, 4]
    assert np.flatnonzero(found.kinds[5] & integrity.RELATION).tolist() == [5, 6]
    assert found.score.tolist() == [0] * 4 + [4, 2] + [0] * 44


def test_one_hot_groups_and_copies_are_relations() -> None:
    rng = np.random.default_rng(4)
    level, number = rng.integers(0, 4, 4_000), rng.standard_normal(4_000)
    columns = np.column_stack([np.eye(4)[level], number, number * 1.8 + 32])
    fixed = fitted(block_of(columns))
    assert len(fixed.relations.weights) >= 2
    rows = columns[:3].copy()
    rows[0, :4] = [1, 1, 0, 0]
    rows[1, 5] += 0.5
    found = integrity.check(fixed, block_of(rows))
    assert (found.kinds[0, :4] & integrity.RELATION).all()
    assert np.flatnonzero(found.kinds[1] & integrity.RELATION).tolist() == [4, 5]
    assert not found.rows[2]


def test_a_bound_with_an_atom_is_hard_and_a_tail_may_go_on() -> None:
    rng = np.random.default_rng(5)
    share, income = np.clip(rng.normal(0.5, 0.4, 4_000), 0, 1), rng.lognormal(0, 1, 4_000)
    fixed = fitted(block_of(np.column_stack([share, income])))
    found = integrity.check(fixed, block_of(np.array([[1.001, 1.0], [-1e-6, 1.0], [0.5, income.max() * 1.2]])))
    assert [bool(row & integrity.RANGE) for row in found.rows] == [True, True, False]


def test_new_and_missing_categories_are_named() -> None:
    rng = np.random.default_rng(6)
    codes = rng.integers(0, 3, (1_000, 1)).astype(np.int32)
    fixed = fitted(block_of(np.zeros((1_000, 0)), codes), (("a", "b", "c"),))
    found = integrity.check(fixed, block_of(np.zeros((3, 0)), np.array([[0], [NEW_CODE], [MISSING_CODE]], np.int32)))
    assert found.rows.tolist() == [0, integrity.NEW, integrity.MISSING]


def test_a_column_that_is_often_missing_or_grows_is_not_held_to_it() -> None:
    rng = np.random.default_rng(7)
    holes = np.where(rng.random(2_000) < 0.05, np.nan, rng.standard_normal(2_000))
    fixed = fitted(block_of(np.column_stack([holes, np.arange(2_000.0)])))
    found = integrity.check(fixed, block_of(np.array([[np.nan, 9_000.0]])))
    assert not found.rows.any()


def images(n: int, seed: int) -> SingleArray:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 256, (n, 16)) / 255).astype(np.float32)


def test_unrounded_pixels_are_found_and_their_distance_to_the_grid_told() -> None:
    plain = np.zeros((600, 0))
    fixed = fitted(block_of(plain, images=images(600, 8)), image=True)
    assert float(fixed.pixels.step[0]) == pytest.approx(1 / 255)
    noisy = np.clip(images(40, 9) + np.random.default_rng(1).uniform(-0.03, 0.03, (40, 16)), 0, 1).astype(np.float32)
    rounded = (np.rint(noisy.astype(np.float64) * 255) / 255).astype(np.float32)
    attacked = integrity.check(fixed, block_of(plain[:40], images=noisy))
    assert (attacked.image & integrity.GRID).all()
    assert attacked.off_grid.min() > 0.1
    assert attacked.rows.tolist() == [integrity.IMAGE] * 40
    assert not integrity.check(fixed, block_of(plain[:40], images=rounded)).rows.any()


def test_standardised_pixels_are_known_by_their_levels() -> None:
    plain, scale = np.zeros((1_000, 0)), np.float32(0.3081)
    fixed = fitted(block_of(plain, images=(images(1_000, 8) - np.float32(0.1307)) / scale), image=True)
    assert float(fixed.pixels.step[0]) == 0
    assert len(fixed.levels) == 256
    clean = (images(40, 9) - np.float32(0.1307)) / scale
    noisy = clean + np.random.default_rng(2).normal(0, 0.05, clean.shape).astype(np.float32)
    assert not integrity.check(fixed, block_of(plain[:40], images=clean)).rows.any()
    found = integrity.check(fixed, block_of(plain[:40], images=noisy))
    assert (found.image & integrity.GRID).all()
    assert found.off_grid.min() > 0.1


def test_expected_miss_an_attacker_who_rounds_to_the_training_grid_is_not_seen() -> None:
    fixed = fitted(block_of(np.zeros((600, 0)), images=images(600, 8)), image=True)
    attack = np.clip(np.rint(images(200, 10) * 255) + 8, 0, 255).astype(np.float32) / np.float32(255)
    found = integrity.check(fixed, block_of(np.zeros((200, 0)), images=attack))
    assert not found.rows.any()


@pytest.mark.parametrize("rows", [0, 1, 99])
def test_a_reference_too_small_to_learn_from_accuses_nobody(rows: int) -> None:
    fixed = fitted(block_of(customers(rows, 0)))
    odd = block_of(np.full((2, 8), 1e308))
    assert not integrity.check(fixed, odd).rows.any()


def test_hostile_numbers_do_not_break_anything_and_no_row_depends_on_others() -> None:
    reference = customers(2_000, 0)
    reference[::7, 7] = np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324])[np.arange(286) % 6]
    fixed = fitted(block_of(reference))
    rows = customers(64, 1)
    rows[::3] *= 1e306
    rows[1::3] = np.nan
    whole = integrity.check(fixed, block_of(rows))
    alone = [integrity.check(fixed, block_of(rows[[i]])).kinds[0] for i in range(64)]
    np.testing.assert_array_equal(whole.kinds, np.array(alone))
    assert integrity.check(fixed, block_of(rows[:0])).flags.shape == (0, len(integrity.KINDS))
