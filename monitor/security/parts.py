"""What of the guard moves: the ring, the senders, the fleet, answers, labels, versions and golden inputs.

Each part has its state as arrays; together they are one blob of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.golden import Golden
from detectors.poisoning.feedback import Feedback
from detectors.queries import membership
from detectors.queries.clients import Clients
from detectors.queries.fingerprints import Fingerprints, refusal
from detectors.queries.fleet import Fleet
from detectors.queries.pairs import Pairs
from detectors.queries.prada import Prada
from detectors.queries.ring import Ring
from detectors.rows.layout import Rows
from detectors.rows.outputs import Outputs
from detectors.types import FloatArray, IntArray
from detectors.versions import Versions
from monitor.config import Model
from monitor.sections import Alarms
from monitor.security.measured import Measured
from monitor.windows import rows_of

MOST_SOURCES = 1_000
"""Sources of labels that are remembered."""
_FLEET_KEYS = 3
"""All rows, all near-duplicates, and all answers."""
_FAULTS = ("integrity", "output_integrity")


class Part(Protocol):
    """Something whose state is arrays."""

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Everything that moves."""
        ...

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on from a state; ValueError or KeyError where it is of other settings."""
        ...


class Parts:
    """The moving parts of one guard; those that are switched off are None."""

    def __init__(self, model: Model, fixed: Measured) -> None:
        """Begin from nothing."""
        settings, single = model.security, fixed.held.single
        known = [str(kind) for kind in fixed.held.clients.kinds if kind != membership.KIND]
        rates = (fixed.held.clients.flagged[: len(known)], fixed.held.clients.asked[: len(known)])
        tolerated = model.alarms.smallest_shift
        self.ring = Ring(fixed.held.near, settings.queries) if settings.queries >= 2 else None
        self.pairs = Pairs(fixed.held.near.clusters.boundary, *fixed.columns)
        self.clients = Clients(fixed.held.clients, settings.clients)
        self.fleet = Fleet(known, *rates, _smallest(known, model.alarms))
        self.outputs = Outputs(single.outputs, single.layout)
        self.feedback = None if fixed.feedback is None else Feedback(fixed.feedback, MOST_SOURCES)
        self.prada = Prada(fixed.held.prada, len(fixed.held.near.place.centre)) if settings.prada else None
        marked = fixed.fingerprints if self.ring is not None else None
        self.fingerprints = None if marked is None or refusal(marked) else Fingerprints(marked, settings.queries)
        self.versions = Versions(tolerated, len(fixed.held.cells), fixed.tau)
        self.golden = Golden(fixed.golden, tolerated)

    @property
    def born(self) -> int:
        """Keys that evidence was ever gathered for: senders, clusters, sources, and all traffic together."""
        clusters = 0 if self.ring is None else self.ring.clusters.born
        sources = 0 if self.feedback is None else self.feedback.born
        return self.clients.born + clusters + sources + _FLEET_KEYS

    def _named(self) -> dict[str, Part]:
        every: dict[str, Any] = {name: getattr(self, name) for name in vars(self)}
        return {name: part for name, part in every.items() if part is not None}

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that moves, by path."""
        return {f"{name}/{key}": one for name, part in self._named().items() for key, one in part.state().items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state; ValueError or KeyError where it is of other settings."""
        for name, part in self._named().items():
            prefix = f"{name}/"
            part.restore({key.removeprefix(prefix): one for key, one in arrays.items() if key.startswith(prefix)})


def _smallest(kinds: Sequence[str], alarms: Alarms) -> FloatArray:
    """The rise of each kind's rate that matters: a fault's, or a shift's."""
    return np.array([alarms.smallest_fault if kind in _FAULTS else alarms.smallest_shift for kind in kinds])


def some(rows: Rows, chosen: IntArray) -> Rows:
    """Some rows, in their order."""
    parts: Any = (None if part is None else part[chosen] for part in rows[1:])
    return Rows(rows_of(rows.block, chosen), *parts)
