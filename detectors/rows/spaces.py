"""The spaces in which the heuristics compare rows: similarity, the model's inputs, its embedding.

Question: which queries look alike to people, whatever a small perturbation does to them?
Statistic: *similarity* is a low-pass space of m <= 64 numbers (192 for colour images): of an image the means of 8 x 8
cells; of a table the mixed-type encoding of its feature columns, along its top principal axes where it has more; of a
log without inputs the top principal axes of the embedding, which also help out where features are few. All is divided
by one number, so that a dimension has variance one on average; axes are not whitened, since that would bring back what
a low-pass takes out. *Inputs* are all the model got: pixels (area means of 32 x 32 where they are more than 4,096),
or the encoded columns. *Embedding* is as logged.
Calibration: none; distances are calibrated by those who use them.
Sees / blind to: a perturbation of any norm moves a query little here unless it changes what is in the picture; blind to
changes of columns that are no features, and a similar picture of something else is near as well.
Cost: one (n x D) product a row; a row's place depends on that row alone, to the last bit. Memory: 64 x D numbers.
Source: failures.md sections 0.2 and 3.3 (H8: thumbnail against hashes under dither); Li, Shan, Wenger et al. 2022.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.grid import Grid
from detectors.multivariate.encode import ColumnsEncoder, along, columns_encoder, principal
from detectors.rows.answers import vector
from detectors.rows.layout import Layout
from detectors.types import Block, SingleArray, Summary

CELLS = 8
"""Thumbnails are this many cells high and wide."""
MOST_NEAR = 64
"""Dimensions of similarity, but for colour images."""
MOST_INPUTS = 4096
"""Images of more numbers than this are looked at in cells of their own."""
_SMALL_SIDE = 32
_FEW = 8
"""With fewer encoded dimensions than this, features alone do not tell queries apart: the embedding helps."""
_FAR = 8.0
"""Rows this many times longer than the median one do not take part in measuring."""
_FIT_ROWS = 4096
"""Rows on which axes and scales are measured, at most."""


class Pool(NamedTuple):
    """Means over the cells of an image: weights ``rows (a, height)`` and ``columns (b, width)``, each row adds to 1."""

    rows: SingleArray
    columns: SingleArray


class Axes(NamedTuple):
    """A linear map: (x - ``centre (d,)``) @ ``axes (d, m)``."""

    centre: SingleArray
    axes: SingleArray


class Spaces(NamedTuple):
    """What the spaces know of the reference; make it by `fit`.

    ``thumbnail`` and ``small`` are empty where they are not used, ``columns`` encodes the features, ``near`` is the
    last step of similarity, and ``weight ()`` is that of the embedding in it, 0 where it takes no part.
    """

    layout: Layout
    thumbnail: Pool
    small: Pool
    columns: ColumnsEncoder
    weight: SingleArray
    near: Axes


def fit(layout: Layout, grid: Grid, summary: Summary, block: Block, rng: np.random.Generator) -> Spaces:
    """Measure the spaces on reference rows ``block``; ``summary`` gives the shares of categories.

    Without rows, or without anything to compare rows by, spaces have no dimensions and take any row.
    """
    columns = columns_encoder(grid, summary, block, layout.features.astype(np.int64))
    thumbnail, small = _pools(layout)
    needed = not len(thumbnail.rows) and len(columns.unit) < _FEW
    weight = _weight(vector(layout.embedding, block)) if needed else 0.0
    spaces = Spaces(layout, thumbnail, small, columns, np.array(weight, np.float32), _identity(0))
    raw = _raw(spaces, block)
    most = raw.shape[1] if len(thumbnail.rows) else MOST_NEAR
    return spaces._replace(near=axes_of(raw, most, rng))


def similarity(fixed: Spaces, block: Block) -> SingleArray:
    """Rows ``(n, m)``, a row of NaN where a row has no place: no image, a vector that is not finite, no features."""
    return projected(fixed.near, _raw(fixed, block))


def inputs(fixed: Spaces, block: Block) -> SingleArray:
    """What the model got ``(n, D)``: pixels in their own units or encoded columns; NaN as logged; D = 0 without any."""
    if not image_shape(fixed.layout)[0]:
        return fixed.columns.encode(block)
    pixels = image(fixed.layout, block)
    return _flat(_pooled(fixed.small, pixels) if len(fixed.small.rows) else pixels)


def embedding(fixed: Spaces, block: Block) -> SingleArray:
    """The embedding ``(n, d)`` as logged, d = 0 without one."""
    return vector(fixed.layout.embedding, block)


def projected(known: Axes, rows: SingleArray) -> SingleArray:
    """Rows ``(n, d)`` in the map's space ``(n, m)``, in tiles; a row of NaN where one of its numbers is not finite."""
    out = along(known.centre, known.axes, rows)
    out[~np.isfinite(out).all(axis=1)] = np.nan
    return out


def image_shape(layout: Layout) -> tuple[int, int, int]:
    """Height, width and channels of the images, (0, 0, 0) without any."""
    if layout.image.size != len(("place", "height", "width", "channels")) or layout.image[0] < 0:
        return 0, 0, 0
    _, height, width, channels = layout.image.tolist()
    return int(height), int(width), int(channels)


def inputs_shape(fixed: Spaces) -> tuple[int, int, int]:
    """Height, width and channels of the images that `inputs` gives, (0, 0, 0) where it gives columns."""
    height, width, channels = image_shape(fixed.layout)
    small = fixed.small
    return (len(small.rows), len(small.columns), channels) if len(small.rows) else (height, width, channels)


def image(layout: Layout, block: Block) -> SingleArray:
    """Images ``(n, height, width, channels)``: of no size where the log has none, NaN where the block has not."""
    height, width, channels = image_shape(layout)
    flat = vector(layout.image[:1], block)
    if flat.shape[1] != height * width * channels:
        flat = np.full((block.rows, height * width * channels), np.nan, np.float32)
    return flat.reshape(block.rows, height, width, channels)


def _flat(pixels: SingleArray) -> SingleArray:
    n, height, width, channels = pixels.shape
    return pixels.reshape(n, height * width * channels)


def _raw(fixed: Spaces, block: Block) -> SingleArray:
    """What similarity is made of, before its last step."""
    if len(fixed.thumbnail.rows):
        pixels = image(fixed.layout, block)
        return _flat(_pooled(fixed.thumbnail, pixels))
    rows = fixed.columns.encode(block)
    if fixed.weight > 0:
        with np.errstate(over="ignore"):
            return np.concatenate([rows, vector(fixed.layout.embedding, block) * fixed.weight], axis=1)
    if rows.shape[1]:
        rows[_no_features(fixed.layout, block)] = np.nan
    return rows


def _no_features(layout: Layout, block: Block) -> NDArray[np.bool_]:
    """Rows whose features are all missing: they have no place among the others."""
    p = block.numeric.shape[1]
    mine = layout.features
    numbers = np.isnan(block.numeric[:, mine[mine < p]]).all(axis=1)
    codes = (block.codes[:, mine[mine >= p] - p] == -1).all(axis=1)
    missing: NDArray[np.bool_] = numbers & codes
    return missing


def _weight(vectors: SingleArray) -> float:
    """One over the spread of an embedding's dimension, so that it weighs as much as a column; 0 without spread."""
    rows = _near(vectors)
    spread = float(rows.std(axis=0, dtype=np.float64).mean()) if rows.size else 0.0
    return 1 / spread if spread > 0 else 0.0


def _typical(rows: SingleArray, rng: np.random.Generator) -> SingleArray:
    """Rows to measure on: some of those that are finite and not far out."""
    near = _near(rows)
    return near[np.sort(rng.permutation(len(near))[:_FIT_ROWS])]


def _near(rows: SingleArray) -> SingleArray:
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    finite = np.isfinite(length)
    middle = float(np.median(length[finite])) if finite.any() else 0.0
    out: SingleArray = rows[finite & (length <= _FAR * middle)] if middle > 0 else rows[finite]
    return out


def axes_of(rows: SingleArray, most: int, rng: np.random.Generator) -> Axes:
    """The whole space of rows ``(n, d)`` or its top axes, divided by one number: variance one a dimension on average.

    Some of the rows that are finite and not far out are measured.
    """
    d = rows.shape[1]
    rows = _typical(rows, rng)
    if len(rows) < 2 or not d:
        return _identity(d)
    with np.errstate(over="ignore", invalid="ignore"):
        centre = np.nan_to_num(rows.mean(axis=0, dtype=np.float64)).astype(np.float32)
        apart = rows - centre
        size = float(np.sqrt(np.square(apart, dtype=np.float64).mean()))
    if not 0 < size < np.inf:
        return Axes(centre, np.eye(d, min(d, most), dtype=np.float32))
    axes = np.eye(d)
    if d > most:
        axes, _ = principal(apart / np.float32(size), min(most, len(rows) - 1), rng)
    spread = np.sqrt(np.square((apart / np.float32(size)) @ axes, dtype=np.float64).mean())
    return Axes(centre, np.ascontiguousarray(axes / (max(spread, 1e-12) * size), np.float32))


def _identity(d: int) -> Axes:
    return Axes(np.zeros(d, np.float32), np.eye(d, dtype=np.float32))


def _pools(layout: Layout) -> tuple[Pool, Pool]:
    height, width, channels = image_shape(layout)
    none = Pool(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))
    if not height * width * channels:
        return none, none
    thumbnail = Pool(_means(height, CELLS), _means(width, CELLS))
    if height * width * channels <= MOST_INPUTS:
        return thumbnail, none
    return thumbnail, Pool(_means(height, _SMALL_SIDE), _means(width, _SMALL_SIDE))


def _means(length: int, cells: int) -> SingleArray:
    """Weights ``(a, length)`` of a = min(cells, length) equal pieces of a line; pixels at a border belong to both."""
    cells = min(cells, length)
    ends = np.arange(cells + 1) * (length / cells)
    pixel = np.arange(length)
    covered = np.minimum(ends[1:, None], pixel + 1) - np.maximum(ends[:-1, None], pixel)
    weights: SingleArray = (np.maximum(covered, 0) * (cells / length)).astype(np.float32)
    return weights


def _pooled(pool: Pool, pixels: SingleArray) -> SingleArray:
    """Means ``(n, a, b, channels)`` of images ``(n, height, width, channels)``, each by itself."""
    n, height, width, channels = pixels.shape
    a, b = len(pool.rows), len(pool.columns)
    with np.errstate(over="ignore", invalid="ignore"):
        lines = pool.rows @ pixels.reshape(n, height, width * channels)
        out: SingleArray = pool.columns @ lines.reshape(n * a, width, channels)
    return out.reshape(n, a, b, channels)
