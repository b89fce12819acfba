"""Rows from standard input: one Arrow IPC stream, or JSON lines, told apart by the first bytes.

A full queue slows the writer at the other end of the pipe. An Arrow stream is cut at its messages and never decoded
here: each batch goes on with the schema and the dictionaries that it needs, as a stream of its own.
"""

from __future__ import annotations

import os
import select
import threading
from typing import Final

from monitor import ipc, log, ndjson
from monitor.envelope import ARROW, NDJSON, Limits, count_rows
from monitor.errors import Malformed, Refused, TooLarge
from monitor.intake import Intake
from monitor.listeners import Stdin
from monitor.offer import Offer
from monitor.sources.blocking import hand_over

SOURCE: Final = "stdin"
_CHUNK: Final = 1 << 20
_LOOK_SECONDS: Final = 0.2
"""How long one wait for bytes may take before the source looks whether it is to stop."""
_ARROW: Final = b"\xff\xff\xff\xff"
_FILE: Final = b"ARRO"


class StdinSource:
    """Reads a pipe on a thread of its own; ``finished`` is set when the pipe has ended."""

    def __init__(self, intake: Intake, settings: Stdin, limits: Limits, *, descriptor: int = 0) -> None:
        """Prepare to read ``descriptor``."""
        self.finished = threading.Event()
        self._intake = intake
        self._model = settings.model
        self._limits = limits
        self._stopped = threading.Event()
        self._pipe = _Pipe(descriptor, self._stopped)
        self._thread: threading.Thread | None = None
        self._log = log.get("stdin")

    def start(self) -> None:
        """Begin to read."""
        self._thread = threading.Thread(target=self._run, name="driftwarden-stdin", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; what the pipe still holds stays there."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        """Read to the end, or to the first byte that makes no sense."""
        try:
            first = self._pipe.exactly(4, peek=True)
            if first[:4] == _ARROW:
                self._read_arrow()
            elif first[:4] == _FILE:
                raise Malformed("standard input holds an Arrow file; write the stream format, which needs no end")
            elif first:
                self._read_lines()
        except Refused as refusal:
            self._intake.refuse(SOURCE, self._model, refusal)
            self._log.error("standard input ended early", error=str(refusal))
        except OSError as error:
            self._log.error("standard input cannot be read", error=error.strerror)
        self.finished.set()

    def _read_arrow(self) -> None:
        """Frame by frame; a batch that breaks a limit is refused, and the next one is read."""
        schema = b""
        dictionaries: dict[int, list[bytes]] = {}
        while message := self._message():
            header, raw = message
            if header.kind == ipc.SCHEMA:
                schema = raw
            elif header.kind == ipc.DICTIONARY:
                known = dictionaries.setdefault(header.dictionary, [])
                if not header.delta:
                    known.clear()
                known.append(raw)
                if sum(len(part) for parts in dictionaries.values() for part in parts) > self._limits.body_bytes:
                    raise TooLarge("the dictionaries are larger than limits.body_bytes; raise it or send plain columns")
            else:
                parts = [part for parts in dictionaries.values() for part in parts]
                self._deliver(ARROW, b"".join([schema, *parts, raw]))

    def _message(self) -> tuple[ipc.Header, bytes] | None:
        """The next message as it stands in the pipe, or None at the end of the stream."""
        prefix = self._pipe.exactly(8)
        if len(prefix) < 8:
            if prefix:
                raise Malformed("the Arrow stream breaks off; write it whole")
            return None
        start, length = ipc.frame(prefix)
        if start != 8:
            raise Malformed("the Arrow stream lost its framing; write one IPC stream")
        if length == 0:
            return None
        metadata = self._bounded(length, "header")
        header = ipc.parse(metadata, self._limits)
        return header, prefix + metadata + self._bounded(header.body, "body")

    def _bounded(self, size: int, what: str) -> bytes:
        """So many bytes, if the limit allows them and the pipe has them."""
        if size > self._limits.body_bytes:
            raise TooLarge(f"an Arrow message claims a {what} of {size} bytes; limits.body_bytes is less")
        found = self._pipe.exactly(size)
        if len(found) < size:
            raise Malformed(f"the Arrow stream breaks off in a message's {what}; write it whole")
        return found

    def _read_lines(self) -> None:
        """Whole lines as they come; the last one needs no end."""
        rest = b""
        while chunk := self._pipe.some(_CHUNK):
            ready, newline, tail = (rest + chunk).rpartition(b"\n")
            rest = tail
            if newline:
                for payload, _ in ndjson.cut(ready + newline, self._limits):
                    self._deliver(NDJSON, payload)
            elif len(rest) > self._limits.body_bytes:
                raise TooLarge("a line is longer than limits.body_bytes; write one JSON object a line")
        if rest.strip() and not self._stopped.is_set():
            self._deliver(NDJSON, rest)

    def _deliver(self, form: str, payload: bytes) -> None:
        """Hand over, waiting for room; what breaks a limit is refused and counted."""
        try:
            rows = count_rows(form, payload, self._limits)
        except Refused as refusal:
            self._intake.refuse(SOURCE, self._model, refusal)
            self._log.warning("rows refused", reason=refusal.reason, error=str(refusal))
            return
        hand_over(self._intake, self._stopped, Offer(SOURCE, self._model, form, payload, rows, len(payload)))


class _Pipe:
    """Bytes from a file descriptor, with an eye on the order to stop."""

    def __init__(self, descriptor: int, stopped: threading.Event) -> None:
        self._descriptor = descriptor
        self._stopped = stopped
        self._ahead = b""

    def some(self, size: int) -> bytes:
        """At least one byte, or none at the end or when told to stop."""
        if self._ahead:
            found, self._ahead = self._ahead, b""
            return found
        while not self._stopped.is_set():
            if select.select([self._descriptor], [], [], _LOOK_SECONDS)[0]:
                return os.read(self._descriptor, size)
        return b""

    def exactly(self, size: int, *, peek: bool = False) -> bytes:
        """So many bytes, fewer only at the end; what was only looked at is read again."""
        parts: list[bytes] = []
        left = size
        while left > 0 and (found := self.some(min(left, _CHUNK))):
            parts.append(found[:left])
            self._ahead = found[left:]
            left -= len(parts[-1])
        whole = b"".join(parts)
        if peek:
            self._ahead = whole + self._ahead
        return whole
