"""Rows of everybody together that are flagged too often: what a log without senders, or many names, still shows.

Question: H0: given the past, each row is flagged by a heuristic with a chance of at most p0 = q0 + the smallest change
that matters (and three times q0). H1: from some row on more.
Statistic, null law: `detectors.queries.eprocess` with the fleet as its one key; a weight of 1 / kinds for each kind.
Sees / blind to: what changes for all, and an attacker with more than p0 of the traffic; blind to a smaller one.
Cost: as for one client. Source: failures.md section 3.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.queries import eprocess
from detectors.queries.suspicion import Suspicion
from detectors.types import FloatArray


class Fleet:
    """Evidence about all rows, by kind of flag."""

    def __init__(self, kinds: Sequence[str], flagged: FloatArray, asked: FloatArray, smallest: FloatArray) -> None:
        """``kinds`` flagged so many of the reference rows ``asked`` about; ``smallest`` rises matter, ``(k,)`` each."""
        self.kinds = tuple(kinds)
        self._reference = flagged / np.maximum(asked, 1)
        p0 = np.maximum(eprocess.allowed_rate(flagged, asked), self._reference + smallest)
        self._p0 = np.minimum(p0, 1.0)
        self._bets = eprocess.bets_at(self._p0)
        self._evidence = eprocess.start(1, self._bets)
        self._flagged, self._asked = np.zeros((2, len(self.kinds)), np.int64)
        self._seen = 0

    def add(self, flags: NDArray[np.bool_], asked: NDArray[np.bool_]) -> None:
        """Take rows, ``(n, k)`` each, in order of arrival."""
        if not len(flags):
            return
        self._evidence = eprocess.update(self._bets, self._evidence, np.zeros(len(flags), np.int64), flags, asked)
        self._flagged += (flags & asked).sum(axis=0)
        self._asked += asked.sum(axis=0)
        self._seen += len(flags)

    def suspicions(self, least: float) -> list[Suspicion]:
        """Kinds with a log E of at least ``least``."""
        log_e = eprocess.log_e(self._bets, self._evidence)[0] - np.log(max(len(self.kinds), 1))
        return [self._told(int(kind), float(log_e[kind])) for kind in np.flatnonzero(log_e >= least)]

    def _told(self, kind: int, log_e: float) -> Suspicion:
        asked = int(self._asked[kind])
        facts = {"reference_rate": float(self._reference[kind]), "allowed_rate": float(self._p0[kind])}
        facts["rate"] = float(self._flagged[kind]) / max(asked, 1)
        return Suspicion(
            heuristic=self.kinds[kind],
            about="fleet",
            who=0,
            log_e=log_e,
            log_p=float("nan"),
            rows=asked,
            hits=int(self._flagged[kind]),
            since=0,
            until=self._seen,
            clients=(),
            facts=facts,
            members=np.zeros(0, np.int64),
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that moves."""
        return {
            "log_m": self._evidence.log_m,
            "steps": self._evidence.asked,
            "flagged": self._flagged.copy(),
            "asked": self._asked.copy(),
            "seen": np.array(self._seen),
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state; ValueError where it is of another number of kinds."""
        if arrays["log_m"].shape != self._evidence.log_m.shape:
            raise ValueError(f"a state of {arrays['log_m'].shape}, not of {self._evidence.log_m.shape}")
        self._evidence = eprocess.Evidence(arrays["log_m"].astype(np.float64), arrays["steps"].astype(np.int64))
        self._flagged, self._asked = arrays["flagged"].astype(np.int64), arrays["asked"].astype(np.int64)
        self._seen = int(np.asarray(arrays["seen"], np.int64))
