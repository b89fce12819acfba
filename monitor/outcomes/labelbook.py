"""The labels that count, in the order in which they came, and which waiting labels have been used.

A log again: a correction is a further entry, and the mark of a prediction says which entry is its own. When
there are `_SPARE` times as many entries as count, the oldest are let go, those that do being written again at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray
from monitor.outcomes.room import Room
from monitor.outcomes.rowlog import LogState, Records, RowLog

_ENTRY: Final = np.dtype([("row", "<i8"), ("time", "<f8"), ("truth", "<f8")])
"""``row`` is a prediction's number, or one less than minus the number of a waiting label that has been used."""
_CODES: Final = (1 << 32) - 1
"""Numbers of entries fit a mark modulo this, plus one."""
_SPARE: Final = 1.25


def entries(rows: IntArray, time: FloatArray, truth: FloatArray) -> Records:
    """Labels of predictions, to be appended."""
    made = np.empty(len(rows), _ENTRY)
    made["row"], made["time"], made["truth"] = rows, time, truth
    return made


def used(rows: IntArray) -> Records:
    """Entries that say that waiting labels are used up."""
    return entries(-rows - 1, np.zeros(len(rows)), np.zeros(len(rows)))


class LabelBook:
    """Labels of the rows of two rooms."""

    def __init__(self, folder: Path, predictions: Room, waiting: Room) -> None:
        """Marks are kept in the rooms."""
        self.log = RowLog(folder, _ENTRY)
        self._predictions, self._waiting = predictions, waiting

    def held(self, numbers: IntArray) -> tuple[IntArray, Records]:
        """The labels of living predictions: places in ``numbers`` of those that have one, and their entries."""
        marks = self._predictions.marks(numbers)
        which = np.flatnonzero(marks)
        return which, self.log.take(self._place(marks[which]))

    def enter(self, made: Records) -> None:
        """Note where entries stand that the log has just taken."""
        end = self.log.end
        self._mark(made["row"], np.arange(end - len(made), end))

    def tidy(self, most: int) -> None:
        """Let old entries go while there are too many, at most so many at a time; `OSError` changes nothing."""
        live = self._predictions.marked + self._waiting.marked
        most = min(most, self.log.end - self.log.first - int(_SPARE * live))
        for first, old in self.log.blocks(self.log.first, self.log.first + max(most, 0)):
            again = old[self._current(old["row"], np.arange(first, first + len(old)))]
            self.log.append(again)
            self.enter(again)
            self.log.advance(first + len(old))

    def restore(self, state: LogState | None) -> None:
        """Be what a checkpoint says, and set the marks of the rooms, which are restored already."""
        self.log.restore(state)
        for first, some in self.log.blocks(self.log.first, self.log.end):
            self._mark(some["row"], np.arange(first, first + len(some)))

    def _mark(self, rows: IntArray, places: IntArray) -> None:
        codes = places % _CODES + 1
        for room, numbers, mine in self._rooms(rows):
            live = mine & (numbers >= room.live.first)
            room.mark(numbers[live], codes[live])

    def _current(self, rows: IntArray, places: IntArray) -> NDArray[np.bool_]:
        """Which entries still count."""
        current = np.zeros(len(rows), bool)
        for room, numbers, mine in self._rooms(rows):
            which = np.flatnonzero(mine & (numbers >= room.live.first))
            current[which] = room.marks(numbers[which]) == places[which] % _CODES + 1
        return current

    def _rooms(self, rows: IntArray) -> list[tuple[Room, IntArray, NDArray[np.bool_]]]:
        """For each room the numbers of its rows, and which entries are about it."""
        return [(self._predictions, rows, rows >= 0), (self._waiting, -rows - 1, rows < 0)]

    def _place(self, marks: IntArray) -> IntArray:
        """Numbers of entries by the marks, counted from the first that is there."""
        first = self.log.first
        return first + (marks - 1 - first) % _CODES
