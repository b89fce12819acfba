"""How sure the model says it is of each row (H1a, H1b).

Question: is an answer less sure, or more, than the model's answers to reference rows?
Statistic: 1 - greatest probability, entropy, greatest less second probability; energy -logsumexp of the logits.
Calibration: ranks among held-out reference rows (`detectors.rows.fusion`), two-sided: strong attacks are too sure.
Sees / blind to: inputs at a decision boundary, noise; blind to attacks that make the model as sure as it always is.
Cost: O(C) a row. Source: Hendrycks and Gimpel 2017; Liu, Wang, Owens and Li 2020 (energy, equation 4); H1.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp, xlogy

from detectors.types import FloatArray, SingleArray

NAMES = ("confidence", "entropy", "margin", "energy")
_BINARY = 2
_FEW = 16
"""Up to so many classes they are looked at one by one, for all rows at once."""
_TINY = np.float32(1e-30)


def measures(probabilities: SingleArray, logits: SingleArray) -> FloatArray:
    """Scores ``(n, 4)`` as in `NAMES` of rows ``(n, C)``; NaN where not logged, not finite, or (C = 2) said already."""
    out = np.full((len(probabilities), len(NAMES)), np.nan)
    p = probabilities.astype(np.float64)
    if p.shape[1] >= _BINARY:
        out[:, 0] = 1 - p.max(axis=1)
    if p.shape[1] > _BINARY:
        with np.errstate(invalid="ignore"):
            out[:, 1] = -xlogy(p, p).sum(axis=1)
        out[:, 2] = margins(probabilities)
    if logits.shape[1]:
        out[:, 3] = -logsumexp(logits.astype(np.float64), axis=1)
    out[~np.isfinite(out)] = np.nan
    return out


def top_two(p: SingleArray) -> tuple[SingleArray, SingleArray]:
    """Greatest and second number ``(n,)`` of each row of ``p (n, C)``, C of 2 or more; NaN in rows of NaN."""
    if p.shape[1] > _FEW:
        rows, best = np.arange(len(p)), p.argmax(axis=1)
        others = p.copy()
        others[rows, best] = -np.inf
        return p[rows, best], others.max(axis=1)
    classes = np.ascontiguousarray(p.T)
    first, second = np.maximum(classes[0], classes[1]), np.minimum(classes[0], classes[1])
    for chance in classes[2:]:
        np.maximum(second, np.minimum(first, chance), out=second)
        np.maximum(first, chance, out=first)
    return first, second


def entropy(p: SingleArray) -> SingleArray:
    """Entropy ``(n,)`` in nats of each row of ``p (n, C)``; what is not above 0 counts as 0."""
    some = np.maximum(p, _TINY)
    out: SingleArray = -np.einsum("ij,ij->i", some, np.log(some))
    return out


def margins(probabilities: SingleArray) -> FloatArray:
    """Greatest less second probability ``(n,)``, NaN where one is not finite or there are fewer than two."""
    if probabilities.shape[1] < _BINARY:
        return np.full(len(probabilities), np.nan)
    finite = np.all(np.isfinite(probabilities), axis=1)
    top = np.partition(np.where(finite[:, None], probabilities, 0).astype(np.float64), -2, axis=1)[:, -2:]
    out: FloatArray = np.where(finite, top[:, 1] - top[:, 0], np.nan)
    return out
