"""Page-Hinkley: the mean left its own running mean.

Question: H0: the mean of a column is constant. H1: it rose (fell, or either).
Statistic: m_t = alpha m_(t-1) + x_t - mean_t - delta, and m_t minus its minimum so far; mirrored for a fall. Alarm
above ``threshold``; the column begins anew.
Null law: none given, no guarantee. Measured run length (tests.bench streaming): 1,700 independent normal observations.
Sees / blind to: lasting changes of mean, scaled to observations of standard deviation 1; the default threshold of 50
needs 50 units of evidence and so never finds quickly. Slow ramps are absorbed by the running mean. Silent for the first
``min_instances`` observations after a start.
Cost: two sums, two fading sums a column and observation.
Source: Page 1954; Mouss et al. 2004. Parameters and their defaults as in MOA and river.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from detectors.streaming import scan
from detectors.streaming.protocol import Kind, Step
from detectors.types import FloatArray


class PageHinkleyState(NamedTuple):
    """Observations, their sum, the two fading sums and their extremes, ``(u,)`` each."""

    n: FloatArray
    total: FloatArray
    up: FloatArray
    low: FloatArray
    down: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class PageHinkley:
    """Catalogue entry."""

    min_instances: int = 30
    delta: float = 0.005
    threshold: float = 50.0
    alpha: float = 0.9999
    mode: Literal["up", "down", "both"] = "both"
    name: str = "page_hinkley"
    kind: Kind = "values"

    def start(self, units: int) -> PageHinkleyState:
        """Begin with no observations."""
        zeros = np.zeros(units)
        return PageHinkleyState(zeros, zeros, zeros, np.full(units, np.inf), zeros, np.full(units, -np.inf))

    def update(self, state: PageHinkleyState, x: FloatArray) -> Step:
        """Take in observations ``(n, u)``."""
        return scan.run(self, state, x)

    def after(self, state: PageHinkleyState) -> PageHinkleyState:
        """Forget all."""
        return self.start(len(state.n))

    def trace(self, state: PageHinkleyState, x: FloatArray) -> scan.Scan:
        """Run over ``x (n, c)``."""
        n, total = scan.number(state.n, x), scan.sums(state.total, x)
        away = x - total / n
        up = scan.fade(state.up, away - self.delta, self.alpha)
        down = scan.fade(state.down, away + self.delta, self.alpha)
        low, high = scan.lows(state.low, up), scan.highs(state.high, down)
        rose = (up - low > self.threshold) & (self.mode != "down")
        fell = (high - down > self.threshold) & (self.mode != "up")
        alarm = (n >= self.min_instances) & (rose | fell)
        return scan.Scan(PageHinkleyState(n, total, up, low, down, high), alarm, np.zeros_like(alarm))
