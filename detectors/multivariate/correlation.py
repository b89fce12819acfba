"""Correlation change: pairs of columns that no longer move together as they did, whatever their margins do.

Question: H0: window and reference have the same law. H1: the correlation of some pair of normal scores changed.
Statistic: normal (van der Waerden) scores by the quantiles of reference half A; per pair the influence function of
Fisher's z, ``(s_i s_j - r (s_i^2 + s_j^2) / 2) / (1 - r^2)``, which is linear in second moments: its bin means, divided
by their deviation between blocks of half A, times the contrast. Maximum over pairs.
Null law: permutations of bins (exact). Closed form: ``|atanh r - atanh r'| / sqrt(v (1/n + 1/m))``, Bonferroni over
pairs, Student's t; v is the variance of the influence function's block means of half A: 1 for independent normal rows,
where the formula is Fisher's, and right for dependent rows and other copulas too.
The closed form is for continuous columns: with rare categories among 500 rows it rejects too often (measured: 0.2 at a
nominal 0.05), there it only ranks.
Sees / blind to: correlations that break or appear, in one pair of hundreds; blind to what margins do alone and to
dependence without correlation.
Cost: n d^2 for the moments, pairs x bins x draws for the permutations, in panels of `PANEL` numbers.
Source: van der Waerden 1952 (scores); Fisher 1921 (z); methods.md section 4, M3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.multivariate import binned
from detectors.multivariate.bins import Bins, bins_of, half_b
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Reason, Sample, SingleArray, View

KNOTS = 255
"""Quantiles of half A that the scores are read from."""
PANEL = 1 << 18
"""Bin means of pairs held at a time: 1 MB; their permutations take five times that."""
MOST_R = 0.995
"""Correlations are clipped to +-`MOST_R` before Fisher's z."""


class Scorer(NamedTuple):
    """Normal scores by half A: ``knots (d, k)``, then ``table (2k + 1,)``, minus ``centre``, over ``scale`` (d,)."""

    knots: SingleArray
    table: SingleArray
    centre: SingleArray
    scale: SingleArray

    def of(self, columns: list[int]) -> Scorer:
        """The scorer of some columns alone."""
        return Scorer(self.knots[columns], self.table, self.centre[columns], self.scale[columns])


class CorrelationFixed(NamedTuple):
    """Scores of half B ``(blocks, size, d)``, and what half A says of every pair.

    ``r (d, d)`` are the correlations and ``spread (d, d)`` the deviation of the influence function's block means,
    ``closed_spread`` the same per row; infinite for pairs of dimensions of one unit.
    """

    scorer: Scorer
    scores: SingleArray
    r: SingleArray
    spread: SingleArray
    closed_spread: SingleArray
    blocks_a: int


class Pair(NamedTuple):
    """A pair whose correlation changed: dimensions ``i < j``, correlations, and the closed form's ``log_p``."""

    i: int
    j: int
    reference: float
    window: float
    log_p: float


@dataclass(frozen=True, slots=True)
class CorrelationChange:
    """Catalogue entry; ``draws`` 0 gives the closed form."""

    draws: int = 299
    name: str = "correlation_change"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> CorrelationFixed:
        """Measure scores and the noise of every pair on half A."""
        a, b = binned.learnt(view), half_b(view)
        size = b.rows.shape[1]
        scorer = scorer_of(a)
        mine = scores(scorer, a)
        r, spread = _noise(mine, size, _apart(view.encoder.unit))
        theirs = scores(scorer, view.sample.rows[b.rows.reshape(-1)]).reshape(*b.rows.shape, mine.shape[1])
        return CorrelationFixed(scorer, theirs, r, spread, spread * np.float32(math.sqrt(size)), len(mine) // size)

    def score(self, fixed: CorrelationFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window."""
        bins = bins_of(view, sample)
        if bins.few:
            return binned.few(bins)
        if not np.isfinite(fixed.spread).any():
            return Outcome(math.nan, math.nan, bins.n, Reason.NOT_APPLICABLE)
        if not self.draws:
            best = pairs(fixed, sample, bins, 1)[0]
            return Outcome(abs(best.window - best.reference), best.log_p, bins.n)
        return binned.judge(
            view, sample, self.draws, rng, lambda bins, contrast: self.lines(fixed, sample, bins, contrast)
        )

    def lines(self, fixed: CorrelationFixed, sample: Sample, bins: Bins, contrast: FloatArray) -> FloatArray:
        """Largest standardised change over pairs for each column of ``contrast (s, draws + 1)``: ``(1, draws + 1)``."""
        window, reference = _window_scores(fixed, sample, bins), _reference_scores(fixed, bins)
        both = np.concatenate([window, reference])
        weight = contrast.astype(np.float32).T
        best = np.zeros(contrast.shape[1], np.float32)
        for influence, mine in _influences(both, fixed.r):
            change = weight @ (influence / fixed.spread[mine]).reshape(len(both), -1)
            np.maximum(best, np.abs(change, out=change).max(axis=1, initial=0.0), out=best)
        return best[None].astype(np.float64)


def scorer_of(rows: SingleArray) -> Scorer:
    """Learn normal scores from rows ``(n, d)``."""
    number = min(len(rows), KNOTS)
    place = np.linspace(0, len(rows) - 1, number).round().astype(np.int64)
    knots = np.ascontiguousarray(np.sort(rows, axis=0)[place].T)
    table = special.ndtri((np.arange(2 * number + 1) + 1) / (2 * number + 2)).astype(np.float32)
    blank = np.zeros(len(knots), np.float32)
    raw = scores(Scorer(knots, table, blank, blank + 1), rows)
    scale = raw.std(axis=0)
    return Scorer(knots, table, raw.mean(axis=0), np.where(scale > 1e-6, scale, 1.0).astype(np.float32))


def scores(scorer: Scorer, rows: SingleArray) -> SingleArray:
    """Normal scores ``(n, d)`` of rows ``(n, d)``: mid-ranks among the knots, so that ties share one score."""
    columns = np.ascontiguousarray(rows.T)
    out = np.empty(rows.shape, np.float32)
    for j, (knots, values) in enumerate(zip(scorer.knots, columns, strict=True)):
        rank = np.searchsorted(knots, values, side="left") + np.searchsorted(knots, values, side="right")
        out[:, j] = scorer.table[rank]
    out -= scorer.centre
    out /= scorer.scale
    return out


def pairs(fixed: CorrelationFixed, sample: Sample, bins: Bins, number: int = 5) -> list[Pair]:
    """Pairs whose correlation changed most, by the closed form, most telling first; ``log_p`` is for all pairs.

    Pairs of dimensions of the same unit are left out.
    """
    before = _of_bins(_reference_scores(fixed, bins), bins.reference_strata, bins.window_strata)
    after = _of_bins(_window_scores(fixed, sample, bins), bins.window_strata, bins.window_strata)
    noise = fixed.closed_spread * math.sqrt(1 / bins.n + 1 / bins.reference_rows.size)
    t = change(before, after) / noise
    i, j = np.triu_indices(len(t), 1)
    best = np.argsort(-t[i, j], kind="stable")[:number]
    tested = int(np.isfinite(noise).sum()) // 2
    p = np.minimum(2 * tested * special.stdtr(fixed.blocks_a - 1, -t[i, j][best].astype(np.float64)), 1.0)
    log_p = np.log(np.maximum(p, 1e-300))
    return [
        Pair(int(a), int(b), float(before[a, b]), float(after[a, b]), float(one))
        for a, b, one in zip(i[best], j[best], log_p, strict=True)
        if np.isfinite(noise[a, b])
    ]


def _apart(units: IntArray) -> NDArray[np.bool_]:
    """Pairs ``(d, d)`` of dimensions that belong to different units, or to none."""
    different: NDArray[np.bool_] = (units[:, None] != units[None]) | (units[:, None] < 0)
    np.fill_diagonal(different, val=False)
    return different


def _window_scores(fixed: CorrelationFixed, sample: Sample, bins: Bins) -> SingleArray:
    flat = scores(fixed.scorer, sample.rows[bins.window_rows.reshape(-1)])
    return flat.reshape(*bins.window_rows.shape, flat.shape[1])


def _reference_scores(fixed: CorrelationFixed, bins: Bins) -> SingleArray:
    return fixed.scores[bins.merged].reshape(*bins.reference_rows.shape, fixed.scores.shape[2])


def _of_bins(rows: SingleArray, mine: IntArray, window: IntArray) -> SingleArray:
    """Correlations ``(d, d)`` of binned scores ``(s, q, d)``, strata weighted by their share of the window."""
    s, q, d = rows.shape
    weight = np.repeat(binned.shares(mine, window) / q, q).astype(np.float32)
    return correlations(rows.reshape(s * q, d), weight)


def correlations(rows: SingleArray, weight: SingleArray) -> SingleArray:
    """Correlations ``(d, d)`` of rows ``(n, d)`` with weights ``(n,)`` that sum to 1."""
    centred = (rows - weight @ rows) * np.sqrt(weight)[:, None]
    moment = centred.T @ centred
    spread = np.sqrt(np.maximum(moment.diagonal(), 1e-12))
    out: SingleArray = moment / spread[:, None] / spread
    return out


def change(before: SingleArray, after: SingleArray) -> SingleArray:
    """Absolute change of Fisher's z, ``(d, d)``, between two matrices of correlations."""
    moved: SingleArray = np.abs(np.arctanh(_clipped(after)) - np.arctanh(_clipped(before)))
    return moved


def _clipped(r: SingleArray) -> SingleArray:
    out = np.clip(r, -MOST_R, MOST_R)
    np.fill_diagonal(out, 0.0)
    return out


def _noise(rows: SingleArray, size: int, apart: NDArray[np.bool_]) -> tuple[SingleArray, SingleArray]:
    """Correlations ``(d, d)`` of half A and the deviation of the influence function between its blocks.

    The deviation is infinite where a pair is not to be looked at.
    """
    d = rows.shape[1]
    blocks = rows[: len(rows) // size * size].reshape(-1, size, d)
    if len(blocks) < 2:
        return np.zeros((d, d), np.float32), np.full((d, d), np.inf, np.float32)
    r = _clipped((rows.T @ rows / max(len(rows), 1)).astype(np.float32))
    spread = np.full((d, d), np.inf, np.float32)
    for influence, mine in _influences(blocks, r):
        found = influence.std(axis=0)
        spread[mine] = np.where((found > 1e-6) & apart[mine], found, np.float32(np.inf))
        spread[mine[::-1]] = spread[mine].T
    return r, spread


def _influences(rows: SingleArray, r: SingleArray) -> Iterator[tuple[SingleArray, tuple[slice, slice]]]:
    """Bin means ``(s, c, w)`` of the influence function of Fisher's z, by panels of the upper triangle of pairs."""
    s, size, d = rows.shape
    square = np.einsum("sqd,sqd->sd", rows, rows) / size
    turned = np.ascontiguousarray(rows.transpose(0, 2, 1))
    width = max(1, PANEL // (s * d))
    for first in range(0, d, width):
        mine = slice(first, min(first + width, d)), slice(first, d)
        moment = turned[:, mine[0]] @ rows[:, :, mine[1]]
        moment /= size
        slope = r[mine]
        moment -= slope / 2 * (square[:, mine[0], None] + square[:, None, mine[1]])
        moment /= 1 - slope * slope
        yield moment, mine
