"""Shiryaev-Roberts recursions for Bernoulli counts: many at once, one step per pane.

Under "the probability of yes is at most p0" the likelihood ratio of p1 > p0 has expectation at most one for every
p <= p0, so R <- (1 + R) e makes R - t a supermartingale: stopping at R >= A gives a mean run length of at least A, and
so does any weighted mean of such recursions (Shin, Ramdas, Rinaldo: E-detectors, 2022). Counts of dependent rows are
tempered: e^(1/tau). A pane in which nothing was asked leaves R as it is: it is not a step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray

STEPS = np.array([0.01, 0.02, 0.05, 0.1, 0.2])
"""Alternatives p1 - p0."""
LOG_E_CAP = 50.0
R_CAP = 1e280
"""Far above any threshold; keeps R and R e^50 finite. A smaller R is still a valid one."""


class Bets(NamedTuple):
    """What a pane is judged by, ``(k, 5)``: log-likelihood ratios of one yes and one no, divided by tau, and usability.

    A bet that cannot be made on a pane leaves R as it is.
    """

    yes: FloatArray
    no: FloatArray
    usable: FloatArray


class Recursion(NamedTuple):
    """The moving part, ``(k, 5)`` each: R, the CUSUM of log e, and for how many panes that has been positive."""

    r: FloatArray
    cusum: FloatArray
    age: FloatArray


def bets(p0: FloatArray, tau: FloatArray, steps: FloatArray = STEPS) -> Bets:
    """Bets on p1 = p0 + ``steps (5,)``; where p1 would pass 1 there is no bet and R stays zero."""
    base = np.clip(p0, 1e-12, 1 - 1e-12)[:, None]
    p1 = base + steps
    usable = p1 < 1
    p1 = np.where(usable, p1, 0.5)
    yes = np.where(usable, np.log(p1 / base), 0.0) / tau[:, None]
    no = np.where(usable, np.log((1 - p1) / (1 - base)), 0.0) / tau[:, None]
    return Bets(yes, no, usable.astype(np.float64))


def start(bet: Bets) -> Recursion:
    """Begin with no evidence."""
    zeros = np.zeros(bet.yes.shape)
    return Recursion(zeros, zeros, zeros)


def step(bet: Bets, state: Recursion, yes: FloatArray, asked: FloatArray) -> Recursion:
    """Fold in one pane: ``yes`` of ``asked`` rows, both ``(k,)``."""
    log_e = bet.yes * yes[:, None]
    log_e += bet.no * (asked - yes)[:, None]
    np.minimum(log_e, LOG_E_CAP, out=log_e)
    cusum = np.maximum(state.cusum, 0)
    cusum += log_e
    age = state.age + 1
    age *= cusum > 0
    r = np.exp(log_e, out=log_e)
    r *= state.r + 1
    np.minimum(r, R_CAP, out=r)
    np.copyto(r, state.r, where=bet.usable == 0)
    silent = asked == 0
    if silent.any():
        r[silent], cusum[silent], age[silent] = state.r[silent], state.cusum[silent], state.age[silent]
    return Recursion(r, cusum, age)


def by_unit(state: Recursion, unit: IntArray, units: int) -> tuple[FloatArray, FloatArray]:
    """Log of each unit's e-detector (the mean of its recursions) and the age in panes of its strongest evidence.

    ``unit (k,)`` says whose each event is. NaN for units without events; an age of NaN means no evidence at all.
    """
    number = np.bincount(unit, minlength=units) * state.r.shape[1]
    total = np.bincount(unit, state.r.sum(axis=1), units)
    log_e = np.full(units, np.nan)
    some = number > 0
    mean = np.divide(total, number, out=np.zeros(units), where=some)
    log_e[some] = -np.inf
    np.log(mean, out=log_e, where=mean > 0)
    strongest = state.cusum.argmax(axis=1)
    rows = np.arange(len(unit))
    height, age = state.cusum[rows, strongest], state.age[rows, strongest]
    best = np.zeros(units)
    np.maximum.at(best, unit, height)
    since = np.full(units, np.nan)
    mine = (height > 0) & (height == best[unit])
    since[unit[mine]] = age[mine]
    return log_e, since


def forget(state: Recursion, marked: NDArray[np.bool_]) -> Recursion:
    """Set the recursions of the marked events ``(k,)`` back to the start."""
    keep = np.where(marked, 0.0, 1.0)[:, None]
    return Recursion(state.r * keep, state.cusum * keep, state.age * keep)
