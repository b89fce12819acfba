"""The spool: what was acknowledged is found again, whatever happened to the process or the end of a file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.envelope import encode
from monitor.errors import StoreError
from monitor.segment import BLOCK, STAGE_BYTES, Record
from monitor.spool import Payload, Spool, SpoolFailed

CAPACITY = 64 << 20


class Sender:
    """Appends and remembers what landed."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.landed: list[int] = []
        self.failed: list[int] = []
        self._done = threading.Semaphore(0)

    def send(self, *payloads: Payload | None) -> None:
        for payload in payloads:
            self.spool.append({"model": "credit"}, payload, 0 if payload is None else len(payload), self._landed)
        for _ in payloads:
            assert self._done.acquire(timeout=30)

    def _landed(self, sequence: int, failure: SpoolFailed | None) -> None:
        (self.landed if failure is None else self.failed).append(sequence)
        self._done.release()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def opened(folder: Path) -> Iterator[Sender]:
    spool = Spool(folder, CAPACITY)
    assert not list(spool.recover(0))
    yield Sender(spool)
    spool.close()


def reopened(folder: Path, after: int = 0, capacity: int = CAPACITY) -> tuple[list[tuple[int, bytes]], Spool]:
    """What another process finds; it never appends to what it found."""
    spool = Spool(folder, capacity)
    return [(record.sequence, bytes(spool.read(record.place))) for record in spool.recover(after)], spool


def found(folder: Path, after: int = 0) -> list[tuple[int, bytes]]:
    records, spool = reopened(folder, after)
    spool.close()
    return records


def test_what_landed_is_found_again_in_order(folder: Path, opened: Sender) -> None:
    payloads = [bytes([index]) * index * 100 for index in range(20)]
    opened.send(*payloads)
    assert opened.landed == list(range(1, 21))
    assert found(folder) == list(zip(range(1, 21), payloads, strict=True))


def test_a_header_comes_back_as_it_went(folder: Path, opened: Sender) -> None:
    opened.send(b"x")
    spool = Spool(folder, CAPACITY)
    (record,) = spool.recover(0)
    assert isinstance(record, Record)
    assert record.header == {"model": "credit"}
    spool.close()


def test_only_what_the_checkpoint_does_not_cover_comes_back(folder: Path, opened: Sender) -> None:
    opened.send(b"a", b"b", b"c")
    assert found(folder, after=2) == [(3, b"c")]


def test_sequences_go_on_where_they_were(folder: Path, opened: Sender) -> None:
    opened.send(b"a", b"b")
    _, spool = reopened(folder)
    sender = Sender(spool)
    sender.send(b"c")
    assert sender.landed == [3]
    spool.close()
    _, spool = reopened(folder, after=50)
    sender = Sender(spool)
    sender.send(b"d")
    assert sender.landed == [51]
    spool.close()


def test_a_place_without_payload_keeps_the_order_and_writes_nothing(folder: Path, opened: Sender) -> None:
    opened.send(b"a", None, b"c")
    assert opened.landed == [1, 2, 3]
    assert found(folder) == [(1, b"a"), (3, b"c")]


def test_settled_segments_are_deleted_and_an_idle_spool_is_empty(folder: Path) -> None:
    spool = Spool(folder, 80_000)  # segments of 10 kB
    sender = Sender(spool)
    for index in range(4):
        sender.send(bytes([index]) * 5000)  # two blocks each
    assert len(list(folder.iterdir())) == 2
    spool.settled(2)
    assert [sequence for sequence, _ in found(folder)] == [3, 4]
    spool.settled(4)
    assert not list(folder.iterdir())
    assert spool.bytes == 0
    sender.send(b"more")
    assert found(folder) == [(5, b"more")]
    spool.close()


def test_disk_space_is_bounded_and_a_checkpoint_frees_it(folder: Path) -> None:
    spool = Spool(folder, 100_000)
    sender = Sender(spool)
    for _ in range(7):
        sender.send(b"x" * 10_000)
    with pytest.raises(SpoolFailed, match=r"store\.spool_bytes"):
        sender.send(b"x" * 10_000)
    assert spool.bytes <= 100_000
    spool.settled(sender.landed[-1])
    sender.send(b"x" * 10_000)
    spool.close()


def test_a_torn_tail_ends_its_segment_and_is_no_damage(folder: Path, opened: Sender) -> None:
    opened.send(b"a" * 500)
    opened.send(b"b" * 500)
    (segment,) = folder.iterdir()
    whole = segment.read_bytes()
    assert len(whole) == 2 * BLOCK
    for size in range(560, BLOCK + 560, 97):
        segment.write_bytes(whole[:size])
        records, spool = reopened(folder)
        assert records == [(1, b"a" * 500)]
        assert spool.corrupt_records == 0
        spool.close()


def test_a_damaged_record_is_counted_and_the_others_come_back(folder: Path, opened: Sender) -> None:
    opened.send(b"a" * 500, b"b" * 500, b"c" * 500)
    (segment,) = folder.iterdir()
    original = segment.read_bytes()
    chooser = np.random.default_rng(3)
    middle = (original.find(b"b" * 500) - 30, original.find(b"b" * 500) + 500)
    for _ in range(100):
        damaged = bytearray(original)
        damaged[chooser.integers(*middle)] ^= 1 << chooser.integers(8)
        segment.write_bytes(damaged)
        records, spool = reopened(folder)
        assert [record for record in records if record[0] != 2] == [(1, b"a" * 500), (3, b"c" * 500)]
        assert spool.corrupt_records == 1
        spool.close()


def test_rubbish_in_a_segment_is_passed_over(folder: Path) -> None:
    folder.mkdir()
    (folder / "00000000000000000001.seg").write_bytes(np.random.default_rng(5).bytes(5000) + b"DWR1" * 9)
    records, spool = reopened(folder)
    assert records == []
    spool.close()


def test_a_disk_that_refuses_is_told_to_the_sender_and_the_next_write_begins_anew(
    folder: Path, opened: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened.send(b"before")
    write = os.pwrite

    def full(file: int, view: memoryview, offset: int) -> int:
        write(file, view, offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    opened.send(b"lost")
    monkeypatch.undo()
    opened.send(b"after")
    assert (opened.landed, opened.failed) == ([1, 3], [2])
    assert found(folder) == [(1, b"before"), (3, b"after")]


def test_short_writes_are_finished_and_a_disk_without_direct_access_will_do(
    folder: Path, opened: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, view, offset: write(file, view[:777], offset))
    opened.send(b"a" * 5000, b"b" * 100)
    opened.send(b"c")
    assert found(folder) == [(1, b"a" * 5000), (2, b"b" * 100), (3, b"c")]


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, STAGE_BYTES - 100, STAGE_BYTES, 3 * STAGE_BYTES + 5])
def test_payloads_of_every_size_come_back(folder: Path, opened: Sender, size: int) -> None:
    payload = np.random.default_rng(size).bytes(size)
    opened.send(b"first", payload, memoryview(payload), b"last")
    assert found(folder) == [(1, b"first"), (2, payload), (3, payload), (4, b"last")]


@pytest.mark.parametrize("rows", [1, 1000, 200_000, 1_500_000])
def test_batches_are_encoded_on_their_way(folder: Path, opened: Sender, rows: int) -> None:
    """Small ones in the writer's own buffer, one that is larger than it in memory."""
    batch = pa.record_batch({"x": np.arange(rows) * 1.0, "word": pa.array(["a", None] * rows).slice(0, rows)})
    opened.send(batch, b"between", batch)
    (_, first), (_, between), (_, last) = found(folder)
    assert first == last == bytes(encode(batch))
    assert between == b"between"


def test_a_dictionary_is_encoded_with_its_batch(folder: Path, opened: Sender) -> None:
    batch = pa.record_batch({"word": pa.array(["a", "b", "a"]).dictionary_encode()})
    opened.send(batch)
    ((_, payload),) = found(folder)
    assert pa.ipc.open_stream(payload).read_all().to_batches()[0].equals(batch)


def test_many_senders_share_a_write(folder: Path, opened: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    gate = threading.Event()
    write = os.pwrite

    def slow(file: int, view: memoryview, offset: int) -> int:
        gate.wait(30)
        writes.append(len(view))
        return write(file, view, offset)

    monkeypatch.setattr(os, "pwrite", slow)
    threads = [threading.Thread(target=opened.send, args=(b"x",)) for _ in range(50)]
    for thread in threads:
        thread.start()
    while opened.spool._sequence < 50:
        threading.Event().wait(0.001)
    gate.set()
    for thread in threads:
        thread.join()
    assert sorted(opened.landed) == list(range(1, 51))
    assert len(writes) <= 3
    assert len(found(folder)) == 50


def test_a_sender_that_cannot_be_told_does_not_stop_the_others(folder: Path, opened: Sender) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("boom")

    opened.spool.append({}, b"x", 1, broken)
    opened.send(b"y")
    assert [sequence for sequence, _ in found(folder)] == [1, 2]


def test_a_payload_that_cannot_be_written_is_refused_and_the_next_is_taken(folder: Path, opened: Sender) -> None:
    opened.send("no bytes")
    opened.send(b"y")
    assert (opened.landed, opened.failed) == ([2], [1])
    assert found(folder) == [(2, b"y")]


def test_a_folder_that_cannot_be_made_names_the_field(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"store\.path"):
        Spool(tmp_path / "file" / "spool", CAPACITY)


def test_a_closed_spool_takes_nothing(folder: Path) -> None:
    spool = Spool(folder, CAPACITY)
    spool.close()
    with pytest.raises(SpoolFailed, match="closed"):
        spool.append({}, b"x", 1, lambda *_: None)


KILLED = """
import sys, threading, time
from pathlib import Path
from monitor.spool import Spool, SpoolFailed
spool = Spool(Path(sys.argv[1]), 64 << 20)
list(spool.recover(0))
lock = threading.Lock()
def landed(sequence, failure):
    with lock:
        sys.stdout.write(f"{sequence}\\n")
        sys.stdout.flush()
number = 1
while True:
    try:
        spool.append({"model": "m"}, b"%d " % number * (number % 300), 0, landed)
        number += 1
    except SpoolFailed:  # faster than the disk: what waits has taken all the room
        time.sleep(0.001)
"""


@pytest.mark.parametrize("lines", [1, 40, 333])
def test_kill_9_loses_nothing_that_was_acknowledged(folder: Path, lines: int) -> None:
    command = [sys.executable, "-c", KILLED, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(lines)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    records = dict(found(folder))
    assert acknowledged == sorted(acknowledged)
    assert set(acknowledged) <= set(records)
    assert all(payload == b"%d " % sequence * (sequence % 300) for sequence, payload in records.items())
