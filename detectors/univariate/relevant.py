"""Relevant drift: a column that moved by more than the smallest shift that matters.

Question: H0: KS distance <= delta; H1: it is larger. For categories the distance is taken in slot order.
Statistic: D - delta against the sum of the two samples' Dvoretzky-Kiefer-Wolfowitz radii e_k = sqrt(ln(4/alpha)/(2k)).
Null law: finite-sample, distribution-free upper bound of the p-value (so its level is below the nominal one).
``smallest_detectable`` = delta + 2 (e_n + e_m): what this window could have seen at 5 %. ``equivalent`` is 1 where the
window shows at 5 % that the shift is smaller than delta, else 0.
Sees / blind to: shifts above delta only, however many rows there are (point nulls reject harmless ones at n = 10,000).
Cost: O(K) a column. Source: Massart 1990 (the radius).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detectors.types import Evidence, Window
from detectors.univariate.common import Nothing, Result, Unfitted, evidence
from detectors.univariate.distribution import ks_radius


@dataclass(frozen=True)
class Relevant(Unfitted):
    """Catalogue entry; ``tolerance`` is the user's smallest shift."""

    tolerance: float = 0.05
    name: str = "relevant_drift"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def score(self, fixed: Nothing, state: Nothing, window: Window) -> tuple[Nothing, Evidence]:
        """Judge one window."""
        del fixed
        it = window.comparison
        codes = np.cumsum(it.code_shares - it.baseline.code_shares, axis=1)
        distance = np.concatenate(
            [np.abs(it.difference).max(axis=1, initial=0.0), np.abs(codes).max(axis=1, initial=0.0)]
        )
        unit_radius = (1 / np.sqrt(np.maximum(it.n, 1)) + 1 / np.sqrt(np.maximum(it.m, 1))) / np.sqrt(2)
        excess = (distance - self.tolerance) / unit_radius
        log_p = np.where(excess > 0, np.minimum(np.log(4.0) - excess**2, 0.0), 0.0)
        radius = ks_radius(it)
        at_five = unit_radius * np.sqrt(np.log(4 / 0.05))
        extra = {
            "smallest_detectable": np.minimum(self.tolerance + 2 * at_five, 1.0),
            "equivalent": (distance < self.tolerance - at_five).astype(np.float64),
        }
        result = Result(distance, distance, np.maximum(distance - radius, 0), np.minimum(distance + radius, 1), log_p)
        return state, evidence(self.name, "ks_distance", it, result, ordered=False, exact=True, extra=extra)
