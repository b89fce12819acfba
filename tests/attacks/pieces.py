"""The pieces put together by hand: ring, clients and the fault tree, as the guard does it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from detectors.decide import causes, fault_tree
from detectors.queries import clients, ring
from detectors.queries.suspicion import Hits, Queries, Suspicion
from tests.attacks import traces
from tests.attacks.traces import Trace
from tests.attacks.watch import Alarm, Alarms, Near

CAPACITY = 20_000
CHUNK = 256
LOOK = 512
"""Rows between two looks at all evidence."""
BAR = -math.log(1e-5)
"""Log evidence asked for: chance of a false alarm on a key, for ever."""
LOW_MARGIN = 0.01
"""Share of reference rows whose margin counts as low."""
_KINDS = ("near_duplicates", "low_margin")


class Pieces:
    """Ring, clients and the fault tree on one task; ``near`` may be shared by many.

    An alarm with the verdict "evidence" comes as soon as a sender's evidence passes the bar, one with a verdict of the
    fault tree at the next look.
    """

    def __init__(self, near: Near, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self._near = near
        held = self._queries(near.held)
        self._margin = float(np.quantile(held.margin, LOW_MARGIN))
        fixed = ring.calibrate(held, CAPACITY, rng)
        self.ring = ring.Ring(fixed, CAPACITY)
        nothing = np.full(len(held.client), np.nan)
        known = clients.calibrate(_KINDS, self._flags(held, None), held, nothing, near.task.classes, rng)
        known.flagged[0] = ring.RATE * known.asked[0]
        self.clients = clients.Clients(known)
        self.hits = self._looked = 0
        self._alarms = Alarms()

    def _flags(self, queries: Queries, hits: Hits | None) -> NDArray[np.bool_]:
        near = np.zeros(len(queries.client), np.bool_) if hits is None else hits.hit
        return np.column_stack([near, queries.margin <= self._margin])

    def see(self, trace: Trace) -> list[Alarm]:
        """Rows in chunks as the guard has them."""
        found = []
        for start in range(0, trace.rows, CHUNK):
            queries = self._queries(trace.take(slice(start, start + CHUNK)))
            hits = self.ring.add(queries)
            self.hits += int(hits.hit.sum())
            self.clients.add(queries, hits, self._flags(queries, hits), np.full(len(hits.hit), np.nan))
            found += self._alarms.of_senders(self.ring.rows, *self.clients.log_e(), BAR)
            if self.ring.rows - self._looked >= LOOK:
                self._looked = self.ring.rows
                found += self._alarms.new(self.ring.rows, self._judged())
        return found

    def _queries(self, trace: Trace) -> Queries:
        return traces.queries(trace, self._near.place(trace.inputs))

    def _judged(self) -> list[tuple[Suspicion, str, str]]:
        """All suspicions past the bar with the fault tree's verdict on what is known of their subject."""
        told = self.clients.suspicions(BAR)
        judged = []
        for one in told:
            mine = [
                (other.heuristic, other.facts) for other in told if (other.about, other.who) == (one.about, one.who)
            ]
            verdict = fault_tree.evaluate(causes.TREE, causes.gathered(mine, _KINDS))
            judged.append((one, verdict.triage, verdict.cause))
        return judged
