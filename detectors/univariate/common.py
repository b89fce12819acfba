"""What the tests of one column share: reasons for silence, and the shape of their evidence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from detectors.compare import Baseline, Comparison
from detectors.types import Evidence, FloatArray, Reason, Reference

F = TypeVar("F")
_OK = int(Reason.OK)


class Nothing(NamedTuple):
    """State of a windowed detector: none."""


class Windowed:
    """A detector that looks at windows only has no moving state."""

    def start(self, fixed: NamedTuple) -> Nothing:
        """Nothing moves."""
        del fixed
        return Nothing()


class Measured(Windowed, ABC, Generic[F]):
    """One whose null law depends on the reference's distribution, and so on the mix."""

    def fit(self, reference: Reference) -> F:
        """Measure the whole reference."""
        return self.measure(Baseline(reference))

    @abstractmethod
    def measure(self, base: Baseline) -> F:
        """The null law beside a baseline."""

    def at(self, fixed: F, it: Comparison) -> F:
        """The null law for a window: what was fitted, or measured anew for the window's own mix."""
        return self.measure(it.baseline) if it.baseline.mixed else fixed


class Unfitted(Windowed):
    """One whose null law is closed-form in the sizes measures nothing on the reference either."""

    def fit(self, reference: Reference) -> Nothing:
        """Nothing to fit."""
        del reference
        return Nothing()


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
    silent = it.silent[0 if exact else 1 if ordered else 2]
    if spoken == len(reason) and not silent:  # nothing to pad, nothing to silence
        return _spoken(name, effect_name, comparison, reason, result, extra)
    table = np.empty((len(result) + len(extra), len(reason)))
    table[:, spoken:] = np.nan
    for row, values in enumerate((*result, *extra.values())):
        table[row, :spoken] = values
    if silent:
        table[:, reason != _OK] = np.nan
    padded = Result(*table[: len(result)])
    return _spoken(name, effect_name, comparison, reason, padded, dict(zip(extra, table[len(result) :], strict=True)))


def _spoken(
    name: str,
    effect_name: str,
    comparison: Comparison,
    reason: NDArray[np.int8],
    result: Result,
    extra: Mapping[str, FloatArray],
) -> Evidence:
    return Evidence(
        detector=name,
        effect_name=effect_name,
        statistic=result.statistic,
        effect=result.effect,
        effect_low=result.low,
        effect_high=result.high,
        log_p=result.log_p,
        log_e=comparison.nothing,
        n=comparison.rows,
        reason=reason,
        extra=extra,
    )
