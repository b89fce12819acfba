"""What the tests of one column share: reasons for silence, and the shape of their evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.compare import LEAST_ROWS, Comparison
from detectors.types import Evidence, FloatArray, Reason


class Nothing(NamedTuple):
    """State of a windowed detector: none."""


class Result(NamedTuple):
    """One test's answer for the units it looked at, ``(k,)`` each; low and high bound the effect at 95 %."""

    statistic: FloatArray
    effect: FloatArray
    low: FloatArray
    high: FloatArray
    log_p: FloatArray


def reasons(comparison: Comparison, *, ordered: bool) -> NDArray[np.int8]:
    """Why each unit cannot be tested, `Reason.OK` where it can. ``ordered`` tests speak of numeric columns only."""
    p, u = len(comparison.bins), len(comparison.n)
    reason = np.full(u, Reason.OK, np.int8)
    reason[np.minimum(comparison.n, comparison.m) < LEAST_ROWS] = Reason.FEW_ROWS
    constant = np.concatenate([(comparison.baseline.bins > 0).sum(axis=1), (comparison.baseline.codes > 0).sum(axis=1)])
    reason[constant == 1] = Reason.CONSTANT_REFERENCE
    reason[comparison.rows == 0] = Reason.ALL_MISSING
    reason[comparison.m == 0] = Reason.NO_REFERENCE
    if ordered:
        reason[p:] = Reason.UNORDERED
    return reason


def evidence(
    name: str,
    effect_name: str,
    comparison: Comparison,
    result: Result,
    *,
    ordered: bool,
    extra: Mapping[str, FloatArray] | None = None,
) -> Evidence:
    """Pad a result to all units and silence those that cannot be tested. ``ordered`` results are ``(p,)``."""
    reason = reasons(comparison, ordered=ordered)
    silent = reason != Reason.OK
    u = len(reason)

    def full(values: FloatArray) -> FloatArray:
        padded = np.full(u, np.nan)
        padded[: len(values)] = values
        padded[silent] = np.nan
        return padded

    return Evidence(
        detector=name,
        effect_name=effect_name,
        statistic=full(result.statistic),
        effect=full(result.effect),
        effect_low=full(result.low),
        effect_high=full(result.high),
        log_p=full(result.log_p),
        log_e=np.full(u, np.nan),
        n=comparison.rows,
        reason=reason,
        extra={key: full(values) for key, values in (extra or {}).items()},
    )
