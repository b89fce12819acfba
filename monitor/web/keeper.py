"""Who knocks: a token, a password or a client certificate, and the person that it stands for.

Where nothing is asked for, everybody is `ANONYMOUS`. Somebody who guesses waits ever longer; those who were let in
before from the same address are not held up by that, so that an attack behind a proxy shuts nobody out.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers

from monitor import log
from monitor.errors import ConfigError
from monitor.web.guesses import Bucket, Guesses
from monitor.web.passwords import Busy, Passwords
from monitor.web.people import ANONYMOUS, SHARED, TOKEN, Person
from monitor.web.section import Rights
from monitor.web.standing import WebConfigFile
from monitor.web.tls import common_name
from monitor.web.webconfig import RateLimit, WebConfig

REMEMBERED = 1000
QUIET_SECONDS = 60.0
"""Between two lines in the log about guesses."""
CERTIFICATE = "driftwarden.certificate"
"""Where the state of a request keeps the client certificate of its connection."""
CHALLENGES = ('Basic realm="Driftwarden", charset="UTF-8"', "Bearer")
"""In headers of their own: browsers read only the first of a list."""
CERTIFIED = "certificate"
"""Who comes with a good client certificate that names nobody."""


class Denied(Exception):  # noqa: N818 - a verdict
    """Nobody that may come in: 401 who are you, 403 not you, 429 not so fast."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        """Keep what is answered."""
        super().__init__(message)
        self.status = status
        self.headers = headers


@dataclass(frozen=True, slots=True)
class _Shown:
    """What an Authorization header shows."""

    user: str
    secret: str


class Keeper:
    """Knows people by what they show; used by one event loop."""

    def __init__(
        self,
        token: str | None = None,
        file: WebConfigFile | None = None,
        people: Sequence[Rights] = (),
        *,
        show_values: bool = False,
        anonymous_acts: bool = True,
    ) -> None:
        """Without a token or a file that authenticates everybody is let in; `ConfigError` for a token of two."""
        self.file = file
        self._limit: tuple[int, float] = (0, 0.0)
        self._bucket: Bucket | None = None
        self._tokens = {one.name: one.token.encode() for one in people if one.token}
        self._tokens |= {TOKEN: token.encode()} if token else {}
        if len(set(self._tokens.values())) < len(self._tokens):
            raise ConfigError(["web.people: two bring the same token; give each one of their own"])
        self._people = {one.name: one.person for one in people}
        self._show_values, self._anonymous_acts = show_values, anonymous_acts
        self._passwords, self._guesses = Passwords(), Guesses()
        self._log, self._quiet = log.get("web"), 0.0
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def know(self, scope: Any, headers: Headers) -> Person:
        """The person behind a request, or `Denied`."""
        config = self.file.current if self.file is not None else None
        self._slow_down(config)
        users = config.basic_auth_users if config is not None else {}
        if not self._tokens and not users:
            demanded = config is not None and config.tls_server_config.demands
            return self._person(self._certified(scope) if demanded else ANONYMOUS)
        given = headers.getlist("authorization")
        shown = _read(given[0]) if len(given) == 1 else None
        if shown is None:
            raise self._who()
        address = str((scope.get("client") or ("",))[0])
        digest = hmac.digest(self._key, repr((address, given[0])).encode(), "sha256")
        return await self._let_in(shown, users, address, digest)

    def _slow_down(self, config: WebConfig | None) -> None:
        """``rate_limit`` of the file, over all requests."""
        limit = config.rate_limit if config is not None else RateLimit()
        wanted = (limit.burst, limit.interval) if limit.interval else (0, 0.0)
        now = time.monotonic()
        if wanted != self._limit:
            self._limit, self._bucket = wanted, Bucket(*wanted, now) if wanted[0] else None
        if self._bucket is not None and self._bucket.take(now):
            raise Denied(429, "Too many requests (rate_limit).", ("retry-after", "1"))

    async def _let_in(self, shown: _Shown, users: Any, address: str, digest: bytes) -> Person:
        """Check an answer, unless too many wrong ones came from there."""
        known = digest in self._known
        wait = 0.0 if known else self._guesses.take(address)
        if wait:
            self._tell(address)
            seconds = str(math.ceil(wait))
            raise Denied(429, "Too many wrong answers from your address; wait.", ("retry-after", seconds))
        name = self._by_token(shown) or await self._by_password(shown, users, address)
        if not name:
            self._known.pop(digest, None)
            raise self._who()
        if not known:
            self._guesses.right(address)
            self._known[digest] = None
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._person(name)

    def _tell(self, address: str) -> None:
        """Log that somebody guesses, now and then."""
        now = time.monotonic()
        if now >= self._quiet:
            self._quiet = now + QUIET_SECONDS
            self._log.warning("too many wrong answers at the gate, the address has to wait", address=address)

    def _by_token(self, shown: _Shown) -> str:
        """Whose token it is; all are compared, so that time tells nothing."""
        given = shown.secret.encode("utf-8", "surrogatepass")
        fits = [name for name, token in self._tokens.items() if hmac.compare_digest(given, token)]
        return fits[0] if fits else ""

    async def _by_password(self, shown: _Shown, users: Any, address: str) -> str:
        if not users or not shown.user:
            return ""
        if self._passwords.remembers(users, shown.user, shown.secret):
            return shown.user
        try:
            return shown.user if await self._passwords.right(users, shown.user, shown.secret) else ""
        except Busy:
            self._guesses.right(address)  # nothing was looked at
            raise Denied(429, "Too many log in at the same moment; try again.", ("retry-after", "2")) from None

    def _certified(self, scope: Any) -> str:
        """The name in the client certificate, which TLS has verified."""
        name = common_name(scope.get("state", {}).get(CERTIFICATE) or {})
        return name if name and name not in SHARED else CERTIFIED

    def _person(self, name: str) -> Person:
        """What they may; those who are not listed may nothing once anybody is."""
        if name in self._people:
            return self._people[name]
        if self._people and name != ANONYMOUS:
            raise Denied(403, "You are known, but not listed under web.people in the configuration.")
        return Person(name, None, self._show_values, self._anonymous_acts or name != ANONYMOUS)

    def _who(self) -> Denied:
        text = "Say who you are: Authorization: Bearer TOKEN, or a user with a password, or any user with the token."
        return Denied(401, text, *(("www-authenticate", one) for one in CHALLENGES))


def _read(header: str) -> _Shown | None:
    """Bearer and Basic; the scheme's name is not case-sensitive."""
    scheme, _, rest = header.partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and rest:
        return _Shown("", rest.encode("latin-1").decode("utf-8", "replace"))
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(rest, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    user, colon, secret = text.partition(":")
    return _Shown(user, secret) if colon and secret else None
