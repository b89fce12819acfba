"""The power table of methods.md section 4: ``power [REPETITIONS]``; every test on the same samples, 500 rows a window.

First against 1,000 reference rows, of which each test compares 500 (half B) as the research notes did, then in
production form: 10,000 reference rows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate.classifier import ClassifierTwoSample
from detectors.multivariate.conditional import ConditionalShift
from detectors.multivariate.correlation import CorrelationChange
from detectors.multivariate.cross_mmd import CrossMMD
from detectors.multivariate.energy import EnergyDistance
from detectors.multivariate.joint import JointDefault
from detectors.multivariate.mmd import ExactMMD
from detectors.multivariate.nystroem import SpectralNystroem
from detectors.multivariate.pca import PCAReconstruction
from detectors.multivariate.protocol import JointTest
from detectors.multivariate.random_features import RandomFeatureMMD
from tests.bench import samplers
from tests.bench.common import table
from tests.detectors.views import sample_of, view_of

Rows = NDArray[np.float64]
WINDOW = 500
LEVEL = math.log(0.05) + 1e-9


def tests() -> dict[str, JointTest]:
    """Every joint test by name; the closed form of the correlation test on its own."""
    made: list[JointTest] = [
        SpectralNystroem(),
        CorrelationChange(),
        EnergyDistance(),
        PCAReconstruction(),
        ConditionalShift(),
        ClassifierTwoSample(),
        ExactMMD(),
        CrossMMD(),
        RandomFeatureMMD(),
        JointDefault(),
    ]
    return {one.name: one for one in made} | {"correlation_change, closed": CorrelationChange(0)}


def _normal(rng: np.random.Generator, n: int) -> Rows:
    return rng.standard_normal((n, 10))


def _mean(rng: np.random.Generator, n: int) -> Rows:
    rows = _normal(rng, n)
    rows[:, :5] += 0.1
    return rows


def _scale(rng: np.random.Generator, n: int) -> Rows:
    rows = _normal(rng, n)
    rows[:, :5] *= 1.1
    return rows


def _rho(rng: np.random.Generator, n: int) -> Rows:
    rows = _normal(rng, n)
    rows[:, 1] = 0.4 * rows[:, 0] + math.sqrt(1 - 0.4**2) * rows[:, 1]
    return rows


def _mixture(scale: float) -> Callable[[np.random.Generator, int], Rows]:
    return lambda rng, n: samplers.mixture(rng, 1, scale, n)[1]


Draw = Callable[[np.random.Generator, int], Rows]
LINES: dict[str, tuple[Draw, Draw, dict[str, float]]] = {
    "mixture 1.6, d=2": (
        _mixture(1.0),
        _mixture(1.6),
        {"spectral_mmd": 0.94, "energy_distance": 0.12, "pca_reconstruction": 0.08, "classifier_two_sample": 0.44},
    ),
    "d=10, mean .1 in 5": (
        _normal,
        _mean,
        {"spectral_mmd": 0.50, "energy_distance": 0.66, "pca_reconstruction": 0.08, "classifier_two_sample": 0.18},
    ),
    "d=10, scale 1.1 in 5": (
        _normal,
        _scale,
        {"spectral_mmd": 0.46, "energy_distance": 0.22, "pca_reconstruction": 0.70, "classifier_two_sample": 0.20},
    ),
    "d=10, rho .4": (
        _normal,
        _rho,
        {
            "spectral_mmd": 0.62,
            "energy_distance": 0.10,
            "pca_reconstruction": 0.24,
            "classifier_two_sample": 0.26,
            "correlation_change": 1.0,
        },
    ),
}
"""Reference, window, and the powers of the research notes (500 against 500 rows, 50 repetitions)."""


def run(repetitions: str = "200") -> None:
    """Print both tables."""
    for rows in (1000, 10_000):
        _table(int(repetitions), rows)


def _table(repetitions: int, rows: int) -> None:
    every = tests()
    found = {line: _powers(every, line, repetitions, rows) for line in LINES}
    printed = []
    for name in every:
        cells = []
        for line, (_, _, noted) in LINES.items():
            known = f" ({noted[name]:.2f})" if name in noted and rows == 1000 else ""
            cells.append(f"{found[line][name][0]:.3f}{known}")
        seconds = float(np.mean([found[line][name][1] for line in LINES]))
        printed.append((name, *cells, f"{seconds:.4f}"))
    ratio = [
        found[line]["joint_min_p"][0] / max(value for name, (value, _) in found[line].items() if name != "joint_min_p")
        for line in LINES
    ]
    printed.append(("joint over the best single", *(f"{one:.2f}" for one in ratio), ""))
    error = math.sqrt(0.25 / repetitions)
    table(
        f"Power at 5 %, window {WINDOW}, reference {rows:,} rows, {repetitions} repetitions (standard error at most"
        f" {error:.3f}; in brackets methods.md section 4)",
        ("test", *LINES, "CPU s a window"),
        printed,
    )


def _powers(every: dict[str, JointTest], line: str, repetitions: int, rows: int) -> dict[str, tuple[float, float]]:
    """Share of rejections and mean CPU seconds of each test."""
    before, after, _ = LINES[line]
    hits, seconds = dict.fromkeys(every, 0), dict.fromkeys(every, 0.0)
    for repetition in range(repetitions):
        rng = np.random.default_rng((7, repetition))
        view, sample = view_of(before(rng, rows), run=5), sample_of(after(rng, WINDOW), run=5)
        for name, test in every.items():
            fixed = test.fit(view, rng)
            began = time.process_time()
            hits[name] += test.score(fixed, view, sample, rng).log_p <= LEVEL
            seconds[name] += time.process_time() - began
    return {name: (hits[name] / repetitions, seconds[name] / repetitions) for name in every}
