"""Which rows the prober is offered, what is made of its results, and which rows of the log are its own.

Random rows say what is usual; rows of senders under suspicion are compared with them; golden rows are offered once for
each version that appears. Results come back later, on the prober's own thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.golden import Golden, GoldenFixed
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import Layout, Rows
from detectors.types import IntArray
from monitor import columns
from monitor.decode import labels_of
from monitor.probes.prober import Candidate, Counts, Prober
from monitor.probes.results import GOLDEN, RANDOM, Tallies, golden_answers
from monitor.schema import Roles

RANDOM_SHARE = 0.001
"""Share of the traffic that is offered as the random sample."""
_AT_A_TIME = 2
"""Rows of suspects offered of one batch."""
MOST_GOLDEN = 200
"""Golden rows offered for one version."""
LIVE_ROWS = 10_000
"""A version that none of so many rows is of is not served any more."""
_SUSPECT = "suspect"


class Asking:
    """Feeds one model's prober."""

    def __init__(
        self,
        prober: Prober,
        roles: Roles,
        sample: pa.RecordBatch,
        golden: GoldenFixed,
        classes: Mapping[str, int],
        rng: np.random.Generator,
    ) -> None:
        """``sample`` are the reference rows among which the golden ones are; ``rng`` draws the random rows.

        ``left_out`` counts answers to golden rows of which nobody can tell whose version gave them.
        """
        self._prober, self._roles, self._sample, self._rng = prober, roles, sample, rng
        self._golden, self._classes = golden, classes
        self._tallies = Tallies()
        self._versions: dict[int, int] = {}  # and after how many rows each was last heard of
        self._rows = 0
        self.left_out = 0
        self._digests = dict(zip(golden.row.tolist(), golden.digest.tolist(), strict=True))
        self._carry = 0.0

    def knows(self, versions: Collection[int]) -> None:
        """Versions that were there before a restart: one that came meanwhile is asked about the golden rows."""
        self._versions |= dict.fromkeys(versions, self._rows)

    def state(self) -> dict[str, Any]:
        """What outlives this process, as JSON."""
        return {"spent": list(self._prober.spent), "about": self._prober.about, "tallies": self._tallies.state()}

    def restore(self, said: Mapping[str, Any] | None) -> None:
        """Go on from a `state`, if there was one: what was asked today counts, and what was found if asked alike."""
        if said is None:
            return
        day, rows = said["spent"]
        self._prober.resume((int(day), int(rows)))
        if said["about"] == self._prober.about:
            self._tallies.restore(said["tallies"])

    def succeed(self, other: Asking) -> None:
        """Take over the day's spending of one that has been stopped, by a reload or a re-baseline."""
        self._prober.resume(other._prober.spent)

    def without_own(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch without rows that are the prober's own requests."""
        own = np.zeros(batch.num_rows, bool)
        for role, is_client in ((self._roles.client, True), (self._roles.id, False)):
            place = batch.schema.get_field_index(role) if role else -1
            if place >= 0:
                names, _ = columns.sound(batch.select([place]))  # nobody has looked at these bytes yet
                labels = labels_of(names.column(0))
                marked = [self._is_own(name, client=is_client) for name in labels.values]
                own |= np.array([*marked, False], bool)[labels.codes]
        return columns.takeable(columns.sound(batch)[0]).filter(pa.array(~own)) if own.any() else batch

    def _is_own(self, name: str, *, client: bool) -> bool:
        return self._prober.marks.own(name, None) if client else self._prober.marks.own(None, name)

    def offer(self, batch: pa.RecordBatch, rows: Rows, chosen: IntArray, first: int, suspects: Collection[int]) -> None:
        """Put rows forward; ``chosen`` of ``rows`` are numbered from ``first`` on."""
        self._prober.start()
        candidates = [*self._of_version(rows)]
        self._carry += RANDOM_SHARE * len(chosen)
        number = min(int(self._carry), len(chosen))
        self._carry -= number
        drawn = np.sort(self._rng.choice(len(chosen), number, replace=False)) if number else np.zeros(0, np.int64)
        candidates += [self._candidate(batch, rows, chosen, first, int(i), RANDOM) for i in drawn]
        if rows.client is not None and suspects:
            theirs = np.flatnonzero(np.isin(rows.client[chosen], np.array(list(suspects), np.uint64)))
            candidates += [self._candidate(batch, rows, chosen, first, int(i), _SUSPECT) for i in theirs[-_AT_A_TIME:]]
        self._prober.offer(candidates, rows.block.rows)

    def _candidate(
        self, batch: pa.RecordBatch, rows: Rows, chosen: IntArray, first: int, place: int, why: str
    ) -> Candidate:
        row = int(chosen[place])
        client = 0 if rows.client is None else int(rows.client[row])
        return Candidate(batch.slice(row, 1).to_pylist()[0], first + place, client, why)

    def _of_version(self, rows: Rows) -> list[Candidate]:
        """The golden rows, once for each version that appears."""
        seen: NDArray[np.int32] = np.unique(rows.version) if rows.version is not None else np.zeros(0, np.int32)
        fresh = set(seen.tolist()) - set(self._versions)
        self._rows += rows.block.rows
        self._versions |= dict.fromkeys(seen.tolist(), self._rows)
        if not fresh or len(self._versions) == len(fresh):  # the first one is the one that the agent met
            return []
        return [
            Candidate(self._sample.slice(int(row), 1).to_pylist()[0], int(row), why=GOLDEN)
            for row in self._golden.row[:MOST_GOLDEN]  # in the order of their hashes, which is none
        ]

    def take(self, golden: Golden, layout: Layout, versions: Mapping[str, int]) -> list[Suspicion]:
        """Take what has been found since: golden answers go to ``golden``, senders are judged.

        ``versions`` are the numbers of the versions by the names that the log gives them.
        """
        fresh = self._prober.results()
        if not fresh:
            return []
        live = [version for version, last in self._versions.items() if self._rows - last < LIVE_ROWS]
        # a name that the log does not know is none: logs and endpoints may name the same versions differently
        only = next(iter(live)) if len(live) == 1 else None
        asked = [(one, versions.get(one.version, only) if one.version else only) for one in fresh if one.why == GOLDEN]
        told = [(one, version) for one, version in asked if version is not None]
        self.left_out += len(asked) - len(told)
        answered = golden_answers(told, self._digests, self._classes)
        if answered is not None:
            golden.add(layout, answered)
        return self._tallies.add(fresh)

    def counts(self) -> Counts:
        """What has happened to the rows that were offered."""
        return self._prober.counts()

    def stop(self) -> None:
        """End the prober's thread."""
        self._prober.stop()
