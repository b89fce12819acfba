"""Energy of each row along the reference's weak directions (H4).

Question: does a row vary along directions in which reference rows do not?
Statistic: log mean over a band of principal axes of the squared score over the axis's variance. Bands: the first 1 %,
10 %, 50 % of the axes, and the others; the last is the adversarial one (names ``tail_energy_1`` ... ``_4``). Images of
more than 1,024 numbers are taken apart into patches of 8 x 8 that share their axes; at most 64 of them are looked at.
Calibration: ranks among held-out reference rows (`detectors.rows.fusion`).
Sees / blind to: perturbations, which spread over all directions alike, and changes of the pipeline (noise, scaling,
compression); blind to perturbations made within the strong directions, and to what went through the same compression
as the reference. A harmless noise of 1 % sets it off on every row: it says who changed, not why.
Cost: D^2 multiplications a row (patches: 192 D). Memory: D^2 numbers.
Source: Hendrycks and Gimpel 2016 (low-ranked components); H4.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.rows.spaces import Axes, projected
from detectors.types import FloatArray, IntArray, SingleArray

NAMES = ("tail_energy_1", "tail_energy_2", "tail_energy_3", "tail_energy_4")
MOST = 1024
"""Dimensions of a row that is looked at as a whole."""
LEAST = 4
"""Dimensions below which there are no bands."""
SIDE = 8
"""Height and width of a patch."""
_PATCHES = 8
"""Patches along either side of an image, at most."""
_ENDS = (0.01, 0.1, 0.5, 1.0)
_FLOOR = 1e-6
"""Least variance of an axis, as a share of the mean one."""
_TINY = 1e-12
_FAR = 1e8
"""Rows are clipped to this many spreads of the reference, so that no product overflows."""
_FIT_PATCHES = 20_000


class TailFixed(NamedTuple):
    """``axes`` whiten a row or a patch, ``ends (4,)`` are the bands' last axes, all the same: none of its own.

    ``reach ()`` is how far a value may be from the centre before it is clipped. ``shape (3,)`` are height, width and
    channels where rows are images in patches, else 0. Axes of no dimension: no scores.
    """

    axes: Axes
    ends: IntArray
    reach: SingleArray
    shape: IntArray


def fit(rows: SingleArray, shape: tuple[int, int, int], rng: np.random.Generator) -> TailFixed:
    """Measure on rows ``(n, D)``; ``shape`` is that of the images in them, (0, 0, 0) for other rows."""
    rows = rows[np.isfinite(rows).all(axis=1)]
    patched = rows.shape[1] > MOST and min(shape[:2]) >= SIDE
    size = np.array(shape if patched else (0, 0, 0), np.int64)
    pieces = _patches(rows, size) if patched else rows
    some = rng.permutation(len(pieces))[:_FIT_PATCHES] if patched else np.arange(len(pieces))
    d = pieces.shape[1]
    if not LEAST <= d <= MOST or len(some) <= LEAST:
        return TailFixed(
            Axes(np.zeros(0, "f4"), np.zeros((0, 0), "f4")), np.zeros(4, np.int64), np.array(0, "f4"), size
        )
    axes, reach = _whitened(pieces[np.sort(some)])
    ends = np.minimum(np.maximum(np.ceil(np.array(_ENDS) * d).astype(np.int64), 1), d)
    return TailFixed(axes, ends, reach, size)


def measures(fixed: TailFixed, rows: SingleArray) -> FloatArray:
    """Scores ``(n, 4)`` as in `NAMES`, NaN where a row is not finite and for bands without axes."""
    out = np.full((len(rows), len(NAMES)), np.nan)
    d = fixed.axes.axes.shape[0]
    pieces = _patches(rows, fixed.shape) if fixed.shape.any() else rows
    if not d or pieces.shape[1] != d or not len(rows):
        return out
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = fixed.axes.centre - fixed.reach, fixed.axes.centre + fixed.reach
        kept = np.where(np.isfinite(pieces), np.clip(pieces, low, high), np.nan).astype(np.float32)
    energy = np.square(projected(fixed.axes, kept))
    start = 0
    for band, end in enumerate(fixed.ends.tolist()):
        if end > start:
            each = energy[:, start:end].mean(axis=1, dtype=np.float64)
            out[:, band] = np.log(each.reshape(len(rows), -1).mean(axis=1) + _TINY)
        start = end
    return out


def _whitened(rows: SingleArray) -> tuple[Axes, SingleArray]:
    """Principal axes by falling variance, each divided by its spread; and the reach."""
    centre = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    apart = rows - centre
    spread = max(float(np.abs(apart).mean(dtype=np.float64)), _TINY)
    apart = apart / np.float32(spread)
    variance, axes = np.linalg.eigh(apart.T @ apart / np.float32(len(rows)))
    variance, axes = variance[::-1].astype(np.float64), axes[:, ::-1]
    floor = _FLOOR * max(float(variance.mean()), _TINY)
    scaled = axes / (np.sqrt(np.maximum(variance, floor)) * spread)
    return Axes(centre, np.ascontiguousarray(scaled, np.float32)), np.array(spread * _FAR, np.float32)


def _patches(rows: SingleArray, shape: IntArray) -> SingleArray:
    """Patches ``(n * patches, 64 * channels)`` on a regular grid over the images."""
    height, width, channels = shape.tolist()
    pixels = rows.reshape(len(rows), height, width, channels)
    top, left = _corners(height), _corners(width)
    y = (top[:, None] + np.arange(SIDE)).reshape(-1)
    x = (left[:, None] + np.arange(SIDE)).reshape(-1)
    cut = pixels[:, y][:, :, x].reshape(len(rows), len(top), SIDE, len(left), SIDE, channels)
    flat: SingleArray = cut.transpose(0, 1, 3, 2, 4, 5).reshape(-1, SIDE * SIDE * channels)
    return flat


def _corners(length: int) -> IntArray:
    """Where patches begin along a side: next to each other, or spread over it if they are fewer than would fit."""
    number = min(length // SIDE, _PATCHES)
    out: IntArray = np.linspace(0, length - SIDE, number).astype(np.int64)
    return out
