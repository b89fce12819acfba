"""The nearest of the last rows: exact search by tiles of one matrix product, with a fixed memory.

Each stored row r carries a last coordinate -|r|^2/2 and each question q a last coordinate 1, so that one product gives
q.r - |r|^2/2, which is greatest where |q - r| is least: nothing is added or compared element by element but the argmax.
The winner's distance is then computed anew, in float64, from the coordinates. The product works in float32: of rows
whose squared distances are the same to within its rounding (1e-6 of |q|^2 + |r|^2) any may be the one that is found.
All products have shapes of multiples of 16, so that this rounding, too, does not depend on how rows are batched.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from detectors.types import FloatArray, IntArray, SingleArray

CHUNK: Final = 256
"""Most rows that are searched at a time."""
_TILE: Final = 512
_STEP: Final = 16
_EMPTY: Final = np.float32(-1e38)
"""Last coordinate of a place without a row: never the greatest, and no infinity that would turn into NaN."""


class Nearest:
    """The last ``capacity`` rows of ``width`` coordinates: ``4 capacity (width + 1)`` bytes and 0.6 MB of buffers."""

    def __init__(self, capacity: int, width: int) -> None:
        """Begin without rows."""
        self.capacity = capacity
        self.rows = _filled(np.zeros((0, width + 1), np.float32), capacity)
        self._tile = np.empty(CHUNK * _TILE, np.float32)

    def find(self, asked: SingleArray, first: int) -> tuple[IntArray, FloatArray, SingleArray]:
        """Put ``asked (k, m)``, k <= `CHUNK`, into the places from ``first`` on, and look each up before that.

        A row of NaN takes a place but is nobody's neighbour and has none. Returns the neighbours' places (-1: none),
        distances (NaN: none) and coordinates. Row i sees rows 0..i-1 in their new places, and the old rows in the
        places that rows i.. are to take.
        """
        if len(asked) == 0:
            return np.zeros(0, np.int64), np.zeros(0), asked
        places = (first + np.arange(len(asked))) % self.capacity
        known = np.logical_and.reduce(np.isfinite(asked), axis=1)
        fresh = np.where(known[:, None], asked, 0)
        fresh = with_norms(fresh)
        fresh[~known, -1] = _EMPTY
        asking = fresh.copy()
        asking[:, -1] = 1
        old = self.rows[places]
        self.rows[places] = fresh
        new = self.rows[places]
        self.rows[places, -1] = _EMPTY  # both what was there and what comes is asked apart
        place, best = self._search(asking)
        mine, theirs = (_products(asking, rows)[:, : len(asked)] for rows in (new, old))
        both = np.where(np.tri(len(asked), k=-1, dtype=bool), mine, theirs)
        self.rows[places, -1] = new[:, -1]
        order = np.argsort(places)  # of rows that are equally near, that in the first place
        closest = order[both[:, order].argmax(axis=1)]
        value = np.take_along_axis(both, closest[:, None], 1)[:, 0]
        nearer = (value > best) | ((value == best) & (places[closest] < place))
        found = np.where((closest < np.arange(len(asked)))[:, None], new[closest], old[closest])
        found = np.where(nearer[:, None], found, self.rows[place])
        place = np.where(nearer, places[closest], place)
        none = ~known | (np.maximum(value, best) <= _EMPTY)
        apart = asking[:, :-1].astype(np.float64) - found[:, :-1]
        distance = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        return np.where(none, -1, place), np.where(none, np.nan, distance), found[:, :-1]

    def others(self, chunk: slice) -> IntArray:
        """Place of the nearest other row of those stored in ``chunk``, which has at most `CHUNK` of them."""
        asking = self.rows[chunk].copy()
        kept = asking[:, -1].copy()
        asking[:, -1] = 1
        among = asking @ np.column_stack([asking[:, :-1], kept]).T
        np.fill_diagonal(among, -np.inf)
        self.rows[chunk, -1] = _EMPTY
        place, best = self._search(asking)
        self.rows[chunk, -1] = kept
        return np.where(among.max(axis=1) > best, chunk.start + among.argmax(axis=1), place)

    def _search(self, asking: SingleArray) -> tuple[IntArray, SingleArray]:
        """Place and product of the greatest in all tiles."""
        rows = np.arange(len(asking))
        place, best = np.zeros(len(asking), np.int64), np.full(len(asking), -np.inf, np.float32)
        padded = _padded(asking)
        size = len(self._tile) // len(padded) // _STEP * _STEP
        for start in range(0, len(self.rows), size):
            tile = self.rows[start : start + size]
            product = self._tile[: len(padded) * len(tile)].reshape(len(padded), len(tile))
            np.matmul(padded, tile.T, out=product)
            product = product[: len(asking)]
            there = product.argmax(axis=1)
            value = product[rows, there]
            better = value > best
            np.copyto(place, there + start, where=better)
            np.copyto(best, value, where=better)
        return place, best


def _padded(rows: SingleArray) -> SingleArray:
    """Rows with rows of zeros behind them, to a multiple of `_STEP`."""
    more = -len(rows) % _STEP
    return np.concatenate([rows, np.zeros((more, rows.shape[1]), np.float32)]) if more else rows


def _filled(rows: SingleArray, least: int) -> SingleArray:
    """Rows with empty places behind them, a multiple of `_STEP` and at least ``least``."""
    full = np.zeros((-(-max(len(rows), least) // _STEP) * _STEP, rows.shape[1]), np.float32)
    full[:, -1] = _EMPTY
    full[: len(rows)] = rows
    return full


def _products(asking: SingleArray, rows: SingleArray) -> SingleArray:
    """Of each row that asks with each of ``rows``, and with empty places."""
    return (_padded(asking) @ _filled(rows, 0).T)[: len(asking)]


def nearest_other(rows: SingleArray) -> tuple[IntArray, FloatArray]:
    """For each of ``rows (n, m)``, n >= 2, the nearest other one and how far it is."""
    stored = Nearest(len(rows), rows.shape[1])
    stored.rows[: len(rows)] = with_norms(rows)
    place = np.empty(len(rows), np.int64)
    for start in range(0, len(rows), CHUNK):
        chunk = slice(start, min(start + CHUNK, len(rows)))
        place[chunk] = stored.others(chunk)
    apart = rows.astype(np.float64) - rows[place]
    return place, np.sqrt(np.einsum("ij,ij->i", apart, apart))


def with_norms(rows: SingleArray) -> SingleArray:
    """Rows ``(n, m)`` with their last coordinate -|r|^2/2, ``(n, m + 1)``."""
    return np.column_stack([rows, np.float32(-0.5) * np.einsum("ij,ij->i", rows, rows)])


def spread(rows: SingleArray, anchors: SingleArray, *, own: bool = False) -> FloatArray:
    """How far trusted rows are from ``rows (n, m)``: the mean over groups of the distance to the group's nearest.

    ``anchors (g, a, m + 1)`` are `with_norms`. ``own``: the first g a rows are the anchors themselves, in this order,
    and do not count as their own neighbours. A row of NaN has NaN.
    """
    total = np.zeros(len(rows))
    square = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    asking = np.column_stack([rows, np.ones(len(rows), np.float32)])
    for g, group in enumerate(anchors):
        for start in range(0, len(rows), CHUNK):
            product = _padded(asking[start : start + CHUNK]) @ group.T
            product = product[: len(asking) - start]
            if own:
                mine = np.arange(max(start, g * len(group)), min(start + len(product), (g + 1) * len(group)))
                product[mine - start, mine - g * len(group)] = -np.inf
            best = product.max(axis=1)
            total[start : start + CHUNK] += np.sqrt(np.maximum(square[start : start + CHUNK] - 2.0 * best, 0))
    return total / len(anchors)
