"""DDM: the error rate rose above the best it has been.

Question: H0: a model's error rate does not rise. H1: it rose.
Statistic: p + s, with p the error rate since the start and s = sqrt(p (1 - p) / n), against the p and s at which p + s
was least. Warning above p_min + 2 s_min, alarm above p_min + 3 s_min; the column begins anew.
Null law: none given, no guarantee; p_min is a minimum over time, so the false-alarm rate of one look is not that of
three standard deviations. Measured run length (tests.bench streaming): 25,000 independent observations with an error
rate of 0.2, in streams of 10,000; most alarms come soon after a start. Where the first ``warm_start`` observations hold
no error, s_min is 0 and the next error alarms.
Sees / blind to: abrupt rises of the error rate soon after a start; later the long memory of p delays it in proportion
to the rows seen. Blind to falls. Dependent errors (bursts) alarm at once.
Cost: two running sums and a running minimum a column and observation.
Source: Gama, Medas, Castillo and Rodrigues 2004, section 3. Parameters and their defaults as in river.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.streaming import scan
from detectors.streaming.protocol import Kind, Step
from detectors.types import FloatArray


class DdmState(NamedTuple):
    """Observations, errors, the least p + s and the p and s that made it, ``(u,)`` each."""

    n: FloatArray
    errors: FloatArray
    low: FloatArray
    low_p: FloatArray
    low_s: FloatArray


@dataclass(frozen=True, slots=True)
class Ddm:
    """Catalogue entry."""

    warm_start: int = 30
    warning_threshold: float = 2.0
    drift_threshold: float = 3.0
    name: str = "ddm"
    kind: Kind = "errors"

    def start(self, units: int) -> DdmState:
        """Begin with no observations."""
        zeros = np.zeros(units)
        return DdmState(zeros, zeros, np.full(units, np.inf), zeros, zeros)

    def update(self, state: DdmState, x: FloatArray) -> Step:
        """Take in errors ``(n, u)``, 1 for wrong."""
        return scan.run(self, state, x)

    def after(self, state: DdmState) -> DdmState:
        """Forget all."""
        return self.start(len(state.n))

    def trace(self, state: DdmState, x: FloatArray) -> scan.Scan:
        """Run over ``x (n, c)``."""
        n, errors = scan.number(state.n, x), scan.sums(state.errors, x)
        p = errors / n
        s = np.sqrt(p * (1 - p) / n)
        warm = n > self.warm_start
        now = np.where(warm, p + s, np.inf)
        low = scan.lows(state.low, now)
        at = scan.latest(warm & (now <= low))
        low_p, low_s = scan.recall(at, state.low_p, p), scan.recall(at, state.low_s, s)
        warning = warm & (now > low_p + self.warning_threshold * low_s)
        alarm = warm & (now > low_p + self.drift_threshold * low_s)
        return scan.Scan(DdmState(n, errors, low, low_p, low_s), alarm, warning)
