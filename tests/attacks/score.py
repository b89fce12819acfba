"""Query attacks that need the probabilities: NES, Square, SimBA, ZOO; and inversion by ascent of the confidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np

from detectors.types import FloatArray
from tests.attacks.oracle import Attack, Goal, Oracle


def lead(probabilities: FloatArray, label: int) -> FloatArray:
    """Log-probability of the label less that of the best other class, ``(k,)``: below 0 the answer is another."""
    logs = np.log(np.maximum(probabilities, 1e-12))
    others = np.delete(logs, label, axis=1)
    return np.asarray(logs[:, label] - others.max(axis=1))


def nes(eps: float = 0.3, sigma: float = 0.01, pairs: int = 25) -> Attack:
    """Ilyas et al. 2018: antithetic Gaussian estimates of the gradient, steps along its sign in the L-inf ball."""

    def attack(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
        here, step = goal.source, eps / 8
        while True:
            slope = _gaussian_slope(oracle, here, lambda p: lead(p, goal.label), (sigma, pairs), rng)
            here = np.clip(here - step * np.sign(slope), goal.source - eps, goal.source + eps).clip(0.0, 1.0)
            if oracle.label(here) != goal.label:
                yield here
                return

    return attack


def _gaussian_slope(
    oracle: Oracle,
    here: FloatArray,
    loss: Callable[[FloatArray], FloatArray],
    size: tuple[float, int],
    rng: np.random.Generator,
) -> FloatArray:
    sigma, pairs = size
    u = rng.standard_normal((pairs, len(here)))
    value = loss(oracle.ask(np.concatenate([here + sigma * u, here - sigma * u])))
    return np.asarray((value[:pairs] - value[pairs:]) @ u / (2 * sigma * pairs))


def square(eps: float = 0.3, share: float = 0.3) -> Attack:
    """Andriushchenko et al. 2020, L-inf: stripes, then ever smaller squares of +-eps, kept where they help.

    On a table a "square" is a random set of as many columns.
    """

    def attack(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
        best, value = goal.source, float(lead(oracle.ask(goal.source[None]), goal.label)[0])
        for turn in count():
            part = share / 2 ** min(int(np.log2(1 + turn / 50)), 6)
            patch = _stripes(oracle, len(best), rng) if turn == 0 else _patch(oracle, len(best), part, rng)
            there = np.where(patch != 0, np.clip(goal.source + eps * patch, 0.0, 1.0), best)
            now = float(lead(oracle.ask(there[None]), goal.label)[0])
            best, value = (there, now) if now < value else (best, value)
            if value < 0:
                yield best
                return

    return attack


def _stripes(oracle: Oracle, d: int, rng: np.random.Generator) -> FloatArray:
    height, width = oracle.image
    signs = rng.choice((-1.0, 1.0), width or d)
    return np.tile(signs, height) if height else signs


def _patch(oracle: Oracle, d: int, share: float, rng: np.random.Generator) -> FloatArray:
    height, width = oracle.image
    patch = np.zeros(d)
    if not height:
        chosen = rng.choice(d, max(round(share * d), 1), replace=False)
        patch[chosen] = rng.choice((-1.0, 1.0), len(chosen))
        return patch
    side = min(max(round(np.sqrt(share * d)), 1), height, width)
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    patch.reshape(height, width)[top : top + side, left : left + side] = rng.choice((-1.0, 1.0))
    return patch


def simba(eps: float = 0.3) -> Attack:
    """Guo et al. 2019: one coordinate at a time by +-eps, kept if the label's probability falls."""

    def attack(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
        here, value = goal.source, float(oracle.ask(goal.source[None])[0, goal.label])
        for coordinate in np.concatenate([rng.permutation(len(here)) for _ in range(5)]):
            for sign in (-1.0, 1.0):
                there = here.copy()
                there[coordinate] = np.clip(there[coordinate] + sign * eps, 0.0, 1.0)
                answer = oracle.ask(there[None])[0]
                if answer[goal.label] < value:
                    here, value = there, float(answer[goal.label])
                    break
            else:
                continue
            if answer.argmax() != goal.label:
                yield here
                return

    return attack


def zoo(rate: float = 0.3, difference: float = 0.01, batch: int = 16) -> Attack:
    """Chen et al. 2017: symmetric differences by coordinate, Adam for each of them."""

    def attack(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
        here, d = goal.source.copy(), len(goal.source)
        first, second, times = np.zeros(d), np.zeros(d), np.zeros(d)
        while True:
            chosen = rng.choice(d, min(batch, d), replace=False)
            move = np.zeros((len(chosen), d))
            move[np.arange(len(chosen)), chosen] = difference
            value = lead(oracle.ask(np.concatenate([here + move, here - move])), goal.label)
            slope = (value[: len(chosen)] - value[len(chosen) :]) / (2 * difference)
            times[chosen] += 1
            first[chosen] = 0.9 * first[chosen] + 0.1 * slope
            second[chosen] = 0.999 * second[chosen] + 0.001 * slope**2
            mean, spread = first[chosen] / (1 - 0.9 ** times[chosen]), second[chosen] / (1 - 0.999 ** times[chosen])
            here[chosen] = np.clip(here[chosen] - rate * mean / (np.sqrt(spread) + 1e-8), 0.0, 1.0)
            if oracle.label(here) != goal.label:
                yield here.copy()
                return

    return attack


def inversion(sigma: float = 0.05, pairs: int = 25, rate: float = 0.1) -> Attack:
    """Fredrikson et al. 2015 without gradients: from a grey row uphill to certainty of the class ``goal.label``."""

    def attack(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
        here = np.full(len(goal.source), 0.5)
        while True:
            slope = _gaussian_slope(oracle, here, lambda p: -lead(p, goal.label), (sigma, pairs), rng)
            here = np.clip(here - rate * slope / (np.abs(slope).max() + 1e-12), 0.0, 1.0)
            answer = oracle.ask(here[None])[0]
            if answer.argmax() == goal.label:
                yield here
            if answer[goal.label] > 0.9999:
                return

    return attack
