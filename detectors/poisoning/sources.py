"""H17 and H18 by source: who labels against the trusted rows more often than everybody else does.

Question: H0: given the past, a row of this source is labelled otherwise than trusted rows look with a chance of at most
the trusted bound of its bin of sureness, or twice the rate of all other sources there, if that is more. H1: from one of
its rows on, more often. For the fleet as a whole the trusted bound alone counts: labels of all sources that change
together are a change of concept (or many names of one poisoner), which arbitration tells apart, not this.
Statistic, null law: `rates.Starts`, an e-process from a source's first row on, at any row: P(sup e >= 1/a) <= a.
Sees / blind to: flips and dirty-label backdoors, early or late (a late start costs 2 ln t); blind to poison with right
labels, to a rate within the bound, to sources whose names change with every row (the fleet's evidence sees these).
Memory: 8 bytes times (2 b + C + 24) a source, ``most_sources`` of them at most. A new name takes the place of the one
with the least evidence, of those the longest silent: no number of names pushes out a suspect.
The others' rates are those of the last whole `PIECE` labelled rows: up to rounding it does not matter how rows are
batched. Source: failures.md section 6 (stream-level checks) and 3.0; Ville 1939.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.poisoning import doubt, kept, rates
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray
from detectors.types import FloatArray, IntArray

PIECE = 256
FLAGGED = 0.01
"""A row is flagged if so few trusted rows contradict their neighbours as much."""
MEMBERS = 8
"""Numbers of a source's newest flagged rows that are kept."""
_OTHERS = 50
"""Rows of other sources in a bin before their rate counts."""


class Sources:
    """Contradictions by source and for the fleet, on one ruler."""

    def __init__(self, ruler: doubt.Ruler, heuristic: str, most_sources: int) -> None:
        """Begin without rows; ``most_sources`` are remembered."""
        bins, classes = ruler.into.shape
        self._ruler = ruler
        self._heuristic = heuristic
        self._bounds = ruler.bounds
        self._slots: dict[int, int] = {}
        self._name = np.zeros(most_sources, np.uint64)
        self._starts = rates.no_starts(most_sources + 1)
        self._size = np.zeros((most_sources + 1, bins), np.int64)
        self._hits = np.zeros_like(self._size)
        self._into = np.zeros((most_sources + 1, classes), np.int64)
        self._first = np.full(most_sources + 1, -1)
        self._last = np.full(most_sources + 1, -1)
        self._members = np.full((most_sources + 1, MEMBERS), -1)
        self._before = np.zeros((2, *self._size.shape), np.int64)
        self._known = self._unwatched = 0
        self.born = 0
        """Names that were ever given a place: each is a key of its own."""

    def add(
        self, doubts: doubt.Doubts, label: NDArray[np.integer], named: DigestArray, number: IntArray
    ) -> NDArray[np.bool_]:
        """Take rows in order of arrival, ``(n,)`` each, with sources and numbers in the stream; flags ``(n,)``."""
        flags = doubts.known & doubts.wrong & (doubts.p <= FLAGGED)
        some = np.flatnonzero(doubts.known)
        for part in self._pieces(len(some)):
            at = some[part]
            self._piece(named[at], doubts.wrong[at], doubts.bin[at], label[at], number[at], flags[at])
        return flags

    def _pieces(self, rows: int) -> list[slice]:
        """Runs of rows that end where a `PIECE` of the stream does."""
        ends = [*range(PIECE - self._known % PIECE, rows, PIECE), rows] if rows else []
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    def _piece(
        self,
        named: DigestArray,
        wrong: NDArray[np.bool_],
        where: IntArray,
        label: NDArray[np.integer],
        number: IntArray,
        flagged: NDArray[np.bool_],
    ) -> None:
        slot = self._slots_of(named)
        fleet = len(self._name)
        for key, mine in ((slot, slot >= 0), (np.full(len(slot), fleet), np.ones(len(slot), bool))):
            k, w, b, n = key[mine], wrong[mine], where[mine], number[mine]
            bounds = self._bounds[b] if key[0] == fleet else self._allowed(k, b)
            self._starts = rates.carry(self._starts, k, w, bounds)
            np.add.at(self._size, (k, b), 1)
            np.add.at(self._hits, (k, b), w)
            np.add.at(self._into, (k[w], label[mine][w]), 1)
            self._first[k[::-1]] = np.where(self._first[k[::-1]] < 0, n[::-1], self._first[k[::-1]])
            self._last[k] = n
            self._remember(k[flagged[mine]], n[flagged[mine]])
        self._known += len(slot)
        if self._known % PIECE == 0:
            self._before[:] = self._size, self._hits

    def _allowed(self, slot: IntArray, where: IntArray) -> FloatArray:
        """Bounds of rows by the trusted rows, or twice the rate of all other sources."""
        size, hits = self._before[:, -1, where] - self._before[:, slot, where]
        others = np.where(size >= _OTHERS, rates.TOLERATED * hits / np.maximum(size, 1), 0.0)
        return np.minimum(np.maximum(self._bounds[where], others), rates.HIGHEST)

    def _remember(self, key: IntArray, number: IntArray) -> None:
        for k, n in zip(key[-MEMBERS * PIECE :], number[-MEMBERS * PIECE :], strict=True):  # flagged rows are few
            self._members[k] = np.append(self._members[k, 1:], n)

    def _slots_of(self, named: DigestArray) -> IntArray:
        """Slots ``(n,)`` of the sources, made free for new ones; -1 for no name and for names without room."""
        values, at = np.unique(named, return_inverse=True)
        found = np.array([self._slots.get(int(value), -1) for value in values])
        new = np.flatnonzero((found < 0) & (values != 0))
        if new.size:
            free = self._free(found[found >= 0])[: len(new)]
            for value, slot in zip(values[new], free, strict=False):
                self._begin(int(value), int(slot))
            found[new[: len(free)]] = free
        found[values == 0] = -1
        slots: IntArray = found[at].astype(np.int64)
        self._unwatched += int(((slots < 0) & (named != 0)).sum())
        return slots

    def _free(self, busy: IntArray) -> IntArray:
        """Slots that new names may have, the best first: never used, then least evidence, then longest silent."""
        used = self._last[:-1] >= 0
        evidence = np.where(used, np.maximum(self._starts.log_e[:-1], 0.0), -1.0)
        order = np.lexsort((self._last[:-1], np.round(evidence, 3)))
        weakest = order[: max(int((~used).sum()), (len(order) + 1) // 2)]  # the stronger half stays, whatever comes
        return weakest[~np.isin(weakest, busy)]

    def _begin(self, name: int, slot: int) -> None:
        if self._last[slot] >= 0:
            self._slots.pop(int(self._name[slot]), None)
        self._slots[name] = slot
        self._name[slot] = name
        self.born += 1
        self._starts.log_r[slot], self._starts.rows[slot] = -np.inf, 0
        for counts in (self._size, self._hits, self._into, self._before[0], self._before[1]):
            counts[slot] = 0
        for places in (self._first, self._last, self._members):
            places[slot] = -1

    def suspicions(self, level: float) -> list[Suspicion]:
        """Sources, and the fleet, whose log e-value has reached ``level``; the strongest first."""
        evidence = self._starts.log_e
        found = np.flatnonzero((evidence >= level) & (self._last >= 0))
        return [self._suspicion(int(k), float(evidence[k])) for k in found[np.argsort(-evidence[found], kind="stable")]]

    def _suspicion(self, k: int, evidence: float) -> Suspicion:
        fleet = k == len(self._name)
        busiest = np.argsort(-self._hits[:-1].sum(axis=1), kind="stable")[:5] if fleet else np.array([k])
        return Suspicion(
            heuristic=self._heuristic,
            about="fleet" if fleet else "client",
            who=0 if fleet else int(self._name[k]),
            log_e=evidence,
            log_p=float("nan"),
            rows=int(self._size[k].sum()),
            hits=int(self._hits[k].sum()),
            since=int(self._first[k]),
            until=int(self._last[k]),
            clients=tuple((int(self._name[s]), int(self._size[s].sum())) for s in busiest if self._last[s] >= 0),
            facts=self._facts(k),
            members=self._members[k][self._members[k] >= 0],
        )

    def _facts(self, k: int) -> dict[str, float]:
        size, hits, target = int(self._size[k].sum()), int(self._hits[k].sum()), int(self._into[k].argmax())
        others = int(self._size[-1].sum()) - size, int(self._hits[-1].sum()) - hits
        counts = doubt.Counts(self._size[k], self._hits[k], self._size[k][:, None], self._size[k][:, None])
        return {
            "contradicted_share": hits / max(size, 1),
            "expected_share": doubt.expected(self._ruler, counts) / max(size, 1),
            "others_share": others[1] / others[0] if others[0] else float("nan"),
            "target_class": float(target),
            "target_share": float(self._into[k, target] / max(hits, 1)),
            "unwatched_rows": float(self._unwatched),
        }

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that moves, as arrays of its own."""
        return {key: array.copy() for key, array in self._arrays().items()}

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "name": self._name, "log_r": self._starts.log_r, "rows": self._starts.rows, "size": self._size,
            "hits": self._hits, "into": self._into, "first": self._first, "last": self._last,
            "members": self._members, "before": self._before,
            "totals": np.array([self._known, self._unwatched, self.born]),
        }  # fmt: skip

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go on from `state`; ValueError if it is of another reference or number of sources."""
        mine = self._arrays()
        kept.fill(mine, arrays)
        self._known, self._unwatched, self.born = (int(x) for x in mine["totals"])
        used = np.flatnonzero(self._last[:-1] >= 0)
        self._slots = {int(self._name[s]): int(s) for s in used}
