"""`label_floods` in a stream: one input that comes with a label again and again.

Question: H0: from its first labelled row on, an input comes with a chance of at most what trusted rows allow (the upper
99.9 % limit of its share among them; 7 / m for one that they do not hold). H1: more often.
Statistic, null law: `rates.log_e` of its copies since its first row, times 1 / (t (t + 1)) where that was the t-th of
all labelled rows: an e-process each, and so is their sum, so all inputs together are one key.
Sees / blind to: exact copies, within ``most`` inputs remembered; blind to copies that differ in a last digit, and to a
slow flood of more inputs than that. Deliveries that are repeated look the same: ``same_label`` and ``same_source``, the
shares of copies with the label and the source of the first row, are facts for arbitration (NaN where that row names no
source); who floods an input that somebody else labelled first looks like many sources.
Memory: 60 bytes times ``most``; a new input takes the place of the one with the least evidence, of those the longest
unseen. Source: failures.md section 6 (stream-level checks).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.poisoning import floods, kept, rates
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray
from detectors.types import FloatArray, IntArray

MOST = 512
LEAST_COPIES = 5
"""Fewer copies are no flood, however rare the input."""


class Copies:
    """Counts of the inputs that came last and most; one per model."""

    def __init__(self, known: DigestArray, times: IntArray, trusted: int, most: int = MOST) -> None:
        """``known (k,)``, sorted, are digests of the ``trusted`` rows' inputs and ``times (k,)`` their numbers."""
        self._known, self._times, self._trusted = known, times, trusted
        self._digest = np.zeros(most, np.uint64)
        self._source = np.zeros(most, np.uint64)
        self._label = np.full(most, -1)
        self._copies, self._same_label, self._same_source = (np.zeros(most, np.int64) for _ in range(3))
        self._first, self._last, self._birth = (np.full(most, -1) for _ in range(3))
        self._seen = 0

    def add(self, digest: DigestArray, label: NDArray[np.integer], source: DigestArray, number: IntArray) -> None:
        """Take labelled rows ``(n,)`` in order of arrival."""
        values, first, at = np.unique(digest, return_index=True, return_inverse=True)
        slot = self._slots(values)
        new = np.flatnonzero(slot < 0)
        free = self._free(slot[slot >= 0])[: len(new)]
        slot[new[: len(free)]] = free
        self._begin(free, first[new[: len(free)]], (digest, label, source, number))
        row = slot[at]
        mine = np.flatnonzero(row >= 0)
        again = mine[number[mine] > self._first[row[mine]]]
        np.add.at(self._copies, row[again], 1)
        np.add.at(self._same_label, row[again], self._label[row[again]] == label[again])
        np.add.at(self._same_source, row[again], self._source[row[again]] == source[again])
        self._last[row[mine]] = number[mine]
        self._seen += len(digest)

    def _slots(self, values: DigestArray) -> IntArray:
        order = np.argsort(self._digest, kind="stable")
        place = np.minimum(np.searchsorted(self._digest[order], values), len(order) - 1)
        found: IntArray = np.where(self._digest[order][place] == values, order[place], -1)
        return np.where((found >= 0) & (self._first[found] >= 0), found, -1)

    def _free(self, busy: IntArray) -> IntArray:
        used = self._first >= 0
        order = np.lexsort((self._last, np.where(used, self._copies, -1)))
        weakest = order[: max(int((~used).sum()), (len(order) + 1) // 2)]  # the stronger half stays, whatever comes
        return weakest[~np.isin(weakest, busy)]

    def _begin(
        self, slot: IntArray, row: IntArray, rows: tuple[DigestArray, NDArray[np.integer], DigestArray, IntArray]
    ) -> None:
        digest, label, source, number = rows
        self._digest[slot], self._source[slot], self._label[slot] = digest[row], source[row], label[row]
        self._copies[slot] = self._same_label[slot] = self._same_source[slot] = 0
        self._first[slot], self._birth[slot] = number[row], self._seen + row

    @property
    def log_e(self) -> FloatArray:
        """Evidence by slot, ``(most,)``."""
        rows = np.where(self._first >= 0, np.maximum(self._seen - self._birth - 1, self._copies), 0)
        place = np.minimum(np.searchsorted(self._known, self._digest), max(len(self._known) - 1, 0))
        held = self._known[place] == self._digest if len(self._known) else np.zeros(len(place), bool)
        times = self._times[place] if len(self._known) else np.zeros(len(place), np.int64)
        share = np.minimum(floods.allowed(np.where(held, times, 0), self._trusted), rates.HIGHEST)
        birth = np.maximum(self._birth, 0)
        evidence: FloatArray = (
            rates.log_e(self._copies[:, None], rows[:, None], share[:, None]) - np.log1p(birth) - np.log(birth + 2)
        )
        return evidence

    def suspicions(self, level: float) -> list[Suspicion]:
        """Inputs whose log e-value has reached ``level``, as clusters named by their digest; the strongest first."""
        evidence = self.log_e
        found = np.flatnonzero((evidence >= level) & (self._copies >= LEAST_COPIES))
        return [self._suspicion(int(k), float(evidence[k])) for k in found[np.argsort(-evidence[found], kind="stable")]]

    def _suspicion(self, k: int, evidence: float) -> Suspicion:
        copies, source = int(self._copies[k]), int(self._source[k])
        same_source = float(self._same_source[k] / copies) if source else float("nan")
        return Suspicion(
            heuristic="label_floods",
            about="cluster",
            who=int(self._digest[k]),
            log_e=evidence,
            log_p=float("nan"),
            rows=copies + 1,
            hits=copies + 1,
            since=int(self._first[k]),
            until=int(self._last[k]),
            clients=((source, int(self._same_source[k]) + 1),) if source else (),
            facts={"same_label": self._same_label[k] / copies, "same_source": same_source},
            members=np.array([self._first[k], self._last[k]]),
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that moves, as arrays of its own."""
        return {key: array.copy() for key, array in self._arrays().items()}

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "digest": self._digest, "source": self._source, "label": self._label, "copies": self._copies,
            "same_label": self._same_label, "same_source": self._same_source, "first": self._first,
            "last": self._last, "birth": self._birth, "seen": np.array(self._seen),
        }  # fmt: skip

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go on from `state`; ValueError if it is of another number of inputs."""
        kept.fill(self._arrays(), arrays)
        self._seen = int(arrays["seen"])
