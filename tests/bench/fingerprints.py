"""Fingerprints: how much of each attack matches, with and without noise on each query, and rows a CPU second.

`python -m tests.bench fingerprints [repetitions]`: 400 queries of each attack on each task. Honest rows and look-alikes
are new ones, 4,000 and 1,000 of a kind; `mnist`, `spambase` and `adult` need shared/data.
"""

from __future__ import annotations

import numpy as np

from detectors.queries.fingerprints import Fingerprints, FingerprintsFixed, calibrate, marks, refusal
from detectors.queries.suspicion import Hits
from detectors.types import SingleArray
from tests.attacks import tasks, traces
from tests.attacks.campaign import attacks, campaign
from tests.attacks.lookalikes import IMAGES, TABLES, fresh
from tests.attacks.tasks import Task
from tests.attacks.traces import Trace
from tests.bench.common import cpu, table
from tests.statistical import data

CAPACITY, QUERIES, SECRET = 20_000, 400, 20_260_101
NOISE = (0.0, 0.005, 0.01, 0.02, 0.05)


def matched(fixed: FingerprintsFixed, trace: Trace) -> tuple[float, int]:
    """Share of the rows, but for exact repeats, that match an earlier one, and senders that are told."""
    queries = traces.queries(trace, trace.inputs[:, :1])
    repeat = np.ones(trace.rows, np.bool_)
    repeat[np.unique(queries.digest, return_index=True)[1]] = False
    no, nowhere = np.zeros(trace.rows, np.bool_), np.full(trace.rows, -1, np.int64)
    one = Fingerprints(fixed, CAPACITY)
    hits = Hits(np.full(trace.rows, np.nan, np.float32), nowhere, repeat, no, no, nowhere)
    return float(one.add(trace.inputs, queries, hits)[~repeat].mean()), len(one.suspicions())


def coverage(task: Task, fixed: FingerprintsFixed, repeats: int) -> list[list[object]]:
    """One line an attack: mean share that matches by noise."""
    lines: list[list[object]] = []
    for name in attacks(task):
        shares: list[list[float]] = []
        for i in range(repeats):
            found = campaign(task, name, np.random.default_rng([1, i]), most=QUERIES).trace
            rng = np.random.default_rng([2, i])
            noisy = [traces.dither(found, sigma, task.answer, rng, task.free) if sigma else found for sigma in NOISE]
            shares.append([matched(fixed, one)[0] for one in noisy])
        lines.append([task.name, name, *(f"{share:.1%}" for share in np.mean(shares, axis=0))])
    return lines


def honest(task: Task, fixed: FingerprintsFixed) -> list[list[object]]:
    """Ordinary rows, and what looks like attacks."""
    rng = np.random.default_rng(3)
    kinds = {"ordinary": traces.traffic(fresh(task)(4_000, rng), task.answer, rng)}
    for name, make in (IMAGES if task.image[0] else TABLES).items():
        kinds[name] = next(make(task, fresh(task), rng, 1_000))
    found = {name: matched(fixed, trace) for name, trace in kinds.items()}
    return [[task.name, name, f"{share:.1%}", senders] for name, (share, senders) in found.items()]


def speed(repeats: int) -> None:
    """Marks of random images, and marks with the look-up."""
    rng, lines = np.random.default_rng(4), []
    for d in (400, 784, 3_072):
        rows: SingleArray = rng.random((1_024, d), np.float32)
        fixed = calibrate(rows, np.arange(1_024, dtype=np.uint64), CAPACITY, SECRET, pixels=True)
        fixed = fixed._replace(reason=np.zeros_like(fixed.reason), shared=np.array(25))
        no, nowhere = np.zeros(1_024, np.bool_), np.full(1_024, -1, np.int64)
        sent = traces.traffic(rows, lambda x: np.full((len(x), 2), 0.5, np.float32), rng)
        queries, hits = traces.queries(sent, rows[:, :1]), Hits(rows[:, 0], nowhere, no, no, no, nowhere)
        one = Fingerprints(fixed, CAPACITY)
        spent = cpu(lambda: marks(fixed, rows), repeats), cpu(lambda: one.add(rows, queries, hits), repeats)  # noqa: B023
        lines.append([d, *(f"{1_024 / seconds:,.0f}" for seconds in spent)])
    table("Rows a CPU second", ["numbers", "marks", "marks and look-up"], lines)


def run(*args: str) -> None:
    """Print all tables."""
    repeats = int(args[0]) if args else 3
    known, covered, quiet = [], [], []
    for name in ("glyphs", "mnist", "spambase", "adult"):
        try:
            task: Task = getattr(tasks, name)()
        except data.AbsentError as absent:
            print(f"skipped: {absent}")
            continue
        rows = task.reference
        fixed = calibrate(rows, traces.digests(rows), CAPACITY, SECRET, pixels=task.image[0] > 0)
        found = [int(fixed.window), int(fixed.kept), int(fixed.shared), f"{float(fixed.rate):.1%}", refusal(fixed)]
        known.append([name, len(rows), *found])
        if not refusal(fixed):
            covered += coverage(task, fixed, repeats)
            quiet += honest(task, fixed)
    headings = ["task", "reference", "w", "S", "T", "honest rows that match, at most", "refused"]
    table(f"Calibration for {CAPACITY:,} rows", headings, known)
    table(f"Share that matches, {repeats} runs", ["task", "attack", *(f"noise {one}" for one in NOISE)], covered)
    table("Honest traffic", ["task", "traffic", "matches", "senders told beside others"], quiet)
    speed(repeats)
