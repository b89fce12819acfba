"""What outcomes cost the engine's thread: rows with and without counts, ids and labels, and estimates beside it."""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from detectors.performance import changes, estimate
from tests.monitor.lane_bench import COLUMNS, NOW, Bench, numbered, scored, silent

SIZES = (100, 1_000, 10_000, 100_000)
ROWS = 200_000


def run() -> None:
    """Print the tables."""
    logging.disable(logging.CRITICAL)
    for kind, make in (("classes", scored), ("regression", numbered)):
        _fed(kind, make)
    _beside()
    _severity()


def _bench(folder: str, make: Any, rows: int, **changes: Any) -> Bench:
    section = {"pane": {"rows": rows}, "window": {"panes": 60}, **changes}
    return Bench(Path(folder) / "agent", make(20_000, 0), **section)


def _fed(kind: str, make: Any) -> None:
    """Wall milliseconds of a pane in the engine's thread; estimates are switched off and timed apart, in CPU."""
    print(
        f"\n{kind}: ms of a pane in the engine's thread\nrows   alone  +counts  +index  +labels   CPU s of an estimate"
    )
    unlabelled: dict[str, Any] = {key: name for key, name in COLUMNS.items() if key != "label"}
    unlabelled = {key: name for key, name in unlabelled.items() if key != "score" or make is scored}
    unlabelled["ignore"] = ["truth"]
    for rows in SIZES:
        panes = max(min(ROWS // rows, 60), 3)
        tables = [make(rows, 1 + pane, start=NOW + 60 * pane) for pane in range(panes)]
        without = [silent(one) for one in tables]
        none: dict[str, Any] = {"labels": {"rows": 0}}
        alone, _ = _timed(make, rows, without, columns=unlabelled, **none)
        counts, seconds = _timed(make, rows, without, **none)
        index, _ = _timed(make, rows, without)
        labels, _ = _timed(make, rows, tables)
        print(f"{rows:6d} {alone:7.2f} {counts:8.2f} {index:7.2f} {labels:8.2f}   {seconds:8.3f}")


def _timed(make: Any, rows: int, tables: list[pa.Table], **changes: Any) -> tuple[float, float]:
    """Median milliseconds of a delivery of one pane, and CPU seconds of the last window's estimate."""
    with tempfile.TemporaryDirectory() as folder:
        bench = _bench(folder, make, rows, **changes)
        side, streams = bench.agent.models["m"].side, bench.agent.models["m"].streams
        estimates = None if side is None else side.estimates
        if side is not None:
            side.beside.close()  # its thread never begins
        took = []
        for pane, one in enumerate(tables):
            began = time.perf_counter()
            bench.send(one, NOW + 60 * pane)
            took.append(time.perf_counter() - began)
        began = time.process_time()
        if estimates is not None and streams is not None:
            counted, inputs = estimates.counter.window(pane.answers for pane in streams.streams["all"].state.panes)
            estimate.estimate(estimates.counter.fixed, counted, inputs)
        seconds = time.process_time() - began
        bench.stop()
    return 1e3 * float(np.median(took[1:])), seconds


def _beside() -> None:
    """Rows a second through the engine's thread while estimates are made beside it, and without them."""
    print("\nrows a second with panes of 1,000 rows, for 10 s")
    tables = [silent(scored(1_000, 1 + pane, start=NOW + 60 * pane)) for pane in range(60)]
    for wanted in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            bench = _bench(folder, scored, 1_000, labels={"rows": 0})
            if not wanted:
                bench.side.beside.close()
            done, longest, began = 0, 0.0, time.perf_counter()
            while time.perf_counter() - began < 10:
                start = time.perf_counter()
                bench.send(tables[done % 60], NOW)
                longest = max(longest, time.perf_counter() - start) if done > 3 else longest
                done += 1
            print(f"estimates {wanted!s:5}: {done * 100:9d} rows/s, longest pane {1e3 * longest:6.1f} ms")
            bench.stop()


def _severity() -> None:
    """What a finding waits for, and what is done beside the engine: a reference and a window of 16,384 rows or more."""
    print("\nms of CPU    severity of a page   estimate   change")
    for kind, make in (("classes", scored), ("regression", numbered)):
        with tempfile.TemporaryDirectory() as folder:
            bench = _bench(folder, make, 20_000)
            bench.send(silent(make(20_000, 1)))
            print(f"{kind:<10}   {'   '.join(f'{1_000 * took:8.0f}' for took in _costs(bench))}")
            bench.stop()


def _costs(bench: Bench) -> tuple[float, ...]:
    """CPU seconds."""
    counter, weighing, streams = bench.side.counter, bench.side.weighing, bench.agent.models["m"].streams
    if counter is None or weighing is None or streams is None:
        return ()
    panes = streams.streams["all"].state.panes
    counted, inputs = counter.window([pane.answers for pane in panes])
    times = [time.process_time()]
    weighing(panes)
    times.append(time.process_time())
    estimate.estimate(counter.fixed, counted, inputs)
    times.append(time.process_time())
    if inputs is not None:
        changes.change(counter.fixed, inputs, np.random.default_rng(0))
    times.append(time.process_time())
    return tuple(np.diff(times).tolist())
