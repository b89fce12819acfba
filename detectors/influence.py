"""Which reference rows speak for and against an answer, by the model's last layer alone.

Question: had the last layer been trained on the reference rows, which of them raise the margin of this row's answer,
log p_y / (1 - p_y), and which lower it?
Statistic: tau_i(x) = phi(x)' (H + lambda I)^-1 phi_i q_i, where phi = a (x) z is the margin's gradient with respect to
the last layer (a_y = 1, a_j = -p_j / (1 - p_y); z the embedding and a 1), q = 1 - p_y what the row's loss weighs it by,
H = sum_i (diag p_i - p_i p_i') (x) z_i z_i' the loss's Hessian and lambda its mean eigenvalue. TRAK has sum_i phi_i
phi_i' in the place of H; with the same ridge H ranks retrainings better at every setting of tests/bench/influence.py.
Calibration: none; scores order reference rows and have no level. Rank correlation with retraining on halves: .98, .89,
.78 (a network's features; the layer's own ridge .01, .001, .0001), .94, .78, .60 (pixels): the less a layer was held
back, the less a linear account tells of it.
Sees / blind to: the last layer only: what earlier layers learnt from a row is out of reach, and so are rows that the
model was trained on and the reference lacks. Where the embedding comes from a model that has itself learnt wrong labels
by heart (p_y near 1) these have q near 0 and do not show.
Cost: O(m k^2) once with k <= 640 parameters, O(m k) a row explained; m k float32 are kept (26 MB for 10,000 rows).
Only after an alarm. Source: Park et al. 2023 (TRAK, one model); Koh and Liang 2017; failures.md 7.2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from detectors.types import FloatArray, IntArray, SingleArray

MOST_PARAMETERS = 640
"""Parameters of the last layer at most: beyond, embeddings and then classes are reduced to their principal axes."""
MOST_CLASSES = 32
"""Principal axes of classes at most."""
_LEAST = 1e-12


class InfluenceFixed(NamedTuple):
    """What the reference rows ``(m,)`` do to any answer.

    Embeddings are seen as ``z @ turn (d, r)`` with a 1 beside it, classes through ``axes (C, c)``. ``solved (m, k)``,
    k = c (r + 1), is (H + lambda I)^-1 phi_i q_i; zero for rows without embedding, probabilities or label.
    """

    turn: FloatArray
    axes: FloatArray
    solved: SingleArray


class Exemplars(NamedTuple):
    """For each of ``n`` rows the reference rows that speak most for and most against its answer, ``(n, k)`` each."""

    supporting: IntArray
    opposing: IntArray


def fit(embeddings: ArrayLike, probabilities: ArrayLike, labels: ArrayLike) -> InfluenceFixed:
    """Measure reference rows: embeddings ``(m, d)``, probabilities ``(m, C)``, labels ``(m,)``.

    Embeddings have a few hundred dimensions at most (an encoder sees to that). Labels are classes 0..C-1, -1 where
    missing. `ValueError` if no row has all three.
    """
    z, p, y, usable = _checked(embeddings, probabilities, labels)
    if not usable.any():
        raise ValueError("no reference row has an embedding, probabilities and a label")
    axes = _class_axes(p[usable])
    turn = _turn(z[usable], MOST_PARAMETERS // axes.shape[1] - 1)
    seen = _seen(z[usable], turn)
    inverse = _inverse(seen, p[usable], axes)
    q = 1.0 - p[usable, y[usable]]
    solved = np.zeros((len(z), len(inverse)), np.float32)
    solved[usable] = (_gradients(seen, p[usable], y[usable], axes) * q[:, None].astype(np.float32)) @ inverse
    return InfluenceFixed(turn, axes, solved)


def attribution(
    fixed: InfluenceFixed, embeddings: ArrayLike, probabilities: ArrayLike, answers: ArrayLike
) -> FloatArray:
    """Influence of each reference row on the margins of ``answers (n,)``, ``(n, m)``; NaN rows where anything lacks."""
    z, p, y, usable = _checked(embeddings, probabilities, answers)
    found = np.full((len(z), len(fixed.solved)), np.nan)
    gradients = _gradients(_seen(z[usable], fixed.turn), p[usable], y[usable], fixed.axes)
    found[usable] = gradients @ fixed.solved.T
    return found


def exemplars(scores: FloatArray, number: int) -> Exemplars:
    """The ``number`` reference rows of largest and of smallest influence on each row, most extreme first; -1: none.

    Only positive influence supports and only negative opposes.
    """
    known = np.nan_to_num(scores, nan=0.0)
    order = np.argsort(known, axis=1, kind="stable")
    lowest, highest = order[:, :number], order[:, ::-1][:, :number]
    picked = [np.take_along_axis(known, some, axis=1) for some in (highest, lowest)]
    return Exemplars(np.where(picked[0] > 0, highest, -1), np.where(picked[1] < 0, lowest, -1))


def _checked(
    embeddings: ArrayLike, probabilities: ArrayLike, labels: ArrayLike
) -> tuple[FloatArray, FloatArray, IntArray, NDArray[np.bool_]]:
    """The three as arrays, probabilities summing to 1, and which rows have all of them."""
    z, p = np.asarray(embeddings, np.float64), np.asarray(probabilities, np.float64)
    y = np.asarray(labels, np.int64)
    p = np.where(np.isfinite(p) & (p > 0), p, np.where(np.isnan(p), np.nan, 0.0))
    total = p.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = p / total
    finite = np.isfinite(z).all(axis=1) & (np.abs(z) < 1e100).all(axis=1) & np.isfinite(p).all(axis=1)
    return z, p, y, finite & (y >= 0) & (y < p.shape[1])


def _class_axes(p: FloatArray) -> FloatArray:
    """Classes as they are, or the principal axes of where the model doubts ``(C, c)``."""
    number = p.shape[1]
    if number <= MOST_CLASSES:
        return np.eye(number)
    doubt = np.diag(p.mean(axis=0)) - p.T @ p / len(p)
    axes: FloatArray = linalg.eigh(doubt, subset_by_index=[number - MOST_CLASSES, number - 1])[1]
    return axes


def _turn(z: FloatArray, most: int) -> FloatArray:
    """Axes of the embeddings ``(d, r)``, so scaled that a dimension's mean square is 1 on average."""
    d = z.shape[1]
    turn = np.eye(d)
    if d > most:
        turn = linalg.eigh(z.T @ z, subset_by_index=[d - most, d - 1])[1]
    size = float(np.sqrt(np.square(z @ turn).mean())) if turn.size else 1.0
    return turn / (size or 1.0)


def _seen(z: FloatArray, turn: FloatArray) -> SingleArray:
    """Embeddings in the reduced space, with a 1 for the layer's constant ``(n, r + 1)``."""
    seen: SingleArray = np.column_stack([z @ turn, np.ones(len(z))]).astype(np.float32)
    return seen


def _gradients(seen: SingleArray, p: FloatArray, y: IntArray, axes: FloatArray) -> SingleArray:
    """Gradients of the margins of classes ``y`` with respect to the last layer ``(n, c (r + 1))``."""
    one = np.arange(len(y))
    rest = p.copy()
    rest[one, y] = 0.0
    towards = -rest / np.maximum(rest.sum(axis=1, keepdims=True), _LEAST)
    towards[one, y] = 1.0
    turned = (towards @ axes).astype(np.float32)
    every: SingleArray = (turned[:, :, None] * seen[:, None, :]).reshape(len(y), turned.shape[1] * seen.shape[1])
    return every


def _inverse(seen: SingleArray, p: FloatArray, axes: FloatArray) -> SingleArray:
    """Inverse ``(k, k)`` of the Hessian of the cross-entropy with its mean eigenvalue as the ridge."""
    c, r = axes.shape[1], seen.shape[1]
    along = p @ axes
    hessian = np.empty((c, r, c, r))
    for i in range(c):
        for j in range(i + 1):
            weight = (p @ (axes[:, i] * axes[:, j]) - along[:, i] * along[:, j]).astype(np.float32)
            hessian[i, :, j, :] = hessian[j, :, i, :] = (seen * weight[:, None]).T @ seen
    square = hessian.reshape(c * r, c * r)
    ridge = max(float(np.trace(square)) / len(square), _LEAST)
    square[np.diag_indices_from(square)] += ridge
    inverse: SingleArray = linalg.inv(square, overwrite_a=True, check_finite=False).astype(np.float32)
    return inverse
