"""MMD by random Fourier features: a sum of fixed length that pods and panes can add up.

Question: H0: the window's rows are exchangeable with the reference's, bin by bin (within a stratum).
Statistic: squared distance of mean features cos(w'x / l), sin(w'x / l), w normal, for several bandwidths l; the largest
standardised one.
Null law: exact: bins are permuted. Two `Sketch`es alone (no bins) give the distance without a p-value.
Sees / blind to: as an MMD with Gaussian kernels; fewer directions count than for `nystroem`, which is the better test
at the same cost. It has its place where rows cannot be kept: the sums of many pods merge, at O(1) memory.
Cost: n D (d + 2 J) operations, D frequencies.
Source: Rahimi and Recht 2007 (random features); Zhao and Meng 2015 (FastMMD); Domingo-Enrich, Dwivedi and Mackey 2025.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.multivariate import kernels
from detectors.multivariate.bins import Bins, bins_of, half_a, half_b
from detectors.multivariate.permutation import labels, rank_p, standardised_max
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Reason, Sample, SingleArray, View

CONSTANT = 1e-5
"""Mean features of bins that differ by less are those of constant rows: rounding of float32."""


class Waves(NamedTuple):
    """``frequencies (d, D)`` of bandwidth 1 and the ``bandwidths (j,)``."""

    frequencies: SingleArray
    bandwidths: FloatArray


class Sketch(NamedTuple):
    """Number of rows and sums of features ``(j, 2 D)``; exact to add."""

    rows: int
    sums: FloatArray


class RandomFixed(NamedTuple):
    """The waves and the mean features ``(j, s, 2 D)`` of the blocks of half B."""

    frequencies: SingleArray
    bandwidths: FloatArray
    means: SingleArray

    @property
    def waves(self) -> Waves:
        """The map alone."""
        return Waves(self.frequencies, self.bandwidths)


def bin_means(waves: Waves, rows: SingleArray, bins: IntArray) -> SingleArray:
    """Mean features ``(j, s, 2 D)`` of bins ``(s, q)`` of the rows ``(n, d)``."""
    number = waves.frequencies.shape[1]
    size = bins.shape[1]
    out = np.zeros((len(waves.bandwidths), len(bins), 2 * number), np.float32)
    columns = max(1, min(size, kernels.PANEL // max(number, 1)))
    for some in kernels.panels(len(bins), columns * number):
        for part in kernels.panels(size, 1, columns):
            chosen = bins[some, part]
            phase = rows[chosen.reshape(-1)] @ waves.frequencies
            for total, scale in zip(out, waves.bandwidths, strict=True):
                scaled = phase * np.float32(1 / scale)
                total[some, :number] += np.cos(scaled).reshape(*chosen.shape, number).sum(axis=1)
                total[some, number:] += np.sin(scaled).reshape(*chosen.shape, number).sum(axis=1)
    out /= np.float32(max(size, 1) * np.sqrt(max(number, 1)))
    return out


def sketch(waves: Waves, rows: SingleArray) -> Sketch:
    """Sums of features of rows ``(n, d)``."""
    sums = bin_means(waves, rows, np.arange(len(rows))[None])[:, 0].astype(np.float64) * len(rows)
    return Sketch(len(rows), sums)


def merge(one: Sketch, other: Sketch) -> Sketch:
    """Sums of both."""
    return Sketch(one.rows + other.rows, one.sums + other.sums)


def distance(one: Sketch, other: Sketch) -> FloatArray:
    """Squared MMD ``(j,)`` by bandwidth (a V-statistic: about 1/n + 1/m without any difference)."""
    moved = one.sums / max(one.rows, 1) - other.sums / max(other.rows, 1)
    squared: FloatArray = np.square(moved).sum(axis=1)
    return squared


@dataclass(frozen=True, slots=True)
class RandomFeatureMMD:
    """Catalogue entry."""

    frequencies: int = 128
    bandwidths: int = 3
    draws: int = 300
    name: str = "random_feature_mmd"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> RandomFixed:
        """Draw the waves, bandwidths from half A; keep the bin means of half B."""
        rows = view.sample.rows[half_a(view)]
        drawn = rng.standard_normal((view.sample.rows.shape[1], self.frequencies)).astype(np.float32)
        if len(rows) < 2:
            return RandomFixed(drawn, np.zeros(0), np.zeros((0, 0, 0), np.float32))
        waves = Waves(drawn, kernels.geometric(kernels.pairs(rows, rng), self.bandwidths))
        return RandomFixed(*waves, bin_means(waves, view.sample.rows, half_b(view).rows))

    def lines(self, fixed: RandomFixed, sample: Sample, bins: Bins, contrast: FloatArray) -> FloatArray:
        """All statistics ``(j, draws + 1)`` of one window over given permutations."""
        window = bin_means(fixed.waves, sample.rows, bins.window_rows)
        reference = fixed.means[:, bins.merged].mean(axis=2)
        both = np.concatenate([window, reference], axis=1).astype(np.float64)
        return np.stack([np.square(one.T @ contrast).sum(axis=0) for one in both])

    def score(self, fixed: RandomFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window."""
        bins = bins_of(view, sample)
        if bins.few or not len(fixed.bandwidths):
            return Outcome(np.nan, np.nan, bins.n, Reason.FEW_ROWS)
        if np.ptp(fixed.means, axis=1).max() < CONSTANT:
            return Outcome(np.nan, np.nan, bins.n, Reason.CONSTANT_REFERENCE)
        contrast = labels(bins.window_strata, bins.reference_strata, self.draws, rng)
        best = standardised_max(self.lines(fixed, sample, bins, contrast))
        return Outcome(float(best[0]), float(np.log(rank_p(best))), bins.n)
