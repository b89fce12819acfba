"""Whether a window's performance is below what the reference makes one expect.

Question: is a figure worse than the reference's own by more than the smallest loss that matters?
Statistic: what the estimate leaves of the figure on the worse side, z standard deviations of its error and of the draw
of the labels, against the reference's figure less the loss.
Error: z is such that all metrics together are wrong in one of ``panes / SHARE`` windows, as far as the errors are
normal and what the estimate supposes holds; where anything speaks against that (its doubts) nothing is said.
Sees / blind to: what estimates see; concept shift only where labels say so.
"""

from __future__ import annotations

import math
from typing import Final

from scipy import special

from detectors.performance.answer import Estimate
from detectors.performance.types import METRICS, MetricSpec

SHARE: Final = 0.1
"""False alarms that estimates may add to those that the budget allows."""


def below(told: Estimate, panes: float, loss: float) -> dict[str, bool]:
    """Of each metric that has a better and a worse; ``panes`` are those for each false alarm that is allowed."""
    names = [name for name in told.figures if METRICS[name].better != "nearer"]
    level = min(SHARE / max(panes, 1.0) / max(len(names), 1), 0.5)
    z = -float(special.ndtri(level))
    sure = not told.reliability.doubts
    return {name: sure and _worse(told, METRICS[name], z, loss) for name in names}


def _worse(told: Estimate, spec: MetricSpec, z: float, loss: float) -> bool:
    figure, expected = told.figures[spec.name], told.reference[spec.name]
    wide = z * math.hypot(figure.error, told.floors[spec.name])
    allowed = loss if math.isfinite(spec.bounded[1] - spec.bounded[0]) else loss * abs(expected)
    short = expected - figure.value if spec.better == "higher" else figure.value - expected
    return short - wide > allowed  # false for NaN
