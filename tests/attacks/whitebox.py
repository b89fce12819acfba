"""Attacks that see the gradients: FGSM (Goodfellow 2015), PGD (Madry 2018), DeepFool (Moosavi-Dezfooli 2016)."""

from __future__ import annotations

import numpy as np

from detectors.types import IntArray, SingleArray
from tests.attacks.models import Network, one_hot


def fgsm(network: Network, x: SingleArray, label: IntArray, eps: float) -> SingleArray:
    """One step of size ``eps`` along the sign of the loss's gradient; ``x (n, d)`` in [0, 1]."""
    return np.clip(x + np.float32(eps) * np.sign(network.gradient(x, label)), 0.0, 1.0)


def pgd(
    network: Network, x: SingleArray, label: IntArray, eps: float, rng: np.random.Generator, steps: int = 20
) -> SingleArray:
    """Steps of 2.5 eps / steps inside the ball, from a random place in it."""
    here = np.clip(x + rng.uniform(-eps, eps, x.shape).astype(np.float32), 0.0, 1.0)
    for _ in range(steps):
        here = fgsm(network, here, label, 2.5 * eps / steps)
        here = np.clip(here, x - np.float32(eps), x + np.float32(eps))
    return here


def deepfool(
    network: Network, x: SingleArray, label: IntArray, steps: int = 30, overshoot: float = 0.02
) -> SingleArray:
    """The least L2 steps over the linearised boundary, until the answer changes."""
    here, classes = x.astype(np.float32), len(network.biases[-1])
    own = one_hot(label, classes)
    for _ in range(steps):
        logits = network.logits(here)
        left = logits.argmax(axis=1) == label
        if not left.any():
            break
        slopes = np.stack([network.pull(here, one_hot(np.full_like(label, c), classes) - own) for c in range(classes)])
        gap = np.abs(logits - logits[np.arange(len(x)), label][:, None]).T + np.float32(1e-4)
        norm = np.sqrt((slopes**2).sum(axis=2)) + np.float32(1e-12)
        ratio = np.where(np.arange(classes)[:, None] == label, np.inf, gap / norm)
        best, rows = ratio.argmin(axis=0), np.arange(len(x))
        step = (gap[best, rows] / norm[best, rows] ** 2)[:, None] * slopes[best, rows]
        here = np.where(left[:, None], np.clip(here + np.float32(1 + overshoot) * step, 0.0, 1.0), here)
    return here
