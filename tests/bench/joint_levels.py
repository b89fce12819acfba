"""Levels of every joint test at 5 %: ``joint_levels [REPETITIONS] [TEST] [SETTING]``, in production form.

A reference of 10,000 rows and windows of 500 and 2,000 rows of the same law; `WINDOWS` windows a reference, and the
standard error is that between references. Runs are as long as the agent makes them for the autocorrelation time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from detectors import simulate
from detectors.multivariate.encode import Encoder, columns_encoder, vector_encoder
from detectors.multivariate.protocol import JointTest
from detectors.multivariate.samples import run_rows
from detectors.types import Block, Reason, Sample, SingleArray, View
from tests.bench import samplers
from tests.bench.common import table
from tests.bench.power import LEVEL, tests
from tests.detectors.views import sample_of, view_of

REFERENCE, WINDOWS = 10_000, 5
SIZES = (500, 2000)
PHI = 0.9
Made = tuple[View, Callable[[int], Sample]]


def _plain(draw: Callable[[np.random.Generator, int], np.ndarray], rng: np.random.Generator) -> Made:
    run = run_rows(1.0)
    return view_of(draw(rng, REFERENCE), run=run), lambda n: sample_of(draw(rng, n), run=run)


def _encoded(draw: Callable[[int], Block], encoder: Encoder) -> Made:
    run = run_rows(1.0)

    def cut(n: int) -> Sample:
        return sample_of(encoder.encode(draw(n)), run=run)

    units = tuple(int(unit) for unit in np.unique(encoder.unit[encoder.unit >= 0]))
    return View("columns", encoder, cut(REFERENCE), run, units, 1.0), cut


def _columns(draw: Callable[[int], Block]) -> Made:
    rows = draw(REFERENCE)
    reference = simulate.reference_of(rows, dependent=False)
    return _encoded(draw, columns_encoder(reference.grid, reference.summary, rows))


def _heavy(rng: np.random.Generator) -> Made:
    return _columns(
        lambda n: simulate.block_of(np.hstack([rng.standard_t(2, (n, 4)), np.exp(2 * rng.standard_normal((n, 4)))]))
    )


def _mixed(rng: np.random.Generator) -> Made:
    def draw(n: int) -> Block:
        numbers = rng.standard_normal((n, 4))
        counts = rng.poisson(np.exp(0.5 * numbers[:, :2]))
        codes = np.minimum(rng.geometric(0.4, (n, 3)) - 1, 6)
        codes[:, 0] = numbers[:, 3] > 0
        return simulate.block_of(np.hstack([numbers, counts.astype(np.float64)]), codes.astype(np.int32))

    return _columns(draw)


def _embedding(rng: np.random.Generator) -> Made:
    """Twelve clusters on forty axes in 384 dimensions, with noise, of unit length: what text encoders give."""
    axes, centres = rng.standard_normal((40, 384)), 2 * rng.standard_normal((12, 40))

    def vectors(n: int) -> SingleArray:
        rows = (centres[rng.integers(0, 12, n)] + rng.standard_normal((n, 40))) @ axes + rng.standard_normal((n, 384))
        unit: SingleArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def draw(n: int) -> Block:
        return replace(simulate.block_of(np.zeros((n, 0))), vectors=(vectors(n),))

    encoder = vector_encoder(0, vectors(2000), rng)
    if encoder is None:
        raise RuntimeError("the embedding does not vary")
    return _encoded(draw, encoder)


def _autoregressive(rng: np.random.Generator) -> Made:
    tau = (1 + PHI) / (1 - PHI)
    run = run_rows(tau)

    def draw(n: int) -> np.ndarray:
        rows = np.empty((n, 5))
        state = rng.standard_normal(5)
        noise = math.sqrt(1 - PHI**2) * rng.standard_normal((n, 5))
        for i in range(n):
            state = rows[i] = PHI * state + noise[i]
        return rows

    return view_of(draw(2 * REFERENCE), run=run, tau=tau), lambda n: sample_of(draw(2 * n), run=run)


SETTINGS: dict[str, Callable[[np.random.Generator], Made]] = {
    "Gaussian d=10": lambda rng: _plain(lambda rng, n: rng.standard_normal((n, 10)), rng),
    "mixture d=2": lambda rng: _plain(lambda rng, n: samplers.mixture(rng, n, 1.0)[0], rng),
    "heavy tails d=8": _heavy,
    "blobs d=2": lambda rng: _plain(lambda rng, n: samplers.blobs(rng, n, same=True)[0], rng),
    "mixed types": _mixed,
    "embedding d=384": _embedding,
    "AR(1) .9 d=5": _autoregressive,
}


def run(repetitions: str = "500", test: str = "all", setting: str = "all") -> None:
    """Print levels by setting and window size, with standard errors."""
    every = {name: one for name, one in tests().items() if test in {"all", name}}
    for name, make in SETTINGS.items():
        if setting in {"all", name}:
            _table(name, make, every, int(repetitions))


def _table(
    name: str, make: Callable[[np.random.Generator], Made], every: dict[str, JointTest], repetitions: int
) -> None:
    references = -(-repetitions // WINDOWS)
    hits = np.full((len(every), len(SIZES), references, WINDOWS), np.nan)
    for i in range(references):
        rng = np.random.default_rng((11, i))
        view, draw = make(rng)
        fixed = [test.fit(view, rng) for test in every.values()]
        for j, size in enumerate(SIZES):
            for k in range(WINDOWS):
                sample = draw(size)
                for t, test in enumerate(every.values()):
                    outcome = test.score(fixed[t], view, sample, rng)
                    if outcome.reason == Reason.OK:
                        hits[t, j, i, k] = outcome.log_p <= LEVEL
    rows = [
        (one, *(_cell(hits[t, j]) for j in range(len(SIZES))), _cell(hits[t].reshape(references, -1)))
        for t, one in enumerate(every)
    ]
    factor = 2 if name.startswith("AR") else 1
    headings = [f"window {factor * size:,}" for size in SIZES]
    title = f"Level at 5 %: {name}, reference {factor * REFERENCE:,} rows, {references} x {WINDOWS} windows a size"
    table(f"{title} (asked: .035 to .065, AR(1) at most .08)", ("test", *headings, "both"), rows)


def _cell(hits: np.ndarray) -> str:
    """Share of rejections and its standard error between references ``(references, windows)``."""
    hits = hits[~np.isnan(hits).all(axis=1)]
    if not len(hits):
        return "too few bins"
    each = np.nanmean(hits, axis=1)
    return f"{each.mean():.3f} +- {each.std() / math.sqrt(max(len(each) - 1, 1)):.3f}"
