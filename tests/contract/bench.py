"""What the contract tests share: one reference, blocks to judge, and a way to judge them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detectors import parts, simulate
from detectors.compare import Baseline, Comparison
from detectors.registry import CATALOG, Tolerances
from detectors.types import Block, Evidence, Reference, Summary, Window

NUMERIC, CATEGORICAL = 4, 3
UNITS = NUMERIC + CATEGORICAL
FIELDS = ("statistic", "effect", "effect_low", "effect_high", "log_p", "log_e", "n", "reason")


def block(rows: int, seed: int = 0, numeric: int = NUMERIC, categorical: int = CATEGORICAL) -> Block:
    """Undrifted rows: normal columns, and categories with a tenth in the rarest."""
    rng = np.random.default_rng(seed)
    codes = np.minimum(rng.geometric(0.4, (rows, categorical)) - 1, 4).astype(np.int32)
    return simulate.block_of(rng.standard_normal((rows, numeric)), codes)


def reference(rows: int = 4_000, **shape: int) -> Reference:
    """An undrifted reference."""
    labels = [list("abcde")] * shape.get("categorical", CATEGORICAL)
    return simulate.reference_of(block(rows, 99, **shape), labels=labels)


def window_of(measured: Reference, panes: Sequence[Block]) -> Window:
    """A window of some panes, the last one being the newest."""
    return window_of_summaries(measured, [parts.summarise(measured.grid, pane) for pane in panes])


def window_of_summaries(measured: Reference, panes: Sequence[Summary]) -> Window:
    """The same from summaries."""
    merged = parts.zero(measured.grid)
    for pane in panes:
        merged = parts.merge(merged, pane)
    return Window(0.0, 1.0, Comparison(Baseline(measured), merged), panes[-1])


def judge(name: str, measured: Reference, window: Window, state: Any = None) -> tuple[Any, Evidence]:
    """Fit a catalogue entry and judge one window, from ``state`` or from the start."""
    detector = CATALOG[name](Tolerances())
    fixed = detector.fit(measured)
    return detector.score(fixed, detector.start(fixed) if state is None else state, window)


def same(a: Evidence, b: Evidence) -> bool:
    """Whether two pieces of evidence agree bit for bit."""
    pairs = [(getattr(a, name), getattr(b, name)) for name in FIELDS]
    pairs += [(a.extra[name], b.extra[name]) for name in a.extra]
    return a.extra.keys() == b.extra.keys() and all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)


def same_state(a: Any, b: Any) -> bool:
    """Whether two detector states agree bit for bit."""
    return type(a) is type(b) and all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))
