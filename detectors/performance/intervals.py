"""Figures with their 95 % intervals: shares by Wilson, means by Student, others by their influence on a bounded scale.

Weights and dependence enter as an effective number of rows: (sum w)^2 / sum w^2 / tau (Kish). That is right where
weights do not follow the errors.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy import special

from detectors.performance.counts import UNIT, UNIT_OF_SQUARES, Tally
from detectors.performance.types import METRICS, Figure
from detectors.sequential.rates import wilson

NO_ROWS: Final = "no row has both a prediction and a label"
ONE_CLASS: Final = "labelled rows are all of one class"
NO_QUERIES: Final = "no query has all of its labels and something relevant"
UNDEFINED: Final = "these rows do not define it"
NO_SCORES: Final = "no labelled row has a score"
NO_CHANCES: Final = "no labelled row has probabilities"
NO_BOUNDS: Final = "no labelled row has an interval or a set"
TOO_LARGE: Final = "the numbers are too large to be added up"
LEVEL: Final = 0.975


class Mass(NamedTuple):
    """Rows, their weight in typical ones, and how many independent rows of equal weight they are worth."""

    rows: int
    weight: float
    effective: float


def mass(tally: Tally, whose: int, segment: int, tau: float) -> Mass:
    """The rows that a figure is about."""
    rows, weight, squares = (float(one) for one in tally.mass[segment, whose])
    return Mass(int(rows), weight / UNIT, effective(weight, squares, tau))


def effective(weight: float, squares: float, tau: float) -> float:
    """Kish's number of rows from counted weights and squares, 0 without weight."""
    if weight <= 0 or squares <= 0:
        return 0.0
    return (weight / UNIT) ** 2 / (squares / UNIT_OF_SQUARES) / max(tau, 1.0)


def none(name: str, rows: int, reason: str) -> Figure:
    """A figure that has no value."""
    return Figure(name, *(math.nan,) * 4, rows, reason)


def share(name: str, value: float, rows: int, worth: float) -> Figure:
    """A share of ``worth`` independent rows: Wilson's interval."""
    if not worth > 0 or not math.isfinite(value):
        return none(name, rows, UNDEFINED)
    low, high = shares(value, worth)
    return Figure(name, value, low, high, math.sqrt(max(value * (1 - value), 0.0) / worth), rows, "", worth)


def shares(value: float, worth: float) -> tuple[float, float]:
    """Wilson's interval of a share."""
    value = min(max(value, 0.0), 1.0)
    ends = wilson(np.array([1 - value, value]), np.array([worth, worth]))
    return max(1 - float(ends[0]), 0.0), float(ends[1])


def mean(name: str, value: float, square: float, rows: int, worth: float) -> Figure:
    """A mean with its mean square: Student's interval within the metric's bounds."""
    if not worth > 0:
        return none(name, rows, NO_ROWS)
    if not math.isfinite(value):
        return none(name, rows, TOO_LARGE)
    if worth <= 1 or not math.isfinite(square):
        return bounded(name, value, math.nan, math.inf, rows)
    error = math.sqrt(max(square - value * value, 0.0) / (worth - 1))
    return bounded(name, value, error, error * float(special.stdtrit(worth - 1, LEVEL)), rows)._replace(worth=worth)


def bounded(name: str, value: float, error: float, half: float, rows: int) -> Figure:
    """A figure whose interval ends at the metric's bounds."""
    low, high = METRICS[name].bounded
    return Figure(name, value, max(value - half, low), min(value + half, high), error, rows)


def logit(name: str, value: float, error: float, rows: int, worth: float) -> Figure:
    """A figure between 0 and 1 that is no share: normal on the logit scale; at 0 and 1 as a share of ``worth`` rows."""
    if not math.isfinite(value):
        return none(name, rows, UNDEFINED)
    spread = value * (1 - value)
    if spread < 1e-12 or not error > 0:
        return Figure(name, value, *shares(value, max(worth, 1e-9)), error, rows, "", worth)
    middle, half = math.log(value / (1 - value)), float(special.ndtri(LEVEL)) * error / spread
    low, high = (float(special.expit(middle + side)) for side in (-half, half))
    return Figure(name, value, low, high, error, rows, "", worth)
