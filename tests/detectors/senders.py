"""A fleet of senders who ask about ten overlapping classes in 16 dimensions, each in its own proportions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.queries.clients import Clients, Known, calibrate
from detectors.queries.senders import ClientsFixed
from detectors.queries.suspicion import Hits, Queries, Suspicion
from detectors.types import FloatArray, SingleArray

CLASSES, WIDTH = 10, 16
KINDS = ("low_margin", "row_scores")
CENTRES = np.random.default_rng(7).normal(size=(CLASSES, WIDTH))
ATTACKER = 10**6
"""Clients with hashes from here on are no ordinary ones."""
Source = Callable[[int, np.random.Generator], SingleArray]
"""Makes so many rows."""


def ordinary(n: int, rng: np.random.Generator, shares: FloatArray | None = None) -> SingleArray:
    chosen = rng.choice(CLASSES, n, p=shares)
    return np.asarray(CENTRES[chosen] + 0.7 * rng.normal(size=(n, WIDTH)), np.float32)


def asked(near: SingleArray, client: NDArray[np.uint64], time: FloatArray) -> tuple[Queries, FloatArray]:
    """Queries of a Bayes classifier, and how far each is from the nearest class."""
    far = ((near[:, None] - CENTRES) ** 2).sum(axis=2)
    p = np.exp((far.min(axis=1, keepdims=True) - far) / (2 * 0.49))
    p /= p.sum(axis=1, keepdims=True)
    ranked = np.sort(p, axis=1).astype(np.float32)
    digest = np.ascontiguousarray(near[:, :2]).view(np.uint64)[:, 0]
    predicted = p.argmax(axis=1).astype(np.int32)
    return Queries(near, digest, client, predicted, ranked[:, -1] - ranked[:, -2], ranked[:, -1], time), far.min(axis=1)


def no_hits(n: int) -> Hits:
    no = np.zeros(n, np.bool_)
    return Hits(np.full(n, np.nan, np.float32), np.full(n, -1), no, no, no, np.full(n, -1))


class World:
    """A reference, what was measured on it, and its flags: the lowest margins, the oddest rows, one in a hundred."""

    def __init__(self, seed: int = 0, *, trained: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.trained = ordinary(2000, self.rng)
        near = ordinary(6000, self.rng)
        queries, odd = asked(near, np.ones(6000, np.uint64), np.arange(6000.0))
        self.low, self.high = float(np.quantile(queries.margin[:3000], 0.01)), float(np.quantile(odd[:3000], 0.99))
        held, far = Queries._make(column[3000:] for column in queries), odd[3000:]
        known, _ = asked(self.trained, np.ones(2000, np.uint64), np.arange(2000.0))
        training = Known(known.digest, known.near) if trained else None
        self.held = held
        self.fixed: ClientsFixed = calibrate(
            KINDS, self.flags(held, far), held, far, CLASSES, self.rng, training=training
        )
        self.shares = self.rng.dirichlet(np.full(CLASSES, 3.0), 40)
        size = self.rng.pareto(1.5, 40) + 1
        self.weight = size / size.sum()
        self.now = 0.0

    def flags(self, queries: Queries, odd: FloatArray) -> NDArray[np.bool_]:
        return np.column_stack([queries.margin < self.low, odd > self.high])

    def feed(self, clients: Clients, near: SingleArray, client: NDArray[np.uint64], time: FloatArray) -> None:
        queries, odd = asked(near, client, time)
        clients.add(queries, no_hits(len(near)), self.flags(queries, odd), odd)

    def fleet(self, n: int) -> tuple[SingleArray, NDArray[np.uint64]]:
        client = self.rng.choice(40, n, p=self.weight)
        near = np.empty((n, WIDTH), np.float32)
        for one in np.unique(client):
            near[client == one] = ordinary(int((client == one).sum()), self.rng, self.shares[one])
        return near, client.astype(np.uint64) + np.uint64(1)

    def pane(self, clients: Clients, source: Source | None = None, share: float = 0.05, names: int = 1) -> None:
        """500 rows in ten seconds, of which the attacker sends a share."""
        near, client = self.fleet(500)
        if source is not None:
            mine = np.flatnonzero(self.rng.random(500) < share)
            near[mine] = source(len(mine), self.rng)
            client[mine] = ATTACKER + self.rng.integers(0, names, len(mine))
        self.feed(clients, near, client, self.now + np.sort(self.rng.random(500)) * 10)
        self.now += 10

    def watch(
        self, source: Source | None, panes: int = 30, *, quiet: int = 10, share: float = 0.05, names: int = 1
    ) -> list[Suspicion]:
        """Suspicions at 1 in 10,000 of a run in which the attacker comes after some quiet panes."""
        clients, found = Clients(self.fixed), []
        for pane in range(panes):
            self.pane(clients, source if pane >= quiet else None, share, names)
            found += clients.suspicions(float(np.log(1e4)))
        return found


def about(found: list[Suspicion], heuristic: str) -> list[int]:
    """Who is suspected by a heuristic."""
    return sorted({one.who for one in found if one.heuristic == heuristic})
