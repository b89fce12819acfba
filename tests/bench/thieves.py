"""Those who want the model or its data: ``thieves [RUNS] [TASK...]``, tasks glyphs, mnist, adult.

Each sends some 1,000 queries among four times as many ordinary ones, under one name and under 8. The reference is told
to be what the model was trained on, and half of the candidates of membership probing are taken from it. Found: an alarm
of any verdict about the sender; the verdict is that of the last alarm about it, with its cause.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from detectors.types import SingleArray
from tests.attacks import extraction, tasks, traces
from tests.attacks.guarded import Guarded, Known
from tests.attacks.lookalikes import fresh
from tests.attacks.oracle import Goal, Oracle, SpentError, disturbed
from tests.attacks.oracle import run as attacked
from tests.attacks.score import inversion
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.bench.attacks import BEFORE, among, one
from tests.bench.common import table
from tests.statistical import data

MOST = 1000
Make = Callable[[Task, Oracle, np.random.Generator], None]


def run(runs: str = "3", *chosen: str) -> None:
    """Print a table for each task."""
    for name in chosen or ("glyphs", "mnist", "adult"):
        try:
            task = getattr(tasks, name)()
            known = Known(task, training=True)
        except data.AbsentError as absent:
            print(f"skipped: {absent}")
            continue
        lines = [
            (kind, senders, *_line(task, make, senders, known, int(runs)))
            for kind, make in thieves(task).items()
            for senders in (1, 8)
        ]
        headings = ("kind", "names", "found", "median queries", "verdicts", "accused (any)", "accused (attack)")
        table(f"{task.name}: {runs} runs each, {MOST} queries at most", headings, lines)


def thieves(task: Task) -> dict[str, Make]:
    """What is sent to an oracle, by kind."""
    found: dict[str, Make] = {
        "JbDA": lambda t, o, rng: _steal(extraction.jacobian(_some(t, 100, rng)), o, rng),
        "low margins": lambda t, o, rng: _steal(extraction.uncertain(_some(t, 1500, rng)), o, rng),
        "noise": lambda t, o, rng: _steal(extraction.sending(extraction.noise(MOST, t.free, rng)), o, rng),
        "knock-off": lambda t, o, rng: _steal(extraction.sending(_foreign(t, rng)), o, rng),
        "membership": lambda t, o, rng: _ask(o, extraction.membership(*_candidates(t, rng), rng)),
        "inversion": _invert,
    }
    if task.image[0]:
        found["reprogramming"] = lambda t, o, rng: _ask(o, _programme(t, rng))
    return found


def _some(task: Task, number: int, rng: np.random.Generator) -> SingleArray:
    """Ordinary rows that a sender has of its own."""
    return fresh(task)(number, rng)[:, : task.free]


def _foreign(task: Task, rng: np.random.Generator) -> SingleArray:
    """Rows of another law: letters, other glyphs, or columns drawn one by one."""
    if task.name == "mnist":
        return tasks.letters()[rng.permutation(5000)[:MOST]]
    if task.name == "glyphs":
        return tasks.more_glyphs(MOST, rng, seed=9)
    rows = fresh(task)(MOST, rng)[:, : task.free]
    return rng.permuted(rows, axis=0)


def _programme(task: Task, rng: np.random.Generator) -> SingleArray:
    small = tasks.more_glyphs(MOST, rng, seed=9).reshape(-1, 20, 20)[:, ::2, ::2].reshape(MOST, -1)
    return extraction.reprogrammed(small, task.image, rng)


def _candidates(task: Task, rng: np.random.Generator) -> tuple[SingleArray, SingleArray]:
    half = MOST // 2
    members = task.reference[rng.permutation(len(task.reference))[:half], : task.free]
    return members, _some(task, half, rng)


def _invert(task: Task, oracle: Oracle, rng: np.random.Generator) -> None:
    for label in range(task.classes):
        nowhere = np.zeros(task.free)
        attacked(inversion(), oracle, Goal(nowhere, label, nowhere), rng)


def _steal(thief: extraction.Thief, oracle: Oracle, rng: np.random.Generator) -> None:
    for _ in thief(oracle, rng):
        pass


def _ask(oracle: Oracle, rows: SingleArray) -> None:
    oracle.ask(rows.astype(np.float64))


def trace(task: Task, make: Make, senders: int, rng: np.random.Generator) -> Trace:
    """One thief in ordinary traffic."""
    tail = task.test[int(rng.integers(len(task.test))), task.free :]
    oracle = Oracle(task, MOST, tail, disturbed(0.0, rng, task))
    with suppress(SpentError):
        make(task, oracle, rng)
    sent = traces.of_attack(oracle, "thief", rng, begin=float(BEFORE), each=5.0)
    return among(task, traces.sybil(sent, senders, rng) if senders > 1 else sent, rng)


def _line(task: Task, make: Make, senders: int, known: Known, runs: int) -> tuple[str, ...]:
    found, verdicts, accused, accused_attack = [], Counter[str](), 0, 0
    for seed in range(runs):
        whole = trace(task, make, senders, np.random.default_rng((8, seed)))
        outcome, alarms = one(whole, Guarded(known), till="")
        found.append(outcome.found)
        right = [alarm for alarm in alarms if alarm.cause and alarm.guilty(whole)]
        verdicts.update(sorted({f"{alarm.verdict}/{alarm.cause}" for alarm in right}) or ["-"])
        accused, accused_attack = accused + outcome.accused, accused_attack + outcome.accused_attack
    middle = np.median(np.nan_to_num(np.array(found), nan=np.inf))
    told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
    share = f"{np.isfinite(found).mean():.0%}"
    return share, f"{middle:.0f}" if np.isfinite(middle) else "-", told, str(accused), str(accused_attack)
