"""The index of labels: bytes on disk, resident memory, joins a second, and the same row by row in SQLite.

``python -m tests.bench outcomes [ROWS]``: 10,000,000 open rows unless told otherwise; two minutes on a quiet machine.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from detectors.types import IntArray
from monitor.memory import release
from monitor.outcomes.ids import Hasher
from monitor.outcomes.index import Index
from monitor.outcomes.truths import Truths
from tests.bench.common import table

Figure = tuple[str, str]

FIELDS = {"prediction": "f8", "score": "f8", "stratum": "i4"}
KEY = b"0123456789abcdef"
BATCH = 4096
JOINS = 200_000
HOURS = 24.0 * 400
SQLITE_ROWS = 1_000_000
START = 1.7e9
STRIDE = 7_919_317
"""A prime: multiples of it visit all rows in an order of no use to caches."""


def run(rows: str = "10000000") -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(folder, int(rows))
        table(
            f"Index of labels, {int(rows):,} open rows",
            ("what", "figure"),
            [*bench.open(), *bench.joins(), *bench.all(), *bench.crash()],
        )
        table("Beside it", ("what", "figure"), [*_hashing(), *_sqlite(folder / "rows.db")])


class Bench:
    """An index that is filled, joined and killed."""

    def __init__(self, folder: Path, rows: int) -> None:
        """Use one once, so that what the libraries need is not counted."""
        self.rows, self._folder, self._turn = rows, folder / "index", 0
        self.index = Index(folder / "warm", FIELDS, key=KEY, rows=100_000, hours=1.0)
        self.index.restore(None)
        self._keep(0, BATCH)
        self._label(np.arange(BATCH), BATCH)
        self.index.close()
        self._begin()

    def open(self) -> Iterator[Figure]:
        """Predictions in."""
        self.index.restore(None)
        spent = _spent(self._fill)
        yield "predictions taken in, a CPU second", f"{self.rows / spent:,.0f}"
        self.index.settle()
        figures = self.index.figures()
        yield "on disk, all open", f"{figures.disk_bytes / 1e6:,.0f} MB ({figures.disk_bytes / self.rows:.1f} B a row)"
        yield "memory reserved", f"{figures.memory_bytes / 1e6:.0f} MB"
        yield self._resident("all open")

    def joins(self) -> Iterator[Figure]:
        """Labels for some of them."""
        scattered = np.arange(JOINS) * STRIDE % self.rows
        for number, batch in enumerate((100, 1000, BATCH)):
            some = (scattered + number) % self.rows
            yield self._rate(f"joins a CPU second, scattered, {batch} at a time", some, batch)
        sequence = np.arange(self.rows // 2, self.rows // 2 + JOINS) % self.rows
        yield self._rate("joins a CPU second, in the order of the predictions", sequence, BATCH)
        yield self._rate("corrections a CPU second, scattered", scattered, BATCH)
        yield self._rate("labels of unknown ids a CPU second", self.rows + sequence, BATCH)
        yield self._resident("then")
        self._forget_pages()
        began, some = time.perf_counter(), scattered[:20_000]
        self._label(some, 1000)
        cold = f"{len(some) / (time.perf_counter() - began):,.0f}"
        yield "corrections a second by the clock, scattered, nothing in the page cache", cold

    def all(self) -> Iterator[Figure]:
        """A label for every row."""
        spent = _spent(self._label_all)
        figures = self.index.figures()
        yield f"labels for all, scattered ({figures.labelled:,} have one), a CPU second", f"{self.rows / spent:,.0f}"
        self.index.settle()
        self.index.settled()
        yield "on disk, all labelled", f"{self.index.figures().disk_bytes / 1e6:,.0f} MB"
        yield self._resident("all labelled")

    def crash(self) -> Iterator[Figure]:
        """Go on from a checkpoint."""
        began = time.perf_counter()
        state = self.index.settle()
        yield "settle with nothing new", f"{(time.perf_counter() - began) * 1e3:.1f} ms"
        self._begin()
        yield "restored after a crash", f"{_spent(lambda: self.index.restore(state)):.1f} CPU s"
        yield self._resident("restored")
        same = self.index.settle() == state
        yield "state in the checkpoint", f"{len(state) / 1e3:.0f} kB, {'the same again' if same else 'NOT THE SAME'}"

    def _begin(self) -> None:
        self.index.close()
        del self.index
        gc.collect()
        release()
        Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew
        self._base = _status("VmRSS")
        self.index = Index(self._folder, FIELDS, key=KEY, rows=self.rows, hours=HOURS)

    def _fill(self) -> None:
        for start in range(0, self.rows, BATCH):
            self._keep(start, min(start + BATCH, self.rows))
            if not start % (256 * BATCH):
                self.index.settle()
                self.index.settled()

    def _keep(self, start: int, end: int) -> None:
        score = np.arange(start, end) * 0.618034 % 1.0
        values = {"prediction": score > 0.5, "score": score, "stratum": np.zeros(end - start, np.int32)}
        self.index.predicted(pa.array(np.arange(start, end)), None, values, START + start * 0.01)

    def _label(self, ids: IntArray, batch: int) -> None:
        self._turn += 1
        for start in range(0, len(ids), batch):
            some = ids[start : start + batch]
            truths = Truths(((some + self._turn) % 2).astype(np.float64), np.zeros(len(some), bool))
            self.index.labelled(pa.array(some), truths, START + 1e6 + self._turn)

    def _label_all(self) -> None:
        for start in range(0, self.rows, 1 << 16):
            self._label(np.arange(start, start + (1 << 16)) * STRIDE % self.rows, BATCH)

    def _forget_pages(self) -> None:
        self.index.settle()
        for path in self._folder.rglob("*.rows"):
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def _rate(self, what: str, ids: IntArray, batch: int) -> Figure:
        return what, f"{len(ids) / _spent(lambda: self._label(ids, batch)):,.0f}"

    def _resident(self, when: str) -> Figure:
        now, peak = _status("VmRSS") - self._base, _status("VmHWM") - self._base
        return f"resident more than before, {when} (peak)", f"{now:.0f} MB ({peak:.0f})"


def _hashing() -> Iterator[Figure]:
    raw = np.random.default_rng(1).bytes(16 * JOINS).hex()
    texts = pa.array([f"{raw[i : i + 8]}-{raw[i + 8 : i + 32]}" for i in range(0, len(raw), 32)])
    hasher = Hasher(KEY)
    spent = _spent(lambda: hasher.ids(pa.array(np.arange(JOINS))))
    yield "whole numbers as ids hashed a CPU second", f"{JOINS / spent:,.0f}"
    yield "texts of 33 bytes as ids hashed a CPU second", f"{JOINS / _spent(lambda: hasher.ids(texts)):,.0f}"


def _sqlite(path: Path) -> Iterator[Figure]:
    """One row a prediction in SQLite, keyed by 128 bits, set up as the agent's store is."""
    rng = np.random.default_rng(2)
    keys = [rng.bytes(16) for _ in range(SQLITE_ROWS)]
    rows = sqlite3.connect(path, isolation_level=None)
    rows.execute("PRAGMA journal_mode = WAL")
    rows.execute("CREATE TABLE rows (key BLOB PRIMARY KEY, time REAL, p REAL, s REAL, g INT, t REAL, l REAL)")

    def fill() -> None:
        for start in range(0, SQLITE_ROWS, BATCH):
            some = ((key, START, 1.0, 0.5, 0) for key in keys[start : start + BATCH])
            rows.execute("BEGIN")
            rows.executemany("INSERT OR IGNORE INTO rows VALUES (?, ?, ?, ?, ?, NULL, NULL)", some)
            rows.execute("COMMIT")

    def join(chosen: list[int]) -> None:
        for start in range(0, len(chosen), BATCH):
            rows.execute("BEGIN")
            for one in chosen[start : start + BATCH]:
                rows.execute("SELECT * FROM rows WHERE key = ?", [keys[one]]).fetchone()
                rows.execute("UPDATE rows SET t = ?, l = ? WHERE key = ?", [START, 1.0, keys[one]])
            rows.execute("COMMIT")

    yield f"SQLite, {SQLITE_ROWS:,} rows: taken in a CPU second", f"{SQLITE_ROWS / _spent(fill):,.0f}"
    chosen = rng.choice(SQLITE_ROWS, JOINS // 2).tolist()
    yield "SQLite: joins a CPU second, scattered", f"{len(chosen) / _spent(lambda: join(chosen)):,.0f}"
    rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    yield "SQLite: on disk a row", f"{path.stat().st_size / SQLITE_ROWS:.1f} B"


def _spent(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _status(name: str) -> float:
    """A line of this process's status, in MB."""
    return int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0]) * 1024 / 1e6
