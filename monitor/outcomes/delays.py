"""How long labels take, and what share of a cohort's labels has come: a prediction without a label is never "correct".

Question: after what delay does a label come, if it comes; how many labels of a cohort are still to come?
Statistic: hazard of each delay bin, labels that came in it over predictions that were without one at its beginning, of
cohorts whose youngest prediction has passed the bin's end; share with a label by then is 1 - prod(1 - hazard).
Error: Greenwood's variance.
Sees / blind to: labels that never come (they stay at risk, the share ends below 1); a delay that depends on the truth
itself is not seen, so of a cohort that is 95 % complete the rest may still be of one class.
Cost: microseconds, whatever the number of rows.
Source: Kaplan and Meier 1958 (product limit); Greenwood 1926; Kalbfleisch and Lawless 1989 (delays of reports
by hazards), whose truncation falls away because all predictions are known.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray

Z: Final = 1.959963984540054
"""Two-sided 95 % of the normal law."""


class Triangle(NamedTuple):
    """``c`` cohorts in order, by ``number``: each begins at its number times ``width`` in seconds.

    ``arrived (c, l)`` are labels by delay bin, ``edges (l + 1,)`` bound the bins; the last is how long a row is kept.
    """

    number: IntArray
    width: float
    edges: FloatArray
    predicted: IntArray
    arrived: IntArray

    @property
    def start(self) -> FloatArray:
        """When each begins."""
        return self.number.astype(np.float64) * self.width

    def passed(self, now: float) -> NDArray[np.bool_]:
        """Whether the youngest prediction of a cohort has passed a bin ``(c, l)``."""
        age = now - (self.start + self.width)
        passed: NDArray[np.bool_] = age[:, None] >= self.edges[1:]
        return passed


class Delays(NamedTuple):
    """``share (l,)`` of predictions that have their label at each bin's end, NaN where no cohort is old enough.

    ``arrived`` and ``risk (l,)`` are the labels and predictions that it rests on, ``error (l,)`` its standard error.
    """

    edges: FloatArray
    arrived: IntArray
    risk: IntArray
    share: FloatArray
    error: FloatArray

    @property
    def ever(self) -> float:
        """Share of predictions that get a label as long as rows are kept; NaN if that is not known yet."""
        return float(self.share[-1])

    def quantile(self, level: float) -> float:
        """Delay in seconds within which this share of the labels that ever come has come; NaN if not known yet."""
        if not self.ever > 0:
            return float("nan")
        known = np.concatenate([[0.0], self.share]) / self.ever
        return float(np.interp(level, known, self.edges))


class Completeness(NamedTuple):
    """Of each cohort ``(c,)``: labels that it has, labels expected in the end, their ratio and its lower bound (95 %).

    ``complete``: it is over, and the lower bound reaches what was asked, or no further label can be joined, however few
    have come. NaN where not known yet.
    """

    number: IntArray
    start: FloatArray
    predicted: IntArray
    labelled: IntArray
    expected: FloatArray
    ratio: FloatArray
    low: FloatArray
    complete: NDArray[np.bool_]


def delays(triangle: Triangle, now: float) -> Delays:
    """Estimate from all cohorts, each as far as it has passed."""
    passed = triangle.passed(now)
    arrived = (triangle.arrived * passed).sum(axis=0)
    before = np.cumsum(triangle.arrived, axis=1) - triangle.arrived
    risk = ((triangle.predicted[:, None] - before) * passed).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = 1 - np.cumprod(1 - arrived / risk)
        variance = np.cumsum(arrived / (risk * (risk - arrived)))
        error = np.where(share == 1, 0.0, (1 - share) * np.sqrt(variance))
    emptied = np.maximum.accumulate(share == 1)  # nothing is left without a label: later bins add nothing
    share[emptied], error[emptied] = 1.0, 0.0
    return Delays(triangle.edges, arrived, risk, share, error)


def completeness(triangle: Triangle, now: float, wanted: float) -> Completeness:
    """How complete each cohort is; ``wanted`` is the ratio from which on it may be judged."""
    labelled, reached = triangle.arrived.sum(axis=1), triangle.passed(now).sum(axis=1)
    found = coming(delays(triangle, now), triangle.predicted, labelled, reached, wanted)
    cohort = (triangle.number, triangle.start, triangle.predicted, labelled)
    over = now >= triangle.start + triangle.width
    return Completeness(*cohort, labelled + found.expected, found.ratio, found.low, found.complete & over)


class Coming(NamedTuple):
    """Of predictions ``(c,)`` each: labels still expected, share that is there, its lower bound, whether enough."""

    expected: FloatArray
    ratio: FloatArray
    low: FloatArray
    complete: NDArray[np.bool_]


def coming(found: Delays, predicted: IntArray, labelled: IntArray, reached: IntArray, wanted: float) -> Coming:
    """What is still to come, of predictions of which the youngest has passed the first ``reached`` bins."""
    missing = predicted - labelled
    left = np.append(1.0, 1 - found.share)[reached]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = found.arrived / (found.risk * (found.risk - found.arrived))
        later = np.append(np.cumsum(spread[::-1])[::-1], 0.0)[reached]
        stays = (1 - found.ever) / left
        most = np.where(stays > 0, np.clip(1 - stays + Z * stays * np.sqrt(later), 0, 1), 1.0)
    over = (reached == len(found.share)) | (missing == 0)
    expected = np.where(over, 0.0, missing * (1 - stays))
    at_most = np.where(over, 0.0, missing * most)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio, low = labelled / (labelled + expected), labelled / (labelled + at_most)
        complete = over | (low >= wanted)
    return Coming(expected, ratio, low, complete)
