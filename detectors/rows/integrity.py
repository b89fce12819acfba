"""Integrity: values that are not of the training format, whatever their distribution.

Question: could the training data have held this row, by its missing values, ranges, number grid, categories, relations?
Statistic: which checks each value fails. What is checked of a column is learnt from the reference: whether it is ever
missing or infinite, its range beyond which its own tail (least value to 1 % quantile) is laid once more, so that a
column with an atom at its bound (0, 255) has a hard one; the coarsest grid that 99.9 % of its values lie on; whether
its categories are all known; the relations of `detectors.rows.relations`. Images are checked as one column of pixels.
Calibration: learnt on the first half of the reference; a check that more than 0.1 % of its third quarter fail is none.
`IntegrityFixed.flagged` counts the last quarter's rows that fail each kind: `null_rates` bounds the benign rates.
Sees / blind to: unquantised floats of attack tools, other units or encodings, sentinels, truncation, broken totals;
blind to values rounded to the training format (AUROC exactly .50 after rounding): evaded by whoever looks at the data.
Cost: about 10 passes over the numbers. Source: H5.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.grid import Grid
from detectors.rows.layout import Layout
from detectors.rows.relations import Relations, broken, mine
from detectors.simulate import take
from detectors.types import MISSING_CODE, NEW_CODE, Block, FloatArray, IntArray, SingleArray, Summary

KINDS: Final = ("missing", "infinite", "range", "grid", "new_category", "relation", "image")
"""Bit i of a mask is kind i; "image" stands for whatever is wrong with the pixels."""
MISSING, INFINITE, RANGE, GRID, NEW, RELATION, IMAGE = (1 << i for i in range(len(KINDS)))
RARE = 0.001
"""Greatest share of the reference's third quarter that may fail a check."""
STEPS: Final = (100, 10, 5, 1, 0.5, 0.25, 0.1, 1 / 16, 0.05, 0.025, 0.01, 1 / 255, 1 / 256, 0.001, 1e-4)
"""Grids that are tried, coarsest first."""
_TAIL = 0.01
_OFF = 1e-6
"""A value lies on a grid of step g if v/g is a whole number to this accuracy, and to what its type can hold."""
_BLURRED = 0.01
"""Where the type holds v/g to no better than this, nobody can tell."""
_TELLING = 20
"""Values beside the most frequent one that must lie on a grid before it is one."""
_LEAST_ROWS = 50
_LEVELS = 1_024
_PIXELS = 1 << 22
"""Pixels of the reference that are looked at, at most."""


class Column(NamedTuple):
    """What values of numeric columns must be like, ``(c,)``: range, grid (0: none), relative error of their type."""

    low: FloatArray
    high: FloatArray
    step: FloatArray
    error: FloatArray


class IntegrityFixed(NamedTuple):
    """``checked (u,)`` masks of the kinds that are checked of each unit, ``image_checked ()`` of pixels.

    ``columns (p,)`` and ``pixels (1,)`` are what numbers must be like, ``image ()`` the position in ``Block.vectors``
    (-1: none); pixels on no grid, but of few values (standardised ones), must be one of ``levels (l,)``.
    ``flagged (K,)`` of ``rows ()`` held-out rows fail each kind.
    """

    checked: NDArray[np.uint8]
    columns: Column
    relations: Relations
    image: IntArray
    image_checked: NDArray[np.uint8]
    pixels: Column
    levels: FloatArray
    flagged: IntArray
    rows: IntArray


class Integrity(NamedTuple):
    """``kinds (n, u)`` masks of what is wrong with each value, ``image (n,)`` with the pixels.

    ``off_grid (n,)`` is the mean distance of the pixels to their grid in its steps (0: on it, 1/4: no grid; NaN: not
    known), which tells rounding of another kind from none.
    """

    kinds: NDArray[np.uint8]
    image: NDArray[np.uint8]
    off_grid: FloatArray

    @property
    def violations(self) -> NDArray[np.bool_]:
        """Which values are wrong, ``(n, u)``."""
        wrong: NDArray[np.bool_] = self.kinds != 0
        return wrong

    @property
    def score(self) -> IntArray:
        """Columns that are wrong in each row ``(n,)``; the image counts as one."""
        counts: IntArray = (self.kinds != 0).sum(axis=1) + (self.image != 0)
        return counts

    @property
    def rows(self) -> NDArray[np.uint8]:
        """Kinds that each row fails, ``(n,)`` masks."""
        joined: NDArray[np.uint8] = np.bitwise_or.reduce(self.kinds, axis=1, initial=0)
        return joined | np.where(self.image != 0, IMAGE, 0).astype(np.uint8)

    @property
    def flags(self) -> NDArray[np.bool_]:
        """Whether each row fails each kind, ``(n, K)``."""
        bits: NDArray[np.bool_] = (self.rows[:, None] >> np.arange(len(KINDS), dtype=np.uint8)) & 1 != 0
        return bits


def fit(layout: Layout, grid: Grid, summary: Summary, block: Block) -> IntegrityFixed:
    """Learn the checks from reference rows, in order; with too few rows nothing is checked."""
    half = block.rows // 2
    p, units = len(grid.numeric_names), len(grid.names)
    watched = np.zeros(units, np.bool_)
    watched[layout.features] = True
    if half < _LEAST_ROWS:
        watched[:] = False
    numeric = layout.features[layout.features < p]
    images = _pixels(layout, block)
    pixels: FloatArray = images[: len(images) // 2].ravel().astype(np.float64)
    column = _column(pixels)
    fixed = IntegrityFixed(
        checked=np.where(watched, _checkable(grid, summary), 0).astype(np.uint8),
        columns=_columns(block.numeric[:half]),
        relations=mine(block.numeric, numeric),
        image=np.array(layout.image[0] if len(layout.image) else -1, np.int64),
        image_checked=np.array(MISSING | RANGE | GRID if half >= _LEAST_ROWS else 0, np.uint8),
        pixels=column,
        levels=np.zeros(0) if column.step[0] else _levels(pixels),
        flagged=np.zeros(len(KINDS), np.int64),
        rows=np.array(0, np.int64),
    )
    fixed = _calibrated(fixed, block, half)
    return fixed._replace(columns=_widened(fixed.columns, grid))


def check(fixed: IntegrityFixed, block: Block) -> Integrity:
    """Judge rows, each by itself."""
    p = block.numeric.shape[1]
    kinds = np.zeros((block.rows, len(fixed.checked)), np.uint8)
    kinds[:, :p] = _numbers(fixed.columns, block.numeric)
    kinds[:, p:] = np.where(block.codes == MISSING_CODE, MISSING, np.where(block.codes == NEW_CODE, NEW, 0))
    off = broken(fixed.relations, block.numeric)
    members = fixed.relations.weights != 0
    kinds[:, :p] |= np.where(off.astype(np.float32) @ members.astype(np.float32) > 0, RELATION, 0).astype(np.uint8)
    kinds &= fixed.checked
    image, off_grid = _image(fixed, block)
    return Integrity(kinds, image, off_grid)


def null_rates(fixed: IntegrityFixed, level: float = 0.05) -> FloatArray:
    """Upper confidence bound of the share of benign rows that fail each kind, ``(K,)`` (Clopper-Pearson)."""
    passed = np.maximum(fixed.rows - fixed.flagged, 1).astype(np.float64)
    return np.asarray(special.betaincinv(fixed.flagged + 1.0, passed, 1 - level), np.float64)


def _checkable(grid: Grid, summary: Summary) -> IntArray:
    """Kinds that make sense of each unit by what the whole reference counted."""
    rows, p = max(summary.rows, 1), len(grid.numeric_names)
    mask = np.full(len(grid.names), RELATION, np.int64)
    mask |= np.where(summary.missing <= RARE * rows, MISSING, 0)
    mask |= np.where(summary.nonfinite <= RARE * rows, INFINITE, 0)
    mask[:p] |= RANGE | GRID
    mask[p:] = (mask[p:] & MISSING) | np.where(grid.open_vocabulary, 0, NEW)
    return mask


def _columns(values: FloatArray) -> Column:
    """What each numeric column must be like."""
    found = [_column(values[:, j]) for j in range(values.shape[1])]  # once per fit
    low, high, step, error = (np.array([column[i][0] for column in found], np.float64) for i in range(4))
    return Column(low, high, step, error)


def _widened(columns: Column, grid: Grid) -> Column:
    """Ranges not narrower than the whole reference's."""
    first = grid.edges[:, 0]
    last = grid.edges[np.arange(len(grid.used)), grid.used]
    low, high = _beyond(first, columns.low, grid.centre, -1.0), _beyond(last, columns.high, grid.centre, 1.0)
    return columns._replace(low=low, high=high)


def _beyond(edge: FloatArray, bound: FloatArray, centre: FloatArray, sign: float) -> FloatArray:
    """The reference's edge where it lies beyond the bound by more than the grid's coarseness."""
    with np.errstate(over="ignore", invalid="ignore"):
        wider: FloatArray = np.where(sign * (edge - bound) > _TAIL * np.abs(bound - centre), edge, bound)
    return wider


def _column(values: FloatArray) -> Column:
    """Range, grid and type of one column; no demand at all without values."""
    x = values[np.isfinite(values)].astype(np.float64)
    if not x.size:
        return Column(np.array([-np.inf]), np.array([np.inf]), np.zeros(1), np.zeros(1))
    least, low, high, most = np.quantile(x, [0, _TAIL, 1 - _TAIL, 1], method="inverted_cdf")
    with np.errstate(over="ignore", invalid="ignore"):
        single = bool((x.astype(np.float32) == x).all())
        ends = least - (low - least), most + (most - high)
    error = np.array([2.0**-22 if single else 2.0**-51])
    return Column(np.array([ends[0]]), np.array([ends[1]]), np.array([_step(x, error)]), error)


def _step(x: FloatArray, error: FloatArray) -> float:
    """The coarsest grid that the values lie on, 0 if there is none."""
    seen, counts = np.unique(x, return_counts=True)
    rare = x[x != seen[np.argmax(counts)]]
    if len(rare) < _TELLING or len(seen) < 3:
        return 0.0
    for step in STEPS:
        off, blurred = _off(x, np.array(step), error)
        off_rare, _ = _off(rare, np.array(step), error)
        if blurred.mean() < 0.5 and off.mean() <= RARE and off_rare.mean() <= RARE * 10:
            return float(step)
    return 0.0


def _off(x: FloatArray, step: FloatArray, error: FloatArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which values are off the grid, and of which nobody can tell."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        steps = x / step
        allowed = _OFF + np.abs(steps) * error
        off = np.abs(steps - np.rint(steps)) > allowed
    blurred = ~(allowed < _BLURRED)
    return off & ~blurred & (step > 0), blurred


def _numbers(columns: Column, values: FloatArray) -> NDArray[np.uint8]:
    """Kinds of what is wrong with numbers ``(n, c)``."""
    missing, infinite = np.isnan(values), np.isinf(values)
    outside = ((values < columns.low) | (values > columns.high)) & ~infinite
    off, _ = _off(values, columns.step, columns.error)
    mask = missing * MISSING + infinite * INFINITE + outside * RANGE + (off & ~infinite) * GRID
    kinds: NDArray[np.uint8] = mask.astype(np.uint8)
    return kinds


def _pixels(layout: Layout, block: Block) -> SingleArray:
    """Images ``(n, d)``, not too many; none without them."""
    if not len(layout.image) or layout.image[0] < 0:
        return np.zeros((0, 1), np.float32)
    images = block.vectors[int(layout.image[0])]
    most = max(_PIXELS // max(images.shape[1], 1), 2)
    return images[:: max(-(-len(images) // most), 1)]


def _image(fixed: IntegrityFixed, block: Block) -> tuple[NDArray[np.uint8], FloatArray]:
    """Kinds ``(n,)`` of what is wrong with the pixels, and how far they are off their grid."""
    position = int(fixed.image)
    if position < 0:
        return np.zeros(block.rows, np.uint8), np.full(block.rows, np.nan)
    images = block.vectors[position]
    missing = np.isnan(images).any(axis=1)
    outside = ((images < fixed.pixels.low) | (images > fixed.pixels.high)).any(axis=1)
    off, distance = _off_levels(fixed, images.astype(np.float64))
    mask = missing * MISSING + outside * RANGE + off * GRID
    return mask.astype(np.uint8) & fixed.image_checked, distance


def _levels(pixels: FloatArray) -> FloatArray:
    """The values of pixels if they are few and come again, ascending; none otherwise."""
    levels, counts = np.unique(pixels[np.isfinite(pixels)], return_counts=True)
    few = 3 <= len(levels) <= _LEVELS and len(levels) * _TELLING <= int(counts.sum())
    return levels if few else np.zeros(0)


def _off_levels(fixed: IntegrityFixed, x: FloatArray) -> tuple[NDArray[np.bool_], FloatArray]:
    """Which images ``(n,)`` have pixels that no reference image had, and how far off they are, in steps."""
    step, levels, error = float(fixed.pixels.step[0]), fixed.levels, float(fixed.pixels.error[0])
    with np.errstate(over="ignore", invalid="ignore"):
        if step:
            distance = np.abs(x / step - np.rint(x / step))
            off, _ = _off(x, fixed.pixels.step, fixed.pixels.error)
        elif len(levels):
            place = np.clip(np.searchsorted(levels, x), 1, len(levels) - 1)
            apart = np.minimum(np.abs(x - levels[place - 1]), np.abs(x - levels[place]))
            distance = apart / float(np.median(np.diff(levels)))
            off = apart > np.abs(x) * error
        else:
            return np.zeros(len(x), np.bool_), np.full(len(x), np.nan)
        return np.any(off, axis=1), np.mean(distance, axis=1)


def _calibrated(fixed: IntegrityFixed, block: Block, half: int) -> IntegrityFixed:
    """Drop the checks that the third quarter fails too often, and count on the last one what fails of those that stay.

    Counted on the same rows, checks that happen to be failed by none of them would look better than they are.
    """
    third, last = slice(half, half + (block.rows - half) // 2), slice(half + (block.rows - half) // 2, None)
    seen = check(fixed, take(block, third))
    most = RARE * len(seen.kinds)
    stays, image_stays = np.zeros(len(fixed.checked), np.uint8), 0
    for kind in (MISSING, INFINITE, RANGE, GRID, NEW, RELATION):
        stays |= np.where(((seen.kinds & kind) != 0).sum(axis=0) <= most, kind, 0).astype(np.uint8)
        image_stays |= kind if ((seen.image & kind) != 0).sum() <= most else 0
    image_checked = np.array(fixed.image_checked & np.uint8(image_stays))
    fixed = fixed._replace(checked=fixed.checked & stays, image_checked=image_checked)
    flags = check(fixed, take(block, last)).flags
    return fixed._replace(flagged=flags.sum(axis=0).astype(np.int64), rows=np.array(len(flags), np.int64))
