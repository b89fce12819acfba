"""EWMA control chart: the weighted mean of the recent past left zero.

Question: H0: observations have mean 0 and standard deviation 1. H1: the mean moved, either way.
Statistic: z <- (1 - lambda) z + lambda x from z = 0; alarm when |z| > L sqrt(lambda / (2 - lambda)), z begins anew.
Null law: mean run length 500 at lambda = 0.1, L = 2.814 for independent normal observations with exactly known mean and
standard deviation (Lucas and Saccucci 1990); measured: 502 (tests.bench streaming). No guarantee for other laws.
Sees / blind to: small lasting shifts of mean, nearly as quickly as CUSUM; blind to changes of shape.
Cost: three operations a column and observation.
Source: Roberts 1959; Lucas and Saccucci 1990, table 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.streaming import scan
from detectors.streaming.protocol import Kind, Step
from detectors.types import FloatArray


class EwmaState(NamedTuple):
    """The weighted mean, ``(u,)``."""

    z: FloatArray


@dataclass(frozen=True, slots=True)
class Ewma:
    """Catalogue entry; ``weight`` is the paper's lambda, ``width`` its L."""

    weight: float = 0.1
    width: float = 2.814
    name: str = "ewma"
    kind: Kind = "values"

    def start(self, units: int) -> EwmaState:
        """Begin at zero."""
        return EwmaState(np.zeros(units))

    def update(self, state: EwmaState, x: FloatArray) -> Step:
        """Take in observations ``(n, u)``."""
        return scan.run(self, state, x)

    def after(self, state: EwmaState) -> EwmaState:
        """Forget all."""
        return self.start(len(state.z))

    def trace(self, state: EwmaState, x: FloatArray) -> scan.Scan:
        """Run over ``x (n, c)``."""
        z = scan.fade(state.z, self.weight * x, 1 - self.weight)
        alarm = np.abs(z) > self.width * math.sqrt(self.weight / (2 - self.weight))
        return scan.Scan(EwmaState(z), alarm, np.zeros_like(alarm))
