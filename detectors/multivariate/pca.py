"""PCA reconstruction error: rows that no longer lie where the reference's main axes say.

Question: H0: rows are as far from the reference's principal plane, and from its centre, as the reference's own. H1:
farther, or closer.
Statistic: distance of each row to the plane of the components that explain `SHARE` of the variance of half A (process
control's Q), and its distance from the centre in units of half A's axes (Hotelling's T^2, square root); absolute
differences of their means between window and half B, the larger standardised one.
Null law: exact: bins are permuted (within a stratum).
Sees / blind to: changed scale of many columns, changed dependence off the main axes; blind to shifts of mean and
dependence that leave both distances as they are.
Cost: n d^2. Source: Jackson and Mudholkar 1979 (Q beside T^2); methods.md section 4 (NannyML's reconstruction error,
which compares chunks with 3 sigma instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.multivariate import binned
from detectors.multivariate.bins import Bins, bins_of, half_b
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Reason, Sample, SingleArray, View

SHARE = 0.65
"""Variance that the kept components explain at least."""
SMALLEST = 1e-4
"""Axes with a smaller share of the largest variance are noise."""
MOST_AXES = 256


class PCAFixed(NamedTuple):
    """Centre ``(d,)`` and axes ``(d, d')`` of half A, the first ``k`` of which span the plane.

    ``root (d',)`` are the deviations along the axes; ``means (2, blocks)`` both distances, averaged over the blocks of
    half B.
    """

    centre: SingleArray
    axes: SingleArray
    root: SingleArray
    k: int
    means: FloatArray


@dataclass(frozen=True, slots=True)
class PCAReconstruction:
    """Catalogue entry; a view of one dimension has no plane."""

    draws: int = 299
    name: str = "pca_reconstruction"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> PCAFixed:
        """Find the plane on half A, measure half B."""
        rows = binned.learnt(view)
        centre = rows.mean(axis=0)
        axes, root, k = _axes(rows - centre)
        blocks = half_b(view).rows
        made = PCAFixed(centre, axes, root, k, np.zeros((2, 0)))
        return made._replace(means=_means(made, view.sample.rows, blocks))

    def score(self, fixed: PCAFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window."""
        bins = bins_of(view, sample)
        if not fixed.k and not bins.few:
            return Outcome(np.nan, np.nan, bins.n, Reason.NOT_APPLICABLE)
        return binned.judge(
            view, sample, self.draws, rng, lambda bins, contrast: self.lines(fixed, sample, bins, contrast)
        )

    def lines(self, fixed: PCAFixed, sample: Sample, bins: Bins, contrast: FloatArray) -> FloatArray:
        """Difference of both mean distances for each column of ``contrast (s, draws + 1)``: ``(2, draws + 1)``."""
        window = _means(fixed, sample.rows, bins.window_rows)
        both = np.concatenate([window, fixed.means[:, bins.merged].mean(axis=2)], axis=1)
        moved: FloatArray = np.abs(both @ contrast)
        return moved


def distances(fixed: PCAFixed, rows: SingleArray) -> FloatArray:
    """Distance of rows ``(n, d)`` to the plane, and to the centre along the scaled axes: ``(2, n)``."""
    moved = rows - fixed.centre
    along = moved @ fixed.axes
    off = np.square(moved).sum(axis=1) - np.square(along[:, : fixed.k]).sum(axis=1)
    along /= fixed.root
    both: FloatArray = np.sqrt(np.maximum(np.stack([off, np.square(along).sum(axis=1)]), 0)).astype(np.float64)
    return both


def _means(fixed: PCAFixed, rows: SingleArray, bins: IntArray) -> FloatArray:
    """Mean distances ``(2, s)`` of bins ``(s, q)`` of rows."""
    means: FloatArray = distances(fixed, rows[bins.reshape(-1)]).reshape(2, *bins.shape).mean(axis=2)
    return means


def _axes(rows: SingleArray) -> tuple[SingleArray, SingleArray, int]:
    """Axes ``(d, d')`` with variance, deviations along them, and how many explain `SHARE` of it (never all)."""
    value, vector = np.linalg.eigh(rows.T @ rows / np.float32(len(rows)))
    value, vector = value[::-1].astype(np.float64), vector[:, ::-1]
    explained = np.cumsum(value) / max(float(value.sum()), 1e-300)
    keep = value > SMALLEST * max(float(value[0]), 1e-300)
    keep[MOST_AXES:] = False
    value = value[keep]
    k = max(min(int(np.searchsorted(explained, SHARE)) + 1, len(value) - 1), 0)
    return np.ascontiguousarray(vector[:, keep]), np.sqrt(value).astype(np.float32), k
