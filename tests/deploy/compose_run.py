"""The services of compose.yaml without a container engine, until a page has come: python -m tests.deploy.compose_run.

To be started by ``unshare --mount --net --propagation private``: their network is one of its own, in which all their
names lead to this machine; their files are mounted over a copy of the root file system that is thrown away. Commands,
mounts and configurations are those of compose.yaml; Grafana, which is not to be had, is left out.
"""

from __future__ import annotations

import fcntl
import http.client
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from monitor.yaml_text import read_yaml

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy" / "compose"
SERVICES: Final[dict[str, dict[str, Any]]] = read_yaml((FOLDER / "compose.yaml").read_text("utf-8"), "")["services"]
SECONDS: Final = 420.0
"""Rules wait as shipped."""
PACE: Final = "60"
"""Seconds that the model server takes over the log, in place of compose.yaml's."""


def mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


def loopback() -> None:
    """Set the one interface of a new network up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        fcntl.ioctl(one, 0x8914, struct.pack("16sh14x", b"lo", 0x1 | 0x40))  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING


def root(scratch: Path) -> None:
    """A copy of the root file system on top of the real one, with the services' mounts."""
    mount("-t", "tmpfs", "none", scratch)
    upper, work, merged = (scratch / name for name in ("upper", "work", "merged"))
    for folder in (upper, work, merged):
        folder.mkdir()
    mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", merged)
    for name in ("proc", "dev"):
        mount("--rbind", f"/{name}", merged / name)
    (merged / "etc" / "hosts").unlink(missing_ok=True)
    (merged / "etc" / "hosts").write_text(f"127.0.0.1 localhost {' '.join(SERVICES)}\n", "utf-8")
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            place(volume, scratch, merged)
    os.chroot(merged)


def place(volume: str, scratch: Path, merged: Path) -> None:
    """One mount of a service."""
    source, target, *how = volume.split(":")
    given = (FOLDER / source).resolve() if source.startswith(".") else scratch / f"volume-{source}"
    if not given.exists():
        given.mkdir()
    where = merged / target.lstrip("/")
    if given.is_dir():
        where.mkdir(parents=True, exist_ok=True)
    else:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.touch()
    mount("--bind", given, where)
    if how == ["ro"]:
        mount("-o", "remount,bind,ro", where)


def start(name: str) -> subprocess.Popen[bytes]:
    """A service, as its image would start it."""
    service = SERVICES[name]
    own = {"agent": [sys.executable, "-m", "monitor", "run", "--config", "/etc/driftwarden/driftwarden.yaml"]}
    entry = [sys.executable if word == "python3" else word for word in service.get("entrypoint", ())]
    program = own.get(name) or entry or [str(shutil.which(name))]
    command = [*program, *service.get("command", ())]
    if "--seconds" in command:
        command[command.index("--seconds") + 1] = PACE
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with log(name).open("w") as said:
        return subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)


def log(name: str) -> Path:
    """What a service says, in the copy that is thrown away."""
    return Path(f"/var/log/{name}.compose")


def answer(port: int, path: str) -> str | None:
    connection = http.client.HTTPConnection("localhost", port, timeout=5)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        text = reply.read().decode()
    except OSError:
        return None
    return text if reply.status == 200 else None


def until_page() -> str:
    """The address that came with the first page about the traffic."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        lines = log("pager").read_text("utf-8").splitlines()
        for line, link in pairwise(lines):
            if line.startswith("page: firing DriftwardenShift employment"):
                return link.strip()
        time.sleep(1.0)
    raise TimeoutError({name: log(name).read_text("utf-8")[-2000:] for name in SERVICES if log(name).exists()})


def main() -> None:
    """Start all, wait for the page, open its link, and print what it was."""
    loopback()
    root(Path(tempfile.mkdtemp()))
    running = [start(name) for name in ("agent", "prometheus", "alertmanager", "pager")]
    try:
        while answer(9710, "/livez") is None:
            time.sleep(0.2)
        running.append(start("model-server"))
        link = until_page()
        assert link.startswith("http://localhost:9711/findings/"), link
        text = answer(9711, link.removeprefix("http://localhost:9711"))
        assert text is not None
        assert all(name in text for name in ("RELP", "prediction", "MAR"))
        print("opened", link, flush=True)  # noqa: T201 - the test reads it
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait(30)


if __name__ == "__main__":
    main()
