"""A watched folder: each file once, in the middle of it after a restart, and never the broken one twice."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from monitor.envelope import Delivery, Limits, batches
from monitor.intake import Intake
from monitor.ledger import Account, Ledger
from monitor.listeners import Directory
from monitor.sources import directory
from monitor.sources.directory import DirectorySource
from monitor.spool import Spool
from tests.monitor.test_envelope import LIMITS


class Watch:
    """A source over a folder, looked at by hand, with an engine that remembers positions."""

    def __init__(
        self,
        folder: Path,
        positions: dict[str, Any] | None = None,
        limits: Limits = LIMITS,
        capacity: int = 64 << 20,
        spool: Spool | None = None,
        **more: Any,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self.positions = positions if positions is not None else {}
        self.intake = Intake(models=["credit"], capacity_bytes=capacity, ledger=Ledger(), spool=spool)
        settings = Directory(path=folder, model="credit", **more)
        self.source = DirectorySource(self.intake, settings, limits, self.positions)

    def look(self, times: int = 2) -> list[int]:
        """The values of column `a` after so many looks at the folder."""
        for _ in range(times):
            self.source.scan()
        return self.taken()

    def taken(self, deliveries: int = 1 << 30) -> list[int]:
        values: list[int] = []
        while deliveries and (delivery := self.intake.take(0)) is not None:
            deliveries -= 1
            values += self.judge(delivery)
        return values

    def judge(self, delivery: Delivery) -> list[int]:
        found = list(batches(delivery, self.limits, lambda *_: None))
        assert delivery.position is not None
        self.positions.update(json.loads(json.dumps(delivery.position)))
        self.intake.ledger.processed(delivery.source, delivery.model, delivery.rows)
        self.intake.done(delivery)
        return [value for batch in found for value in batch.column("a").to_pylist()]

    @property
    def account(self) -> Account:
        return self.intake.ledger.snapshot().accounts["directory", "credit"]


def write(path: Path, values: Sequence[int]) -> None:
    """The same column in whatever format the name says."""
    table = pa.table({"a": pa.array(values, pa.int64())})
    if path.suffix in (".jsonl", ".ndjson"):
        path.write_text("".join(f'{{"a": {value}}}\n' for value in values))
    elif path.suffix in (".parquet", ".pq"):
        pyarrow.parquet.write_table(table, path, row_group_size=10)
    elif path.suffix == ".feather":
        pyarrow.feather.write_feather(table, path, chunksize=10)
    else:
        make = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=10)


SUFFIXES = ["parquet", "pq", "arrow", "feather", "ipc", "arrows", "jsonl", "ndjson"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_each_format_is_read_once(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"log.{suffix}", range(25))
    watch = Watch(tmp_path)
    assert watch.look() == list(range(25))
    assert watch.look(3) == []
    assert watch.account.received_rows == watch.account.processed_rows == 25


def test_files_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("2024-03.jsonl", "2024-01.parquet", "2024-02.arrow"):
        write(tmp_path / name, [int(name[5:7])])
    assert Watch(tmp_path).look() == [1, 2, 3]


@pytest.mark.parametrize("name", [".hidden.jsonl", "_SUCCESS.jsonl", "log.jsonl.tmp", "notes.txt", "log"])
def test_other_files_are_left_alone(tmp_path: Path, name: str) -> None:
    write(tmp_path / "x.jsonl", [1])
    (tmp_path / "x.jsonl").rename(tmp_path / name)
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert Watch(tmp_path).look() == []


def test_a_file_that_is_still_written_waits(tmp_path: Path) -> None:
    watch = Watch(tmp_path)
    path = tmp_path / "log.jsonl"
    for number in range(1, 4):
        write(path, range(number))
        assert watch.look(1) == []
    assert watch.look(1) == [0, 1, 2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_restart_goes_on_in_the_middle_of_a_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "_ROWS", 4)
    monkeypatch.setattr(directory, "PIECE_BYTES", 40)
    write(tmp_path / f"log.{suffix}", range(40))
    first = Watch(tmp_path)
    first.source.scan()
    first.source.scan()
    read = first.taken(deliveries=3)
    assert 3 <= len(read) < 40
    second = Watch(tmp_path, first.positions)
    assert read + second.look() == list(range(40))
    third = Watch(tmp_path, second.positions)
    assert third.look() == []


def test_a_json_lines_file_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, range(3))
    watch = Watch(tmp_path)
    assert watch.look() == [0, 1, 2]
    with path.open("a") as file:
        file.write('{"a": 3}\n')
    assert watch.look() == [3]
    with path.open("a") as file:
        file.write('{"a": 4}\n')
    assert Watch(tmp_path, watch.positions).look() == [4]


def test_a_json_lines_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, range(3))
    watch = Watch(tmp_path)
    watch.look()
    write(path, range(50, 60))
    assert watch.look() == list(range(50, 60))


def test_a_parquet_file_that_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    write(path, range(3))
    watch = Watch(tmp_path)
    watch.look()
    write(path, range(7))
    assert watch.look() == list(range(7))


@pytest.mark.parametrize(
    "content", [b"", b"PAR1 not really PAR1", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"ARROW1\0\0junk", b"FEA1"]
)
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "ipc"])
def test_a_broken_file_is_set_aside_and_the_others_are_read(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    write(tmp_path / "b.jsonl", [1, 2])
    watch = Watch(tmp_path)
    assert watch.look(5) == [1, 2]
    assert watch.account.refused_requests["malformed"] == 1
    write(tmp_path / f"a.{suffix}", [7])
    assert watch.look() == [7]


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "ipc"])
def test_every_truncation_is_survived(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    write(path, range(30))
    whole = path.read_bytes()
    for size in range(1, len(whole), 61):
        path.write_bytes(whole[:size])
        values = Watch(tmp_path).look()
        assert values == list(range(len(values)))


def test_a_bad_line_costs_one_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n{"a": oops}\n\n{"a": 3}')
    watch = Watch(tmp_path)
    assert watch.look() == [1, 3]
    assert watch.account.received_rows == 3


def test_a_file_that_breaks_a_limit_is_set_aside(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({f"c{index}": [1] for index in range(20)}), tmp_path / "wide.parquet")
    (tmp_path / "long.jsonl").write_text('{"a": "' + "x" * 5000 + '"}')
    watch = Watch(tmp_path, limits=Limits(columns=10, body_bytes=2000))
    assert watch.look(3) == []
    assert watch.account.refused_requests["too_large"] == 2


def test_batches_are_cut_to_the_limit_on_rows(tmp_path: Path) -> None:
    write(tmp_path / "a.arrow", range(25))
    write(tmp_path / "b.jsonl", range(25, 50))
    watch = Watch(tmp_path, limits=Limits(batch_rows=7))
    assert watch.look() == list(range(50))
    assert watch.account.received_batches >= 8


def test_a_full_queue_slows_the_reader_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "_ROWS", 4)
    write(tmp_path / "a.arrow", range(40))
    watch = Watch(tmp_path, capacity=100, poll="0.05s")
    watch.source.start()
    values: list[int] = []
    while len(values) < 40:
        delivery = watch.intake.take(30)
        assert delivery is not None
        values += watch.judge(delivery)
    watch.source.stop()
    assert values == list(range(40))
    assert sum(watch.account.discarded_rows.values()) == 0


def test_stopping_does_not_wait_for_room(tmp_path: Path) -> None:
    for name in ("a.arrow", "b.arrow"):
        write(tmp_path / name, range(40))
    watch = Watch(tmp_path, capacity=100, poll="0.05s")
    watch.source.start()
    assert watch.intake.take(30) is not None
    watch.intake.close()
    watch.source.stop()


def test_files_are_not_written_to_disk_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    write(folder / "a.arrow", range(10))
    spool = Spool(tmp_path / "spool", 64 << 20)
    watch = Watch(folder, spool=spool)
    watch.source.scan()
    watch.source.scan()
    assert watch.taken() == list(range(10))
    assert spool.bytes == 0
    spool.close()


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "later", poll="0.05s")
    watch.source.start()
    (tmp_path / "later").mkdir()
    write(tmp_path / "later" / "a.jsonl", [1])
    delivery = watch.intake.take(30)
    assert delivery is not None
    assert delivery.rows == 1
    watch.source.stop()


def test_files_that_went_are_remembered_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directory, "REMEMBERED", 2)
    watch = Watch(tmp_path)
    for index in range(5):
        write(tmp_path / f"{index}.jsonl", [index])
        watch.look()
        (tmp_path / f"{index}.jsonl").rename(tmp_path / f"{index}.away")
    (tmp_path / "4.away").rename(tmp_path / "4.jsonl")
    assert watch.look() == []
    (known,) = watch.positions.values()
    assert len(known) <= 4
