"""Spaces of rows: low-pass similarity of images, tables and embeddings, and the inputs as the model got them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import simulate
from detectors.grid import Grid
from detectors.rows import spaces
from detectors.rows.layout import Layout
from detectors.types import Block, Reference, SingleArray

_NONE = np.array(-1)


def _layout(features: int = 0, image: tuple[int, ...] = (-1, 0, 0, 0), embedding: int = -1) -> Layout:
    return Layout(
        np.arange(features), np.array(image), np.array(embedding), _NONE, _NONE, _NONE, _NONE, np.zeros(0, np.int64)
    )


def _block(*vectors: NDArray[np.floating], numeric: int = 0, seed: int = 0) -> Block:
    n = len(vectors[0]) if vectors else 3000
    plain = simulate.block_of(np.random.default_rng(seed).standard_normal((n, numeric)))
    return Block(plain.numeric, plain.codes, plain.faults, None, tuple(one.astype(np.float32) for one in vectors))


def _measured(block: Block) -> Reference:
    return simulate.reference_of(block, dependent=False)


def _fit(layout: Layout, block: Block) -> spaces.Spaces:
    measured = _measured(block)
    return spaces.fit(layout, measured.grid, measured.summary, block, np.random.default_rng(1))


def _pictures(n: int, height: int, width: int, channels: int, seed: int = 0) -> SingleArray:
    """Smooth pictures: two waves with random phase."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    phase = rng.uniform(0, 6, (n, channels, 2, 1, 1))
    waves = np.sin(4 * x + phase[:, :, 0]) + np.sin(4 * y + phase[:, :, 1])
    flat: SingleArray = np.moveaxis(waves, 1, -1).reshape(n, height * width * channels).astype(np.float32)
    return flat


@pytest.mark.parametrize(
    ("shape", "m", "d"), [((28, 28, 1), 64, 784), ((20, 33, 3), 192, 1980), ((48, 50, 3), 192, 3072)]
)
def test_a_thumbnail_takes_out_noise_and_keeps_the_picture(shape: tuple[int, int, int], m: int, d: int) -> None:
    pixels = _pictures(300, *shape)
    layout = _layout(image=(0, *shape))
    fixed = _fit(layout, _block(pixels))
    near = spaces.similarity(fixed, _block(pixels))
    assert near.shape == (300, m)
    assert spaces.inputs(fixed, _block(pixels)).shape == (300, d)
    np.testing.assert_allclose(near.var(axis=0).mean(), 1, atol=0.01)
    noise = np.random.default_rng(2).normal(0, 0.2, pixels.shape)
    moved = np.linalg.norm(spaces.similarity(fixed, _block(pixels + noise)) - near, axis=1)
    others = np.linalg.norm(near[1:] - near[:-1], axis=1)
    assert np.quantile(moved, 0.99) < 0.15 * np.median(others)


def test_cells_of_unequal_size_are_true_means() -> None:
    flat = np.full((2, 7 * 13), 3.0, np.float32)
    pool = spaces.Pool(spaces._means(7, 8), spaces._means(13, 8))
    assert pool.rows.shape == (7, 7)
    assert pool.columns.shape == (8, 13)
    np.testing.assert_allclose(pool.columns.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(pool.columns.mean(axis=0) * 13, 1, rtol=1e-6)
    assert np.allclose(spaces._pooled(pool, flat.reshape(2, 7, 13, 1)), 3)


def test_tables_keep_their_columns_and_long_ones_their_strongest_axes() -> None:
    few, many = _block(numeric=10), _block(numeric=100)
    assert spaces.similarity(_fit(_layout(10), few), few).shape == (3000, 10)
    fixed = _fit(_layout(100), many)
    near = spaces.similarity(fixed, many)
    assert near.shape == (3000, 64)
    np.testing.assert_allclose(near.var(axis=0).mean(), 1, atol=0.02)
    assert spaces.inputs(fixed, many).shape == (3000, 100)


def test_a_place_depends_on_its_row_alone_to_the_last_bit() -> None:
    pixels = _pictures(150, 28, 28, 1)
    fixed = _fit(_layout(image=(0, 28, 28, 1)), _block(pixels))
    whole = spaces.similarity(fixed, _block(pixels))
    pieces = [spaces.similarity(fixed, _block(pixels[a:b])) for a, b in ((0, 1), (1, 70), (70, 150))]
    assert np.array_equal(whole, np.concatenate(pieces))


def test_an_embedding_stands_in_where_there_are_no_or_few_features() -> None:
    vectors = np.random.default_rng(3).standard_normal((2000, 200)) * 50
    alone = _block(vectors)
    fixed = _fit(_layout(embedding=0), alone)
    assert spaces.similarity(fixed, alone).shape == (2000, 64)
    assert spaces.inputs(fixed, alone).shape == (2000, 0)
    assert spaces.embedding(fixed, alone) is alone.vectors[0]
    both = _block(vectors, numeric=3)
    fixed = _fit(_layout(3, embedding=0), both)
    assert fixed.weight == pytest.approx(1 / 50, rel=0.02)
    wide = _block(vectors, numeric=9)
    assert _fit(_layout(9, embedding=0), wide).weight == 0


def test_rows_without_a_place_are_nan_and_the_others_stay() -> None:
    pixels = _pictures(100, 28, 28, 1)
    fixed = _fit(_layout(image=(0, 28, 28, 1)), _block(pixels))
    pixels[3, 5], pixels[4], pixels[5] = np.nan, np.inf, 3e38
    near = spaces.similarity(fixed, _block(pixels))
    assert np.isnan(near[[3, 4]]).all()
    assert np.isfinite(np.delete(near, [3, 4, 5], axis=0)).all()
    table = _block(numeric=9)
    fixed = _fit(_layout(9), table)
    table.numeric[0] = np.nan
    table.numeric[1, 0], table.numeric[2, 0] = np.nan, 1e308
    assert np.isnan(spaces.similarity(fixed, table)[:3]).all(axis=1).tolist() == [True, False, False]


@pytest.mark.parametrize("n", [0, 1])
def test_a_reference_of_no_or_one_row_gives_spaces_that_take_any_row(n: int) -> None:
    pixels = _pictures(1, 28, 28, 1)[:n]
    fixed = _fit(_layout(image=(0, 28, 28, 1)), _block(pixels))
    assert spaces.similarity(fixed, _block(_pictures(4, 28, 28, 1))).shape == (4, 64)
    nothing = _fit(_layout(), _block(numeric=2))
    assert spaces.similarity(nothing, _block(numeric=2)).shape == (3000, 0)


def test_a_layout_without_entries_is_a_log_without_them() -> None:
    empty = np.zeros(0, np.int64)
    block = _block(numeric=2)
    measured = _measured(block)
    grid: Grid = measured.grid
    fixed = spaces.fit(Layout(*[empty] * 8), grid, measured.summary, block, np.random.default_rng(0))
    assert spaces.inputs(fixed, block).shape == (3000, 0)
    assert spaces.embedding(fixed, block).shape == (3000, 0)
