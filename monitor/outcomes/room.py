"""Rows that are looked up by id, bounded in number and in time: a log on disk, and where each id stands in memory.

Rows leave in the order in which they came: when there are ``rows`` younger ones, or ``hours`` after they came. A row
carries one mark, a number that is 0 at first: of a prediction where its label stands, of a label that it has been used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from detectors.types import IntArray
from monitor.outcomes.rowlog import READ_ROWS, LogState, Records, RowLog
from monitor.outcomes.table import Keys, Live, Table

KEY: Final = ("key", "<u8", (2,))
"""First field of every row: its id."""
_STEPS: Final = 1024
"""Into so many steps the time is divided after which rows leave."""


class RoomState(TypedDict):
    """What a checkpoint holds: the log, and from which row on rows came at which time."""

    log: LogState
    steps: list[tuple[int, float]]


class Found(NamedTuple):
    """The newest living row of each id asked for: its number, -1 for none, and the rows of those that have one."""

    numbers: IntArray
    records: Records

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which ids have a row."""
        return self.numbers >= 0


class Room:
    """Rows by id."""

    def __init__(self, folder: Path, fields: list[Any], rows: int, seconds: float) -> None:
        """``fields`` beside the id, as for a NumPy dtype; at most ``rows`` rows, for ``seconds``."""
        self.log = RowLog(folder, np.dtype([KEY, *fields]))
        self.rows, self._seconds = rows, seconds
        self._table = Table(rows)
        self._marks = np.zeros(rows, np.uint32)
        self._steps: list[tuple[int, float]] = []
        self.marked = 0
        """Living rows that have a mark."""

    @property
    def live(self) -> Live:
        """The rows that are there."""
        return Live(self.log.first, self.log.end)

    @property
    def nbytes(self) -> int:
        """Bytes of memory reserved."""
        return self._table.nbytes + int(self._marks.nbytes)

    def find(self, keys: Keys) -> Found:
        """Look ids up, each of them once."""
        places, rows = self._table.find(keys, self.live)
        records = self.log.take(rows)
        same = (records["key"] == keys[places]).all(axis=1)
        places, rows, records = places[same], rows[same], records[same]
        numbers = np.full(len(keys), -1, np.int64)
        order = np.argsort(rows, kind="stable")  # of several rows of an id the newest is written last
        numbers[places[order]] = rows[order]
        newest = np.flatnonzero(numbers[places] == rows)
        _, once = np.unique(places[newest], return_index=True)
        return Found(numbers, records[newest[once]])

    def enter(self, records: Records) -> IntArray:
        """Give rows that the log has just taken their place in memory; their numbers."""
        end = self.log.end
        numbers = np.arange(end - len(records), end)
        self._table.insert(records["key"], numbers, self.live)
        places = numbers % len(self._marks)
        self._marks[places[self._marks[places] != 0]] = 0  # memory that nothing was written to is not resident
        return numbers

    def marks(self, numbers: IntArray) -> IntArray:
        """Marks of living rows."""
        found: IntArray = self._marks[numbers % len(self._marks)].astype(np.int64)
        return found

    def mark(self, numbers: IntArray, marks: IntArray) -> None:
        """Set marks, none of them 0; of a row that is named twice the last counts."""
        places = numbers % len(self._marks)
        self.marked += len(np.unique(places[self._marks[places] == 0]))
        self._marks[places] = marks

    def leave(self, new: int, now: float) -> int:
        """After ``new`` rows have come at a time, and before they `enter`: how many leave that have no mark."""
        base, old = self.log.end - new, self.log.first
        over, step = now - self._seconds, self._seconds / _STEPS
        first = max(old, self.log.end - self.rows)
        while self._steps and self._steps[0][1] + step <= over:
            del self._steps[0]
            first = max(first, self._steps[0][0] if self._steps else base)
        self.log.advance(first)
        if new and (not self._steps or now >= self._steps[-1][1] + step):
            self._steps.append((base, now))
        marked = self._marked(old, first)
        self.marked -= marked
        return first - old - marked

    def correct(self, now: float) -> None:
        """Rows that came later than now, by a clock that was ahead, have come now."""
        self._steps = [(row, min(time, now)) for row, time in self._steps]

    def _marked(self, first: int, end: int) -> int:
        """How many of these rows have a mark; they are no more than there is room for."""
        low, size = first % len(self._marks), len(self._marks)
        high = low + end - first
        return int(np.count_nonzero(self._marks[low:high]) + np.count_nonzero(self._marks[: max(high - size, 0)]))

    def state(self, log: LogState) -> RoomState:
        """What a checkpoint has to hold beside the log."""
        return {"log": log, "steps": list(self._steps)}

    def restore(self, state: RoomState | None) -> None:
        """Be what a checkpoint says; the marks are the caller's to set again.

        If it was a larger room, there is place for all of its rows, and those that are too many leave with the next.
        """
        self.log.restore(None if state is None else state["log"])
        self._steps = [] if state is None else [(int(row), float(time)) for row, time in state["steps"]]
        size = max(self.rows, self.live.rows)
        self._table, self._marks, self.marked = self._filled(size), np.zeros(size, np.uint32), 0

    def resize(self, rows: int) -> None:
        """Have place for so many rows from now on; `StoreError`, and nothing is changed, if it cannot be read.

        Those that are too many leave with the next.
        """
        size = max(rows, self.live.rows)
        table, marks = self._filled(size), np.zeros(size, np.uint32)
        for start in range(self.log.first, self.log.end, READ_ROWS):
            numbers = np.arange(start, min(start + READ_ROWS, self.log.end))
            marks[numbers % size] = self.marks(numbers)
        self.rows, self._table, self._marks = rows, table, marks

    def _filled(self, size: int) -> Table:
        table = Table(size)
        for first, records in self.log.blocks(self.log.first, self.log.end):
            numbers = np.arange(first, first + len(records))
            table.insert(records["key"], numbers, Live(self.log.first, int(numbers[-1]) + 1))
        return table
