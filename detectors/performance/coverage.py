"""Coverage: how often the truth lies in the interval, or in the set of classes, that the model gave with its answer.

Question: H0: intervals (sets) hold the truth as often as they were made to, and as often as on the reference.
Statistic: share of covered rows, of those below and above, mean width (size of sets); z of the shares' difference.
Null law: normal by the variance under H0. Wilson's interval for the share.
Sees / blind to: a right coverage over all rows may hide a wrong one within a segment, or a class: look at those too.
Wide intervals cover: coverage alone says nothing of how useful they are. Cost: O(1).
Source: Vovk, Gammerman and Shafer 2005 (validity and efficiency of conformal sets); Wilson 1927.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from detectors.maths import tails
from detectors.performance import intervals
from detectors.performance.counts import BOUNDED, SETS, UNIT, Tally, total
from detectors.performance.layout import Layout
from detectors.performance.types import Figure
from detectors.types import FloatArray


class Coverage(NamedTuple):
    """Share of rows that are covered, and what else the intervals or sets tell; NaN where they do not.

    ``below`` and ``above`` are shares of truths on either side of an interval, ``size`` is the mean width or number of
    classes, ``by_class (k,)`` the coverage by label. ``log_p`` is that the coverage is the nominal one.
    """

    figure: Figure
    below: float
    above: float
    size: float
    by_class: FloatArray
    log_p: float


def of_intervals(made: Layout, tally: Tally, segment: int = 0, tau: float = 1.0, nominal: float = 0.95) -> Coverage:
    """Coverage of prediction intervals that were made to hold the truth with probability ``nominal``."""
    rows = intervals.mass(tally, BOUNDED, segment, tau)
    sides = tally.sides[segment] / UNIT / rows.weight if rows.weight else np.full(3, math.nan)
    size = total(made, tally, "width", segment) / rows.weight if rows.weight else math.nan
    figure = _figure("coverage", float(sides[1]), rows)
    return Coverage(
        figure, float(sides[0]), float(sides[2]), size, np.zeros(0), _log_p(figure.value, nominal, rows.effective)
    )


def of_sets(tally: Tally, segment: int = 0, tau: float = 1.0, nominal: float = 0.95) -> Coverage:
    """Coverage of conformal sets."""
    rows = intervals.mass(tally, SETS, segment, tau)
    weight, covered, size = tally.sets[segment].T / UNIT
    by_class = np.divide(covered, weight, out=np.full(len(weight), math.nan), where=weight > 0)
    share, mean = (float(one.sum()) / rows.weight if rows.weight else math.nan for one in (covered, size))
    figure = _figure("set_coverage", share, rows)
    return Coverage(figure, math.nan, math.nan, mean, by_class, _log_p(share, nominal, rows.effective))


def change(old: Figure, new: Figure) -> tuple[float, float]:
    """Difference of two coverages of other rows, now less then, and log p that there is none; NaN where not known."""
    if not (math.isfinite(old.value) and math.isfinite(new.value)):
        return math.nan, math.nan
    worth = [_worth(one) for one in (old, new)]
    share = (old.value * worth[0] + new.value * worth[1] + 1) / (sum(worth) + 2)
    error = math.sqrt(share * (1 - share) * (1 / worth[0] + 1 / worth[1]))
    moved = new.value - old.value
    return moved, float(tails.normal_two_sided(np.array(moved / error)))


def _worth(figure: Figure) -> float:
    """Independent rows behind a share, from its error."""
    spread = figure.value * (1 - figure.value)
    return spread / figure.error**2 if figure.error > 0 else float(figure.n)


def _figure(name: str, share: float, rows: intervals.Mass) -> Figure:
    if not rows.effective > 0:
        return intervals.none(name, rows.rows, intervals.NO_BOUNDS)
    return intervals.share(name, share, rows.rows, rows.effective)


def _log_p(share: float, nominal: float, worth: float) -> float:
    spread = nominal * (1 - nominal)
    if not worth > 0 or not spread > 0:
        return math.nan
    return float(tails.normal_two_sided(np.array((share - nominal) * math.sqrt(worth / spread))))
