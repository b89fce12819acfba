"""Classifiers small enough to train inside a test: softmax regression and multilayer perceptrons with gradients."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from detectors.types import FloatArray, IntArray, SingleArray


class Network(NamedTuple):
    """Dense layers with rectifiers between them; without hidden layers it is softmax regression.

    ``weights[l] (d_l, d_l+1)`` and ``biases[l] (d_l+1,)``, float32.
    """

    weights: tuple[SingleArray, ...]
    biases: tuple[SingleArray, ...]

    def activations(self, x: SingleArray) -> list[SingleArray]:
        """What enters each layer, and the logits last; ``x (n, d)``."""
        found = [np.asarray(x, np.float32)]
        for level, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            after = found[-1] @ weight + bias
            found.append(after if level == len(self.weights) - 1 else np.maximum(after, 0.0))
        return found

    def logits(self, x: SingleArray) -> SingleArray:
        """``(n, C)``."""
        return self.activations(x)[-1]

    def features(self, x: SingleArray) -> SingleArray:
        """What enters the last layer: the model's embedding of ``x``."""
        return self.activations(x)[-2]

    def probabilities(self, x: SingleArray) -> SingleArray:
        """``(n, C)``."""
        return softmax(self.logits(x))

    def pull(self, x: SingleArray, seed: SingleArray) -> SingleArray:
        """Gradient ``(n, d)`` of ``sum(logits * seed)`` by the inputs; ``seed (n, C)``."""
        inside = self.activations(x)
        back = np.asarray(seed, np.float32)
        for level in range(len(self.weights) - 1, 0, -1):
            back = (back @ self.weights[level].T) * (inside[level] > 0)
        return np.asarray(back @ self.weights[0].T, np.float32)

    def gradient(self, x: SingleArray, label: IntArray) -> SingleArray:
        """Gradient ``(n, d)`` of the cross-entropy against ``label (n,)`` by the inputs."""
        return self.pull(x, self.probabilities(x) - one_hot(label, len(self.biases[-1])))


def softmax(logits: SingleArray) -> SingleArray:
    """Probabilities of each row's classes."""
    up = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(up / up.sum(axis=1, keepdims=True), np.float32)


def one_hot(label: IntArray, classes: int) -> SingleArray:
    """``(n, C)`` of zeros and a one."""
    return np.asarray(np.eye(classes)[label], np.float32)


def train(
    x: SingleArray,
    label: IntArray | SingleArray,
    classes: int,
    rng: np.random.Generator,
    *,
    hidden: tuple[int, ...] = (),
    epochs: int = 12,
    rate: float = 3e-3,
    decay: float = 1e-4,
) -> Network:
    """Cross-entropy by Adam in steps of 100 rows; ``label`` are classes ``(n,)`` or targets ``(n, C)``."""
    target = one_hot(np.asarray(label, np.int64), classes) if label.ndim == 1 else np.asarray(label, np.float32)
    sizes = (x.shape[1], *hidden, classes)
    state = [rng.normal(0, np.sqrt(1.0 / a), (a, b)).astype(np.float32) for a, b in pairwise(sizes)]
    state += [np.zeros(b, np.float32) for b in sizes[1:]]
    first, second = [np.zeros_like(s) for s in state], [np.zeros_like(s) for s in state]
    step = 0
    for _ in range(epochs):
        for part in np.array_split(rng.permutation(len(x)), max(len(x) // 100, 1)):
            step += 1
            slopes = _slopes(_network(state), x[part], target[part], decay)
            for i, slope in enumerate(slopes):
                first[i] += 0.1 * (slope - first[i])
                second[i] += 0.001 * (slope * slope - second[i])
                state[i] -= rate * (first[i] / (1 - 0.9**step)) / (np.sqrt(second[i] / (1 - 0.999**step)) + 1e-8)
    return _network(state)


def _network(state: list[SingleArray]) -> Network:
    half = len(state) // 2
    return Network(tuple(state[:half]), tuple(state[half:]))


def _slopes(network: Network, x: SingleArray, target: SingleArray, decay: float) -> list[SingleArray]:
    inside = network.activations(x)
    back = (softmax(inside[-1]) - target) / np.float32(len(x))
    weights: list[SingleArray] = []
    biases: list[SingleArray] = []
    for level in range(len(network.weights) - 1, -1, -1):
        weights.insert(0, inside[level].T @ back + np.float32(decay) * network.weights[level])
        biases.insert(0, back.sum(axis=0))
        back = (back @ network.weights[level].T) * (inside[level] > 0)
    return weights + biases


def accuracy(network: Network, x: SingleArray, label: IntArray) -> float:
    """Share of rows that are answered with their label."""
    return float(np.mean(network.logits(x).argmax(axis=1) == label))


def margin(probabilities: SingleArray) -> FloatArray:
    """Greatest less second probability of each row."""
    top = np.sort(np.asarray(probabilities, np.float64), axis=1)
    return top[:, -1] - top[:, -2]
