"""Whether a window's performance is below what the reference makes one expect.

Question: is a figure worse than the reference's own by more than the smallest loss that matters?
Statistic: the figure moved by z of its standard errors to the better side (of an estimate the draw of the labels counts
as well), against the reference's figure less the loss.
Error: z is such that all metrics together are wrong in one of ``panes / SHARE`` windows, as far as the errors are
normal and what the estimate supposes holds; where anything speaks against that (its doubts) nothing is said.
Sees / blind to: of estimates what they see; concept shift in confirmed figures alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from scipy import special

from detectors.performance.answer import Estimate
from detectors.performance.types import METRICS, Figure, MetricSpec

SHARE: Final = 0.1
"""False alarms that estimates may add to those that the budget allows."""


def below(told: Estimate, panes: float, loss: float) -> dict[str, bool]:
    """Of each metric that has a better and a worse; ``panes`` are those for each false alarm that is allowed."""
    made = {}
    for name, one in told.figures.items():
        made[name] = one._replace(error=math.hypot(one.error, told.floors[name]))
    found = _below(made, told.reference, panes, loss)
    return found if not told.reliability.doubts else dict.fromkeys(found, False)


def below_confirmed(
    told: Mapping[str, Figure], reference: Mapping[str, Figure], panes: float, loss: float
) -> dict[str, bool]:
    """The same of figures that labels have confirmed; the reference's own error counts as well."""
    known = {name: one for name, one in told.items() if name in reference}
    made = {name: one._replace(error=math.hypot(one.error, reference[name].error)) for name, one in known.items()}
    return _below(made, {name: one.value for name, one in reference.items()}, panes, loss)


def _below(told: Mapping[str, Figure], expected: Mapping[str, float], panes: float, loss: float) -> dict[str, bool]:
    names = [name for name in told if METRICS[name].better != "nearer"]
    level = min(SHARE / max(panes, 1.0) / max(len(names), 1), 0.5)
    z = -float(special.ndtri(level))
    return {name: _worse(told[name], METRICS[name], expected[name], z, loss) for name in names}


def _worse(figure: Figure, spec: MetricSpec, expected: float, z: float, loss: float) -> bool:
    allowed = loss if math.isfinite(spec.bounded[1] - spec.bounded[0]) else loss * abs(expected)
    short = expected - figure.value if spec.better == "higher" else figure.value - expected
    return short - z * figure.error > allowed  # false for NaN
