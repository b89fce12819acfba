"""Speed of the kernel tests beside this machine's own matrix product, in one run: CPU seconds, one thread."""

from __future__ import annotations

import resource

import numpy as np

from detectors.multivariate import mmd
from detectors.multivariate.bins import bins_of
from detectors.multivariate.cross_mmd import CrossMMD
from detectors.multivariate.mmd import ExactMMD
from detectors.multivariate.nystroem import SpectralNystroem
from detectors.multivariate.protocol import JointTest
from detectors.multivariate.random_features import RandomFeatureMMD
from detectors.types import SingleArray
from tests.bench.common import cpu, table
from tests.detectors.views import sample_of, view_of

ROWS, WIDE, DRAWS = 5000, 128, 100


def sgemm(repeats: int = 5) -> float:
    """Operations a CPU second of a float32 product of 4,000 x 4,000."""
    a = np.random.default_rng(0).standard_normal((4000, 4000)).astype(np.float32)
    return 2 * 4000.0**3 / cpu(lambda: a @ a, repeats)


def normal(rows: int, d: int, seed: int) -> SingleArray:
    """Normal rows."""
    return np.random.default_rng(seed).standard_normal((rows, d), dtype=np.float32)


def peak() -> float:
    """Largest memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def run(*arguments: str) -> None:
    """Print the tables; the argument is the number of timed repetitions."""
    repeats = int(arguments[0]) if arguments else 5
    _growth(repeats)  # first: memory is told by its peak
    _exact(repeats)
    _windows(repeats)


def _exact(repeats: int) -> None:
    x, y = normal(ROWS, WIDE, 1), normal(ROWS, WIDE, 2)
    before = peak()
    spent = cpu(lambda: mmd.single(x, y, np.random.default_rng(3), DRAWS), repeats)
    memory = peak() - before
    rate = sgemm(repeats)
    pairs = (2 * ROWS) ** 2
    whole, made = 2 * pairs * (WIDE + DRAWS + 1), pairs * (WIDE + 2 + DRAWS + 2)
    rows = [
        ("CPU s, median", f"{spent:.3f}"),
        ("memory beyond the rows, MB", f"{memory:.0f}"),
        ("sgemm, GFLOP/s", f"{rate / 1e9:.0f}"),
        ("products of the whole matrix, share of sgemm", f"{whole / spent / rate:.2f}"),
        ("products that are made (half the matrix), share of sgemm", f"{made / spent / rate:.2f}"),
    ]
    table(f"Exact MMD, n = m = {ROWS:,}, d = {WIDE}, {DRAWS} permutations of rows", ("what", "figure"), rows)


def _windows(repeats: int) -> None:
    tests: list[JointTest] = [SpectralNystroem(), ExactMMD(), CrossMMD(), RandomFeatureMMD()]
    lines = []
    for d in (10, 128, 768):
        view = view_of(normal(20_000, d, 1), run=10)
        for test in tests:
            fit = cpu(lambda test=test, view=view: test.fit(view, np.random.default_rng(2)), 1)  # type: ignore[misc]
            fixed = test.fit(view, np.random.default_rng(2))
            size = sum(np.asarray(part).nbytes for part in fixed) / 1e6
            spent = []
            for rows in (500, 10_000):
                sample = sample_of(normal(rows, d, 3), run=10)
                spent.append(cpu(lambda: test.score(fixed, view, sample, np.random.default_rng(4)), repeats))  # noqa: B023
            lines.append((d, test.name, f"{fit:.3f}", f"{size:.1f}", *(f"{one:.4f}" for one in spent)))
    head = ("d", "test", "CPU s a fit", "stored MB", "CPU s a window of 500", "CPU s a window of 10,000")
    table("Windows against a stored reference of 20,000 rows (half learnt from, half tested)", head, lines)


def _growth(repeats: int) -> None:
    test, view = SpectralNystroem(), view_of(normal(20_000, 10, 1), run=10)
    fixed = test.fit(view, np.random.default_rng(2))
    lines = []
    for rows in (1000, 10_000, 100_000, 1_000_000):
        sample = sample_of(normal(rows, 10, 3), run=10)
        made = bins_of(view, sample)
        before = peak()
        spent = cpu(lambda: test.score(fixed, view, sample, np.random.default_rng(4)), min(repeats, 3))  # noqa: B023
        memory = f"{peak() - before:.0f}"
        lines.append((f"{rows:,}", len(made.window_rows), f"{spent:.4f}", f"{spent / rows * 1e6:.2f}", memory))
    head = ("rows a window", "bins", "CPU s", "CPU us a row", "memory beyond rows and bins, MB")
    table("Spectral Nystroem MMD, d = 10, stored reference of 10,000 + 10,000", head, lines)
