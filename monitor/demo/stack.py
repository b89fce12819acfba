"""The demo's processes from end to end: model server, agent, Prometheus with the shipped rules, Alertmanager, a pager.

Prometheus and Alertmanager are those of this machine; they listen on free ports of 127.0.0.1 and keep their state in
the demo's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from monitor.demo import files, hurry, peers
from monitor.demo.processes import HOST, Place, Process, agent, free_ports, model_server, wait_ready
from monitor.demo.receiver import Receiver
from monitor.errors import DriftwardenError
from monitor.signals import Signals
from monitor.yaml_text import read_yaml, write_yaml


class Stack:
    """Starts and stops the processes by name; everything ends with its ``with`` block, in reverse order."""

    def __init__(self, where: Place, signals: Signals) -> None:
        """Look for the programs, and write their files; nothing runs yet."""
        self.where, self._signals = where, signals
        self._programs = {name: peers.find(name) for name in peers.NAMES}
        self._ports = dict(zip(peers.NAMES, free_ports(0, 0), strict=True))
        self._running: dict[str, Process] = {}
        self.receiver = Receiver()
        self._write_files()

    def address(self, name: str) -> str:
        """HOST:PORT of "prometheus" or "alertmanager"."""
        return f"{HOST}:{self._ports[name]}"

    def start(self, name: str) -> None:
        """Start "agent", "prometheus" or "alertmanager" (again), and return when it is ready."""
        if name == "agent":
            child, port, path = agent(self.where), self.where.port, "/readyz"
        else:
            child = Process(name, [self._programs[name], *self._options(name)], self.where.path / f"{name}.log")
            port, path = self._ports[name], "/-/ready"
        self._running[name] = child
        wait_ready(child, port, path, self._signals)

    def send(self, seconds: float, first: int = 0, end: int = 0) -> None:
        """Have the model server log rows; it ends by itself."""
        self._running["model server"] = model_server(self.where, seconds, first, end)

    @property
    def sent(self) -> bool:
        """Whether the model server has logged all that it was to log."""
        return self._running["model server"].ended

    def stop(self, name: str) -> None:
        """Stop a process."""
        self._running.pop(name).stop()

    def check(self) -> None:
        """`DriftwardenError` if a process has broken."""
        for name, child in self._running.items():
            if child.ended and name != "model server":
                raise DriftwardenError(f"the {name} ended; its last words:\n{child.tail()}")

    def __enter__(self) -> Self:
        """Nothing runs yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what runs."""
        while self._running:
            self._running.popitem()[1].stop()
        self.receiver.close()

    def _write_files(self) -> None:
        self._write("rules.yaml", hurry.rules(_read(files.rules())))
        agent, alertmanager = f"{HOST}:{self.where.port}", self.address("alertmanager")
        self._write("prometheus.yaml", hurry.scraping(_read(files.scraping()), agent, alertmanager, "rules.yaml"))
        self._write("alertmanager.yaml", hurry.routing(_read(files.routing()), self.receiver.url))

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        (self.where.path / name).write_text(write_yaml(document), encoding="utf-8")

    def _options(self, name: str) -> list[str]:
        """Arguments of a program: its file, its state, its port; no gossip.

        Prometheus tells of an alert again after the delay, and Alertmanager takes it for over after four of them: a
        restart must be quicker than that.
        """
        state = f"--storage.{'tsdb.' if name == 'prometheus' else ''}path={self.where.path / name}"
        own = "--rules.alert.resend-delay=5s" if name == "prometheus" else "--cluster.listen-address="
        listen = f"--web.listen-address={self.address(name)}"
        return [f"--config.file={self.where.path / name}.yaml", state, listen, own]


def _read(path: Path) -> Any:
    return read_yaml(path.read_text(encoding="utf-8"), str(path))
