"""H20 `activation_clustering`: rows of one class that fall into two groups, as other classes do not.

Question: H0: the class falls into two groups no more clearly than trusted rows of it (or the other classes) do.
Statistic: ten leading axes of the class's rows, 2-means, mean (simplified) silhouette: how much nearer rows are to
their own centre than to the other.
Null law: with trusted rows a Gumbel law with the mean and deviation of their bootstrap samples' silhouettes; without
them Student's prediction of one more class from the others' silhouettes. There is always a smaller cluster: its mere
existence says nothing, nor does a fixed limit on the silhouette; a class of two like halves is not poisoned.
Sees / blind to: a backdoor in the embedding of a model that learnt it (no trusted rows needed); blind with fewer than
`LEAST_CLASSES` classes, in embeddings of a model that did not learn it, and if several classes are poisoned alike.
Cost: n (d^2 + 20) a class. Source: Chen et al. 2018 (activation clustering); failures.md H20.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.poisoning import rates
from detectors.types import CodeArray, FloatArray, SingleArray

AXES = 10
LEAST_CLASSES = 5
DRAWS = 40
MINORITY = 0.35
"""Poison is a smaller share of its class than this (the value of Chen et al. and of ART)."""
LEAST_ROWS = 50
"""Rows of a class that takes part at least."""
_SWEEPS = 100


class Clusters(NamedTuple):
    """What was found in each class, NaN where it took no part, and of each row.

    By class ``(C,)``: the ``silhouette``, ``log_p`` and the ``share`` of the smaller group; by row ``(n,)``: whether it
    is in the ``smaller`` group of its class.
    """

    silhouette: FloatArray
    log_p: FloatArray
    share: FloatArray
    smaller: NDArray[np.bool_]


def clusters(z: SingleArray, label: CodeArray, classes: int) -> Clusters:
    """Compare the classes of rows ``(n, d)``, finite, with labels 0..C-1 (-1: none) with each other."""
    found = _found(z, label, classes)
    found.log_p[:] = _unlike_others(found.silhouette)
    return _minority(found)


def null_of(trusted: SingleArray, size: int, rng: np.random.Generator) -> FloatArray:
    """Silhouettes ``(40,)`` of samples of trusted rows ``(m, d)`` of one class; none with too few of them."""
    if len(trusted) < LEAST_ROWS:
        return np.zeros(0)
    rows, size = trusted.astype(np.float64), min(len(trusted), max(size, LEAST_ROWS))
    return np.array([_two_means(rows[rng.integers(0, len(rows), size)])[0] for _ in range(DRAWS)])


def clusters_against(nulls: Sequence[FloatArray], z: SingleArray, label: CodeArray) -> Clusters:
    """Compare each class of rows ``(n, d)`` with what `null_of` says of its trusted rows, ``C`` of them."""
    found = _found(z, label, len(nulls))
    for c, null in enumerate(nulls):
        if len(null) and np.isfinite(found.silhouette[c]):
            found.log_p[c] = rates.upper_tail(float(found.silhouette[c]), null)
    return _minority(found)


def _found(z: SingleArray, label: CodeArray, classes: int) -> Clusters:
    blank = np.full(classes, np.nan)
    found = Clusters(blank, blank.copy(), blank.copy(), np.zeros(len(z), bool))
    for c in range(classes):
        mine = np.flatnonzero(label == c)
        if len(mine) >= LEAST_ROWS:
            found.silhouette[c], small = _two_means(z[mine].astype(np.float64))
            found.smaller[mine] = small
            found.share[c] = small.mean()
    return found


def _minority(found: Clusters) -> Clusters:
    """Nothing speaks against a class of two like halves."""
    found.log_p[(found.share > MINORITY) & np.isfinite(found.log_p)] = 0.0
    return found


def _unlike_others(values: FloatArray) -> FloatArray:
    """Upper tail of each value given the others; NaN with fewer than `LEAST_CLASSES`."""
    out = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < LEAST_CLASSES:
        return out
    for c in known:
        others = values[known[known != c]]
        size = len(others)
        deviation = max(float(others.std(ddof=1)), 1e-9) * np.sqrt(1 + 1 / size)
        t = (values[c] - others.mean()) / deviation
        out[c] = np.log(max(float(special.stdtr(size - 1, -t)), 1e-300))
    return out


def _two_means(rows: FloatArray) -> tuple[float, NDArray[np.bool_]]:
    """Silhouette and the smaller of two groups, begun at the sides of the first axis."""
    rows = rows - rows.mean(axis=0)
    turn = np.linalg.eigh(rows.T @ rows)[1]
    seen = rows @ turn[:, ::-1][:, :AXES]
    side = seen[:, 0] > 0
    for _ in range(_SWEEPS):
        if side.all() or not side.any():
            return 0.0, np.zeros(len(rows), bool)
        far = np.stack([np.linalg.norm(seen - seen[part].mean(axis=0), axis=1) for part in (side, ~side)])
        moved = far[0] < far[1]
        if np.array_equal(moved, side):
            break
        side = moved
    silhouette = float((np.abs(far[0] - far[1]) / np.maximum(far.max(axis=0), 1e-300)).mean())
    return silhouette, side if side.sum() * 2 <= len(side) else ~side
