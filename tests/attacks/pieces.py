"""The pieces put together by hand: ring, clusters, clients and the fault tree, as the guard does it."""

from __future__ import annotations

import math

import numpy as np

from detectors.decide import causes, fault_tree
from detectors.queries import ring
from detectors.queries.clients import Clients, ClientsFixed
from detectors.queries.suspicion import Queries, Suspicion
from detectors.types import FloatArray
from tests.attacks import traces
from tests.attacks.traces import Trace
from tests.attacks.watch import Alarm, Alarms, Near

CAPACITY = 20_000
CHUNK = 256
LEVEL = 1e-4
"""An alarm's chance on a benign key, for ever."""
_KINDS = ("near_duplicates",)


class Pieces:
    """Ring, clients and the fault tree on one task; ``near`` may be shared by many."""

    def __init__(self, near: Near, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._near = near
        self._fixed = ring.calibrate(self._queries(near.held), CAPACITY, rng)
        self.ring = ring.Ring(self._fixed, CAPACITY)
        rows = float(near.held.rows)
        self.clients = Clients(ClientsFixed(np.array(_KINDS), np.array([ring.RATE * rows]), np.array([rows])))
        self.hits = 0
        self._alarms = Alarms()

    def see(self, trace: Trace) -> list[Alarm]:
        """Rows in chunks as the guard has them; bars are looked at after each."""
        found = []
        for start in range(0, trace.rows, CHUNK):
            queries = self._queries(trace.take(slice(start, start + CHUNK)))
            hits = self.ring.add(queries)
            self.hits += int(hits.hit.sum())
            self.clients.add(queries, hits, hits.hit[:, None], np.zeros(len(hits.hit)))
            found += self._alarms.new(self.ring.rows, self._judged())
        return found

    def _queries(self, trace: Trace) -> Queries:
        return traces.queries(trace, self._near.place(trace.inputs))

    def _judged(self) -> list[tuple[Suspicion, str, str]]:
        """All suspicions past the bar with the fault tree's verdict on what is known of their subject."""
        bar = -math.log(LEVEL)
        judged = []
        for one in self.clients.suspicions(bar):
            facts = causes.gathered([(one.heuristic, one.facts)], _KINDS)
            verdict = fault_tree.evaluate(causes.TREE, facts)
            judged.append((one, verdict.triage, verdict.cause))
        return judged


def coverage(watch: Pieces) -> FloatArray:
    """Rows seen, near-duplicates and exact repeats so far."""
    return np.array([watch.ring.rows, watch.hits, watch.ring.repeats], np.float64)
