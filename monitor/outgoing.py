"""HTTP calls to others, one at a time: no redirects, no proxies, an end to the time of each, nothing kept open.

The time limit is for the whole call, handshake and all, however slowly its bytes drip: when it ends the socket is shut
down. Who calls says how an answer is read.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

from monitor.quantities import Address

T = TypeVar("T")
_DIGITS: Final = 9
"""Of a Retry-After in seconds: more would be a lie."""


class CallError(Exception):
    """A call that was not answered; ``reason`` is a closed label, ``retry_after`` the pause that was asked for."""

    def __init__(self, reason: str, text: str, retry_after: float = 0.0) -> None:
        """Say why, without anything from the answer's body."""
        super().__init__(text)
        self.reason, self.retry_after = reason, retry_after


class UntrustedError(CallError):
    """The endpoint is there, and its certificate cannot be verified."""

    def __init__(self, error: ssl.SSLCertVerificationError) -> None:
        """Say what OpenSSL has against it."""
        super().__init__("connection", f"its certificate cannot be verified: {error.verify_message}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where calls go; ``path`` is what the configuration says, with its query, "" for none."""

    address: Address
    secure: bool
    path: str


def endpoint(url: str, *, query: bool = False) -> Endpoint:
    """The endpoint of ``http://HOST:PORT/PATH`` or ``https://HOST``; `ValueError` with the fix, one problem a line."""
    try:
        parts = urllib.parse.urlsplit(url)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ValueError("cannot be read; write http://HOST:PORT or https://HOST") from None
    problems = []
    if not plain or parts.fragment or (parts.query and not query) or not url.isascii() or not url.isprintable():
        problems.append("must be http://HOST:PORT or https://HOST, with a path at most")
    if parts.username or parts.password:
        problems.append("holds a name or password; use token_file or token_env")
    if problems:
        raise ValueError("\n".join(problems))
    secure = parts.scheme == "https"
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return Endpoint(Address(parts.hostname or "", parts.port or (443 if secure else 80)), secure, path)


def exposed(where: Endpoint) -> bool:
    """Whether a secret that is sent there could be read on the way."""
    return not where.secure and not where.address.loopback


class Caller:
    """Calls one endpoint, with a new connection each time."""

    def __init__(self, where: Endpoint, timeout: float, context: ssl.SSLContext | None = None) -> None:
        """``timeout`` in seconds is that of a whole call; ``context`` replaces the system's trust in certificates."""
        self._where, self._timeout = where, timeout
        self._context = (context or ssl.create_default_context()) if where.secure else None

    def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        read: Callable[[http.client.HTTPResponse], T],
    ) -> T:
        """What ``read`` makes of the answer; `CallError` if there is none in time, or ``read`` raises it."""
        late = threading.Event()
        connection = self._connection()
        try:
            with self._opened(connection, late):
                connection.request(method, path, body, dict(headers))
                got = read(connection.getresponse())
        except (CallError, OSError, http.client.HTTPException, ValueError) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise self._too_late() from None
            if isinstance(error, CallError):
                raise
            if isinstance(error, ssl.SSLCertVerificationError):
                raise UntrustedError(error) from None
            raise CallError("connection", f"the endpoint cannot be asked: {type(error).__name__}") from None
        finally:
            connection.close()
        if late.is_set():  # cut off where the answer might as well have ended
            raise self._too_late()
        return got

    def _connection(self) -> http.client.HTTPConnection:
        address = self._where.address
        if self._context is None:
            return http.client.HTTPConnection(address.host, address.port)
        return http.client.HTTPSConnection(address.host, address.port, context=self._context)

    @contextlib.contextmanager
    def _opened(self, connection: http.client.HTTPConnection, late: threading.Event) -> Iterator[None]:
        """The connection with a socket that is shut down when the call's time is over."""
        end = time.perf_counter() + self._timeout
        address = self._where.address
        sock = socket.create_connection((address.host, address.port), self._timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            name = address.host
            sock = self._context.wrap_socket(sock, server_hostname=name, do_handshake_on_connect=False)
        connection.sock = sock
        alarm = threading.Timer(max(end - time.perf_counter(), 0.0), _cut, (sock, late))
        alarm.daemon = True
        alarm.start()
        try:
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            yield
        finally:
            alarm.cancel()

    def _too_late(self) -> CallError:
        return CallError("timeout", f"no whole answer within {self._timeout:g} s")


def retry_after(header: str | None, now: float) -> float:
    """Seconds that a Retry-After asks for, as a number or as a date; 0 where it asks for nothing that can be read."""
    text = (header or "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:_DIGITS])
    with contextlib.suppress(ValueError, OverflowError, TypeError):
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0)
    return 0.0


def _cut(sock: socket.socket, late: threading.Event) -> None:
    """The call's time is over; the socket below TLS is shut down, which ends any call on it at once."""
    late.set()
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
