"""Window against reference, column by column: what all tests of one column share, computed once a window.

`Baseline` is what the reference fixes; `Comparison` lays one window beside it. Counts of new categories go into the
slot "other"; values outside the reference range into the outermost bin. ``c = n m / (n + m)`` scales every squared
difference, so that the reference's own sampling error is in every p-value; dependent rows count for fewer (n / tau).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.grid import ABOVE, BELOW, BINS
from detectors.strata import MixedSummary, mixed_summary
from detectors.types import FloatArray, IntArray, Reason, Reference, Summary

T = TypeVar("T")
ROWS_PER_GROUP = 25
"""Rows of the smaller sample that a group must expect: from there on chi-square tails hold (tests/statistical)."""
LEAST_ROWS = 2 * ROWS_PER_GROUP
"""Fewer (effective) rows than this, and a test says FEW_ROWS."""
_PRIOR = 0.5
"""Jeffreys' prior count per group, for the indices that take logarithms of empty groups."""
_NUMERIC_LEVELS, _CODE_LEVELS = 6, 8
"""Groups hold at least 2^-level of the reference: down to the 64 bins, or 1/256 for categories."""


class Groups(NamedTuple):
    """Proportions of window and reference in groups of bins, ``(u, g)``; ``used`` marks groups that exist.

    The logarithms are 0 where there is no group.
    """

    window: FloatArray
    reference: FloatArray
    used: NDArray[np.bool_]
    df: FloatArray
    log_window: FloatArray
    log_reference: FloatArray


@dataclass(frozen=True)
class Baseline:
    """What the reference fixes for every later comparison.

    ``mixed`` says that it is the reference at some window's own mix: what was fitted to the whole does not hold for it.
    """

    reference: Reference
    mixed: bool = False

    def at(self, mix: IntArray) -> Baseline:
        """The baseline of a window with ``mix (c,)`` rows in the strata; itself where there are no strata."""
        if self._strata is None or not mix.any():
            return self
        return Baseline(dataclasses.replace(self.reference, summary=self._strata.at(mix)), mixed=True)

    @cached_property
    def _strata(self) -> MixedSummary | None:
        reference = self.reference
        return None if reference.strata is None else mixed_summary(reference.strata, reference.summary)

    @cached_property
    def bins(self) -> IntArray:
        """Reference counts ``(p, K)``."""
        return folded(self.reference.summary, self.reference.grid.used)

    @cached_property
    def codes(self) -> IntArray:
        """Reference counts ``(q, v)``."""
        return self.reference.summary.codes

    @cached_property
    def m(self) -> FloatArray:
        """Rows with a value, ``(u,)``."""
        return np.concatenate([self.bins.sum(axis=1), self.codes.sum(axis=1)]).astype(np.float64)

    @cached_property
    def constant(self) -> NDArray[np.bool_]:
        """Units with a single value in the reference, ``(u,)``."""
        distinct = np.concatenate([(self.bins > 0).sum(axis=1), (self.codes > 0).sum(axis=1)])
        single: NDArray[np.bool_] = distinct == 1
        return single

    @cached_property
    def beside(self) -> FloatArray:
        """Share of the rows that are not in the heaviest bin or category, ``(u,)``."""
        heaviest = np.concatenate([self.bins.max(axis=1), self.codes.max(axis=1)])
        return 1 - heaviest / np.maximum(self.m, 1)

    @cached_property
    def shares(self) -> FloatArray:
        """Reference proportions of the bins, ``(p, K)``."""
        return shares(self.bins)

    @cached_property
    def code_shares(self) -> FloatArray:
        """Reference proportions of the categories, ``(q, v)``."""
        return shares(self.codes)

    @cached_property
    def cumulative(self) -> FloatArray:
        """Reference distribution function at the upper end of each bin but the last, ``(p, K-1)``; never above 1."""
        return cumulated(self.bins)

    @cached_property
    def steps(self) -> FloatArray:
        """Distance between the mean values of neighbouring bins, ``(p, K-1)``, in the column's units; 0 if unused."""
        grid = self.reference.grid
        return np.nan_to_num(np.diff(grid.centres, axis=1), nan=0.0, posinf=0.0, neginf=0.0)

    @cached_property
    def maps(self) -> tuple[IntArray, IntArray]:
        """Bin -> group for each level: ``(levels, p, K)`` and ``(levels, q, v)``."""
        order = np.argsort(-self.codes, axis=1, kind="stable")
        ranked = np.take_along_axis(self.codes, order, axis=1)
        codes = np.empty((_CODE_LEVELS, *self.codes.shape), np.int64)
        np.put_along_axis(codes, order[None], _grouped(ranked, _CODE_LEVELS), axis=2)
        return _grouped(self.bins, _NUMERIC_LEVELS), codes

    @cached_property
    def scores(self) -> FloatArray:
        """Normal scores of the bins, ``(p, K)``: van der Waerden's, at the middle of each bin's reference mass."""
        share = shares(self.bins)
        middle = np.clip(np.cumsum(share, axis=1) - share / 2, 1e-6, 1 - 1e-6)
        return special.ndtri(middle)


@dataclass(frozen=True)
class Comparison:
    """One window beside the reference."""

    baseline: Baseline
    summary: Summary
    _memo: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several detectors of a family share, computed by the first that asks."""
        if name not in self._memo:
            self._memo[name] = make()
        made: T = self._memo[name]
        return made

    @property
    def reference(self) -> Reference:
        """The reference that the window is compared with."""
        return self.baseline.reference

    @cached_property
    def bins(self) -> IntArray:
        """Window counts ``(p, K)``, values outside the range in the outermost bins."""
        return folded(self.summary, self.reference.grid.used)

    @cached_property
    def codes(self) -> IntArray:
        """Window counts ``(q, v)``, new categories in "other"."""
        codes = self.summary.codes
        if codes.size:
            codes = codes.copy()
            other = np.array([len(names) for names in self.reference.grid.labels])
            codes[np.arange(len(codes)), other] += self.summary.new[len(self.summary.numeric) :]
        return codes

    @cached_property
    def shares(self) -> FloatArray:
        """Window proportions of the bins, ``(p, K)``."""
        return shares(self.bins)

    @cached_property
    def code_shares(self) -> FloatArray:
        """Window proportions of the categories, ``(q, v)``."""
        return shares(self.codes)

    @cached_property
    def pooled_groups(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Unsmoothed proportions of window and reference in the groups, and of both pooled by effective rows."""
        window, reference, _ = self.counts
        p = window / np.maximum(self.rows, 1)[:, None]
        q = reference / np.maximum(self.baseline.m, 1)[:, None]
        return p, q, q + self.weight[:, None] * (p - q)

    @cached_property
    def weight(self) -> FloatArray:
        """Window's share of the pooled effective rows, ``(u,)``."""
        return self.n / np.maximum(self.n + self.m, 1e-300)

    @cached_property
    def rows(self) -> FloatArray:
        """Window rows with a value, ``(u,)``."""
        return np.concatenate([self.bins.sum(axis=1), self.codes.sum(axis=1)]).astype(np.float64)

    @cached_property
    def n(self) -> FloatArray:
        """Effective window rows, ``(u,)``: rows divided by the autocorrelation time."""
        return self.rows / self.reference.tau

    @cached_property
    def m(self) -> FloatArray:
        """Effective reference rows, ``(u,)``."""
        return self.baseline.m / self.reference.tau

    @cached_property
    def c(self) -> FloatArray:
        """Harmonic size n m / (n + m), ``(u,)``; 0 where a side is empty."""
        return self.n * self.m / np.maximum(self.n + self.m, 1e-300)

    @cached_property
    def nothing(self) -> FloatArray:
        """NaN for every unit: the kind of evidence that a test does not give."""
        return np.full(len(self.n), np.nan)

    @cached_property
    def reason(self) -> NDArray[np.int8]:
        """Why each unit cannot be compared, 0 where it can."""
        reason = np.zeros(len(self.n), np.int8)
        reason[np.minimum(self.n, self.m) < LEAST_ROWS] = Reason.FEW_ROWS
        reason[self.baseline.constant] = Reason.CONSTANT_REFERENCE
        reason[self.rows == 0] = Reason.ALL_MISSING
        reason[self.m == 0] = Reason.NO_REFERENCE
        return reason

    @cached_property
    def reason_ordered(self) -> NDArray[np.int8]:
        """As `reason`, for tests that need an order of the values (categories have none) and a bell-shaped null law.

        Columns that are all but constant have too few rows beside their commonest value for the latter.
        """
        reason = self.reason.copy()
        few = np.minimum(self.n, self.m) * self.baseline.beside < ROWS_PER_GROUP
        reason[few & (reason == 0)] = Reason.FEW_ROWS
        reason[len(self.bins) :] = Reason.UNORDERED
        return reason

    @cached_property
    def reason_grouped(self) -> NDArray[np.int8]:
        """As `reason`, for tests on groups: there must be two of them."""
        reason = self.reason.copy()
        reason[(self.groups.df < 1) & (reason == 0)] = Reason.FEW_ROWS
        return reason

    @cached_property
    def silent(self) -> tuple[bool, bool, bool]:
        """Whether any unit is silent by `reason`, any numeric one by `reason_ordered`, any by `reason_grouped`."""
        numeric = self.reason_ordered[: len(self.bins)]
        return bool(self.reason.any()), bool(numeric.any()), bool(self.reason_grouped.any())

    @cached_property
    def smoothed_c(self) -> FloatArray:
        """``c`` for proportions with half a count a group added, which shrinks their spread a little, ``(u,)``."""
        prior = _PRIOR * (self.groups.df + 1)
        shrunk = [rows / np.maximum(rows + prior, 1) for rows in (self.rows, self.baseline.m)]
        variance = shrunk[0] ** 2 / np.maximum(self.n, 1e-300) + shrunk[1] ** 2 / np.maximum(self.m, 1e-300)
        return np.where((self.rows > 0) & (self.baseline.m > 0), 1 / np.maximum(variance, 1e-300), 0.0)

    @cached_property
    def difference(self) -> FloatArray:
        """Window minus reference distribution function, ``(p, K-1)``."""
        return cumulated(self.bins) - self.baseline.cumulative

    @cached_property
    def pooled(self) -> FloatArray:
        """Pooled distribution function, ``(p, K-1)``, weighted by effective rows."""
        return self.baseline.cumulative + self.weight[: len(self.bins), None] * self.difference

    @cached_property
    def counts(self) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Counts of window and reference in groups as fine as the sizes allow, and which groups exist."""
        smaller = np.minimum(self.n, self.m)
        level = np.log2(np.maximum(smaller / ROWS_PER_GROUP, 2.0)).astype(np.int64) - 1
        p = len(self.bins)
        numeric, codes = self.baseline.maps
        some = (
            _regroup(numeric, np.minimum(level[:p], _NUMERIC_LEVELS - 1), self.bins, self.baseline.bins),
            _regroup(codes, np.minimum(level[p:], _CODE_LEVELS - 1), self.codes, self.baseline.codes),
        )
        both = np.zeros((2, len(level), max(part.shape[2] for part in some)))
        both[:, :p, : some[0].shape[2]] = some[0]
        both[:, p:, : some[1].shape[2]] = some[1]
        return both[0], both[1], both[1] > 0

    @cached_property
    def groups(self) -> Groups:
        """Proportions in groups, smoothed by half a count a group; they sum to one over the used groups."""
        window, reference, used = self.counts
        number = used.sum(axis=1).astype(np.float64)
        smooth = [
            np.where(used, (side + _PRIOR) / np.maximum(side.sum(axis=1) + _PRIOR * number, 1)[:, None], 0.0)
            for side in (window, reference)
        ]
        logs = [np.log(np.where(used, side, 1.0)) for side in smooth]
        return Groups(smooth[0], smooth[1], used, number - 1, logs[0], logs[1])


def folded(summary: Summary, used: IntArray) -> IntArray:
    """Counts ``(p, K)`` with values outside the reference range added to the outermost bin in use."""
    inner = summary.numeric[:, 1 : BINS + 1].copy()
    if len(inner):
        rows = np.arange(len(inner))
        inner[:, 0] += summary.numeric[:, BELOW]
        inner[rows, np.maximum(used - 1, 0)] += summary.numeric[:, ABOVE]
    return inner


def shares(counts: IntArray) -> FloatArray:
    """Rows of counts as proportions; zeros where a row is empty."""
    share: FloatArray = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return share


def cumulated(counts: IntArray) -> FloatArray:
    """Shares up to each column but the last. Summed as integers: sums of rounded shares may pass 1."""
    total = np.cumsum(counts, axis=1)
    share: FloatArray = total[:, :-1] / np.maximum(total[:, -1:], 1)
    return share


def _grouped(counts: IntArray, levels: int) -> IntArray:
    """Number neighbouring bins so that each group holds 1/2, 1/4 ... of its row or more, ``(levels, *counts.shape)``.

    Nine tenths of that will do, as bins are uneven.
    """
    share = np.ascontiguousarray(shares(counts).T)
    left = 1 - np.cumsum(share, axis=0)
    least = 0.9 * 2.0 ** -np.arange(1, levels + 1)[:, None]
    group = np.zeros((counts.shape[1], levels, len(counts)), np.int64)
    held = np.zeros((levels, len(counts)))
    for i in range(counts.shape[1] - 1):
        held += share[i]
        full = held >= least
        full &= left[i] >= least
        np.add(group[i], full, out=group[i + 1])
        held[full] = 0
    return np.ascontiguousarray(group.transpose(1, 2, 0))


def _regroup(maps: IntArray, level: IntArray, window: IntArray, reference: IntArray) -> FloatArray:
    """Counts of window and reference in groups, ``(2, rows, width)``."""
    rows, width = window.shape
    if rows == 0:
        return np.zeros((2, 0, 1))
    index = (maps[level, np.arange(rows)] + np.arange(rows)[:, None] * width).reshape(-1)
    both = [np.bincount(index, counts.reshape(-1), rows * width) for counts in (window, reference)]
    return np.reshape(both, (2, rows, width)).astype(np.float64)
