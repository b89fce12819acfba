"""Those who want the model or its data, not another answer: extraction, membership probing, reprogramming."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from detectors.types import FloatArray, SingleArray
from tests.attacks.models import Network, margin, train
from tests.attacks.oracle import Oracle

Thief = Callable[[Oracle, np.random.Generator], Iterator[Network]]
"""Yields ever better copies of the model."""


def jacobian(seeds: SingleArray, step: float = 0.1, rounds: int = 4) -> Thief:
    """Papernot et al. 2017 (JbDA): each round adds every row moved by ``step`` along the copy's sign gradient."""

    def thief(oracle: Oracle, rng: np.random.Generator) -> Iterator[Network]:
        rows = np.asarray(seeds, np.float64)
        answers = oracle.ask(rows)
        for _ in range(rounds):
            copy = _copy(rows, answers, rng)
            yield copy
            slope = copy.gradient(rows.astype(np.float32), answers.argmax(axis=1))
            new = np.clip(rows - step * np.sign(slope), 0.0, 1.0)
            answers = np.concatenate([answers, oracle.ask(new)])
            rows = np.concatenate([rows, new])

    return thief


def _copy(rows: FloatArray, answers: FloatArray, rng: np.random.Generator) -> Network:
    target = answers.astype(np.float32)
    return train(rows.astype(np.float32), target, target.shape[1], rng, hidden=(32,), epochs=20)


def sending(pool: SingleArray, part: int = 100) -> Thief:
    """Sends the pool in order: foreign images are Knockoff Nets (Orekondy et al. 2019), noise is random extraction."""

    def thief(oracle: Oracle, rng: np.random.Generator) -> Iterator[Network]:
        answers = np.zeros((0, 0))
        for start in range(0, len(pool), part):
            new = oracle.ask(pool[start : start + part].astype(np.float64))
            answers = np.concatenate([answers.reshape(-1, new.shape[1]), new])
        yield _copy(pool.astype(np.float64), answers, rng)

    return thief


def uncertain(pool: SingleArray, part: int = 50) -> Thief:
    """Active learning (BEST-like): the next rows of the pool are those that the copy is least sure of."""

    def thief(oracle: Oracle, rng: np.random.Generator) -> Iterator[Network]:
        left = np.asarray(pool, np.float64)
        rows, left = left[:part], left[part:]
        answers = oracle.ask(rows)
        while len(left) >= part:
            copy = _copy(rows, answers, rng)
            yield copy
            order = np.argsort(margin(copy.probabilities(left.astype(np.float32))), kind="stable")
            new, left = left[order[:part]], left[order[part:]]
            rows, answers = np.concatenate([rows, new]), np.concatenate([answers, oracle.ask(new)])

    return thief


def noise(number: int, free: int, rng: np.random.Generator) -> SingleArray:
    """Uniform rows of the box."""
    return rng.random((number, free), np.float32)


def membership(members: SingleArray, others: SingleArray, rng: np.random.Generator, sigma: float = 0.0) -> SingleArray:
    """Candidates in random order, some of them training rows, each moved by noise where ``sigma`` > 0."""
    rows = np.concatenate([members, others])
    rows = rows + rng.normal(0.0, sigma, rows.shape).astype(np.float32) if sigma else rows
    return np.asarray(np.clip(rows[rng.permutation(len(rows))], 0.0, 1.0), np.float32)


def reprogrammed(small: SingleArray, image: tuple[int, int], rng: np.random.Generator) -> SingleArray:
    """Elsayed et al. 2019: small foreign images ``(n, s * s)`` in the middle of one fixed program around them."""
    height, width = image
    side = int(np.sqrt(small.shape[1]))
    rows = np.broadcast_to(rng.random((height, width), np.float32), (len(small), height, width)).copy()
    top, left = (height - side) // 2, (width - side) // 2
    rows[:, top : top + side, left : left + side] = small.reshape(-1, side, side)
    return rows.reshape(len(small), -1)
