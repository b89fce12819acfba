"""SliceLine's score with a lower bound of the slice's mean loss, and the most that a part of a slice can score."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from detectors.types import FloatArray

ALPHA: Final = 0.98
"""What a slice's loss counts against its size. 0.95 in the paper, where size has to make up for noise, which the lower
bound does here; with 0.6 a group of 5 % of the rows would have to have 14 times the usual loss."""
_WIDE: Final = 1.959964


class Sums(NamedTuple):
    """Of slices ``(s,)``: rows, sums of their losses and of the squares of these, and the largest loss."""

    rows: FloatArray
    loss: FloatArray
    squares: FloatArray
    most: FloatArray


def lowest(sums: Sums) -> FloatArray:
    """A lower bound (97.5 %) of the mean loss ``(s,)``: Wilson's where losses are all 0 or 1, else a similar one.

    A mean m of losses up to ``most`` with variance v is treated as a share m / most of v / (m (most - m)) times fewer
    rows, which is Wilson's bound itself for 0 and 1.
    """
    n, most = np.maximum(sums.rows, 1), np.maximum(sums.most, 1e-300)
    mean = sums.loss / n
    share = np.clip(mean / most, 0.0, 1.0)
    variance = np.maximum(sums.squares / n - mean * mean, 0.0) / most / most
    usual = share * (1 - share)
    ratio = np.where(usual > 0, np.clip(variance / np.where(usual > 0, usual, 1.0), 1e-3, 1.0), 1.0)
    square = _WIDE**2 * ratio / n
    root = np.sqrt(square * (usual + square / 4))
    return np.maximum((share + square / 2 - root) / (1 + square), 0.0) * most


def score(sums: Sums, n: int, total: float) -> FloatArray:
    """Score ``(s,)`` with the lower bound; above 0: worse than usual by more than the slice is small."""
    return _score(sums.rows, lowest(sums), n, total)


def bound(sums: Sums, n: int, total: float, least: int) -> FloatArray:
    """The most that any part of a slice with at least ``least`` rows can score ``(s,)``.

    Between ``least`` rows and all of them the score is monotone on either side of where all rows have the largest loss.
    """
    full = np.clip(sums.loss / np.maximum(sums.most, 1e-300), least, np.maximum(sums.rows, least))
    sizes = (np.full(len(full), float(least)), full, np.maximum(sums.rows, least))
    most: FloatArray = np.max([_score(s, np.minimum(sums.loss / s, sums.most), n, total) for s in sizes], axis=0)
    return most


def _score(rows: FloatArray, mean: FloatArray, n: int, total: float) -> FloatArray:
    usual = max(total / max(n, 1), 1e-300)
    return ALPHA * (mean / usual - 1) - (1 - ALPHA) * (n / np.maximum(rows, 1) - 1)
