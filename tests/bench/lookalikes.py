"""Honest traffic that looks like an attack: ``lookalikes [ROWS]``, 1,000,000 rows over all kinds by default.

Each kind runs through a watch of its own, after 2,000 ordinary rows, on the images of `glyphs` (rows without end) or on
`adult`. Alarms are of any verdict but `attack`, with the fault tree's cause: it may say repetitive traffic.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from tests.attacks import tasks, traces
from tests.attacks.guarded import Guarded, Known
from tests.attacks.lookalikes import IMAGES, TABLES, LookAlike, fresh
from tests.attacks.tasks import Task
from tests.attacks.watch import Watch
from tests.bench.common import table
from tests.statistical import data

PART = 512


def run(rows: str = "1000000", *chosen: str) -> None:
    """Print one table; ``chosen`` are tasks."""
    lines, kinds = [], {"glyphs": IMAGES, "adult": TABLES}
    each = int(rows) // sum(len(found) for found in kinds.values())
    for name, found in kinds.items():
        if chosen and name not in chosen:
            continue
        try:
            task = getattr(tasks, name)()
        except data.AbsentError as absent:
            print(f"skipped: {absent}")
            continue
        known = Known(task)
        lines += [(name, kind, *one(task, make, Guarded(known), each)) for kind, make in found.items()]
    total = sum(int(line[2]) for line in lines)
    headings = ("task", "kind", "rows", "near-duplicates", "exact repeats", "alarms", "verdict attack")
    lines.append(("all", "", str(total), "", "", "", str(sum(int(line[6].split(":")[0]) for line in lines))))
    table("Look-alikes: verdicts", headings, lines)


def one(task: Task, make: LookAlike, watch: Watch, rows: int) -> tuple[str, str, str, str, str]:
    """Rows sent, shares of hits and repeats, and alarms by verdict and cause."""
    rng, seen, alarms = np.random.default_rng(11), 0, []
    parts = make(task, fresh(task), rng, PART)
    alarms += watch.see(traces.traffic(fresh(task)(2000, rng), task.answer, rng))
    while seen < rows:
        part = next(parts)
        alarms += watch.see(part)
        seen += part.rows
    causes = Counter(f"{alarm.verdict}/{alarm.cause or '-'}" for alarm in alarms if alarm.verdict != "attack")
    attacks = Counter(f"{alarm.heuristic}/{alarm.cause}" for alarm in alarms if alarm.verdict == "attack")
    told = ", ".join(f"{number} {cause}" for cause, number in causes.most_common()) or "0"
    share = watch.seen.near / watch.seen.rows, watch.seen.repeats / watch.seen.rows
    guilty = f"{attacks.total()}: {dict(attacks)}" if attacks else "0"
    return str(seen), f"{share[0]:.1%}", f"{share[1]:.1%}", told, guilty
