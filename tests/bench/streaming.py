"""``python -m tests.bench streaming [STREAMS]``: run length, delay and cost of the classical streaming detectors.

Run lengths are observations by alarms, over streams that begin anew after each alarm; a delay counts from the change to
the first alarm after it. "Of peers" are single streams of 200,000 items (KSWIN: 10,240) run through river 0.26.1; ADWIN
and Page-Hinkley have a second figure for 0/1 errors.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from detectors.streaming.catalog import CLASSICAL
from detectors.streaming.cusum import Cusum
from detectors.streaming.ewma import Ewma
from detectors.streaming.protocol import Streaming
from detectors.types import FloatArray
from tests.bench.common import cpu, table

ELEC2 = Path(__file__).resolve().parents[3] / "shared" / "data" / "elec2" / "elec2.parquet"
ERROR = 0.2
BEFORE, LONGEST, PIECE = 1_000, 10_000, 500
Source = Callable[[np.random.Generator, int, int, float], FloatArray]
PUBLISHED: list[tuple[str, Streaming, tuple[float, ...]]] = [
    ("CUSUM k=0.5 h=4 (Lucas and Crosier 1982)", Cusum(h=4.0), (168, 74.2, 26.6, 8.38)),
    ("CUSUM k=0.5 h=5 (same)", Cusum(), (465, 139, 38.0, 10.4)),
    ("EWMA 0.1, 2.814 (Lucas and Saccucci 1990)", Ewma(), (500, 106, 31.3, 10.3)),
]
PEERS = {
    ("adwin", "N(0,1)"): "0",
    ("adwin", "errors .2"): "0",
    ("page_hinkley", "N(0,1)"): "142",
    ("page_hinkley", "errors .2"): "16",
    ("kswin", "N(0,1)"): "293 (15 in 10,240)",
    ("ddm", "errors .2"): "0",
    ("eddm", "errors .2"): "44",
    ("hddm_a", "errors .2"): "2",
}
PEER_CPU = {"adwin": "0.15", "page_hinkley": "0.37", "kswin": "193", "ddm": "0.34", "eddm": "0.22", "hddm_a": "1.95"}


def gaussian(rng: np.random.Generator, rows: int, streams: int, shift: float) -> FloatArray:
    """Independent normal observations."""
    return rng.standard_normal((rows, streams)) + shift


def wrong(rng: np.random.Generator, rows: int, streams: int, shift: float) -> FloatArray:
    """Independent errors."""
    return (rng.random((rows, streams)) < ERROR + shift).astype(np.float64)


class Case(NamedTuple):
    name: str
    law: str
    source: Source
    detector: Streaming


def cases() -> list[Case]:
    """Every detector on its kind of stream; ADWIN and Page-Hinkley on errors too."""
    made = [(name, make()) for name, make in CLASSICAL.items()]
    own = [
        Case(name, "N(0,1)", gaussian, one) if one.kind == "values" else Case(name, "errors .2", wrong, one)
        for name, one in made
    ]
    return own + [Case(name, "errors .2", wrong, one) for name, one in made if name in {"adwin", "page_hinkley"}]


def alarms(case: Case, rows: int, streams: int, seed: int) -> FloatArray:
    """Alarms of each stream in ``rows`` null observations."""
    rng, state, total = np.random.default_rng(seed), case.detector.start(streams), np.zeros(streams)
    for _ in range(rows // PIECE):
        step = case.detector.update(state, case.source(rng, PIECE, streams, 0.0))
        state, total = step.state, total + step.alarms
    return total


def first_alarm(case: Case, before: int, shift: float, streams: int, seed: int) -> FloatArray:
    """Observations from the change to each stream's first alarm after it; NaN where there was none in `LONGEST`."""
    rng = np.random.default_rng(seed)
    state = case.detector.start(streams)
    if before:
        state = case.detector.update(state, case.source(rng, before, streams, 0.0)).state
    first = np.full(streams, np.nan)
    for begin in range(0, LONGEST, PIECE):
        step = case.detector.update(state, case.source(rng, PIECE, streams, shift))
        state, first = step.state, np.fmin(first, begin + step.first + 1)
        if np.isfinite(first).all():
            break
    return first


def run(*args: str) -> None:
    """Print the tables."""
    streams = int(args[0]) if args else 500
    _published(streams)
    _null(streams)
    _long(max(streams // 25, 1))
    _delay(streams)
    _cost()
    _elec2()


def _mean(x: FloatArray) -> str:
    found = x[np.isfinite(x)]
    if not found.size:
        return "none found"
    share = "" if found.size == x.size else f" ({found.size / x.size:.1%} found)"
    return f"{found.mean():.4g} ± {found.std() / np.sqrt(found.size):.2g}{share}"


def _published(streams: int) -> None:
    rows = []
    for name, one, values in PUBLISHED:
        case = Case(name, "N(0,1)", gaussian, one)
        ours = [_mean(first_alarm(case, 0, shift, streams, 1)) for shift in (0.0, 0.25, 0.5, 1.0)]
        rows.append([name, *(f"{a}; {b:g}" for a, b in zip(ours, values, strict=True))])
    title = f"Mean run length from the start, N(shift, 1): ours ± standard error; published ({streams} streams)"
    table(title, ["chart", "shift 0", "0.25", "0.5", "1"], rows)


def _null(streams: int) -> None:
    rows = []
    for case in cases():
        counts = alarms(case, LONGEST, streams, 2)
        mean, error = counts.mean(), counts.std() / np.sqrt(streams)
        length = (
            f"{LONGEST / mean:,.0f} ± {LONGEST * error / mean**2:,.0f}" if mean else f"> {LONGEST * streams / 3:,.0f}"
        )
        rows.append([case.name, case.law, f"{counts.sum():,.0f}", length, f"{mean:.3g} ± {error:.2g}"])
    title = f"No drift: {streams} streams of {LONGEST:,} observations (`>`: lower 95 % bound, no alarm seen)"
    table(title, ["detector", "stream", "alarms", "mean run length", "false alarms per 10,000"], rows)


def _long(streams: int) -> None:
    rows = []
    for case in cases():
        counts = alarms(case, 200_000, streams, 3)
        error = counts.std() / np.sqrt(streams)
        peers = PEERS.get((case.name, case.law), "-")
        rows.append(
            [case.name, case.law, f"{counts.mean():.4g} ± {error:.2g}", f"{counts.min():g}-{counts.max():g}", peers]
        )
    title = f"No drift: alarms in one stream of 200,000 observations ({streams} streams)"
    table(title, ["detector", "stream", "mean", "range", "river, one stream"], rows)


def _delay(streams: int) -> None:
    for law, shifts in (("N(0,1)", (0.1, 0.25, 0.5, 1.0)), ("errors .2", (0.05, 0.1, 0.2))):
        rows = [
            [
                case.name,
                *(_mean(first_alarm(case, BEFORE, shift, streams, 4)) for shift in shifts),
                _mean(first_alarm(case, 10 * BEFORE, shifts[0], streams, 5)),
            ]
            for case in cases()
            if case.law == law
        ]
        title = f"{law}: observations from the change to the first alarm, at most {LONGEST:,} ({streams} streams)"
        after = [f"+{shift:g} after {BEFORE:,}" for shift in shifts]
        table(title, ["detector", *after, f"+{shifts[0]:g} after {10 * BEFORE:,}"], rows)
    print("\nPublished beside: ADWIN, errors 0.20 to 0.25: 2,160 rows (one stream, methods.md section 0).")


def _cost() -> None:
    rows = []
    for case in cases()[: len(CLASSICAL)]:
        x = case.source(np.random.default_rng(6), 4_096, 60, 0.0)
        state = case.detector.update(case.detector.start(60), x).state

        def singly(case: Case = case, x: FloatArray = x, state: object = state) -> None:
            for i in range(128):
                state = case.detector.update(state, x[i : i + 1]).state

        many = cpu(lambda case=case, x=x, state=state: case.detector.update(state, x), 3) / x.size  # type: ignore[misc]
        one = cpu(singly, 3) / 128
        rows.append(
            [case.name, f"{1e6 * many:.3f}", f"{1e6 * one / 60:.2f}", f"{1e6 * one:.0f}", PEER_CPU.get(case.name, "-")]
        )
    headings = ["detector", "4,096 rows at once", "one row at a time", "per row of 60", "river, one stream"]
    table("CPU microseconds an observation and column, 60 columns", headings, rows)


def _elec2() -> None:
    if not ELEC2.exists():
        print(f"\nElec2: skipped, {ELEC2} is absent.")
        return
    up = pc.equal(pq.read_table(ELEC2)["class"], "UP").to_numpy().astype(np.float64)
    error = np.abs(np.diff(up))
    alike = (np.random.default_rng(8).random((len(error), 20)) < error.mean()).astype(np.float64)
    rows = []
    for name, make in CLASSICAL.items():
        one = make()
        centre, scale = (error.mean(), error.std()) if name in {"cusum", "ewma"} else (0.0, 1.0)
        step = one.update(one.start(1), (error[:, None] - centre) / scale)
        null = one.update(one.start(20), (alike - centre) / scale).alarms
        rows.append(
            [name, f"{step.alarms[0]:g}", f"{step.warnings[0]:g}", f"{null.mean():.3g} ± {null.std() / 20**0.5:.2g}"]
        )
    title = (
        f"Elec2, errors of the no-change forecast: {len(error):,} rows, accuracy {1 - error.mean():.4f} "
        "(published .8533); cusum and ewma on standardised errors"
    )
    table(title, ["detector", "alarms", "rows in the warning zone", "alarms on independent errors as frequent"], rows)
