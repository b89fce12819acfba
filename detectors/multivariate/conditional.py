"""Conditional shift: which column stopped following from the others.

Question: H0: window and reference have the same law. H1: the law of some column given all others changed.
Statistic: Fisher divergence between two normal laws by column: with ``A = Q^-1 - P^-1`` and
``c = P^-1 mu_p - Q^-1 mu_q``, score_j is the mean of ``(A x + c)_j^2`` over the mixture of both,
``(A S A')_jj + (A mu + c)_j^2``; summed over a unit's dimensions, standardised over permutations, maximum over units.
Null law: exact: bins are permuted; covariances are shrunk towards that of half A by d / (d + n).
Sees / blind to: a column replaced by noise, by an old copy or by another one's values while its own margin stays;
the column itself is named, not its neighbours. Blind to dependence beyond covariances.
Cost: n d^2 + draws d^3. Source: Kulinski, Bagchi and Inouye 2020 (feature shift, Gaussian Fisher divergence).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.multivariate import binned
from detectors.multivariate.bins import Bins, bins_of
from detectors.multivariate.permutation import labels, rank_p
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Reason, Sample, SingleArray, View

RIDGE = 1e-5
"""Added to covariances, as a share of their mean variance."""
MANY_DIMS = 64
"""From so many dimensions on, a third of the permutations do."""
CHUNK = 1 << 18
"""Numbers of covariance held at a time."""


class ConditionalFixed(NamedTuple):
    """Centre ``(d,)`` and covariance ``(d, d)`` of half A, and the group ``(d,)`` of each dimension.

    Dimensions of one unit are one group; one without a unit is a group of its own.
    """

    centre: SingleArray
    covariance: FloatArray
    group: IntArray


class Moments(NamedTuple):
    """Means ``(g, d)`` and covariances ``(g, d, d)`` of ``g`` groups of rows, of about ``n`` rows each."""

    mean: FloatArray
    covariance: FloatArray
    n: float


@dataclass(frozen=True, slots=True)
class ConditionalShift:
    """Catalogue entry."""

    draws: int = 299
    name: str = "conditional_shift"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> ConditionalFixed:
        """Measure half A."""
        rows = binned.learnt(view)
        centre = rows.mean(axis=0)
        moved = (rows - centre).astype(np.float64)
        return ConditionalFixed(centre, moved.T @ moved / len(moved), groups(view.encoder.unit))

    def score(self, fixed: ConditionalFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window; extra names the ``unit`` (-1: none) and the ``dimension`` that moved most."""
        bins = bins_of(view, sample)
        if bins.few:
            return binned.few(bins)
        if len(fixed.group) < 2:
            return Outcome(math.nan, math.nan, bins.n, Reason.NOT_APPLICABLE)
        draws = self.draws if len(fixed.group) <= MANY_DIMS else self.draws // 3
        contrast = labels(bins.window_strata, bins.reference_strata, draws, rng)
        found = self.scores(fixed, view, sample, bins, contrast)
        best = standardised(found).max(axis=0)
        dimension = int(np.flatnonzero(fixed.group == excess(found).argmax())[0])
        extra = {"unit": float(view.encoder.unit[dimension]), "dimension": float(dimension)}
        return Outcome(float(best[0]), math.log(rank_p(best)), bins.n, extra=extra)

    def lines(
        self, fixed: ConditionalFixed, view: View, sample: Sample, bins: Bins, contrast: FloatArray
    ) -> FloatArray:
        """Largest standardised score of a group for each column of ``contrast``: ``(1, draws + 1)``."""
        best: FloatArray = standardised(self.scores(fixed, view, sample, bins, contrast)).max(axis=0, keepdims=True)
        return best

    def scores(
        self, fixed: ConditionalFixed, view: View, sample: Sample, bins: Bins, contrast: FloatArray
    ) -> FloatArray:
        """Scores ``(groups, draws + 1)`` for each column of ``contrast (s, draws + 1)``."""
        mean, second = _bin_moments(fixed, view, sample, bins)
        d, draws = mean.shape[1], contrast.shape[1]
        out = np.empty((d, draws))
        for first in range(0, draws, max(1, CHUNK // (d * d))):
            some = contrast[:, first : first + max(1, CHUNK // (d * d))]
            window = _group(mean, second, np.maximum(some, 0), bins.n)
            reference = _group(mean, second, np.maximum(-some, 0), bins.reference_rows.size)
            out[:, first : first + some.shape[1]] = fisher(reference, window, fixed.covariance).T
        by_group = np.zeros((int(fixed.group.max()) + 1, draws))
        np.add.at(by_group, fixed.group, out)
        return by_group


def groups(units: IntArray) -> IntArray:
    """Number ``(d,)`` the units of dimensions from 0; a dimension without a unit stands alone."""
    own = np.where(units >= 0, units, units.max(initial=0) + 1 + np.arange(len(units)))
    _, number = np.unique(own, return_inverse=True)
    return number.astype(np.int64)


def fisher(p: Moments, q: Moments, target: FloatArray) -> FloatArray:
    """Score ``(g, d)`` of every dimension: Fisher divergence between normal laws ``p`` and ``q``, pair by pair."""
    before, after = _inverse(p, target), _inverse(q, target)
    a = after - before
    mu, delta = (p.mean + q.mean) / 2, q.mean - p.mean
    mixture = (p.covariance + q.covariance) / 2 + delta[:, :, None] * delta[:, None, :] / 4
    c = np.einsum("gij,gj->gi", before, p.mean) - np.einsum("gij,gj->gi", after, q.mean)
    shift = np.einsum("gij,gj->gi", a, mu) + c
    score: FloatArray = np.einsum("gij,gij->gi", a @ mixture, a) + shift**2
    return score


def standardised(scores: FloatArray) -> FloatArray:
    """Each line ``(k, draws + 1)`` minus its mean over its deviation, over all columns; 0 where it is constant."""
    middle, spread = scores.mean(axis=1, keepdims=True), scores.std(axis=1, keepdims=True)
    out = np.zeros_like(scores)
    np.divide(scores - middle, spread, out=out, where=spread > 1e-12 * np.abs(middle))
    return out


def excess(scores: FloatArray) -> FloatArray:
    """How much of each observed score ``(k,)`` is beyond the mean of its permutations: what names the column.

    Standardised scores decide whether anything moved; of a strong shift they all stand at their largest possible value.
    """
    beyond: FloatArray = scores[:, 0] - scores[:, 1:].mean(axis=1)
    return beyond


def _inverse(moments: Moments, target: FloatArray) -> FloatArray:
    """Inverses of covariances shrunk towards ``target (d, d)``: by much where there are few rows a dimension."""
    d = len(target)
    weight = d / (d + moments.n)
    shrunk = (1 - weight) * moments.covariance + weight * target
    level = RIDGE * max(float(target.diagonal().mean()), 1e-300)
    return np.asarray(np.linalg.inv(shrunk + level * np.eye(d)), np.float64)


def _bin_moments(fixed: ConditionalFixed, view: View, sample: Sample, bins: Bins) -> tuple[FloatArray, FloatArray]:
    """Means ``(s, d)`` and second moments ``(s, d^2)`` of window bins, then reference bins."""
    rows = np.concatenate([sample.rows[bins.window_rows], view.sample.rows[bins.reference_rows]]) - fixed.centre
    s, q, d = rows.shape
    moment = rows.transpose(0, 2, 1) @ rows / np.float32(q)
    mean: FloatArray = rows.mean(axis=1).astype(np.float64)
    second: FloatArray = moment.reshape(s, d * d).astype(np.float64)
    return mean, second


def _group(mean: FloatArray, second: FloatArray, weight: FloatArray, n: int) -> Moments:
    """Moments of the groups that the columns of ``weight (s, g)`` pick out of the bins."""
    share = weight / np.maximum(weight.sum(axis=0), 1e-300)
    d = mean.shape[1]
    centre = share.T @ mean
    spread = (share.T @ second).reshape(-1, d, d) - centre[:, :, None] * centre[:, None, :]
    return Moments(centre, spread, n)
