"""PRADA (H15), a detector of model extraction under its published name, for comparison.

Question: H0: the distances of a client's queries to its earlier ones of the same answer are normally distributed.
Statistic: per class a growing set G: a query at distance d from G joins it if d > T, T being the greatest so far of
mean less deviation of the distances that joined. Distances of classes with at least 10 are pooled, those 3 deviations
off dropped, and of more than 100 the Shapiro-Wilk W is taken after every tenth query.
Calibration: the published thresholds of W (0.9 to 0.96) hold for data sets; here the least W of 39 runs of reference
rows that stand for clients: a run of 400 distances of an ordinary client passes with a chance of 1/40. After a run it
begins anew. log p is that of a run, spent over runs by 1 / (j (j + 1)): it supports other evidence, and is none alone.
Sees / blind to: synthetic queries made from each other (Papernot et al. 2017); blind to natural and to random queries,
and to runs that are half ordinary.
Cost: one (400 x m) product and some 30 microseconds a query of a followed client; 32 of them at most. Memory:
1600 m bytes a client, 3 MB. Exact repeats are left out. Source: Juuti, Szyller, Marchal and Asokan 2019; Royston 1995.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.queries.suspicion import Hits, Queries, Suspicion
from detectors.types import FloatArray, IntArray, SingleArray

MOST_CLIENTS = 32
RUN = 400
"""Distances of one run."""
RUNS = 39
_FEWEST, _FEWEST_OF_CLASS, _EVERY = 100, 10, 10
_IDLE = 20_000
"""Rows of the stream after which a silent client may be followed no more."""
_LAST = (-2.706056, 4.434685, -2.071190, -0.147981, 0.221157)
_BEFORE = (-3.582633, 5.682633, -1.752461, -0.293762, 0.042981)


class PradaFixed(NamedTuple):
    """Least W ``(39,)`` of runs of reference rows, rising; empty where the reference has too few rows."""

    least: FloatArray


def calibrate(queries: Queries, rng: np.random.Generator) -> PradaFixed:
    """Run reference rows through it, `RUNS` times."""
    known = np.flatnonzero(np.isfinite(queries.near).all(axis=1))
    if len(known) < RUN:
        return PradaFixed(np.zeros(0))
    runs = [_Run(queries.near.shape[1]) for _ in range(RUNS)]
    for run in runs:
        for row in rng.permutation(known)[:RUN]:
            run.add(queries.near[row], int(queries.predicted[row]))
    return PradaFixed(np.sort([run.least for run in runs]))


class Prada:
    """Follows at most 32 clients at a time, the first that come."""

    def __init__(self, fixed: PradaFixed, width: int) -> None:
        """Nobody is followed; ``width`` is m."""
        self._fixed, self._width = fixed, width
        self._runs: dict[int, _Run] = {}
        self._seen = 0

    def add(self, queries: Queries, hits: Hits) -> None:
        """Take rows in order of arrival."""
        told = ~hits.exact & (queries.client > 0) & np.isfinite(queries.near).all(axis=1)
        for row in np.flatnonzero(told).tolist() if len(self._fixed.least) else []:  # each row moves the next one's bar
            run = self._followed(int(queries.client[row]), self._seen + row)
            if run is not None:
                run.add(queries.near[row], int(queries.predicted[row]))
        self._seen += len(told)

    def _followed(self, client: int, number: int) -> _Run | None:
        if client not in self._runs and len(self._runs) >= MOST_CLIENTS:
            idle = min(self._runs, key=lambda one: self._runs[one].last)
            if self._runs[idle].last + _IDLE > number:
                return None
            del self._runs[idle]
        run = self._runs.setdefault(client, _Run(self._width, first=number))
        run.last = number
        return run

    def suspicions(self) -> list[Suspicion]:
        """Clients with a smaller W than any run of the reference, told once a run."""
        found = []
        for client, run in self._runs.items():
            if not run.told and len(self._fixed.least) and run.least < self._fixed.least[0]:
                run.told = True
                found.append(_suspicion(client, run))
        return found

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that moves."""
        arrays: dict[str, NDArray[np.generic]] = {
            "seen": np.array(self._seen),
            "clients": np.array(list(self._runs), np.uint64),
        }
        for i, run in enumerate(self._runs.values()):
            arrays |= {f"{i}/{name}": array for name, array in run.state().items()}
        return arrays

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state."""
        self._seen = int(np.asarray(arrays["seen"], np.int64))
        self._runs = {}
        for i, client in enumerate(arrays["clients"].tolist()):
            self._runs[client] = run = _Run(self._width)
            run.restore({name: arrays[f"{i}/{name}"] for name in run.state()})


class _Run:
    """One client's growing sets and distances."""

    def __init__(self, width: int, first: int = 0) -> None:
        self.first = self.last = first
        self.run, self.told, self.least = 1, False, 1.0
        self._rows: SingleArray = np.zeros((RUN + 1, width), np.float32)
        self._row_class = np.zeros(RUN + 1, np.int64)
        self._distance, self._class, self._joined = np.zeros(RUN), np.zeros(RUN, np.int64), np.zeros(RUN, np.bool_)
        self._bar: dict[int, float] = {}
        self._kept = self.number = 0

    def add(self, row: SingleArray, answer: int) -> None:
        """One query and the class it was answered with."""
        if self.number == RUN or self._kept == RUN + 1:
            self._again()
        mine = self._rows[: self._kept][self._row_class[: self._kept] == answer]
        if not len(mine):
            self._keep(row, answer)
            return
        apart = mine - row
        distance = float(np.sqrt(np.einsum("ij,ij->i", apart, apart).min()))
        at, self.number = self.number, self.number + 1
        self._distance[at], self._class[at] = distance, answer
        self._joined[at] = distance > self._bar.get(answer, 0.0)
        if self._joined[at]:
            self._keep(row, answer)
            near = self._distance[: self.number][self._joined[: self.number] & (self._class[: self.number] == answer)]
            self._bar[answer] = max(self._bar.get(answer, 0.0), float(near.mean() - near.std()))
        if self.number > _FEWEST and self.number % _EVERY == 0:
            self.least = min(self.least, self._normality())

    def _keep(self, row: SingleArray, answer: int) -> None:
        self._rows[self._kept], self._row_class[self._kept] = row, answer
        self._kept += 1

    def _again(self) -> None:
        self._kept = self.number = 0
        self._bar = {}
        self.run, self.told, self.least = self.run + 1, False, 1.0

    def _normality(self) -> float:
        _, whose, size = np.unique(self._class[: self.number], return_inverse=True, return_counts=True)
        d = self._distance[: self.number][size[whose] >= _FEWEST_OF_CLASS]
        d = d[np.abs(d - d.mean()) < 3 * d.std()] if len(d) else d
        return shapiro_wilk(d) if len(d) > _FEWEST else 1.0

    def state(self) -> dict[str, NDArray[np.generic]]:
        scalars = [self.first, self.last, self.run, self.told, self.least, self._kept, self.number]
        return {
            "scalars": np.array(scalars, np.float64),
            "rows": self._rows[: self._kept].copy(),
            "row_class": self._row_class[: self._kept].copy(),
            "distance": self._distance[: self.number].copy(),
            "class": self._class[: self.number].copy(),
            "joined": self._joined[: self.number].copy(),
            "bar": np.array([[key, value] for key, value in self._bar.items()], np.float64).reshape(-1, 2),
        }

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        first, last, run, told, self.least, kept, number = np.asarray(arrays["scalars"], np.float64).tolist()
        self.first, self.last, self.run, self.told = int(first), int(last), int(run), bool(told)
        self._kept, self.number = int(kept), int(number)
        self._rows[: self._kept], self._row_class[: self._kept] = arrays["rows"], arrays["row_class"]
        for name, store in (("distance", self._distance), ("class", self._class), ("joined", self._joined)):
            store[: self.number] = arrays[name]
        self._bar = {int(key): value for key, value in np.asarray(arrays["bar"], np.float64).tolist()}


def shapiro_wilk(x: FloatArray) -> float:
    """W of at least 6 numbers with Royston's weights: 1 for a normal law; 1 where all are equal."""
    n = len(x)
    order = np.sort(x)
    around = order - order.mean()
    m = special.ndtri((np.arange(1, n + 1) - 0.375) / (n + 0.25))
    square, u = float(m @ m), 1 / np.sqrt(n)
    last, before = (float(np.polyval((*c, 0.0), u)) for c in (_LAST, _BEFORE))
    last, before = m[-1] / np.sqrt(square) + last, m[-2] / np.sqrt(square) + before
    rest = (square - 2 * m[-1] ** 2 - 2 * m[-2] ** 2) / (1 - 2 * last**2 - 2 * before**2)
    weight = m / np.sqrt(rest)
    weight[[0, 1, -2, -1]] = -last, -before, before, last
    spread = float(around @ around)
    return float(min((weight @ order) ** 2 / spread, 1.0)) if spread > 0 else 1.0


def _suspicion(client: int, run: _Run) -> Suspicion:
    log_p = min(float(np.log(run.run * (run.run + 1) / (RUNS + 1))), 0.0)
    members: IntArray = np.zeros(0, np.int64)
    facts = {"shapiro_wilk": run.least, "run": float(run.run)}
    return Suspicion(
        "prada",
        "client",
        client,
        float("nan"),
        log_p,
        run.number,
        run.number,
        run.first,
        run.last + 1,
        ((client, run.number),),
        facts,
        members,
    )
