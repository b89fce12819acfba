"""Distance to the nearest reference rows (H2c), and their labels against the model's answer (H7).

Question: is a row where reference rows are; do its neighbours there carry the label that the model gave it?
Statistic: H2c: distance to the tenth nearest of 2,048 reference embeddings of length one. H7: share of the ten nearest
reference rows, in a space that is not the model's own, whose label is not the answer. Labels where the reference has
them, else its answers.
Calibration: ranks among held-out reference rows (`detectors.rows.fusion`). H7 is made only if the neighbours' most
frequent label is the model's answer on 90 % of held-out rows: elsewhere the space does not know the classes.
Sees / blind to: H2c: inputs far from all others. H7: attacks that change the answer but not the picture; it ignores
noise. Blind to inputs that truly lie between classes, to changes of both picture and answer, and to foreign rows.
Cost: 2,048 d multiplications a row, for H7 2,048 m. Memory: 2,048 (d + m) numbers.
Source: Sun, Ming, Zhu and Li 2022 (H2c); Papernot and McDaniel 2018, in one space (H7); failures.md 3.1, 3.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import CodeArray, FloatArray, SingleArray

NAMES = ("knn_distance", "neighbour_disagreement")
K = 10
MOST_ROWS = 2048
GATE = 0.9
"""Share of held-out rows on which the neighbours' most frequent label must be the answer."""
_NEAR = 0.95
"""Share of reference rows that are near enough to others to be asked about them."""
_ROUNDING = 1e-5
_TILE = 64
_GROUPS = 64


class NeighboursFixed(NamedTuple):
    """Reference rows ``(r, d)``, half their squared lengths ``(r,)``, and their classes ``(r,)``; r = 0 for none.

    ``reach ()`` is the distance to the tenth nearest that is still near.
    """

    rows: SingleArray
    half: SingleArray
    classes: CodeArray
    reach: FloatArray


def none() -> NeighboursFixed:
    """Nobody to compare with."""
    return NeighboursFixed(np.zeros((0, 0), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32), np.zeros(()))


def fit(rows: SingleArray, classes: CodeArray, rng: np.random.Generator) -> NeighboursFixed:
    """Keep some of the rows ``(n, d)`` that are finite and, for `disagreement`, of a known class ``(n,)``."""
    mine = np.flatnonzero(np.isfinite(rows).all(axis=1))
    mine = np.sort(rng.permutation(mine)[:MOST_ROWS])
    if len(mine) <= K or not rows.shape[1]:
        return none()
    kept = np.ascontiguousarray(rows[mine])
    half = (np.square(kept, dtype=np.float64).sum(axis=1) / 2).astype(np.float32)
    fixed = NeighboursFixed(kept, half, classes[mine], np.zeros(()))
    return fixed._replace(reach=np.asarray(np.quantile(distance(fixed, kept), _NEAR)))


def unit(rows: SingleArray) -> SingleArray:
    """Rows of length one; NaN where a row is not finite or of no length."""
    length = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        out: SingleArray = (rows / np.where(np.isfinite(length) & (length > 0), length, np.nan)).astype(np.float32)
    return out


def distance(fixed: NeighboursFixed, rows: SingleArray) -> FloatArray:
    """Distance ``(n,)`` to the tenth nearest reference row; NaN where a row is not finite."""
    out = np.full(len(rows), np.nan)
    if not len(fixed.rows) or rows.shape[1] != fixed.rows.shape[1]:
        return out
    square = np.square(rows, dtype=np.float64).sum(axis=1)
    for start in range(0, len(rows), _TILE):
        close = _closeness(fixed, rows[start : start + _TILE])
        out[start : start + len(close)] = _tenth(close)
    distances: FloatArray = np.sqrt(np.maximum(square - 2 * out, 0))
    return distances


def disagreement(fixed: NeighboursFixed, rows: SingleArray, predicted: CodeArray) -> FloatArray:
    """Share ``(n,)`` of the ten nearest reference rows of another class.

    NaN where a row or its class is unknown, or the row is far from them.
    """
    out = np.full(len(rows), np.nan)
    if not len(fixed.rows) or rows.shape[1] != fixed.rows.shape[1]:
        return out
    square = np.square(rows, dtype=np.float64).sum(axis=1)
    for start in range(0, len(rows), _TILE):
        some = slice(start, start + _TILE)
        close = _closeness(fixed, rows[some])
        tenth = _tenth(close)
        near, other = close >= tenth[:, None], fixed.classes != predicted[some, None]
        share = (near & other).sum(axis=1) / np.maximum(near.sum(axis=1), 1)
        with np.errstate(invalid="ignore"):
            close_by = square[some] - 2 * tenth <= fixed.reach**2 + _ROUNDING * square[some]
            out[some] = np.where(close_by, share, np.nan)
    out[(predicted < 0) | ~np.isfinite(rows).all(axis=1)] = np.nan
    return out


def voted(fixed: NeighboursFixed, rows: SingleArray) -> CodeArray:
    """Most frequent class ``(n,)`` of the ten nearest reference rows, -1 where a row is not finite."""
    classes = np.eye(int(fixed.classes.max(initial=-1)) + 1, dtype=np.float32)[fixed.classes]
    out = np.full(len(rows), -1, np.int32)
    for start in range(0, len(rows) if classes.size else 0, _TILE):
        near = _nearest(fixed, rows[start : start + _TILE])
        out[start : start + len(near)] = (near.astype(np.float32) @ classes).argmax(axis=1)
    out[~np.isfinite(rows).all(axis=1)] = -1
    return out


def _nearest(fixed: NeighboursFixed, rows: SingleArray) -> NDArray[np.bool_]:
    """Which reference rows ``(n, r)`` are among the ten nearest; more at equal distance."""
    close = _closeness(fixed, rows)
    near: NDArray[np.bool_] = close >= _tenth(close)[:, None]
    return near


def _tenth(close: SingleArray) -> SingleArray:
    """Tenth greatest of each row ``(n, r)``, r > 10; of a row with NaN some number.

    The tenth greatest of 64 maxima is no greater, so that few others need be sorted.
    """
    n, r = close.shape
    if r < _GROUPS**2 // 4:
        return _upper(close)
    tops = close[:, : r // _GROUPS * _GROUPS].reshape(n, -1, _GROUPS).max(axis=1)
    found = np.flatnonzero(close >= _upper(tops)[:, None])
    row = found // r
    count = np.bincount(row, minlength=n)
    few = np.full((n, max(int(count.max(initial=0)), K)), -np.inf, np.float32)
    few[row, np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)] = close.reshape(-1)[found]
    return _upper(few)


def _upper(values: SingleArray) -> SingleArray:
    place = values.shape[1] - K
    least: SingleArray = np.partition(values, place, axis=1)[:, place]
    return least


def _closeness(fixed: NeighboursFixed, rows: SingleArray) -> SingleArray:
    """x.r - |r|^2 / 2 ``(n, r)``: greatest for the nearest. Tiles of one size: another might sum up otherwise."""
    tile = np.zeros((_TILE, fixed.rows.shape[1]), np.float32)
    tile[: len(rows)] = rows
    with np.errstate(over="ignore", invalid="ignore"):
        close: SingleArray = (tile @ fixed.rows.T)[: len(rows)]
        close -= fixed.half
    return close
