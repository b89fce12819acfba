"""Performance before labels come: the estimate to show, all estimators beside it, and how far it is to be believed.

Question: which figures do the model's answers of this window have, and what is that worth?
Statistic: the choice goes by the law of scores and inputs (`labelshift.verdict`): no shift: CBPE; shares of the classes
changed and nothing else: MLLS; else: PAPE where inputs are at hand and enough old rows stand for the new ones, CBPE
where not. Regressions: DLE. ATC and DoC are cross-checks of the accuracy.
Error: ``error`` of a figure is the estimator's own; ``floor`` is how far labels that are drawn scatter the realised
figure; the interval holds the realised figure of these rows in 95 of 100 windows if the verdict is right. ``excess``
(see `past`) is what estimates were off by beyond that before.
Sees / blind to: concept shift cannot be seen without labels (`CANNOT`). ``doubts`` name what else speaks against an
estimate; with any of them, labels are wanted.
Cost: figures come from a `Tally` (mergeable, exact, all rows); PAPE and the support of the inputs from a bounded
sample.
Source: methods.md section 5; failures.md section 2 (exposure).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detectors.performance import calibrate, classifiers, dle, pape, regressions, trees
from detectors.performance.answer import Estimate
from detectors.performance.classifiers import ClassesFixed
from detectors.performance.regressions import NumbersFixed
from detectors.performance.types import Outcomes
from detectors.types import IntArray, SingleArray

Fixed = ClassesFixed | NumbersFixed
Tally = calibrate.Tally | dle.Tally


def fit(
    outcomes: Outcomes, rng: np.random.Generator, rows: SingleArray | None = None, unit: IntArray | None = None
) -> Fixed:
    """Measure a reference: labelled rows, with their encoded inputs ``rows (n, d)``, ``unit (d,)`` where there are."""
    rows = np.zeros((len(outcomes.prediction), 0), np.float32) if rows is None else rows
    unit = np.full(rows.shape[1], -1, np.int64) if unit is None else unit
    make = regressions.fit if outcomes.kind == "regression" else classifiers.fit
    return make(outcomes, rows, unit, rng)


def count(fixed: Fixed, outcomes: Outcomes, rows: SingleArray | None = None) -> Tally:
    """Count rows of a window; a regression needs their encoded inputs ``(n, d)``. Labels are not looked at."""
    if isinstance(fixed, ClassesFixed):
        return calibrate.tally(fixed.scale, outcomes)
    given = np.zeros((len(outcomes.prediction), 0), np.float32) if rows is None else rows
    return dle.tally(fixed.forests, outcomes, given)


def empty(fixed: Fixed) -> Tally:
    """No rows."""
    return calibrate.empty(fixed.scale) if isinstance(fixed, ClassesFixed) else dle.empty()


def merge(one: Tally, other: Tally) -> Tally:
    """All rows of both: exact, in any order."""
    return type(one)(*(a + b for a, b in zip(one, other, strict=True)))


def inputs(fixed: Fixed, outcomes: Outcomes, rows: SingleArray) -> trees.Codes:
    """What a window keeps of its usable rows' inputs ``(m, f)``: a sample of `pape.MOST_ROWS` of them is enough."""
    if isinstance(fixed, ClassesFixed):
        return pape.codes(fixed.scale, fixed.sample, outcomes, rows)
    return dle.codes(fixed.forests, outcomes, rows)


def estimate(
    fixed: Fixed,
    counted: Tally,
    now: trees.Codes | None = None,
    tau: float = 1.0,
    excess: Mapping[str, float] | None = None,
) -> Estimate:
    """Estimate a window: its `count`, a sample of its `inputs`, its rows' autocorrelation time, `past` excess."""
    if isinstance(fixed, ClassesFixed) and isinstance(counted, calibrate.Tally):
        return classifiers.estimate(fixed, counted, now, tau, excess or {})
    if isinstance(fixed, NumbersFixed) and isinstance(counted, dle.Tally):
        return regressions.estimate(fixed, counted, now, tau, excess or {})
    raise ValueError("`counted` is not of this reference: use `count`")
