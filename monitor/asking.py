"""What a command asks of the running agent, over the addresses that its configuration names.

Who asks shows the listener's token, or, where passwords are asked for instead, those of the environment: ``USER_ENV``
and ``PASSWORD_ENV``. A certificate is checked as the system's are; ``TRUST_ENV`` may name another authority.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from monitor.config import Config
from monitor.errors import ConfigError, DriftwardenError
from monitor.listeners import Http, HttpListener
from monitor.outgoing import Caller, CallError, UntrustedError, endpoint
from monitor.quantities import Address

SECONDS = 60.0
USER_ENV: Final = "DRIFTWARDEN_USER"
PASSWORD_ENV: Final = "DRIFTWARDEN_PASSWORD"  # noqa: S105 - the name of a variable
TRUST_ENV: Final = "SSL_CERT_FILE"
MOST_BYTES = 256 << 20
"""Largest answer that is read."""
_TOLD = 2_000
"""Characters of a refusal that are shown."""


def operator(config: Config) -> Door:
    """The operator's routes: metrics and health."""
    at, listener = config.endpoint, config.telemetry if config.telemetry.listen is not None else _first(config)
    return Door(_url(at.address, listener), _authorization(at.token))


def pages(config: Config, url: str | None = None) -> Door:
    """The pages and their interface for programs; at ``url`` where that is not the address that they bind."""
    if not config.web.enabled:
        raise ConfigError(["web.enabled: is false; there is nobody to ask"])
    return Door(url or _url(config.web.listen, config.web), _authorization(config.web.token))


@dataclass(frozen=True, slots=True)
class Door:
    """One address of the agent, and what is shown there."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def get(self, path: str, **query: object) -> Any:
        """A JSON document."""
        wanted = urlencode({key: value for key, value in query.items() if value is not None})
        return self._document(self.fetch(f"{path}?{wanted}" if wanted else path))

    def fetch(self, path: str) -> bytes:
        """Whatever is there."""
        return self._send("GET", path, None)

    def act(self, path: str, document: Mapping[str, Any]) -> Any:
        """POST a document for another one."""
        return self._document(self.post(path, document))

    def post(self, path: str, document: Mapping[str, Any]) -> bytes:
        """POST a document."""
        return self._send("POST", path, json.dumps(document).encode())

    def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        headers = {"accept": "application/json", **self.headers}
        headers |= {} if body is None else {"content-type": "application/json"}
        try:
            caller = Caller(endpoint(self.url), SECONDS)
            status, content = caller.call(method, path, headers, body, _read)
        except ValueError as error:
            raise DriftwardenError(f"{self.url}: {error}") from None
        except UntrustedError as error:
            fix = f"set {TRUST_ENV}=FILE.pem to the authority that issued it, or --url to a name that it is for"
            raise DriftwardenError(f"{self.url}: {error}; {fix}") from None
        except (CallError, OSError) as error:
            raise DriftwardenError(
                f"{self.url}: no agent answers: {error}; is it running with this configuration?"
            ) from None
        if not http.client.OK <= status < http.client.MULTIPLE_CHOICES:
            raise DriftwardenError(_refusal(status, content))
        return content

    def _document(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError:
            raise DriftwardenError(f"{self.url}: answers something else than JSON; is it the agent's pages?") from None


def _read(answer: http.client.HTTPResponse) -> tuple[int, bytes]:
    content = b"".join(iter(partial(answer.read, 1 << 20), b""))
    if len(content) > MOST_BYTES:
        raise CallError("too_large", f"the answer is larger than {MOST_BYTES >> 20} MiB")
    return answer.status, content


def _refusal(status: int, content: bytes) -> str:
    """What the agent has against it, and what to do where it does not know who asks."""
    text = content.decode(errors="replace").strip()
    with contextlib.suppress(ValueError, TypeError, KeyError):
        text = "\n".join(str(one) for one in json.loads(text)["faults"])
    text = "".join(sign for sign in text[:_TOLD] if sign.isprintable() or sign == "\n")
    if status == http.client.UNAUTHORIZED:
        fix = f"set {USER_ENV} and {PASSWORD_ENV}, or use a configuration with the listener's token"
        return f"the agent does not know who asks (401); {fix}" + (f"\n{text}" if text else "")
    return text or f"the agent answers {status}"


def _first(config: Config) -> Http | None:
    return next((source.http for source in config.sources if source.http is not None), None)


def _url(address: Address, listener: HttpListener | None) -> str:
    return f"{'https' if listener is not None and listener.secure else 'http'}://{address}"


def _authorization(token: str | None) -> dict[str, str]:
    user, password = os.environ.get(USER_ENV), os.environ.get(PASSWORD_ENV)
    if user and password:
        return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}
    return {} if token is None else {"authorization": f"Bearer {token}"}
