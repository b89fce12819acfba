"""Online MMD on the wines: rows to the alarm on held-out white wines (no drift) and on red ones (drift).

``python -m tests.bench wine [REPS]``: as alibi-detect's notebook has it: columns over their largest white value, two
principal components of one half of the white wines, a quarter as reference, W = 10, run length 50, 2,500 draws. The
notebook has one split and 250 runs; here the first row is one split and the second one split a run.
"""

from __future__ import annotations

import numpy as np

from detectors.streaming.online_mmd import OnlineMMD, OnlineMMDFixed
from detectors.types import FloatArray
from tests.bench.common import table
from tests.statistical import data

PIECE = 20


def _rows(colour: str) -> FloatArray:
    found = data.table("wine_quality", f"{colour}.parquet").drop_columns(["quality"])
    return np.column_stack([found[name].to_numpy() for name in found.column_names]).astype(np.float64)


def _runs(rng: np.random.Generator, white: FloatArray, red: FloatArray, runs: int) -> tuple[list[float], list[float]]:
    """Rows to the first alarm without and with drift: ``runs`` of each against one reference."""
    white = white[rng.permutation(len(white))]
    half, quarter = len(white) // 2, 3 * len(white) // 4
    centre = white[:half].mean(axis=0)
    axes = np.linalg.svd(white[:half] - centre, full_matrices=False)[2][:2].T
    detector = OnlineMMD(window=10, run_length=50, draws=2_500)
    fixed = detector.fit((white[half:quarter] - centre) @ axes, rng)
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for rows, out in zip((white[quarter:], red), times, strict=True):
            out.append(_first(detector, fixed, (rows[rng.permutation(len(rows))] - centre) @ axes))
    return times


def _first(detector: OnlineMMD, fixed: OnlineMMDFixed, stream: FloatArray) -> float:
    """Rows up to the first alarm; all of the stream where there is none."""
    state = detector.start(fixed)
    for begin in range(0, len(stream), PIECE):
        step = detector.update(fixed, state, stream[begin : begin + PIECE])
        if step.alarms:
            return begin + step.first + 1
        state = step.state
    return float(len(stream))


def _said(times: list[float]) -> str:
    return f"{np.mean(times):.1f} +- {np.std(times) / np.sqrt(len(times)):.1f}"


def run(reps: str = "250") -> None:
    """Print the table, or why there is none."""
    try:
        white, red = _rows("white"), _rows("red")
    except data.AbsentError as absent:
        print(f"skipped: {absent}")
        return
    largest = white.max(axis=0)
    white, red, number = white / largest, red / largest, int(reps)
    one = _runs(np.random.default_rng(0), white, red, number)
    each = [_runs(np.random.default_rng([1, seed]), white, red, 1) for seed in range(min(number, 100))]
    many = [time for still, _ in each for time in still], [time for _, moved in each for time in moved]
    table(
        "Wine, online MMD: rows to the alarm, W = 10, expected run length 50",
        ("stream", "published (one split)", f"one split, {number} runs", f"{len(each)} splits, one run each"),
        [
            ("white (no drift)", "48.5", _said(one[0]), _said(many[0])),
            ("red (drift)", "6.0", _said(one[1]), _said(many[1])),
        ],
    )
