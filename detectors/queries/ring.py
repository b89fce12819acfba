"""The ring of recent queries: which of the last ones is nearest to a new one, and is that nearer than chance allows.

Question: is a query a near-duplicate of one of the last ``capacity`` distinct ones (H8)? Attacks on the answers ask
about almost the same input over and over; ordinary senders do not.
Statistic: Euclidean distance in the low-pass space of similarity to the nearest of the last ``capacity`` inputs that
are not the very same (exact repeats are told by their digest, counted, and not stored again), in units of how far
trusted rows are there.
Calibration: `detectors.queries.radius`.
Sees / blind to: every attack by queries that stay within the radius of one another, under as many names as you like and
dithered as long as the low-pass space averages the noise away. Blind to single rows made elsewhere, to a drip so slow
that the ring has forgotten, and to steps wider than the radius. Video, retries and polling are near-duplicates too:
a hit is no attack, see `detectors.queries.clusters`.
Cost: one product of 256 x (m + 1) by (m + 1) x (capacity + 2,048) for each 256 rows; memory 4 capacity (m + 1) + 60
capacity bytes, and a dictionary of capacity digests (some 100 bytes each).
Source: Chen, Carlini and Wagner 2019 (stateful detection), Li et al. 2022 (Blacklight); failures.md 3.3, H8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import nearest, radius
from detectors.queries.suspicion import Hits, Queries
from detectors.types import FloatArray, IntArray, Reason, SingleArray

RATE: Final = radius.RATE
"""Share of benign queries that may be hits, beside those that repeat others (`NearFixed.radius.rate` has both)."""


class NearFixed(NamedTuple):
    """What the reference says of nearness."""

    place: radius.Place
    radius: radius.Radius


def calibrate(queries: Queries, capacity: int, rng: np.random.Generator) -> NearFixed:
    """Measure on benign queries that the space of similarity was not fitted to, for a ring of ``capacity`` rows.

    At most 10,000 distinct ones with a place are used; below 200, or where the radius cannot be told, there will be no
    hits and `refusal` says why.
    """
    kept = radius.distinct(queries, rng)
    return NearFixed(*radius.calibrate(queries.near[kept], capacity))


def refusal(fixed: NearFixed) -> str:
    """Why near-duplicates are not looked for ("": they are)."""
    return radius.refusal(fixed.radius)


class Ring:
    """The last ``capacity`` distinct queries of one model, and what each new one is to them.

    Rows are numbered from 0 over all queries ever given, also those without a place. Chunks do not matter: a query sees
    exactly the ``capacity`` distinct ones before it, however they came (distances to within the rounding of a float64
    sum; of neighbours as near as one another to within 1e-6, either).
    """

    def __init__(self, fixed: NearFixed, capacity: int) -> None:
        """Begin empty; ``capacity`` is at most what ``fixed`` was calibrated for (ValueError)."""
        if not 2 <= capacity <= fixed.radius.capacity:
            raise ValueError(f"calibrated for 2 to {int(fixed.radius.capacity)} rows, not {capacity}")
        self.fixed = fixed
        self.capacity = capacity
        self.rows = 0
        """Queries seen so far."""
        self.repeats = 0
        """Exact repeats among them."""
        self._near = nearest.Nearest(capacity, len(fixed.place.centre))
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
        placed = self.fixed.place.put(queries.near[fresh])
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
        if self.fixed.radius.reason != Reason.OK:
            return np.zeros(len(placed))
        return self.fixed.radius.radius * self.fixed.place.unit(placed)

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
