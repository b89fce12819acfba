"""Numbers that describe a picture's texture and light, whatever it shows (H4b).

Question: is a picture noisier, softer, lighter, flatter or coarser than reference pictures?
Statistic: by name: ``noise`` (Immerkaer: mean absolute response to a mask that lines and ramps do not pass),
``sharpness`` (log variance of the Laplacian), ``fine_share`` (log energy of neighbours' differences over the variance),
``brightness`` (mean), ``contrast`` (log spread), ``saturation`` (share of pixels at the ends of the reference's
range), ``squeezing`` (mean distance to the nearest of eight grey levels).
Calibration: ranks among held-out reference rows (`detectors.rows.fusion`), two-sided.
Sees / blind to: which corruption it is: noise up is noise, sharpness and fine share far down blur, brightness alone
light, contrast down contrast. Blind to perturbations below the pictures' own texture, and to what is in the picture.
Cost: some 20 passes over the pixels; of larger pictures only the middle 64 x 64 are looked at.
Source: Immerkaer 1996 (equation 4); Xu, Evans and Qi 2018 (squeezing, without the model); H4b.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.types import FloatArray, SingleArray

NAMES = ("noise", "sharpness", "fine_share", "brightness", "contrast", "saturation", "squeezing")
_MIDDLE = 64
_LEAST = 4
_LEVELS = 7
_TINY = 1e-12
_FAR = 1e3
"""Pixels are clipped to this many times the reference's range around it."""


class PixelsFixed(NamedTuple):
    """The range of the reference's pixels; ``low ()`` is not below ``high ()`` where there are no pictures."""

    low: FloatArray
    high: FloatArray


def fit(pixels: SingleArray) -> PixelsFixed:
    """Measure on images ``(n, height, width, channels)``."""
    finite = pixels[np.isfinite(pixels)] if min(pixels.shape[1:3]) >= _LEAST else pixels[:0].reshape(-1)
    if not finite.size:
        return PixelsFixed(np.zeros(()), np.zeros(()))
    return PixelsFixed(np.array(finite.min(), np.float64), np.array(finite.max(), np.float64))


def measures(fixed: PixelsFixed, pixels: SingleArray) -> FloatArray:
    """Scores ``(n, 7)`` as in `NAMES` of images ``(n, height, width, channels)``; NaN where a pixel is not finite."""
    out = np.full((len(pixels), len(NAMES)), np.nan)
    span = float(fixed.high - fixed.low)
    if not span > 0 or not pixels.size:
        return out
    with np.errstate(over="ignore", invalid="ignore"):
        x = np.clip((_middle(pixels) - np.float32(fixed.low)) / np.float32(span), -_FAR, _FAR)
        x[~np.isfinite(pixels).reshape(len(pixels), -1).all(axis=1)] = np.nan
        variance = _mean(np.square(x - x.mean(axis=(1, 2), keepdims=True)))
        out[:, :3] = np.stack(_texture(x, variance), axis=1)
        out[:, 3] = _mean(x)
        out[:, 4] = np.log(variance + _TINY) / 2
        out[:, 5] = _mean(((x <= 0) | (x >= 1)).astype(np.float32)) + 0 * out[:, 3]
        out[:, 6] = _mean(np.abs(x * _LEVELS - np.rint(x * _LEVELS)))
    return out


def _texture(x: SingleArray, variance: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    across = x[:, :, :-2] - 2 * x[:, :, 1:-1] + x[:, :, 2:]
    down = x[:, :-2] - 2 * x[:, 1:-1] + x[:, 2:]
    mask = across[:, :-2] - 2 * across[:, 1:-1] + across[:, 2:]
    laplacian = across[:, 1:-1] + down[:, :, 1:-1]
    sharp = _mean(np.square(laplacian - laplacian.mean(axis=(1, 2), keepdims=True)))
    fine = _mean(np.square(np.diff(x, axis=1))) + _mean(np.square(np.diff(x, axis=2)))
    noise = np.sqrt(np.pi / 2) / 6 * _mean(np.abs(mask))
    return noise, np.log(sharp + _TINY), np.log(fine + _TINY) - np.log(variance + _TINY)


def _mean(x: SingleArray) -> FloatArray:
    out: FloatArray = x.reshape(len(x), -1).mean(axis=1, dtype=np.float64)
    return out


def _middle(pixels: SingleArray) -> SingleArray:
    top, left = (max(size - _MIDDLE, 0) // 2 for size in pixels.shape[1:3])
    return pixels[:, top : top + _MIDDLE, left : left + _MIDDLE]
