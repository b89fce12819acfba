"""H18 `label_noise`: labels that contradict the deployed model's probabilities (confident learning).

Question: is a row labelled otherwise than a model is confident of that never saw this label?
Statistic: thresholds t_c, the mean p_c over trusted rows labelled c; the confident class is the likeliest of those
with p_c >= t_c; a row is off if it has one and is labelled otherwise. Ranked by the other class's p less the own's.
Calibration: `detectors.poisoning.doubt`: how often trusted labels contradict the same probabilities, by sureness.
Sees / blind to: flips that the model would have got right; blind to errors that model makes itself, and useless with
probabilities of a model that was trained on these very labels (it has learnt the poison: loss is low on backdoors).
Cost: n C. Source: Northcutt, Jiang and Chuang 2021 (confident learning, section 3.1); failures.md H18.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.poisoning import doubt
from detectors.types import CodeArray, FloatArray, IntArray, SingleArray


class NoiseFixed(NamedTuple):
    """``thresholds (C,)`` of confidence, infinite for classes without trusted rows, and the ruler."""

    thresholds: FloatArray
    ruler: doubt.Ruler


NOTHING = NoiseFixed(
    np.zeros(0),
    doubt.Ruler(np.zeros(0), *(np.zeros(0, np.int64),) * 2, *(np.zeros((0, 0), np.int64),) * 2, *(np.zeros(0),) * 2),
)
"""Of a log without probabilities."""


def fit(probabilities: FloatArray | SingleArray, label: CodeArray) -> NoiseFixed:
    """Measure trusted rows ``(m, C)`` with labels; ValueError without one that has both."""
    good = (label >= 0) & (label < probabilities.shape[1]) & np.isfinite(probabilities).all(axis=1)
    if not good.any() or probabilities.shape[1] < 2:
        raise ValueError("no trusted row has probabilities and a label")
    p, own = probabilities[good].astype(np.float64), label[good]
    size = np.bincount(own, minlength=p.shape[1])
    total = np.bincount(own, p[np.arange(len(own)), own], minlength=p.shape[1])
    thresholds = np.where(size > 0, total / np.maximum(size, 1), np.inf)
    return NoiseFixed(thresholds, doubt.measure(p, own))


def judge(
    fixed: NoiseFixed, probabilities: FloatArray | SingleArray, label: CodeArray
) -> tuple[doubt.Doubts, NDArray[np.bool_]]:
    """Doubts by these probabilities ``(n, C)``, and which rows are off in the sense of confident learning, ``(n,)``."""
    doubts = doubt.read(fixed.ruler, probabilities.astype(np.float64), label)
    guess = confident(fixed, probabilities)
    return doubts, doubts.known & (guess >= 0) & (guess != label)


def confident(fixed: NoiseFixed, probabilities: FloatArray | SingleArray) -> IntArray:
    """Class ``(n,)`` of which the model is confident, -1 for none."""
    enough = np.where(probabilities >= fixed.thresholds, probabilities, -1.0)
    return np.where(enough.max(axis=1) >= 0, enough.argmax(axis=1), -1)
