"""Exact-kernel MMD with binned permutations, aggregated over kernels: MMD-FUSE and the largest z, and both.

Question: H0: the window's rows are exchangeable with the reference's, bin by bin (within a stratum).
Statistic: MMD^2 of Gaussian and Laplace kernels. FUSE, at the published ten bandwidths each: log mean exp of n (n - 1)
MMD^2 / s, unbiased, s^2 being the mean square of the kernel matrix; this is nearly a maximum and favours small
bandwidths. Max z, at ten bandwidths in equal ratios: the largest log MMD^2 in permutation deviations (with self terms,
so that it is positive); this favours wide ones. The smaller p-value of both counts.
Null law: exact: bins are permuted, both forms and their combination over the same permutations.
Sees / blind to: as `nystroem`, better on smooth changes of high frequency, at few rows; blind to what a sample of some
hundred rows does not show.
Cost: 40 kernels of (n + m)^2 values, n and m at most some hundred rows here; all permutations are one product of the
bin-summed matrix. One kernel for any n: `permuted`, half of the matrix once, panel by panel.
Source: Gretton et al. 2012 (MMD); Biggs, Schrab and Gretton 2023 (FUSE, with the factor n (n - 1) of their code);
Domingo-Enrich, Dwivedi and Mackey 2025 (binned permutations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate import kernels
from detectors.multivariate.bins import Bins, bins_of, half_a, thinned
from detectors.multivariate.kernels import Rows
from detectors.multivariate.permutation import labels, min_p, quadratic, rank_p, standardised_max
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Reason, Sample, View

MOST_CITY_BLOCK = 128
"""Dimensions beyond which Laplace kernels take the 2-norm: city-block distances are no matrix product."""
PANEL_ROWS = 512
TINY = 1e-12
"""Squared distances below this are rounding."""


class MMDFixed(NamedTuple):
    """Bandwidths ``(2 j,)`` of the Gaussian and of the Laplace kernels: half for the FUSE form, half for max z."""

    gaussian: FloatArray
    laplace: FloatArray


class Grams(NamedTuple):
    """Bin-summed kernel matrices ``(k, s, s)`` without self terms, and sums of squares ``(k,)`` of all values."""

    sums: NDArray[np.floating]
    squares: FloatArray


def bandwidths(rows: Rows, number: int, rng: np.random.Generator) -> MMDFixed:
    """``number`` bandwidths of each kernel and form, measured on rows ``(n, d)`` without their labels."""
    some = rows[rng.permutation(len(rows))[: kernels.SAMPLE]]
    upper = np.triu_indices(len(some), 1)
    euclidean = kernels.euclidean(some, some)[upper]
    other = euclidean if rows.shape[1] > MOST_CITY_BLOCK else kernels.city_block(some, some)[upper]
    both = (np.concatenate([kernels.linear(one, number), kernels.geometric(one, number)]) for one in (euclidean, other))
    return MMDFixed(*both)


def grams(fixed: MMDFixed, rows: Rows, size: int) -> Grams:
    """Kernel matrices of bins of ``size`` consecutive rows ``(s size, d)``, panel by panel."""
    bins = len(rows) // size
    number = len(fixed.gaussian) + len(fixed.laplace)
    out = Grams(np.zeros((number, bins, bins), rows.dtype), np.zeros(number))
    left, right = kernels.extended(rows, rows.mean(axis=0))
    for part in kernels.panels(bins, size * len(rows)):
        inside = slice(part.start * size, part.stop * size)
        exponent = left[inside] @ right.T
        values = np.empty_like(exponent)
        for k, scale in enumerate(fixed.gaussian):
            _take(out, k, part, size, kernels.gaussian(exponent, scale, values))
        distances = _other(rows, inside, exponent)
        for k, scale in enumerate(fixed.laplace, len(fixed.gaussian)):
            _take(out, k, part, size, kernels.laplace(distances, scale, values))
    return out


def _other(rows: Rows, part: slice, exponent: Rows) -> Rows:
    """Distances of a panel for the Laplace kernels."""
    if rows.shape[1] > MOST_CITY_BLOCK:
        distances: Rows = np.sqrt(np.maximum(-2 * exponent, 0))
        return distances
    return kernels.city_block(rows[part], rows)


def _take(out: Grams, k: int, part: slice, size: int, values: Rows) -> None:
    """Add one panel of one kernel to the sums, its self terms set to 0."""
    own = np.arange(len(values))
    values[own, own + part.start * size] = 0
    out.squares[k] += float(np.vdot(values, values))
    halfway = values.reshape(-1, size, values.shape[1]).sum(axis=1)
    out.sums[k, part] = halfway.reshape(len(halfway), -1, size).sum(axis=2)


def unbiased(gram: NDArray[np.floating], contrast: FloatArray, size: int, strata: IntArray) -> FloatArray:
    """Unbiased MMD^2 ``(draws + 1,)`` from bin sums ``(s, s)`` of one kernel, bins of ``size`` rows.

    ``contrast (s, draws + 1)`` as `permutation.labels` makes it, ``strata (s,)``. Pairs of rows of one side and stratum
    are one fewer than the weights take them for; the second part adds what is missing.
    """
    plus, minus = np.maximum(contrast, 0) / size, np.maximum(-contrast, 0) / size
    alike = strata[:, None] == strata[None, :]
    wide = np.asarray(gram, np.float64)
    cross = np.einsum("sb,sb->b", minus, wide @ plus)
    near = wide if alike.all() else np.where(alike, wide, 0.0)
    total = -2 * cross
    for side in (plus, minus):
        rows = size * (alike.astype(np.float64) @ (side[:, :1] > 0))
        factor = 1 / np.maximum(rows - 1, 1)
        product = near @ side
        whole = product if near is wide else wide @ side
        total += np.einsum("sb,sb->b", side, whole + factor * product)
    result: FloatArray = total
    return result


def log_distance(gram: NDArray[np.floating], contrast: FloatArray, size: int) -> FloatArray:
    """Log of the biased MMD^2 ``(draws + 1,)``: a squared length, self terms included; they are 1 a row."""
    whole = quadratic(np.asarray(gram, np.float64) / size**2, contrast) + np.square(contrast).sum(axis=0) / size
    logs: FloatArray = np.log(np.maximum(whole, TINY))
    return logs


def mmd_squared(sums: FloatArray, n: int, m: int) -> FloatArray:
    """Unbiased MMD^2 from rows (1'K1, 1'KV, V'KV) ``(3, b)``, n signs of a column of V being +1 and m being -1."""
    a, b, c = sums
    inside, outside, cross = (a + 2 * b + c) / 4, (a - 2 * b + c) / 4, (a - c) / 4
    result: FloatArray = inside / (n * (n - 1)) + outside / (m * (m - 1)) - 2 * cross / (n * m)
    return result


def permuted(rows: Rows, signs: NDArray[np.floating], bandwidth: float) -> FloatArray:
    """Unbiased MMD^2 ``(b,)`` of one Gaussian kernel for every column of ``signs (n + m, b)``, +1 and -1.

    The upper half of the kernel matrix is made once, panel by panel, and one product a panel serves all columns.
    """
    left, right = kernels.extended(rows / rows.dtype.type(bandwidth), rows.mean(axis=0) / rows.dtype.type(bandwidth))
    wide = np.hstack([signs, np.ones((len(rows), 1))]).astype(rows.dtype)
    sums = np.zeros((3, wide.shape[1]))
    for part in kernels.panels(len(rows), 1, PANEL_ROWS):
        values = left[part] @ right[part.start :].T
        np.exp(values, out=values)
        corner = values[:, : len(values)]
        corner[np.tril_indices(len(values))] = 0
        product = values @ wide[part.start :]
        own = product[:, -1].astype(np.float64)
        sums[0] += 2 * own.sum()
        sums[1] += own @ wide[part] + product.sum(axis=0, dtype=np.float64)
        sums[2] += 2 * np.einsum("nb,nb->b", product, wide[part])
    number = int((signs[:, 0] > 0).sum())
    return mmd_squared(sums[:, :-1], number, len(rows) - number)


def fuse(lines: FloatArray, squares: FloatArray, smaller: int) -> FloatArray:
    """FUSE statistic ``(draws + 1,)`` of MMD^2 ``(k, draws + 1)``; ``smaller`` is the smaller number of rows."""
    pairs = smaller * (smaller - 1)
    spread = np.sqrt(squares / pairs)[:, None]
    scaled = np.divide(pairs * lines, spread, out=np.zeros_like(lines), where=spread > 0)
    top = scaled.max(axis=0)
    result: FloatArray = top + np.log(np.exp(scaled - top).mean(axis=0))
    return result


def _judge(fixed: MMDFixed, rows: Rows, size: int, contrast: FloatArray, strata: IntArray) -> Outcome:
    """p-value of rows in consecutive bins, window bins first."""
    made = grams(fixed, rows, size)
    fused_ones = np.tile(np.arange(len(fixed.gaussian)) < len(fixed.gaussian) // 2, 2)
    inside = int((contrast[:, 0] > 0).sum())
    lines = np.stack([unbiased(gram, contrast, size, strata) for gram in made.sums[fused_ones]])
    fused = fuse(lines, made.squares[fused_ones], size * min(inside, len(strata) - inside))
    largest = standardised_max(np.stack([log_distance(gram, contrast, size) for gram in made.sums[~fused_ones]]))
    p, each = min_p(np.stack([fused, largest]))
    extra = {"log_p_fuse": float(np.log(each[0])), "log_p_max": float(np.log(each[1]))}
    return Outcome(float(largest[0]), float(np.log(p)), inside * size, extra=extra)


@dataclass(frozen=True, slots=True)
class ExactMMD:
    """Catalogue entry: ``bandwidths`` of each kernel, ``draws`` permutations, so many rows a side at most."""

    bandwidths: int = 10
    draws: int = 300
    window: int = 500
    reference: int = 1000
    name: str = "mmd_fuse"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> MMDFixed:
        """Measure the range of bandwidths on half A."""
        rows = view.sample.rows[half_a(view)]
        return bandwidths(rows, self.bandwidths, rng) if len(rows) > 1 else MMDFixed(np.zeros(0), np.zeros(0))

    def score(self, fixed: MMDFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge a sample of the window's runs against one of half B's."""
        bins = bins_of(view, sample)
        if bins.few or not len(fixed.gaussian):
            return Outcome(np.nan, np.nan, bins.n, Reason.FEW_ROWS)
        bins = thinned(bins, view.run, self.window, self.reference, rng)
        contrast = labels(bins.window_strata, bins.reference_strata, self.draws, rng)
        strata = np.concatenate([bins.window_strata, bins.reference_strata])
        return _judge(fixed, pooled(view, sample, bins), bins.window_rows.shape[1], contrast, strata)


def pooled(view: View, sample: Sample, bins: Bins) -> Rows:
    """Rows of all bins, one after the other, window first."""
    window, reference = sample.rows[bins.window_rows.reshape(-1)], view.sample.rows[bins.reference_rows.reshape(-1)]
    return np.concatenate([window, reference])


def two_sample(
    x: Rows, y: Rows, rng: np.random.Generator, draws: int = 500, bins: int | None = 50, number: int = 10
) -> Outcome:
    """``x (n, d)`` against ``y (m, d)``; ``bins`` of the smaller sample are permuted, None: the rows themselves."""
    size = max(1, min(len(x), len(y)) // (bins or min(len(x), len(y))))
    x, y = (np.asarray(side[: len(side) // size * size], np.float32) for side in (x, y))
    both = np.concatenate([x, y])
    fixed = bandwidths(both, number, rng)
    zeros = np.zeros(len(both) // size, np.int64)
    contrast = labels(zeros[: len(x) // size], zeros[len(x) // size :], draws, rng)
    return _judge(fixed, both, size, contrast, zeros)


def _signs(n: int, m: int, draws: int, rng: np.random.Generator) -> Rows:
    """Labels +1 and -1 ``(n + m, draws + 1)``, n of them +1, the observed ones in column 0."""
    keys = rng.random((draws, n + m))
    border = np.partition(keys, n - 1, axis=1)[:, [n - 1]]
    drawn = np.where(keys <= border, np.float32(1), np.float32(-1))
    observed = np.repeat(np.array([[1, -1]], np.float32), [n, m], axis=1)
    return np.concatenate([observed, drawn]).T


def single(x: Rows, y: Rows, rng: np.random.Generator, draws: int = 100) -> Outcome:
    """One Gaussian kernel at the median distance and permutations of rows, for any number of rows; in float32."""
    both = np.concatenate([x, y]).astype(np.float32)
    bandwidth = kernels.median_heuristic(kernels.pairs(both, rng))
    line = permuted(both, _signs(len(x), len(y), draws, rng), bandwidth)
    return Outcome(float(line[0]), float(np.log(rank_p(line))), len(x), extra={"bandwidth": bandwidth})
