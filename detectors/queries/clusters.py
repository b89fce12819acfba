"""Clusters of near-duplicates: one for each thing that somebody, under whatever names, asks about again and again.

Question: H0: each query that has a place joins this cluster with a chance of at most p0. H1: from some time on more do.
Statistic: an e-process a cluster, from its birth at its first hit on (`boundary.Bet`, starts after each of its hits).
Null law: anytime-valid. A benign query is a hit with a chance of at most the calibrated rate, and a hit joins one
cluster, so that no cluster gets more than that share, whatever the density where it was born; p0 is three times this,
or three times `radius.RATE` or the upper bound of the reference's largest cluster where the reference repeats itself.
The fleet's hits altogether are one more key, at three times the rate.
What it says: near-duplicates are more frequent than chance makes them. Frames, sensors, pages and retries are as well:
alone this is repetitive traffic. What an attack does besides is in the facts of each suspicion, and on its own in the
suspicions "boundary_walk", "confidence_ascent" and "target_class" of clusters that have grown.
Facts: ``flips_log_p``, ``low_margin_log_p`` (`detectors.queries.boundary`), ``confidence_log_p`` (`trend`),
``target_log_p``: one class among the answers of flips, against its share of the reference, 0 for the cluster's first.
A doubtful object lies between two classes, and all its flips get the other one: `boundary.doubt` bounds this p, too.
Sees / blind to: a cluster that takes more than p0 of the traffic, under any number of names; blind to a search whose
steps are wider than the radius, to one spread over so many things that each takes less, to one slower than the ring.
Cost: some 20 us a hit. At most ``most`` clusters of 1.6 kB and 12 bytes a coordinate; the dead go first, then the
smallest: whoever makes many small ones does not push out a large one.
Source: failures.md 3.0, 3.3 (H8, H10-H13), 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.queries import boundary, trend
from detectors.queries.cluster import Cluster, Member, packed, unpacked
from detectors.queries.suspicion import Queries, Suspicion
from detectors.types import FloatArray, IntArray

MOST_TOLD: Final = 64
"""Suspicious clusters told at a time."""
_AT_ONCE: Final = 16
"""Where there is no room, a part like this of the clusters goes at once: ranking them all for each new one is slow."""
_ALLOWED: Final = 3.0
_TELLING: Final = math.log(1e-4)
FLEET: Final = -1
"""Number of the cluster that stands for all traffic."""


class ClustersFixed(NamedTuple):
    """``p0 ()`` of one cluster's share and ``fleet ()`` of all hits' share; ``classes (C,)`` shares of the answers."""

    p0: FloatArray
    fleet: FloatArray
    classes: FloatArray
    boundary: boundary.BoundaryFixed
    trend: trend.TrendFixed


def calibrate(
    queries: Queries,
    neighbour: IntArray,
    distance: FloatArray,
    rates: tuple[float, float, float],
    rng: np.random.Generator,
) -> ClustersFixed:
    """Measure on distinct reference queries with a place.

    ``neighbour`` is each one's nearest other, ``distance`` how far that is. ``rates`` are that of hits
    without repeats, with repeats, and the largest cluster's share.
    """
    plain, rate, largest = rates
    known = queries.predicted[queries.predicted >= 0]
    classes = (np.bincount(known) + 1.0) / (len(known) + 1.0) if len(known) else np.zeros(0)
    return ClustersFixed(
        np.asarray(_ALLOWED * plain if rate <= plain else min(_ALLOWED * rate, max(_ALLOWED * plain, largest))),
        np.asarray(min(_ALLOWED * rate, 1.0)),
        np.minimum(classes, 1.0),
        boundary.calibrate(queries.predicted, queries.margin, neighbour, distance),
        trend.calibrate(queries.near, queries.confidence, queries.margin, rng),
    )


class Clusters:
    """The clusters of one ring."""

    def __init__(self, fixed: ClustersFixed, most: int, width: int) -> None:
        """None yet; at most ``most`` of rows with ``width`` coordinates."""
        self.fixed, self.most = fixed, most
        self.born = 0
        """Clusters ever born, and so keys of the budget."""
        self._width = width
        self._low = fixed.boundary.low_margin
        self._growth = boundary.Bet(float(fixed.p0))
        self._all = boundary.Bet(float(fixed.fleet))
        self._flip = boundary.Bet(float(fixed.boundary.flip))
        self._margin = boundary.Bet(float(fixed.boundary.low))
        self._known: dict[int, Cluster] = {}
        self._fleet = Cluster(FLEET, width, 0)
        self._fleet.growth = self._all.start()

    def __len__(self) -> int:
        """Clusters remembered."""
        return len(self._known)

    def join(self, number: int, seed: Member, member: Member, *, oldest: int) -> None:
        """A hit: ``member`` joins cluster ``number``, which begins with ``seed`` if it is not known.

        ``oldest`` is the place of the oldest row that the ring remembers.
        """
        self._all.step(self._fleet.growth, yes=True, after=self._fleet.gap(member))
        self._fleet.take(member, self._low)
        cluster = self._known.get(number)
        if cluster is None:
            cluster = self._new(number, seed, oldest)
            cluster.take(member, self._low)
        else:
            gap = cluster.gap(member)
            cluster.take(member, self._low)
            self._growth.step(cluster.growth, yes=True, after=gap)
        if member.predicted >= 0 and member.before >= 0:
            self._flip.step(cluster.flipping, yes=member.predicted != member.before)
        if not math.isnan(member.margin):
            self._margin.step(cluster.doubting, yes=member.margin < self._low)
        self._look(cluster)

    def repeat(self, number: int) -> None:
        """An exact repeat of a member."""
        if number in self._known:
            self._known[number].exact += 1

    def _new(self, number: int, seed: Member, oldest: int) -> Cluster:
        if len(self._known) >= self.most:
            ranked = sorted(self._known.values(), key=lambda one: (one.place >= oldest, one.rows, one.last))
            for dropped in ranked[: max(self.most // _AT_ONCE, 1)]:
                del self._known[dropped.number]
        cluster = Cluster(number, self._width, seed.predicted)
        cluster.growth, cluster.flipping = self._growth.start(), self._flip.start()
        cluster.doubting = self._margin.start()
        cluster.take(seed, self._low)
        self._known[number] = cluster
        self.born += 1
        return cluster

    def _look(self, cluster: Cluster) -> None:
        """Ask for a trend when the number of members has doubled."""
        turn = int(math.log2(cluster.rows / trend.FIRST_LOOK)) + 1 if cluster.rows >= trend.FIRST_LOOK else 0
        if turn <= cluster.looks:
            return
        cluster.looks = turn
        found = trend.look(
            self.fixed.trend,
            cluster.leads(),
            cluster.move(),
            turn=turn,
            many_scales=cluster.many_scales(self.fixed.boundary),
        )
        cluster.trend = found if found.log_p <= cluster.trend.log_p else cluster.trend._replace(noise_log_p=found[2])

    def suspicions(self, least: float, repeats: int, seen: int) -> list[Suspicion]:
        """Clusters whose growth has a log E of at least ``least``, the strongest first, and the fleet."""
        told = []
        hits = self._fleet.rows / max(seen, 1)
        if self._all.log_e(self._fleet.growth) >= least:
            facts = {"near_share": hits, "exact_share": repeats / max(seen, 1)}
            log_e = self._all.log_e(self._fleet.growth)
            told.append(self._fleet.suspicion("near_duplicates", "fleet", log_e, facts | self._fleet.facts()))
        grown = [(self._growth.log_e(one.growth), one) for one in self._known.values()]
        grown = sorted(((e, one) for e, one in grown if e >= least), key=lambda pair: -pair[0])
        for log_e, one in grown[:MOST_TOLD]:
            facts = self._facts(one) | {"fleet_hit_share": hits, "suspicions": float(len(grown))}
            told.append(one.suspicion("near_duplicates", "cluster", log_e, facts))
            told += self._support(one, facts)
        return told

    def _support(self, one: Cluster, facts: dict[str, float]) -> list[Suspicion]:
        """What speaks for an attack beside growth, as suspicions of its own."""
        found = []
        for name, log_p in (
            ("boundary_walk", min(facts["flips_log_p"], facts["low_margin_log_p"])),
            ("confidence_ascent", facts["confidence_log_p"]),
            ("target_class", facts["target_log_p"]),
        ):
            if log_p < _TELLING:
                found.append(one.suspicion(name, "cluster", math.nan, facts, log_p))
        return found

    def _facts(self, one: Cluster) -> dict[str, float]:
        steered = one.many_scales(self.fixed.boundary)
        ceiling = 0.0 if steered else boundary.doubt(self.fixed.boundary, one.typical_margin())
        flips = -max(self._flip.log_e(one.flipping), 0.0)
        low = -max(self._margin.log_e(one.doubting), 0.0)
        target = self._target(one)
        return one.facts() | {
            "flips_log_p": flips if steered else max(flips, ceiling),
            "low_margin_log_p": low if steered else max(low, ceiling),
            "confidence_log_p": one.trend.log_p,
            "confidence_trend": one.trend.correlation,
            "noise_like_log_p": one.trend.noise_log_p,
            "target_log_p": target if steered else max(target, ceiling),
            "many_scales": float(steered),
        }

    def _target(self, one: Cluster) -> float:
        """Chance that the commonest class of the flipped answers has so many of them, with the reference's shares."""
        away = {key: count for key, count in one.flipped.items() if key != one.home}
        if not away or not len(self.fixed.classes):
            return 0.0
        key, count = max(away.items(), key=lambda pair: pair[1])
        rest = 1.0 - (self.fixed.classes[one.home] if 0 <= one.home < len(self.fixed.classes) else 0.0)
        share = self.fixed.classes[key] / max(rest, 1e-9) if key < len(self.fixed.classes) else 1.0
        chance = float(special.betainc(count, sum(away.values()) - count + 1, min(share, 1.0)))
        return min(math.log(max(chance, 1e-300)) + math.log(len(self.fixed.classes)), 0.0)

    def state(self) -> dict[str, NDArray[Any]]:
        """All that moves."""
        ones = [self._fleet, *self._known.values()]
        return {"born": np.array(self.born), **packed(ones)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state`."""
        self.born = int(arrays["born"])
        self._fleet, *known = unpacked({name: array for name, array in arrays.items() if name != "born"})
        self._known = {one.number: one for one in known}
