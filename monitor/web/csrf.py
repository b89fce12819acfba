"""Tokens in forms: an act is done only by a page that this agent wrote for the very person who sends it.

The token is bound to the person and to the hour, and keyed by a secret of the process, so that nothing is stored and no
cookie is needed. A page that is older than the token's life or than the process must be opened again.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from starlette.requests import Request

from monitor.web.people import Person

FIELD = "csrf_token"
"""Name of the hidden field of every form."""
LIFE_SECONDS = 12 * 3600.0
_KEY = secrets.token_bytes(32)


def csrf_token(request: Request) -> str:
    """The token for the forms of a page that answers this request."""
    person: Person = request.state.person
    issued = f"{int(time.time()):x}"
    return f"{issued}.{_seal(person, issued)}"


def genuine(person: Person, token: str) -> bool:
    """Whether a token was written for this person, not too long ago."""
    issued, _, seal = token.partition(".")
    if not hmac.compare_digest(_seal(person, issued).encode(), seal.encode("utf-8", "replace")):
        return False
    return -60.0 <= time.time() - int(issued, 16) <= LIFE_SECONDS


def _seal(person: Person, issued: str) -> str:
    told = f"{issued}\0{person.name}".encode("utf-8", "replace")
    return hmac.new(_KEY, told, hashlib.sha256).hexdigest()
