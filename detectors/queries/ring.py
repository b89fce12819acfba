"""The ring of recent queries: which of the last ones is nearest to a new one, and is that nearer than chance allows.

Question: is a query a near-duplicate of one of the last ``capacity`` distinct ones (H8)? Attacks on the answers ask
about almost the same input over and over; ordinary senders do not.
Statistic: Euclidean distance in the low-pass space of similarity to the nearest of the last ``capacity`` inputs that
are not the very same (exact repeats are told by their digest, counted, and not stored again), in units of how far
trusted rows are there: the mean distance to the nearest of each of 8 groups of reference rows, bounded by its
reference 90 % quantile. Inputs are dense in some places and sparse in others; one radius for all would be that of the
densest (on MNIST it saw 3 % of the NES queries and none of a Jacobian augmentation's; this one sees nearly all).
Calibration: the radius is such that at most `RATE` of benign queries come nearer than that to one of ``capacity``
others. Nearest distances shrink with the number of rows, and the reference has n, mostly fewer: the chance to have a
neighbour among N is 1 - (1 - F)^N for a row whose ball has the mass F, concave in N, so that the chance among N is at
most N / n of that among n. The radius is the order statistic of the reference's own leave-one-out distances that keeps
to RATE n / N, less 1.64 of its standard deviations (neighbours come in pairs). Where that order statistic is below the
first, the lower tail of the distances is followed down by the local dimension (Hill 1975; Levina and Bickel 2004, with
its own lower limit), by at most a factor of `FURTHEST`; beyond it the ring refuses and gives no hits.
Sees / blind to: every attack by queries that stay within the radius of one another, under as many names as you like and
dithered as long as the low-pass space averages the noise away. Blind to single rows made elsewhere, to a drip so slow
that the ring has forgotten, and to steps wider than the radius. Video, retries and polling are near-duplicates too:
a hit is no attack, see `detectors.queries.clusters`.
Cost: one product of 256 x (m + 1) by (m + 1) x (capacity + 2,048) for each 256 rows; memory 4 capacity (m + 1) + 60
capacity bytes, and a dictionary of capacity digests (some 100 bytes each).
Source: Chen, Carlini and Wagner 2019 (stateful detection), Li et al. 2022 (Blacklight); failures.md 3.3, H8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import nearest
from detectors.queries.suspicion import Hits, Queries
from detectors.types import FloatArray, IntArray, Reason, SingleArray

RATE: Final = 0.002
"""Share of benign queries that may be hits."""
FURTHEST: Final = 512.0
"""How many times rarer than the rarest that the reference shows a hit may be made by extrapolation."""
_MOST_ROWS: Final = 10_000
_FEWEST_ROWS: Final = 200
_GROUPS: Final = 8
_LARGEST_GROUP: Final = 256
_WIDEST: Final = 0.9
_Z: Final = 1.645
_TIE: Final = 1 - 1e-5


class NearFixed(NamedTuple):
    """What the reference says of nearness.

    ``radius ()``: nearer than that is a hit (0: never, ``reason ()`` says why, a `Reason`), in units of how far the
    ``anchors (8, a, m + 1)`` are (`nearest.spread`), but no more than ``widest ()``. ``capacity ()`` is the most
    rows that it holds for, ``sampled ()`` the reference rows that it was measured on, ``dimension ()`` the lower limit
    of the local dimension where it was extrapolated (NaN: it was not). ``centre (m,)`` is taken off, and ``low`` and
    ``high (m,)`` bound what is left: the reference's range and as much again to either side.
    """

    radius: FloatArray
    reason: NDArray[np.int8]
    capacity: IntArray
    sampled: IntArray
    dimension: FloatArray
    centre: SingleArray
    low: SingleArray
    high: SingleArray
    anchors: SingleArray
    widest: FloatArray


def calibrate(queries: Queries, capacity: int, rng: np.random.Generator) -> NearFixed:
    """Measure the radius for a ring of ``capacity`` rows on benign queries that its space was not fitted to."""
    rows = _distinct(queries, rng)
    width = queries.near.shape[1]
    whole = np.asarray(capacity, np.int64), np.asarray(len(rows), np.int64)
    if len(rows) < _FEWEST_ROWS:
        nothing, none = np.zeros(width, np.float32), np.zeros((0, 0, width + 1), np.float32)
        few, zero = np.asarray(Reason.FEW_ROWS, np.int8), np.asarray(0.0)
        return NearFixed(zero, few, *whole, np.asarray(math.nan), nothing, nothing, nothing, none, zero)
    bounds = _bounds(rows)
    rows = _placed(rows, *bounds)
    size = min(len(rows) // (2 * _GROUPS), _LARGEST_GROUP)
    anchors = nearest.with_norms(rows[: _GROUPS * size]).reshape(_GROUPS, size, width + 1)
    unit = nearest.spread(rows, anchors, own=True)
    widest = np.quantile(unit, _WIDEST)
    distance = _nearest(rows, capacity)
    unit = np.minimum(unit, widest)[: len(distance)]
    relative = np.divide(distance, unit, out=np.full(len(distance), np.inf), where=unit > 0)
    others = min(capacity, len(rows) - 1)
    radius, reason, dimension = _radius(np.sort(relative), others / capacity)
    measured = np.asarray(radius), np.asarray(reason, np.int8), *whole, np.asarray(dimension)
    return NearFixed(*measured, *bounds, anchors, np.asarray(widest))


def _bounds(rows: SingleArray) -> tuple[SingleArray, SingleArray, SingleArray]:
    """Mean, and the reference's range about it with as much again to either side."""
    middle = rows.mean(axis=0, dtype=np.float64)
    span = np.ptp(rows.astype(np.float64), axis=0)
    low, high = rows.min(axis=0) - middle - span, rows.max(axis=0) - middle + span
    return middle.astype(np.float32), low.astype(np.float32), high.astype(np.float32)


def _nearest(rows: SingleArray, capacity: int) -> FloatArray:
    """Distance to the nearest of the other rows, or of ``capacity`` others where there are more."""
    size = min(capacity + 1, len(rows))
    blocks = [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
    return np.concatenate([nearest.nearest_other(block)[1] for block in blocks])


def _distinct(queries: Queries, rng: np.random.Generator) -> SingleArray:
    """At most `_MOST_ROWS` rows that have a place and are no exact repeats, in random order."""
    usable = np.flatnonzero(np.isfinite(queries.near).all(axis=1))
    _, first = np.unique(queries.digest[usable], return_index=True)
    chosen = rng.permutation(usable[np.sort(first)])[:_MOST_ROWS]
    rows: SingleArray = queries.near[chosen]
    return rows


def _placed(near: SingleArray, centre: SingleArray, low: SingleArray, high: SingleArray) -> SingleArray:
    """Centre and bound: no row is so far out that float32 loses its neighbours. NaN stays."""
    placed = np.clip(near - centre, low, high)
    return np.asarray(placed, np.float32)


def _radius(distance: FloatArray, share: float) -> tuple[float, Reason, float]:
    """Radius, reason and local dimension from distances to the nearest of a ``share`` of a full ring, ascending."""
    n = len(distance)
    allowed = RATE * (n + 1) * share
    sure = (math.sqrt(_Z**2 / 2 + allowed) - _Z / math.sqrt(2)) ** 2  # k + z sqrt(2 k) = allowed
    if sure >= 1:
        return _positive(float(distance[int(sure) - 1]), math.nan)
    some = min(max(n // 20, 10), 100)
    if allowed * FURTHEST < some:
        return 0.0, Reason.FEW_ROWS, math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(distance[some - 1] / distance[: some - 1])
    if not np.isfinite(logs).all() or logs.sum() <= 0:
        return 0.0, Reason.CONSTANT_REFERENCE, math.nan
    dimension = float((some - 2) / logs.sum()) * (1 - _Z * math.sqrt(2 / some))
    return _positive(float(distance[some - 1]) * (allowed / some) ** (1 / dimension), dimension)


def _positive(radius: float, dimension: float) -> tuple[float, Reason, float]:
    return (radius * _TIE, Reason.OK if radius > 0 else Reason.CONSTANT_REFERENCE, dimension)


def refusal(fixed: NearFixed) -> str:
    """Why near-duplicates are not looked for ("": they are)."""
    if fixed.reason == Reason.OK:
        return ""
    if fixed.reason == Reason.FEW_ROWS:
        return (
            f"{int(fixed.sampled)} distinct reference rows cannot tell what is near among {int(fixed.capacity)}: "
            "give more rows or remember fewer"
        )
    return f"more than {RATE:.1%} of the reference's rows lie where others lie: near-duplicates are ordinary here"


class Ring:
    """The last ``capacity`` distinct queries of one model, and what each new one is to them.

    Rows are numbered from 0 over all queries ever given, also those without a place. Chunks do not matter: a query sees
    exactly the ``capacity`` distinct ones before it, however they came (distances to within the rounding of a float64
    sum; of neighbours as near as one another to within 1e-6, either).
    """

    def __init__(self, fixed: NearFixed, capacity: int) -> None:
        """Begin empty; ``capacity`` is at most what ``fixed`` was calibrated for (ValueError)."""
        if not 2 <= capacity <= fixed.capacity:
            raise ValueError(f"calibrated for 2 to {int(fixed.capacity)} rows, not {capacity}")
        self.fixed = fixed
        self.capacity = capacity
        self.rows = 0
        """Queries seen so far."""
        self.repeats = 0
        """Exact repeats among them."""
        self._near = nearest.Nearest(capacity, len(fixed.centre))
        self._stored = 0
        self._number = np.full(capacity, -1, np.int64)
        self._digest = np.zeros(capacity, np.uint64)
        self._predicted = np.full(capacity, -1, np.int32)
        self._cluster = np.full(capacity, -1, np.int64)
        self._when: dict[int, int] = {}

    def add(self, queries: Queries) -> Hits:
        """Look up and store ``n`` queries in order of arrival."""
        step = min(nearest.CHUNK, self.capacity)
        parts = [self._chunk(between(queries, start, start + step)) for start in range(0, len(queries.digest), step)]
        if not parts:
            return _none(0)
        return Hits(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _chunk(self, queries: Queries) -> Hits:
        hits = _none(len(queries.digest))
        first = self._stored
        same = self._same(queries.digest)
        hits.exact[:] = same >= 0
        fresh = np.flatnonzero(~hits.exact)
        placed = _placed(queries.near[fresh], self.fixed.centre, self.fixed.low, self.fixed.high)
        place, distance = self._near.find(placed, first % self.capacity)
        # The neighbour's place holds one of this chunk's rows if that was stored before the row that asks.
        ahead = (place - first) % self.capacity
        own = (place >= 0) & (ahead < np.arange(len(fresh)))
        other = np.where(own, ahead, place)
        number = self.rows + fresh
        hits.distance[fresh] = distance
        hits.hit[fresh] = distance < self._reach(placed)
        hits.neighbour[fresh] = np.where(place >= 0, _either(own, other, number, self._number), -1)
        asked = queries.predicted[fresh]
        before = _either(own, other, asked, self._predicted)
        hits.flip[fresh] = hits.hit[fresh] & (before != asked) & (before >= 0) & (asked >= 0)
        self._label(hits, same, (fresh, own, other, number), first)
        places = (first + np.arange(len(fresh))) % self.capacity
        self._number[places], self._predicted[places] = number, asked
        self.rows += len(queries.digest)
        self.repeats += len(queries.digest) - len(fresh)
        return hits

    def _reach(self, placed: SingleArray) -> FloatArray:
        """The radius about each row; 0 where nothing is near by definition."""
        if self.fixed.reason != Reason.OK:
            return np.zeros(len(placed))
        return self.fixed.radius * np.minimum(nearest.spread(placed, self.fixed.anchors), self.fixed.widest)

    def _same(self, digest: NDArray[np.uint64]) -> IntArray:
        """Remember the digests; how many were stored before the very same (-1: it is new)."""
        same = np.full(len(digest), -1, np.int64)
        for i, this in enumerate(digest.tolist()):
            same[i] = self._when.get(this, -1)
            if same[i] >= 0:
                continue
            place = self._stored % self.capacity
            if self._stored >= self.capacity:
                del self._when[int(self._digest[place])]
            self._digest[place] = this
            self._when[this] = self._stored
            self._stored += 1
        return same

    def _label(
        self, hits: Hits, same: IntArray, found: tuple[IntArray, NDArray[np.bool_], IntArray, IntArray], first: int
    ) -> None:
        """Give hits the cluster of their neighbour, and exact repeats that of what they repeat, in order."""
        fresh, own, other, number = found
        mine = np.full(len(fresh), -1, np.int64)
        at = np.cumsum(~hits.exact) - 1  # a row's position among the fresh ones
        for i in np.flatnonzero(hits.hit | hits.exact).tolist():
            if hits.exact[i]:
                when = int(same[i])
                hits.cluster[i] = mine[when - first] if when >= first else self._cluster[when % self.capacity]
                continue
            k = int(at[i])
            labels, numbers = (mine, number) if own[k] else (self._cluster, self._number)
            if labels[other[k]] < 0:
                labels[other[k]] = numbers[other[k]]
            mine[k] = hits.cluster[i] = labels[other[k]]
        self._cluster[(first + np.arange(len(fresh))) % self.capacity] = mine

    def state(self) -> dict[str, NDArray[Any]]:
        """All that moves."""
        return {
            "counts": np.array([self.rows, self.repeats, self._stored]),
            "near": self._near.rows.copy(),
            "number": self._number.copy(),
            "digest": self._digest.copy(),
            "predicted": self._predicted.copy(),
            "cluster": self._cluster.copy(),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state` of a ring of the same capacity and width."""
        if arrays["near"].shape != self._near.rows.shape:
            raise ValueError(f"state of shape {arrays['near'].shape}, not {self._near.rows.shape}")
        self.rows, self.repeats, self._stored = (int(count) for count in arrays["counts"])
        self._near.rows[:] = arrays["near"]
        self._number[:] = arrays["number"]
        self._digest[:] = arrays["digest"]
        self._predicted[:] = arrays["predicted"]
        self._cluster[:] = arrays["cluster"]
        kept = range(max(self._stored - self.capacity, 0), self._stored)
        self._when = {int(self._digest[when % self.capacity]): when for when in kept}


def between(queries: Queries, start: int, end: int) -> Queries:
    """Those from ``start`` to before ``end``, without copying."""
    return Queries._make(column[start:end] for column in queries)


def _either(own: NDArray[np.bool_], other: IntArray, mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    """What the chunk's own rows (``mine``) or the older ones (``theirs``) have at ``other``."""
    taken = theirs[np.where(own, 0, other)]
    taken[own] = mine[other[own]]
    return taken


def _none(n: int) -> Hits:
    no = [np.zeros(n, np.bool_) for _ in range(3)]
    nothing = np.full(n, np.nan, np.float32)
    return Hits(nothing, np.full(n, -1, np.int64), no[0], no[1], no[2], np.full(n, -1, np.int64))
