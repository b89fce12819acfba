"""Those who want the model or its data: which heuristics see a thief among honest senders, after how many queries.

``python -m tests.bench clients [runs] [task] [thief...]``. A thief sends up to 1,000 queries among 19,000 rows of 50
honest clients, through the agent's guard; the bar is that of one false alarm in 10,000 panes of 1,000 rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from detectors.queries.clients import Clients
from detectors.types import SingleArray
from tests.attacks import extraction, traces
from tests.attacks.guarded import Guarded, Known
from tests.attacks.lookalikes import fresh
from tests.attacks.oracle import Oracle, SpentError
from tests.attacks.tasks import Task, glyphs, letters, mnist, more_glyphs
from tests.attacks.traces import Trace
from tests.bench.common import cpu, table
from tests.detectors.senders import World, ordinary

_HONEST, _QUERIES, _BATCH = 19_000, 1_000, 250
_TASKS: dict[str, Callable[[], Task]] = {"glyphs": glyphs, "mnist": mnist}


def thieves(task: Task, rng: np.random.Generator) -> dict[str, extraction.Thief | SingleArray]:
    """Algorithms that ask, or what is asked, by name."""
    pool = fresh(task)(6000, rng)
    some = rng.permutation(len(task.reference))
    foreign = letters() if task.name == "mnist" else more_glyphs(_QUERIES, rng, seed=5)
    members = task.reference[some[:500]]
    return {
        "Jacobian (Papernot)": extraction.jacobian(pool[:60]),
        "noise": extraction.sending(extraction.noise(_QUERIES, task.free, rng)),
        "foreign images (Knockoff)": extraction.sending(foreign[:_QUERIES]),
        "uncertain (BEST-like)": extraction.uncertain(pool),
        "natural rows": extraction.sending(pool[:_QUERIES]),
        "reprogrammed": extraction.reprogrammed(rng.random((600, 64), np.float32), task.image, rng),
        "membership, half members": extraction.membership(members, pool[-500:], rng),
        "the same, noise 0.02": extraction.membership(members, pool[-500:], rng, 0.02),
        "nobody": np.zeros((0, task.free), np.float32),
    }


def asked(task: Task, thief: extraction.Thief | SingleArray, rng: np.random.Generator) -> Oracle:
    """What the thief asked."""
    oracle = Oracle(task, _QUERIES)
    try:
        if isinstance(thief, np.ndarray):
            oracle.ask(thief.astype(np.float64))
        else:
            for _ in thief(oracle, rng):
                pass
    except SpentError:
        pass
    return oracle


def scene(task: Task, oracle: Oracle, names: int, rng: np.random.Generator) -> Trace:
    """The thief's queries at random among the last 10,000 honest rows."""
    honest = traces.traffic(fresh(task)(_HONEST, rng), task.answer, rng)
    if not oracle.asked:
        return honest
    begin, end = honest.time[_HONEST - 10_000], honest.time[-1]
    mine = traces.of_attack(oracle, "thief", rng)
    mine = mine._replace(time=np.sort(rng.uniform(begin, end, mine.rows)))
    return traces.sybil(traces.mix(honest, mine), names, rng)


def one(known: Known, trace: Trace) -> tuple[int | None, Counter[str], int, str]:
    """Thief's queries before the first right alarm, right suspicions, wrong alarms, and the last cause given."""
    guard, first, right, wrong, verdict = Guarded(known), None, Counter[str](), 0, "-"
    for begin in range(0, trace.rows, _BATCH):
        seen = trace.take(slice(0, begin + _BATCH))
        for alarm in guard.see(trace.take(slice(begin, begin + _BATCH))):
            if not alarm.guilty(seen):
                wrong += 1
                continue
            first = int(seen.is_attack.sum()) if first is None else first
            verdict = alarm.cause or verdict
        for suspicion, *_ in guard._cases.heard:
            mine = np.isin(trace.client, [name for name, _ in guard._named(suspicion)[:1]]) & trace.is_attack
            right[f"{suspicion.heuristic} ({suspicion.about})"] += int(mine.any())
    return first, right, wrong, verdict


def run(runs: str = "1", name: str = "glyphs", *chosen: str) -> None:
    """Print the tables, of the ``chosen`` thieves (the beginning of a name is enough; all by default)."""
    task = _TASKS[name]()
    known = Known(task)
    security = known.model.security.model_copy(update={"training": True})
    known.model = known.model.model_copy(update={"security": security})
    rng, rows = np.random.default_rng(0), []
    for kind in thieves(task, rng):
        if chosen and not kind.startswith(chosen):
            continue
        for names in (1,) if kind == "nobody" else (1, 10, 100):
            found = []
            for _ in range(int(runs)):
                oracle = asked(task, thieves(task, rng)[kind], rng)
                found.append(one(known, scene(task, oracle, names, rng)))
            times = [first for first, *_ in found if first is not None]
            middle = f"{np.median(times):.0f}" if times else "-"
            right: Counter[str] = sum((each for _, each, *_ in found), Counter())
            told = ", ".join(f"{what} {number}" for what, number in right.most_common(5) if number) or "-"
            wrong = sum(each for *_, each, _ in found)
            rows.append((kind, names, f"{len(times)}/{runs}", middle, told, wrong, found[-1][3]))
    headings = ("thief", "names", "found", "queries to alarm", "right suspicions", "wrong alarms", "cause given")
    table(f"{name}, {runs} runs each", headings, rows)
    _cost()


def _cost() -> None:
    """CPU of the table of clients alone."""
    world = World()
    near, client = world.fleet(256)
    flood = [world.rng.integers(1, 2**62, 256).astype(np.uint64) for _ in range(200)]
    clients, now = Clients(world.fixed), np.arange(256.0)
    usual = cpu(lambda: world.feed(clients, near, client, now), 20)
    for names in flood:
        world.feed(clients, ordinary(256, world.rng), names, now)
    ways = iter(flood)
    hostile = cpu(lambda: world.feed(clients, near, next(ways), now), 20)
    look = cpu(lambda: clients.suspicions(20.0), 5)
    memory = sum(array.nbytes for array in clients.state().values()) / 1e6
    figures = [(f"{256 / usual:,.0f}", f"{256 / hostile:,.0f}", f"{look * 1e3:.1f}", f"{memory:.1f}")]
    headings = ("rows/s, 40 known names", "rows/s, all names new, full table", "ms a look", "MB for 10,000 clients")
    table("Cost (2 kinds of flag, 16 dimensions, flags and answers of the test included)", headings, figures)
