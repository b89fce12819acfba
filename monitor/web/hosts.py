"""Under which names a listener may be called, and which pages may call it: defence against rebinding and forgery.

A page of an attacker can make a browser send requests here, with the reader's credentials and from the reader's own
machine. What the browser says about it cannot be forged by the page: the Host it believes to speak to, the Origin of
the page, and the Sec-Fetch headers. Programs send none of the last two and pass.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from monitor.listeners import HttpListener
from monitor.quantities import Address
from monitor.web.section import Web

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""
_PLACE = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")


class Strange(Exception):  # noqa: N818 - a verdict
    """A request that no honest page sends; ``status`` and the sentence are for whoever runs the agent."""

    def __init__(self, status: int, message: str) -> None:
        """Keep what is answered."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Hosts:
    """``names`` None lets every name pass; ``origins`` are outside addresses of the pages."""

    names: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, listener: HttpListener, bound: Address) -> Hosts:
        """What a listener is called that is bound to an address.

        The pages are strict everywhere. Metrics and rows are called by all sorts of names within a cluster: there it is
        strict on loopback, where a browser is the only one who comes under a false name, and where names are given.
        """
        names = {name.lower().rstrip(".") for name in listener.hosts if name}
        if isinstance(listener, Web):
            outside = urlsplit(listener.url or "")
            names |= {bound.host.lower(), outside.hostname or bound.host.lower()}
            return cls(frozenset(names | LOOPBACK), frozenset({listener.url} if listener.url else ()))
        return cls(frozenset(names | LOOPBACK) if names or bound.loopback else None)

    def check(self, scope: Any, headers: Headers) -> None:
        """Raise `Strange` for a Host that is not ours, and for what another site's page sends."""
        given = headers.getlist("host")
        if self.names is not None and (len(given) != 1 or not self._ours(_host(given[0]), scope)):
            fix = "use its own address, or add the name under hosts in the configuration"
            raise Strange(421, f"This agent is not called by that Host; {fix}.")
        site = headers.get("sec-fetch-site", "none")
        if site not in {"none", "same-origin"} and not _link(scope, headers):
            raise Strange(403, "A page of another site may not do this; open the agent's own pages.")
        origin = headers.get("origin")
        if origin is not None and not self._own_page(origin, given, scope):
            fix = "behind a proxy, say the outside address under web.url"
            raise Strange(403, f"A page of another origin may not do this; {fix}.")

    def _ours(self, host: str, scope: Any) -> bool:
        """A name that was given, or the very address that the connection came to, which no name can stand for."""
        server = scope.get("server")
        return host in (self.names or ()) or (server is not None and host == _address(str(server[0])))

    def _own_page(self, origin: str, hosts: list[str], scope: Any) -> bool:
        """Whether a page has our own origin."""
        if origin in self.origins:
            return True
        scheme, _, place = origin.partition("://")
        port = {"http": 80, "https": 443}.get(scheme)
        if port is None or len(hosts) != 1 or not _host(place):
            return False
        same = _place(place, port) == _place(hosts[0], port)
        return same and not (scope.get("scheme") == "https" and scheme == "http")


def _link(scope: Any, headers: Headers) -> bool:
    """Whether somebody followed a link to a page: from an alert, that is how they come."""
    whole = headers.get("sec-fetch-dest", "document") == "document"
    return scope["method"] in SAFE and whole and headers.get("sec-fetch-mode") == "navigate"


def _host(given: str) -> str:
    """The host of a Host header without its port."""
    return _place(given, 0)[0]


@lru_cache(256)
def _place(given: str, port: int) -> tuple[str, int]:
    """Host and port, the port of the scheme where none is said; an empty host where it is no place."""
    found = _PLACE.fullmatch(given.strip().lower())
    if found is None:
        return "", port
    host, told = found.groups()
    return _address(host.strip("[]").removesuffix(".")), int(told) if told else port


@lru_cache(256)
def _address(host: str) -> str:
    """An IP address in its one form; a name as it is."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host
