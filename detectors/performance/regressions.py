"""A regression's estimate: direct loss estimation, and the support of its inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from detectors.performance import answer, dle, pape, trees
from detectors.performance.answer import Estimate, Reliability
from detectors.performance.classifiers import LEAST_ROWS, OUTSIDE, UNSCORED
from detectors.performance.types import Outcomes
from detectors.types import FloatArray, IntArray, SingleArray

_NONE: Final[FloatArray] = np.zeros(0)


class NumbersFixed(NamedTuple):
    """A regression's reference; ``reason ()`` is one of `answer.REASONS`."""

    forests: dle.DleFixed
    reason: IntArray


def fit(outcomes: Outcomes, rows: SingleArray, unit: IntArray, rng: np.random.Generator) -> NumbersFixed:
    """Measure a reference: labelled rows with their encoded inputs ``(n, d)``, which may be none."""
    forests = dle.fit(outcomes, rows, unit, rng)
    few = forests.rows[0] < LEAST_ROWS
    return NumbersFixed(forests, np.array(answer.FEW_ROWS if few else answer.OK))


def estimate(
    fixed: NumbersFixed, counted: dle.Tally, now: trees.Codes | None, tau: float, excess: Mapping[str, float]
) -> Estimate:
    """Estimate a window from its counts and a sample of its inputs."""
    rows = int(counted.seen[0])
    ratio = None if now is None or not rows else pape.ratio(fixed.forests.how, fixed.forests.codes, now)
    guesses = dle.guesses(fixed.forests, counted, tau)
    believed = _reliability(counted, ratio, guesses["mae"].error, excess.get("mae", 0.0))
    reason = int(fixed.reason) or (0 if rows else answer.NO_WINDOW)
    if reason:
        return answer.nothing(dle.ERRORS, reason, rows, believed, 0)
    return Estimate(
        "dle",
        answer.figures(guesses, rows, excess=excess),
        {name: one.floor for name, one in guesses.items()},
        {"dle": answer.figures(guesses, rows)},
        dict(zip(dle.ERRORS, fixed.forests.reference.tolist(), strict=True)),
        _NONE,
        _NONE,
        believed,
    )


def _reliability(counted: dle.Tally, ratio: pape.Ratio | None, error: float, excess: float) -> Reliability:
    used, unusable, outside = (float(one) for one in counted.seen)
    missing = unusable / (used + unusable) if used + unusable else math.nan
    beyond = outside / used if used else math.nan
    reach = beyond if ratio is None else max(beyond, ratio.outside)
    raised = {
        "outside_support": reach > OUTSIDE,
        "few_alike": ratio is not None and ratio.effective < pape.LEAST_EFFECTIVE,
        "no_confidence": True,
        "unscored": missing > UNSCORED,
        "past_errors": excess > error,
    }
    return Reliability(
        "unknown",
        *(math.nan,) * 2,
        reach,
        missing,
        math.nan if ratio is None else ratio.effective,
        math.nan if ratio is None else ratio.auc,
        math.nan,
        (math.nan, math.nan),
        tuple(name for name, doubt in raised.items() if doubt),
    )
