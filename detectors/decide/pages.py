"""The rule that pages: one false-alarm budget over all columns, all sequential detectors and all time.

Each unit's e-detector gets a fixed weight; the weights sum to one, so their mean is an e-detector as well and alarms
when it reaches A = panes allowed per false alarm. An alarm *costs* A: the strongest units that make up A of it are
used up, so that the number of alarms in T undrifted panes is at most T / A in expectation, for every T and any
dependence. e-BH at the same A names the culprits; they are latched until they recover, and do not count meanwhile.

Source: Shin, Ramdas, Rinaldo 2022 (means of e-detectors); Wang and Ramdas 2022 (e-BH); Dandapanthula and Ramdas 2025
(e-BH over e-detectors).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray

DISTRIBUTION_SHARE = 0.5
"""Weight of the distribution detector (the first row); the fault rates and the joint detector share the rest."""


class PageState(NamedTuple):
    """``latched (d, u)`` is 1 where a detector's unit has an open finding."""

    latched: FloatArray


class Alarm(NamedTuple):
    """``log_e`` of the mean, the culprits that e-BH names, and what the alarm used up, ``(d, u)`` each."""

    log_e: float
    culprits: NDArray[np.bool_]
    spent: NDArray[np.bool_]


def weights(usable: NDArray[np.bool_], joint: int = 0) -> FloatArray:
    """Weights ``(d, u)`` of the usable e-detectors, the last ``joint`` rows being joint ones. They sum to one."""
    group = np.array([0, *[1] * (len(usable) - 1 - joint), *[2] * joint])
    members = np.array([usable[group == one].sum() for one in range(3)])
    share = np.where(members > 0, 1.0, 0.0)
    if members[0] and share[1:].any():
        share[0] = share[1:].sum() * DISTRIBUTION_SHARE / (1 - DISTRIBUTION_SHARE)
    each = share / max(float(share.sum()), 1e-300) / np.maximum(members, 1)
    return np.where(usable, each[group][:, None], 0.0)


def start(units: int, detectors: int) -> PageState:
    """Nothing is open."""
    return PageState(np.zeros((detectors, units)))


def mean_log_e(state: PageState, log_e: FloatArray, weight: FloatArray) -> float:
    """Log of the weighted mean over the e-detectors that are not latched; -inf where there is no evidence."""
    return float(np.logaddexp.reduce(_weighted(state, log_e, weight).ravel()))


def decide(
    state: PageState, log_e: FloatArray, weight: FloatArray, log_threshold: float
) -> tuple[PageState, Alarm | None]:
    """Alarm when the mean reaches the threshold; ``log_e (d, u)``, NaN where a unit has nothing to say."""
    weighted = _weighted(state, log_e, weight)
    mean = float(np.logaddexp.reduce(weighted.ravel()))
    if not mean >= log_threshold:
        return state, None
    flat = weighted.ravel()
    order = np.argsort(-flat, kind="stable")
    ranked = flat[order]
    enough = int(np.searchsorted(np.logaddexp.accumulate(ranked), log_threshold)) + 1
    rank = np.arange(1, len(ranked) + 1)
    passed = np.flatnonzero(ranked >= log_threshold - np.log(rank))
    named = max(int(passed[-1]) + 1 if len(passed) else 1, 1)
    culprits, spent = np.zeros(len(flat), bool), np.zeros(len(flat), bool)
    culprits[order[:named]] = True
    spent[order[: min(enough, len(order))]] = True
    shape = weighted.shape
    alarm = Alarm(mean, culprits.reshape(shape), (spent | culprits).reshape(shape))
    return PageState(np.maximum(state.latched, alarm.culprits)), alarm


def release(state: PageState, recovered: NDArray[np.bool_]) -> PageState:
    """Open the latch of recovered units ``(d, u)``."""
    return PageState(np.where(recovered, 0.0, state.latched))


def _weighted(state: PageState, log_e: FloatArray, weight: FloatArray) -> FloatArray:
    usable = (weight > 0) & (state.latched == 0) & ~np.isnan(log_e)
    with np.errstate(divide="ignore"):
        return np.where(usable, np.where(np.isnan(log_e), -np.inf, log_e) + np.log(weight), -np.inf)
