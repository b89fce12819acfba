"""Query attacks in ordinary traffic: ``attacks [RUNS] [TASK...]``, tasks glyphs, mnist, spambase, adult, log.

Each run is one sender with 400 queries of one attack, a fifth of the traffic once it has begun, after 900 ordinary rows
from 50 clients; queries hold natural values (8 bits, whole numbers). Evidence is read with every query and judged each
512 rows, by the agent's guard. Found: an alarm about the attacker's rows (of any verdict, and of the verdict `attack`);
queries are those of the attack until then. Accused: alarms about ordinary rows. Variants: any values, noise on every
query, four ordinary rows under the attacker's name for each query, and the queries spread over 10 and 100 names.
``log`` is the recorded day of `shared/data/query_log`, which was made by other code than ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from detectors.types import SingleArray
from tests.attacks import tasks, traces
from tests.attacks.campaign import attacks, campaign
from tests.attacks.guarded import Guarded, Known
from tests.attacks.lookalikes import fresh
from tests.attacks.oracle import Attack, disturbed
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.attacks.watch import Alarm, Factory, Watch
from tests.bench.common import table
from tests.statistical import data

MOST = 400
BEFORE = 900
STEP = 5
"""Rows of a batch: on average one query of the attacker; `LATER` ones once there is evidence."""
LATER = 128


class Variant(NamedTuple):
    """How the attacker hides: noise while it attacks, natural values or any, and what is done to its trace after."""

    name: str
    sigma: float = 0.0
    whole: bool = True
    share: float = 1.0
    names: int = 1


VARIANTS = (
    Variant("plain"),
    Variant("any values", whole=False),
    Variant("dither .02", sigma=0.02),
    Variant("dither .05", sigma=0.05),
    Variant("dither .1", sigma=0.1),
    Variant("diluted 1:4", share=0.2),
    Variant("10 names", names=10),
    Variant("100 names", names=100),
)


class Outcome(NamedTuple):
    """Queries to the first alarm and to the first verdict of an attack (NaN: none), and wrong alarms of either kind."""

    found: float
    attack: float
    accused: int
    accused_attack: int
    benign: int


def run(runs: str = "3", *chosen: str) -> None:
    """Print a table for each task."""
    for name in chosen or ("glyphs", "mnist", "adult", "spambase", "log"):
        try:
            if name == "log":
                recorded()
                continue
            task = getattr(tasks, name)()
        except data.AbsentError as absent:
            print(f"skipped: {absent}")
            continue
        study(task, attacks(task), partial(Guarded, Known(task)), int(runs))


def study(
    task: Task, kinds: Mapping[str, Attack], factory: Factory, runs: int, variants: Sequence[Variant] = VARIANTS
) -> None:
    """All attacks in all variants on one task."""
    lines, every = [], []
    for variant in variants:
        for kind in kinds.items():
            rngs = [np.random.default_rng((7, seed)) for seed in range(runs)]
            outcomes = [one(scene(task, kind, variant, rng), factory())[0] for rng in rngs]
            lines.append((variant.name, kind[0], *_line(outcomes)))
            every += [(variant.name, outcome) for outcome in outcomes]
    lines += [("all: " + v.name, "", *_line([o for name, o in every if name == v.name])) for v in variants]
    table(f"{task.name}: {runs} runs each, {MOST} queries at most", HEADINGS, lines)


HEADINGS = (
    "variant",
    "attack",
    "found",
    "median queries",
    "worst",
    "verdict attack",
    "median queries",
    "accused (any)",
    "accused (attack)",
    "ordinary rows",
)


def _line(outcomes: list[Outcome]) -> tuple[str, ...]:
    found, attack = (np.array([getattr(o, name) for o in outcomes]) for name in ("found", "attack"))
    return (
        f"{np.isfinite(found).mean():.0%}",
        _middle(found),
        "-" if np.isnan(found).all() else f"{np.nanmax(found):.0f}",
        f"{np.isfinite(attack).mean():.0%}",
        _middle(attack),
        str(sum(o.accused for o in outcomes)),
        str(sum(o.accused_attack for o in outcomes)),
        str(sum(o.benign for o in outcomes)),
    )


def _middle(queries: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """The median with runs that were not found as endless."""
    middle = np.median(np.nan_to_num(queries, nan=np.inf))
    return f"{middle:.0f}" if np.isfinite(middle) else "-"


def one(trace: Trace, watch: Watch, *, till: str = "attack") -> tuple[Outcome, list[Alarm]]:
    """One attacker in fresh traffic, until the traffic or the verdict ``till`` has come; the alarms."""
    sent = np.cumsum(trace.is_attack)
    found = attack = np.nan
    alarms: list[Alarm] = []
    accused = accused_attack = row = 0
    while row < trace.rows and np.isnan(attack):
        step = BEFORE if row == 0 else STEP if np.isnan(found) else LATER
        for alarm in watch.see(trace.take(slice(row, row + step))):
            alarms.append(alarm)
            seen = trace.take(slice(0, alarm.row))
            if not alarm.guilty(seen):
                accused += 1
                accused_attack += alarm.verdict == "attack"
                continue
            queries = float(sent[seen.rows - 1])
            found = np.fmin(found, queries)
            attack = np.fmin(attack, queries if alarm.verdict == till else np.nan)
        row += step
    return Outcome(found, attack, accused, accused_attack, int((~trace.is_attack[:row]).sum())), alarms


def scene(task: Task, kind: tuple[str, Attack], variant: Variant, rng: np.random.Generator) -> Trace:
    """The attack, hidden by the variant, in ordinary traffic that began before it."""
    draw = fresh(task)
    name, how = kind
    disturb = disturbed(variant.sigma, rng, task if variant.whole else None)
    attack = campaign(task, name, rng, attack=how, most=MOST, disturb=disturb, begin=float(BEFORE), pause=5.0).trace
    if variant.share < 1:
        ordinary = traces.traffic(_live(task, draw, 5 * MOST, rng), task.answer, rng)
        attack = traces.dilute(attack, ordinary, variant.share, rng)
    attack = traces.sybil(attack, variant.names, rng) if variant.names > 1 else attack
    return among(task, attack, rng)


def among(task: Task, attack: Trace, rng: np.random.Generator) -> Trace:
    """The attack in ordinary traffic, a row a second, that began before it."""
    around = traces.traffic(_live(task, fresh(task), round(float(attack.time[-1])), rng), task.answer, rng)
    return traces.mix(around, attack)


def _live(
    task: Task, draw: Callable[[int, np.random.Generator], SingleArray], n: int, rng: np.random.Generator
) -> SingleArray:
    """Ordinary rows, different ones as long as there are enough."""
    if task.name == "glyphs":
        return draw(n, rng)
    turns = -(-n // len(task.test))
    return np.asarray(task.test[np.concatenate([rng.permutation(len(task.test)) for _ in range(turns)])[:n]])


def recorded() -> None:
    """The recorded day: who is found, after how many of its queries, and who is accused."""
    trace = query_log()
    with np.load(data.ROOT / "mnist_shift" / "mnist_t10k.npz") as stored:
        answers = stored["probs"][stored["split"] == 1].astype(np.float32)
    watch, found = Guarded(Known(tasks.mnist(), answers=answers)), dict[tuple[int, str], int]()
    for row in range(0, trace.rows, STEP):
        for alarm in watch.see(trace.take(slice(row, row + STEP))):
            said = "/".join(filter(None, (alarm.verdict, alarm.cause)))
            for client in (0,) if alarm.about == "fleet" else (client for client, _ in alarm.rows):
                found.setdefault((client, said), alarm.row)
    lines = [("all senders", trace.rows, _said(found, 0, np.ones(trace.rows, np.bool_)))]
    for client in np.unique(trace.client).tolist():
        mine = trace.client == client
        told = _said(found, client, mine)
        if told != "-" or trace.kind[mine][0] != "benign":
            lines.append((str(trace.kind[mine][0]), int(mine.sum()), told))
    table("The recorded day: what was said of whom", ("kind", "queries", "verdicts"), lines)


def _said(found: Mapping[tuple[int, str], int], client: int, mine: NDArray[np.bool_]) -> str:
    """Verdicts on one sender, each after how many of its queries."""
    told = [f"{said} after {int(mine[:row].sum())}" for (who, said), row in found.items() if who == client]
    return "; ".join(told) or "-"


def query_log() -> Trace:
    """`shared/data/query_log` as a trace in order of time."""
    queries, truth = data.table("query_log", "queries.parquet"), data.table("query_log", "labels.parquet")
    with np.load(data.ROOT / "query_log" / "images.npz") as stored:
        images = stored["images"].reshape(-1, 784) / np.float32(255)
    with np.load(data.ROOT / "query_log" / "probs.npz") as stored:
        probabilities = stored["probs"].astype(np.float32)
    names = np.asarray(pc.dictionary_encode(queries.column("client_id")).combine_chunks().indices) + 1
    seconds = pc.cast(queries.column("timestamp"), "int64").to_numpy() / 1e6
    trace = Trace(
        images,
        probabilities,
        names.astype(np.uint64),
        seconds,
        truth.column("is_attack").to_numpy(),
        truth.column("kind").to_numpy().astype("U32"),
    )
    return trace.take(np.argsort(seconds, kind="stable"))
