"""Which rows are looked at one by one when there are more of them than the budget of the processor allows.

Senders are chosen whole, by a hash under the key that changes with the hour: a sampled sender is seen with all its
queries, and nobody can tell who is sampled when. Rows without a sender are chosen one by one. While rows come slower
than the limit, all of them are looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate.samples import mixed
from detectors.rows.layout import DigestArray

_MEMORY = 10.0
"""Seconds over which the rate is averaged."""
_TURN = 3600.0
"""Seconds after which other senders are chosen."""


class Pace:
    """The rate of one model's rows, and the choice that follows from it."""

    def __init__(self, most: float) -> None:
        """``most``: rows a second that may be looked at."""
        self._most = float(most)
        self._rate = 0.0
        self._last = float("nan")
        self._number = 0

    def choose(self, rows: int, client: DigestArray | None, now: float) -> NDArray[np.bool_]:
        """Mark the rows ``(n,)`` to look at; ``now`` in seconds, on a clock that never runs back."""
        numbers = np.arange(self._number, self._number + rows, dtype=np.uint64)
        self._number += rows
        share = self._share(rows, now)
        if share >= 1:
            return np.ones(rows, bool)
        salt = np.uint64(int(now // _TURN) & 0xFFFFFFFF) << np.uint64(32)
        key = numbers if client is None else np.where(client == 0, numbers, client)
        chosen: NDArray[np.bool_] = mixed(key ^ salt) < np.uint64(int(share * (2.0**64 - 1)))
        return chosen

    def _share(self, rows: int, now: float) -> float:
        """Share of the rows to look at: the limit over the mean rate of the last seconds."""
        passed = max(now - self._last, 0.0) if np.isfinite(self._last) else 0.0
        self._rate = self._rate * np.exp(-passed / _MEMORY) + rows / _MEMORY
        self._last = now
        return min(self._most / self._rate, 1.0) if self._rate > 0 else 1.0
