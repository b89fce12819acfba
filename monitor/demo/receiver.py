"""The demo's pager: takes Alertmanager's webhooks on a port of this machine and keeps them in order.

``python -m monitor.demo.receiver`` prints them, at the port of the shipped alertmanager.yaml.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from typing import Any

import click

from monitor.demo.processes import HOST

PORT = 9712
"""Where the webhooks of the shipped alertmanager.yaml go."""
BODY_BYTES = 4 << 20
"""Largest webhook that is read."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of a notification."""

    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """Status, name, model and summary in one line."""
        names = (self.status, self.labels.get("alertname", "?"), self.labels.get("model", ""))
        return f"{' '.join(filter(None, names))}: {self.annotations.get('summary', '')}"

    @property
    def link(self) -> str:
        """Where the incident is to be looked at, while there is one."""
        return self.annotations.get("incident_url", "") if self.status == "firing" else ""


@dataclass(frozen=True, slots=True)
class Notification:
    """One call of the pager: a group of alerts that Alertmanager sent together."""

    receiver: str
    status: str
    alerts: tuple[Alert, ...]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Notification:
        """Read Alertmanager's webhook; `KeyError`, `TypeError` or `AttributeError` if it is something else."""
        alerts = (Alert(one["status"], dict(one["labels"]), dict(one["annotations"])) for one in document["alerts"])
        return cls(document["receiver"], document["status"], tuple(alerts))

    def about(self, status: str, severity: str, model: str) -> Alert | None:
        """The first alert of that status, severity and model."""
        wanted = {"severity": severity, "model": model}
        return next((one for one in self.alerts if one.status == status and wanted.items() <= one.labels.items()), None)


class Receiver:
    """A server on a port of this machine, a free one unless given."""

    def __init__(self, port: int = 0) -> None:
        """Listen at once, answer from a thread."""
        self._got: SimpleQueue[Notification] = SimpleQueue()
        self._server = ThreadingHTTPServer((HOST, port), _handler(self._got))
        self._thread = threading.Thread(target=self._server.serve_forever, name="demo-receiver", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Address for Alertmanager."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def wait(self) -> Notification:
        """The next one, whenever it comes."""
        return self._got.get()

    def news(self) -> list[Notification]:
        """What came since the last call."""
        made: list[Notification] = []
        while True:
            try:
                made.append(self._got.get_nowait())
            except Empty:
                return made

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(got: SimpleQueue[Notification]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            status = HTTPStatus.BAD_REQUEST
            if 0 < length <= BODY_BYTES:
                try:
                    got.put(Notification.of(json.loads(self.rfile.read(length))))
                    status = HTTPStatus.OK
                except (ValueError, KeyError, TypeError, AttributeError):
                    pass
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named by http.server
            """Say nothing: the demo prints what came."""

    return Handler


@click.command()
@click.option("--port", default=PORT, show_default=True, help="Port on 127.0.0.1.")
def main(port: int) -> None:
    """Print what comes, until stopped."""
    receiver = Receiver(port)
    while True:
        call = receiver.wait()
        for alert in call.alerts:
            click.echo(f"{call.receiver}: {alert.sentence}")
            if alert.link:
                click.echo(f"  {alert.link}")


if __name__ == "__main__":
    main()
