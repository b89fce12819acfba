"""Integrated autocorrelation time by batch means, of the very indicators that the sequential layer counts.

Question: by how much does the variance of a batch's count exceed that of independent rows?
Statistic: tau_b = sum_t (k_t - n_t pi)^2 / sum_t n_t pi (1 - pi) over batches of b rows, for b doubling from the base;
the largest tau_b that remains after two standard errors (sqrt(2 / (3 batches)), the factor 3 for the partly
independent events of a column) are divided out, never below 1.
With strata, pi is what the strata's own (unshrunk) shares give for the batch's mix, and a batch that makes up the part
h of its strata counts 1 - h in the denominator: a daily cycle is no dependence.
Sees / blind to: dependence in the order of the reference; a shuffled reference looks independent.
Source: batch means after Alexopoulos and Seila (1996).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from detectors.grid import Grid
from detectors.sequential.events import choose, count
from detectors.strata import Strata, membership
from detectors.types import FloatArray, IntArray, Summary

BASE_ROWS = 64
"""Rows of a base batch for a large reference."""
MOST_BATCHES = 4096
"""Base batches looked at: 262,144 consecutive rows are enough for a tau of several thousand rows."""
_LEAST_BATCHES = 32
_INDEPENDENT_EVENTS = 3.0


class _Answers(NamedTuple):
    """Yes and asked, ``(t, k)``, of ``t`` batches or strata."""

    yes: FloatArray
    asked: FloatArray


class _Beside(NamedTuple):
    """Batches beside the strata: their mix ``(t, c)``, and what the strata answer, of ``rows (c,)`` rows."""

    mix: FloatArray
    known: _Answers
    rows: FloatArray


def base_rows(reference_rows: int) -> int:
    """Rows per base batch: small references get smaller batches, so that there are enough of them."""
    return int(np.clip(reference_rows // 64, 8, BASE_ROWS))


def autocorrelation_time(
    grid: Grid, reference: Summary, batches: Iterable[Summary], strata: Strata | None = None
) -> tuple[FloatArray, FloatArray]:
    """Autocorrelation times ``(u,)`` of the values and of being missing.

    ``batches`` are summaries of consecutive base batches of equal size, in the order of the reference; they tell their
    mix where there are ``strata``.
    """
    events = choose(grid, reference)
    u = len(grid.names)
    yes, asked, missing, rows, mix = [], [], [], [], []
    for batch in batches:
        k, n = count(events, batch)
        yes.append(k)
        asked.append(n)
        missing.append(batch.missing.astype(np.float64))
        rows.append(np.full(u, float(batch.rows)))
        mix.append(batch.mix.astype(np.float64))
    if len(yes) < _LEAST_BATCHES:
        return np.ones(u), np.ones(u)
    values, gaps = _Answers(np.array(yes), np.array(asked)), _Answers(np.array(missing), np.array(rows))
    each = np.arange(u)
    if strata is None:
        return _largest(values, None, events.unit, u, _INDEPENDENT_EVENTS), _largest(gaps, None, each, u, 1.0)
    counted = [count(events, part) for part in strata.parts]
    known = _Answers(*(np.array(side) for side in zip(*counted, strict=True)))
    absent = _Answers(
        np.array([part.missing for part in strata.parts], np.float64), np.repeat(strata.rows[:, None], u, axis=1)
    )
    return (
        _among(strata, values, _Beside(np.array(mix), known, strata.rows), events.unit, _INDEPENDENT_EVENTS),
        _among(strata, gaps, _Beside(np.array(mix), absent, strata.rows), each, 1.0),
    )


def of_counts(yes: FloatArray, asked: FloatArray) -> FloatArray:
    """Autocorrelation times ``(k,)`` of yes-or-no answers counted in consecutive batches of equal size ``(t, k)``."""
    each = np.arange(yes.shape[1])
    return _largest(_Answers(yes, asked), None, each, len(each), 1.0)


def _among(strata: Strata, answers: _Answers, beside: _Beside, unit: IntArray, independent: float) -> FloatArray:
    """Times within the strata; those of free units within the hours only."""
    units = len(strata.free)
    member = membership(strata.cells)
    known = _Answers(member @ beside.known.yes, member @ beside.known.asked)
    hours = _Beside(beside.mix @ member.T, known, member @ beside.rows)
    within = _largest(answers, beside, unit, units, independent)
    return np.where(strata.free, _largest(answers, hours, unit, units, independent), within)


def _largest(answers: _Answers, beside: _Beside | None, unit: IntArray, units: int, independent: float) -> FloatArray:
    best = np.ones(units)
    while len(answers.yes) >= _LEAST_BATCHES:
        excess, expected = _alone(answers) if beside is None else _residual(answers, beside)
        over = np.bincount(unit, excess, units)
        under = np.bincount(unit, expected, units)
        tau = np.divide(over, under, out=np.ones(units), where=under > 0)
        best = np.maximum(best, tau / (1 + 2 * np.sqrt(2 / (independent * len(answers.yes)))))
        answers = _Answers(*(_doubled(side) for side in answers))
        beside = None if beside is None else beside._replace(mix=_doubled(beside.mix))
    return best


def _doubled(counts: FloatArray) -> FloatArray:
    """Counts of batches twice as long."""
    even = len(counts) // 2 * 2
    total: FloatArray = counts[:even:2] + counts[1:even:2]
    return total


def _alone(answers: _Answers) -> tuple[FloatArray, FloatArray]:
    yes, asked = answers
    batches, total = len(yes), asked.sum(axis=0)
    share = np.divide(yes.sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
    excess = np.square(yes - asked * share).sum(axis=0) * batches / (batches - 1)
    return excess, total * share * (1 - share)


def _residual(answers: _Answers, beside: _Beside) -> tuple[FloatArray, FloatArray]:
    """As `_alone`, around the share that each batch's own mix lets expect."""
    mix, known, rows = beside
    chances = [np.divide(side, rows[:, None], out=np.zeros_like(side), where=rows[:, None] > 0) for side in known]
    hoped, heard = (mix @ side for side in chances)
    share = np.divide(hoped, heard, out=np.zeros_like(hoped), where=heard > 0)
    own = np.divide(mix**2, rows, out=np.zeros_like(mix), where=rows > 0).sum(axis=1)
    part = np.minimum(own / np.maximum(mix.sum(axis=1), 1), 1)[:, None]
    excess = np.square(answers.yes - answers.asked * share).sum(axis=0)
    return excess, (answers.asked * share * (1 - share) * (1 - part)).sum(axis=0)
