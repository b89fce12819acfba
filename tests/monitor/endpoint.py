"""A model server for tests: speaks the Open Inference Protocol v2 over real sockets, well or badly, as it is told."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import special

Document = dict[str, Any]
Behaviour = Callable[["Handler", Document], None]
E = TypeVar("E", bound="Endpoint")


class Endpoint(ThreadingHTTPServer):
    """Answers with logistic regression on the sum of each row; ``behave`` may answer otherwise."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, handler: type[Handler] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler or Handler)
        self.bodies: list[Document] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.behave: Behaviour | None = None
        self.together = True
        self.ready = True
        self.described: Document | None = None
        self.version = "3"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what these tests are about."""

    def metadata(self) -> Document:
        first = -1 if self.together else 1
        return self.described or {
            "name": "credit",
            "inputs": [{"name": "input-0", "datatype": "FP32", "shape": [first, 3]}],
            "outputs": [{"name": "p", "datatype": "FP32", "shape": [first, 2]}],
        }

    def infer(self, body: Document) -> Document:
        shape = body["inputs"][0]["shape"]
        rows = np.array(body["inputs"][0]["data"], float).reshape(shape[0], -1)
        return self.document(body, probabilities(rows))

    def document(self, body: Document, p: NDArray[np.floating]) -> Document:
        output = {"name": "p", "datatype": "FP32", "shape": list(p.shape), "data": p.ravel().tolist()}
        return {"model_name": "credit", "model_version": self.version, "id": body["id"], "outputs": [output]}


def probabilities(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """The model: chance of the second class."""
    p = special.expit(4.0 * rows.sum(axis=-1))
    return np.stack([1 - p, p], axis=-1)


class Handler(BaseHTTPRequestHandler):
    server: Endpoint
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        if self.path.endswith("/ready"):
            self.send(b"{}", 200 if self.server.ready else 503)
        else:
            self.send(json.dumps(self.server.metadata()).encode())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.paths.append(self.path)
        self.server.bodies.append(body)
        self.server.headers.append(dict(self.headers.items()))
        if self.server.behave is not None:
            self.server.behave(self, body)
        else:
            self.send(json.dumps(self.server.infer(body)).encode())

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def drip(self, body: bytes, seconds: float) -> None:
        """A byte at a time: no single read waits long."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for byte in body:
            with contextlib.suppress(OSError):
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
            time.sleep(seconds)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Tests are silent."""


@contextlib.contextmanager
def running(server: E) -> Iterator[E]:
    """A server on a free port of this machine, until the block ends."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
