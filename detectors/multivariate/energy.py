"""Energy distance between window and reference, from mean distances between bins.

Question: H0: window and reference have the same law. H1: they have not.
Statistic: ``2 E|X - Y| - E|X - X'| - E|Y - Y'|``, the quadratic form of the contrast in minus the matrix of mean
Euclidean distances between bins.
Null law: exact: bins are permuted (within a stratum).
Sees / blind to: any change of the joint law, best at shifts of location that spread over many columns; slow at changes
of dependence and at fine structure.
Cost: distances of the window's rows to the reference's and to each other, at most `MOST_DISTANCES` of them: beyond
that only every second, fourth or eighth row of each block is looked at. Distances within the reference are stored.
Source: Szekely and Rizzo 2004; Domingo-Enrich, Dwivedi and Mackey 2025 (binned permutations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.multivariate import binned, kernels
from detectors.multivariate.bins import Bins, half_b
from detectors.multivariate.permutation import quadratic
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray, IntArray, Sample, SingleArray, View

STRIDES = (1, 2, 4, 8)
MOST_DISTANCES = 12_000_000


class EnergyFixed(NamedTuple):
    """Mean distances ``(strides, blocks, blocks)`` between blocks of half B, thinned by each of `STRIDES`."""

    within: SingleArray


@dataclass(frozen=True, slots=True)
class EnergyDistance:
    """Catalogue entry."""

    draws: int = 299
    name: str = "energy_distance"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> EnergyFixed:
        """Measure the distances within half B."""
        blocks = view.sample.rows[half_b(view).rows]
        return EnergyFixed(np.stack([distances(thin, thin) for thin in (blocks[:, ::step] for step in STRIDES)]))

    def score(self, fixed: EnergyFixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window."""
        return binned.judge(
            view, sample, self.draws, rng, lambda bins, contrast: self.lines(fixed, view, sample, bins, contrast)
        )

    def lines(self, fixed: EnergyFixed, view: View, sample: Sample, bins: Bins, contrast: FloatArray) -> FloatArray:
        """Energy distance for each column of ``contrast (s, draws + 1)``: ``(1, draws + 1)``."""
        size = bins.window_rows.shape[1] // bins.merged.shape[1]
        level = _level(bins, size)
        window = sample.rows[_thinned(bins.window_rows, size, STRIDES[level])]
        reference = view.sample.rows[_thinned(bins.reference_rows, size, STRIDES[level])]
        across = distances(window, reference)
        rest = _merged(fixed.within[level], bins)
        matrix = np.block([[distances(window, window), across], [across.T, rest]]).astype(np.float64)
        return quadratic(-matrix, contrast)[None]


def distances(x: SingleArray, y: SingleArray) -> SingleArray:
    """Mean Euclidean distances ``(s, t)`` between bins of rows, ``(s, q, d)`` and ``(t, q, d)``."""
    (s, q, d), t = x.shape, len(y)
    out = np.empty((s, t), np.float32)
    flat = y.reshape(t * y.shape[1], d)
    centre = flat[:1].copy() if not len(flat) else flat.mean(axis=0)
    right = kernels.extended(flat, centre)[1]
    for some in kernels.panels(s, q * len(flat)):
        left = kernels.extended(x[some].reshape(-1, d), centre)[0]
        far = left @ right.T
        far *= -2
        np.maximum(far, 0, out=far)
        np.sqrt(far, out=far)
        out[some] = far.reshape(-1, q, len(flat)).sum(axis=1).reshape(-1, t, y.shape[1]).sum(axis=2)
    out /= max(q * y.shape[1], 1)
    return out


def _level(bins: Bins, size: int) -> int:
    """Position in `STRIDES` of the first that keeps within `MOST_DISTANCES`, or of the last."""
    for level, step in enumerate(STRIDES):
        kept = -(-size // step) / size
        rows = bins.window_rows.size * kept
        if rows * (rows + bins.reference_rows.size * kept) <= MOST_DISTANCES:
            return level
    return len(STRIDES) - 1


def _thinned(rows: IntArray, size: int, step: int) -> IntArray:
    """Every ``step``-th row of each block of ``size`` rows: ``(s, k size)`` to ``(s, fewer)``."""
    return rows.reshape(len(rows), -1, size)[:, :, ::step].reshape(len(rows), -1)


def _merged(within: SingleArray, bins: Bins) -> SingleArray:
    """Mean distances between bins of half B from those between blocks."""
    rows = within[bins.merged].mean(axis=1)
    merged: SingleArray = rows[:, bins.merged].mean(axis=2)
    return merged
