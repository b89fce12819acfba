"""What a command asks of the running agent, over the address that its configuration names."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from monitor.config import Config
from monitor.errors import DriftwardenError

SECONDS = 60.0


def ask(config: Config, path: str, document: dict[str, Any]) -> str:
    """POST a document; the agent's answer, or `DriftwardenError` with what it said against it."""
    endpoint = config.endpoint
    host = endpoint.address.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{endpoint.address.port}{path}"
    headers = {"content-type": "application/json"}
    if endpoint.token is not None:
        headers["authorization"] = f"Bearer {endpoint.token}"
    request = urllib.request.Request(url, json.dumps(document).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - same
            text: str = answer.read().decode()
    except urllib.error.HTTPError as error:
        raise DriftwardenError(error.read().decode(errors="replace").strip() or str(error)) from None
    except OSError as error:
        raise DriftwardenError(f"{url}: no agent answers: {error}; is it running with this configuration?") from None
    return text.strip()
