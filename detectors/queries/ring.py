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

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import clusters, nearest, radius, trend
from detectors.queries.cluster import Member
from detectors.queries.suspicion import Hits, Queries, Suspicion
from detectors.types import CodeArray, FloatArray, IntArray, Reason, SingleArray

RATE: Final = radius.RATE
"""Share of benign queries that may be hits, beside those that repeat others (`NearFixed.radius.rate` has both)."""


_ROWS_A_CLUSTER: Final = 8
_SAME_SCENE: Final = 0.5
"""Rows nearer than this, in units of how far trusted rows are, show one thing: a noisy camera's frames are no hits."""
_FEWEST: Final = 64


class _Seen(NamedTuple):
    """Of each stored query, or of a chunk's new ones: client, margin, lead and time."""

    client: NDArray[np.uint64]
    margin: SingleArray
    lead: FloatArray
    time: FloatArray


class NearFixed(NamedTuple):
    """What the reference says of nearness."""

    place: radius.Place
    radius: radius.Radius
    clusters: clusters.ClustersFixed


def calibrate(queries: Queries, capacity: int, rng: np.random.Generator) -> NearFixed:
    """Measure on benign queries that the space of similarity was not fitted to, for a ring of ``capacity`` rows.

    At most 10,000 distinct ones with a place are used; below 200, or where the radius cannot be told, there will be no
    hits and `refusal` says why.
    """
    kept = radius.distinct(queries, rng)
    known = Queries._make(column[kept] for column in queries)
    known = known._replace(near=radius.bounded(known.near))
    place, measured, neighbour, distance = radius.calibrate(known.near, capacity)
    rates = RATE, float(measured.rate), float(measured.largest)
    return NearFixed(place, measured, clusters.calibrate(known, neighbour, distance, rates, rng))


def refusal(fixed: NearFixed) -> str:
    """Why near-duplicates are not looked for ("": they are)."""
    return radius.refusal(fixed.radius)


class Ring:
    """The last ``capacity`` distinct queries of one model, and what each new one is to them.

    Rows are numbered from 0 over all queries ever given, also those without a place. A query sees exactly the
    ``capacity`` distinct ones before it, however they were batched. Of neighbours whose squared distances are the same
    to within 1e-6 of the squared norms, either is found.
    """

    def __init__(self, fixed: NearFixed, capacity: int) -> None:
        """Begin empty; ``capacity`` is at most what ``fixed`` was calibrated for (ValueError).

        Where this holds only among the last ``fixed.radius.within`` rows, no more are remembered.
        """
        if not 2 <= capacity <= fixed.radius.capacity:
            raise ValueError(f"calibrated for 2 to {int(fixed.radius.capacity)} rows, not {capacity}")
        self.fixed = fixed
        self.capacity = min(capacity, int(fixed.radius.within))
        capacity = self.capacity
        self.rows = 0
        """Queries seen so far."""
        self.repeats = 0
        """Exact repeats among them."""
        width = len(fixed.place.centre)
        self._near = nearest.Nearest(capacity, width)
        self._stored = 0
        self._number = np.full(capacity, -1, np.int64)
        self._digest = np.zeros(capacity, np.uint64)
        self._predicted = np.full(capacity, -1, np.int32)
        self._cluster = np.full(capacity, -1, np.int64)
        self._seen = _Seen(
            np.zeros(capacity, np.uint64), np.zeros(capacity, np.float32), np.zeros(capacity), np.zeros(capacity)
        )
        self.clusters = clusters.Clusters(fixed.clusters, max(capacity // _ROWS_A_CLUSTER, _FEWEST), width)
        self._when: dict[int, int] = {}

    def add(self, queries: Queries) -> Hits:
        """Look up and store ``n`` queries in order of arrival."""
        step = min(nearest.CHUNK, self.capacity)
        parts = [self._chunk(between(queries, start, start + step)) for start in range(0, len(queries.digest), step)]
        if not parts:
            return none(0)
        return Hits(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _chunk(self, queries: Queries) -> Hits:
        hits = none(len(queries.digest))
        first = self._stored
        same = self._same(queries.digest)
        hits.exact[:] = same >= 0
        fresh = np.flatnonzero(~hits.exact)
        placed = self.fixed.place.put(queries.near[fresh])
        place, distance, beside = self._near.find(placed, first % self.capacity)
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
        seen = _Seen(
            queries.client[fresh],
            queries.margin[fresh],
            trend.leads_of(queries.confidence[fresh], queries.margin[fresh]),
            queries.time[fresh],
        )
        new = _Chunk(fresh, number, asked, seen, np.full(len(fresh), -1, np.int64), first)
        self._label(hits, same, new, (own, other, placed, beside))
        self._store(new)
        self.rows += len(queries.digest)
        self.repeats += len(queries.digest) - len(fresh)
        return hits

    def _store(self, new: _Chunk) -> None:
        places = (new.first + np.arange(len(new.row))) % self.capacity
        self._number[places], self._predicted[places], self._cluster[places] = new.number, new.predicted, new.cluster
        for name, values in new.seen._asdict().items():
            getattr(self._seen, name)[places] = values

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
        self,
        hits: Hits,
        same: IntArray,
        new: _Chunk,
        neighbour: tuple[NDArray[np.bool_], IntArray, SingleArray, SingleArray],
    ) -> None:
        """Give hits the cluster of their neighbour, and exact repeats that of what they repeat, in order."""
        own, other, placed, beside = neighbour
        before = _Chunk(self._number, self._number, self._predicted, self._seen, self._cluster, 0)
        at = np.cumsum(~hits.exact) - 1  # a row's position among the new ones
        for i in np.flatnonzero(hits.hit | hits.exact).tolist():
            if hits.exact[i]:
                when = int(same[i])
                found = new.cluster[when - new.first] if when >= new.first else self._cluster[when % self.capacity]
                hits.cluster[i] = found
                self.clusters.repeat(int(found))
                continue
            k, where = int(at[i]), new if own[at[i]] else before
            j = int(other[k])
            if where.cluster[j] < 0:
                where.cluster[j] = where.number[j]
            new.cluster[k] = hits.cluster[i] = where.cluster[j]
            member = new.member(k, new.first + k, placed[k], (int(where.predicted[j]), float(hits.distance[i])))
            seed = where.member(j, new.first + k - 1, beside[k], (-1, math.nan))
            self.clusters.join(int(where.cluster[j]), seed, member, oldest=member.place - self.capacity)

    def apart(self, queries: Queries, hits: Hits) -> NDArray[np.bool_]:
        """Whether each of some queries shows something new, and not what an earlier one shows; ``hits`` are theirs."""
        if not len(self.fixed.place.anchors):
            return np.asarray(~hits.exact & ~hits.hit)
        unit = self.fixed.place.unit(self.fixed.place.put(queries.near))
        with np.errstate(invalid="ignore"):
            return np.asarray(~(hits.distance < _SAME_SCENE * unit) & ~hits.exact & ~hits.hit)

    def suspicions(self, least: float) -> list[Suspicion]:
        """Clusters, and the fleet, whose evidence is a log E of at least ``least`` for near-duplicates."""
        return self.clusters.suspicions(least, self.repeats, self.rows)

    def state(self) -> dict[str, NDArray[Any]]:
        """All that moves; of places only those that hold a query."""
        return {
            "counts": np.array([self.rows, self.repeats, self._stored]),
            "near": self._near.rows[: self.capacity][self._number >= 0],
            "number": self._number.copy(),
            "digest": self._digest.copy(),
            "predicted": self._predicted.copy(),
            "cluster": self._cluster.copy(),
            **{f"seen/{name}": column.copy() for name, column in self._seen._asdict().items()},
            **{f"clusters/{name}": array for name, array in self.clusters.state().items()},
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state` of a ring of the same capacity and width."""
        held = arrays["number"] >= 0
        wanted = (int(held.sum()), self._near.rows.shape[1])
        if len(held) != self.capacity or arrays["near"].shape != wanted:
            raise ValueError(
                f"state of {len(held)} places and shape {arrays['near'].shape}, not {self.capacity}, {wanted}"
            )
        self.rows, self.repeats, self._stored = (int(count) for count in arrays["counts"])
        self._near.rows[: self.capacity][held] = arrays["near"]
        self._number[:] = arrays["number"]
        self._digest[:] = arrays["digest"]
        self._predicted[:] = arrays["predicted"]
        self._cluster[:] = arrays["cluster"]
        for name, column in self._seen._asdict().items():
            column[:] = arrays[f"seen/{name}"]
        prefix = "clusters/"
        self.clusters.restore({name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)})
        kept = range(max(self._stored - self.capacity, 0), self._stored)
        self._when = {int(self._digest[when % self.capacity]): when for when in kept}


class _Chunk(NamedTuple):
    """New queries that are no exact repeats, ``(k,)`` each; ``row`` in the chunk, ``first`` how many came before."""

    row: IntArray
    number: IntArray
    predicted: CodeArray
    seen: _Seen
    cluster: IntArray
    first: int

    def member(self, k: int, place: int, near: SingleArray, step: tuple[int, float]) -> Member:
        """The k-th as a member of a cluster."""
        client, margin, lead, time = self.seen
        return Member(
            int(self.number[k]), place, int(client[k]), int(self.predicted[k]), float(margin[k]), float(lead[k]),
            float(time[k]), near, *step,
        )  # fmt: skip


def between(queries: Queries, start: int, end: int) -> Queries:
    """Those from ``start`` to before ``end``, without copying."""
    return Queries._make(column[start:end] for column in queries)


def _either(own: NDArray[np.bool_], other: IntArray, mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
    """What the chunk's own rows (``mine``) or the older ones (``theirs``) have at ``other``."""
    taken = theirs[np.where(own, 0, other)]
    taken[own] = mine[other[own]]
    return taken


def none(n: int) -> Hits:
    """No hits of ``n`` queries."""
    no = [np.zeros(n, np.bool_) for _ in range(3)]
    nothing = np.full(n, np.nan, np.float32)
    return Hits(nothing, np.full(n, -1, np.int64), no[0], no[1], no[2], np.full(n, -1, np.int64))
