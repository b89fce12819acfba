"""Spectral Nystroem MMD: the default window test of a joint view.

Question: H0: the window's rows are exchangeable with the reference's, bin by bin (within a stratum).
Statistic: kernel values at L landmarks, for several bandwidths; means of bins; their difference between window and
reference, rotated to the principal axes of the reference's features and weighted 1 / (l + ridge * sum l) for several
ridges, and unweighted; log squared length. The largest standardised one over bandwidths and ridges counts.
Null law: exact: bins are permuted. Landmarks, bandwidths and axes come from reference half A (or, with two samples,
from the pooled rows without their labels), the tested bins from half B.
Sees / blind to: any change of the joint law at the scales of the bandwidths; least power where the change is finer
than the landmarks are dense (many small modes).
Cost: n L (2 d + 6 J) operations a window: bin means are taken of plain kernel values, all that follows is linear in
them. A stored reference of 10,000 rows costs nothing at scoring time.
Source: Chatalic et al. 2022 (Nystroem MMD); Hagrass, Sriperumbudur and Li 2022 (spectral regularisation);
Domingo-Enrich, Dwivedi and Mackey 2025 (binned permutations); methods.md 1.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate import kernels
from detectors.multivariate.bins import Bins, bins_of, half_a, half_b
from detectors.multivariate.permutation import labels, rank_p, standardised_max
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Reason, Sample, SingleArray, View

SMALLEST = 1e-5
"""Directions of the landmarks' own Gram matrix below this share of the largest are noise."""
LEAST = 1e-7
"""Variance of all features together below which the rows are constant: rounding of float32 kernel values."""


TINY = 1e-30
"""Squared lengths below this are 0: constant rows."""


class Features(NamedTuple):
    """A feature map: ``landmarks (L, d)``, ``bandwidths (j,)``, ``basis (j, L, L)`` from kernel values to features.

    Features stand on the axes of the learning rows' covariance; ``weights (j, r + 1, L)`` are those of each ridge on
    squared features, the first being 1.
    """

    landmarks: SingleArray
    bandwidths: FloatArray
    basis: SingleArray
    weights: FloatArray


class SpectralFixed(NamedTuple):
    """The feature map and the features' means ``(j, s, L)`` of the blocks of half B."""

    landmarks: SingleArray
    bandwidths: FloatArray
    basis: SingleArray
    weights: FloatArray
    means: SingleArray

    @property
    def features(self) -> Features:
        """The map alone."""
        return Features(*self[:4])


class Direction(NamedTuple):
    """Where window and reference differ most: a weight ``(L,)`` on the kernel values of one bandwidth."""

    bandwidth: float
    landmarks: SingleArray
    weight: FloatArray


def learn(
    rows: SingleArray, rng: np.random.Generator, landmarks: int, bandwidths: int, ridges: tuple[float, ...]
) -> Features:
    """Learn the map on ``rows (n, d)``, n >= 2, without looking at any label."""
    scales = kernels.geometric(kernels.pairs(rows, rng), bandwidths)
    chosen = rows[np.sort(rng.choice(len(rows), min(landmarks, len(rows)), replace=False))]
    among = -0.5 * np.square(kernels.euclidean(chosen, chosen).astype(np.float64))
    basis, weights = [], []
    for scale, moments in zip(scales, _moments(rows, chosen, scales), strict=True):
        values, vectors = np.linalg.eigh(np.exp(among / scale**2))
        root = np.where(values > SMALLEST * values[-1], 1 / np.sqrt(np.maximum(values, SMALLEST * values[-1])), 0)
        half = vectors * root
        spectrum, axes = np.linalg.eigh(half.T @ moments @ half)
        spectrum = np.maximum(spectrum, 0)
        basis.append((half @ axes).astype(np.float32))
        weights.append(_weights(spectrum, ridges))
    return Features(chosen, scales, np.stack(basis), np.array(weights))


def _weights(spectrum: FloatArray, ridges: tuple[float, ...]) -> FloatArray:
    """Weights ``(r + 1, L)`` of squared features; 0 where the rows are constant."""
    total = float(spectrum.sum())
    if total < LEAST:
        return np.zeros((len(ridges) + 1, len(spectrum)))
    floor = max(total * 1e-12, LEAST * 1e-6)
    return np.stack([np.ones_like(spectrum), *(1 / np.maximum(spectrum + ridge * total, floor) for ridge in ridges)])


def _moments(rows: SingleArray, landmarks: SingleArray, bandwidths: FloatArray) -> FloatArray:
    """Covariances ``(j, L, L)`` of kernel values."""
    number = len(landmarks)
    sums, squares = np.zeros((len(bandwidths), number)), np.zeros((len(bandwidths), number, number))
    for part in kernels.panels(len(rows), number):
        for j, values in enumerate(_values(rows[part], landmarks, bandwidths)):
            sums[j] += values.sum(axis=0)
            squares[j] += values.T @ values
    mean = sums / len(rows)
    return squares / len(rows) - mean[:, :, None] * mean[:, None, :]


def _values(rows: SingleArray, landmarks: SingleArray, bandwidths: FloatArray) -> list[kernels.Rows]:
    centre = landmarks.mean(axis=0)
    exponent = kernels.extended(rows, centre)[0] @ kernels.extended(landmarks, centre)[1].T
    return [kernels.gaussian(exponent, scale) for scale in bandwidths]


def bin_means(features: Features, rows: SingleArray, bins: IntArray) -> SingleArray:
    """Mean features ``(j, s, L)`` of bins ``(s, q)`` of the rows ``(n, d)``."""
    number = len(features.landmarks)
    size = bins.shape[1]
    sums = np.zeros((len(features.bandwidths), len(bins), number), np.float32)
    columns = max(1, min(size, kernels.PANEL // max(number, 1)))
    for some in kernels.panels(len(bins), columns * number):
        for part in kernels.panels(size, 1, columns):
            chosen = bins[some, part]
            all_values = _values(rows[chosen.reshape(-1)], features.landmarks, features.bandwidths)
            for total, values in zip(sums, all_values, strict=True):
                total[some] += values.reshape(*chosen.shape, number).sum(axis=1)
    means: SingleArray = np.matmul(sums / np.float32(max(size, 1)), features.basis)
    return means


def statistics(features: Features, window: SingleArray, reference: SingleArray, contrast: FloatArray) -> FloatArray:
    """Log squared lengths ``(j (r + 1), draws + 1)`` from bin means ``(j, s_w, L)`` and ``(j, s_r, L)``.

    The logarithm makes lines comparable in their tails: a few directions vary like chi-squared, many like a normal.
    """
    lines = [
        weight @ np.square(np.concatenate([inside, outside]).astype(np.float64).T @ contrast)
        for weight, inside, outside in zip(features.weights, window, reference, strict=True)
    ]
    logs: FloatArray = np.log(np.maximum(np.concatenate(lines), TINY))
    return logs


@dataclass(frozen=True, slots=True)
class SpectralNystroem:
    """Catalogue entry: ``landmarks``, ``bandwidths`` and ``ridges`` make the statistics, ``draws`` the p-value."""

    landmarks: int = 128
    bandwidths: int = 5
    ridges: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
    draws: int = 300
    name: str = "spectral_mmd"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> SpectralFixed:
        """Learn the map on half A; keep the bin means of half B."""
        rows = view.sample.rows[half_a(view)]
        blocks = half_b(view).rows
        if len(rows) < 2 or not len(blocks):
            nothing = np.zeros((0, 0), np.float32)
            return SpectralFixed(nothing, np.zeros(0), nothing[None], np.zeros((0, 0, 0)), nothing[None])
        features = learn(rows, rng, self.landmarks, self.bandwidths, self.ridges)
        return SpectralFixed(*features, bin_means(features, view.sample.rows, blocks))

    def lines(self, fixed: SpectralFixed, sample: Sample, bins: Bins, contrast: FloatArray) -> FloatArray:
        """All statistics ``(k, draws + 1)`` of one window over given permutations."""
        window = bin_means(fixed.features, sample.rows, bins.window_rows)
        reference = fixed.means[:, bins.merged].mean(axis=2)
        return statistics(fixed.features, window, reference, contrast)

    def score(self, fixed: SpectralFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window."""
        bins = bins_of(view, sample)
        if bins.few or not len(fixed.landmarks):
            return Outcome(np.nan, np.nan, bins.n, Reason.FEW_ROWS)
        if not fixed.weights.any():
            return Outcome(np.nan, np.nan, bins.n, Reason.CONSTANT_REFERENCE)
        contrast = labels(bins.window_strata, bins.reference_strata, self.draws, rng)
        best = standardised_max(self.lines(fixed, sample, bins, contrast))
        return Outcome(float(best[0]), float(np.log(rank_p(best))), bins.n)

    def direction(self, fixed: SpectralFixed, sample: Sample, bins: Bins, contrast: FloatArray) -> Direction:
        """The direction of the most telling statistic."""
        lines = self.lines(fixed, sample, bins, contrast)
        spread = lines.std(axis=1)
        z = np.divide(lines[:, 0] - lines.mean(axis=1), spread, out=np.zeros_like(spread), where=spread > 0)
        j, ridge = divmod(int(z.argmax()), fixed.weights.shape[1])
        one = Features(fixed.landmarks, fixed.bandwidths[[j]], fixed.basis[[j]], fixed.weights[[j]])
        window = bin_means(one, sample.rows, bins.window_rows)[0]
        reference = fixed.means[j, bins.merged].mean(axis=1)
        moved = np.concatenate([window, reference]).astype(np.float64).T @ contrast[:, 0]
        weight = fixed.basis[j].astype(np.float64) @ (fixed.weights[j, ridge] * moved)
        return Direction(float(fixed.bandwidths[j]), fixed.landmarks, weight)


def witness(direction: Direction, rows: SingleArray) -> FloatArray:
    """How much each row ``(n, d)`` looks like the window rather than the reference, ``(n,)``."""
    out = np.empty(len(rows))
    scale = np.array([direction.bandwidth])
    for part in kernels.panels(len(rows), len(direction.landmarks)):
        out[part] = _values(rows[part], direction.landmarks, scale)[0] @ direction.weight
    return out


def two_sample(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    rng: np.random.Generator,
    test: SpectralNystroem | None = None,
    bins: int = 50,
) -> Outcome:
    """Window ``x (n, d)`` against ``y (m, d)`` with a map learnt on both; the smaller sample makes ``bins`` bins."""
    test = test or SpectralNystroem()
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    size = max(1, min(len(x), len(y)) // bins)
    both = np.concatenate([x, y])
    inside = np.arange(len(x) // size * size).reshape(-1, size)
    outside = len(x) + np.arange(len(y) // size * size).reshape(-1, size)
    features = learn(both, rng, test.landmarks, test.bandwidths, test.ridges)
    contrast = labels(np.zeros(len(inside), np.int64), np.zeros(len(outside), np.int64), test.draws, rng)
    best = standardised_max(
        statistics(features, bin_means(features, both, inside), bin_means(features, both, outside), contrast)
    )
    return Outcome(float(best[0]), float(np.log(rank_p(best))), inside.size)
