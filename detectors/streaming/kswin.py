"""KSWIN: the newest observations and a draw from those just before them come from different laws.

Question: H0: the last ``stat_size`` observations and ``stat_size`` drawn from the rest of the last ``window_size`` have
one law. H1: they have not.
Statistic: two-sample Kolmogorov-Smirnov distance; alarm where it passes 0.1 and its exact p-value is at most ``alpha``.
After an alarm only the newest ``stat_size`` observations are kept.
Null law: exact for one look (continuous values); looks overlap and there are as many as observations, so this bounds no
run length. Measured run length (tests.bench streaming): 710 independent normal observations.
Sees / blind to: large abrupt changes of any kind; blind to what 30 observations cannot tell from the 70 before them,
so to every slow change. Silent for the first ``window_size`` observations.
Cost: a sort of 2 ``stat_size`` values a column and observation, by far the dearest here.
Source: Raab, Heusinger and Schleif 2020, section 3; exact p-value for equal sizes: Gnedenko and Korolyuk 1951.
Parameters and defaults as in river. The draw depends on ``seed`` and on how many observations a column has seen, on
nothing else: columns that have seen equally many are drawn from at the same positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.streaming import scan
from detectors.streaming.protocol import Kind, Step
from detectors.types import FloatArray, IntArray

LEAST_DISTANCE = 0.1
"""Distances up to this never alarm, whatever their p-value (river, scikit-multiflow)."""
_GOLDEN, _MIX_1, _MIX_2 = (
    np.array([c], np.uint64) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


class KswinState(NamedTuple):
    """The newest observations, newest last ``(u, window_size)``, how many of them count, and all ever seen ``(u,)``."""

    window: FloatArray
    filled: FloatArray
    seen: FloatArray


def critical(size: int, alpha: float) -> int:
    """Least k for which two samples of ``size`` have P(distance >= k / size) <= alpha; size + 1 if there is none."""
    return next((k for k in range(1, size + 1) if _tail(size, k) <= alpha), size + 1)


def _tail(size: int, k: int) -> float:
    paths = sum((-1) ** (i - 1) * math.comb(2 * size, size - i * k) for i in range(1, size // k + 1))
    tail: float = 2 * paths / math.comb(2 * size, size)
    return tail


@dataclass(frozen=True)
class Kswin:
    """Catalogue entry."""

    alpha: float = 0.005
    window_size: int = 100
    stat_size: int = 30
    seed: int = 0
    name: str = "kswin"
    kind: Kind = "values"

    def __post_init__(self) -> None:
        """Refuse a window that holds no two samples."""
        if self.window_size < 2 * self.stat_size:
            msg = f"`window_size` {self.window_size} is less than twice `stat_size` {self.stat_size}"
            raise ValueError(msg)

    @cached_property
    def least(self) -> int:
        """Least distance that alarms, in steps of 1 / stat_size."""
        return max(critical(self.stat_size, self.alpha), math.floor(LEAST_DISTANCE * self.stat_size) + 1)

    def start(self, units: int) -> KswinState:
        """Begin with an empty window."""
        return KswinState(np.zeros((units, self.window_size)), np.zeros(units), np.zeros(units))

    def update(self, state: KswinState, x: FloatArray) -> Step:
        """Take in observations ``(n, u)``."""
        return scan.run(self, state, x)

    def after(self, state: KswinState) -> KswinState:
        """Keep the newest observations."""
        return state._replace(filled=np.full(len(state.filled), float(self.stat_size)))

    def trace(self, state: KswinState, x: FloatArray) -> scan.Scan:
        """Run over ``x (n, c)``."""
        line = np.concatenate([state.window, x.T], axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(line, self.window_size, axis=1)[:, 1:].swapaxes(0, 1)
        filled = np.minimum(scan.number(state.filled, x), self.window_size)
        seen = scan.number(state.seen, x)
        alarm = filled == self.window_size
        alarm[alarm] = self._distance(windows[alarm], seen[alarm]) >= self.least
        return scan.Scan(KswinState(windows, filled, seen), alarm, np.zeros_like(alarm))

    def _distance(self, windows: FloatArray, seen: FloatArray) -> IntArray:
        """Distance of each window's two samples, ``(k,)``, in steps of 1 / stat_size."""
        moments, which = np.unique(seen, return_inverse=True)
        drawn = np.take_along_axis(windows, self._positions(moments)[which], axis=1)
        both = np.concatenate([windows[:, -self.stat_size :], drawn], axis=1)
        order = both.argsort(axis=1)
        walk = np.where(order < self.stat_size, 1, -1).cumsum(axis=1)
        ordered = np.take_along_axis(both, order, axis=1)
        walk[:, :-1][ordered[:, :-1] == ordered[:, 1:]] = 0  # within a tie neither distribution function has stepped
        distance: IntArray = np.abs(walk).max(axis=1)
        return distance

    def _positions(self, moments: FloatArray) -> IntArray:
        """Draw ``stat_size`` of the older positions without replacement at each moment ``(k,)``: ``(k, stat_size)``."""
        older = self.window_size - self.stat_size
        number = moments.astype(np.uint64)[:, None] * np.uint64(older) + np.arange(older, dtype=np.uint64)
        keys = _mixed((number + _mixed(np.array([self.seed], np.uint64))).astype(np.uint64))
        return np.argpartition(keys, self.stat_size - 1, axis=1)[:, : self.stat_size]


def _mixed(number: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64: integers to integers that look random (Steele, Lea and Flood 2014)."""
    z = (number + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    return z ^ (z >> np.uint64(31))
