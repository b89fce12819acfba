"""Logs answers to an agent over Arrow Flight: a batch, its acknowledgement, the next batch.

One at a time, because a refused call takes the acknowledgements that were not read yet with it, and rows would be sent
twice. So it is at most the one batch whose acknowledgement was lost with the connection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import flight

FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 2.0
PATIENCE_SECONDS = 60.0
"""Without any progress for so long, the agent is given up."""
_PASSING = (
    flight.FlightUnavailableError,  # full, draining, or not there
    flight.FlightTimedOutError,
    flight.FlightCancelledError,
    flight.FlightInternalError,  # a connection cut in the middle
)
"""Errors that may be gone the next time; any other refusal would only be repeated."""


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
        self._open: pa.RecordBatch | None = None  # the batch, or what is left of it, that is not acknowledged
        self.logged = 0
        self.refusals = 0

    def send(self, batches: Iterator[pa.RecordBatch]) -> int:
        """Send all and wait for the last acknowledgement; the number of rows that the agent has taken.

        When the agent is full or away: wait, as long as it asks for or twice as long each time. Its error is raised
        when nothing has been acknowledged for `PATIENCE_SECONDS`, and at once when waiting cannot help.
        """
        wait, alive, before = FIRST_WAIT_SECONDS, self._now(), 0
        while True:
            try:
                self._stream(batches)
                return self.logged
            except _PASSING as error:
                self.refusals += 1
                if self.logged > before:
                    wait, alive, before = FIRST_WAIT_SECONDS, self._now(), self.logged
                elif self._now() - alive > PATIENCE_SECONDS:
                    raise
                self._sleep(max(wait, retry_after(error)))
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _stream(self, batches: Iterator[pa.RecordBatch]) -> None:
        """One DoPut: what is still open first, then news; ends when all is acknowledged, or raises."""
        batch = self._next(batches)
        if batch is None:
            return
        with flight.connect(self._link.location) as client:
            writer, acks = client.do_put(flight.FlightDescriptor.for_path(*self._link.path), batch.schema)
            try:
                before, sent = self.logged, 0
                while batch is not None:
                    writer.write_batch(batch)
                    sent += batch.num_rows
                    while self.logged - before < sent:
                        self._acknowledge(_taken(acks) - (self.logged - before))
                    batch = self._next(batches)
                writer.done_writing()
            finally:
                writer.close()

    def _next(self, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        """What is open, else the next batch; None at the end."""
        if self._open is None:
            self._open = next(batches, None)
        return self._open

    def _acknowledge(self, rows: int) -> None:
        """The agent has ``rows`` more of the open batch."""
        self.logged += rows
        if self._open is not None:
            self._open = self._open.slice(rows) if rows < self._open.num_rows else None


def retry_after(error: flight.FlightError) -> float:
    """Seconds that the agent asked to wait, as far as it said so."""
    try:
        return min(float(json.loads(error.extra_info)["retry_after"]), LONGEST_WAIT_SECONDS)
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0.0


def _taken(acks: Any) -> int:
    """Rows of this call that the agent has on disk, by its next acknowledgement."""
    message = acks.read()
    if message is None:
        raise flight.FlightUnavailableError("the agent ended the call before it had acknowledged all rows")
    return int(json.loads(message.to_pybytes())["rows"])
