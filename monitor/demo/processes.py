"""The demo's two processes, the agent and the model server, in a temporary folder that goes when they do."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from monitor.agent import FINDINGS_FILE
from monitor.demo.files import folder
from monitor.errors import DriftwardenError
from monitor.signals import Signals
from monitor.yaml_text import read_yaml, write_yaml

READY_SECONDS = 30.0
STOP_SECONDS = 10.0
_POLL_SECONDS = 0.05
_TAIL_LINES = 15
_HOST = "127.0.0.1"
_PORTS = 65_536


class Interrupted(DriftwardenError):  # noqa: N818 - a wish, not an error
    """The user has had enough."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a demo takes place: its temporary folder and its ports."""

    path: Path
    port: int
    flight_port: int

    @property
    def metrics(self) -> str:
        """Address that Prometheus would be given."""
        return f"http://{_HOST}:{self.port}/metrics"

    @property
    def findings(self) -> Path:
        """File to which the agent writes what it finds."""
        return self.path / "store" / FINDINGS_FILE

    def configuration(self) -> Path:
        """demo.yaml with this place's ports and paths, written down for the agent."""
        given = folder() / "demo.yaml"
        document = read_yaml(given.read_text(encoding="utf-8"), str(given))
        document["models"][0]["reference"] = str(given.parent / "reference.parquet")
        document["sources"] = [{"flight": {"listen": f"{_HOST}:{self.flight_port}"}}]
        document["telemetry"] = {"listen": f"{_HOST}:{self.port}"}
        document["store"] = {"path": str(self.path / "store")}
        made = self.path / "driftwarden.yaml"
        made.write_text(write_yaml(document), encoding="utf-8")
        return made


@contextmanager
def place(port: int) -> Iterator[Place]:
    """A folder and ports for one demo; ``port`` 0 takes a free one. `DriftwardenError` if ``port`` is taken."""
    first, second = _free_ports(port)
    with tempfile.TemporaryDirectory(prefix="driftwarden-demo-") as made:
        yield Place(Path(made), first, second)


def _free_ports(port: int) -> tuple[int, int]:
    """``port`` (or any) and one more, both free a moment ago."""
    if not 0 <= port < _PORTS:
        raise DriftwardenError(f"--port: {port} is no port; name one below {_PORTS}, or 0 for a free one")
    try:
        with socket.create_server((_HOST, port)) as one, socket.create_server((_HOST, 0)) as two:
            return int(one.getsockname()[1]), int(two.getsockname()[1])
    except OSError as error:
        message = f"--port: {_HOST}:{port} cannot be used: {error.strerror}; name another port, or 0 for a free one"
        raise DriftwardenError(message) from error


def _import_path() -> list[str]:
    """Where children look first: they run the code that runs here, whatever folder the user is in."""
    before = os.environ.get("PYTHONPATH")
    return [str(Path(__file__).parents[2]), *([before] if before else [])]


class Process:
    """A child with its output in a file."""

    def __init__(self, name: str, arguments: list[str], log: Path) -> None:
        """Start it, out of reach of the terminal's Ctrl-C: the demo stops it in its own order."""
        self.name, self._log = name, log
        with log.open("wb") as file:
            self._child = subprocess.Popen(  # noqa: S603 - this interpreter with our own modules
                [sys.executable, "-P", "-m", *arguments],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(_import_path())},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

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


@contextmanager
def process(name: str, arguments: list[str], log: Path) -> Iterator[Process]:
    """A child that does not outlive the block."""
    child = Process(name, arguments, log)
    try:
        yield child
    finally:
        child.stop()


@contextmanager
def agent(where: Place) -> Iterator[Process]:
    """The agent, as `driftwarden run` starts it."""
    arguments = ["monitor", "run", "--config", str(where.configuration())]
    with process("agent", arguments, where.path / "agent.log") as child:
        yield child


@contextmanager
def model_server(where: Place, seconds: float) -> Iterator[Process]:
    """The model server, which takes ``seconds`` over the whole log."""
    location = f"grpc://{_HOST}:{where.flight_port}"
    arguments = ["monitor.demo.server", "--location", location, "--seconds", str(seconds)]
    with process("model server", arguments, where.path / "server.log") as child:
        yield child


def wait_ready(child: Process, where: Place, signals: Signals) -> None:
    """Return when the agent accepts rows; `DriftwardenError` if it ends or takes too long."""
    deadline = time.monotonic() + READY_SECONDS
    while get(where, "/readyz") is None:
        if child.ended:
            raise DriftwardenError(f"the agent ended before it was ready; its last words:\n{child.tail()}")
        if time.monotonic() > deadline:
            raise DriftwardenError(f"the agent is not ready after {READY_SECONDS:g} s; its last words:\n{child.tail()}")
        if signals.wake.wait(_POLL_SECONDS):
            raise Interrupted("stopped before the agent was ready")


def get(where: Place, path: str) -> str | None:
    """What the agent answers; None when it does not, or not with 200. Asked directly, whatever proxies are set."""
    connection = http.client.HTTPConnection(_HOST, where.port, timeout=2.0)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read().decode("utf-8")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == http.client.OK else None
