"""H17 `label_disagreement`: labels that contradict those of trusted rows nearby.

Question: what label would the trusted rows give this row, how surely, and does its own contradict them?
Statistic: two scores by class added: the share of the 10 nearest trusted rows with that label, and a ridge classifier
on cosines and sines fitted to the trusted labels (nearest rows alone find fewer: AUROC .952 against .974 on spambase).
Calibration: every trusted row is judged by the others alone (exactly, by the leave-one-out formula of ridge
regression); `detectors.poisoning.doubt` has the ruler made of that, `detectors.poisoning.rates` the evidence.
Sees / blind to: wrong labels and dirty-label backdoors where trusted rows are dense; blind to poison with right
labels, to errors that the trusted rows share, and on rows unlike any trusted one (``strange``: do not judge them).
Cost: fit m^2 d + 3 m D^2 operations (5,000 x 64, D = 864: 2 s); a row costs 2 (m d + D C), 60 us at that size.
Source: failures.md H17; Rahimi and Recht 2007 (random features); Rifkin and Lippert 2007 (leave-one-out).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate import kernels
from detectors.poisoning import doubt
from detectors.types import CodeArray, FloatArray, IntArray, SingleArray

NEIGHBOURS = 10
FREQUENCIES = 400
"""Cosines at most: one for five trusted rows."""
MOST_ROWS = 5_000
"""Trusted rows kept at most."""
LEAST_ROWS = 50
"""Fewer trusted rows judge nothing."""
STRANGE = 0.001
"""A row is strange if at most this share of the trusted rows is as far from the others."""
_FARTHEST = 1e6
"""Beyond that nothing is told apart: squares must not overflow."""
_WIDTHS, _RIDGES = (0.5, 1.0, 2.0), (1e-4, 1e-3, 5e-3, 2e-2, 6e-2)


class LabelsFixed(NamedTuple):
    """What was measured on the trusted rows.

    They themselves, ``rows (m, d)`` and ``label (m,)``, and their ``number (m,)`` among those given; the classifier's
    ``waves (d, D)``, ``weights (2 D + d, C)``, ``offset (C,)`` and length ``width ()``; the leave-one-out scores
    ``loo (m, C)``, the ruler, and sorted distances ``far (m,)`` to the neighbours.
    """

    rows: SingleArray
    label: CodeArray
    number: IntArray
    waves: SingleArray
    weights: SingleArray
    offset: FloatArray
    width: FloatArray
    loo: FloatArray
    ruler: doubt.Ruler
    far: FloatArray


class Judged(NamedTuple):
    """What trusted rows say of some rows, ``(n,)`` each.

    ``votes`` is the share of neighbours with another label; ``strange`` rows, unlike any trusted one, are not known to
    ``doubts``.
    """

    doubts: doubt.Doubts
    votes: FloatArray
    strange: NDArray[np.bool_]


def fit(z: SingleArray, label: CodeArray, classes: int, rng: np.random.Generator, most: int = MOST_ROWS) -> LabelsFixed:
    """Measure trusted rows ``z (m, d)`` with classes 0..C-1 in ``label (m,)``; at most ``most`` of them are kept.

    Rows that are not finite or have no label (-1) are left out; ValueError with fewer than `LEAST_ROWS` others.
    """
    good = np.flatnonzero((label >= 0) & np.isfinite(z).all(axis=1))
    if len(good) < LEAST_ROWS or classes < 2:
        raise ValueError(f"{len(good)} trusted rows of {classes} classes judge no labels")
    kept = np.sort(rng.permutation(good)[:most])
    rows, own = np.ascontiguousarray(z[kept], np.float32), label[kept].astype(np.int32)
    votes, far = _votes(rows, rows, own, classes, itself=True)
    waves, width, weights, offset, loo = _ridge(rows, own, classes, rng)
    ruler = doubt.measure(votes + loo, own)
    return LabelsFixed(rows, own, kept, waves, weights, offset, width, votes + loo, ruler, np.sort(far))


def judge(fixed: LabelsFixed, z: SingleArray, label: CodeArray) -> Judged:
    """Judge rows ``z (n, d)`` with ``label (n,)``; -1 and not finite rows are not known."""
    placed = np.asarray(np.isfinite(z).all(axis=1), bool)
    rows = np.clip(np.where(placed[:, None], z, 0), -_FARTHEST, _FARTHEST).astype(np.float32)
    classes = len(fixed.offset)
    votes, far = _votes(rows, fixed.rows, fixed.label, classes, itself=False)
    scores = votes + _features(rows, fixed.waves, fixed.width) @ fixed.weights + fixed.offset
    beyond = len(fixed.far) - np.searchsorted(fixed.far, far, side="left")
    strange = placed & (beyond <= STRANGE * len(fixed.far)) & (far > fixed.far[len(fixed.far) // 2])
    scores[~placed | strange] = np.nan
    doubts = doubt.read(fixed.ruler, scores, label)
    against = np.where(doubts.known, 1 - votes[np.arange(len(rows)), np.where(doubts.known, label, 0)], np.nan)
    return Judged(doubts, against, strange)


def judge_itself(fixed: LabelsFixed, z: SingleArray, label: CodeArray) -> Judged:
    """Judge the rows that ``fixed`` was fitted to, each by all the others; further ones as by `judge`."""
    judged = judge(fixed, z, label)
    mine = doubt.read(fixed.ruler, fixed.loo, fixed.label)
    for whole, part in zip(judged.doubts, mine, strict=True):
        whole[fixed.number] = part
    judged.strange[fixed.number] = False
    votes, _ = _votes(fixed.rows, fixed.rows, fixed.label, len(fixed.offset), itself=True)
    judged.votes[fixed.number] = 1 - votes[np.arange(len(votes)), fixed.label]
    return judged


def _votes(
    rows: SingleArray, base: SingleArray, given: CodeArray, classes: int, *, itself: bool
) -> tuple[FloatArray, FloatArray]:
    """Shares of the neighbours' labels ``(n, C)`` and the mean distance to them ``(n,)``."""
    k = min(NEIGHBOURS, len(base) - 1)
    centre = base.mean(axis=0)
    left, right = kernels.extended(rows, centre)[0], kernels.extended(base, centre)[1]
    votes, far = np.zeros((len(rows), classes)), np.zeros(len(rows))
    for some in kernels.panels(len(rows), len(base), 4 * kernels.PANEL):
        near = left[some] @ right.T
        if itself:
            near[np.arange(len(near)), np.arange(len(base))[some]] = -np.inf
        chosen = np.argpartition(near, len(base) - k, axis=1)[:, len(base) - k :]
        at = np.arange(len(near))[:, None] * classes + given[chosen]
        votes[some] = np.bincount(at.reshape(-1), minlength=len(near) * classes).reshape(-1, classes) / k
        square = -2 * np.take_along_axis(near, chosen, axis=1).astype(np.float64)
        far[some] = np.sqrt(np.maximum(square, 0)).mean(axis=1)
    return votes, far


def _features(rows: SingleArray, waves: SingleArray, width: FloatArray) -> SingleArray:
    phase = rows @ waves
    return np.hstack([np.cos(phase), np.sin(phase), rows / np.float32(width)])


def _ridge(
    rows: SingleArray, own: CodeArray, classes: int, rng: np.random.Generator
) -> tuple[SingleArray, FloatArray, SingleArray, FloatArray, FloatArray]:
    """Waves, length, weights, offset and leave-one-out scores of the length and the ridge with the least error."""
    truth = np.eye(classes)[own]
    offset = truth.mean(axis=0)
    number = int(np.clip(len(rows) // 5, 50, FREQUENCIES))
    drawn = rng.standard_normal((rows.shape[1], number)).astype(np.float32)
    middle = kernels.median_heuristic(kernels.pairs(rows, rng))
    least, best = np.inf, (drawn, np.array(middle), drawn, offset, truth)
    for width in (np.array(middle * times) for times in _WIDTHS):
        waves = drawn / np.float32(width)
        shape = _features(rows, waves, width).astype(np.float64)
        values, turn = np.linalg.eigh(shape.T @ shape)
        turned = shape @ turn
        aim, square = turned.T @ (truth - offset), np.square(turned)
        for ridge in _RIDGES:
            inverse = 1 / (np.maximum(values, 0) + ridge * len(rows))
            lever = np.minimum(square @ inverse, 1 - 1e-9)
            loo = truth - (truth - offset - turned @ (inverse[:, None] * aim)) / (1 - lever)[:, None]
            error = float(np.square(truth - loo).mean())
            if error < least:
                weights = (turn @ (inverse[:, None] * aim)).astype(np.float32)
                least, best = error, (waves, width, weights, offset, loo)
    return best
