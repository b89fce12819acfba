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
from detectors.types import SingleArray
from tests.attacks import traces
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace

_NONE = np.array(-1)


class Alarm(NamedTuple):
    """One suspicion that passed its bar for the first time, or whose verdict has changed.

    ``row`` is the number of rows seen when it was raised, ``rows`` those of each sender that it is about.
    """

    row: int
    verdict: str
    cause: str
    heuristic: str
    rows: tuple[tuple[int, int], ...]

    def guilty(self, attackers: NDArray[np.uint64]) -> bool:
        """Whether most of the rows that it is about are the attackers'."""
        named = dict.fromkeys(attackers.tolist())
        mine = sum(rows for client, rows in self.rows if client in named)
        return 2 * mine > sum(rows for _, rows in self.rows)


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
                found.append(Alarm(row, verdict, cause, one.heuristic, one.clients))
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
