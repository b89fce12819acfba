"""EDDM: errors come closer together than they ever were.

Question: H0: the distance between a model's errors does not shrink. H1: it did.
Statistic: (p + 2 s) / (p + 2 s)_max, with p and s the mean and standard deviation of the number of observations between
errors. Warning below ``alpha``, alarm below ``beta``, looked at when an error comes; the column begins anew.
Null law: none given; the ratio to a running maximum falls below any beta sooner or later. No guarantee. Measured
run length (tests.bench streaming): 450 independent observations with an error rate of 0.2, in streams of 10,000; after
a long life without alarm it is longer.
Sees / blind to: slow rises of a small error rate; blind to falls. Silent until ``warm_start`` errors have come.
Cost: three running sums and two maxima a column and observation.
Source: Baena-Garcia et al. 2006, section 3. Parameters and their defaults as in river.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.streaming import scan
from detectors.streaming.protocol import Kind, Step
from detectors.types import FloatArray


class EddmState(NamedTuple):
    """Observations, errors, number of the last error, sum of squared distances, (p + 2 s)_max, zone, ``(u,)`` each.

    The distances add up to the number of the last error. The zone (1: warning) holds until an error is judged again.
    """

    n: FloatArray
    errors: FloatArray
    last: FloatArray
    squares: FloatArray
    high: FloatArray
    zone: FloatArray


@dataclass(frozen=True, slots=True)
class Eddm:
    """Catalogue entry."""

    warm_start: int = 30
    alpha: float = 0.95
    beta: float = 0.9
    name: str = "eddm"
    kind: Kind = "errors"

    def start(self, units: int) -> EddmState:
        """Begin with no observations."""
        zeros = np.zeros(units)
        return EddmState(zeros, zeros, zeros, zeros, np.full(units, -np.inf), zeros)

    def update(self, state: EddmState, x: FloatArray) -> Step:
        """Take in errors ``(n, u)``, 1 for wrong."""
        return scan.run(self, state, x)

    def after(self, state: EddmState) -> EddmState:
        """Forget all."""
        return self.start(len(state.n))

    def trace(self, state: EddmState, x: FloatArray) -> scan.Scan:
        """Run over ``x (n, c)``."""
        wrong = x > 0
        n, errors = scan.number(state.n, x), scan.sums(state.errors, wrong.astype(np.float64))
        last = scan.highs(state.last, np.where(wrong, n, 0))
        squares = scan.sums(state.squares, np.where(wrong, (n - scan.before(state.last, last)) ** 2, 0))
        spread = _spread(errors, last, squares)
        seen = wrong & (n > self.warm_start)
        high = scan.highs(state.high, np.where(seen, spread, -np.inf))
        judged = seen & (errors > self.warm_start) & (spread <= scan.before(state.high, high))
        alarm = judged & (spread < self.beta * high)
        zone = scan.recall(scan.latest(judged), state.zone, (spread < self.alpha * high).astype(np.float64))
        return scan.Scan(EddmState(n, errors, last, squares, high, zone), alarm, zone > 0)


def _spread(errors: FloatArray, last: FloatArray, squares: FloatArray) -> FloatArray:
    """Mean plus two standard deviations of the distances."""
    mean = last / np.maximum(errors, 1)
    variance = np.maximum(squares - mean * last, 0) / np.maximum(errors - 1, 1)
    spread: FloatArray = mean + 2 * np.sqrt(variance)
    return spread
