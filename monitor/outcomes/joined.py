"""What comes out of the index: predictions with their labels, and what became of everything that went in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray
from monitor.outcomes.table import Keys

Values = Mapping[str, NDArray[Any]]
"""What is kept of predictions, an array for each field."""

PREDICTIONS: Final = ("kept", "repeated", "conflicting", "no_id", "not_kept")
"""What becomes of a prediction. Of two with one id the first counts: the second is ``repeated`` if it says the same,
``conflicting`` if not. ``not_kept``: the disk took no more."""
LABELS: Final = ("joined", "repeated", "corrected", "stale", "unknown_id", "no_id", "missing", "wrong_type", "not_kept")
"""What becomes of a label. ``corrected``: it says something else than the one before, and counts; ``stale``: it is
older than the one before, and does not. ``unknown_id``: no prediction with its id, neither before nor as long as the
label waited. A label that waits is in none of them yet."""
LEFT: Final = ("labelled", "unlabelled")
"""What was known of a prediction when it left the index, for its age or to make room."""


class Joined(NamedTuple):
    """Predictions that have got a label, or another one than before, ``(n,)`` each, in the order in which they did.

    ``time`` is when the prediction was made, ``cohort`` the number of the stretch of time that it belongs to,
    ``values`` what was kept of it. ``truth`` is its label now and ``before`` the one that counted until now, NaN for
    the first: whoever adds up takes ``before`` out again. ``delay`` is in seconds, from the prediction to this label.
    ``key (n, 2)`` is the hashed id.
    """

    time: FloatArray
    cohort: IntArray
    values: Values
    truth: FloatArray
    before: FloatArray
    delay: FloatArray
    key: Keys

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.time)


class Kept(NamedTuple):
    """What became of predictions: which are ``fresh (n,)``, and those whose label had come before them.

    ``key (n, 2)`` are the hashed ids, ``cohort (n,)`` the numbers of the stretches of time that the rows belong to.
    """

    fresh: NDArray[np.bool_]
    joined: Joined
    key: Keys
    cohort: IntArray


class Row(NamedTuple):
    """Predictions as they are kept ``(n,)``; ``truth`` is NaN without a label."""

    time: FloatArray
    values: Values
    truth: FloatArray


class Figures(NamedTuple):
    """For metrics: how much is open, and counts since the beginning.

    ``labelled`` of the ``rows`` have their label; ``waiting`` labels have no prediction yet. ``delays`` are counts by
    ``edges`` in seconds, the last beyond the last edge; ``delay_seconds`` is their sum.
    """

    rows: int
    labelled: int
    waiting: int
    disk_bytes: int
    memory_bytes: int
    predictions: Mapping[str, int]
    labels: Mapping[str, int]
    left: Mapping[str, int]
    edges: FloatArray
    delays: IntArray
    delay_seconds: float


def concatenated(parts: list[Joined]) -> Joined:
    """Several, at least one, in order."""
    parts = [part for part in parts if part.rows] or parts[:1]
    return Joined(
        time=np.concatenate([part.time for part in parts]),
        cohort=np.concatenate([part.cohort for part in parts]),
        values={name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values},
        truth=np.concatenate([part.truth for part in parts]),
        before=np.concatenate([part.before for part in parts]),
        delay=np.concatenate([part.delay for part in parts]),
        key=np.concatenate([part.key for part in parts]),
    )
