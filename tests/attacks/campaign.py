"""A sender with so many queries: one attack after another on new rows until they are spent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.types import SingleArray
from tests.attacks import decision, score
from tests.attacks.oracle import Attack, Disturb, Oracle, aim, run
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace, mix, of_attack


class Campaign(NamedTuple):
    """What was sent, how many attacks were finished or cut short, and how many of them changed the answer."""

    trace: Trace
    attacks: int
    successes: int


def attacks(task: Task) -> dict[str, Attack]:
    """The seven query attacks, with steps that need some hundred queries for an image's answer."""
    image = task.image[0] > 0
    return {
        "Boundary": decision.boundary,
        "HopSkipJump": decision.hop_skip_jump,
        "SignOPT": decision.sign_opt,
        "NES": score.nes(0.3 if image else 0.2),
        "Square": score.square(0.15 if image else 0.1),
        "SimBA": score.simba(0.2 if image else 0.05),
        "ZOO": score.zoo(),
    }


def campaign(
    task: Task,
    name: str,
    rng: np.random.Generator,
    *,
    attack: Attack | None = None,
    most: int = 1000,
    each: int = 1000,
    disturb: Disturb | None = None,
    begin: float = 0.0,
    pause: float = 1.0,
) -> Campaign:
    """``most`` queries from one sender, at most ``each`` of them for one row, ``pause`` seconds apart on average.

    ``attack`` is the one of that ``name`` in `attacks` if it is not given.
    """
    attack, parts, left, successes = attack or attacks(task)[name], [], most, 0
    client = int(rng.integers(1, 2**63, dtype=np.uint64))
    while left > 0:
        goal, tail = aim(task, rng)
        oracle = Oracle(task, min(left, each), tail, disturb)
        found = run(attack, oracle, goal, rng)
        successes += found is not None and _answer(task, np.concatenate([found, tail])) != goal.label
        parts.append(of_attack(oracle, name, rng, begin=begin, each=pause, client=client))
        begin, left = float(parts[-1].time[-1]), left - oracle.asked
    return Campaign(mix(*parts), len(parts), int(successes))


def _answer(task: Task, row: SingleArray) -> int:
    return int(task.answer(row[None].astype(np.float32))[0].argmax())
