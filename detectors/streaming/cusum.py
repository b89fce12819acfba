"""CUSUM: the mean left zero, two-sided.

Question: H0: observations have mean 0 and standard deviation 1. H1: the mean moved by about 2k.
Statistic: C+ <- max(0, C+ + x - k) and C- <- max(0, C- - x - k); alarm when either passes h; both begin anew at zero.
Null law: mean run length 465 at k = 0.5, h = 5 for independent normal observations with exactly known mean and standard
deviation (Lucas and Crosier 1982); measured: 459 (tests.bench streaming). No guarantee for other laws: dependence, or
a reference of few rows, shortens it without limit.
Sees / blind to: the quickest there is to find a shift of 2k; blind to changes of shape and to shifts well below k.
Cost: two running sums and minima a column and observation.
Source: Page 1954; Lucas and Crosier 1982; Montgomery, Introduction to Statistical Quality Control, section 9.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.streaming import scan
from detectors.streaming.protocol import Kind, Step
from detectors.types import FloatArray


class CusumState(NamedTuple):
    """Sums of x - k and of -x - k since the last alarm and their minima, zero included, ``(u,)`` each."""

    up: FloatArray
    up_low: FloatArray
    down: FloatArray
    down_low: FloatArray


@dataclass(frozen=True, slots=True)
class Cusum:
    """Catalogue entry; ``k`` and ``h`` are in standard deviations of one observation."""

    k: float = 0.5
    h: float = 5.0
    name: str = "cusum"
    kind: Kind = "values"

    def start(self, units: int) -> CusumState:
        """Begin with no evidence."""
        zeros = np.zeros(units)
        return CusumState(zeros, zeros, zeros, zeros)

    def update(self, state: CusumState, x: FloatArray) -> Step:
        """Take in observations ``(n, u)``."""
        return scan.run(self, state, x)

    def after(self, state: CusumState) -> CusumState:
        """Forget all."""
        return self.start(len(state.up))

    def trace(self, state: CusumState, x: FloatArray) -> scan.Scan:
        """Run over ``x (n, c)``: C = S - min(0, min S), S the running sum."""
        up, down = scan.sums(state.up, x - self.k), scan.sums(state.down, -x - self.k)
        up_low, down_low = scan.lows(state.up_low, up), scan.lows(state.down_low, down)
        alarm = np.maximum(up - up_low, down - down_low) > self.h
        return scan.Scan(CusumState(up, up_low, down, down_low), alarm, np.zeros_like(alarm))
