"""Logs answers to an agent over Arrow Flight: a batch, its acknowledgement, the next batch.

One at a time, because a refused call takes the acknowledgements that were not read yet with it, and rows would be sent
twice. So it is at most the one batch whose acknowledgement was lost with the connection.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import flight

FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""Without any progress for so long, the agent is given up."""
_HOPELESS = (flight.FlightUnauthenticatedError, flight.FlightUnauthorizedError)


@dataclass(frozen=True, slots=True)
class Link:
    """Where rows go: the agent's address, and the path of their descriptor (model, version)."""

    location: str
    path: tuple[str, ...]


class Sender:
    """Sends batches in order; ``now`` and ``sleep`` are its clock."""

    def __init__(self, link: Link, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """Connect with the first batch, not before."""
        self._link, self._now, self._sleep = link, now, sleep
        self._open: deque[pa.RecordBatch] = deque()  # sent or to be sent, not yet acknowledged
        self.logged = 0
        self.refusals = 0

    def send(self, batches: Iterator[pa.RecordBatch]) -> int:
        """Send all and wait for the last acknowledgement; the number of rows that the agent has taken.

        A refusal (the agent is full, or away) is answered by waiting, twice as long each time; the agent's error is
        raised when nothing has been acknowledged for `PATIENCE_SECONDS`.
        """
        wait, alive, before = FIRST_WAIT_SECONDS, self._now(), 0
        while True:
            try:
                self._stream(batches)
                return self.logged
            except _HOPELESS:
                raise
            except (flight.FlightError, pa.ArrowException, OSError):
                self.refusals += 1
                if self.logged > before:
                    wait, alive, before = FIRST_WAIT_SECONDS, self._now(), self.logged
                elif self._now() - alive > PATIENCE_SECONDS:
                    raise
            self._sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _stream(self, batches: Iterator[pa.RecordBatch]) -> None:
        """One DoPut: what is still open first, then news; ends when all is acknowledged, or raises."""
        first = self._open[0] if self._open else self._next(batches)
        if first is None:
            return
        with flight.connect(self._link.location) as client:
            writer, acks = client.do_put(flight.FlightDescriptor.for_path(*self._link.path), first.schema)
            try:
                before, sent = self.logged, 0
                while (batch := self._open[0] if self._open else self._next(batches)) is not None:
                    writer.write_batch(batch)
                    sent += batch.num_rows
                    while self.logged - before < sent:
                        self._acknowledge(_taken(acks) - (self.logged - before))
                writer.done_writing()
            finally:
                writer.close()

    def _next(self, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        batch = next(batches, None)
        if batch is not None:
            self._open.append(batch)
        return batch

    def _acknowledge(self, rows: int) -> None:
        """The agent has ``rows`` more: forget them."""
        self.logged += rows
        while rows and self._open:
            batch = self._open.popleft()
            if batch.num_rows > rows:
                self._open.appendleft(batch.slice(rows))
                return
            rows -= batch.num_rows


def _taken(acks: Any) -> int:
    """Rows of this call that the agent has on disk, by its next acknowledgement."""
    message = acks.read()
    if message is None:
        raise flight.FlightServerError("the agent ended the call before it had acknowledged all rows")
    return int(json.loads(message.to_pybytes())["rows"])
