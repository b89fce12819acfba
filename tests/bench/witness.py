"""The witness e-detector: run lengths without drift, delays of shifts, CPU of a pane; beside methods.md 3.5.

``python -m tests.bench witness [STREAMS]``; every stream without drift has 300 panes of 100 rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from detectors.multivariate.witness import Witness
from detectors.types import Block, CodeArray, IntArray, Sample, SingleArray, View
from tests.bench.common import cpu, table

ROWS = 100
PANES = 300
BURN = 40
PATIENCE = 150
"""Panes after which a shift counts as missed."""
Rows = NDArray[np.float64]
Make = Callable[[np.random.Generator, int], Rows]


@dataclass(frozen=True)
class Plain:
    """An encoder's shape: rows come encoded."""

    dimensions: int

    @property
    def unit(self) -> IntArray:
        """One column a dimension."""
        return np.arange(self.dimensions)

    def encode(self, block: Block) -> SingleArray:
        """Rows as they are."""
        return block.numeric.astype(np.float32)


def view(rows: Rows, strata: CodeArray | None = None, run: int = 8, tau: float = 1.0) -> View:
    """A view of reference rows in runs of ``run``."""
    return View("columns", Plain(rows.shape[1]), sample(rows, strata, run), run, (), tau)


def sample(rows: Rows, strata: CodeArray | None = None, run: int = 8) -> Sample:
    """Rows that were neighbours."""
    codes = np.zeros(len(rows), np.int32) if strata is None else strata
    return Sample(rows.astype(np.float32), np.arange(len(rows)) // run, codes)


def normal(rng: np.random.Generator, rows: int, dimensions: int = 10) -> Rows:
    """Independent standard normal columns."""
    return rng.standard_normal((rows, dimensions))


def moved(rng: np.random.Generator, rows: int) -> Rows:
    """0.15 deviations in 5 of 10 columns."""
    return normal(rng, rows) + 0.15 * (np.arange(10) < 5)


def moved_twice(rng: np.random.Generator, rows: int) -> Rows:
    """0.3 deviations in 5 of 10 columns."""
    return normal(rng, rows) + 0.3 * (np.arange(10) < 5)


def correlated(rng: np.random.Generator, rows: int, rho: float = 0.4) -> Rows:
    """One pair of 10 columns correlates."""
    x = normal(rng, rows)
    x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1]
    return x


def strongly(rng: np.random.Generator, rows: int) -> Rows:
    """One pair correlates by 0.7."""
    return correlated(rng, rows, 0.7)


def scaled(rng: np.random.Generator, rows: int) -> Rows:
    """5 of 10 columns 1.2 times as wide."""
    return normal(rng, rows) * np.where(np.arange(10) < 5, 1.2, 1)


def modes(rng: np.random.Generator, rows: int, weights: tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)) -> Rows:
    """Four modes of 10 columns, 4 deviations apart."""
    middle = np.zeros((4, 10))
    middle[np.arange(4), np.arange(4)] = 4
    return middle[rng.choice(4, rows, p=weights)] + normal(rng, rows)


def dropped(rng: np.random.Generator, rows: int) -> Rows:
    """One of the four modes loses half of its rows to the others."""
    return modes(rng, rows, (0.125, 0.875 / 3, 0.875 / 3, 0.875 / 3))


def autoregressive(phi: float) -> Make:
    """AR(1) columns."""

    def make(rng: np.random.Generator, rows: int) -> Rows:
        noise = rng.standard_normal((rows + 300, 10))
        return np.asarray(lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=0)[300:], np.float64)

    return make


def alarm_after(witness: Witness, reference: View, stream: Rows, threshold: float, seed: int = 0) -> float:
    """Panes of `ROWS` rows until the first alarm; inf where there is none."""
    fixed = witness.fit(reference, np.random.default_rng(seed))
    state = witness.start(fixed)
    for number in range(len(stream) // ROWS):
        state, step = witness.score(fixed, state, sample(stream[number * ROWS : (number + 1) * ROWS]))
        if step.log_e >= np.log(threshold):
            return number + 1.0
    return np.inf


def without_drift(streams: int, make: Make, reference_rows: int, witness: Witness, tau: float = 1.0) -> list[float]:
    """First alarms at A = 500 of streams without drift, each with a reference of its own."""
    run = 8 if tau == 1 else int(10 * tau)
    out = []
    for seed in range(streams):
        rng = np.random.default_rng([11, seed])
        reference = view(make(rng, reference_rows), run=run, tau=tau)
        out.append(alarm_after(witness, reference, make(rng, PANES * ROWS), 500, seed))
    return out


def delay(streams: int, before: Make, after: Make, witness: Witness, burn: int = BURN) -> list[float]:
    """Panes from the shift to the alarm at A = 10,000, `PATIENCE` where it is missed, -1 where it came before."""
    out = []
    for seed in range(streams):
        rng = np.random.default_rng([12, seed])
        reference = view(before(rng, 20_000))
        stream = np.concatenate([before(rng, burn * ROWS), after(rng, PATIENCE * ROWS)])
        stop = alarm_after(witness, reference, stream, 1e4, seed)
        out.append(min(stop - burn, PATIENCE) if stop > burn else -1.0)
    return out


def _nulls(streams: int) -> None:
    settings: list[tuple[str, Make, int, Witness, float]] = [
        ("20k rows, declared exact, tolerance 0", normal, 20_000, Witness(0.0, known=True), 1.0),
        *((f"{rows // 1000}k rows, tolerance 0", normal, rows, Witness(0.0), 1.0) for rows in (1_000, 5_000, 20_000)),
        *((f"{rows // 1000}k rows, tolerance 0.02", normal, rows, Witness(0.02), 1.0) for rows in (1_000, 20_000)),
        ("four modes, 5k rows, tolerance 0", modes, 5_000, Witness(0.0), 1.0),
        ("AR(1) 0.5, 20k rows, tolerance 0.02", autoregressive(0.5), 20_000, Witness(0.02), 3.0),
        ("AR(1) 0.9, 20k rows, tolerance 0.02", autoregressive(0.9), 20_000, Witness(0.02), 19.0),
    ]
    lines = []
    for name, make, rows, witness, tau in settings:
        stops = np.array(without_drift(streams, make, rows, witness, tau))
        share = float(np.isfinite(stops).mean())
        lines.append(
            (name, f"{streams} x {PANES}", f"{share:.3f} +- {np.sqrt(share * (1 - share) / streams):.3f}", "<= 0.6")
        )
    table(
        f"No drift, A = 500: share of streams with an alarm within {PANES} panes",
        ("reference", "streams x panes", "alarmed", "bound of a mean run length of 500"),
        lines,
    )


def _delays(streams: int) -> None:
    shifts: list[tuple[str, Make, Make, str]] = [
        ("mean .15 sd in 5 of 10", normal, moved, "6.4"),
        ("mean .3 sd in 5 of 10", normal, moved_twice, "-"),
        ("rho .4, one pair of 10", normal, correlated, "8.4"),
        ("rho .7, one pair of 10", normal, strongly, "-"),
        ("scale 1.2 in 5 of 10", normal, scaled, "-"),
        ("half of a mode drops (.125)", modes, dropped, "-"),
    ]
    choices = [
        ("0, exact, from the start", Witness(0.0, known=True), 0),
        ("0, exact", Witness(0.0, known=True), BURN),
        *((f"{tolerance}", Witness(tolerance), BURN) for tolerance in (0.0, 0.02, 0.05)),
    ]
    lines = []
    for name, before, after, published in shifts:
        cells = [_cell(delay(streams, before, after, witness, burn)) for _, witness, burn in choices]
        lines.append((name, published, *cells))
    table(
        f"Delay in panes of {ROWS} rows, A = 10,000, reference 20k rows, {streams} streams, shift after {BURN} panes",
        ("shift", "methods.md 3.5 (tolerance 0, exact)", *(f"tolerance {name}" for name, _, _ in choices)),
        lines,
    )


def _cell(stops: list[float]) -> str:
    found = np.array([stop for stop in stops if stop >= 0])
    missed, early = int((found >= PATIENCE).sum()), len(stops) - len(found)
    text = f"{found.mean():.1f} +- {found.std() / np.sqrt(max(len(found), 1)):.1f}"
    return text + (f" ({missed} missed)" if missed else "") + (f" ({early} early)" if early else "")


def _costs() -> None:
    rng, lines = np.random.default_rng(0), []
    for dimensions, rows in ((10, 100), (60, 100), (384, 100), (60, 500), (60, 20_000)):
        witness = Witness(0.02)
        fixed = witness.fit(view(normal(rng, 20_000, dimensions)), rng)
        pane = sample(normal(rng, rows, dimensions))
        state, _ = witness.score(fixed, witness.start(fixed), pane)
        seconds = cpu(lambda w=witness, f=fixed, s=state, p=pane: w.score(f, s, p), 100)  # type: ignore[misc]
        lines.append((dimensions, rows, f"{1e3 * seconds:.2f}", "0.6" if rows == 100 else "-"))
    table("CPU of a pane, reference 20k rows", ("d", "rows", "ms", "methods.md 3.5"), lines)


def run(streams: str = "60") -> None:
    """Print the tables."""
    _nulls(int(streams))
    _delays(max(int(streams) // 3, 2))
    _costs()
