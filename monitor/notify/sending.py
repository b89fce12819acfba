"""One receiver's line: a POST, what its answer means, and how long to wait before the next.

Only the status and Retry-After of an answer are read: what a receiver says in its body is nobody's business, and one
that drips or breaks off after it has said yes has said yes.
"""

from __future__ import annotations

import base64
import enum
import http.client
import random
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from monitor.clock import Clock
from monitor.notify.section import Receiver
from monitor.outgoing import Caller, CallError, retry_after

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds before the second attempt and, after several, at most."""
LONGEST_ASKED: Final = 3_600.0
"""Seconds that a receiver may ask us to wait."""
_PASSING: Final = (408, 425, 429)
"""Refusals that say: later."""


class Result(enum.Enum):
    """What became of an attempt."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    FAILED = "failed"


class Attempt(NamedTuple):
    """Result of a POST; ``why`` is safe to be logged, ``pause`` what the receiver asks for."""

    result: Result
    why: str = ""
    pause: float = 0.0


class Reply(NamedTuple):
    """What is read of an answer."""

    status: int
    retry_after: str | None


@dataclass(slots=True)
class Counts:
    """Totals of one receiver.

    ``sent`` are attempts, ``failures`` those of them that failed, ``dropped`` events given up, ``waiting`` those in
    the log that it has not come to.
    """

    sent: int = 0
    failures: int = 0
    dropped: int = 0
    waiting: int = 0


@dataclass(slots=True)
class Backoff:
    """Pauses that double from failure to failure, each shortened at random: receivers that recover are not stormed."""

    rng: random.Random = field(default_factory=random.SystemRandom)
    failures: int = 0

    def pause(self, asked: float) -> float:
        """Seconds after one more failure, at least what the receiver ``asked`` for, within reason."""
        whole = min(FIRST_PAUSE * 2.0 ** min(self.failures, 30), LONGEST_PAUSE)
        self.failures += 1
        return max(whole * self.rng.uniform(0.5, 1.0), min(asked, LONGEST_ASKED))


class Line:
    """POSTs to one receiver."""

    def __init__(self, section: Receiver, clock: Clock, path: str = "") -> None:
        """``path`` is added to the configured one."""
        where = section.endpoint
        trust = ssl.create_default_context(cafile=str(section.ca_file)) if section.ca_file else None
        self._caller = Caller(where, section.timeout, trust)
        self._path = (where.path.rstrip("/") if path else where.path) + path or "/"
        self._clock = clock

    def post(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Send once; never raises for what a receiver does."""
        every = {"User-Agent": "driftwarden", "Connection": "close", "Accept-Encoding": "identity"}
        try:
            reply = self._caller.call("POST", self._path, {**every, **headers}, body, _reply)
        except CallError as error:
            return Attempt(Result.FAILED, str(error))
        return self._judged(reply)

    def _judged(self, reply: Reply) -> Attempt:
        status = reply.status
        if http.client.OK <= status < http.client.MULTIPLE_CHOICES:
            return Attempt(Result.DELIVERED)
        if http.client.MULTIPLE_CHOICES <= status < http.client.BAD_REQUEST:
            return Attempt(Result.FAILED, f"the receiver redirects ({status}); configure where it really is")
        pause = retry_after(reply.retry_after, self._clock.now())
        if status in _PASSING or not http.client.BAD_REQUEST <= status < http.client.INTERNAL_SERVER_ERROR:
            return Attempt(Result.FAILED, f"the receiver answers {status}", pause)
        return Attempt(Result.REFUSED, f"the receiver refuses ({status})")


def authorization(section: Receiver) -> dict[str, str]:
    """The header with the token, as Bearer or as the password of a user; none without a token."""
    if section.token is None:
        return {}
    if section.username is None:
        return {"Authorization": f"Bearer {section.token}"}
    pair = base64.b64encode(f"{section.username}:{section.token}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def _reply(answer: http.client.HTTPResponse) -> Reply:
    return Reply(answer.status, answer.getheader("Retry-After"))
