"""Labels of a stored log, joined to its rows and counted by stretch.

Where rows have ids, labels are joined as the agent joins them (`index`), in any order, whether they stand in the rows
or came alone; without ids a row's label is the one that it carries.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.performance import counts, realised, tallies
from detectors.performance.counts import Tally
from detectors.performance.types import Figure
from detectors.types import FloatArray, IntArray
from monitor import columns
from monitor.config import Model
from monitor.decode import Decoded
from monitor.outcomes.answers import MOST_CLASSES, Answers
from monitor.outcomes.index import Index
from monitor.outcomes.joined import Joined, Values
from monitor.outcomes.measured import Expected
from monitor.outcomes.said import Said
from monitor.outcomes.table import MOST_ROWS

HOURS: Final = 24 * 3660.0
"""A stored log is joined as a whole: its labels are there, whenever they came."""
ROWS: Final = 10_000_000
"""Rows of which the labels are waited for, where nobody knows how many the log has."""
_FIELD: Final = "stretch"


class Stretches:
    """Counts of labels by stretch."""

    def __init__(self, model: Model, answers: Answers, expected: Expected, tau: float) -> None:
        """``tau`` is the autocorrelation time of the rows' answers."""
        self._roles, self._answers, self._layout, self._tau = model.columns, answers, expected.layout, tau
        self.reference = realised.figures(self._layout, expected.reference, tau=tau)
        self._held: dict[int, Tally] = {}
        self._index: Index | None = None
        self._place: tuple[Path, int] | None = None

    def join(self, folder: Path, rows: int | None) -> None:
        """Join by ids, the log's ``rows`` in ``folder``; None: nobody knows how many they are."""
        self._place = folder, min(ROWS if rows is None else max(rows, 1), MOST_ROWS)

    def close(self) -> None:
        """Let go of the files."""
        if self._index is not None:
            self._index.close()

    def fed(self, decoded: Decoded, stretch: IntArray, arrived: float) -> None:
        """Rows that have been judged, and the labels that they carry; -1: a row in no stretch."""
        said = _parts(self._answers.said(decoded.block))
        some = np.flatnonzero(_any(said) & (stretch >= 0))
        values = {name: part[some] for name, part in said.items()} | {_FIELD: stretch[some].astype(np.int32)}
        batch, carries = decoded.batch, self._roles.label in decoded.batch.schema.names
        if self._place is None:
            if carries:
                truth = self._answers.truths(_column(batch, self._roles.label)).values[some]
                self._count(values, truth, 1)
        elif self._roles.id in batch.schema.names:
            ids, time = _column(batch, self._roles.id).take(pa.array(some)), decoded.block.time
            when = None if time is None else time[some]
            self._add(self._opened(*self._place, values).predicted(ids, when, values, arrived).joined)
            if carries:
                self.labelled(batch.filter(_column(batch, self._roles.label).is_valid()), arrived)

    def labelled(self, batch: pa.RecordBatch, arrived: float) -> None:
        """Ids with their labels."""
        if self._index is None:
            return
        ids, labels = (_column(batch, name) for name in (self._roles.id, self._roles.label))
        self._add(self._index.labelled(ids, self._answers.truths(labels), arrived))

    def figures(self, stretch: int) -> dict[str, Figure]:
        """What the labels of a stretch say."""
        return realised.figures(self._layout, self._held.get(stretch, counts.empty(self._layout)), tau=self._tau)

    def forget(self, stretch: int) -> None:
        """Nobody will ask again."""
        self._held.pop(stretch, None)

    def _opened(self, folder: Path, rows: int, values: Values) -> Index:
        """The index, which keeps these values of a row."""
        if self._index is None:
            fields = {name: (part.dtype, part.shape[1:]) for name, part in values.items()}
            self._index = Index(folder, fields, key=bytes(16), rows=rows, hours=HOURS)
            self._index.restore(None)
        return self._index

    def _add(self, joined: Joined) -> None:
        """Count labels; one that was another before is taken out."""
        self._count(joined.values, joined.truth, 1)
        self._count(joined.values, joined.before, -1)

    def _count(self, values: Values, truth: FloatArray, sign: int) -> None:
        known = np.flatnonzero(np.isfinite(truth))
        if not len(known):
            return
        said = Said(*(values[name][known] if name in values else None for name in Said._fields))  # type: ignore[arg-type]
        numbers, segment = np.unique(values[_FIELD][known], return_inverse=True)
        outcomes = self._answers.outcomes(said, truth[known])
        counted = tallies.tally(self._layout, outcomes, segment.astype(np.int64), len(numbers))
        for place, number in enumerate(numbers.tolist()):
            one = Tally(*(part[place : place + 1] for part in counted))
            held = self._held.get(number, counts.empty(self._layout))
            self._held[number] = counts.merge(held, one) if sign > 0 else counts.remove(held, one)


def _column(batch: pa.RecordBatch, name: str | None) -> pa.Array:
    return columns.unwrap(batch.column(batch.schema.names.index(str(name))))


def _parts(said: Said) -> dict[str, NDArray[Any]]:
    """What was said, by name; of very many classes without their chances."""
    given = {name: part for name, part in said._asdict().items() if part is not None}
    return {name: part for name, part in given.items() if part.ndim == 1 or part.shape[1] <= MOST_CLASSES}


def _any(parts: Values) -> NDArray[np.bool_]:
    """Rows of which anything was said."""
    known = [np.isfinite(part.reshape(len(part), -1)).all(axis=1) for part in parts.values()]
    some: NDArray[np.bool_] = np.logical_or.reduce(known)
    return some
