"""Near-duplicates beside their neighbours: pages of a list, replays to another version, and flips within one version.

Question: what are a subject's near-duplicates, where they are harmless? Facts for the fault tree, no evidence of their
own: ``pagination`` if they step through one column and keep all others, ``ab_replay`` if the same inputs are answered
by another version too, and ``same_version_flips_log_p``, what such a replay does not explain.
Statistic: a near-duplicate that differs from its neighbour in one column is a step up or down; it goes on a list if the
neighbour was a step in the same column and direction, and the neighbour was then on it, too. Pages are at least three
quarters of 8 near-duplicates or more. Of pairs (near-duplicates and exact repeats) those that two versions answered are
counted: versions drawn by chance cross at most every second time, so that a binomial tail of 1e-4 above one half is a
replay. Flips within a version compare each member of a cluster with the last one that this version answered there, not
with its nearest: whoever alternates between versions is not excused.
Null law: flips within a version by `boundary.Bet` at the reference's rate, valid at any time; not bounded by a doubtful
object's margin, as the cluster's own are: it excludes an excuse, and accuses nobody.
Sees / blind to: pairs within the rows that are remembered. Numbers that step while another column moves as well are no
pages. A search along one column of one direction looks like pages, and is told by its flips.
Cost: 15 us a near-duplicate. Memory: numbers of the last 20,000 rows, of fewer where their columns take more than 2 MB
(512 at least), 1,024 subjects, 4,096 clusters' last answers by version. Batches may be cut anywhere.
Source: failures.md 3.0 and 3.3 (H8, H10: repetitive traffic).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.queries.boundary import Bet, BoundaryFixed
from detectors.queries.subjects import ALL, Subjects, of_row
from detectors.queries.suspicion import Hits, Queries, Suspicion
from detectors.types import CodeArray, FloatArray

MOST: Final = 1_024
"""Subjects remembered."""
ROWS: Final = 20_000
_NUMBERS: Final = 2**18
_CHUNK: Final = 256
_CLUSTERS: Final = 4_096
_VERSIONS: Final = 64
_FEWEST: Final = 8
_PAGES: Final = 0.75
_CERTAIN: Final = math.log(1e-4)
_COMPARED, _PAGED, _PAIRS, _CROSSED, _BET = range(5)
_KEPT: Final = ("rows", "digest", "version", "column", "way")
_NONE: Final = -1
_LISTED: Final = 2
"""Added to a step's direction once it is known to be on a list."""


class Pairs:
    """What the near-duplicates of one model's senders, clusters and fleet are."""

    def __init__(self, fixed: BoundaryFixed, numbers: int, columns: int) -> None:
        """Nothing seen; the first ``numbers`` of an input's ``columns`` have an order.

        ``columns`` is 0 where inputs are not told by single columns (images).
        """
        self._reach = min(ROWS, max(_NUMBERS // max(columns, 1), _CHUNK))
        kept = self._reach + _CHUNK  # a chunk is stored before it is looked at
        self._numbers = numbers
        self._bet = Bet(float(fixed.flip))
        self._seen = 0
        self._rows = np.full((kept, columns), np.nan)
        self._digest, self._version = np.zeros(kept, np.uint64), np.full(kept, _NONE, np.int32)
        self._column, self._way = np.full(kept, _NONE, np.int32), np.zeros(kept, np.int8)
        self._subjects = Subjects(_BET + len(self._bet.start()), MOST)
        self._answers = Subjects(_VERSIONS, _CLUSTERS)

    def add(self, rows: FloatArray, queries: Queries, hits: Hits, version: CodeArray | None, first: int) -> None:
        """Take rows in order: their columns ``(n, columns)`` as logged, ``version (n,)`` (-1, None: unknown).

        ``hits`` are the ring's of the same rows, the first of which has the number ``first`` there.
        """
        versions = np.full(len(rows), _NONE, np.int32) if version is None else version
        for start in range(0, len(rows), _CHUNK):
            some = slice(start, start + _CHUNK)
            self._keep(rows[some], queries.digest[some], versions[some])
            for row in (start + np.flatnonzero((hits.hit | hits.exact)[some])).tolist():
                number = self._seen + row - start
                back = (
                    self._repeat(number, queries.digest[row]) if hits.exact[row] else first + row - hits.neighbour[row]
                )
                if 0 < back <= min(number, self._reach):
                    self._compare(queries, hits, row, number, int(back))
            self._seen += len(rows[some])

    def _keep(self, rows: FloatArray, digest: NDArray[np.uint64], version: CodeArray) -> None:
        places = (self._seen + np.arange(len(rows))) % len(self._rows)
        self._rows[places], self._digest[places], self._version[places] = rows, digest, version
        self._column[places], self._way[places] = _NONE, 0

    def _repeat(self, number: int, digest: np.uint64) -> int:
        """How many rows ago the same input came last; 0: not within reach."""
        back = (number - np.flatnonzero(self._digest == digest)) % len(self._rows)
        return int(back[back > 0].min(initial=len(self._rows))) % len(self._rows)

    def _compare(self, queries: Queries, hits: Hits, row: int, number: int, back: int) -> None:
        """A near-duplicate, or an exact repeat, with what it resembles."""
        here, there = (one % len(self._rows) for one in (number, number - back))
        near, versions = not hits.exact[row], (int(self._version[here]), int(self._version[there]))
        told = bool(near and self._rows.shape[1])
        paged = self._step(here, there) if told else 0
        flip = self._flip(int(hits.cluster[row]), versions[0], int(queries.predicted[row])) if near else _NONE
        for subject in (*of_row(queries, hits, row), ALL):
            numbers = self._subjects.heard(subject)
            numbers[_COMPARED] += told
            numbers[_PAGED] += paged
            numbers[_PAIRS] += min(versions) >= 0
            numbers[_CROSSED] += min(versions) >= 0 and versions[0] != versions[1]
            if flip != _NONE:
                bet = numbers[_BET:]
                self._bet.step(bet, yes=flip == 1)
                numbers[_BET:] = bet

    def _step(self, here: int, there: int) -> int:
        """How many rows are now known to be on a list: none, this one, or its neighbour as well."""
        mine, theirs = self._rows[here], self._rows[there]
        changed = np.flatnonzero(~((mine == theirs) | (np.isnan(mine) & np.isnan(theirs))))
        if len(changed) != 1 or changed[0] >= self._numbers or not np.isfinite(mine[changed[0]] - theirs[changed[0]]):
            return 0
        column, way = int(changed[0]), 1 if mine[changed[0]] > theirs[changed[0]] else -1
        before, listed = int(self._way[there]), abs(int(self._way[there])) > 1
        on = self._column[there] == column and before * way > 0
        self._column[here], self._way[here] = column, way * (_LISTED if on else 1)
        if on and not listed:
            self._way[there] = way * _LISTED
        return int(on) + int(on and not listed)

    def _flip(self, cluster: int, version: int, answer: int) -> int:
        """Whether the answer (1) is another than this version's last one in the cluster, or not (0); -1: unknown."""
        if cluster < 0 or not 0 <= version < _VERSIONS or answer < 0:
            return _NONE
        last = self._answers.heard(("cluster", cluster))
        before, last[version] = int(last[version]) - 1, float(answer + 1)
        return _NONE if before < 0 else int(before != answer)

    def beside(self, one: Suspicion) -> Suspicion:
        """The suspicion with the facts about its subject, as far as they are known."""
        numbers = self._subjects.get((one.about, one.who))
        return one if numbers is None else one._replace(facts={**one.facts, **self._facts(numbers)})

    def _facts(self, numbers: list[float]) -> dict[str, float]:
        compared, paged, pairs, crossed = numbers[:_BET]
        facts = {"same_version_flips_log_p": -max(self._bet.log_e(numbers[_BET:]), 0.0)} if pairs else {}
        if compared >= _FEWEST:
            facts["pagination"] = float(paged >= _PAGES * compared)
        if pairs >= _FEWEST:
            facts["ab_replay"] = float(_tail(crossed, pairs) <= _CERTAIN)
        return facts

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that moves."""
        filled = min(self._seen, len(self._rows))
        parts = {"subjects": self._subjects, "answers": self._answers}
        return (
            {"seen": np.array(self._seen)}
            | {name: getattr(self, f"_{name}")[:filled].copy() for name in _KEPT}
            | {f"{part}/{name}": array for part, one in parts.items() for name, array in one.state().items()}
        )

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state`; ValueError where it is of other columns."""
        filled = min(int(arrays["seen"]), len(self._rows))
        if arrays["rows"].shape != (filled, self._rows.shape[1]):
            raise ValueError(f"rows of {arrays['rows'].shape}, not {filled} of {self._rows.shape[1]} columns")
        self._seen = int(arrays["seen"])
        for name in _KEPT:
            getattr(self, f"_{name}")[:filled] = arrays[name]
        for prefix, one in (("subjects/", self._subjects), ("answers/", self._answers)):
            one.restore({name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)})


def _tail(crossed: float, pairs: float) -> float:
    """Log of the chance that so many of the pairs cross if each does so with a chance of one half."""
    return math.log(max(float(special.betainc(crossed, pairs - crossed + 1, 0.5)), 1e-300)) if crossed else 0.0
