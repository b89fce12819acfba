"""Delay and run length of e-KS on independent rows, many columns at a time: each column is one repetition.

As a script it prints the table of methods.md 3.2 beside what is measured: ``python -m tests.statistical.delay``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.sequential.e_ks import EKS
from detectors.types import FloatArray, Reference, Window

ROWS = 200
KNOWN_ROWS = 64_000
Draw = Callable[[np.random.Generator, tuple[int, int]], FloatArray]

DRAWS: dict[str, Draw] = {
    "none": lambda rng, shape: rng.standard_normal(shape),
    "mean .05": lambda rng, shape: rng.standard_normal(shape) + 0.05,
    "mean .1": lambda rng, shape: rng.standard_normal(shape) + 0.1,
    "mean .2": lambda rng, shape: rng.standard_normal(shape) + 0.2,
    "mean .5": lambda rng, shape: rng.standard_normal(shape) + 0.5,
    "sd 1.1": lambda rng, shape: rng.standard_normal(shape) * 1.1,
    "sd 1.3": lambda rng, shape: rng.standard_normal(shape) * 1.3,
    "5 % moved +2 sd": lambda rng, shape: rng.standard_normal(shape) + 2 * (rng.random(shape) < 0.05),
}
PUBLISHED: dict[tuple[str, float, float], float] = {
    ("mean .05", 0.0, 1e4): 54, ("mean .05", 0.0, 1e6): 77,
    ("mean .1", 0.0, 1e4): 15.5, ("mean .1", 0.0, 1e6): 21.4,
    ("mean .1", 0.02, 1e4): 63, ("mean .1", 0.02, 1e6): 89,
    ("mean .2", 0.0, 1e4): 4.6, ("mean .2", 0.0, 1e6): 6.5,
    ("mean .2", 0.02, 1e4): 7.7, ("mean .2", 0.02, 1e6): 10.9,
    ("mean .5", 0.0, 1e4): 1.1, ("mean .5", 0.0, 1e6): 1.4,
    ("mean .5", 0.02, 1e4): 1.3, ("mean .5", 0.02, 1e6): 1.7,
    ("sd 1.1", 0.0, 1e4): 17, ("sd 1.1", 0.0, 1e6): 25,
    ("sd 1.3", 0.0, 1e4): 2.8, ("sd 1.3", 0.0, 1e6): 4.0,
    ("sd 1.3", 0.02, 1e4): 7.0, ("sd 1.3", 0.02, 1e6): 9.7,
    ("5 % moved +2 sd", 0.0, 1e4): 11, ("5 % moved +2 sd", 0.0, 1e6): 14,
    ("5 % moved +2 sd", 0.02, 1e4): 68, ("5 % moved +2 sd", 0.02, 1e6): 99,
}  # fmt: skip
"""methods.md 3.2: (shift, delta, A) -> mean panes of 200 rows until the alarm, reference known."""


def known(columns: int) -> Reference:
    """The standard normal law itself: its own quantiles, in every column."""
    quantiles = special.ndtri((np.arange(KNOWN_ROWS) + 0.5) / KNOWN_ROWS)
    return simulate.reference_of(simulate.block_of(np.tile(quantiles[:, None], (1, columns))), dependent=False)


def sampled(columns: int, rows: int, rng: np.random.Generator) -> Reference:
    """A reference of normal rows: every column is another sample."""
    return simulate.reference_of(simulate.block_of(rng.standard_normal((columns, rows)).T), dependent=False)


def stops(
    detector: EKS, reference: Reference, draw: Draw, threshold: float, rng: np.random.Generator, most: int
) -> NDArray[np.int64]:
    """Pane of each column's first alarm; ``most`` + 1 where there was none."""
    columns = len(reference.grid.names)
    fixed = detector.fit(reference)
    state = detector.start(fixed)
    baseline = Baseline(reference)
    stopped = np.full(columns, most + 1)
    for pane in range(1, most + 1):
        summary = parts.summarise(reference.grid, simulate.block_of(draw(rng, (columns, ROWS)).T))
        state, evidence = detector.score(fixed, state, Window(0.0, 1.0, Comparison(baseline, summary), summary))
        stopped[(stopped > most) & (evidence.log_e >= np.log(threshold))] = pane
        if (stopped <= most).all():
            break
    return stopped


def mean_delay(
    shift: str, detector: EKS, reference: Reference, threshold: float, rng: np.random.Generator, most: int = 1_500
) -> float:
    """Mean panes until the alarm."""
    return float(stops(detector, reference, DRAWS[shift], threshold, rng, most).mean())


def main() -> None:
    """Print the table."""
    say = sys.stdout.write
    rng = np.random.default_rng(1)
    say("shift | delta | A | published, known | known | reference of 20,000 rows\n")
    for (shift, delta, threshold), published in PUBLISHED.items():
        exact = mean_delay(shift, EKS(delta, known=True), known(200), threshold, rng)
        finite = stops(EKS(delta), sampled(100, 20_000, rng), DRAWS[shift], threshold, rng, 1_500)
        late = f" ({(finite > 1_500).sum()} of 100 not within 1,500)" if (finite > 1_500).any() else ""
        say(f"{shift} | {delta} | {threshold:.0e} | {published} | {exact:.1f} | {finite.mean():.1f}{late}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
