"""Rows over HTTP: ``POST /v1/ingest/{model}`` with an Arrow IPC stream or JSON, and the server that answers.

An answer promises exactly what it says: with a spool, 202 means the rows are on disk. Bodies are read against a hard
limit each and a budget for all of them together, so that neither a claim nor a crowd can take the memory.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.envelope import ARROW, NDJSON, Limits, count_rows
from monitor.errors import DriftwardenError, Malformed, QueueFull, Refused, TooLarge, Unauthorised
from monitor.intake import RETRY_SECONDS, Intake, Policy
from monitor.offer import Offer
from monitor.web.hosts import Hosts, Strange
from monitor.web.keeper import Denied, Keeper
from monitor.web.standing import WebConfigFile

SOURCE: Final = "http"
MEDIA_TYPES: Final = {
    "application/vnd.apache.arrow.stream": ARROW,
    "application/x-ndjson": NDJSON,
    "application/ndjson": NDJSON,
    "application/jsonl": NDJSON,
}
"""Content types whose body goes to the queue as it is; ``application/json`` is rewritten to lines first."""
JSON: Final = "application/json"
JSON_BYTES: Final = 1 << 20
"""A JSON document must be parsed before it can be counted, on the thread that answers everybody: keep it small."""
BODY_SECONDS: Final = 30.0
"""A body must have arrived whole by then."""
SWITCH_SECONDS: Final = 0.0002
"""How long a busy thread may keep the answering one waiting for the interpreter; Python's default of 5 ms is paid at
each of the half dozen system calls of a request, and would break the promise of 10 ms by itself."""
KEEP_ALIVE_SECONDS: Final = 75
CONNECTIONS: Final = 768
"""Connections at a time, below the usual limit of 1,024 open files."""
BACKLOG: Final = 2048

_HINTS: Final = {
    "malformed": "send an Arrow IPC stream, or one JSON object a line",
    "unknown_model": "use a name that stands under models: in the configuration",
    "too_large": "send fewer rows a request, or raise the limit in the configuration",
    "unauthorised": "send the header Authorization: Bearer TOKEN with the token of this listener, or user and password",
    "queue_full": "send the same rows again after the seconds in Retry-After",
    "draining": "send the same rows again after the seconds in Retry-After",
    "spool": "send the same rows again after the seconds in Retry-After",
    "media_type": "use Content-Type application/vnd.apache.arrow.stream or application/x-ndjson, uncompressed",
    "timeout": "send the whole body at once",
}


class MediaType(Refused):
    """A content type or encoding that is not read."""

    reason = "media_type"
    status = 415


class TooSlow(Refused):
    """The body did not arrive in time."""

    reason = "timeout"
    status = 408


class NotAdmitted(Unauthorised):
    """Turned away at the door: by what was shown, by how often, or by the page that it came from."""

    def __init__(self, message: str, status: int, *headers: tuple[str, str]) -> None:
        """Keep what the gate answers."""
        super().__init__(message)
        self.status, self.headers = status, headers


@dataclass(frozen=True, slots=True)
class Settings:
    """What the routes need to know; ``retry_after`` is in seconds, ``file`` the web configuration of the server."""

    token: str | None = None
    limits: Limits = field(default_factory=Limits)
    policy: Policy = "reject"
    retry_after: float = RETRY_SECONDS
    file: WebConfigFile | None = None
    hosts: Hosts = field(default_factory=Hosts)


def routes(intake: Intake, settings: Settings | None = None) -> list[Route]:
    """The routes of the source, to be served by any Starlette application."""
    door = _Door(intake, settings or Settings())
    return [Route("/v1/ingest/{model}", door.ingest, methods=["POST"])]


class Server:
    """An ASGI application on a thread of its own."""

    def __init__(
        self, app: Any, host: str, port: int, file: WebConfigFile | None = None, connections: int = CONNECTIONS
    ) -> None:
        """Prepare to serve ``app``; port 0 takes a free one, `port` says which after `start`; ``file`` brings TLS."""
        self.host = host
        self.port = port
        self._app = app
        self._file = file
        self._connections = connections
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Return when the server answers; raises `DriftwardenError` when the address cannot be bound."""
        try:
            listener = _listen(self.host, self.port)
        except OSError as error:
            message = f"listen: {self.host}:{self.port} cannot be bound: {error.strerror}; use a free address"
            raise DriftwardenError(message) from error
        self.port = listener.getsockname()[1]
        self._server = uvicorn.Server(self._config())
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_SECONDS))
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="driftwarden-http", daemon=True
        )
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise DriftwardenError(f"listen: the HTTP server on {self.host}:{self.port} did not start; see the log")
            time.sleep(0.005)

    def _config(self) -> uvicorn.Config:
        from monitor.web.wire import wire

        config = uvicorn.Config(
            self._app,
            http=wire(self._file.admits if self._file is not None else None),
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            limit_concurrency=self._connections,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=5,
        )
        if self._file is not None:
            config.load()
            config.ssl = self._file.tls
        return config

    def stop(self) -> None:
        """Finish the requests that run, close the rest."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._server = self._thread = None


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket that says it speaks TCP: asyncio turns Nagle's delay of 40 ms off for no other."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class _Door:
    """Answers requests; everything it holds is bounded."""

    def __init__(self, intake: Intake, settings: Settings) -> None:
        self._intake = intake
        self._settings = settings
        self._keeper = Keeper(settings.token, settings.file)
        self._budget = 2 * settings.limits.body_bytes
        self._held = 0

    async def ingest(self, request: Request) -> Response:
        """Take one request in and answer it."""
        begun = time.perf_counter()
        model = request.path_params["model"]
        try:
            rows = await self._take(request, model)
        except ClientDisconnect:  # nobody is left to be answered, nothing was accepted
            return Response(status_code=400)
        except Refused as refusal:
            self._intake.refuse(SOURCE, model, refusal)
            return self._refusal(refusal)
        self._intake.ledger.acknowledged(SOURCE, time.perf_counter() - begun)
        return Response(b'{"accepted_rows":%d}' % rows, 202, media_type=JSON)

    async def _take(self, request: Request, model: str) -> int:
        """Check, read, count, hand over; raises `Refused`."""
        settings = self._settings
        await self._authorise(request)
        self._intake.check(model)
        media = _media_type(request)
        most = min(settings.limits.body_bytes, JSON_BYTES) if media == JSON else settings.limits.body_bytes
        claimed = _claim(request, most)
        if self._held + claimed > self._budget:
            raise QueueFull("too many bodies are being sent at the same moment; send again later", settings.retry_after)
        held = _Held(self, most)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await held.read(request)
            if media == JSON:
                body = _as_lines(body)
            form = MEDIA_TYPES.get(media, NDJSON)
            rows = count_rows(form, body, settings.limits)
            version = request.query_params.get("version") or request.headers.get("x-driftwarden-version", "")
            await self._intake.accept_async(Offer(SOURCE, model, form, body, rows, len(body), version), settings.policy)
        except TimeoutError as error:
            raise TooSlow(f"the body did not arrive within {BODY_SECONDS:g} seconds; send it at once") from error
        finally:
            held.release()
        return rows

    async def _authorise(self, request: Request) -> None:
        """Who sends, and under which name the agent was called."""
        try:
            self._settings.hosts.check(request.scope, request.headers)
            await self._keeper.know(request.scope, request.headers)
        except Denied as error:
            raise NotAdmitted(str(error), error.status, *error.headers) from error
        except Strange as error:
            raise NotAdmitted(str(error), error.status) from error

    def _refusal(self, refusal: Refused) -> Response:
        """The answer to a refused request."""
        document = {"error": str(refusal), "reason": refusal.reason, "hint": _HINTS[refusal.reason]}
        answer = Response(json.dumps(document), refusal.status, media_type=JSON)
        if isinstance(refusal, QueueFull):
            answer.headers["retry-after"] = str(math.ceil(refusal.retry_after))
        for name, value in refusal.headers if isinstance(refusal, NotAdmitted) else ():
            answer.headers.append(name, value)
        return answer

    def hold(self, size: int) -> None:
        """Charge the budget of all bodies together."""
        if self._held + size > self._budget:
            raise QueueFull(
                "too many bodies are being sent at the same moment; send again later", self._settings.retry_after
            )
        self._held += size

    def free(self, size: int) -> None:
        """Give bytes of the budget back."""
        self._held -= size


class _Held:
    """The bytes of one body while it is being read."""

    def __init__(self, door: _Door, most: int) -> None:
        self._door = door
        self._most = most
        self._bytes = 0

    async def read(self, request: Request) -> bytes:
        """The body, whole; raises `TooLarge` at the first byte beyond the limit."""
        chunks = []
        async for chunk in request.stream():
            self._door.hold(len(chunk))
            self._bytes += len(chunk)
            if self._bytes > self._most:
                raise TooLarge(f"the body is larger than {self._most} bytes (limits.body_bytes); send fewer rows")
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def release(self) -> None:
        """The body is the queue's now, or nobody's."""
        self._door.free(self._bytes)


def _media_type(request: Request) -> str:
    """The content type, if it is one that is read."""
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise MediaType(f"Content-Encoding {encoding[:32]!r} is not read; compress inside of Arrow, or not at all")
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != JSON and media not in MEDIA_TYPES:
        raise MediaType(f"Content-Type {media[:64]!r} is not read; say application/vnd.apache.arrow.stream")
    return media


def _claim(request: Request, most: int) -> int:
    """The announced length, checked before a byte is read; 0 where none is announced."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal():
        raise Malformed("Content-Length is not a number")
    claimed = int(announced[:20])
    if claimed > most:
        raise TooLarge(f"Content-Length is {claimed}, the limit is {most} (limits.body_bytes); send fewer rows")
    return claimed


def _as_lines(body: bytes) -> bytes:
    """One JSON object, or an array of them, as lines."""
    try:
        document = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Malformed("the body is not a JSON document in UTF-8; send an object or an array of objects") from error
    rows = document if isinstance(document, list) else [document]
    if not all(isinstance(row, dict) for row in rows):
        raise Malformed("the array holds something that is not an object; send an array of objects")
    return "\n".join(map(json.dumps, rows)).encode()
