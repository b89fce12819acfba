"""Predictions of one version after the other in panes, each judged once, when as good as all of its labels are there.

Wrong answers may get their labels sooner than right ones, or later: of a pane that is complete nobody can tell, and it
says the same however its labels came. Until then a corrected label counts in place of the old one. Panes are judged in
the order of predictions as far as they are complete; one whose labels were lost holds up no other. A pane is so many
rows, and lasts so many seconds at least. Where very many wait for their labels, new panes are larger.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.performance.errors import Answers
from detectors.types import FloatArray, IntArray
from monitor.outcomes.delays import Delays, coming

MOST_VERSIONS: Final = 9
"""Versions told apart, the last being all others."""
COMPLETE: Final = 0.95
"""Share of a pane's labels that has to be there before it is judged."""
_CELLS: Final = 1 << 16
"""Counts of waiting panes from which on new panes are twice as large, and so on."""


class Panes(NamedTuple):
    """Panes in order ``(p,)``: number, version, span, predictions, labels of them, and answers ``(p, k)``."""

    number: IntArray
    version: IntArray
    start: FloatArray
    end: FloatArray
    predicted: IntArray
    labelled: IntArray
    yes: NDArray[np.int32]
    asked: NDArray[np.int32]

    def at(self, which: IntArray | NDArray[np.bool_] | slice) -> Panes:
        """Some of them."""
        parts: list[Any] = [part[which] for part in self]
        return Panes(*parts)

    def beside(self, more: Panes) -> Panes:
        """These and more."""
        parts: list[Any] = [np.concatenate([one, other]) for one, other in zip(self, more, strict=True)]
        return Panes(*parts)


def empty(panes: int, k: int) -> Panes:
    """Panes without rows, of ``k`` questions."""
    whole = [np.zeros(panes, np.int64) for _ in range(4)]
    span = np.full(panes, np.inf), np.full(panes, -np.inf)
    return Panes(whole[0], whole[1], *span, whole[2], whole[3], *np.zeros((2, panes, k), np.int32))


class Ripening:
    """The panes that wait for labels, and of each version the one that takes rows."""

    def __init__(self, k: int, rows: int, seconds: float, least: float = 0.0) -> None:
        """Of ``k`` questions, at least ``rows`` and ``seconds`` each; told with ``least`` a share of their labels."""
        self._k, self._rows, self._seconds, self._least = k, rows, seconds, least
        self._next = 0
        self.begin()

    def begin(self) -> None:
        """Forget what waits; numbers go on, so that labels of what is forgotten are known as such."""
        self.waiting = empty(0, self._k)
        self._taking = np.full(MOST_VERSIONS, -1, np.int64)
        self._taken = np.zeros(MOST_VERSIONS, np.int64)
        self._size = np.zeros(MOST_VERSIONS, np.int64)
        self._began = np.zeros(MOST_VERSIONS)

    def number(self, version: IntArray, time: FloatArray) -> IntArray:
        """The pane of each prediction ``(n,)``, in the order in which they came."""
        found, fresh = np.zeros(len(version), np.int64), list[tuple[int, int]]()
        for one in np.unique(version).tolist():
            rows = np.flatnonzero(version == one)
            found[rows] = self._fill(one, np.maximum.accumulate(time[rows]), fresh)
        made = empty(len(fresh), self._k)
        made.number[:], made.version[:] = np.array(fresh, np.int64).reshape(-1, 2).T
        self.waiting = self.waiting.beside(made)
        return found

    def _fill(self, version: int, time: FloatArray, fresh: list[tuple[int, int]]) -> IntArray:
        """Panes of one version's rows; ``fresh`` gets number and version of those that begin."""
        found, row = np.zeros(len(time), np.int64), 0
        if self._taking[version] >= 0 and self._seconds and time[0] < self._began[version] - self._seconds:
            self._taking[version] = -1  # history: it would take all rows until the present is reached again
        while row < len(time):
            if self._taking[version] < 0:
                self._open(version, float(time[row]), len(fresh))
                fresh.append((self._next - 1, version))
            full = row + max(int(self._size[version] - self._taken[version]), 0)
            over = int(np.searchsorted(time, self._began[version] + self._seconds)) if self._seconds else 0
            end = min(max(full, over), len(time))
            found[row:end] = self._taking[version]
            self._taken[version] += end - row
            row = end
            if row < len(time) or (not self._seconds and self._taken[version] >= self._size[version]):
                self._taking[version] = -1
        return found

    def _open(self, version: int, time: float, fresh: int) -> None:
        crowd = (len(self.waiting.number) + fresh) * self._k // _CELLS
        self._taking[version], self._taken[version], self._began[version] = self._next, 0, time
        self._size[version] = self._rows << min(crowd.bit_length(), 20)
        self._next += 1

    def predicted(self, number: IntArray, time: FloatArray) -> None:
        """Predictions that wait for their labels from now on."""
        place = np.searchsorted(self.waiting.number, number)
        np.add.at(self.waiting.predicted, place, 1)
        np.minimum.at(self.waiting.start, place, time)
        np.maximum.at(self.waiting.end, place, time)

    def places(self, number: IntArray) -> IntArray:
        """Where the panes stand among those that wait, -1 for those that do not any more."""
        if not len(self.waiting.number):
            return np.full(len(number), -1, np.int64)
        place = np.minimum(np.searchsorted(self.waiting.number, number), len(self.waiting.number) - 1)
        return np.where(self.waiting.number[place] == number, place, -1)

    def add(self, places: IntArray, labels: IntArray, answers: Answers, sign: int = 1) -> None:
        """Count labels and answers of panes, each named once."""
        self.waiting.labelled[places] += labels
        self.waiting.yes[places] += (sign * answers.yes).astype(np.int32)
        self.waiting.asked[places] += (sign * answers.asked).astype(np.int32)

    def ripe(self, found: Delays, now: float) -> Panes:
        """Panes that may be judged, in the order in which their last predictions were made; they wait no more."""
        it = self.waiting
        if not np.isfinite(now):
            return empty(0, self._k)
        reached = np.searchsorted(found.edges[1:], now - it.end, side="right")
        done = coming(found, it.predicted, it.labelled, reached, COMPLETE).complete
        done &= ~np.isin(it.number, self._taking)
        self.waiting = it.at(~done)
        told = it.at(done & (it.labelled > 0) & (it.labelled >= self._least * it.predicted))
        return told.at(np.lexsort((told.number, told.end)))

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays for a checkpoint: of the counts the few that are not zero."""
        parts: dict[str, NDArray[Any]] = dict(self.waiting._asdict())
        for name in ("yes", "asked"):
            flat = parts.pop(name).ravel()
            parts[f"{name}_at"] = np.flatnonzero(flat)
            parts[name] = flat[parts[f"{name}_at"]]
        moving = {"taking": self._taking, "taken": self._taken, "size": self._size, "began": self._began}
        return {**parts, **moving, "next": np.array([self._next])}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Inverse of `state`."""
        self.go_on(arrays)
        self.waiting = empty(len(arrays["number"]), self._k)
        for name in ("yes", "asked"):
            getattr(self.waiting, name).ravel()[arrays[f"{name}_at"]] = arrays[name]
        self.waiting = self.waiting._replace(**{name: arrays[name] for name in Panes._fields[:6]})
        self._taking, self._taken = arrays["taking"], arrays["taken"]
        self._size, self._began = arrays["size"], arrays["began"]

    def go_on(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Go on with the numbers of a state that means something else."""
        self._next = int(arrays["next"][0])
