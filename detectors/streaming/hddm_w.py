"""HDDM-W: the weighted mean error rose since the moment at which it was surely lowest (McDiarmid's inequality).

Question: H0: the mean of values in [0, 1] does not rise (two-sided: does not move). H1: it did.
Statistic: with exponential weights, the mean since the cut minus the mean up to the cut, the cut being the moment of
the least upper McDiarmid bound; bound sqrt((b1 + b2) / 2 ln(1 / confidence)), b the sums of squared weights.
Null law: one look at one fixed cut alarms with probability at most ``drift_confidence``; there are as many looks as
observations, so this bounds no run length. Measured run length (tests.bench streaming): 16,000 independent observations
with an error rate of 0.2.
Sees / blind to: abrupt rises, within about 1 / ``lambda_val`` observations; blind to shifts that the noise of so short
a memory hides. Needs values in [0, 1] and independent ones.
Cost: a fading sum and a running minimum a column and observation.
Source: Frias-Blanco et al. 2015, section 3.2 (W-test); parameters and defaults as in MOA and river.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.streaming import scan
from detectors.streaming.protocol import Kind, Step
from detectors.types import FloatArray


class HddmWState(NamedTuple):
    """Observations and their weighted mean; for a rise and for a fall the cut, ``(u,)`` each.

    Of each cut: the bound, the observations and the weighted mean there, and the first observation after it.
    """

    n: FloatArray
    mean: FloatArray
    rise: FloatArray
    rise_n: FloatArray
    rise_mean: FloatArray
    rise_next: FloatArray
    fall: FloatArray
    fall_n: FloatArray
    fall_mean: FloatArray
    fall_next: FloatArray


class _Cut(NamedTuple):
    bound: FloatArray
    n: FloatArray
    mean: FloatArray
    next: FloatArray


@dataclass(frozen=True, slots=True)
class HddmW:
    """Catalogue entry; ``lambda_val`` is the weight of the newest observation."""

    drift_confidence: float = 0.001
    warning_confidence: float = 0.005
    lambda_val: float = 0.05
    two_sided_test: bool = False
    name: str = "hddm_w"
    kind: Kind = "errors"

    def start(self, units: int) -> HddmWState:
        """Begin with no observations."""
        zeros, far = np.zeros(units), np.full(units, np.inf)
        return HddmWState(zeros, zeros, far, zeros, zeros, zeros, far, zeros, zeros, zeros)

    def update(self, state: HddmWState, x: FloatArray) -> Step:
        """Take in values in [0, 1], ``(n, u)``."""
        return scan.run(self, state, x)

    def after(self, state: HddmWState) -> HddmWState:
        """Forget all."""
        return self.start(len(state.n))

    def trace(self, state: HddmWState, x: FloatArray) -> scan.Scan:
        """Run over ``x (n, c)``; a fall is a rise of the negative values."""
        n = scan.number(state.n, x)
        mean = scan.fade(state.mean, np.where(n == 1, x, self.lambda_val * x), 1 - self.lambda_val)
        rise = self._cut(_Cut(*state[2:6]), state.n, n, mean, x)
        fall = _Cut(*scan.held(state[6:10], x))
        alarm = self._moved(rise, n, mean, self.drift_confidence)
        warning = self._moved(rise, n, mean, self.warning_confidence)
        if self.two_sided_test:
            fall = self._cut(_Cut(*state[6:10]), state.n, n, -mean, -x)
            alarm |= self._moved(fall, n, -mean, self.drift_confidence)
            warning |= self._moved(fall, n, -mean, self.warning_confidence)
        return scan.Scan(HddmWState(n, mean, *rise, *fall), alarm, warning)

    def _cut(self, start: _Cut, start_n: FloatArray, n: FloatArray, mean: FloatArray, x: FloatArray) -> _Cut:
        upper = mean + np.sqrt(self._weights(n) * math.log(1 / self.drift_confidence) / 2)
        bound = scan.lows(start.bound, upper)
        new = upper < scan.before(start.bound, bound)
        at = scan.latest(new)
        cut_n = scan.recall(at, start.n, n)
        following = scan.latest(scan.before(start_n, n) == scan.before(start.n, cut_n))
        return _Cut(bound, cut_n, scan.recall(at, start.mean, mean), scan.recall(following, start.next, x))

    def _moved(self, cut: _Cut, n: FloatArray, mean: FloatArray, confidence: float) -> scan.BoolArray:
        """Compare the mean since the cut, which begins with the first observation after it, with that up to the cut."""
        since = n - cut.n
        recent = mean + (1 - self.lambda_val) ** since * (cut.next - cut.mean)
        width = np.sqrt((self._weights(cut.n) + self._weights(since)) * math.log(1 / confidence) / 2)
        moved: scan.BoolArray = (since > 0) & (recent - cut.mean > width)
        return moved

    def _weights(self, n: FloatArray) -> FloatArray:
        """Sum of squared weights of ``n`` observations, the first one's weight being what the others leave."""
        limit = self.lambda_val / (2 - self.lambda_val)
        return limit + (1 - limit) * (1 - self.lambda_val) ** (2 * n)
