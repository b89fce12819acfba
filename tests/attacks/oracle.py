"""The model as its sender sees it: it answers, and every query is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from detectors.types import FloatArray, SingleArray
from tests.attacks.tasks import Task

Disturb = Callable[[FloatArray], FloatArray]


class SpentError(Exception):
    """The sender has no more queries."""


class Goal(NamedTuple):
    """A row ``source (free,)`` whose answer ``label`` shall change; ``start`` is a row that is answered otherwise."""

    source: FloatArray
    label: int
    start: FloatArray


class Oracle:
    """Answers at most ``most`` queries about rows whose coordinates after the task's ``free`` ones are ``tail``.

    ``disturb`` is done to each query before it is sent (noise, rounding); what was sent is what is recorded.
    """

    def __init__(self, task: Task, most: int, tail: SingleArray | None = None, disturb: Disturb | None = None) -> None:
        self.image = task.image
        self.most = most
        self._answer = task.answer
        self._tail = np.zeros(0, np.float32) if tail is None else tail
        self._disturb = disturb
        self._inputs: list[SingleArray] = []
        self._answers: list[SingleArray] = []
        self.asked = 0

    def ask(self, x: FloatArray) -> FloatArray:
        """Probabilities ``(k, C)`` of the rows ``x (k, free)``, cut to the box; a last batch may be cut short."""
        left = self.most - self.asked
        sent = x[:left] if self._disturb is None else self._disturb(x[:left])
        sent = np.clip(sent, 0.0, 1.0).astype(np.float32)
        rows = np.column_stack([sent, np.broadcast_to(self._tail, (len(sent), len(self._tail)))])
        answers = self._answer(rows)
        self._inputs.append(rows)
        self._answers.append(answers)
        self.asked += len(sent)
        if left < len(x):
            raise SpentError
        return answers.astype(np.float64)

    def label(self, x: FloatArray) -> int:
        """The class that one row ``(free,)`` is answered with."""
        return int(self.ask(x[None])[0].argmax())

    @property
    def inputs(self) -> SingleArray:
        """All queries in order, ``(n, d)``."""
        return np.concatenate(self._inputs)

    @property
    def probabilities(self) -> SingleArray:
        """Their answers, ``(n, C)``."""
        return np.concatenate(self._answers)


Attack = Callable[[Oracle, Goal, np.random.Generator], Iterator[FloatArray]]
"""Yields ever better adversarial rows ``(free,)`` until it is content or `SpentError` ends it."""


def run(attack: Attack, oracle: Oracle, goal: Goal, rng: np.random.Generator) -> FloatArray | None:
    """The last adversarial row that the attack found, None if there is none."""
    best = None
    try:
        for best in attack(oracle, goal, rng):  # noqa: B007 - the last one is the answer
            pass
    except SpentError:
        pass
    return best


def aim(task: Task, rng: np.random.Generator) -> tuple[Goal, SingleArray]:
    """A random live row that the model gets right, with a row of another answer to start from; and the row's tail."""
    while True:
        some = rng.choice(len(task.test), 200, replace=False)
        rows = task.test[some]
        answers = task.answer(rows).argmax(axis=1)
        own = int(answers[0])
        starts = np.concatenate([rows[:, : task.free], np.repeat(rows[:1, task.free :], 200, axis=0)], axis=1)
        others = np.flatnonzero(task.answer(starts).argmax(axis=1) != own)
        if own == task.test_labels[some[0]] and len(others):
            source, start = rows[0, : task.free], starts[others[0], : task.free]
            return Goal(source.astype(np.float64), own, start.astype(np.float64)), rows[0, task.free :]


def disturbed(sigma: float, rng: np.random.Generator, task: Task | None = None) -> Disturb:
    """Adds Gaussian noise to each query before it is sent; with a ``task``, sends the nearest natural row."""

    def disturb(x: FloatArray) -> FloatArray:
        moved = x + rng.normal(0.0, sigma, x.shape) if sigma else x
        return moved if task is None else task.natural(moved).astype(np.float64)

    return disturb
