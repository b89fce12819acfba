"""Figures of a classifier that are to be expected where only the chances of the labels are known, with their slopes.

Question: a row of cell g with prediction h has its label with chance p; what will the figure be when labels come?
Statistic: the figure of the expected confusion matrix, ranks and losses, cell by cell. Recall, precision and F1 are
ratios of expectations; AUROC counts ties within a cell by half; average precision is the mean over positive rows of the
precision at them, as for labels drawn anew within each cell.
Error: ``slope`` is the derivative by each chance. Labels that are drawn scatter a figure by slope^2 p (1 - p) / n,
summed over the cells (the sampling floor); errors of the chances themselves go the same way.
Sees / blind to: exact for linear figures; others are off by O(1 / rows), and by O(1 / cells) where scores rank.
Cost: O(cells) whatever the number of rows.
Source: Garg et al. 2022 (confidence-based estimation), NannyML's CBPE (expected confusion matrix), Hanley and McNeil
1982.

Shapes: ``P`` problems "class c or not" (one for two classes, one a class for more), 2 predictions (0: another class,
1: this one), ``G`` cells of the score from the least to the greatest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from scipy import special

from detectors.types import FloatArray

S, S2, LOG_S, LOG_REST = range(4)
"""Which sum of a cell: of the scores, their squares, log s, log (1 - s)."""


class Cells(NamedTuple):
    """Rows ``n (P, 2, G)`` by prediction and cell, ``sums (P, 2, 4, G)`` of their scores, chances ``p (P, 2, G)``."""

    n: FloatArray
    sums: FloatArray
    p: FloatArray

    @property
    def rows(self) -> float:
        """Number of rows."""
        return float(self.n[0].sum())


class Slope(NamedTuple):
    """A figure of each problem ``value (P,)`` (NaN where it has none) and its ``slope (P, 2, G)`` by the chances."""

    value: FloatArray
    slope: FloatArray


def _true(cells: Cells) -> tuple[FloatArray, FloatArray, FloatArray]:
    """True positives, predicted and real ones, ``(P, 1, 1)`` each."""
    hits = (cells.n * cells.p).sum(axis=2)[:, :, None, None]
    return hits[:, 1], cells.n[:, 1].sum(axis=1)[:, None, None], hits.sum(axis=1)


def figure(name: str, cells: Cells, *, many: bool) -> Slope:
    """A figure by its name."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (MANY if many else BINARY)[name](cells)


def _of(value: FloatArray, slope: FloatArray) -> Slope:
    usable = np.isfinite(value[:, 0, 0])
    return Slope(value[:, 0, 0], np.where(usable[:, None, None], slope, 0.0))


def accuracy(cells: Cells) -> Slope:
    """Share of right answers."""
    n = max(cells.rows, 1.0)
    sign = np.array([-1.0, 1.0])[:, None]
    right = cells.n[:, 1] * cells.p[:, 1] + cells.n[:, 0] * (1 - cells.p[:, 0])
    return Slope(right.sum(axis=1) / n if cells.rows else np.full(len(cells.n), np.nan), cells.n * sign / n)


def found(cells: Cells) -> Slope:
    """Share of all rows that are rightly given this class: over all classes they add up to the accuracy."""
    n = max(cells.rows, 1.0)
    slope = cells.n * np.array([0.0, 1.0])[:, None] / n
    return Slope((slope * cells.p).sum(axis=(1, 2)), slope)


def precision(cells: Cells) -> Slope:
    """True positives among the predicted ones."""
    tp, predicted, _ = _true(cells)
    chosen = cells.n * np.array([0.0, 1.0])[:, None]
    return _of(tp / predicted, chosen / predicted)


def recall(cells: Cells) -> Slope:
    """True positives among the real ones."""
    tp, _, real = _true(cells)
    chosen = cells.n * np.array([0.0, 1.0])[:, None]
    return _of(tp / real, chosen / real - cells.n * tp / real**2)


def f1(cells: Cells) -> Slope:
    """Harmonic mean of precision and recall."""
    tp, predicted, real = _true(cells)
    chosen, both = cells.n * np.array([0.0, 1.0])[:, None], predicted + real
    return _of(2 * tp / both, 2 * chosen / both - 2 * tp * cells.n / both**2)


def auroc(cells: Cells) -> Slope:
    """Chance that a positive row has the greater score."""
    n = cells.n.sum(axis=1)
    up = (cells.n * cells.p).sum(axis=1)
    down = np.maximum(n - up, 0.0)
    below = np.cumsum(down, axis=1) - down / 2
    above = np.cumsum(up[:, ::-1], axis=1)[:, ::-1] - up / 2
    real, rest = up.sum(axis=1)[:, None], down.sum(axis=1)[:, None]
    area = (up * below).sum(axis=1)[:, None] / (real * rest)
    slope = (below - above) / (real * rest) - area / real + area / rest
    return _of(area[:, :, None], cells.n * slope[:, None])


def average_precision(cells: Cells) -> Slope:
    """Mean precision at the positive rows, from the greatest score down."""
    m = cells.n.sum(axis=1)[:, ::-1]
    up = (cells.n * cells.p).sum(axis=1)[:, ::-1]
    share = up / np.maximum(m, 1.0)
    first, ahead = np.cumsum(m, axis=1) - m, np.cumsum(up, axis=1) - up
    harmonic = special.digamma(first + m + 1) - special.digamma(first + 1)
    total = (m * share**2 + share * (1 + ahead - share * (first + 1)) * harmonic).sum(axis=1)
    real = up.sum(axis=1)
    spread = share * harmonic
    later = np.cumsum(spread[:, ::-1], axis=1)[:, ::-1] - spread
    by_share = 2 * m * share + (1 + ahead - 2 * share * (first + 1)) * harmonic + m * later
    value = total / real
    slope = by_share / real[:, None] / np.maximum(m, 1.0) - (value / real)[:, None]
    return _of(value[:, None, None], cells.n * slope[:, None, ::-1])


def log_loss(cells: Cells) -> Slope:
    """Mean of -log of the probability given to the label, by both sides."""
    n = max(cells.rows, 1.0)
    one, other = cells.sums[:, :, LOG_S], cells.sums[:, :, LOG_REST]
    return Slope(-(cells.p * one + (1 - cells.p) * other).sum(axis=(1, 2)) / n, (other - one) / n)


def log_loss_of_class(cells: Cells) -> Slope:
    """The part of the mean log loss that falls on rows of this class."""
    n = max(cells.rows, 1.0)
    slope = -cells.sums[:, :, LOG_S] / n
    return Slope((cells.p * slope).sum(axis=(1, 2)), slope)


def brier(cells: Cells) -> Slope:
    """Mean squared difference between label and probability."""
    n = max(cells.rows, 1.0)
    slope = (cells.n - 2 * cells.sums[:, :, S]) / n
    return Slope((cells.p * slope).sum(axis=(1, 2)) + cells.sums[:, :, S2].sum(axis=(1, 2)) / n, slope)


BINARY: Final[dict[str, Callable[[Cells], Slope]]] = {
    "accuracy": accuracy,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "auroc": auroc,
    "average_precision": average_precision,
    "log_loss": log_loss,
    "brier": brier,
}
"""Figures of two classes."""
MANY: Final[dict[str, Callable[[Cells], Slope]]] = {
    "accuracy": found,
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "f1_micro": found,
    "auroc": auroc,
    "average_precision": average_precision,
    "log_loss": log_loss_of_class,
    "brier": brier,
}
"""Figures of many classes, from one problem a class: `TOTAL` over them or their mean."""
TOTAL: Final[frozenset[str]] = frozenset({"accuracy", "f1_micro", "log_loss", "brier"})
PROBABILISTIC: Final[frozenset[str]] = frozenset({"log_loss", "brier"})
"""Figures that need scores that are probabilities."""
