"""All HTTP servers of an agent: one for each address, whatever is served there."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence

from starlette.applications import Starlette
from starlette.routing import Route

from monitor.listeners import HttpListener
from monitor.quantities import Address
from monitor.sources.http import CONNECTIONS, Server
from monitor.web.gate import file_of, gate, settings_of
from monitor.web.hosts import Hosts
from monitor.web.section import Web
from monitor.web.standing import WebConfigFile

READERS = 128
"""Connections of the pages at a time."""


class Doors:
    """Gathers what is served where, then opens it."""

    def __init__(self) -> None:
        """Nothing is served yet."""
        self._routes: dict[Address, list[Route]] = {}
        self._files: dict[Address, WebConfigFile | None] = {}
        self._servers: dict[Address, Server] = {}

    def of(self, listener: HttpListener, bound: Address) -> tuple[WebConfigFile | None, Hosts]:
        """The web configuration and the names of an address, for the settings of the routes that are served there."""
        if bound not in self._files:
            self._files[bound] = file_of(listener, bound)
        return self._files[bound], Hosts.of(listener, bound)

    def serve(self, bound: Address, routes: Sequence[Route]) -> None:
        """Add routes that look at who asks by themselves; those of one address share a server."""
        self._routes.setdefault(bound, []).extend(routes)

    def pages(self, web: Web, routes: Sequence[Route]) -> None:
        """Serve the pages behind their gate, on a server of their own."""
        settings = settings_of(web)
        app = gate(Starlette(routes=routes), settings)
        self._files[web.listen] = settings.keeper.file
        self._servers[web.listen] = Server(app, web.listen.host, web.listen.port, settings.keeper.file, READERS)

    def sound(self) -> dict[str, bool]:
        """Address -> whether its web.config.yml could be read when it last changed; only those that have one."""
        return {str(bound): file.sound for bound, file in self._files.items() if file is not None}

    def open(self, servers: MutableMapping[str, Server]) -> None:
        """Start every server; those that run are in ``servers`` even if another cannot."""
        for bound, routes in self._routes.items():
            app = Starlette(routes=routes)
            self._servers[bound] = Server(app, bound.host, bound.port, self._files.get(bound), CONNECTIONS)
        for bound, server in self._servers.items():
            server.start()
            servers[str(bound)] = server
