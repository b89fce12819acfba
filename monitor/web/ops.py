"""The operator's routes: metrics, health and reload, in the words of Kubernetes and of Prometheus.

A scrape copies bytes that were written when the numbers were taken. Liveness says only that this loop turns: nothing
that a restart cannot mend may fail it. Health is open to everyone; the rest stands behind the gate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from monitor.errors import DriftwardenError
from monitor.exposition import OPENMETRICS_TYPE, TEXT_TYPE, wants_openmetrics
from monitor.web import gate
from monitor.web.gate import Gate
from monitor.web.hosts import Hosts
from monitor.web.keeper import Keeper
from monitor.web.standing import WebConfigFile

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


@dataclass(frozen=True, slots=True)
class Operations:
    """What the routes ask of the agent; callbacks may come from any thread and are quick, except ``reload``.

    ``ready`` gives None, or a sentence on what is still missing. ``reload`` raises `DriftwardenError` (a `ConfigError`
    with all faults, or what the reference or store say) when the old configuration stays.
    """

    scrape: Scrape
    ready: Callable[[], str | None]
    reload: Callable[[], None]
    version: str
    token: str | None = None
    file: WebConfigFile | None = None
    hosts: Hosts = field(default_factory=Hosts)


def routes(operations: Operations) -> Sequence[Route]:
    """All routes of this file, to be put beside the ingest routes or into an application of their own."""
    keeper = Keeper(operations.token, operations.file)
    guard = [Middleware(Gate, gate.Settings(keeper, operations.hosts, pages=False, body_bytes=BODY_BYTES))]
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

    alive = [Route(path, live, methods=["GET"]) for path in ("/healthz", "/livez", "/-/healthy")]
    prepared = [Route(path, ready, methods=["GET"]) for path in ("/readyz", "/-/ready")]
    return [
        Route("/", landing, methods=["GET"], middleware=guard),
        Route("/metrics", metrics, methods=["GET"], middleware=guard),
        *alive,
        *prepared,
        Route("/-/reload", reload, methods=["POST", "PUT"], middleware=guard),
    ]


def _reload(reload: Callable[[], None], lock: Lock) -> Response:
    """Reload, one at a time; a fault is the operator's to mend, so it is told in full."""
    with lock:
        try:
            reload()
        except DriftwardenError as error:
            return PlainTextResponse(f"The old configuration stays. Faults in the new one:\n{error}\n", status_code=400)
    return PlainTextResponse("The configuration was reloaded.\n")
