"""The demo's processes, the agent and the model server first, in a temporary folder that goes when they do."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from monitor.checkpoints import FINDINGS_FILE
from monitor.demo.files import folder
from monitor.errors import DriftwardenError
from monitor.signals import Signals
from monitor.yaml_text import read_yaml, write_yaml

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_TAIL_LINES = 15
HOST = "127.0.0.1"
_PORTS = 65_536


class Interrupted(DriftwardenError):  # noqa: N818 - a wish, not an error
    """The user has had enough."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a demo takes place: its temporary folder and its ports."""

    path: Path
    port: int
    flight_port: int
    web_port: int

    @property
    def metrics(self) -> str:
        """Address that Prometheus would be given."""
        return f"http://{HOST}:{self.port}/metrics"

    @property
    def pages(self) -> str:
        """Address of the incident pages."""
        return f"http://{HOST}:{self.web_port}"

    @property
    def findings(self) -> Path:
        """File to which the agent writes what it finds."""
        return self.path / "store" / FINDINGS_FILE

    def configuration(self) -> Path:
        """demo.yaml with this place's ports and paths, written down for the agent."""
        given = folder() / "demo.yaml"
        document = read_yaml(given.read_text(encoding="utf-8"), str(given))
        document["models"][0]["reference"] = str(given.parent / "reference.parquet")
        document["sources"] = [{"flight": {"listen": f"{HOST}:{self.flight_port}"}}]
        document["telemetry"] = {"listen": f"{HOST}:{self.port}"}
        document["web"] = {"listen": f"{HOST}:{self.web_port}"}
        document["store"] = {"path": str(self.path / "store")}
        made = self.path / "driftwarden.yaml"
        made.write_text(write_yaml(document), encoding="utf-8")
        return made


@contextmanager
def place(port: int) -> Iterator[Place]:
    """A folder and ports for one demo; ``port`` 0 takes a free one. `DriftwardenError` if ``port`` is taken."""
    if not 0 <= port < _PORTS:
        raise DriftwardenError(f"--port: {port} is no port; name one below {_PORTS}, or 0 for a free one")
    metrics, flight, web = free_ports(port, 0, 0)
    with tempfile.TemporaryDirectory(prefix="driftwarden-demo-") as made:
        yield Place(Path(made), metrics, flight, web)


def free_ports(*wanted: int) -> tuple[int, ...]:
    """The ports wanted, any for a 0, all free a moment ago."""
    port = 0
    try:
        with ExitStack() as stack:
            held = [stack.enter_context(socket.create_server((HOST, port := one))) for one in wanted]
            return tuple(int(one.getsockname()[1]) for one in held)
    except OSError as error:
        message = f"--port: {HOST}:{port} cannot be used: {error.strerror}; name another port, or 0 for a free one"
        raise DriftwardenError(message) from error


def _import_path() -> list[str]:
    """Where children look first: they run the code that runs here, whatever folder the user is in."""
    before = os.environ.get("PYTHONPATH")
    return [str(Path(__file__).parents[2]), *([before] if before else [])]


class Process:
    """A child with its output in a file; it does not outlive a ``with`` block."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        """Start it, out of reach of the terminal's Ctrl-C: the demo stops it in its own order."""
        self.name, self._log = name, log
        with log.open("ab") as file:
            self._child = subprocess.Popen(  # noqa: S603 - our own modules, or a program that the operator installed
                command,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(_import_path())},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    @property
    def ended(self) -> bool:
        """Whether it has come to its end in good order; `DriftwardenError` if it broke."""
        code = self._child.poll()
        if code:
            raise DriftwardenError(f"the {self.name} ended with code {code}; its last words:\n{self.tail()}")
        return code is not None

    def tail(self) -> str:
        """The last lines that it wrote."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:]) or "(none)"

    def stop(self) -> None:
        """Ask it to end, and make it end if it does not."""
        if self._child.poll() is not None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def module(name: str, *arguments: str) -> list[str]:
    """The command that runs one of our own modules with this interpreter."""
    return [sys.executable, "-P", "-m", name, *arguments]


def agent(where: Place) -> Process:
    """The agent, as `driftwarden run` starts it."""
    command = module("monitor", "run", "--config", str(where.configuration()))
    return Process("agent", command, where.path / "agent.log")


def model_server(where: Place, seconds: float, first: int = 0, end: int = 0) -> Process:
    """The model server at such a pace that the whole log takes ``seconds``; rows from ``first`` to before ``end``."""
    location = f"grpc://{HOST}:{where.flight_port}"
    span = ("--first", str(first), "--end", str(end))
    command = module("monitor.demo.server", "--location", location, "--seconds", str(seconds), *span)
    return Process("model server", command, where.path / "server.log")


def wait_ready(child: Process, port: int, path: str, signals: Signals) -> None:
    """Return when a child answers with 200; `DriftwardenError` if it ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while get(port, path) is None:
        if child.ended:
            raise DriftwardenError(f"the {child.name} ended before it was ready; its last words:\n{child.tail()}")
        if time.monotonic() > deadline:
            text = f"the {child.name} is not ready after {READY_SECONDS:g} s; its last words:\n{child.tail()}"
            raise DriftwardenError(text)
        if signals.wake.wait(_POLL_SECONDS):
            raise Interrupted(f"stopped before the {child.name} was ready")


def get(port: int, path: str) -> str | None:
    """What is answered on a port; None when nothing is, or not with 200. Asked directly, whatever proxies are set."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == http.client.OK else None
