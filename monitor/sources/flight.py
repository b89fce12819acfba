"""Rows over Arrow Flight: ``DoPut`` with the descriptor path ``[model]`` or ``[model, version]``.

Each batch is acknowledged through the metadata writer with ``{"rows": n}``, the rows of this call that are safe so
far: a sender that is cut off knows what to send again, and one that does not wait for each answer shares flushes. A
refusal is a Flight error whose ``extra_info`` is JSON with ``reason``, the safe ``rows`` and, where it helps,
``retry_after`` in seconds.

gRPC assembles and decodes a message, up to 2 GB, before it is seen here; limits are checked next. Bound senders by the
token where that matters, or use HTTP, whose limits hold before the first byte is kept.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.flight as fl

from monitor.envelope import BATCH, Limits, count_rows
from monitor.errors import DriftwardenError, Malformed, QueueFull, Refused, TooLarge
from monitor.intake import Intake, Landed
from monitor.listeners import Flight
from monitor.offer import Offer

SOURCE: Final = "flight"
STREAMS: Final = 256
"""Calls at a time; each may hold one batch that is not yet in the queue."""
WINDOW: Final = 64
"""Batches of one call on their way to the disk: a sender that does not wait for each shares their flushes."""
WINDOW_BYTES: Final = 8 << 20
"""Bytes of the same: what the disk has not taken yet slows this sender, and leaves the queue to the others."""
STOP_SECONDS: Final = 2.0
"""How long open calls may keep the server from stopping: an idle sender can hold its stream open for ever."""
_TOKEN: Final = "token"  # noqa: S105 - the name of a middleware


class FlightSource:
    """The Flight server and its life."""

    def __init__(self, intake: Intake, settings: Flight, limits: Limits) -> None:
        """Prepare; `start` opens the port."""
        self._intake = intake
        self._settings = settings
        self._limits = limits
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        """The port that is bound; 0 before the start."""
        return 0 if self._server is None else int(self._server.port)

    def start(self) -> None:
        """Listen; raises `DriftwardenError` when the address or the certificate cannot be used."""
        settings = self._settings
        scheme = "grpc" if settings.tls_cert is None else "grpc+tls"
        middleware = {} if settings.token is None else {_TOKEN: _TokenFactory(settings.token)}
        try:
            self._server = _Server(
                self._intake,
                self._limits,
                settings.when_full,
                location=f"{scheme}://{settings.listen}",
                tls_certificates=_certificates(settings),
                middleware=middleware,
            )
        except (pa.ArrowException, OSError) as error:
            message = f"flight.listen: {settings.listen} cannot be served: {error}; use a free address and a valid key"
            raise DriftwardenError(message) from error

    def stop(self) -> None:
        """Stop serving; calls that stay open after `STOP_SECONDS` end with the process."""
        if self._server is not None:
            closer = threading.Thread(target=self._server.shutdown, name="driftwarden-flight-stop", daemon=True)
            closer.start()
            closer.join(STOP_SECONDS)
            self._server = None


class _Server(fl.FlightServerBase):  # type: ignore[misc] # pyarrow publishes no types
    """Answers calls, each on a thread of gRPC's own."""

    def __init__(self, intake: Intake, limits: Limits, policy: Any, **listener: Any) -> None:
        super().__init__(**listener)
        self._intake = intake
        self._limits = limits
        self._policy = policy
        self._free = threading.BoundedSemaphore(STREAMS)

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Take batches until the sender is done, or one is refused."""
        model = ""
        acks = _Acks(writer, self._intake)
        if not self._free.acquire(blocking=False):
            raise _answer(QueueFull(f"{STREAMS} streams are open already; send again later", 1.0), 0)
        try:
            try:
                model, version = _names(descriptor)
                self._check(model, reader.schema)
                for batch in _received(reader):
                    self._take(model, version, batch, acks)
            finally:
                acks.finish()
        except Refused as refusal:
            self._intake.refuse(SOURCE, model, refusal)
            raise _answer(refusal, acks.rows) from refusal
        finally:
            self._free.release()

    def do_action(self, context: Any, action: Any) -> Iterator[Any]:
        """``health`` answers while rows are accepted."""
        if action.type != "health":
            raise fl.FlightServerError(f"no action is called {action.type[:64]!r}; use health")
        status = b'{"status": "draining"}' if self._intake.closed else b'{"status": "ok"}'
        yield fl.Result(pa.py_buffer(status))

    def list_actions(self, context: Any) -> list[tuple[str, str]]:
        """What `do_action` knows."""
        return [("health", "whether rows are accepted")]

    def _check(self, model: str, schema: pa.Schema) -> None:
        """All that can be refused before the first batch."""
        self._intake.check(model)
        if len(schema) > self._limits.columns:
            raise TooLarge(f"{len(schema)} columns, limits.columns is {self._limits.columns}; send fewer columns")

    def _take(self, model: str, version: str, batch: pa.RecordBatch, acks: _Acks) -> None:
        """Send one batch on its way; the next one may be read before it is safe."""
        try:
            # Before anything follows an offset in it: the spool's writer would walk out of the buffer.
            batch.validate(full=True)
        except pa.ArrowException as error:
            raise Malformed("the batch is damaged: its buffers do not fit its schema") from error
        rows = count_rows(BATCH, batch, self._limits)
        offer = Offer(SOURCE, model, BATCH, batch, rows, batch.get_total_buffer_size(), version)
        acks.expect(offer, lambda landed: self._intake.submit(offer, self._policy, landed))


class _Acks:
    """Acknowledges batches in their order while the next ones are being read.

    The disk's thread only marks what has landed; a thread of this call writes, so a sender that does not read its
    acknowledgements holds up nobody else. Without a spool rows are safe at once, and no thread is needed.
    """

    def __init__(self, writer: Any, intake: Intake) -> None:
        self.rows = 0
        self._writer = writer
        self._ledger = intake.ledger
        self._moved = threading.Condition()
        self._pending: deque[_Pending] = deque()
        self._size = 0
        self._failure: QueueFull | None = None
        self._finished = False
        self._thread: threading.Thread | None = None
        if intake.spool is not None:
            self._thread = threading.Thread(target=self._run, name="driftwarden-flight-ack", daemon=True)
            self._thread.start()

    def expect(self, offer: Offer, submit: Callable[[Landed], None]) -> None:
        """Submit a batch and acknowledge it once it has landed; raises what went wrong with an earlier one."""
        pending = _Pending(offer.rows, offer.size, time.perf_counter())
        with self._moved:
            self._moved.wait_for(lambda: self._room(pending.size) or self._failure is not None)
            if self._failure is not None:
                raise self._failure
            self._pending.append(pending)
            self._size += pending.size
        try:
            submit(lambda failure: self._landed(pending, failure))
        except Refused:
            with self._moved:
                self._pending.remove(pending)
                self._size -= pending.size
            raise
        if self._thread is None:
            self._acknowledge()

    def finish(self) -> None:
        """Wait until all that was submitted has landed and is acknowledged; raises what went wrong with it."""
        with self._moved:
            self._finished = True
            self._moved.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _room(self, size: int) -> bool:
        """Whether the window is open for so many bytes more."""
        return not self._pending or (len(self._pending) < WINDOW and self._size + size <= WINDOW_BYTES)

    def _landed(self, pending: _Pending, failure: QueueFull | None) -> None:
        """Mark a batch; the disk's thread must not be held up here."""
        with self._moved:
            pending.landed = failure is None
            self._failure = self._failure or failure
            self._moved.notify_all()

    def _run(self) -> None:
        """Acknowledge until all is done or something failed."""
        while True:
            with self._moved:
                self._moved.wait_for(self._ready)
                if not self._pending or not self._pending[0].landed:
                    return
            self._acknowledge()

    def _ready(self) -> bool:
        """Whether there is something to write, or nothing more to wait for."""
        if not self._pending:
            return self._finished
        return self._pending[0].landed or self._failure is not None

    def _acknowledge(self) -> None:
        """Write one message for the oldest batch."""
        with self._moved:
            pending = self._pending.popleft()
            self.rows += pending.rows
            self._size -= pending.size
            self._moved.notify_all()
        self._ledger.acknowledged(SOURCE, time.perf_counter() - pending.begun)
        with contextlib.suppress(pa.ArrowException, OSError):  # the sender hung up; its rows are safe all the same
            self._writer.write(pa.py_buffer(b'{"rows": %d}' % self.rows))


@dataclass(slots=True, eq=False)
class _Pending:
    """A batch between submission and acknowledgement."""

    rows: int
    size: int
    begun: float
    landed: bool = False


class _TokenFactory(fl.ServerMiddlewareFactory):  # type: ignore[misc] # pyarrow publishes no types
    """Refuses calls without the bearer token before they reach the server."""

    def __init__(self, token: str) -> None:
        super().__init__()
        self._token = token.encode()

    def start_call(self, info: Any, headers: Mapping[str, list[str]]) -> None:
        """Compare in constant time."""
        given = [value for name, values in headers.items() if name.lower() == "authorization" for value in values]
        scheme, _, token = (given[0] if given else "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            raise fl.FlightUnauthenticatedError(
                "the bearer token is missing or wrong; send authorization: Bearer TOKEN"
            )


def _certificates(settings: Flight) -> list[tuple[bytes, bytes]] | None:
    """Certificate and key, read at the start."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return [(settings.tls_cert.read_bytes(), settings.tls_key.read_bytes())]


def _names(descriptor: Any) -> tuple[str, str]:
    """Model and version of a descriptor."""
    names = [name.decode("utf-8", "replace") for name in descriptor.path or ()]
    if len(names) not in (1, 2):
        raise Malformed("the descriptor must be a path of one or two parts: [model] or [model, version]")
    return names[0], names[1] if len(names) == 2 else ""


def _received(reader: Any) -> Iterator[pa.RecordBatch]:
    """The batches of a call; what cannot be decoded ends it."""
    while True:
        try:
            chunk = reader.read_chunk()
        except StopIteration:
            return
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowSerializationError) as error:
            raise Malformed("the stream cannot be decoded; send unmodified Arrow batches") from error
        if chunk.data is not None:
            yield chunk.data


def _answer(refusal: Refused, rows: int) -> Exception:
    """A refusal in Flight's words."""
    document: dict[str, Any] = {"reason": refusal.reason, "rows": rows}
    if isinstance(refusal, QueueFull):
        document["retry_after"] = refusal.retry_after
        error: Exception = fl.FlightUnavailableError(str(refusal), extra_info=json.dumps(document).encode())
    else:
        error = fl.FlightServerError(str(refusal), extra_info=json.dumps(document).encode())
    return error
