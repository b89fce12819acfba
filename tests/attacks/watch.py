"""What the benchmarks of attacks run through: anything that sees a trace and raises alarms, and the pieces by hand.

`Pieces` puts the space of similarity, the ring, the clients and the fault tree together without an agent. Whatever
else is to be judged (the agent's own guard) is another `Watch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors import simulate
from detectors.queries.suspicion import Suspicion
from detectors.rows import spaces
from detectors.rows.layout import Layout
from detectors.types import FloatArray, IntArray, SingleArray
from tests.attacks import traces
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace

EVIDENCE = "evidence"
"""The verdict on a sender whose evidence has passed the bar before anybody has judged it."""
_NONE = np.array(-1)


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
        """Whether most of the rows that tell it, of those ``seen`` so far, are an attack's."""
        told = seen.is_attack[self.members[self.members < seen.rows]]
        if not len(told):
            told = seen.is_attack[np.isin(seen.client, np.array([client for client, _ in self.rows], np.uint64))]
        return bool(2 * told.sum() > len(told))


class Watch(Protocol):
    """Sees rows in order and says what is new."""

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


class Near:
    """The space of similarity of a task, fitted to one half of its reference; ``held`` is the other half as traffic."""

    def __init__(self, task: Task, rng: np.random.Generator) -> None:
        self.task = task
        half = len(task.reference) // 2
        block = task.block(task.reference[:half])
        known = simulate.reference_of(block, dependent=False)
        self._spaces = spaces.fit(layout(task), known.grid, known.summary, block, rng)
        self.held = traces.traffic(task.reference[half:], task.answer, rng)

    def place(self, inputs: SingleArray) -> SingleArray:
        """Rows in the space of similarity ``(n, m)``."""
        return spaces.similarity(self._spaces, self.task.block(inputs))


def layout(task: Task) -> Layout:
    """Where a task's blocks carry what: all columns are features, or the vectors are an image."""
    columns = len(task.block(task.reference[:1]).faults)
    image = np.array([0, *task.image, 1]) if task.image[0] else np.zeros(0, np.int64)
    return Layout(np.arange(columns), image, _NONE, _NONE, _NONE, _NONE, _NONE, np.zeros(0, np.int64))
