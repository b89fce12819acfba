"""Asks the one endpoint that may be probed: how its calls look, and what of an answer is taken."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import time
from typing import Final, NamedTuple

from monitor.outgoing import Caller, CallError, retry_after
from monitor.probes.settings import Settings

ID_PREFIX: Final = "driftwarden-probe-"
HEADER: Final = "X-Driftwarden-Probe"
_MULTIPLE, _BAD = 300, 400
_BUSY = (429, 503)
_CHUNK = 1 << 16
_NONCE, _MAC = 8, 12


class Reply(NamedTuple):
    """Body of a good answer and the seconds that it took."""

    body: bytes
    seconds: float


class Marks:
    """Names that only this agent can give its requests, by which it knows them again in the log.

    Whoever does not hold the key cannot have rows of their own taken for probes, and so left out of the statistics.
    """

    def __init__(self, settings: Settings) -> None:
        """Without a key in the settings make one for as long as this process lives."""
        self._key = settings.key or os.urandom(32)
        self.client = f"{settings.client}-{self._mac(b'client')}"

    def new(self) -> str:
        """An id for one request."""
        nonce = os.urandom(_NONCE).hex()
        return f"{ID_PREFIX}{nonce}-{self._mac(nonce.encode())}"

    def own(self, client: str | None, name: str | None) -> bool:
        """Whether a logged row with this client and this request id is one of ours."""
        if client is not None and hmac.compare_digest(client.encode(), self.client.encode()):
            return True
        if name is None or not name.startswith(ID_PREFIX):
            return False
        nonce, _, mac = name.removeprefix(ID_PREFIX).partition("-")
        return hmac.compare_digest(mac.encode(), self._mac(nonce.encode()).encode())

    def _mac(self, what: bytes) -> str:
        return hashlib.blake2b(what, digest_size=_MAC, key=self._key[:64], person=b"probe").hexdigest()


class Client:
    """Asks one endpoint; makes a new connection for each call, so that nothing is left open in between."""

    def __init__(self, settings: Settings, marks: Marks) -> None:
        """Keep what each call needs; nothing is sent yet."""
        self._settings = settings
        self._headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "driftwarden-probe",
            HEADER: "1",
            settings.client_header: marks.client,
        }
        if settings.token:
            self._headers["Authorization"] = f"Bearer {settings.token}"
        self._caller = Caller(settings.endpoint, settings.timeout)

    def get(self, path: str) -> Reply:
        """GET below the model's path; `CallError` if there is no good answer in time."""
        return self._call("GET", self._settings.path + path, None)

    def post(self, path: str, body: bytes) -> Reply:
        """POST a JSON document below the model's path."""
        return self._call("POST", self._settings.path + path, body)

    def _call(self, method: str, path: str, body: bytes | None) -> Reply:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        begun = time.perf_counter()
        read = self._caller.call(method, path, headers, body, self._read)
        return Reply(read, time.perf_counter() - begun)

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        if _MULTIPLE <= answer.status < _BAD:
            raise CallError("redirect", f"the endpoint redirects ({answer.status}); configure where it really is")
        if answer.status != http.client.OK:
            pause = retry_after(answer.getheader("Retry-After"), time.time()) if answer.status in _BUSY else 0.0
            raise CallError("status", f"the endpoint answers {answer.status}", pause)
        if answer.getheader("Content-Encoding", "identity").lower() != "identity":
            raise CallError("malformed", "the answer is compressed, which was not asked for")
        most, body = self._settings.most_bytes, bytearray()
        while part := answer.read1(_CHUNK):
            body += part
            if len(body) > most:
                raise CallError("too_large", f"the answer is larger than {most} bytes")
        if answer.length:  # what was announced and did not come
            raise CallError("malformed", "the answer ends before its announced length")
        return bytes(body)
