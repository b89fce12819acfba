"""Kernels of rows, panel by panel: no matrix is ever larger than a panel.

Gaussian ``exp(-|x - y|^2 / (2 l^2))`` and Laplace ``exp(-sqrt(2) |x - y|_1 / l)``, in the precision of the rows. The
exponent of a Gaussian is one matrix product: rows are extended by their squared length and by 1, so that the product
of two extended rows is already ``-|x - y|^2 / 2``.

Source: Biggs, Schrab and Gretton 2023 (MMD-FUSE: these two kernels and the range of bandwidths).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray

Rows = NDArray[np.floating]

PANEL = 1 << 18
"""Entries of a panel: a megabyte of float32 stays in the cache."""
SAMPLE = 400
"""Rows whose distances tell the bandwidths."""


def panels(rows: int, width: int, entries: int = PANEL) -> Iterator[slice]:
    """Slices of ``rows`` rows, each at most ``entries`` numbers of ``width`` a row (at least one row)."""
    step = max(1, entries // max(width, 1))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def extended(rows: Rows, centre: Rows) -> tuple[Rows, Rows]:
    """Left and right factors ``(n, d + 2)``: ``left @ right.T`` is ``-|x - y|^2 / 2``."""
    moved = rows - centre
    half = -0.5 * np.square(moved).sum(axis=1, keepdims=True)
    one = np.ones_like(half)
    return np.hstack([moved, half, one]), np.hstack([moved, one, half])


def gaussian(exponent: Rows, bandwidth: float, out: Rows | None = None) -> Rows:
    """Gaussian kernel values from ``-|x - y|^2 / 2`` of any shape."""
    out = np.multiply(exponent, exponent.dtype.type(1 / bandwidth**2), out=out)
    return np.exp(out, out=out)


def laplace(distances: Rows, bandwidth: float, out: Rows | None = None) -> Rows:
    """Laplace kernel values from city-block distances of any shape."""
    out = np.multiply(distances, distances.dtype.type(-np.sqrt(2) / bandwidth), out=out)
    return np.exp(out, out=out)


def city_block(x: Rows, y: Rows) -> Rows:
    """Distances ``(n, m)`` in the 1-norm."""
    from scipy.spatial import distance  # 6 MB that an agent without this kernel does without

    distances: Rows = distance.cdist(x, y, "cityblock").astype(x.dtype)
    return distances


def euclidean(x: Rows, y: Rows) -> Rows:
    """Distances ``(n, m)`` in the 2-norm."""
    centre = y.mean(axis=0)
    left, right = extended(x, centre)[0], extended(y, centre)[1]
    squared = -2 * (left @ right.T)
    longest = max(-float(left[:, -2].min(initial=0)), -float(right[:, -1].min(initial=0)))
    squared[squared <= 16 * np.finfo(squared.dtype).eps * longest] = 0  # what cancellation leaves of equal rows
    distances: Rows = np.sqrt(squared)
    return distances


def spread(distances: NDArray[np.floating]) -> tuple[float, float, float]:
    """Lower 5 %, middle and upper 95 % of distances; zeros stand for ties and count as the median; never 0."""
    values = np.asarray(distances, np.float64).reshape(-1)
    middle = float(np.median(values)) if len(values) else 0.0
    values = np.where(values == 0, middle, values)
    positive = values[values > 0]
    if not len(positive):
        return 1.0, 1.0, 1.0
    low, high = np.partition(positive, [len(positive) // 20, len(positive) * 19 // 20])[
        [len(positive) // 20, len(positive) * 19 // 20]
    ]
    return float(low), middle if middle > 0 else float(np.median(positive)), float(high)


def pairs(rows: Rows, rng: np.random.Generator) -> Rows:
    """Euclidean distances between at most `SAMPLE` of the rows, each pair once."""
    some = rows if len(rows) <= SAMPLE else rows[np.sort(rng.choice(len(rows), SAMPLE, replace=False))]
    return euclidean(some, some)[np.triu_indices(len(some), 1)]


def geometric(distances: NDArray[np.floating], number: int) -> FloatArray:
    """Bandwidths ``(number,)`` from half the 5 % quantile to the 95 % quantile, in equal ratios."""
    low, _, high = spread(distances)
    return np.geomspace(low / 2, high, number)


def linear(distances: NDArray[np.floating], number: int) -> FloatArray:
    """Bandwidths from half the 5 % quantile to twice the 95 % quantile in equal steps, as MMD-FUSE has it."""
    low, _, high = spread(distances)
    return np.linspace(low / 2, 2 * high, number)


def median_heuristic(distances: NDArray[np.floating]) -> float:
    """Median of the distances, 1 where all are 0."""
    return spread(distances)[1]
