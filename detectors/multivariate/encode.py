"""Rows of a block as rows of numbers for the joint tests.

An encoder is made once from the reference and holds nothing but arrays, so that the artefact gives it back bit for bit.
What it makes of a row depends on that row alone, to the last bit, however rows are batched. Values are finite, within
+-8, and about one in variance a column (one on average a dimension of an embedding): no column owns the distance.
What is missing, not finite or new lies at the centre, which is 0: faults are counted elsewhere and are no shift here.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.grid import Grid
from detectors.types import Block, CodeArray, FloatArray, IntArray, SingleArray, Summary

MOST_DIMENSIONS = 256
"""Dimensions of encoded columns at most."""
MOST_GROUPS = 8
"""Categories of a column with a dimension of their own at most; the others share one more."""
MOST_AXES = 64
"""Principal axes kept of an embedding at most."""
CLIP = 8.0
"""Nothing is further from the centre than this, in reference scale units."""
_TAIL = 0.001
"""Numeric values are clipped to the reference's range without this share at either end."""
_EXACT = 96
"""Embeddings up to this length get their axes by a full decomposition."""
_SPARE, _SWEEPS = 16, 4
"""Additional axes and passes of the subspace iteration for longer ones."""
_FAR = 8.0
"""Vectors this many times longer than the median one do not take part in finding the axes."""
_FLAT = 1e-6
"""An axis with less than this share of the first one's variance is noise of the arithmetic."""
_CACHED = 512
"""Rows of columns encoded at a time, so that they stay in the cache."""
_TILE = 64
"""Rows in one matrix product. Always the same number: another one might sum up in another order."""


class Encoder(Protocol):
    """Encodes one view; everything it knows comes from the reference.

    ``unit (d,)`` is the monitored column (position in ``Grid.names``) that each dimension belongs to, -1 for none.
    """

    @property
    def unit(self) -> IntArray:
        """Whose dimension each one is."""
        ...

    def encode(self, block: Block) -> SingleArray:
        """Rows ``(n, d)``, finite."""
        ...


class ColumnsEncoder(NamedTuple):
    """Encodes columns of mixed types; make it by `columns_encoder`.

    Numeric columns ``numeric (a,)`` (positions in ``Block.numeric``): (x - ``centre``) * ``inverse``, clipped to
    ``[low, high]``, ``(a,)`` each. Categorical columns ``codes (c,)``: ``group (c, v + 2)`` takes a code + 2 to its
    group, -1 for the centre; each dimension ``(e,)`` is ``on`` where ``column``'s group is ``own``, else ``off``.
    """

    unit: IntArray
    numeric: IntArray
    centre: FloatArray
    inverse: FloatArray
    low: FloatArray
    high: FloatArray
    codes: IntArray
    group: NDArray[np.int8]
    column: IntArray
    own: NDArray[np.int8]
    on: SingleArray
    off: SingleArray

    def encode(self, block: Block) -> SingleArray:
        """Rows ``(n, d)``: numeric columns first."""
        out = np.zeros((block.rows, len(self.unit)), np.float32)
        for start in range(0, block.rows, _CACHED):
            some = slice(start, start + _CACHED)
            self._numbers(block.numeric[some], out[some])
            self._categories(block.codes[some], out[some])
        return out

    def _numbers(self, values: FloatArray, out: SingleArray) -> None:
        z = values[:, self.numeric]
        finite = np.isfinite(z)
        with np.errstate(over="ignore", invalid="ignore"):
            z -= self.centre
            z *= self.inverse
        np.clip(z, self.low, self.high, out=z)
        np.copyto(out[:, : len(self.numeric)], z, where=finite, casting="same_kind")

    def _categories(self, codes: CodeArray, out: SingleArray) -> None:
        if len(self.codes):
            group = self.group[np.arange(len(self.codes)), codes[:, self.codes] + 2]
            mine = group[:, self.column]
            height = np.where(mine == self.own, self.on, self.off)
            np.copyto(out[:, len(self.numeric) :], height, where=mine >= 0)


class VectorEncoder(NamedTuple):
    """Encodes one embedding (``vector ()``: its position in ``Grid.vectors``); make it by `vector_encoder`.

    A row is (x - ``centre (d,)``) @ ``axes (d, k)``, clipped to +-8.
    """

    unit: IntArray
    vector: IntArray
    centre: SingleArray
    axes: SingleArray

    def encode(self, block: Block) -> SingleArray:
        """Rows ``(n, k)``."""
        out = along(self.centre, self.axes, block.vectors[int(self.vector)])
        np.clip(out, -CLIP, CLIP, out=out)
        out[np.isnan(out).any(axis=1)] = 0.0
        return out


def along(centre: SingleArray, axes: SingleArray, rows: SingleArray) -> SingleArray:
    """(rows ``(n, d)`` - ``centre``) @ ``axes (d, k)``, in tiles: what becomes of a row depends on that row alone."""
    out = np.empty((len(rows), axes.shape[1]), np.float32)
    tile = np.zeros((_TILE, len(centre)), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, len(rows), _TILE):
            some = rows[start : start + _TILE]
            np.subtract(some, centre, out=tile[: len(some)])
            out[start : start + _TILE] = (tile @ axes)[: len(some)]
    return out


def columns_encoder(
    grid: Grid, reference: Summary, rows: Block, units: IntArray | None = None, most: int = MOST_DIMENSIONS
) -> ColumnsEncoder:
    """Measure an encoder for ``units`` (positions in ``Grid.names``; all by default).

    ``reference`` gives the shares of categories, ``rows`` (a sample of the reference) the ranges of numeric columns.
    A column that does not vary has no dimension. With more than ``most`` dimensions rarer categories are put together
    first, for all columns alike; if every category column is down to one dimension, only the columns of greatest
    variety (chance that two rows differ in it) remain, at equal variety the first ones.
    """
    p = len(grid.numeric_names)
    chosen = np.arange(len(grid.names)) if units is None else np.sort(units)
    numeric, low, high = _ranges(grid, rows, chosen[chosen < p])
    categorical = chosen[chosen >= p] - p
    for groups in range(MOST_GROUPS, 0, -1):
        tables = {int(c): _grouped(reference.codes[c], len(grid.labels[c]), groups) for c in categorical}
        tables = {c: table for c, table in tables.items() if table.own.size}
        if len(numeric) + sum(table.own.size for table in tables.values()) <= most:
            break
    else:
        keep = _various(reference, np.concatenate([numeric, np.array(list(tables), np.int64) + p]), p)[:most]
        stays = np.isin(numeric, keep)
        numeric, low, high = numeric[stays], low[stays], high[stays]
        tables = {c: table for c, table in tables.items() if c + p in keep}
    return _assembled(grid, (numeric, low, high), tables)


def vector_encoder(
    vector: int, rows: SingleArray, rng: np.random.Generator, most: int = MOST_AXES
) -> VectorEncoder | None:
    """Measure an encoder for the embedding at position ``vector`` of ``Grid.vectors``; None if it does not vary.

    ``rows (n, d)`` must not be rows that are compared with later ones: along axes fitted to them they vary more than
    any later row will. Their principal axes are found by subspace iteration (Halko, Martinsson and Tropp 2011), scaled
    alike so that the dimensions have variance one on average.
    """
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    finite = np.isfinite(length)
    typical = float(np.median(length[finite])) if finite.any() else 0.0
    near = rows[finite & (length <= _FAR * typical)]
    if len(near) < 2 or typical == 0:
        return None
    centre = near.mean(axis=0, dtype=np.float64).astype(np.float32)
    axes, variance = principal((near - centre) / np.float32(typical), min(most, len(near) - 1), rng)
    real = variance > _FLAT * variance.max(initial=0.0)
    if not real.any():
        return None
    scaled = axes[:, real] / (np.sqrt(variance[real].mean()) * typical)
    return VectorEncoder(
        unit=np.full(int(real.sum()), -1, np.int64),
        vector=np.array(vector, np.int64),
        centre=centre,
        axes=np.ascontiguousarray(scaled, np.float32),
    )


class _Table(NamedTuple):
    """One categorical column: the group of each slot (-1: the centre), the groups with a dimension, their values."""

    group: NDArray[np.int8]
    own: NDArray[np.int8]
    on: FloatArray
    off: FloatArray


def _grouped(counts: IntArray, labels: int, most: int) -> _Table:
    """Groups of a column's slots: the ``most`` frequent ones alone, the others together; none if it does not vary."""
    order = np.argsort(-counts[:labels], kind="stable")[:most]
    alone = order[counts[order] > 0]
    group = np.full(len(counts) + 2, len(alone), np.int8)
    group[1] = -1  # missing; a new category, 0, goes with the others
    group[alone + 2] = np.arange(len(alone))
    size = np.bincount(group[2:], counts, minlength=len(alone) + 1)
    share = size / max(size.sum(), 1.0)
    group[group == len(alone)] = len(alone) if size[-1] else -1
    seen = np.flatnonzero(size)
    own = seen[1:] if len(seen) <= 2 else seen  # of two groups one says it all
    spread = (share[own] * (1 - share[own])).sum()
    height = min(1 / np.sqrt(spread), CLIP) if len(own) else 0.0
    return _Table(group, own.astype(np.int8), (1 - share[own]) * height, -share[own] * height)


def _ranges(grid: Grid, rows: Block, units: IntArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Numeric columns that vary, and the ends of their ranges in scale units."""
    low, high = np.zeros(len(units)), np.zeros(len(units))
    for i, j in enumerate(units):  # once per fit
        x = rows.numeric[:, j]
        x = x[np.isfinite(x)]
        if x.size:
            first = max(int(np.ceil(_TAIL * x.size)) - 1, 0)
            ends = np.partition(x, (first, x.size - 1 - first))[[first, x.size - 1 - first]]
            with np.errstate(over="ignore"):
                low[i], high[i] = np.clip((ends - grid.centre[j]) / grid.scale[j], -CLIP, CLIP)
    varies = high > low
    return units[varies], low[varies], high[varies]


def _various(reference: Summary, units: IntArray, p: int) -> IntArray:
    """The units by falling variety, to two digits."""
    variety = np.empty(len(units))
    for i, unit in enumerate(units):
        counts = reference.numeric[unit] if unit < p else reference.codes[unit - p]
        present = int(counts.sum())
        variety[i] = (1 - np.square(counts / max(present, 1)).sum()) * present / max(reference.rows, 1)
    ranked: IntArray = units[np.argsort(-np.round(variety, 2), kind="stable")]
    return ranked


def _assembled(
    grid: Grid, ranges: tuple[IntArray, FloatArray, FloatArray], tables: dict[int, _Table]
) -> ColumnsEncoder:
    numeric, low, high = ranges
    p, found = len(grid.numeric_names), list(tables.values())
    codes = np.array(list(tables), np.int64)
    column = np.repeat(np.arange(len(found)), [table.own.size for table in found])
    return ColumnsEncoder(
        unit=np.concatenate([numeric, codes[column] + p]),
        numeric=numeric,
        centre=grid.centre[numeric],
        inverse=1.0 / grid.scale[numeric],
        low=low,
        high=high,
        codes=codes,
        group=np.stack([table.group for table in found]) if found else np.zeros((0, grid.slots + 2), np.int8),
        column=column,
        own=np.concatenate([np.zeros(0, np.int8), *(table.own for table in found)]),
        on=np.concatenate([np.zeros(0), *(table.on for table in found)]).astype(np.float32),
        off=np.concatenate([np.zeros(0), *(table.off for table in found)]).astype(np.float32),
    )


def principal(rows: SingleArray, axes: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Leading principal axes ``(d, k)`` of centred rows and the variance along each, falling."""
    n, d = rows.shape
    basis = np.eye(d)
    if d > _EXACT:
        basis = np.linalg.qr(rng.standard_normal((d, min(axes + _SPARE, d))))[0]
        for _ in range(_SWEEPS):
            basis = np.linalg.qr((rows.T @ (rows @ basis.astype(np.float32))).astype(np.float64))[0]
    seen = (rows @ basis.astype(np.float32)).astype(np.float64)
    variance, turn = np.linalg.eigh(seen.T @ seen / n)
    order = np.argsort(-variance)[:axes]
    return basis @ turn[:, order], variance[order]
