"""What an answer does when the input is moved a little: stability, and the radius of randomised smoothing.

Question: does the answer to this input survive changes that should not matter to it?
Statistic: images are turned by 5 degrees, shifted by a pixel, cut to 32 grey levels and median-filtered: mean and
greatest L1 change of the probabilities, share of moves that keep the class. Tables get Gaussian noise of a fraction of
each column's scale. Smoothing: of n answers to f(x + N(0, sigma^2)) k fall into the class that other draws chose.
Null law: p >= Clopper-Pearson's lower bound p_A at 1 - alpha; if p_A > 1/2 the smoothed model answers so to all inputs
within sigma Phi^-1(p_A) (L2, in units of the columns' scales where sigma is one of theirs), else it abstains.
Sees / blind to: inputs at a boundary (AUROC .78-.86 over six attacks, TPR .29-.50 at 5 % FPR for the six small moves);
blind to attacks made robust to these very moves, and to everything about the model as it is served: see `CERTIFIES`.
Cost: 6 to 8 answers an input for the moves; a radius of .5, 1, 1.5, 2, 2.5 sigma takes 19, 40, 100, 301, 1,109 draws.
Source: Cohen, Rosenfeld and Kolter 2019 (algorithm 2); Xu, Evans and Qi 2018 (squeezing); failures.md section 5.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.maths import binomial
from detectors.types import FloatArray, IntArray, SingleArray

CERTIFIES: Final = (
    "The radius certifies the smoothed model, which answers by a vote over noisy copies, and not the model that is "
    "served: it is a measure of stability to be compared over time, and no guarantee for any answer given."
)
DEGREES: Final = 5.0
LEVELS: Final = 32
"""Grey levels of a squeezed image: five bits."""
MOVES: Final = ("turned left", "turned right", "up", "down", "left", "right", "five bits", "median")


class Stability(NamedTuple):
    """How the answers to moved copies differ from that to the original, ``(n,)`` each.

    ``kept`` is the share of copies with the same class, ``change`` the mean and ``worst`` the greatest L1 change of
    the probabilities (0 to 2). NaN where an answer is missing.
    """

    kept: FloatArray
    change: FloatArray
    worst: FloatArray


class Certificate(NamedTuple):
    """``low ()`` bounds the chance of ``top`` under noise; ``radius`` is 0 where the smoothed model ``abstains``."""

    top: int
    hits: int
    draws: int
    low: float
    radius: float
    abstains: bool


def moved(images: SingleArray) -> SingleArray:
    """Copies ``(8, n, h, w, c)`` of images ``(n, h, w, c)``, one for each of `MOVES`."""
    copies = [_turned(images, sign * math.radians(DEGREES)) for sign in (-1.0, 1.0)]
    copies += [_shifted(images, down, right) for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    return np.stack([*copies, _squeezed(images), _median(images)])


def noisy(rows: FloatArray, sigma: FloatArray, copies: int, rng: np.random.Generator) -> FloatArray:
    """Copies ``(copies, n, d)`` of ``rows (n, d)`` with normal noise, ``sigma (d,)`` or ``()``; 0 leaves a column."""
    noise: FloatArray = rng.standard_normal((copies, *rows.shape))
    noise *= sigma
    return noise + rows


def stability(original: FloatArray, copies: FloatArray) -> Stability:
    """Compare probabilities ``(n, C)`` with those of moved copies ``(k, n, C)``."""
    if not copies.shape[0] or not original.shape[1]:
        nothing = np.full(len(original), np.nan)
        return Stability(nothing, nothing, nothing)
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.abs(copies - original).sum(axis=2)
    same = copies.argmax(axis=2) == original.argmax(axis=1)
    known = np.isfinite(apart).all(axis=0)
    kept, change, worst = (np.where(known, each, np.nan) for each in (same.mean(axis=0), apart.mean(0), apart.max(0)))
    return Stability(kept, change, worst)


def certify(choosing: IntArray, counting: IntArray, sigma: float, alpha: float = 0.001) -> Certificate:
    """Certify from the counts by class ``(C,)`` of two separate sets of draws: one chooses the class, one counts it."""
    top = int(np.argmax(choosing))
    hits, draws = int(counting[top]), int(counting.sum())
    low = float(binomial.lower(hits, draws, alpha))
    sure = low > 0.5
    return Certificate(top, hits, draws, low, sigma * float(special.ndtri(low)) if sure else 0.0, not sure)


def _turned(images: SingleArray, angle: float) -> SingleArray:
    """Turned about the centre, between pixels linearly, edges repeated."""
    height, width = images.shape[1:3]
    down, right = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    source_down = np.clip(math.cos(angle) * down - math.sin(angle) * right + (height - 1) / 2, 0, height - 1)
    source_right = np.clip(math.sin(angle) * down + math.cos(angle) * right + (width - 1) / 2, 0, width - 1)
    top, left = (np.floor(each).astype(np.int64) for each in (source_down, source_right))
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    a = (source_down - top).astype(np.float32)[:, :, None]
    b = (source_right - left).astype(np.float32)[:, :, None]
    upper = images[:, top, left] * (1 - b) + images[:, top, beside] * b
    lower = images[:, below, left] * (1 - b) + images[:, below, beside] * b
    turned: SingleArray = upper * (1 - a) + lower * a
    return turned


def _shifted(images: SingleArray, down: int, right: int) -> SingleArray:
    """Shifted by whole pixels, edges repeated."""
    rows = np.clip(np.arange(images.shape[1]) - down, 0, images.shape[1] - 1)
    columns = np.clip(np.arange(images.shape[2]) - right, 0, images.shape[2] - 1)
    shifted: SingleArray = images[:, rows][:, :, columns]
    return shifted


def _squeezed(images: SingleArray) -> SingleArray:
    """Rounded to `LEVELS` levels between each image's own least and greatest value."""
    low = images.min(axis=(1, 2, 3), keepdims=True)
    width = images.max(axis=(1, 2, 3), keepdims=True) - low
    step = np.where(width > 0, width, 1) / np.float32(LEVELS - 1)
    squeezed: SingleArray = (np.rint((images - low) / step) * step + low).astype(np.float32)
    return squeezed


def _median(images: SingleArray) -> SingleArray:
    """Median of each pixel with its neighbours right, below and diagonally."""
    patch = np.stack([images, _shifted(images, -1, 0), _shifted(images, 0, -1), _shifted(images, -1, -1)])
    middle: NDArray[np.float32] = np.sort(patch, axis=0)[1:3].mean(axis=0, dtype=np.float32)
    return middle
