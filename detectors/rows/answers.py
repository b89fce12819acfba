"""What the model answered, read from a block: probabilities, logits, classes. All are empty or -1 where not logged."""

from __future__ import annotations

import numpy as np

from detectors.rows.layout import Layout
from detectors.types import Block, CodeArray, IntArray, SingleArray


def place(position: IntArray) -> int:
    """A position of the layout as a number: -1 where the log does not carry it."""
    return int(position.reshape(-1)[0]) if position.size else -1


def vector(position: IntArray, block: Block) -> SingleArray:
    """The vectors ``(n, d)`` at a position of the layout, ``(n, 0)`` where the log carries none."""
    at = place(position)
    return block.vectors[at] if 0 <= at < len(block.vectors) else np.zeros((block.rows, 0), np.float32)


def probabilities(layout: Layout, block: Block) -> SingleArray:
    """Probabilities ``(n, C)`` as logged, from logits or from a score (C = 2); ``(n, 0)`` where there are none."""
    logged = vector(layout.probabilities, block)
    if logged.shape[1]:
        return logged
    logits = vector(layout.logits, block)
    if logits.shape[1]:
        return softmax(logits)
    chance = _score(layout, block)
    return np.stack([1 - chance, chance], axis=1) if len(chance) else np.zeros((block.rows, 0), np.float32)


def predicted(layout: Layout, block: Block) -> CodeArray:
    """Class of each answer ``(n,)``, -1 where unknown: the logged one, or the one of greatest probability."""
    unit, numeric = place(layout.prediction), block.numeric.shape[1]
    if unit >= numeric and len(layout.classes):
        code = block.codes[:, unit - numeric]
        known = (code >= 0) & (code < len(layout.classes))
        return np.where(known, layout.classes[np.where(known, code, 0)], -1).astype(np.int32)
    p = probabilities(layout, block)
    return most_likely(p)


def most_likely(p: SingleArray) -> CodeArray:
    """Class of greatest probability ``(n,)``, -1 for rows of ``p (n, C)`` that are not all finite."""
    if not p.shape[1]:
        return np.full(len(p), -1, np.int32)
    finite = np.all(np.isfinite(p), axis=1)
    best = np.where(finite[:, None], p, 0).argmax(axis=1)
    return np.where(finite, best, -1).astype(np.int32)


def softmax(logits: SingleArray) -> SingleArray:
    """Probabilities ``(n, C)`` of logits, NaN where a logit is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        out: SingleArray = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return out


def _score(layout: Layout, block: Block) -> SingleArray:
    unit = place(layout.score)
    if not 0 <= unit < block.numeric.shape[1]:
        return np.zeros(0, np.float32)
    chance = block.numeric[:, unit]
    return np.where((chance >= 0) & (chance <= 1), chance, np.nan).astype(np.float32)
