"""One window of a million rows, small panes, and how cost grows with columns."""

from __future__ import annotations

import time

import numpy as np

from detectors import parts, simulate
from detectors.registry import Tolerances
from detectors.types import Block
from monitor.engine import Engine, Pane
from tests.bench.common import cpu, table

ROWS, NUMERIC, CATEGORIES = 1_000_000, 50, 10


def block(rows: int, numeric: int, categorical: int, seed: int) -> Block:
    """Normal numbers and twelve categories."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 12, (rows, categorical)).astype(np.int32)
    return simulate.block_of(rng.standard_normal((rows, numeric)), codes)


def engine(numeric: int, categorical: int) -> Engine:
    """An engine fitted on 20,000 rows."""
    reference = simulate.reference_of(block(20_000, numeric, categorical, seed=1), dependent=False)
    made = Engine("m", reference, Tolerances(), 60, 60, "bench", time.perf_counter)
    _ = made.weight, made.return_bets
    return made


def judge(made: Engine, some: Block) -> None:
    """Summarise and judge one window of one pane."""
    summary = parts.summarise(made.reference.grid, some)
    made.step(made.start(), Pane(60, 0.0, 60.0, summary), "all", threshold=1e5, ticket_level=1e-3)


def run() -> None:
    """Print the tables."""
    _window()
    _panes()
    _growth()


def _window() -> None:
    from scipy import stats

    made, some = engine(NUMERIC, CATEGORIES), block(ROWS, NUMERIC, CATEGORIES, seed=2)
    ours = cpu(lambda: judge(made, some), 5)
    histogram = cpu(
        lambda: [
            np.histogram(columns[:, j], 50) for columns in (some.numeric, some.codes) for j in range(columns.shape[1])
        ],
        5,
    )
    reference = block(100_000, NUMERIC, CATEGORIES, seed=3)
    tests = cpu(
        lambda: [stats.ks_2samp(some.numeric[:, j], reference.numeric[:, j], method="asymp") for j in range(5)], 1
    )
    tests *= (NUMERIC + CATEGORIES) / 5
    rows = [
        ("all of items 5 and 6 (20 detectors)", f"{ours:.3f}", "1.00"),
        ("loop of numpy.histogram, 50 bins", f"{histogram:.3f}", f"{histogram / ours:.2f}"),
        ("scipy.stats.ks_2samp, 60 columns (5 timed, scaled)", f"{tests:.3f}", f"{tests / ours:.2f}"),
    ]
    table(f"A window of {ROWS:,} x ({NUMERIC} + {CATEGORIES})", ("what", "CPU s", "ratio to ours"), rows)


def _panes() -> None:
    made = engine(NUMERIC, CATEGORIES)
    blocks = [block(200, NUMERIC, CATEGORIES, seed=10 + i) for i in range(200)]

    def many() -> None:
        state = made.start()
        for number, some in enumerate(blocks, 1):
            summary = parts.summarise(made.reference.grid, some)
            state, _ = made.step(state, Pane(number, 0.0, 60.0, summary), "all", threshold=1e5, ticket_level=1e-3)

    spent = min(cpu(many, 1) for _ in range(5)) / len(blocks) * 1e3
    summarised = cpu(lambda: [parts.summarise(made.reference.grid, some) for some in blocks], 5) / len(blocks) * 1e3
    rows = [("summarise", f"{summarised:.3f}"), ("summarise, test and decide", f"{spent:.3f}")]
    table("A pane of 200 rows x 60 columns", ("what", "CPU ms (best of 5 runs of 200 panes)"), rows)


def _growth() -> None:
    rows: list[tuple[object, ...]] = []
    for columns in (60, 250, 500, 1000, 2000):
        numeric = columns * 5 // 6
        made = engine(numeric, columns - numeric)
        some = block(20_000, numeric, columns - numeric, seed=4)
        spent = cpu(lambda made=made, some=some: judge(made, some), 3)  # type: ignore[misc]
        rows.append((columns, f"{spent * 1e3:.1f}", f"{spent / columns * 1e6:.1f}"))
    table("A window of 20,000 rows", ("columns", "CPU ms", "CPU us a column"), rows)
    made = engine(NUMERIC, CATEGORIES)
    rows = []
    for size in (10_000, 100_000, 1_000_000):
        some = block(size, NUMERIC, CATEGORIES, seed=5)
        spent = cpu(lambda some=some: judge(made, some), 3)  # type: ignore[misc]
        rows.append((f"{size:,}", f"{spent * 1e3:.1f}", f"{spent / size / 60 * 1e9:.2f}"))
    table("A window of 60 columns", ("rows", "CPU ms", "CPU ns a value"), rows)
