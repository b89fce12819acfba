"""How near is too near: the radius within which benign queries hardly ever come to one of the last N others.

Question: which distance to the nearest of ``capacity`` others do at most `RATE` of benign queries fall below?
Statistic: the distance in units of how far trusted rows are at that place: the mean distance to the nearest of each of
8 groups of reference rows, bounded by its reference 90 % quantile. Inputs are dense in some places and sparse in
others; one radius for all would be that of the densest (on MNIST, with room for 20,000 rows, it saw 3 % of the NES
queries of shared/data/query_log and none of the Jacobian augmentation's; this one sees 99.7 and 70 %).
Calibration: nearest distances shrink with the number of rows, and the reference has n, mostly fewer. The chance to have
a neighbour among N is 1 - (1 - F)^N for a row whose ball has the mass F, concave in N, so that the chance among N is at
most N / n of that among n. The radius is the order statistic of the reference's own leave-one-out distances that keeps
to RATE n / N, less 1.64 of its standard deviations (neighbours come in pairs). Where that is below the first, the lower
tail of the distances is followed down by the local dimension (Hill 1975; Levina and Bickel 2004; its lower limit), by
at most a factor of `FURTHEST`; beyond it there is no radius.
Where that is less than the least of `REPEATS` the ring remembers fewer rows: half of them, again and again, down to
`_LEAST_SIZE`. Tables hold rows that all but repeat others, whatever the ring: for them the radius is the greatest of
`REPEATS` below which, with one of these sizes, no more than `MOST_RATE` of honest rows have a neighbour (upper 95 %
bound; beyond n rows it grows on as it did from n / 2 to n). `Radius.rate` says how many that may be.
Sees / blind to: see `detectors.queries.ring`. Two or three numeric columns alone are too few: all rows are near others.
Cost: one product of n x m by m x n, n <= 10,000: 0.3 s at m = 64.
Source: failures.md 3.3, H8.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.queries import nearest
from detectors.queries.suspicion import Queries
from detectors.types import FloatArray, IntArray, Reason, SingleArray

RATE: Final = 0.002
"""Share of benign queries that may be hits."""
REPEATS: Final = (0.1, 0.05, 0.025)
"""Radii, in units of how far trusted rows are, for a reference whose rows repeat one another."""
MOST_RATE: Final = 0.1
"""Share of benign queries that may be hits where a reference repeats itself."""
FURTHEST: Final = 512.0
"""How many times rarer than the rarest that the reference shows a hit may be made by extrapolation."""
_MOST_ROWS: Final = 10_000
_FEWEST_ROWS: Final = 200
_GROUPS: Final = 8
_LARGEST_GROUP: Final = 256
_WIDEST: Final = 0.9
_Z: Final = 1.645
_TIE: Final = 1 - 1e-5
_LEVEL: Final = 0.99
_FURTHEST_OUT: Final = np.float32(1e15)
_LEAST_SIZE: Final = 1_000
_SURE: Final = 0.95


class Place(NamedTuple):
    """Where rows are looked for, and how far trusted rows are there.

    ``centre (m,)`` is taken off, ``low`` and ``high (m,)`` bound what is left: the reference's range and as much again
    to either side. ``anchors (8, a, m + 1)`` are reference rows for `nearest.spread`, ``widest ()`` its most.
    """

    centre: SingleArray
    low: SingleArray
    high: SingleArray
    anchors: SingleArray
    widest: FloatArray

    def put(self, near: SingleArray) -> SingleArray:
        """Centre and bound ``near (n, m)``: no row is so far out that float32 loses its neighbours. NaN stays."""
        placed = np.clip(bounded(near) - self.centre, self.low, self.high)
        return np.asarray(placed, np.float32)

    def unit(self, placed: SingleArray) -> FloatArray:
        """How far trusted rows are from each of ``placed (n, m)``."""
        return np.minimum(nearest.spread(placed, self.anchors), self.widest)


class Radius(NamedTuple):
    """The radius, or why there is none, ``()`` each.

    ``radius`` in units of `Place.unit`; nearer than that is a hit (0: never, ``reason`` says why, a `Reason`).
    ``rate`` is the share of benign queries that may be hits, ``largest`` the upper 99 % bound of the share of them that
    one cluster may get. ``capacity`` is what was asked for, ``within`` the last rows among which this holds,
    ``sampled`` the reference rows that it was measured on, ``dimension`` the lower limit of the local dimension where
    that was used (NaN: it was not).
    """

    radius: FloatArray
    rate: FloatArray
    largest: FloatArray
    reason: NDArray[np.int8]
    capacity: IntArray
    within: IntArray
    sampled: IntArray
    dimension: FloatArray


class _Near(NamedTuple):
    """Each row's nearest other one and how far it is in units, ``(n,)``."""

    other: IntArray
    relative: FloatArray


def bounded(near: SingleArray) -> SingleArray:
    """Cut off where squares would overflow; what is infinite has no place, like NaN."""
    return np.where(np.isfinite(near), np.clip(near, -_FURTHEST_OUT, _FURTHEST_OUT), np.float32(np.nan))


def distinct(queries: Queries, rng: np.random.Generator) -> IntArray:
    """Positions of at most 10,000 queries that have a place and are no exact repeats, in random order."""
    usable = np.flatnonzero(np.isfinite(queries.near).all(axis=1) & (queries.near.shape[1] > 0))
    _, first = np.unique(queries.digest[usable], return_index=True)
    return rng.permutation(usable[np.sort(first)])[:_MOST_ROWS]


def calibrate(near: SingleArray, capacity: int) -> tuple[Place, Radius, IntArray, FloatArray]:
    """Measure on ``near (n, m)``, distinct benign rows in random order, for a ring of ``capacity`` rows.

    Also the position of each row's nearest other one, and how far it is.
    """
    n, width = near.shape
    if n < _FEWEST_ROWS:
        nothing, none = np.zeros(width, np.float32), np.zeros((0, 0, width + 1), np.float32)
        return (
            Place(nothing, nothing, nothing, none, np.asarray(0.0)),
            _no(Reason.FEW_ROWS, capacity, n),
            np.arange(n),
            np.zeros(n),
        )
    size = min(n // (2 * _GROUPS), _LARGEST_GROUP)
    middle, low, high = _bounds(near)
    place = Place(middle, low, high, np.zeros((0, 0, width + 1), np.float32), np.asarray(np.inf))
    rows = place.put(near)
    anchors = nearest.with_norms(rows[: _GROUPS * size]).reshape(_GROUPS, size, width + 1)
    unit = nearest.spread(rows, anchors, own=True)
    widest = np.quantile(unit, _WIDEST)
    unit = np.minimum(unit, widest)
    other, distance = nearest.nearest_other(rows)
    measured = _measured(rows, unit, capacity)
    return place._replace(anchors=anchors, widest=np.asarray(widest)), measured, other, distance


def _bounds(rows: SingleArray) -> tuple[SingleArray, SingleArray, SingleArray]:
    """Mean, and the reference's range about it with as much again to either side."""
    middle = rows.mean(axis=0, dtype=np.float64)
    span = np.ptp(rows.astype(np.float64), axis=0)
    low, high = rows.min(axis=0) - middle - span, rows.max(axis=0) - middle + span
    return middle.astype(np.float32), low.astype(np.float32), high.astype(np.float32)


def _measured(rows: SingleArray, unit: FloatArray, capacity: int) -> Radius:
    sizes = [capacity]
    while sizes[-1] >= 2 * _LEAST_SIZE:
        sizes.append(sizes[-1] // 2)
    found = {size: _nearest(rows, unit, size) for size in sizes}
    refused = Reason.CONSTANT_REFERENCE
    for size, near in found.items():
        radius, reason, dimension = _radius(np.sort(near.relative), min(size, len(rows) - 1) / size)
        if reason == Reason.OK and radius >= REPEATS[-1]:
            return _yes(radius, RATE, _largest(near, radius), (capacity, size, len(rows)), dimension)
        refused = reason if size == capacity and reason == Reason.FEW_ROWS else refused
    for radius in REPEATS:
        for size, near in found.items():
            rate = RATE + _repeats(rows, unit, near, radius, size)
            if rate <= MOST_RATE:
                return _yes(radius, rate, _largest(near, radius), (capacity, size, len(rows)), math.nan)
    return _no(refused, capacity, len(rows), rate)


def _yes(radius: float, rate: float, largest: float, sizes: tuple[int, int, int], dimension: float) -> Radius:
    capacity, within, sampled = (np.asarray(size, np.int64) for size in sizes)
    measured = np.asarray(radius), np.asarray(rate), np.asarray(largest)
    return Radius(*measured, np.asarray(Reason.OK, np.int8), capacity, within, sampled, np.asarray(dimension))


def _no(reason: Reason, capacity: int, sampled: int, rate: float = 0.0) -> Radius:
    refused = _yes(0.0, rate, 0.0, (capacity, capacity, sampled), math.nan)
    return refused._replace(reason=np.asarray(reason, np.int8))


def _nearest(rows: SingleArray, unit: FloatArray, most: int) -> _Near:
    """Among the other rows, or among ``most`` others where there are more."""
    size = min(most + 1, len(rows))
    starts = range(0, len(rows) - size + 1, size)
    found = [nearest.nearest_other(rows[start : start + size]) for start in starts]
    other = np.concatenate([place + start for start, (place, _) in zip(starts, found, strict=True)])
    distance = np.concatenate([distance for _, distance in found])
    unit = unit[: len(distance)]
    return _Near(other, np.divide(distance, unit, out=np.full(len(distance), np.inf), where=unit > 0))


def _radius(relative: FloatArray, share: float) -> tuple[float, Reason, float]:
    """Radius, reason and local dimension from distances to the nearest of a ``share`` of a full ring, ascending."""
    n = len(relative)
    allowed = RATE * (n + 1) * share
    sure = (math.sqrt(_Z**2 / 2 + allowed) - _Z / math.sqrt(2)) ** 2  # k + z sqrt(2 k) = allowed
    some = min(max(n // 20, 10), 100)
    if allowed * FURTHEST < some or n < _FEWEST_ROWS:
        return 0.0, Reason.FEW_ROWS, math.nan
    if sure >= 1:
        return _positive(float(relative[int(sure) - 1]), math.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(relative[some - 1] / relative[: some - 1])
    if not np.isfinite(logs).all() or logs.sum() <= 0:
        return 0.0, Reason.CONSTANT_REFERENCE, math.nan
    dimension = float((some - 2) / logs.sum()) * (1 - _Z * math.sqrt(2 / some))
    return _positive(float(relative[some - 1]) * (allowed / some) ** (1 / dimension), dimension)


def _positive(radius: float, dimension: float) -> tuple[float, Reason, float]:
    known = 0 < radius < math.inf
    return radius * _TIE if known else 0.0, Reason.OK if known else Reason.CONSTANT_REFERENCE, dimension


def _repeats(rows: SingleArray, unit: FloatArray, near: _Near, radius: float, size: int) -> float:
    """Upper bound of the share of rows with one of ``size`` others within the radius."""
    n, close = len(near.relative), int((near.relative < radius).sum())
    bound = float(np.asarray(special.betaincinv(close + 1, max(n - close, 1e-9), _SURE)))
    if size < len(rows):
        return bound
    half = float((_nearest(rows, unit, len(rows) // 2 - 1).relative < radius).mean())
    power = min(max(math.log2(close / n / half), 0.0), 1.0) if half > 0 and close > 0 else 1.0
    return min(bound * math.pow(size / (len(rows) - 1), power), 1.0)


def _largest(near: _Near, radius: float) -> float:
    """Upper bound of the share of rows in the largest cluster of near ones."""
    label = np.arange(len(near.other))
    row = np.flatnonzero(near.relative < radius)
    other, before = near.other[row], np.zeros(0, np.int64)
    while not np.array_equal(label, before):
        before = label.copy()
        least = np.minimum(label[row], label[other])
        np.minimum.at(label, row, least)
        np.minimum.at(label, other, least)
        label = label[label]
    count = float(np.bincount(label).max())
    return float(np.asarray(special.betaincinv(count + 1, max(len(label) - count, 1e-9), _LEVEL)))


def refusal(fixed: Radius) -> str:
    """Why near-duplicates are not looked for ("": they are)."""
    if fixed.reason == Reason.OK:
        return ""
    if fixed.reason == Reason.FEW_ROWS:
        return (
            f"{int(fixed.sampled)} distinct reference rows cannot tell what is near among {int(fixed.capacity)}: "
            "give more rows or remember fewer"
        )
    return f"{float(fixed.rate):.0%} of honest rows would be near others: near-duplicates are ordinary in this data"
