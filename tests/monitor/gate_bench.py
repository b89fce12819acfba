"""Pages behind the gate that a configuration makes, for tests."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from monitor.web import csrf
from monitor.web.gate import gate, settings_of
from monitor.web.people import Person
from monitor.web.section import Web

HOME = "http://127.0.0.1:9711"
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


class Pages:
    """An application that keeps what reaches it, behind the gate that a configuration makes."""

    def __init__(self, folder: Path, **section: Any) -> None:
        (folder / "token").write_text("s3cret")
        (folder / "token-of-carl").write_text("carl's")
        context = {"base": folder, "secrets": True, "environ": {}}
        self.done: list[tuple[str, Any]] = []
        self.folder = folder
        self.web = Web.model_validate(section, context=context)
        routes = [
            Route("/", self._show),
            Route("/livez", self._show),
            Route("/act", self._act, methods=["POST", "PUT", "DELETE"]),
        ]
        self.app = gate(Starlette(routes=routes), settings_of(self.web, open_paths=frozenset({"/livez"})))

    async def _show(self, request: Request) -> Response:
        person: Person = request.state.person
        models = None if person.models is None else sorted(person.models)
        told = {"name": person.name, "models": models, "values": person.values, "act": person.act}
        return JSONResponse({**told, "token": csrf.csrf_token(request)})

    async def _act(self, request: Request) -> Response:
        body = await request.body()
        form = request.headers["content-type"] == FORM["content-type"]
        self.done.append((request.state.person.name, parse_qs(body.decode()) if form else json.loads(body or b"null")))
        return PlainTextResponse("done")

    def ask(self, method: str = "GET", path: str = "/", base: str = HOME, **how: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=how.pop("client", ("127.0.0.1", 1)))
            async with httpx.AsyncClient(transport=transport, base_url=base) as client:
                return await client.request(method, path, **how)

        return asyncio.run(send())

    def who(self, **headers: str) -> Any:
        return self.ask(headers=headers).json()

    def submit(self, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        return self.ask("POST", "/act", content=urlencode(fields), headers={**FORM, **(headers or {})})
