"""What is kept of each sender, by slot of one table: flags, evidence, windows, volume; and how rows get there.

Exact repeats (retries) are volume and nothing else. Rows without a name (client 0) are passed over.
Memory: about 3.5 kB a client (35 MB for 10,000), 1 MB of rows. Cost: some 2 ms for 256 rows. Batches may be cut as one
likes, up to rounding, but for which of equally light clients is forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import eprocess, membership
from detectors.queries.cohorts import SPAN, Cohorts
from detectors.queries.flooding import Volume
from detectors.queries.profile import ProfileFixed, Profiles
from detectors.queries.rowlog import RowLog
from detectors.queries.suspicion import Hits, Queries
from detectors.queries.table import Table
from detectors.types import FloatArray, IntArray

BASELINE_ROWS = 1_000
"""The first rows of a client, whose rate is told beside later ones."""
COUNTERS = ("flagged", "asked", "early_flagged", "early_asked")


class ClientsFixed(NamedTuple):
    """Names of the kinds of flag ``(k,)``, and how many held-out reference rows each flagged and was asked about.

    ``profile`` cuts what rows look like, ``training`` is the set whose members may be probed for.
    """

    kinds: NDArray[np.str_]
    flagged: FloatArray
    asked: FloatArray
    profile: ProfileFixed
    training: membership.Training


class _Piece(NamedTuple):
    """Rows in order of arrival."""

    queries: Queries
    hits: Hits
    flags: NDArray[np.bool_]
    asked: NDArray[np.bool_]
    odd: FloatArray

    def of(self, rows: IntArray | slice) -> _Piece:
        """Some of them."""
        queries = Queries._make(column[rows] for column in self.queries)
        hits = Hits._make(column[rows] for column in self.hits)
        return _Piece(queries, hits, self.flags[rows], self.asked[rows], self.odd[rows])


class Senders:
    """All senders of one model's queries, at most ``most`` of them at a time."""

    def __init__(self, fixed: ClientsFixed, most: int) -> None:
        """Nobody seen yet."""
        self.kinds = [str(name) for name in fixed.kinds]
        self.fixed = fixed
        self.bets = eprocess.bets(fixed.flagged, fixed.asked)
        self.table = Table(most)
        self.log = RowLog()
        self.evidence = eprocess.start(self.table.most, self.bets)
        self.count = {name: np.zeros((self.table.most, len(self.kinds)), np.int64) for name in COUNTERS}
        self.profiles = Profiles(fixed.profile, self.table.most)
        self.volume = Volume(self.table.most)
        self.cohorts = Cohorts(fixed.profile, self.bets)

    def add(
        self, queries: Queries, hits: Hits, flags: NDArray[np.bool_], odd: FloatArray, asked: NDArray[np.bool_]
    ) -> None:
        """Take rows in order of arrival; see `detectors.queries.clients.Clients.add`."""
        if len(self.kinds) > flags.shape[1]:
            met, able = membership.probes(self.fixed.training, queries)
            flags, asked = np.column_stack([flags, met]), np.column_stack([asked, able])
        asked = asked & ~hits.exact[:, None]
        every = _Piece(queries, hits, flags & asked, asked, odd)
        for begin in range(0, len(queries.client), self.table.piece):
            piece = every.of(slice(begin, begin + self.table.piece))
            named = np.flatnonzero(piece.queries.client > 0)
            if len(named):
                self._named(piece.of(named), self.log.seen + named)
            self.log.add(piece.queries.client, piece.flags, piece.asked)

    def _named(self, piece: _Piece, number: IntArray) -> None:
        keys, first, key = np.unique(piece.queries.client, return_index=True, return_inverse=True)
        slots, fresh = self.table.admit(keys, number[first])
        self._clear(fresh)
        self._cohort(slots[key], piece)
        self._tally(slots, key, piece)
        before = eprocess.Evidence(self.evidence.log_m[slots], self.evidence.asked[slots])
        after = eprocess.update(self.bets, before, key, piece.flags, piece.asked)
        self.evidence.log_m[slots], self.evidence.asked[slots] = after
        told = eprocess.log_e(self.bets, after).max(axis=1, initial=0.0)
        last = np.zeros(len(slots), np.int64)
        np.maximum.at(last, key, number)
        self.table.touch(slots, np.bincount(key), last, told)
        new = np.flatnonzero(~piece.hits.exact)
        seen = piece.of(new)
        self.profiles.add(slots[key[new]], seen.queries, seen.hits, seen.odd)
        self.volume.add(slots, key, piece.queries.time, piece.hits.exact)

    def _cohort(self, slot: IntArray, piece: _Piece) -> None:
        """The first rows of a name count for those that came when it did."""
        first = self.table.first[slot]
        light = np.flatnonzero(self.cohorts.light(first, self.table.rows[slot]) & ~piece.hits.exact)
        rows = piece.of(light)
        self.cohorts.add(first[light], rows.flags, rows.asked)
        self.cohorts.profile(first[light], rows.queries, rows.hits, rows.odd)

    def _clear(self, fresh: IntArray) -> None:
        self.evidence.log_m[fresh], self.evidence.asked[fresh] = -np.inf, 0
        for store in self.count.values():
            store[fresh] = 0
        self.profiles.clear(fresh)
        self.volume.clear(fresh)
        cohort, names = np.unique(self.table.first[fresh] // SPAN, return_counts=True)
        for one, new in zip(cohort.tolist(), names.tolist(), strict=True):  # one cohort, seldom two
            self.cohorts.begin(one, new)

    def _tally(self, slots: IntArray, key: IntArray, piece: _Piece) -> None:
        """Count flags and rows asked; the rows of one piece belong to the first thousand all together or not."""
        early = self.table.rows[slots] < BASELINE_ROWS
        for name, rows in (("flagged", piece.flags), ("asked", piece.asked)):
            number = np.zeros((len(slots), rows.shape[1]), np.int64)
            np.add.at(number, key, rows)
            self.count[name][slots] += number
            self.count[f"early_{name}"][slots] += number * early[:, None]

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that moves."""
        used = self.table.used
        arrays: dict[str, NDArray[np.generic]] = {
            "kinds": self.fixed.kinds,
            "log_m": self.evidence.log_m[used],
            "steps": self.evidence.asked[used],
            **{name: store[used] for name, store in self.count.items()},
        }
        parts = {
            "table": self.table.state(),
            "log": self.log.state(),
            "profiles": self.profiles.state(used),
            "volume": self.volume.state(used),
            "cohorts": self.cohorts.state(),
        }
        return arrays | {f"{part}/{name}": array for part, named in parts.items() for name, array in named.items()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state; ValueError where it is of other kinds, other cuts, or more clients than fit."""
        if arrays["kinds"].tolist() != self.kinds:
            raise ValueError(f"the state is of {arrays['kinds'].tolist()}, not of {self.kinds}")
        self.table.restore(_below(arrays, "table/"))
        used = self.table.used
        self.log.restore(_below(arrays, "log/"))
        self.profiles.restore(used, _below(arrays, "profiles/"))
        self.volume.restore(used, _below(arrays, "volume/"))
        self.cohorts.restore(_below(arrays, "cohorts/"))
        self.evidence.log_m[used], self.evidence.asked[used] = arrays["log_m"], arrays["steps"]
        for name, store in self.count.items():
            store[used] = arrays[name]


def _below(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
