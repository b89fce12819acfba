"""What the benchmarks of attacks run through: anything that sees a trace and raises alarms.

`tests.attacks.guarded` makes one of the agent's own guard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.queries.suspicion import Suspicion
from detectors.types import FloatArray, IntArray
from tests.attacks.traces import Trace

EVIDENCE = "evidence"
"""The verdict on a sender whose evidence has passed the bar before anybody has judged it."""


class Alarm(NamedTuple):
    """One suspicion that passed its bar for the first time, or whose verdict has changed.

    ``row`` is the number of rows seen when it was raised, ``rows`` those of each sender that it is about, and
    ``members`` the numbers of rows that tell it (none: all of the senders').
    """

    row: int
    verdict: str
    cause: str
    heuristic: str
    about: str
    rows: tuple[tuple[int, int], ...]
    members: IntArray

    def guilty(self, seen: Trace) -> bool:
        """Whether it is right, of the rows ``seen`` so far: its sender attacks, or most of the rows that tell it do.

        One about the fleet that names nobody is right while there is an attack.
        """
        if self.about == "fleet" and not len(self.members) + len(self.rows):
            return bool(seen.is_attack.any())
        told = seen.is_attack[self.members[self.members < seen.rows]] if self.about != "client" else seen.is_attack[:0]
        if not len(told):
            told = seen.is_attack[np.isin(seen.client, np.array([client for client, _ in self.rows], np.uint64))]
        return bool(told.any() if self.about == "client" else 2 * told.sum() > len(told))


class Seen(NamedTuple):
    """Rows seen, and near-duplicates and exact repeats among them."""

    rows: int
    near: int
    repeats: int


class Watch(Protocol):
    """Sees rows in order and says what is new."""

    @property
    def seen(self) -> Seen:
        """Counts so far."""
        ...

    def see(self, trace: Trace) -> list[Alarm]:
        """The alarms that these rows raised."""
        ...


Factory = Callable[[], Watch]
"""Makes a watch that has seen nothing but the reference."""


class Alarms:
    """Makes alarms of suspicions: each subject once for each verdict."""

    def __init__(self) -> None:
        self._told: set[tuple[str, int, str]] = set()

    def new(self, row: int, judged: list[tuple[Suspicion, str, str]]) -> list[Alarm]:
        """Those of the suspicions, with verdict and cause, that were not told before."""
        found = []
        for one, verdict, cause in judged:
            key = (one.about, one.who, verdict)
            if key not in self._told:
                self._told.add(key)
                found.append(Alarm(row, verdict, cause, one.heuristic, one.about, one.clients, one.members))
        return found

    def of_senders(self, row: int, who: NDArray[np.uint64], log_e: FloatArray, bar: float) -> list[Alarm]:
        """Senders whose evidence of any kind ``(c, k)`` has passed the bar, with the verdict "evidence"."""
        found = []
        for client in who[log_e.max(axis=1, initial=0.0) >= bar].tolist():
            if ("client", client, EVIDENCE) not in self._told:
                self._told.add(("client", client, EVIDENCE))
                found.append(Alarm(row, EVIDENCE, "", "", "client", ((client, 1),), np.zeros(0, np.int64)))
        return found
