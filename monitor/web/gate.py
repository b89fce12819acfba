"""The gate before the pages and the metrics: what passes it has a `Person`, comes from our own page, and is small.

In this order: the Host that is called, the page that calls, how often, who it is, whether they may act, and what they
send. Every answer, refusals too, leaves with headers that forbid browsers all that the pages do not need.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.listeners import HttpListener
from monitor.quantities import Address
from monitor.web import csrf
from monitor.web.hosts import SAFE, Hosts, Strange
from monitor.web.keeper import Denied, Keeper
from monitor.web.people import ANONYMOUS, Person
from monitor.web.section import Web
from monitor.web.standing import WebConfigFile

BODY_BYTES = 256 << 10
"""Largest body of an act: a quarantine may name many senders."""
BODY_SECONDS = 10.0
"""It must have arrived whole by then."""
FIELDS = 10_000
JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
NOBODY = Person(ANONYMOUS, frozenset())
"""Who asks where nothing is shown that belongs to anybody."""
HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # nothing to others; with no-referrer our own forms would come from "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""What every answer carries; a route may say otherwise about its cache alone."""


@dataclass(frozen=True, slots=True)
class Settings:
    """``open`` paths need no credentials and show nothing; ``pages`` are called by browsers, so forms bring tokens."""

    keeper: Keeper = field(default_factory=Keeper)
    hosts: Hosts = field(default_factory=Hosts)
    open: frozenset[str] = frozenset()
    pages: bool = True
    body_bytes: int = BODY_BYTES


def settings_of(web: Web, *, open_paths: frozenset[str] = frozenset()) -> Settings:
    """The gate of the pages as the configuration wants it."""
    file = file_of(web, web.listen)
    acts = web.listen.loopback
    keeper = Keeper(web.token, file, web.people, show_values=web.show_values, anonymous_acts=acts)
    return Settings(keeper, Hosts.of(web, web.listen), open_paths)


def file_of(listener: HttpListener, bound: Address) -> WebConfigFile | None:
    """The listener's ``web.config.yml``, if it has one: one object for its gate and its server."""
    if listener.config_file is None:
        return None
    return WebConfigFile(listener.config_file, demand=not bound.loopback and not listener.opened)


class Gate:
    """Lets requests through to an application, or answers itself."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        """Stand before ``app``."""
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":  # web sockets are not spoken here
            return
        dress = _Dress(send, self._settings.keeper.file)
        headers = Headers(scope=scope)
        try:
            receive = await self._pass(scope, headers, receive)
        except (Strange, Denied) as refusal:
            await _answer(refusal)(scope, receive, dress)
            return
        except _Gone:
            return
        await self._app(scope, receive, dress)

    async def _pass(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        """All questions in their order; what the application may read, or a refusal."""
        state = scope.setdefault("state", {})
        state["person"] = NOBODY
        if scope["path"] in self._settings.open:
            return receive
        self._settings.hosts.check(scope, headers)
        person = state["person"] = await self._settings.keeper.know(scope, headers)
        if scope["method"] in SAFE:
            return receive
        if not person.act:
            raise Denied(403, "You may look, but not act; ask for `act` under web.people in the configuration.")
        body = await self._body(headers, receive)
        if self._settings.pages:
            _check_meant(person, headers, body)
        return _again(body, receive)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body, or a refusal at the first byte too many."""
        most = self._settings.body_bytes
        announced = headers.get("content-length", "0")
        if not announced.isascii() or not announced.isdigit() or int(announced[:20]) > most:
            raise Strange(413, f"The body may have {most} bytes.")
        body = b""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > most:
                        raise Strange(413, f"The body may have {most} bytes.")
        except TimeoutError:
            raise Strange(408, f"The body did not arrive within {BODY_SECONDS:g} seconds.") from None
        return body


class _Gone(Exception):  # noqa: N818 - nothing went wrong
    """Whoever asked has left."""


def gate(app: ASGIApp, settings: Settings) -> ASGIApp:
    """``app`` behind a gate."""
    return Gate(app, settings)


def _check_meant(person: Person, headers: Headers, body: bytes) -> None:
    """A form must be one that we wrote for this person; JSON no form of another site can send."""
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == JSON:
        return
    if media != FORM:
        raise Strange(415, f"Send {JSON}, or one of the forms of the pages.")
    try:
        form = parse_qs(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS)
    except ValueError:
        raise Strange(400, "The form cannot be read.") from None
    tokens = form.get(csrf.FIELD, [])
    if len(tokens) != 1 or not csrf.genuine(person, tokens[0]):
        raise Strange(403, "This page is too old, or was not written for you; open it again and repeat what you did.")


def _again(body: bytes, receive: Receive) -> Receive:
    """Give the application the body that was read, then what comes after it."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


def _answer(refusal: Strange | Denied) -> Response:
    answer = PlainTextResponse(f"{refusal}\n", refusal.status)
    for name, value in refusal.headers if isinstance(refusal, Denied) else ():
        answer.headers.append(name, value)
    if refusal.status in {408, 413}:
        answer.headers["connection"] = "close"  # the rest of the body is not read
    return answer


class _Dress:
    """Puts the headers on an answer."""

    def __init__(self, send: Send, file: WebConfigFile | None) -> None:
        self._send, self._file = send, file

    async def __call__(self, message: Message) -> None:
        """One message of the answer."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                if name != "cache-control":
                    headers[name] = value
                else:
                    headers.setdefault(name, value)
            for name, value in (self._file.current.http_server_config.headers if self._file else {}).items():
                headers[name] = value
        await self._send(message)
