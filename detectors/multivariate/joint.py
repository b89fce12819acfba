"""The default joint test: the smallest p-value of tests that look for different things, over one set of draws.

Question: H0: window and reference have the same law. H1: they have not.
Statistic: smallest p of spectral Nystroem MMD, energy distance, and second moments (the smaller p of correlation change
and PCA reconstruction error), each column of one label matrix judged among all columns.
Null law: exact: the observed column is one of ``draws + 1`` exchangeable ones, for the combination too.
Sees / blind to: modes and shapes (MMD), single broken pairs (correlation), shifts over many columns (energy), changed
scale of many columns (PCA); what all four are blind to.
Cost: the sum of the four. Source: methods.md section 4; Biggs, Schrab and Gretton 2023 (combination over permutations).

The effect is a probability mass, comparable to a column's KS distance: witness functions are learnt on the window's odd
bins and half A, and the KS distance of their values is measured between the window's even bins and half B, which they
never saw, with the Dvoretzky-Kiefer-Wolfowitz band of both samples. It is a lower bound of total variation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from detectors.multivariate import binned, correlation, nystroem, pca
from detectors.multivariate.bins import Bins, bins_of, half_a
from detectors.multivariate.correlation import CorrelationChange, CorrelationFixed
from detectors.multivariate.energy import EnergyDistance, EnergyFixed
from detectors.multivariate.nystroem import Direction, SpectralFixed, SpectralNystroem
from detectors.multivariate.pca import PCAFixed, PCAReconstruction
from detectors.multivariate.permutation import column_p, labels, rank_p, standardised_max
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Sample, SingleArray, View

COMPONENTS = ("spectral_mmd", "correlation_change", "energy_distance", "pca_reconstruction")
FAMILY = (0, 1, 2, 1)
"""Correlation and distance from the centre are both about second moments: together they weigh as one test."""
BAND_LEVEL = 0.05
"""Chance that the effect's interval misses."""
ODD = slice(1, None, 2)
"""Window bins that the witnesses are learnt on."""
NOISE_ROWS = 2000
"""Rows of half A, at most, that tell how noisy a feature is."""


def combined(lines: FloatArray, family: tuple[int, ...] = FAMILY) -> tuple[float, FloatArray]:
    """Min-p over families of min-p within: p of ``lines (k, draws + 1)`` and each line's own p ``(k,)``.

    Columns of the same smallest p are told apart by their largest standardised line: without that no p-value would be
    below k / (draws + 1).
    """
    p = column_p(lines)
    within = np.stack([-p[[g == one for g in family]].min(axis=0) for one in sorted(set(family))])
    largest = standardised_max(lines)
    finer = largest / (1 + 2 * np.abs(largest).max()) / lines.shape[1]
    return rank_p(finer - column_p(within).min(axis=0)), p[:, 0]


class Learnt(NamedTuple):
    """Half A in the features of the MMD: means ``(j, c, L)`` by stratum, variances ``(j, L)``, rows ``(c,)``."""

    means: SingleArray
    variances: FloatArray
    rows: IntArray


class JointFixed(NamedTuple):
    """What each component measured, and half A's features for the witness."""

    spectral: SpectralFixed
    correlation: CorrelationFixed
    energy: EnergyFixed
    pca: PCAFixed
    learnt: Learnt


class Effect(NamedTuple):
    """KS distance of the witness's values, with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class JointDefault:
    """Catalogue entry.

    Extra: ``effect`` with ``effect_low`` and ``effect_high``; ``strongest``, the position in `COMPONENTS`; and each
    component's own log p as ``log_p_NAME``.
    """

    spectral: SpectralNystroem = field(default_factory=SpectralNystroem)
    draws: int = 299
    name: str = "joint_min_p"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> JointFixed:
        """Fit every component."""
        spectral = self.spectral.fit(view, rng)
        return JointFixed(
            spectral,
            CorrelationChange().fit(view, rng),
            EnergyDistance().fit(view, rng),
            PCAReconstruction().fit(view, rng),
            _learnt(spectral, view),
        )

    def score(self, fixed: JointFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window."""
        bins = bins_of(view, sample)
        if bins.few:
            return binned.few(bins)
        contrast = labels(bins.window_strata, bins.reference_strata, self.draws, rng)
        lines = self.lines(fixed, view, sample, bins, contrast)
        p, each = combined(lines)
        effect = witness_shift(fixed, view, sample, bins)
        extra = {
            "effect": effect.value,
            "effect_low": effect.low,
            "effect_high": effect.high,
            "strongest": float(each.argmin()),
            **{f"log_p_{name}": math.log(one) for name, one in zip(COMPONENTS, each, strict=True)},
        }
        return Outcome(float(-math.log(each.min())), math.log(p), bins.n, extra=extra)

    def lines(self, fixed: JointFixed, view: View, sample: Sample, bins: Bins, contrast: FloatArray) -> FloatArray:
        """One statistic of each component for each column of ``contrast``: ``(4, draws + 1)``, as in `COMPONENTS`."""
        return np.concatenate(
            [
                standardised_max(self.spectral.lines(fixed.spectral, sample, bins, contrast))[None],
                CorrelationChange().lines(fixed.correlation, sample, bins, contrast),
                EnergyDistance().lines(fixed.energy, view, sample, bins, contrast),
                standardised_max(PCAReconstruction().lines(fixed.pca, sample, bins, contrast))[None],
            ]
        )


def witness_shift(fixed: JointFixed, view: View, sample: Sample, bins: Bins) -> Effect:
    """How much probability mass moved, at least: KS distance of a witness on rows that it was not learnt from.

    Three witnesses are asked, and the intervals hold for all of them at once: the direction of the MMD, the likelihood
    ratio of the pair whose correlation changed most, and the distance from the centre along half A's axes.
    """
    even, strata = bins.window_rows[::2], bins.window_strata[::2]
    weights = [
        np.repeat(binned.shares(mine, bins.window_strata) / even.shape[1], even.shape[1])
        for mine in (strata, bins.reference_strata)
    ]
    rows = sample.rows[even.reshape(-1)], view.sample.rows[bins.reference_rows.reshape(-1)]
    way = direction(fixed, view, sample, bins, ODD)
    ratio = _pair_witness(fixed.correlation, sample, bins)
    asked = (
        [nystroem.witness(way, part) for part in rows],
        [ratio(part) for part in rows],
        [pca.distances(fixed.pca, part)[1] for part in rows],
    )
    value = max(ks_distance(inside, outside, *weights) for inside, outside in asked)
    level = math.log(4 * len(asked) / BAND_LEVEL) * view.tau / 2
    band = sum(math.sqrt(level * float(np.square(w).sum())) for w in weights)
    return Effect(value, max(value - band, 0.0), min(value + band, 1.0))


def _pair_witness(known: CorrelationFixed, sample: Sample, bins: Bins) -> Callable[[SingleArray], FloatArray]:
    """Log likelihood ratio, up to a constant, of both correlations of the pair that changed most in the odd bins."""
    odd = correlation.scores(known.scorer, sample.rows[bins.window_rows[ODD].reshape(-1)])
    after = correlation.correlations(odd, np.full(len(odd), 1 / len(odd), np.float32))
    i, j = divmod(int((correlation.change(known.r, after) / known.closed_spread).argmax()), len(after))
    slopes = float(known.r[i, j]), float(np.clip(after[i, j], -correlation.MOST_R, correlation.MOST_R))

    def ratio(rows: SingleArray) -> FloatArray:
        scores = correlation.scores(known.scorer.of([i, j]), rows[:, [i, j]]).astype(np.float64)
        square, product = np.square(scores).sum(axis=1), scores.prod(axis=1)
        old, new = ((square - 2 * r * product) / (1 - r * r) for r in slopes)
        out: FloatArray = (old - new) / 2
        return out

    return ratio


def ks_distance(x: FloatArray, y: FloatArray, weight_x: FloatArray, weight_y: FloatArray) -> float:
    """Largest difference between the weighted distribution functions of ``x (n,)`` and ``y (m,)``."""
    both = np.concatenate([x, y])
    order = np.argsort(both, kind="stable")
    gap = np.cumsum(np.concatenate([weight_x, -weight_y])[order])
    last = np.append(np.diff(both[order]) > 0, [True])
    return float(np.abs(gap[last]).max(initial=0.0))


def direction(fixed: JointFixed, view: View, sample: Sample, bins: Bins, chosen: slice) -> Direction:
    """Where the chosen window bins differ most from half A, in the noise of half A."""
    features = fixed.spectral.features
    moved, noise = _moved(fixed, view, sample, bins.window_rows[chosen], bins.window_strata[chosen])
    j, ridge = _strongest(features.weights, moved, noise)
    weight = features.basis[j].astype(np.float64) @ (features.weights[j, ridge] * moved[j])
    return Direction(float(features.bandwidths[j]), features.landmarks, weight)


def line(fixed: JointFixed, view: View, sample: Sample, bins: Bins) -> tuple[int, int]:
    """Bandwidth and ridge (positions) at which the window's bins differ most from half A, in the noise of half A."""
    moved, noise = _moved(fixed, view, sample, bins.window_rows, bins.window_strata)
    return _strongest(fixed.spectral.features.weights, moved, noise)


def _moved(
    fixed: JointFixed, view: View, sample: Sample, window: IntArray, strata: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Difference of mean features ``(j, L)`` between window bins ``(s, q)`` and half A, and its variances."""
    learnt = fixed.learnt
    inside = nystroem.bin_means(fixed.spectral.features, sample.rows, window).mean(axis=1, dtype=np.float64)
    share = np.bincount(strata, minlength=len(learnt.rows))[: len(learnt.rows)] * (learnt.rows > 0)
    share = share / max(share.sum(), 1)
    rows = 1 / window.size + float((share**2 / np.maximum(learnt.rows, 1)).sum())
    return inside - np.einsum("jcl,c->jl", learnt.means, share), learnt.variances * view.tau * rows


def _strongest(weights: FloatArray, moved: FloatArray, noise: FloatArray) -> tuple[int, int]:
    length = np.einsum("jrl,jl->jr", weights, moved**2 - noise)
    spread = np.sqrt(2 * np.einsum("jrl,jl->jr", weights**2, noise**2))
    z = np.divide(length, spread, out=np.full_like(length, -np.inf), where=spread > 0)
    j, ridge = divmod(int(z.argmax()), z.shape[1])
    return j, ridge


def _learnt(spectral: SpectralFixed, view: View) -> Learnt:
    """Half A's features by stratum."""
    mine = half_a(view)
    strata = view.sample.strata[mine].astype(np.int64)
    number = 1 + int(strata.max(initial=0))
    count = np.bincount(strata, minlength=number)
    if not len(spectral.landmarks):
        return Learnt(np.zeros((0, number, 0), np.float32), np.zeros((0, 0)), count)
    each = [
        nystroem.bin_means(spectral.features, view.sample.rows, mine[strata == c][None])[:, 0] for c in range(number)
    ]
    some = mine[:: -(-len(mine) // NOISE_ROWS)][:, None]
    variances = nystroem.bin_means(spectral.features, view.sample.rows, some).var(axis=1, dtype=np.float64)
    return Learnt(np.stack(each, axis=1), variances, count)
