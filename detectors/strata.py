"""Strata: the reference by hour of the week and by declared segment, so that a changed mix is not taken for drift.

Question: what would the reference say, had its rows come from the strata in the shares of this pane (window)?
Statistic: share = sum_c n_c a_c s_c / sum_c n_c a_c over the strata c, with n_c the pane's rows, a_c the reference's
chance that a row of c answers at all, and s_c its share of yes. s_c shrinks to that of the parent with a pseudo-count,
(yes_c + K s_parent) / (m_c + K), and the parent's to the whole: a sparse stratum leans on its parent, an empty one is
its parent. K is 200 rows, or fewer where the column's strata differ by more than chance: K = E / (Q - df) with Q the
heterogeneity statistic and E its growth per unit of variance between the strata (method of moments).
Error: that of m rows, 1 / m = sum_c w_c^2 / (m_c + K) + the parents' own errors; never more rows than there are.
Sees / blind to: drift within a stratum. A changed mix is seen by the free columns and by `univariate.mix`.
Cost: one product of the occupied strata's rows by the questions a pane. Source: post-stratification after Holt and
Smith 1979; the moments after Cochran 1954.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray, Summary

PSEUDO_ROWS = 200.0
"""Rows that a stratum's parent counts for, at most."""
_LEAST_PSEUDO = 1.0


@dataclass(frozen=True)
class Strata:
    """The reference's rows by stratum.

    ``parts (c,)`` are the summaries of each stratum's rows on the reference's grid, in the order of ``Grid.strata``.
    ``parent (c,)`` numbers the wider groups to which sparse strata shrink. ``free (u,)`` marks the units that are
    compared without strata: those that make the strata, whose change is the change of the mix. ``cell (c,)`` numbers
    the hours that strata lie in: free units are compared within these, for a mix has its daily cycle too (None: all
    strata lie in one).
    """

    parts: tuple[Summary, ...]
    parent: IntArray
    free: NDArray[np.bool_]
    cell: IntArray | None = None

    @property
    def rows(self) -> FloatArray:
        """Reference rows by stratum, ``(c,)``: the reference's own mix."""
        return np.array([part.rows for part in self.parts], np.float64)

    @property
    def cells(self) -> IntArray:
        """The hour of each stratum, ``(c,)``."""
        return np.zeros(len(self.parts), np.int64) if self.cell is None else self.cell


class Expected(NamedTuple):
    """The reference at a given mix: the share of yes of each question ``(k,)``, and the rows it is worth ``(u,)``."""

    share: FloatArray
    rows: FloatArray


@dataclass(frozen=True)
class Mixture:
    """What a reference says to ``k`` questions, by stratum: ready for any mix."""

    own: FloatArray
    units: int
    tables: tuple[_Table, ...]

    def at(self, mix: IntArray) -> Expected:
        """The reference as it would be with ``mix (c,)`` rows in the strata; its own mix where ``mix`` is all 0."""
        rows = mix.astype(np.float64) if mix.any() else self.own
        share = np.zeros(sum(len(table.questions) for table in self.tables))
        worth = np.zeros(self.units)
        for table in self.tables:
            share[table.questions], worth[table.columns] = table.at(rows)
        return Expected(share, worth)


def membership(group: IntArray) -> FloatArray:
    """Which strata belong to which group, ``(groups, c)``, ones and zeros; ``group (c,)`` numbers the groups from 0."""
    member: FloatArray = (np.arange(group.max(initial=0) + 1)[:, None] == group).astype(np.float64)
    return member


class _Shrunk(NamedTuple):
    """Shares ``(s, k)`` drawn to those of the parents, by how much ``(s, u)``, and the inverse rows behind them."""

    share: FloatArray
    lean: FloatArray
    error: FloatArray
    parent_lean: FloatArray
    parent_error: FloatArray


@dataclass(frozen=True)
class _Table:
    """Some of the questions, those of units that share one set of strata.

    ``questions (k,)`` and ``columns (u,)`` are their places among all, ``unit (k,)`` among the columns; ``yes (s, k)``
    and ``asked (s, u)`` are the chances per row, ``within (c,)`` takes a stratum to its row of these.
    """

    questions: IntArray
    columns: IntArray
    unit: IntArray
    within: IntArray
    yes: FloatArray
    asked: FloatArray
    whole: FloatArray
    total: FloatArray
    member: FloatArray
    shrunk: _Shrunk

    def at(self, rows: FloatArray) -> Expected:
        n = np.bincount(self.within, rows, len(self.yes))
        some = np.flatnonzero(n)
        asked = n[some, None] * self.asked[some]
        total = asked.sum(axis=0)
        heard = total > 0
        share = np.divide(n[some] @ self.yes[some], total[self.unit], out=self.whole.copy(), where=heard[self.unit])
        weight = np.divide(asked, total, out=asked, where=heard)
        lent = self.member[:, some] @ (weight * self.shrunk.lean[some])
        error = (weight**2 * self.shrunk.error[some]).sum(axis=0) + (lent**2 * self.shrunk.parent_error).sum(axis=0)
        error += (lent * self.shrunk.parent_lean).sum(axis=0) ** 2 / np.maximum(self.total, 1)
        worth = np.divide(1, error, out=np.zeros_like(error), where=error > 0)
        return Expected(share, np.where(heard, np.minimum(worth, self.total), 0.0))


def mixture(strata: Strata, yes: FloatArray, asked: FloatArray, unit: IntArray, gauge: FloatArray) -> Mixture:
    """Shrink ``yes (c, k)`` answers of ``asked (c, u)`` rows, question i being that of column ``unit[i]``.

    ``gauge (c, k')``, with ``k'`` questions in the order of ``unit`` or fewer, decides how much the strata differ.
    """
    hours = strata.cells
    groups = (
        (~strata.free, np.arange(len(strata.parts)), strata.parent),
        (strata.free, hours, np.zeros(int(hours.max(initial=0)) + 1, np.int64)),
    )
    tables = tuple(
        _table(np.flatnonzero(mine), within, above, (strata.rows, yes, asked, unit, gauge))
        for mine, within, above in groups
        if mine.any()
    )
    return Mixture(strata.rows, len(strata.free), tables)


def _table(
    columns: IntArray,
    within: IntArray,
    parent: IntArray,
    counts: tuple[FloatArray, FloatArray, FloatArray, IntArray, FloatArray],
) -> _Table:
    rows, yes, asked, unit, gauge = counts
    questions = np.flatnonzero(np.isin(unit, columns))
    local = np.searchsorted(columns, unit[questions])
    size = len(parent)
    rows, yes, asked, gauge = (
        _summed(part, within, size)
        for part in (rows[:, None], yes[:, questions], asked[:, columns], gauge[:, questions])
    )
    member = membership(parent)
    shrunk = _shrunk(yes, asked, local, member, _pseudo_rows(gauge, asked, local, member))
    each = np.arange(len(columns))
    everyone = np.repeat(rows, len(columns), axis=1)
    heard = _shrunk(asked, everyone, each, member, _pseudo_rows(asked, everyone, each, member)).share
    total = asked.sum(axis=0)
    return _Table(
        questions=questions,
        columns=columns,
        unit=local,
        within=within,
        yes=shrunk.share * heard[:, local],
        asked=heard,
        whole=_ratio(yes.sum(axis=0), total[local]),
        total=total,
        member=member,
        shrunk=shrunk,
    )


def _summed(counts: FloatArray, within: IntArray, size: int) -> FloatArray:
    total = np.zeros((size, counts.shape[1]))
    np.add.at(total, within, counts)
    return total


def _shrunk(
    yes: FloatArray, asked: FloatArray, unit: IntArray, member: FloatArray, pseudo: tuple[FloatArray, FloatArray]
) -> _Shrunk:
    inner, outer = pseudo
    parent = member.argmax(axis=0)
    above_yes, above_asked = member @ yes, member @ asked
    whole = _ratio(yes.sum(axis=0), asked.sum(axis=0)[unit])
    above = (above_yes + outer[unit] * whole) / (above_asked + outer)[:, unit]
    share = (yes + inner[unit] * above[parent]) / (asked + inner)[:, unit]
    return _Shrunk(
        share, inner / (asked + inner), 1 / (asked + inner), outer / (above_asked + outer), 1 / (above_asked + outer)
    )


def _pseudo_rows(
    yes: FloatArray, asked: FloatArray, unit: IntArray, member: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Pseudo-counts ``(u,)`` of strata under their parents and of parents under the whole."""
    above_yes, above_asked = member @ yes, member @ asked
    inner = _rows_of_agreement(yes, asked, unit, member)
    outer = _rows_of_agreement(above_yes, above_asked, unit, np.ones((1, len(member))))
    return inner, outer


def _rows_of_agreement(yes: FloatArray, asked: FloatArray, unit: IntArray, member: FloatArray) -> FloatArray:
    """K of each unit: with so many rows the chance error of a share equals the difference between the strata."""
    total = member @ asked
    centre = _ratio(member @ yes, total[:, unit])[member.argmax(axis=0)]
    spread = asked[:, unit] * centre * (1 - centre)
    gap = np.divide((yes - asked[:, unit] * centre) ** 2, spread, out=np.zeros_like(yes), where=spread > 0)
    number = np.bincount(unit, (spread > 0).any(axis=0), asked.shape[1])
    between = np.bincount(unit, gap.sum(axis=0), asked.shape[1]) / np.maximum(number, 1)
    free = (asked > 0).sum(axis=0) - (total > 0).sum(axis=0)
    growth = asked.sum(axis=0) - _ratio(member @ asked**2, total).sum(axis=0)
    excess = np.maximum(between - free, 1e-9)
    rows: FloatArray = np.clip(np.where(growth > 0, growth / excess, PSEUDO_ROWS), _LEAST_PSEUDO, PSEUDO_ROWS)
    return rows


def _ratio(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(a.shape, b.shape)), where=b > 0)


@dataclass(frozen=True)
class MixedSummary:
    """A reference's summary, ready for any mix; ``mixture`` answers on each bin, category and sum of z."""

    whole: Summary
    mixture: Mixture

    def at(self, mix: IntArray) -> Summary:
        """The reference as it would have been counted, had its rows come from the strata like ``mix (c,)``.

        Bins, categories and sums are those of as many rows as the reference is worth for this mix, per column; the
        fault counters and ``rows`` stay those of the whole.
        """
        share, rows = self.mixture.at(mix)
        p, q = len(self.whole.numeric), len(self.whole.codes)
        bins = self.whole.numeric.size
        middle = bins + self.whole.codes.size
        rows = np.floor(rows)
        numeric = _counted(share[:bins].reshape(self.whole.numeric.shape), rows[:p])
        codes = _counted(share[bins:middle].reshape(self.whole.codes.shape), rows[p : p + q])
        sums = share[middle:].reshape(self.whole.sums.shape) * rows[:p, None]
        return dataclasses.replace(self.whole, numeric=numeric, codes=codes, sums=sums)


def mixed_summary(strata: Strata, whole: Summary) -> MixedSummary:
    """Shrink the strata's bins and categories; numeric columns' strata differ as their distribution functions do."""
    p, q = len(whole.numeric), len(whole.codes)
    c = len(strata.parts)
    numeric, codes, sums = (
        np.array([getattr(part, name) for part in strata.parts], np.float64).reshape(c, *getattr(whole, name).shape)
        for name in ("numeric", "codes", "sums")
    )
    new = np.array([part.new[p:] for part in strata.parts], np.float64).reshape(c, q)
    unit = np.concatenate(
        [
            np.repeat(np.arange(p), whole.numeric.shape[1]),
            np.repeat(np.arange(p, p + q), whole.codes.shape[1]),
            np.repeat(np.arange(p), 2),
        ]
    )
    asked = np.concatenate([numeric.sum(axis=2), codes.sum(axis=2) + new], axis=1)
    flat = [part.reshape(c, -1) for part in (numeric, codes, sums, np.cumsum(numeric, axis=2))]
    gauge = np.concatenate([flat[3], flat[1], np.zeros_like(flat[2])], axis=1)
    return MixedSummary(whole, mixture(strata, np.concatenate(flat[:3], axis=1), asked, unit, gauge))


def _counted(share: FloatArray, rows: FloatArray) -> IntArray:
    """Whole counts of ``rows`` by share, rounded so that no cumulative count is off by more than a half."""
    upto = np.rint(np.cumsum(share, axis=1) * rows[:, None]).astype(np.int64)
    return np.diff(upto, axis=1, prepend=0)
