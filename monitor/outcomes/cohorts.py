"""How many predictions of a time have their label, and after how long it came: the reporting triangle.

A cohort is the predictions of a stretch of event time. For each cohort it is counted how many there are and how many
labels came after each delay; whole numbers, so their order does not matter. What follows from them stands in `delays`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray
from monitor.outcomes.delays import Triangle

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
EDGES: Final = (
    *(0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 20, 30, 45)),
    *(hours * _HOUR for hours in (1, 1.5, 2, 3, 4, 6, 8, 12, 18)),
    *(days * _DAY for days in (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 17, 21, 25, 28, 30, 32, 35, 42, 49, 56)),
    *(days * _DAY for days in (60, 75, 90, 105, 120, 150, 180, 210, 240, 270, 300, 330, 365, 400, 550, 730)),
)
"""Delays in seconds at which the counts are divided; those beyond the index's hours are left out."""
WIDTHS: Final = (
    *(minutes * _MINUTE for minutes in (1, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 4, 6, 12)),
    *(days * _DAY for days in (1, 2, 4, 7, 14, 28)),
)
"""Lengths of a cohort in seconds, of which the shortest is taken that makes few enough."""
MOST: Final = 128
"""Cohorts at a time."""


def width_of(seconds: float) -> float:
    """Length of a cohort for an index that keeps rows so long."""
    return next((one for one in WIDTHS if seconds / one <= MOST - 2), seconds / (MOST - 2))


class Cohorts:
    """The counts of the newest `MOST` cohorts; older ones are closed."""

    def __init__(self, seconds: float) -> None:
        """For rows that are kept so long."""
        self.width = width_of(seconds)
        self.edges = np.array([*(one for one in EDGES if one < seconds), seconds])
        self.total = np.zeros(len(self.edges), np.int64)
        """Labels by their delay since the beginning; the last are those that took longer than rows are kept."""
        self.milliseconds = 0
        """Sum of all delays."""
        self._number = np.full(MOST, -1, np.int64)
        self._predicted = np.zeros(MOST, np.int64)
        self._arrived = np.zeros((MOST, len(self.edges)), np.int64)

    def of(self, time: FloatArray) -> IntArray:
        """Number of the cohort of each prediction, by its event time."""
        numbers: IntArray = np.floor(np.maximum(time, -1.0) / self.width).astype(np.int64)
        return numbers

    def predicted(self, time: FloatArray) -> None:
        """Count predictions."""
        slots, _ = self._slots(self.of(time))
        np.add.at(self._predicted, slots, 1)

    def labelled(self, time: FloatArray, delay: FloatArray) -> None:
        """Count the first labels of predictions of these event times, which came after a ``delay`` in seconds."""
        which = np.searchsorted(self.edges, delay, side="right") - 1
        slots, open_ = self._slots(self.of(time))
        np.add.at(self._arrived, (slots, which[open_]), 1)
        np.add.at(self.total, which, 1)
        self.milliseconds += int(np.rint(delay * 1000).astype(np.int64).sum())

    def forget_after(self, time: float) -> bool:
        """Forget cohorts of times that are not there yet, and would close those of the present; whether any was."""
        ahead = self._number > np.floor(time / self.width)
        self._number[ahead], self._predicted[ahead], self._arrived[ahead] = -1, 0, 0
        return bool(ahead.any())

    def triangle(self) -> Triangle:
        """The cohorts in order of time."""
        open_ = np.flatnonzero((self._number >= 0) & (self._number > self._number.max() - MOST))
        slots = open_[np.argsort(self._number[open_])]
        return Triangle(self._number[slots], self.width, self.edges, self._predicted[slots], self._arrived[slots, :-1])

    def state(self) -> dict[str, NDArray[np.int64]]:
        """Arrays for a checkpoint."""
        return {
            "number": self._number,
            "predicted": self._predicted,
            "arrived": self._arrived,
            "total": self.total,
            "milliseconds": np.array([self.milliseconds]),
        }

    def restore(self, arrays: dict[str, NDArray[np.int64]]) -> None:
        """Inverse of `state`."""
        self._number, self._predicted = arrays["number"], arrays["predicted"]
        self._arrived, self.total = arrays["arrived"], arrays["total"]
        self.milliseconds = int(arrays["milliseconds"][0])

    def _slots(self, numbers: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Where cohorts are counted, those that are open; a new one takes the place of the one that it closes."""
        newest = max(int(numbers.max(initial=-1)), int(self._number.max()))
        open_ = (numbers >= 0) & (numbers > newest - MOST)
        fresh = np.unique(numbers[open_])
        fresh = fresh[self._number[fresh % MOST] != fresh]
        self._number[fresh % MOST] = fresh
        self._predicted[fresh % MOST] = 0
        self._arrived[fresh % MOST] = 0
        return numbers[open_] % MOST, open_
