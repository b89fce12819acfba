"""Names that appeared together, taken for one sender: an attacker who spreads queries over many names (Sybils).

Question: H0: the first rows of names that first came within the same 4,096 rows are like everybody's.
Statistic: the e-process and the windows of single clients, over the first 32 rows of each name of such a *cohort*.
Null law: as for clients: which cohort a row belongs to is settled before it is seen. One key of the budget a cohort.
Sees / blind to: 10 or 100 fresh names with a few rows each; blind to names that were prepared long before and spread
over many cohorts, and to a fleet in which every session has a new name: there a cohort is the fleet.
Cost: that of one more client. Memory: 64 cohorts, the oldest one is forgotten. Source: failures.md 3.4 (H16, "repeat on
clusters of clients with similar first-seen time"), 4 (many accounts).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors.queries import eprocess
from detectors.queries.profile import ProfileFixed, Profiles
from detectors.queries.suspicion import Hits, Queries
from detectors.types import FloatArray, IntArray

SPAN = 4096
"""Rows of the stream whose new names are one cohort."""
NUMBER = 64
"""Cohorts followed at a time."""
LIGHT = 32
"""Rows of a name that count for its cohort."""


class Cohorts:
    """The last 64 cohorts, each in the place of its number modulo 64."""

    def __init__(self, fixed: ProfileFixed, bets: eprocess.Bets) -> None:
        """No names yet."""
        self._bets = bets
        self.number = np.full(NUMBER, -1, np.int64)
        self.names = np.zeros(NUMBER, np.int64)
        self.flagged = np.zeros((NUMBER, len(bets.p0)), np.int64)
        self.profiles = Profiles(fixed, NUMBER)
        self.born = 0
        self._evidence = eprocess.start(NUMBER, bets)

    def begin(self, cohort: int, new: int) -> None:
        """So many names came for the first time."""
        place = np.array([cohort % NUMBER])
        if self.number[place] != cohort:
            self.number[place], self.names[place], self.flagged[place] = cohort, 0, 0
            self._evidence.log_m[place], self._evidence.asked[place] = -np.inf, 0
            self.profiles.clear(place)
            self.born += 1
        self.names[place] += new

    def light(self, first: IntArray, rows: IntArray) -> NDArray[np.bool_]:
        """Which rows count, ``(n,)``: of names first seen at row ``first``, ``rows`` before."""
        cohort = first // SPAN
        light: NDArray[np.bool_] = (rows < LIGHT) & (self.number[cohort % NUMBER] == cohort)
        return light

    def add(
        self,
        first: IntArray,
        flags: NDArray[np.bool_],
        asked: NDArray[np.bool_],
    ) -> None:
        """Take the flags ``(n, k)`` of rows that count."""
        if not len(first):
            return
        places, key = np.unique(first // SPAN % NUMBER, return_inverse=True)
        before = eprocess.Evidence(self._evidence.log_m[places], self._evidence.asked[places])
        after = eprocess.update(self._bets, before, key, flags, asked)
        self._evidence.log_m[places], self._evidence.asked[places] = after
        np.add.at(self.flagged, places[key], flags & asked)

    def profile(self, first: IntArray, queries: Queries, hits: Hits, odd: FloatArray) -> None:
        """Take what else rows that count show; exact repeats must not be among them."""
        self.profiles.add(first // SPAN % NUMBER, queries, hits, odd)

    @property
    def judged(self) -> IntArray:
        """Places of cohorts of at least two names."""
        return np.flatnonzero((self.number >= 0) & (self.names >= 2))

    def asked(self) -> IntArray:
        """Rows asked about, ``(64, k)``."""
        return self._evidence.asked

    def log_e(self) -> FloatArray:
        """Evidence by kind ``(64, k)``, the weight of 1 / kinds included."""
        weighted: FloatArray = eprocess.log_e(self._bets, self._evidence) - np.log(max(len(self._bets.p0), 1))
        return weighted

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that moves."""
        return {
            "number": self.number.copy(),
            "names": self.names.copy(),
            "flagged": self.flagged.copy(),
            "born": np.array(self.born),
            "log_m": self._evidence.log_m.copy(),
            "steps": self._evidence.asked.copy(),
            **self.profiles.state(np.arange(NUMBER)),
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state."""
        self.profiles.restore(np.arange(NUMBER), arrays)
        for store, name in ((self.number, "number"), (self.names, "names"), (self.flagged, "flagged")):
            store[:] = arrays[name]
        self._evidence.log_m[:], self._evidence.asked[:] = arrays["log_m"], arrays["steps"]
        self.born = int(np.asarray(arrays["born"], np.int64))
