"""Laws of summaries: merging is associative, commutative and has a zero, bit for bit; both ways of counting agree."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import parts, simulate
from detectors.grid import ABOVE, BELOW, BINS, CELLS, SLOTS
from detectors.types import Block, Reference, Summary

P, Q = 5, 3
FIELDS = ("rows", "numeric", "codes", "missing", "nonfinite", "new", "faults", "sums")


def rows(n: int, seed: int) -> Block:
    """Rows with everything in them that is counted."""
    rng = np.random.default_rng(seed)
    numeric = rng.standard_normal((n, P)) * [1, 1e-12, 1e12, 1e300, 1]
    numeric[:, 4] = np.round(numeric[:, 4])
    for value in (np.nan, np.inf, -np.inf, 1e308, 0.0):
        numeric[rng.random((n, P)) < 0.03] = value
    codes = rng.integers(-2, 4, (n, Q)).astype(np.int32)
    block = simulate.block_of(numeric, codes)
    return simulate.mistyped(block, 0, 0.02, rng)


def same(a: Summary, b: Summary) -> bool:
    return a.grid_id == b.grid_id and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in FIELDS)


@pytest.fixture(scope="module")
def measured() -> Reference:
    return simulate.reference_of(rows(3_000, 0), labels=[list("abcd")] * Q)


@given(seed=st.integers(0, 10_000), sizes=st.lists(st.integers(0, 300), min_size=3, max_size=3))
def test_merge_is_associative_and_commutative_and_has_a_zero(measured: Reference, seed: int, sizes: list[int]) -> None:
    a, b, c = (parts.summarise(measured.grid, rows(n, seed + i)) for i, n in enumerate(sizes))
    left = parts.merge(parts.merge(a, b), c)
    assert same(left, parts.merge(a, parts.merge(b, c)))
    assert same(parts.merge(a, b), parts.merge(b, a))
    zero = parts.zero(measured.grid)
    assert same(parts.merge(a, zero), a)
    assert same(parts.merge(zero, a), a)
    assert same(parts.remove(left, c), parts.merge(a, b))


@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 700), max_size=5))
def test_summary_of_the_whole_is_the_merge_of_its_parts(measured: Reference, seed: int, cuts: list[int]) -> None:
    block = rows(700, seed)
    faultless = Block(block.numeric, block.codes, np.zeros(P + Q, np.int64))
    whole = parts.summarise(measured.grid, faultless)
    ends = [0, *sorted(cuts), 700]
    pieces = [simulate.take(block, slice(a, b)) for a, b in itertools.pairwise(ends)]
    assert same(whole, reduce(parts.merge, [parts.summarise(measured.grid, piece) for piece in pieces]))


def test_large_blocks_count_as_many_small_ones_do(measured: Reference) -> None:
    n = 3 * 32_768 + 17
    assert n > CELLS
    block = rows(n, 7)
    whole = parts.summarise(measured.grid, block)
    small = [simulate.take(block, slice(i, i + 1_000)) for i in range(0, n, 1_000)]
    merged = reduce(parts.merge, [parts.summarise(measured.grid, piece) for piece in small])
    for name in FIELDS:
        if name != "faults":
            np.testing.assert_array_equal(getattr(whole, name), getattr(merged, name))


def test_every_value_is_counted_exactly_once(measured: Reference) -> None:
    for n in (300, CELLS + 1_000):
        block = rows(n, 8)
        summary = parts.summarise(measured.grid, block)
        counted = summary.numeric.sum(axis=1) + summary.missing[:P] + summary.nonfinite[:P]
        np.testing.assert_array_equal(counted, n)
        np.testing.assert_array_equal(summary.codes.sum(axis=1) + summary.missing[P:] + summary.new[P:], n)
        np.testing.assert_array_equal(summary.missing[:P], np.isnan(block.numeric).sum(axis=0))
        np.testing.assert_array_equal(summary.nonfinite[:P], np.isinf(block.numeric).sum(axis=0))
        np.testing.assert_array_equal(summary.new[P:], (block.codes == -2).sum(axis=0))


def test_reference_itself_has_nothing_out_of_range(measured: Reference) -> None:
    assert (measured.summary.numeric[:, [BELOW, ABOVE]] == 0).all()
    assert (measured.summary.numeric[:, BELOW + 1 : ABOVE].sum(axis=1) > 0).all()


def test_counts_lie_between_the_edges_of_their_bins() -> None:
    values = np.random.default_rng(1).standard_normal((20_000, 1))
    measured = simulate.reference_of(simulate.block_of(values))
    used = int(measured.grid.used[0])
    by_edges = np.histogram(values[:, 0], measured.grid.edges[0, : used + 1])[0]
    # a cell boundary is a float32: rows within rounding of it may fall on either side
    assert np.abs(by_edges - measured.summary.numeric[0, 1 : used + 1]).max() <= 2
    assert used == BINS
    assert measured.summary.numeric.shape == (1, SLOTS)


def test_atoms_have_bins_of_their_own() -> None:
    rng = np.random.default_rng(2)
    values = np.where(rng.random((10_000, 1)) < 0.4, 7.25, rng.standard_normal((10_000, 1)))
    measured = simulate.reference_of(simulate.block_of(values))
    assert (values == 7.25).sum() in measured.summary.numeric[0]


def test_moments_are_those_of_the_clipped_values() -> None:
    values = np.random.default_rng(3).standard_normal((5_000, 1))
    measured = simulate.reference_of(simulate.block_of(values))
    z = (values[:, 0] - measured.grid.centre[0]) / measured.grid.scale[0]
    np.testing.assert_allclose(measured.summary.sums[0], [z.sum(), (z**2).sum()], atol=5_000 / 1_024)


def test_summaries_of_different_grids_are_refused(measured: Reference) -> None:
    other = simulate.reference_of(rows(3_000, 1), labels=[list("abcd")] * Q)
    with pytest.raises(ValueError, match="`b` was measured on grid"):
        parts.merge(measured.summary, other.summary)


def test_grid_is_named_by_what_decides_the_bin_of_a_value(measured: Reference) -> None:
    again = simulate.reference_of(rows(3_000, 0), labels=[list("abcd")] * Q)
    renamed = simulate.reference_of(rows(3_000, 0), labels=[list("abcx")] * Q)
    assert measured.grid.id == again.grid.id != renamed.grid.id
