"""One pass over a block: counts on the bins of the grid, fault counters and moments, for all columns at once.

Cost, measured in `tests/bench`: about 3.5 ns a numeric value and 1.5 ns a category code for large blocks. The pass is
tiled so that its scratch arrays stay in the second-level cache: many columns of a small block share one tile; a column
of a large block takes several. Both ways give the same integers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from detectors.grid import ABOVE as _LAST
from detectors.grid import BELOW as _FIRST
from detectors.grid import CELLS, SLOTS, Grid, cells_of
from detectors.types import MISSING_CODE, NEW_CODE, Block, FloatArray, IntArray, Summary

_TILE = 32_768
_MANY = 4 * CELLS
"""From so many rows on, counting cells first is cheaper than looking up the bin of each value."""
_CLIP = 8.0
"""Moments are of z clipped to +-8 reference scale units: no single value can own a mean or a variance."""
BELOW, ABOVE, MISSING, NONFINITE, NEW = -5, -4, -3, -2, -1
"""Where a row's value is counted that is in no bin within the range and in no known category (`places`)."""
_STEP = 1024.0
"""z is rounded to 1/1024 so that sums of z and z^2 are exact in float64 and merging is associative bit for bit."""


def summarise(grid: Grid, block: Block) -> Summary:
    """Count one block on the grid. Values of columns are independent of each other; row order does not matter."""
    numeric, bad, missing_numeric, sums = _numeric(grid, block.numeric.T)
    codes, missing_codes, new = _codes(grid, block.codes.T)
    p = len(grid.numeric_names)
    return Summary(
        grid_id=grid.id,
        rows=block.rows,
        numeric=numeric,
        codes=codes,
        missing=np.concatenate([missing_numeric, missing_codes]),
        nonfinite=np.concatenate([bad - missing_numeric, np.zeros(len(new), np.int64)]),
        new=np.concatenate([np.zeros(p, np.int64), new]),
        faults=block.faults.astype(np.int64),
        sums=sums,
        mix=_mix(grid, block),
    )


def zero(grid: Grid) -> Summary:
    """Return the summary of no rows: the neutral element of `merge`."""
    p, q = len(grid.numeric_names), len(grid.code_names)
    units = np.zeros(p + q, np.int64)
    return Summary(
        grid_id=grid.id,
        rows=0,
        numeric=np.zeros((p, SLOTS), np.int64),
        codes=np.zeros((q, grid.slots), np.int64),
        missing=units,
        nonfinite=units,
        new=units,
        faults=units,
        sums=np.zeros((p, 2)),
        mix=np.zeros(len(grid.strata), np.int64),
    )


def merge(a: Summary, b: Summary) -> Summary:
    """Return the summary of the rows of both: associative, commutative, bit for bit. Refuses different grids."""
    return _combine(a, b, 1)


def remove(a: Summary, b: Summary) -> Summary:
    """Return the summary of the rows of ``a`` without those of ``b``, which must be a part of them."""
    return _combine(a, b, -1)


def places(grid: Grid, block: Block, unit: int) -> IntArray:
    """Where each row's value of a column is counted, ``(n,)``.

    It is its bin, from 1, or its category, from 0; or one of `MISSING`, `NONFINITE`, `NEW`, `BELOW` and `ABOVE`.
    """
    p = len(grid.numeric_names)
    if unit >= p:
        codes = block.codes[:, unit - p].astype(np.int64)
        return np.where(codes == NEW_CODE, NEW, np.where(codes == MISSING_CODE, MISSING, codes))
    x = block.numeric[:, unit]
    work = _Scratch(1, max(block.rows, 1))
    with np.errstate(over="ignore", invalid="ignore"):
        cell, *_ = _scan(x[None, :], grid.centre[unit : unit + 1], 1.0 / grid.scale[unit : unit + 1], work)
    bins = grid.lut[unit].take(cell[0]).astype(np.int64)
    bins = np.where(bins == _FIRST, BELOW, np.where(bins == _LAST, ABOVE, bins))
    return np.where(np.isnan(x), MISSING, np.where(np.isfinite(x), bins, NONFINITE))


def rises(before: Summary, now: Summary, unit: int) -> FloatArray:
    """Logarithm of how many times as many rows lie in each place of a column `now` as `before`, by `places`.

    One standard deviation is taken off the count, so that single rows of a fine bin do not stand out.
    """
    a, b = (_counts(one, unit).astype(np.float64) for one in (before, now))
    expected = (a + 0.5) / (a.sum() + 0.5 * len(a))
    cautious = np.maximum(b - np.sqrt(b), 0.0)
    rise: FloatArray = np.log((cautious + expected) / (b.sum() + 1.0) / expected)
    return rise


def _counts(summary: Summary, unit: int) -> IntArray:
    """Rows of a column by `places`: the bins or categories, and from the end on what is in none of them."""
    p = len(summary.numeric)
    bins = summary.numeric[unit] if unit < p else summary.codes[unit - p]
    ends = bins[[0, -1]] if unit < p else np.zeros(2, np.int64)
    body = np.concatenate([[0], bins[1:-1]]) if unit < p else bins
    return np.concatenate([body, ends, [summary.missing[unit], summary.nonfinite[unit], summary.new[unit]]])


def _combine(a: Summary, b: Summary, sign: int) -> Summary:
    if a.grid_id != b.grid_id:
        msg = f"`b` was measured on grid {b.grid_id}, `a` on {a.grid_id}: summaries of different grids do not merge"
        raise ValueError(msg)
    both = {
        name: getattr(a, name) + sign * getattr(b, name)
        for name in ("rows", "numeric", "codes", "missing", "nonfinite", "new", "faults", "sums", "mix")
    }
    return dataclasses.replace(a, **both)


def _mix(grid: Grid, block: Block) -> IntArray:
    strata = np.zeros(0, np.int32) if block.strata is None else block.strata
    return np.bincount(strata, minlength=len(grid.strata)).astype(np.int64)


class _Scratch:
    """Work space for one tile, made once a call: fresh pages for every tile would cost more than the arithmetic."""

    def __init__(self, columns: int, rows: int) -> None:
        size = columns * rows
        self.z = np.empty(size)
        self.single = np.empty(size, np.float32)
        self.cell = np.empty(size, np.uint32)
        self.sign = np.empty(size, np.uint32)
        self.index = np.empty(size, np.intp)
        self.good = np.empty(size, np.bool_)


def count_cells(columns: FloatArray, centre: FloatArray, scale: FloatArray) -> tuple[IntArray, IntArray, IntArray]:
    """Cell counts ``(p, CELLS)`` of finite values, and per column the non-finite and the missing values.

    ``columns`` is ``(p, n)``. Used once, when the reference is measured, before there are any bins.
    """
    p, n = columns.shape
    counts = np.zeros((p, CELLS), np.int64)
    bad, missing = np.zeros(p, np.int64), np.zeros(p, np.int64)
    work = _Scratch(1, min(n, _TILE))
    with np.errstate(over="ignore", invalid="ignore"):
        for j in range(p):
            for start in range(0, n, _TILE):
                tile = columns[j : j + 1, start : start + _TILE]
                cell, _, nb, nm = _scan(tile, centre[j : j + 1], 1.0 / scale[j : j + 1], work)
                counts[j] += _tally(cell, work)
                bad[j] += nb[0]
                missing[j] += nm[0]
    counts[:, 0] -= bad
    return counts, bad - missing, missing


def _scan(
    tile: FloatArray, centre: FloatArray, inverse: FloatArray, work: _Scratch
) -> tuple[NDArray[np.uint32], FloatArray, IntArray, IntArray]:
    """Cells and z of one tile, its non-finite and NaN counts; non-finite values are put at z = 0, cell 0."""
    shape, size = tile.shape, tile.size
    z = work.z[:size].reshape(shape)
    np.subtract(tile, centre[:, None], out=z)
    np.multiply(z, inverse[:, None], out=z)
    good = np.isfinite(tile, out=work.good[:size].reshape(shape))
    bad = missing = np.zeros(shape[0], np.int64)
    if not good.all():
        bad = shape[1] - np.count_nonzero(good, axis=1).astype(np.int64)
        missing = np.count_nonzero(np.isnan(tile), axis=1).astype(np.int64)
        np.copyto(z, 0.0, where=~good)
    cell = cells_of(
        z,
        work.single[:size].reshape(shape),
        work.cell[:size].reshape(shape),
        work.sign[:size].reshape(shape),
    )
    return cell, z, bad, missing


def _moments(z: FloatArray) -> FloatArray:
    np.clip(z, -_CLIP, _CLIP, out=z)
    np.multiply(z, _STEP, out=z)
    np.rint(z, out=z)
    return np.stack([z.sum(axis=1) / _STEP, np.vecdot(z, z) / (_STEP * _STEP)], axis=1)


def _numeric(grid: Grid, columns: FloatArray) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
    p, n = columns.shape
    counts = np.zeros((p, SLOTS), np.int64)
    bad, missing, sums = np.zeros(p, np.int64), np.zeros(p, np.int64), np.zeros((p, 2))
    many = n >= _MANY
    width = 1 if many else max(1, _TILE // max(n, 1))
    work = _Scratch(min(width, p), min(n, _TILE))
    inverse = 1.0 / grid.scale
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, p if n else 0, width):
            some = slice(first, min(first + width, p))
            cells = np.zeros(CELLS, np.int64)
            for start in range(0, n, _TILE):
                tile = columns[some, start : start + _TILE]
                cell, z, nb, nm = _scan(tile, grid.centre[some], inverse[some], work)
                if many:
                    cells += _tally(cell, work)
                else:
                    counts[some] += _look_up(grid.lut[some], cell, work)
                sums[some] += _moments(z)
                bad[some] += nb
                missing[some] += nm
            if many:
                counts[first] = np.bincount(grid.lut[first], weights=cells, minlength=SLOTS)
    if bad.any():  # non-finite values were counted at z = 0
        counts[np.arange(p), grid.lut[:, 0]] -= bad
    return counts, bad, missing, sums


def _tally(cell: NDArray[np.uint32], work: _Scratch) -> IntArray:
    """Cell counts of a tile that lies in one column: the way for many rows, the bins are added up afterwards."""
    index = work.index[: cell.size]
    np.copyto(index, cell.reshape(-1))
    return np.bincount(index, minlength=CELLS)


def _look_up(lut: NDArray[np.uint8], cell: NDArray[np.uint32], work: _Scratch) -> IntArray:
    """Bin counts ``(c, SLOTS)`` of a tile of cells ``(c, n)``: the way for few rows, value by value."""
    c = len(cell)
    index = work.index[: cell.size].reshape(cell.shape)
    rows = np.arange(c, dtype=np.int64)[:, None]
    np.add(cell, rows * CELLS, out=index)
    np.add(lut.reshape(-1).take(index), rows * SLOTS, out=index)
    return np.bincount(index.reshape(-1), minlength=c * SLOTS).reshape(c, SLOTS)


def _codes(grid: Grid, columns: NDArray[np.int32]) -> tuple[IntArray, IntArray, IntArray]:
    q, n = columns.shape
    slots = grid.slots + 2  # NEW_CODE and MISSING_CODE in front
    counts = np.zeros((q, slots), np.int64)
    width = max(1, _TILE // max(n, 1))
    work = np.empty(min(width, q) * min(n, _TILE), np.intp)
    for first in range(0, q if n else 0, width):
        some = slice(first, min(first + width, q))
        offset = np.arange(some.stop - first, dtype=np.int64)[:, None] * slots + 2
        for start in range(0, n, _TILE):
            tile = columns[some, start : start + _TILE]
            index = np.add(tile, offset, out=work[: tile.size].reshape(tile.shape))
            count = np.bincount(index.reshape(-1), minlength=slots * len(offset))
            counts[some] += count.reshape(len(offset), slots)
    return counts[:, 2:], counts[:, 1].copy(), counts[:, 0].copy()
