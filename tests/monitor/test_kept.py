"""Rows kept after they were judged: which, in which order, how much of them, and what a crash does to them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor import kept
from monitor.envelope import ARROW, NDJSON, encode
from monitor.kept import Kept, Span, files, rows
from monitor.limits import Limits
from monitor.offer import Offer
from monitor.spool import Spool


def batch(start: float, number: int = 10) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"ts": start + np.arange(number, dtype=float), "x": np.arange(number) * 1.0})


def send(spool: Spool, payload: bytes | memoryview, model: str = "m", form: str = ARROW) -> int:
    """One record; its sequence, once it is on disk."""
    offer = Offer("http", model, form, payload, 10, len(payload))
    landed: list[object] = []
    sequence = spool.append(offer.header(), payload, offer.size, lambda *told: landed.append(told))
    while not landed:
        pass
    return sequence


def read(folder: Path, span: Span = Span(), time: str | None = "ts", model: str = "m") -> list[float]:  # noqa: B008
    found = rows(folder, model, span, time=time, limits=Limits())
    return [value for one in found for value in one.column("ts").to_pylist()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def filled(folder: Path, starts: list[float], capacity: int = 1 << 30) -> Spool:
    spool = Spool(folder.parent / "spool", 1 << 30, Kept(folder, capacity))
    for start in starts:
        spool.settled(send(spool, encode(batch(1.7e9 + start))))
    return spool


def test_settled_rows_are_kept_in_order_and_read_by_span(folder: Path) -> None:
    spool = filled(folder, [0, 10, 20])
    assert read(folder) == [1.7e9 + i for i in range(30)]
    assert read(folder, Span(1.7e9 + 5, 1.7e9 + 12)) == [1.7e9 + i for i in range(5, 12)]
    assert read(folder, Span(1.7e9 + 100)) == []
    assert len(files(folder)) == 1
    assert not list(spool.path.glob("*.seg"))
    spool.close()


def test_the_newest_rows_are_read_from_the_spool(folder: Path) -> None:
    spool = filled(folder, [0])
    send(spool, encode(batch(1.7e9 + 10)))
    assert read(folder) == [1.7e9 + i for i in range(20)]
    spool.close()


def test_a_segment_that_is_settled_meanwhile_is_found_where_it_went(folder: Path) -> None:
    spool = filled(folder, [0])
    last = send(spool, encode(batch(1.7e9 + 10)))
    found = rows(folder, "m", Span(), time="ts", limits=Limits())
    assert next(found).num_rows == 10
    spool.settled(last)
    assert [one.num_rows for one in found] == [10]
    spool.close()


def test_models_are_told_apart_and_json_is_read_too(folder: Path) -> None:
    spool = filled(folder, [0])
    lines = b'{"ts": 1700000100.0, "x": 1}\n' * 10
    send(spool, encode(batch(1.7e9 + 50)), model="other")
    spool.settled(send(spool, lines, form=NDJSON))
    assert read(folder, model="other") == [1.7e9 + 50 + i for i in range(10)]
    assert read(folder)[10:] == [1700000100.0] * 10
    spool.close()


def test_without_a_time_column_the_moment_of_arrival_counts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.offer.time.time", lambda: 500.0)
    spool = filled(folder, [0])
    assert len(read(folder, Span(499.0, 501.0), time=None)) == 10
    assert read(folder, Span(501.0, 502.0), time=None) == []
    spool.close()


def test_the_oldest_go_when_there_is_too_much(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "FILE_BYTES", 1)
    spool = filled(folder, [0, 10, 20, 30], capacity=10_000)
    assert read(folder) == [1.7e9 + i for i in range(20, 40)]
    assert sum(file.stat().st_size for file in files(folder)) <= 10_000
    spool.close()
    assert Kept(folder, 5_000).bytes <= 5_000


def test_nothing_is_kept_when_nothing_shall_be(folder: Path) -> None:
    filled(folder, [0, 10], capacity=0).close()
    assert files(folder) == []
    assert not list((folder.parent / "spool").glob("*.seg"))


def test_a_segment_joined_twice_by_a_crash_is_read_once_and_a_torn_end_is_passed_over(folder: Path) -> None:
    filled(folder, [0, 10]).close()
    (file,) = files(folder)
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:-4096] + whole)
    assert read(folder) == [1.7e9 + i for i in range(20)]


def test_a_file_that_goes_meanwhile_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "FILE_BYTES", 1)
    filled(folder, [0, 10]).close()
    found = rows(folder, "m", Span(), time="ts", limits=Limits())
    assert next(found).num_rows == 10
    shutil.rmtree(folder)
    assert list(found) == []
