"""What a connection may take before anybody has said a word: seconds until its request is there, bytes of its head.

uvicorn waits for ever for a first request and takes heads of any length: a few idle sockets would shut everybody out.
A client certificate that TLS has verified is handed on to the requests of its connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from monitor.web.keeper import CERTIFICATE
from monitor.web.tls import Certificate

HEAD_SECONDS = 10.0
"""A request line with its headers must have arrived by then."""
HEAD_BYTES = 64 << 10
"""Bytes of them, beyond the first piece that the socket gives."""
ANSWER_SECONDS = 60.0
"""What was written must have been read by then."""
SPARE = 32
"""Connections beyond the limit that are told so; more are ended at once."""


class Wire(HttpToolsProtocol):
    """One connection."""

    admits: ClassVar[Callable[[Certificate], bool] | None] = None
    """Whether a client certificate may pass; None: whatever TLS has let through."""
    _waiting: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _head = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait; end at once with those who are too many, or whose certificate is for others."""
        certificate = transport.get_extra_info("peercert") or {}
        self.app_state = {**self.app_state, CERTIFICATE: certificate}
        super().connection_made(transport)
        crowd = self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency + SPARE
        admits = type(self).admits
        if crowd or (admits is not None and not admits(certificate)):
            transport.abort()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        _stop(self._waiting)
        _stop(self._writing)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head for certain; what comes after an answer begins a new one in time."""
        inside = self._in_head
        super().data_received(data)
        if inside and self._in_head:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.transport.abort()
        elif self._waiting is None and not inside and self.cycle.response_complete:
            self._await_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head, self._in_head = 0, True
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._in_head = False
        _stop(self._waiting)
        self._waiting = None
        super().on_headers_complete()

    def pause_writing(self) -> None:
        """The other side does not read."""
        super().pause_writing()
        _stop(self._writing)
        self._writing = self.loop.call_later(ANSWER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        _stop(self._writing)
        self._writing = None
        super().resume_writing()

    def _await_head(self) -> None:
        _stop(self._waiting)
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> None:
    """End a timer that may run."""
    if timer is not None:
        timer.cancel()


def wire(admits: Callable[[Certificate], bool] | None) -> type[Any]:
    """The protocol of a server; ``admits`` says which client certificates may pass."""
    return type("Wire", (Wire,), {"admits": staticmethod(admits)}) if admits is not None else Wire
