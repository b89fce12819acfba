"""Figures of rankings: a query can be judged only when all of its rows have their label, so queries are counted anew.

Labels of a query come at different times, and what a query adds is no sum over its rows. So a cohort is counted from
what the index holds, once it is told of, before its rows begin to leave, and again when labels of it have changed; for
at most a twentieth of the time. A query belongs to the cohort of its first row. Of very many rows whole queries are
left out by a hash.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate.samples import mixed
from detectors.performance.types import Figure
from monitor import log
from monitor.errors import StoreError
from monitor.outcomes.answers import Answers
from monitor.outcomes.beside import REST
from monitor.outcomes.delays import Completeness
from monitor.outcomes.divided import Divided
from monitor.outcomes.index import Index
from monitor.outcomes.joined import Joined, Row
from monitor.outcomes.measured import Expected
from monitor.outcomes.parts import How
from monitor.outcomes.realised import Realised

MOST_ROWS: Final = 1 << 18
"""Rows that are counted at a time; of more, a part of the queries is."""
_KEPT: Final = ("prediction", "score", "query", "version", "segment")
_TOP: Final = (1 << 64) - 1


class Rankings(Realised):
    """Counts of one ranking model by cohort."""

    def __init__(
        self,
        expected: Expected,
        answers: Answers,
        how: How,
        divided: Divided,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """As `Realised`; ``timer`` says how long counting takes."""
        super().__init__(expected, answers, how, divided)
        self._fresh: set[int] = set()
        self._timer, self._rests = timer, -np.inf

    def add(self, joined: Joined) -> None:
        """Labels have changed: what has been counted of their cohorts does not count any more."""
        numbers = np.unique(joined.cohort)
        self._fresh -= {*numbers.tolist(), *(numbers - 1).tolist()}

    def rebuild(self, rows: Iterable[Row], cohorts: Completeness, width: float) -> None:
        """Count all anew when it is asked for; of cohorts that rows have begun to leave nothing is known."""
        self.restore({})
        leaves = -np.inf if self.index is None else self.index.now - self.index.seconds
        self.partial = frozenset(cohorts.number[cohorts.start <= leaves].tolist())

    def restore(self, states: Mapping[str, bytes]) -> None:
        """What has been counted holds until it is counted anew."""
        super().restore(states)
        self._fresh = set()
        self._changes += 1

    def figures(self, numbers: Iterable[int]) -> dict[str, Figure]:
        """Figures of some cohorts together."""
        numbers = tuple(numbers)
        self.ready(numbers)
        return super().figures(numbers)

    def ready(self, numbers: Collection[int]) -> None:
        """Count cohorts that have changed, and the one whose rows leave next, unless that was done just now."""
        index = self.index
        if index is None or not np.isfinite(index.now) or self._timer() < self._rests:
            return
        first = int(np.floor((index.now - index.seconds) / index.width)) + 1
        wanted = {one for one in (*numbers, first) if one >= first} - self._fresh
        if wanted:
            began = self._timer()
            try:
                self._count(index, wanted)
                self._fresh |= wanted
                self._changes += 1
            except (OSError, StoreError) as error:  # figures stay what they were
                log.get("outcomes").error("rankings cannot be counted", error=str(error))
            self._rests = self._timer() + REST * (self._timer() - began)

    def _count(self, index: Index, wanted: set[int]) -> None:
        """Count whole queries, which may have rows in the cohort after their first."""
        width = index.width
        rows = _read(index.rows((min(wanted) - 1) * width, (max(wanted) + 2) * width))
        for one in self._all.values():
            one.drop(wanted)
        if not rows:
            return
        names, query = np.unique(rows["query"], return_inverse=True)
        begin = np.full(len(names), np.inf)
        np.minimum.at(begin, query, rows["time"])
        cohort = np.floor(begin / width).astype(np.int64)[query]
        mine = np.isin(cohort, list(wanted))
        self._add(cohort[mine], {name: rows[name][mine] for name in _KEPT}, rows["truth"][mine], 1)


def _read(rows: Iterable[Row]) -> dict[str, NDArray[Any]]:
    """Rows as arrays, of at most `MOST_ROWS` those of some queries."""
    parts: list[dict[str, NDArray[Any]]] = []
    limit, total = _TOP, 0
    for row in rows:
        part = {name: row.values[name] for name in _KEPT} | {"time": row.time, "truth": row.truth}
        parts.append(_some(part, limit))
        total += len(parts[-1]["time"])
        while total > MOST_ROWS:
            limit >>= 1
            parts = [_some(one, limit) for one in parts]
            total = sum(len(one["time"]) for one in parts)
    return {name: np.concatenate([one[name] for one in parts]) for name in (parts[0] if parts else ())}


def _some(part: dict[str, NDArray[Any]], limit: int) -> dict[str, NDArray[Any]]:
    if limit == _TOP:
        return part
    kept = mixed(part["query"].view(np.uint64)) <= np.uint64(limit)
    return {name: one[kept] for name, one in part.items()}
