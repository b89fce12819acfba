"""Levels of every p-value of the windowed detectors: how often a window of the reference's own law is rejected.

Run as a script, it prints the whole table: ``python -m tests.statistical.levels 3000``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.registry import WINDOWED, Tolerances
from detectors.types import Block, FloatArray, Window

SIZES = ((200, 1_000), (1_000, 10_000), (10_000, 10_000), (60_000, 10_000))
"""Rows of window and reference (issue A, Levels)."""
COPIES = 10
"""Columns of each kind."""
WINDOWS = 2
"""Windows judged against one reference."""

Draw = Callable[[np.random.Generator, tuple[int, int]], FloatArray]

_MIX = np.cumsum([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.04, 0.03, 0.02, 0.01, 0.005, 0.005])


def _zero_inflated(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return np.where(rng.random(shape) < 0.5, 0.0, rng.standard_exponential(shape))


NUMERIC: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "lognormal": lambda rng, shape: np.exp(rng.standard_normal(shape)),
    "poisson": lambda rng, shape: rng.poisson(4.0, shape).astype(np.float64),
    "half_zero": _zero_inflated,
}
CATEGORICAL: dict[str, Draw] = {
    "twelve": lambda rng, shape: np.minimum(np.searchsorted(_MIX, rng.random(shape)), 11).astype(np.float64),
    "binary": lambda rng, shape: (rng.random(shape) < 0.3).astype(np.float64),
}
KINDS = (*NUMERIC, *CATEGORICAL)


class Cell(NamedTuple):
    """Tests made, and how many of them rejected at 5 % and at 0.1 %."""

    tests: int
    five_percent: int
    one_permille: int


Table = dict[tuple[str, str], Cell]
"""(detector, kind of column) -> cell; detectors that do not speak to a kind have no entry."""


def draw(rng: np.random.Generator, rows: int) -> Block:
    """One block of undrifted rows: `COPIES` columns of every kind."""
    numeric = np.concatenate([make(rng, (COPIES, rows)) for make in NUMERIC.values()]).T
    codes = np.concatenate([make(rng, (COPIES, rows)) for make in CATEGORICAL.values()]).T
    return simulate.block_of(numeric, codes.astype(np.int32))


def measure(rows: int, reference_rows: int, repetitions: int, seed: int) -> Table:
    """Rejections over ``repetitions`` references with `WINDOWS` windows each."""
    rng = np.random.default_rng((seed, rows, reference_rows))
    detectors = {name: make(Tolerances()) for name, make in WINDOWED.items()}
    found: dict[str, NDArray[np.int64]] = {name: np.zeros((3, len(KINDS)), np.int64) for name in detectors}
    for _ in range(repetitions):
        reference = simulate.reference_of(draw(rng, reference_rows), dependent=False)
        baseline = Baseline(reference)
        fixed = {name: it.fit(reference) for name, it in detectors.items()}
        for _ in range(WINDOWS):
            summary = parts.summarise(reference.grid, draw(rng, rows))
            window = Window(0.0, 1.0, Comparison(baseline, summary), summary)
            for name, it in detectors.items():
                log_p = it.score(fixed[name], it.start(fixed[name]), window)[1].log_p.reshape(len(KINDS), COPIES)
                found[name] += np.stack(
                    [
                        np.isfinite(log_p).sum(axis=1),
                        (log_p <= np.log(0.05)).sum(axis=1),
                        (log_p <= np.log(0.001)).sum(axis=1),
                    ]
                )
    return {
        (name, kind): Cell(*(int(value) for value in counts[:, column]))
        for name, counts in found.items()
        for column, kind in enumerate(KINDS)
        if counts[0, column]
    }


def main() -> None:
    """Print level at 5 % in per cent and at 0.1 % in per mille, per detector, kind of column and sizes."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    for rows, reference_rows in SIZES:
        table = measure(rows, reference_rows, repetitions, seed=1)
        _say(f"window {rows}, reference {reference_rows}: level at 5 % [%] / at 0.1 % [per mille], {repetitions} x 20")
        for name in WINDOWED:
            row = [table.get((name, kind)) for kind in KINDS]
            text = (
                f"{100 * c.five_percent / c.tests:5.2f}/{1000 * c.one_permille / c.tests:4.2f}" if c else "     -    "
                for c in row
            )
            _say(f"  {name:20s} " + "  ".join(f"{kind} {one}" for kind, one in zip(KINDS, text, strict=True)))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
