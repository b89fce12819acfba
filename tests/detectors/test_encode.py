"""Encoded rows are finite, of about one variance a column, and the same however rows are batched."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import simulate
from detectors.multivariate.encode import CLIP, columns_encoder, vector_encoder
from detectors.types import MISSING_CODE, NEW_CODE, Block, Reference, SingleArray


def _block(n: int, seed: int, *, numeric: int = 3, shares: tuple[tuple[float, ...], ...] = ((0.6, 0.3, 0.1),)) -> Block:
    rng = np.random.default_rng(seed)
    codes = np.stack([rng.choice(len(p), n, p=p) for p in shares], axis=1) if shares else np.zeros((n, 0))
    return simulate.block_of(5 + 3 * rng.standard_normal((n, numeric)), codes.astype(np.int32))


def _measured(block: Block, sizes: tuple[int, ...]) -> Reference:
    return simulate.reference_of(block, dependent=False, labels=[[str(i) for i in range(size)] for size in sizes])


def _with_vectors(*vectors: NDArray[np.floating]) -> Block:
    n = len(vectors[0])
    singles = tuple(one.astype(np.float32) for one in vectors)
    return Block(np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros(0, np.int64), vectors=singles)


def test_every_column_has_unit_variance_and_its_centre_at_zero() -> None:
    rows = _block(20_000, 0, shares=((0.6, 0.3, 0.1), (0.5, 0.5), (0.9, 0.05, 0.03, 0.02)))
    measured = _measured(rows, (3, 2, 4))
    encoder = columns_encoder(measured.grid, measured.summary, rows)
    got = encoder.encode(rows)
    assert got.dtype == np.float32
    assert encoder.unit.tolist() == [0, 1, 2, 3, 3, 3, 4, 5, 5, 5, 5]
    totals = np.bincount(encoder.unit, got.var(axis=0, dtype=np.float64))
    np.testing.assert_allclose(totals, 1, atol=0.05)
    np.testing.assert_allclose(got.mean(axis=0), 0, atol=0.05)


def test_numbers_are_clipped_to_the_range_of_the_reference_and_never_beyond_eight() -> None:
    rng = np.random.default_rng(1)
    rows = simulate.block_of(np.stack([rng.standard_normal(10_000), rng.standard_cauchy(10_000)], axis=1))
    measured = _measured(rows, ())
    encoder = columns_encoder(measured.grid, measured.summary, rows)
    far = encoder.encode(simulate.block_of(np.array([[1e300, 1e300], [-1e300, -1e300]])))
    np.testing.assert_allclose(np.abs(far[:, 0]), 3.1, atol=0.3)
    assert np.abs(far[:, 1]).tolist() == [CLIP, CLIP]


def test_what_is_missing_not_finite_or_new_lies_at_the_centre() -> None:
    rows = _block(5_000, 2, numeric=1, shares=((0.6, 0.3, 0.1), (0.5, 0.5)))
    measured = _measured(rows, (3, 2))
    encoder = columns_encoder(measured.grid, measured.summary, rows)
    odd = simulate.block_of(
        np.array([[np.nan], [np.inf], [-np.inf]]), np.array([[MISSING_CODE] * 2, [NEW_CODE] * 2] * 2)[:3]
    )
    assert not encoder.encode(odd).any()


def test_rare_categories_share_a_dimension_and_new_ones_join_them() -> None:
    rows = _block(20_000, 3, numeric=1, shares=((0.05,) * 20,))
    measured = _measured(rows, (20,))
    encoder = columns_encoder(measured.grid, measured.summary, rows)
    assert (encoder.unit == 1).sum() == 9
    codes = np.array([[MISSING_CODE], [NEW_CODE], *([i] for i in range(20))], np.int32)
    got = encoder.encode(simulate.block_of(np.zeros((22, 1)), codes))[:, 1:]
    assert not got[0].any()
    assert len(np.unique(got[2:], axis=0)) == 9
    assert (got[2:] == got[1]).all(axis=1).sum() == 12


def test_columns_that_do_not_vary_have_no_dimension() -> None:
    rng = np.random.default_rng(4)
    numeric = np.stack([np.full(900, 3.0), rng.standard_normal(900), np.full(900, np.nan)], axis=1)
    rows = simulate.block_of(numeric, np.zeros((900, 1), np.int32))
    measured = _measured(rows, (1,))
    assert columns_encoder(measured.grid, measured.summary, rows).unit.tolist() == [1]


def test_only_the_asked_units_are_encoded() -> None:
    rows = _block(500, 5)
    measured = _measured(rows, (3,))
    encoder = columns_encoder(measured.grid, measured.summary, rows, np.array([3, 1]))
    whole = columns_encoder(measured.grid, measured.summary, rows)
    assert encoder.unit.tolist() == [1, 3, 3, 3]
    np.testing.assert_array_equal(encoder.encode(rows), whole.encode(rows)[:, [1, 3, 4, 5]])


def test_many_columns_first_put_categories_together_and_then_drop_those_of_least_variety() -> None:
    rows = _block(2_000, 6, numeric=10, shares=((0.4, 0.2, 0.2, 0.2),) * 10)
    measured = _measured(rows, (4,) * 10)
    sizes = {most: columns_encoder(measured.grid, measured.summary, rows, most=most).unit for most in (50, 40, 20, 12)}
    assert np.bincount(sizes[50]).tolist() == [1] * 10 + [4] * 10
    assert np.bincount(sizes[40]).tolist() == [1] * 10 + [3] * 10
    assert np.bincount(sizes[20]).tolist() == [1] * 20
    assert len(sizes[12]) == 12
    assert sizes[12][:10].tolist() == [*range(10)]  # numbers vary more than categories


def test_embeddings_keep_the_axes_of_most_variance_at_unit_variance_on_average() -> None:
    rng = np.random.default_rng(7)
    plane = np.linalg.qr(rng.standard_normal((200, 5)))[0] * [9, 7, 5, 4, 3]
    rows = (40 + rng.standard_normal((3_000, 5)) @ plane.T + 0.1 * rng.standard_normal((3_000, 200))).astype(np.float32)
    encoder = vector_encoder(1, rows, rng, most=5)
    assert encoder is not None
    assert encoder.unit.tolist() == [-1] * 5
    got = encoder.encode(_with_vectors(np.zeros((3_000, 2)), rows))
    variance = got.var(axis=0, dtype=np.float64)
    np.testing.assert_allclose(variance.mean(), 1, rtol=1e-3)
    np.testing.assert_allclose(variance / variance.sum(), np.array([81, 49, 25, 16, 9]) / 180, rtol=0.1)


@pytest.mark.parametrize("width", [40, 384])
def test_vectors_that_are_missing_or_absurd_give_the_centre_or_the_edge(width: int) -> None:
    rng = np.random.default_rng(8)
    rows = rng.standard_normal((2_000, width)).astype(np.float32)
    rows[:20] *= 1e18  # must not own the axes
    rows[20] = np.nan
    encoder = vector_encoder(0, rows, rng)
    assert encoder is not None
    odd = np.stack([np.full(width, np.nan), rng.standard_normal(width) * 1e30, rows[30]])
    got = encoder.encode(_with_vectors(odd))
    assert not got[0].any()
    assert (np.abs(got[1]) == CLIP).all()
    assert 0 < np.abs(got[2]).max() < CLIP


def test_an_embedding_that_does_not_vary_has_no_encoder() -> None:
    rng = np.random.default_rng(9)
    for rows in (np.ones((50, 8)), np.zeros((50, 8)), np.full((50, 8), np.nan), np.ones((1, 8)), np.ones((0, 8))):
        assert vector_encoder(0, rows.astype(np.float32), rng) is None


@pytest.mark.parametrize("width", [3, 96, 384, 2048])
def test_what_becomes_of_a_row_does_not_depend_on_its_batch(width: int) -> None:
    rng = np.random.default_rng(10)
    rows: SingleArray = rng.standard_normal((300, width)).astype(np.float32)
    encoder = vector_encoder(0, rows, rng)
    assert encoder is not None
    whole = encoder.encode(_with_vectors(rows))
    for start, end in ((0, 1), (1, 8), (8, 71), (71, 72), (72, 299), (299, 300)):
        np.testing.assert_array_equal(encoder.encode(_with_vectors(rows[start:end])), whole[start:end])
    back = rng.permutation(300)
    np.testing.assert_array_equal(encoder.encode(_with_vectors(rows[back])), whole[back])
