"""The operator's routes: metrics, health and reload, in the words of Kubernetes and of Prometheus.

A scrape copies bytes that were written when the numbers were taken. Liveness says only that this loop turns: nothing
that a restart cannot mend may fail it. Health is open to everyone; the rest asks for the token if there is one.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from monitor.errors import DriftwardenError
from monitor.exposition import OPENMETRICS_TYPE, TEXT_TYPE, wants_openmetrics
from monitor.strict import Strict

BODY_BYTES = 8192
"""Largest body of an act."""
_LANDING = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Driftwarden</title></head><body>
<h1>Driftwarden {version}</h1>
<ul><li><a href="metrics">Metrics</a></li><li><a href="readyz">Readiness</a></li>
<li><a href="livez">Liveness</a></li></ul>
</body></html>
"""


class Scrape:
    """The last snapshot as bytes; replaced whole, so that a scrape never sees half of one."""

    def __init__(self) -> None:
        """Begin with an empty but valid exposition."""
        self._pair: tuple[bytes, bytes] = (b"", b"# EOF\n")

    def publish(self, text: bytes, openmetrics: bytes) -> None:
        """Put a new pair in place: one reference, swapped at once."""
        self._pair = (text, openmetrics)

    def read(self, accept: str) -> tuple[bytes, str]:
        """Body and content type for an Accept header."""
        text, openmetrics = self._pair
        return (openmetrics, OPENMETRICS_TYPE) if wants_openmetrics(accept) else (text, TEXT_TYPE)


class NewBaseline(Strict):
    """The body of a request for a new reference."""

    model: str = Field(min_length=1, max_length=64, description="whose reference is to be replaced")
    because: str = Field(min_length=3, max_length=500, description="why the traffic of now is the new normal")
    by: str = Field(default="operator", min_length=1, max_length=100, description="who says so")
    rows: int = Field(default=20_000, ge=1_000, le=10_000_000, description="rows of the new reference")


@dataclass(frozen=True, slots=True)
class Operations:
    """What the routes ask of the agent; callbacks may come from any thread and are quick, except ``reload``.

    ``ready`` gives None, or a sentence on what is still missing. ``reload`` raises `DriftwardenError` (a `ConfigError`
    with all faults, or what the reference or store say) when the old configuration stays.
    """

    scrape: Scrape
    ready: Callable[[], str | None]
    reload: Callable[[], None]
    rebaseline: Callable[[NewBaseline], None]
    version: str
    token: str | None = None


Handler = Callable[[Request], Awaitable[Response]]


def routes(operations: Operations) -> Sequence[Route]:
    """All routes of this file, to be put beside the ingest routes or into an application of their own."""
    guard = _Guard(operations.token)
    reload_lock = Lock()

    async def landing(_: Request) -> Response:
        return HTMLResponse(_LANDING.format(version=operations.version))

    async def metrics(request: Request) -> Response:
        body, media = operations.scrape.read(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": media})

    async def live(_: Request) -> Response:
        return PlainTextResponse("driftwarden is alive.\n")

    async def ready(_: Request) -> Response:
        missing = operations.ready()
        if missing is None:
            return PlainTextResponse("driftwarden is ready.\n")
        return PlainTextResponse(f"driftwarden is not ready: {missing}\n", status_code=503)

    async def reload(_: Request) -> Response:
        return await run_in_threadpool(_reload, operations.reload, reload_lock)

    async def rebaseline(request: Request) -> Response:
        return await run_in_threadpool(_rebaseline, operations.rebaseline, await _body(request))

    alive = [Route(path, live, methods=["GET"]) for path in ("/healthz", "/livez", "/-/healthy")]
    prepared = [Route(path, ready, methods=["GET"]) for path in ("/readyz", "/-/ready")]
    return [
        Route("/", guard.wrap(landing), methods=["GET"]),
        Route("/metrics", guard.wrap(metrics), methods=["GET"]),
        *alive,
        *prepared,
        Route("/-/reload", guard.wrap(reload), methods=["POST", "PUT"]),
        Route("/-/rebaseline", guard.wrap(rebaseline), methods=["POST"]),
    ]


async def _body(request: Request) -> bytes:
    """The first bytes of a body; what is longer than any good one is cut, and then is no JSON."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            break
    return body


def _rebaseline(ask: Callable[[NewBaseline], None], body: bytes) -> Response:
    try:
        wanted = NewBaseline.model_validate_json(body)
        ask(wanted)
    except ValidationError as error:
        faults = "\n".join(
            f"{'.'.join(str(at) for at in one['loc']) or 'body'}: {one['msg']}" for one in error.errors()
        )
        return PlainTextResponse(f"The reference stays as it is. Faults:\n{faults}\n", status_code=400)
    except DriftwardenError as error:
        return PlainTextResponse(f"The reference stays as it is. Faults:\n{error}\n", status_code=400)
    return PlainTextResponse(
        f"The next {wanted.rows} rows of {wanted.model} become its reference; the old one judges until then.\n",
        status_code=202,
    )


def _reload(reload: Callable[[], None], lock: Lock) -> Response:
    """Reload, one at a time; a fault is the operator's to mend, so it is told in full."""
    with lock:
        try:
            reload()
        except DriftwardenError as error:
            return PlainTextResponse(f"The old configuration stays. Faults in the new one:\n{error}\n", status_code=400)
    return PlainTextResponse("The configuration was reloaded.\n")


class _Guard:
    """Asks for the bearer token, comparing in constant time."""

    def __init__(self, token: str | None) -> None:
        self._expected = token.encode() if token is not None else None

    def wrap(self, handler: Handler) -> Handler:
        """The handler behind the question."""

        async def guarded(request: Request) -> Response:
            if self._expected is not None and not self._right(request.headers.get("authorization", "")):
                text = "This address asks for a bearer token: send the header Authorization: Bearer TOKEN.\n"
                return PlainTextResponse(text, status_code=401, headers={"www-authenticate": "Bearer"})
            return await handler(request)

        return guarded

    def _right(self, header: str) -> bool:
        """Whether an Authorization header carries the token; the scheme's name is not case-sensitive."""
        scheme, _, given = header.partition(" ")
        same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._expected or b"")
        return same and scheme.lower() == "bearer"
