"""Autocorrelation time of a view in the direction in which its rows depend most on their neighbours.

Question: by how much does the variance of a batch's mean exceed that of independent rows, in the worst direction?
Statistic: largest eigenvalue of the covariance of batch means of whitened features (the leading axes of random Fourier
features and of the dimensions themselves), times the rows of a batch; where it is well above the edge of the
Marchenko-Pastur law, which independent rows reach, it is the spike l of l (1 + g / (l - 1)), g directions per batch.
The largest over batches of one, two, four ... runs.
Null law: independent rows give 1.
Sees / blind to: cycles and trends of whatever a witness could learn; blind beyond the longest batch of which there are
enough. A column's own time (`detectors.sequential.dependence`) sees further, one column at a time.
Cost: n F (d + F) operations, once a reference. Source: batch means after Alexopoulos and Seila (1996); Marchenko and
Pastur 1967 (the edge); Baik and Silverstein 2006 (the spike).
"""

from __future__ import annotations

import numpy as np

from detectors.types import Sample, SingleArray

FREQUENCIES = 64
AXES = 24
CLEAR = 1.25
"""So far above the edge an eigenvalue is no noise, heavy tails included."""
LEAST_BATCHES = 48
"""Fewer batches say nothing about so many directions."""
_NOTHING = 1e-9
"""Variance of an axis that is rounding: cosines are in float32."""


def autocorrelation_time(sample: Sample, run: int, rng: np.random.Generator) -> float:
    """Rows that count as one, in the worst direction; ``sample`` holds complete runs of ``run`` rows, in order.

    Within strata: what a stratum's rows have in common is not dependence.
    """
    if len(sample.rows) < LEAST_BATCHES * run:
        return 1.0
    features = _whitened(_features(sample.rows, rng), sample.strata)
    if not features.shape[1]:  # all rows are equal
        return 1.0
    batches = features.reshape(-1, run, features.shape[1]).mean(axis=1, dtype=np.float64)
    best, size = 1.0, run
    while len(batches) >= LEAST_BATCHES:
        largest = float(np.linalg.eigvalsh(np.atleast_2d(np.cov(batches, rowvar=False, ddof=1)))[-1]) * size
        best, size = max(best, _spike(largest, features.shape[1] / len(batches))), 2 * size
        even = len(batches) // 2 * 2
        batches = (batches[:even:2] + batches[1:even:2]) / 2
    return best


def _spike(largest: float, ratio: float) -> float:
    """The variance behind the largest sample eigenvalue, 1 where the others' noise explains it."""
    if largest < CLEAR * (1 + np.sqrt(ratio)) ** 2:
        return 1.0
    middle = largest + 1 - ratio
    return float((middle + np.sqrt(max(middle**2 - 4 * largest, 0.0))) / 2)


def _features(rows: SingleArray, rng: np.random.Generator) -> SingleArray:
    """Cosines and sines at the scale of the median distance, and the dimensions, ``(n, 2 F + d)``."""
    some = rng.choice(len(rows), (2, min(len(rows), 1000)))
    width = max(float(np.median(np.sqrt(np.square(rows[some[0]] - rows[some[1]]).sum(axis=1)))), 1e-6)
    angle = rows @ (rng.standard_normal((rows.shape[1], FREQUENCIES)) / width).astype(np.float32)
    return np.hstack([np.cos(angle), np.sin(angle), rows])


def _whitened(features: SingleArray, strata: np.ndarray[tuple[int], np.dtype[np.int32]]) -> SingleArray:
    """The leading axes, of variance 1 each, less the mean of each stratum; the features are used up."""
    for stratum in np.unique(strata):
        mine = strata == stratum
        features[mine] -= features[mine].mean(axis=0, dtype=np.float64).astype(np.float32)
    values, axes = np.linalg.eigh((features.T @ features).astype(np.float64) / len(features))
    keep = np.flatnonzero(values > max(1e-6 * values[-1], _NOTHING))[-AXES:]
    white: SingleArray = features @ (axes[:, keep] / np.sqrt(values[keep])).astype(np.float32)
    return white
