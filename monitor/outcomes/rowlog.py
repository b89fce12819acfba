"""Rows of fixed size on disk, appended at the end and let go at the front: all that the index has to keep.

A folder of files of `FILE_ROWS` rows each, named after their number. What is durable is what a checkpoint says: bytes
beyond its end were written by an agent that has died, and are written over. So rows are never changed, nothing is
written twice, and files are deleted only when a checkpoint that does without them is on disk (`settled`).

Rows are read by calls, not through a mapping: a call costs a microsecond, keeps nothing resident, lets other threads
work while a disk is slow, and turns what goes wrong into an error where a mapping would end the process.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from detectors.types import IntArray
from monitor.errors import StoreError

Records = NDArray[Any]
"""Rows as a structured array."""

FILE_ROWS: Final = 1 << 18
READ_ROWS: Final = 1 << 14
"""Rows read or written in one go."""
_NEAR_ROWS: Final = 32
"""Rows no further apart are read in one go, with what lies between them."""


class Damaged(StoreError):  # noqa: N818 - what is damaged, as `Malformed`
    """Files do not hold what was written to them; any other fault in reading them may pass."""


class LogState(TypedDict):
    """What a checkpoint holds of a log: the rows that are in it, and a checksum for each of its files."""

    first: int
    end: int
    sums: dict[str, int]


class RowLog:
    """Rows ``first`` to before ``end``; written by one thread."""

    def __init__(self, folder: Path, dtype: np.dtype[Any]) -> None:
        """An empty log, whatever the folder holds: `restore` says what is in it."""
        self.folder, self.dtype = folder, dtype
        self.first = self.end = 0
        self._files: dict[int, int] = {}
        self._sums: dict[int, int] = {}
        self._dirty: set[int] = set()
        self._made, self._spared = False, 0
        self._over: set[int] = set()

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return sum(os.fstat(one).st_blocks for one in self._files.values()) * 512

    def append(self, records: Records) -> None:
        """Add rows; after an `OSError` none of them were."""
        end, sums = self.end, dict(self._sums)
        try:
            for start in range(0, len(records), READ_ROWS):
                self._append(records[start : start + READ_ROWS])
        except OSError:
            self.cut(end, sums)
            raise

    def mark(self) -> tuple[int, dict[int, int]]:
        """Where the log ends, for `cut`."""
        return self.end, dict(self._sums)

    def cut(self, end: int, sums: dict[int, int]) -> None:
        """Take back what was appended since the `mark`."""
        self.end, self._sums = end, sums

    def take(self, numbers: IntArray) -> Records:
        """The rows of these numbers, in their order; `StoreError` if they cannot be read."""
        out = np.empty(len(numbers), self.dtype)
        if len(numbers):
            order = np.argsort(numbers)
            rows = numbers[order]
            cut = (np.diff(rows) > _NEAR_ROWS) | (np.diff(rows // FILE_ROWS) > 0)
            starts, ends = np.append(0, np.flatnonzero(cut) + 1), np.append(np.flatnonzero(cut), len(rows) - 1)
            counts = rows[ends] - rows[starts] + 1
            spans = self._read(rows[starts], counts)
            before = np.cumsum(counts) - counts - rows[starts]
            out[order] = spans[rows + np.repeat(before, ends - starts + 1)]
        return out

    def blocks(self, first: int, end: int) -> Iterator[tuple[int, Records]]:
        """Rows in order, some thousand at a time, each block with the number of its first; `StoreError` as `take`."""
        while first < end:
            count = min(end - first, FILE_ROWS - first % FILE_ROWS, READ_ROWS)
            yield first, self._read(np.array([first]), np.array([count]))
            first += count

    def advance(self, first: int) -> None:
        """Let rows go; their files stay until `settled`."""
        self.first = max(self.first, first)

    def after(self, old: RowLog) -> None:
        """Be empty in the place of another log of this folder, which ends; its files go with the next checkpoint.

        Nothing is read or written: rows go to files behind its last.
        """
        self._over = {*old._files, *old._over}
        self.first = self.end = (max(self._over, default=-1) + 1) * FILE_ROWS
        old.close()

    def settle(self) -> LogState:
        """All rows on disk: what a checkpoint has to hold of it; `OSError` if they cannot be written."""
        for number in sorted(self._dirty & self._files.keys()):
            os.fsync(self._files[number])
            self._dirty.discard(number)
        if self._made:
            for folder in (self.folder, self.folder.parent, self.folder.parent.parent):
                _sync(folder)
            self._made = False
        self._spared = self._needed().start
        sums = {str(number): self._sums[number] for number in self._needed() if number in self._sums}
        return {"first": self.first, "end": self.end, "sums": sums}

    def settled(self) -> None:
        """The checkpoint of the last `settle` is on disk: files that hold nothing younger than its first row may go."""
        for number in [number for number in self._files if number < self._spared]:
            self._close(number)
            self._over.add(number)
            self._sums.pop(number, None)
            self._dirty.discard(number)
        for number in self._over:
            with contextlib.suppress(OSError):  # the next start deletes what is left
                self._path(number).unlink(missing_ok=True)
        self._over = set()

    def restore(self, state: LogState | None) -> None:
        """Be what a checkpoint says, nothing without one; `Damaged` if the files are not what was written."""
        self.close()
        self.first, self.end = (state["first"], state["end"]) if state is not None else (0, 0)
        self._sums = {int(number): one for number, one in state["sums"].items()} if state is not None else {}
        self._dirty, self._made, self._spared, self._over = set(), False, 0, set()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            if path.suffix != ".rows" or not path.stem.isdecimal() or int(path.stem) not in self._needed():
                path.unlink()
        for number in self._needed():
            self._check(number)

    def close(self) -> None:
        """Let go of all files."""
        for number in list(self._files):
            self._close(number)

    def _needed(self) -> range:
        """Numbers of the files that hold the rows."""
        return range(self.first // FILE_ROWS, -(-self.end // FILE_ROWS))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.rows"

    def _append(self, records: Records) -> None:
        while len(records):
            number, place = divmod(self.end, FILE_ROWS)
            if number not in self._files:
                self._open(number)
            some = records[: FILE_ROWS - place]
            raw = np.ascontiguousarray(some).view(np.uint8).reshape(-1).data
            _write(self._files[number], raw, place * self.dtype.itemsize)
            self._sums[number] = zlib.crc32(raw, self._sums[number] if place else 0)
            self._dirty.add(number)
            self.end += len(some)
            records = records[len(some) :]

    def _read(self, firsts: IntArray, counts: IntArray) -> Records:
        """Spans of rows, none of which crosses from one file to the next, one after the other."""
        size = self.dtype.itemsize
        which = (firsts // FILE_ROWS).tolist()
        wheres, sizes = (firsts % FILE_ROWS * size).tolist(), (counts * size).tolist()
        try:
            calls = zip(which, sizes, wheres, strict=True)
            raw = b"".join([os.pread(self._files[number], count, where) for number, count, where in calls])
        except OSError as error:
            raise StoreError(f"store.path: {self.folder} cannot be read: {error.strerror}") from error
        if len(raw) != sum(sizes):
            raise Damaged(f"store.path: {self.folder} has become shorter; restore the state directory from a copy")
        return np.frombuffer(raw, self.dtype)

    def _open(self, number: int) -> None:
        """Open or make a file."""
        path = self._path(number)
        self._made = self._made or not path.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._files[number] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _close(self, number: int) -> None:
        os.close(self._files.pop(number))

    def _check(self, number: int) -> None:
        """Open a file and compare its checksum."""
        path, total = self._path(number), 0
        if _there(path):
            self._open(number)
            start = number * FILE_ROWS
            rows = min(self.end - start, FILE_ROWS)
            if os.fstat(self._files[number]).st_size >= rows * self.dtype.itemsize:
                for _, some in self.blocks(start, start + rows):
                    total = zlib.crc32(some.view(np.uint8).data, total)
                if total == self._sums.get(number):
                    return
        fix = "restore the state directory from a copy, or start with a new one"
        raise Damaged(f"store.path: {path} is not what was written; {fix}")


def _there(path: Path) -> bool:
    """Whether a file exists; not being able to tell is an `OSError`, and no answer."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _write(descriptor: int, raw: memoryview, offset: int) -> None:
    while raw:
        written = os.pwrite(descriptor, raw, offset)
        raw, offset = raw[written:], offset + written


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
