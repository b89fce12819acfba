"""Query attacks that need nothing but the predicted class: Boundary, HopSkipJump, SignOPT."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np

from detectors.types import FloatArray
from tests.attacks.oracle import Goal, Oracle


def boundary(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Brendel, Rauber, Bethge 2018: a random walk along the boundary, on a sphere around the source, then inwards."""
    here, around, inwards = goal.start, 0.05, 0.05
    if oracle.label(here) == goal.label:
        return
    walked, came = [], []
    while True:
        side = _on_sphere(here, goal.source, around, rng)
        walked.append(oracle.label(side) != goal.label)
        if walked[-1]:
            nearer = np.clip(side + inwards * (goal.source - side), 0.0, 1.0)
            came.append(oracle.label(nearer) != goal.label)
            if came[-1]:
                here = nearer
                yield here
        around, walked = _adapted(around, walked, 10)
        inwards, came = _adapted(inwards, came, 10)


def _on_sphere(here: FloatArray, source: FloatArray, step: float, rng: np.random.Generator) -> FloatArray:
    gap = source - here
    far = float(np.linalg.norm(gap))
    move = rng.standard_normal(len(here))
    move -= move @ gap / far**2 * gap
    there = here + step * far * move / np.linalg.norm(move)
    return np.clip(source + far * (there - source) / np.linalg.norm(there - source), 0.0, 1.0)


def _adapted(step: float, tries: list[bool], wanted: int) -> tuple[float, list[bool]]:
    """A longer step if more than half of the last tries were right, a shorter one if less than a fifth were."""
    if len(tries) < wanted:
        return step, tries
    share = sum(tries) / len(tries)
    return step * (1.3 if share > 0.5 else 0.7 if share < 0.2 else 1.0), []


def hop_skip_jump(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Chen, Jordan, Wainwright 2020, L2: bisection to the boundary, gradient by its side, a step; and again."""
    if oracle.label(goal.start) == goal.label:
        return
    here = _bisected(oracle, goal, goal.start)
    for turn in count(1):
        yield here
        far = float(np.linalg.norm(here - goal.source))
        radius = 0.1 if turn == 1 else 0.01 * far
        probes = np.clip(here + radius * _directions(int(20 * np.sqrt(turn)) + 10, len(here), rng), 0.0, 1.0)
        side = np.where(oracle.ask(probes).argmax(axis=1) != goal.label, 1.0, -1.0)
        weight = side - side.mean() if abs(side.sum()) < len(side) else side
        slope = weight @ (probes - here)
        slope /= np.linalg.norm(slope) + 1e-12
        step = far / np.sqrt(turn)
        while oracle.label(np.clip(here + step * slope, 0.0, 1.0)) == goal.label and step > 1e-4 * far:
            step /= 2
        here = _bisected(oracle, goal, np.clip(here + step * slope, 0.0, 1.0)) if step > 1e-4 * far else here


def _directions(number: int, d: int, rng: np.random.Generator) -> FloatArray:
    u = rng.standard_normal((number, d))
    return np.asarray(u / np.linalg.norm(u, axis=1, keepdims=True))


def _bisected(oracle: Oracle, goal: Goal, wrong: FloatArray, tolerance: float = 1e-3) -> FloatArray:
    """The row nearest to the source on the way to ``wrong`` that is still answered otherwise."""
    low, high = 0.0, 1.0
    while high - low > tolerance:
        middle = (low + high) / 2
        if oracle.label(goal.source + middle * (wrong - goal.source)) == goal.label:
            low = middle
        else:
            high = middle
    return goal.source + high * (wrong - goal.source)


def sign_opt(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
    """Cheng et al. 2020: the direction of the least distance to the boundary, by the signs of its derivatives."""
    if oracle.label(goal.start) == goal.label:
        return
    theta = goal.start - goal.source
    theta /= np.linalg.norm(theta)
    reach = _reach(oracle, goal, theta, float(np.linalg.norm(goal.start - goal.source)))
    stride = 0.2
    while True:
        yield np.clip(goal.source + reach * theta, 0.0, 1.0)
        u = _directions(20, len(theta), rng)
        turned = theta + 0.001 * np.sqrt(len(theta)) * u
        turned /= np.linalg.norm(turned, axis=1, keepdims=True)
        wrong = oracle.ask(np.clip(goal.source + reach * turned, 0.0, 1.0)).argmax(axis=1) != goal.label
        slope = np.where(wrong, -1.0, 1.0) @ u / len(u)
        theta, reach, stride = _shorter(oracle, goal, (theta, reach, stride), slope)


def _shorter(
    oracle: Oracle, goal: Goal, state: tuple[FloatArray, float, float], slope: FloatArray
) -> tuple[FloatArray, float, float]:
    """Line search against ``slope``: longer strides while they help, else shorter ones until one does."""
    theta, reach, stride = state
    best = (theta, reach, max(stride / 4, 1e-3))
    length = stride * 2
    for _ in range(6):
        there = theta - length * slope
        there /= np.linalg.norm(there)
        if oracle.label(np.clip(goal.source + best[1] * there, 0.0, 1.0)) != goal.label:
            return there, _reach(oracle, goal, there, best[1]), length
        length /= 2
    return best


def _reach(oracle: Oracle, goal: Goal, theta: FloatArray, high: float) -> float:
    """Distance to the boundary along a direction that is answered otherwise at ``high``."""
    low = 0.0
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if oracle.label(np.clip(goal.source + middle * theta, 0.0, 1.0)) == goal.label:
            low = middle
        else:
            high = middle
    return high
