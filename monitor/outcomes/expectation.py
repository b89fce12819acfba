"""Whether a window's performance is below what the reference makes one expect.

Question: is a figure worse than the reference's own by more than the smallest loss that matters?
Statistic: of shares that labels gave (accuracy, precision, recall; F1 by the share that it is twice of) Chernoff's
bound ``worth * KL(share || least)``, which holds for few rows and at 0 and 1 as well; else the figure moved to the
better side by Student's quantile of its error (of an estimate the draw of the labels counts in). ``least`` is the lower
end of the reference's figure (three standard errors) less the loss.
Error: estimates and labels each, all metrics together, are wrong at one look in ``2 * panes / SHARE``, as far as errors
are normal where they are said to be and what the estimate supposes holds. Nothing is said where anything speaks against
that (its doubts), of calibration (which has its own test), where fewer than `LEAST` rows are behind a figure or the
reference's, or where labels have come for too few rows.
Sees / blind to: of estimates what they see; concept shift in confirmed figures alone. Who gets a label must not depend
on the answer.
Source: Chernoff 1952; Hoeffding 1963 (theorem 1: means of classes too); Agresti and Coull 1998 (the reference's end).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from scipy import special

from detectors.performance.answer import Estimate
from detectors.performance.types import METRICS, Figure, MetricSpec

SHARE: Final = 0.1
"""False alarms that performance may add to those that the budget allows: half by estimates, half by labels."""
LEAST: Final = 30
"""Independent rows that a figure must rest on."""
_SHARES: Final = ("accuracy", "precision", "recall", "f1", "f1_micro")
_Z: Final = 3.0

Figures = Mapping[str, Figure]


def below(told: Estimate, reference: Figures, panes: float, loss: float) -> dict[str, bool]:
    """Of each metric that has a better and a worse; ``panes`` are those for each false alarm that is allowed."""
    level = _level(panes, len(told.figures))
    found = {}
    for name, one in told.figures.items():
        was = reference.get(name)
        if METRICS[name].better == "nearer" or was is None:
            continue
        floor = told.floors[name]
        rows = one.value * (1 - one.value) / floor**2 if floor > 0 and 0 < one.value < 1 else one.n
        made = one._replace(error=math.hypot(one.error, floor), worth=rows)
        found[name] = not told.reliability.doubts and _far(made, was, METRICS[name], level, loss)
    return found


def below_confirmed(told: Figures, reference: Figures, panes: float, loss: float) -> dict[str, bool]:
    """The same of figures that labels have confirmed."""
    names = [name for name in told if name in reference and METRICS[name].better != "nearer" and name != "ece"]
    level = _level(panes, len(names))
    return {name: _worse(told[name], reference[name], METRICS[name], level, loss) for name in names}


def _level(panes: float, names: int) -> float:
    return min(SHARE / 2 / max(panes, 1.0) / max(names, 1), 0.25)


def _worse(figure: Figure, was: Figure, spec: MetricSpec, level: float, loss: float) -> bool:
    if figure.name not in _SHARES:
        return _far(figure, was, spec, level, loss)
    if not was.worth >= LEAST or not figure.worth > 0:
        return False
    least = _part(_end(was) - loss, figure.name)
    seen = _part(figure.value, figure.name)
    return least > 0 and seen < least and figure.worth * _divergence(seen, least) > -math.log(level)


def _far(figure: Figure, was: Figure, spec: MetricSpec, level: float, loss: float) -> bool:
    if not (figure.worth >= LEAST and was.worth >= LEAST):
        return False
    allowed = loss if math.isfinite(spec.bounded[1] - spec.bounded[0]) else loss * abs(was.value)
    short = was.value - figure.value if spec.better == "higher" else figure.value - was.value
    error = math.hypot(figure.error, was.error)
    return short + float(special.stdtrit(figure.worth - 1, level)) * error > allowed  # false for NaN


def _end(was: Figure) -> float:
    """Lower end of the reference's figure."""
    worth = was.worth + _Z**2
    share = (_part(was.value, was.name) * was.worth + _Z**2 / 2) / worth
    low = max(share - _Z * math.sqrt(share * (1 - share) / worth), 0.0)
    return 2 * low / (1 + low) if was.name == "f1" else low


def _part(value: float, name: str) -> float:
    """The share that a figure is: F1 is 2 q / (1 + q)."""
    return value / (2 - value) if name == "f1" else value


def _divergence(seen: float, least: float) -> float:
    """Kullback and Leibler's, of one Bernoulli law from another."""
    return float(special.rel_entr(seen, least) + special.rel_entr(1 - seen, 1 - least))
