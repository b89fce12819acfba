"""The spool: accepted deliveries on disk, so that nothing acknowledged is lost to ``kill -9`` or a loss of power.

A folder of append-only segments. One thread writes: it takes everything that waits, appends it as one group and then
tells all who wait (group commit), so a hundred senders share one flush. Segments whose last sequence is settled leave
the folder: they are kept elsewhere (`monitor.kept`), or deleted.

Recovery reads what decodes: a damaged record is counted and passed over, a torn tail ends its segment. A start never
appends to an old segment, so a torn tail is never written over.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from monitor import log
from monitor.errors import QueueFull, StoreError
from monitor.kept import Kept
from monitor.segment import Place, Raw, Record, Segment, Stage, scan

SEGMENT_BYTES: Final = 16 << 20
"""A segment is closed when it has grown beyond this."""
RETRY_SECONDS: Final = 1.0
"""What a sender is told to wait when the disk is full; a checkpoint frees segments."""
_UNKNOWN: Final = 1 << 63
"""Last sequence of a segment that was not read yet: nothing settles it."""
_OVERHEAD: Final = 8192
"""Bytes set aside for the headers of a record and the padding behind its group."""
_GROUP_BYTES: Final = 32 << 20
_GROUP_RECORDS: Final = 256

Payload: TypeAlias = Raw | Any
"""What a record holds: bytes, or a `RecordBatch`, which is written as an IPC stream."""


class SpoolFailed(QueueFull):
    """The disk does not take the rows: nothing was accepted, the sender should come again."""

    reason = "spool"
    status = 503


Landed = Callable[[int, SpoolFailed | None], None]
"""Called by the writing thread, in the order of the sequences, once a record is on disk or has failed."""


@dataclass(slots=True)
class _Waiting:
    """A record on its way; ``payload`` is None for one that only keeps its place in the order."""

    sequence: int
    header: bytes
    payload: Payload | None
    size: int
    landed: Landed


class Spool:
    """Durable order for deliveries."""

    def __init__(self, path: Path, capacity_bytes: int, kept: Kept | None = None) -> None:
        """Open the folder; records found in it wait for `recover`. ``kept`` takes what is settled."""
        self.path = path
        self._kept = kept
        self.capacity_bytes = capacity_bytes
        self.corrupt_records = 0
        self._segment_bytes = min(SEGMENT_BYTES, max(capacity_bytes // 8, 1))
        self._wake = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._reserved = 0
        self._sequence = 0
        self._closed = False
        self._writing = False
        self._stage = Stage()
        self._log = log.get("spool")
        self._active: Segment | None = None
        self._segments: dict[Path, tuple[int, int]] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            found = sorted(path.glob("*.seg"))
            self._segments = {file: (_UNKNOWN, file.stat().st_size) for file in found}
        except OSError as error:
            raise StoreError(
                f"store.path: the spool {path} cannot be opened: {error.strerror}; make it writable"
            ) from error
        self._thread = threading.Thread(target=self._run, name="driftwarden-spool", daemon=True)
        self._thread.start()

    @property
    def bytes(self) -> int:
        """Bytes on disk, with those on their way."""
        with self._wake:
            return self._used()

    def recover(self, after: int) -> Iterator[Record]:
        """Records beyond ``after`` in order; to be exhausted before the first `append`."""
        self._sequence = max(self._sequence, after)
        for path in sorted(self._segments):
            last = 0
            for record in scan(path):
                if record is None:
                    self.corrupt_records += 1
                    continue
                last = max(last, record.sequence)
                if record.sequence > self._sequence:
                    self._sequence = record.sequence
                    yield record
            self._segments[path] = (last, self._segments[path][1])
        self.settled(after)

    def append(self, header: Mapping[str, Any], payload: Payload | None, size: int, landed: Landed) -> int:
        """Give the record its sequence and queue it for the disk; raises `SpoolFailed` when there is no room.

        ``size`` is about that of the payload. A ``payload`` of None writes nothing and keeps its place in the order:
        its source can read it again.
        """
        encoded = json.dumps(header, separators=(",", ":")).encode()
        size = 0 if payload is None else size + _OVERHEAD
        with self._wake:
            if self._closed:
                raise SpoolFailed("the spool is closed; send again when the agent is back", RETRY_SECONDS)
            if size and self._used() + size > self.capacity_bytes:
                message = f"{self._used()} of store.spool_bytes ({self.capacity_bytes}) are taken; send again later"
                raise SpoolFailed(message, RETRY_SECONDS)
            self._sequence += 1
            self._reserved += size
            self._waiting.append(_Waiting(self._sequence, encoded, payload, size, landed))
            self._wake.notify()
            return self._sequence

    def read(self, place: Place) -> Raw:
        """A payload from disk; raises `StoreError` when it is not what was written."""
        try:
            with place.path.open("rb") as file:
                file.seek(place.offset)
                payload = file.read(place.size)
        except OSError as error:
            raise StoreError(f"store.path: {place.path.name} cannot be read: {error.strerror}") from error
        if len(payload) != place.size:
            raise StoreError(f"store.path: {place.path.name} has become shorter; restore it or let it go")
        return payload

    def settled(self, sequence: int) -> None:
        """A checkpoint covers everything up to ``sequence``: let go of the segments that hold nothing younger."""
        with self._wake:
            idle = not self._waiting and not self._writing
            active = self._active.path if self._active is not None else None
            if idle and active is not None and self._segments[active][0] <= sequence:
                self._close_segment()  # an idle agent keeps nothing on disk
                active = None
            gone = [path for path, (last, _) in self._segments.items() if last <= sequence and path != active]
            for path in gone:
                del self._segments[path]
        for path in gone:
            if self._kept is None:
                path.unlink(missing_ok=True)
            else:
                self._kept.take(path)

    def close(self) -> None:
        """Write what waits and stop."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()
        with self._wake:
            self._close_segment()

    def _used(self) -> int:
        """`bytes`, with the lock held."""
        return self._reserved + sum(size for _, size in self._segments.values())

    def _run(self) -> None:
        """The writing thread."""
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._wake.wait()
                if not self._waiting:
                    return
                group = self._next_group()
                self._writing = True
            failure = self._write(group)
            for record in group:
                self._tell(record, failure if record.payload is not None else None)

    def _tell(self, record: _Waiting, failure: SpoolFailed | None) -> None:
        """Call back; one that fails must not keep the others waiting."""
        try:
            record.landed(record.sequence, failure)
        except Exception:  # noqa: BLE001 - this thread serves everybody
            self._log.exception("a sender could not be told that its rows have landed")

    def _next_group(self) -> list[_Waiting]:
        """As much of what waits as goes into one write."""
        size = count = 0
        for record in self._waiting[:_GROUP_RECORDS]:
            size += record.size
            if count and size > _GROUP_BYTES:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    def _write(self, group: Sequence[_Waiting]) -> SpoolFailed | None:
        """Append the group; a failure cuts the segment where it was, leaves it, and says so."""
        failure = None
        filled = [record for record in group if record.payload is not None]
        try:
            if filled:
                self._stage.begin(self._segment(group[0].sequence))
                for record in filled:
                    self._stage.add(record.sequence, record.header, record.payload)
                self._stage.finish()
        except Exception as error:  # noqa: BLE001 - this thread serves everybody, and must tell them
            problem = getattr(error, "strerror", None) or str(error)
            message = f"store.path: the spool cannot be written: {problem}; free some space, then send again"
            failure = SpoolFailed(message, RETRY_SECONDS)
            self._log.error("the spool cannot be written", error=problem)
        with self._wake:
            self._writing = False
            self._reserved -= sum(record.size for record in group)
            if self._active is not None and filled:
                if failure is not None:
                    self._active.cut()
                else:
                    self._segments[self._active.path] = (group[-1].sequence, self._active.size)
                if failure is not None or self._active.size > self._segment_bytes:
                    self._close_segment()
        return failure

    def _segment(self, sequence: int) -> Segment:
        """The open segment, or a new one named after its first sequence."""
        if self._active is None:
            made = Segment(self.path / f"{sequence:020d}.seg")
            with self._wake:
                self._active = made
                self._segments[made.path] = (sequence, 0)
        return self._active

    def _close_segment(self) -> None:
        """Let go of the open segment; the next write begins another."""
        if self._active is not None:
            self._active.close()
        self._active = None
