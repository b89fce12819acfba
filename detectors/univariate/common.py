"""What the tests of one column share: reasons for silence, and the shape of their evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from detectors.compare import Comparison
from detectors.types import Evidence, FloatArray, Reason

_OK = int(Reason.OK)


class Nothing(NamedTuple):
    """State of a windowed detector: none."""


class Result(NamedTuple):
    """One test's answer for the units it looked at, ``(k,)`` each; low and high bound the effect at 95 %."""

    statistic: FloatArray
    effect: FloatArray
    low: FloatArray
    high: FloatArray
    log_p: FloatArray


def evidence(
    name: str,
    effect_name: str,
    comparison: Comparison,
    result: Result,
    *,
    ordered: bool,
    exact: bool = False,
    extra: Mapping[str, FloatArray] | None = None,
) -> Evidence:
    """Pad a result to all units and silence those that cannot be tested. ``ordered`` results are ``(p,)``.

    ``exact`` null laws hold for any counts; others need enough rows beside a column's commonest value.
    """
    it = comparison
    reason = it.reason if exact else it.reason_ordered if ordered else it.reason_grouped
    extra = extra or {}
    spoken = len(result.log_p)
    table = np.empty((len(result) + len(extra), len(reason)))
    table[:, spoken:] = np.nan
    for row, values in enumerate((*result, *extra.values())):
        table[row, :spoken] = values
    if it.silent[0 if exact else 1 if ordered else 2]:
        table[:, reason != _OK] = np.nan
    return Evidence(
        detector=name,
        effect_name=effect_name,
        statistic=table[0],
        effect=table[1],
        effect_low=table[2],
        effect_high=table[3],
        log_p=table[4],
        log_e=comparison.nothing,
        n=comparison.rows,
        reason=reason,
        extra=dict(zip(extra, table[len(result) :], strict=True)),
    )
