"""The published power tables of two-sample tests, ours beside them: ``published ROW [REPETITIONS]``.

Rows are those of the research notes (methods.md, section 7): 1 2 4 5 6 8 9; ``production`` is the stored reference with
windows of 500 rows (1.4). Standard errors are sqrt(p (1 - p) / repetitions). Seconds are CPU seconds a test.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from detectors.multivariate import mmd, nystroem
from detectors.multivariate.nystroem import SpectralNystroem
from detectors.multivariate.protocol import Outcome
from detectors.types import FloatArray
from tests.bench import samplers
from tests.bench.common import table
from tests.detectors.views import sample_of, view_of

LEVEL = np.log(0.05) + 1e-9
Draw = Callable[[np.random.Generator], samplers.Pair]


@dataclass(frozen=True)
class Setting:
    """One column of a published table; ``published`` by method."""

    name: str
    draw: Draw
    published: Mapping[str, float] = field(default_factory=dict)


def series(
    names: tuple[object, ...], draw: Callable[..., Draw], **published: tuple[float | None, ...]
) -> list[Setting]:
    """Settings that differ in one number."""
    return [
        Setting(
            str(name),
            draw(name),
            {method.replace("_", " "): values[i] for method, values in published.items() if values[i] is not None},  # type: ignore[misc]
        )
        for i, name in enumerate(names)
    ]


def row_1() -> list[Setting]:
    """Mixture of four Gaussians, deviation of the last one."""
    return series(
        (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0),
        lambda scale: lambda rng: samplers.mixture(rng, 500, scale),
        FUSE=(0.995, 0.945, 0.51, 0.135, 0.065, 0.035, 0.105, 0.235, 0.635, 0.84, 0.905),
        MMDAgg=(0.995, 0.915, 0.46, 0.12, 0.09, 0.05, 0.105, 0.25, 0.675, 0.91, 0.945),
    )


def row_2() -> list[Setting]:
    """The same at deviation 1.3, number of rows."""
    return series(
        (500, 1000, 1500, 2000, 2500, 3000),
        lambda n: lambda rng: samplers.mixture(rng, n, 1.3),
        FUSE=(0.18, 0.38, 0.635, 0.765, 0.88, 0.97),
        MMDAgg=(0.19, 0.385, 0.665, 0.785, 0.89, 0.99),
        AutoTST=(0.12, 0.21, 0.415, 0.585, 0.745, 0.87),
    )


def row_4() -> list[Setting]:
    """Perturbed uniform, d = 2, two perturbations, n = 500, scale."""
    return series(
        (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        lambda scale: lambda rng: samplers.fuse_uniform(rng, 500, 2, scale),
        FUSE=(0.045, 0.055, 0.17, 0.485, 0.885, 0.995),
        MMDAgg=(0.045, 0.055, 0.145, 0.395, 0.83, 0.99),
    )


def row_5() -> list[Setting]:
    """The same at scale 0.4, number of rows."""
    return series(
        (500, 1000, 1500, 2000, 2500, 3000),
        lambda n: lambda rng: samplers.fuse_uniform(rng, n, 2, 0.4),
        FUSE=(0.165, 0.43, 0.69, 0.805, 0.975, 0.99),
        MMDAgg=(0.155, 0.335, 0.595, 0.765, 0.95, 0.975),
        AutoTST=(0.075, 0.09, 0.165, 0.12, 0.27, 0.27),
    )


def row_6() -> list[Setting]:
    """MMDAgg's perturbed uniform: d = 1 with n = 500 and d = 2 with n = 2000, number of perturbations."""
    return series(
        ("d1 p0", "d1 p1", "d1 p2", "d1 p3", "d1 p4", "d2 p0", "d2 p1", "d2 p2", "d2 p3"),
        lambda name: lambda rng: samplers.agg_uniform(rng, {"1": 500, "2": 2000}[name[1]], int(name[1]), int(name[4])),
        **{"MMDAgg*": (0.050, 1.0, 0.988, 0.602, 0.228, 0.043, 1.0, 0.982, 0.260)},
        median=(None, 1.0, 0.812, 0.084, 0.018, None, None, None, None),
        AutoTST=(None, 1.0, 0.794, 0.344, 0.154, None, None, None, None),
    )


def row_8() -> list[Setting]:
    """MMDAggInc's perturbed uniform, d = 1, two perturbations, scale 0.5, number of rows."""
    return series(
        (200, 400, 600, 800, 1000),
        lambda n: lambda rng: samplers.fuse_uniform(rng, n, 1, 0.5),
        Inc100=(0.55, 0.86, 0.95, 1.0, 0.99),
        quadratic=(0.64, 0.96, 1.0, 1.0, 1.0),
        ME=(0.38, 0.56, 0.78, 0.89, 0.97),
    )


def row_9() -> list[Setting]:
    """Blob-D by rows a blob and sample; AutoTST also drew as many rows again to learn from, "x2" is that budget."""
    sizes = (10, 20, 30, 40, 50)
    published = (0.56, 0.984, 1.0, 1.0, 1.0)
    null = (0.044, 0.05, 0.032, 0.062, 0.05)
    once = series(sizes, lambda n: lambda rng: samplers.blobs(rng, 9 * n), AutoTST=published)
    twice = series(
        tuple(f"{n} x2" for n in sizes),
        lambda name: lambda rng: samplers.blobs(rng, 18 * int(name.split()[0])),
        AutoTST=published,
    )
    level = series(
        tuple(f"null {n}" for n in sizes),
        lambda name: lambda rng: samplers.blobs(rng, 9 * int(name.split()[1]), same=True),
        AutoTST=null,
    )
    return once + twice + level


ROWS: dict[str, Callable[[], list[Setting]]] = {
    "1": row_1,
    "2": row_2,
    "4": row_4,
    "5": row_5,
    "6": row_6,
    "8": row_8,
    "9": row_9,
}
MOST_EXACT = 1000
"""Rows a sample up to which the exact kernels take part."""


def tests(x: FloatArray, y: FloatArray, seed: int) -> dict[str, tuple[float, float]]:
    """log p and CPU seconds by test."""
    out = {}
    found, spent = _timed(lambda: nystroem.two_sample(x, y, np.random.default_rng(seed)))
    out["M1"] = (found.log_p, spent)
    if len(x) <= MOST_EXACT:
        found, spent = _timed(
            lambda: mmd.two_sample(x, y, np.random.default_rng(seed), bins=None if len(x) < 100 else 50)
        )
        out["M2"] = (found.log_p, spent)
        out["M2 FUSE form"] = (found.extra["log_p_fuse"], spent)
        out["M2 max z form"] = (found.extra["log_p_max"], spent)
    return out


def _timed(work: Callable[[], Outcome]) -> tuple[Outcome, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def share(rejected: float, times: int) -> str:
    """A share and its standard error."""
    return f"{rejected:.3f} ± {np.sqrt(rejected * (1 - rejected) / times):.3f}"


def compare(title: str, settings: list[Setting], repetitions: int) -> None:
    """Print one published row."""
    lines = []
    for setting in settings:
        results = [tests(*setting.draw(np.random.default_rng([seed, 77])), seed) for seed in range(repetitions)]
        ours = [
            f"{name} {share(float(np.mean([one[name][0] <= LEVEL for one in results])), repetitions)}"
            for name in results[0]
        ]
        spent = [
            f"{name} {np.mean([one[name][1] for one in results]):.3f}" for name in ("M1", "M2") if name in results[0]
        ]
        theirs = [f"{name} {value:.3f}" for name, value in setting.published.items()]
        lines.append((setting.name, "; ".join(ours), "; ".join(theirs), "; ".join(spent)))
    table(title, ("setting", f"ours, {repetitions} repetitions", "published", "CPU s a test"), lines)


def _gaussian(mean: float = 0.0, scale: float = 1.0, rho: float = 0.0) -> Callable[..., FloatArray]:
    def draw(rng: np.random.Generator, n: int) -> FloatArray:
        x = rng.standard_normal((n, 10))
        x[:, :5] = x[:, :5] * scale + mean
        x[:, 1] = rho * x[:, 0] + np.sqrt(1 - rho**2) * x[:, 1] if rho else x[:, 1]
        return x

    return draw


def production(repetitions: int) -> None:
    """Windows of 500 rows against a stored reference of 10,000 rows in half B and as many in half A."""

    def mixed(scale: float) -> Callable[..., FloatArray]:
        return lambda rng, n: samplers.mixture(rng, 1, scale, m=n)[1]

    cases: list[tuple[str, Callable[..., FloatArray], Callable[..., FloatArray], str]] = [
        ("mixture, no drift", mixed(1.0), mixed(1.0), "level .044"),
        ("d = 10, no drift", _gaussian(), _gaussian(), "level .044"),
        ("mixture, sd 1.6", mixed(1.0), mixed(1.6), "1.00 (FUSE .635 at 500 vs 500)"),
        ("mixture, sd 1.3", mixed(1.0), mixed(1.3), ".90 (FUSE .18 at 500 vs 500)"),
        ("d = 10, one pair rho .4", _gaussian(), _gaussian(rho=0.4), ".99"),
        ("d = 10, mean .1 in 5", _gaussian(), _gaussian(mean=0.1), ".89"),
    ]
    test, references, lines = SpectralNystroem(), 10, []
    for name, before, after, notes in cases:
        rejected, spent, fitted = 0, 0.0, 0.0
        windows = max(1, repetitions // references)
        for seed in range(references):
            rng = np.random.default_rng([seed, 78])
            view = view_of(before(rng, 20_000), run=25)
            began = time.process_time()
            fixed = test.fit(view, rng)
            fitted += time.process_time() - began
            for _ in range(windows):
                sample = sample_of(after(rng, 500), run=25)
                began = time.process_time()
                rejected += test.score(fixed, view, sample, rng).log_p <= LEVEL
                spent += time.process_time() - began
        times = windows * references
        lines.append(
            (name, share(rejected / times, times), notes, f"{spent / times:.4f}", f"{fitted / references:.2f}")
        )
    head = ("setting", f"M1, {references} references", "methods.md 1.4", "CPU s a window", "CPU s a fit")
    table("Production form: window of 500 rows, stored reference of 10,000 + 10,000", head, lines)


def run(*arguments: str) -> None:
    """Print one row, or all."""
    chosen = arguments[0] if arguments else "all"
    repetitions = int(arguments[1]) if len(arguments) > 1 else 500
    if chosen not in {*ROWS, "production", "all"}:
        sys.exit(f"no published row is called {chosen}; there are: {', '.join(ROWS)}, production, all")
    for name, settings in ROWS.items():
        if chosen in {name, "all"}:
            compare(f"Row {name}: {settings.__doc__}", settings(), repetitions)
    if chosen in {"production", "all"}:
        production(repetitions)
