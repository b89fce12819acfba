"""The same attacks by others: Adversarial Robustness Toolbox and foolbox, where they are installed.

They are no dependency of the project: `art` and `foolbox` raise ImportError where they are absent.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np

from detectors.types import FloatArray
from tests.attacks.oracle import Attack, Goal, Oracle
from tests.attacks.tasks import Task

_ENDLESS = 10**6


def art(task: Task) -> dict[str, Attack]:
    """Query attacks of the Adversarial Robustness Toolbox: Square and SimBA need images, SignOPT more than two classes.

    They are cut short by the oracle, so that what they found in the end is not known.
    """
    evasion = importlib.import_module("art.attacks.evasion")
    classify = importlib.import_module("art.estimators.classification").BlackBoxClassifierNeuralNetwork
    quiet: dict[str, Any] = {"verbose": False}

    def by(make: Callable[[Any], Any], *, start: bool = False) -> Attack:
        def attack(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
            np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 - the toolbox draws from numpy's own state
            shape = (1, *task.image) if task.image[0] else (len(goal.source),)
            model = classify(_asker(oracle), shape, task.classes, clip_values=(0.0, 1.0))
            more = {"x_adv_init": goal.start.reshape(1, *shape).astype(np.float32)} if start else {}
            label = np.eye(task.classes)[[goal.label]]
            found = make(model).generate(goal.source.reshape(1, *shape).astype(np.float32), y=label, **more)
            yield found.reshape(-1).astype(np.float64)

        return attack

    found = {
        "ART Boundary": by(lambda m: evasion.BoundaryAttack(m, targeted=False, **quiet), start=True),
        "ART HopSkipJump": by(lambda m: evasion.HopSkipJump(m, max_iter=_ENDLESS, **quiet), start=True),
        "ART ZOO": by(lambda m: evasion.ZooAttack(
            m, use_resize=False, use_importance=False, nb_parallel=min(16, task.free), max_iter=_ENDLESS,
            learning_rate=0.3, variable_h=0.01, **quiet,
        )),
    }  # fmt: skip
    if task.image[0]:
        found["ART Square"] = by(lambda m: evasion.SquareAttack(m, max_iter=_ENDLESS, eps=0.15, p_init=0.3, **quiet))
        found["ART SimBA"] = by(lambda m: evasion.SimBA(m, attack="px", epsilon=0.2, **quiet))
        found["ART SimBA (DCT)"] = by(lambda m: evasion.SimBA(m, attack="dct", epsilon=0.2, **quiet))
    if task.classes > 2:
        found["ART SignOPT"] = by(lambda m: evasion.SignOPTAttack(m, targeted=False, k=20, query_limit=_ENDLESS))
    return found


def _asker(oracle: Oracle) -> Callable[[Any], FloatArray]:
    return lambda x: oracle.ask(np.asarray(x, np.float64).reshape(len(x), -1))


def foolbox() -> dict[str, Attack]:
    """The decision-based attacks of foolbox."""
    library = importlib.import_module("foolbox")

    def by(make: Callable[[], Any]) -> Attack:
        def attack(oracle: Oracle, goal: Goal, rng: np.random.Generator) -> Iterator[FloatArray]:
            np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 - the library draws from numpy's own state
            model = library.models.NumPyModel(_asker(oracle), bounds=(0.0, 1.0))
            source, start = (row[None].astype(np.float32) for row in (goal.source, goal.start))
            criterion = library.criteria.Misclassification(np.array([goal.label]))
            with suppress(AssertionError):  # it gives up where noise has turned an answer back
                yield np.asarray(make().run(model, source, criterion, starting_points=start), np.float64).reshape(-1)

        return attack

    return {
        "foolbox Boundary": by(lambda: library.attacks.BoundaryAttack(steps=_ENDLESS, tensorboard=False)),
        "foolbox HopSkipJump": by(
            lambda: library.attacks.HopSkipJumpAttack(steps=_ENDLESS, initial_gradient_eval_steps=20)
        ),
    }
