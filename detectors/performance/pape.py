"""PAPE: the same scores recalibrated for the inputs of now.

Question: how likely is each class given the score, among rows that look like the window's?
Statistic: density ratio w(x) of window to reference by boosted trees (`trees`) on the inputs, the score and the
prediction, each row judged by the half that has not seen it, clipped to [`LEAST`, `MOST`]; isotonic calibration of
reference rows with these weights; then as for `cbpe`.
Error: that of the weighted blocks (Kish). What the ratio itself is wrong by is not in it.
Sees / blind to: inputs that move within a score, as far as the reference has such rows: `outside` is the share of the
window's rows that are `BEYOND` times as frequent as before, for which few old rows stand; `effective` is how many old
rows the weighted ones are worth. Blind to label shift and to another relation of labels and inputs.
Cost: from a bounded sample of at most `MOST_ROWS` rows of either side: 0.3 CPU s for twice 16,384 rows of 16 columns.
Whatever the window, all of its rows are in the figures; the sample only says how to weigh the old ones.
Source: Bialek et al. 2024 (PAPE); Bickel, Brueckner and Scheffer 2009 (ratio by classification).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.multivariate.classifier import mid_ranks
from detectors.performance import trees
from detectors.performance.calibrate import Scale, calibrated, placed
from detectors.performance.cbpe import Noise, noise
from detectors.performance.labelshift import Shift
from detectors.performance.types import Outcomes
from detectors.types import FloatArray, IntArray, SingleArray
from detectors.weights import effective

MOST_ROWS: Final = 16_384
LEAST_ROWS: Final = 200
LEAST: Final = 1e-3
MOST: Final = 50.0
BEYOND: Final = 20.0
ANSWERS: Final = 2
"""Columns that are no inputs: score and prediction."""
_FAR: Final = 6.0
LEAST_EFFECTIVE: Final = 100.0
"""Fewer equally weighted reference rows than this cannot stand for the window."""


class Sample(NamedTuple):
    """Labelled reference rows ``m``: how inputs are binned, ``codes (m, f)``, ``cell (P, m)`` and ``hit (P, m)``."""

    how: trees.Binner
    codes: trees.Codes
    cell: NDArray[np.int32]
    hit: NDArray[np.int8]


class Ratio(NamedTuple):
    """``weight (m,)`` of the sample's rows, of mean 1; window rows ``outside``, rows that the weights are worth.

    ``auc`` tells window and reference rows apart that were left out: 0.5 where nothing has shifted. ``old (m,)`` and
    ``new (n,)`` are the logarithms of the ratio, of rows left out.
    """

    weight: FloatArray
    old: FloatArray
    new: FloatArray
    outside: float
    effective: float
    auc: float


class Weighted(NamedTuple):
    """Chances ``(P, 2, G)`` for the window, and their errors."""

    chance: FloatArray
    noise: Noise


def sample(scale: Scale, outcomes: Outcomes, rows: SingleArray, unit: IntArray, rng: np.random.Generator) -> Sample:
    """Keep `MOST_ROWS` labelled rows with encoded inputs ``rows (n, d)``; ``unit (d,)`` is each one's column."""
    where = placed(scale, outcomes)
    known = np.flatnonzero(where.hit[0] >= 0)
    some = np.sort(rng.choice(known, min(len(known), MOST_ROWS), replace=False))
    seen = _seen(rows, where.usable, where.score, where.prediction)
    how = trees.binner(seen[some], np.append(unit, [-1, -1]))
    return Sample(how, trees.codes(how, seen[some]), where.cell[:, some], where.hit[:, some])


def codes(scale: Scale, known: Sample, outcomes: Outcomes, rows: SingleArray) -> trees.Codes:
    """Bins ``(m, f)`` of a window's usable rows: all that a window keeps of them, of `MOST_ROWS` rows at most."""
    where = placed(scale, outcomes)
    return trees.codes(known.how, _seen(rows, where.usable, where.score, where.prediction))


def ratio(how: trees.Binner, known: trees.Codes, now: trees.Codes) -> Ratio | None:
    """Weigh reference rows ``(m, f)`` for the rows of now ``(n, f)``; None with too few on either side."""
    m, n = len(known), len(now)
    if min(m, n) < LEAST_ROWS:
        return None
    both, y = np.concatenate([known, now]), np.repeat([0.0, 1.0], [m, n])
    balanced = np.repeat([(m + n) / (2 * m), (m + n) / (2 * n)], [m, n])
    log = trees.left_out(trees.crossed(how, both, y, balanced, "logistic"), both)
    weight = np.clip(np.exp(log[:m]), LEAST, MOST)
    auc = (mid_ranks(log)[m:].sum() - n * (n + 1) / 2) / (n * m)
    outside = float((log[m:] > np.log(BEYOND)).mean())
    return Ratio(weight / weight.mean(), log[:m], log[m:], outside, effective(weight), float(auc))


def log_p_same(found: Ratio, label: NDArray[np.integer], prior: FloatArray, shift: Shift | None, tau: float) -> float:
    """Log p that old rows, weighted by the shares of their classes ``label (m,)``, have the inputs of the new ones.

    The mean of the left-out log ratio is compared: where inputs have the same law, nothing is left to tell apart.
    Without a ``shift`` of the classes all old rows weigh alike.
    """
    mass = np.ones(len(label)) if shift is None else (shift.share / prior)[label]
    old, new = np.clip(found.old, -_FAR, _FAR), np.clip(found.new, -_FAR, _FAR)
    mean = float(mass @ old / mass.sum())
    variance = new.var() / len(new) + float(np.square(mass) @ np.square(old - mean)) / mass.sum() ** 2
    variance = variance * max(tau, 1.0)
    if shift is not None:  # the shares have errors of their own
        by_class = np.bincount(label, old, minlength=len(prior)) / np.maximum(
            np.bincount(label, minlength=len(prior)), 1
        )
        variance += max(float(by_class @ shift.covariance @ by_class), 0.0)
    apart = float(new.mean()) - mean
    return float(special.log_ndtr(-apart / math.sqrt(variance))) if variance > 0 else 0.0


def weighted(scale: Scale, known: Sample, weight: FloatArray) -> Weighted:
    """Recalibrate with the weights ``(m,)``."""
    p, _, g = scale.chance.shape

    def sums(mass: FloatArray) -> FloatArray:
        return np.array([np.bincount(one, mass, minlength=2 * g) for one in known.cell], np.float64).reshape(p, 2, g)

    hits: FloatArray = np.array(
        [np.bincount(one, weight * hit, minlength=2 * g) for one, hit in zip(known.cell, known.hit, strict=True)],
        np.float64,
    )
    rows, squares = sums(weight), sums(np.square(weight))
    chance, block = calibrated(rows, hits.reshape(p, 2, g), apart=len(scale.sure) > 0)
    # each block is worth (sum w)^2 / (sum w^2) rows; shares of it go to its cells as their weight does
    mass, square = (np.bincount(block.ravel(), one.ravel()) for one in (rows, squares))
    worth = np.divide(mass, square, out=np.zeros_like(mass), where=square > 0)
    return Weighted(chance, noise(chance, block, rows * worth[block]))


def _seen(rows: SingleArray, usable: NDArray[np.bool_], score: FloatArray, prediction: IntArray) -> SingleArray:
    """Inputs with score and prediction beside them."""
    with np.errstate(over="ignore"):
        answers = np.stack([score, prediction], axis=1).astype(np.float32)
    return np.hstack([rows[usable].astype(np.float32, copy=False), answers])
