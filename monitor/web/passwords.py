"""Passwords against bcrypt hashes, off the loop and one at a time; what was right once is remembered.

A hash of cost 10 takes some 70 ms of a core, which a scraper must not cost at every scrape. Only good answers are kept,
as a keyed digest of user, hash and password, so that a changed hash is asked again and no password lies in memory.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from pydantic import SecretStr

REMEMBERED = 100
WAITING = 8
"""Checks that may run or wait for their turn; more are turned away."""
_BYTES = 72
"""bcrypt reads no more of a password; what is longer is cut as Go and htpasswd cut it."""


class Busy(Exception):  # noqa: N818 - not an error of ours
    """Too many checks wait already."""


class Passwords:
    """Remembers good answers between requests; used by one event loop."""

    def __init__(self) -> None:
        """Remember nothing."""
        self._key = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._turn: CapacityLimiter | None = None
        self._waiting = 0

    def remembers(self, users: Mapping[str, SecretStr], user: str, password: str) -> bool:
        """Whether this very answer was right before, and the hash is still the same."""
        digest = self._digest(users, user, password)
        if user not in users or digest not in self._good:
            return False
        self._good.move_to_end(digest)
        return True

    async def right(self, users: Mapping[str, SecretStr], user: str, password: str) -> bool:
        """Whether it is the user's password; an unknown user takes as long as a known one. ``users`` is not empty."""
        if self._waiting >= WAITING:
            raise Busy
        known = users.get(user, next(iter(users.values()))).get_secret_value()
        self._turn = self._turn or CapacityLimiter(1)
        self._waiting += 1
        try:
            fits = await run_sync(partial(_fits, known, password), limiter=self._turn)
        finally:
            self._waiting -= 1
        if not fits or user not in users:
            return False
        self._good[self._digest(users, user, password)] = None
        if len(self._good) > REMEMBERED:
            self._good.popitem(last=False)
        return True

    def _digest(self, users: Mapping[str, SecretStr], user: str, password: str) -> bytes:
        known = users[user].get_secret_value() if user in users else ""
        return hmac.digest(self._key, repr((known, user, password)).encode(), "sha256")


def _fits(known: str, password: str) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password.encode("utf-8", "surrogatepass")[:_BYTES], known.encode())
    except ValueError:  # a password that bcrypt cannot take is not the right one
        return False
