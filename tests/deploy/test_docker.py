from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
import tomllib
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from monitor.docs import required
from monitor.yaml_text import write_yaml
from tests.deploy import image

DOCKER = image.ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text("utf-8")


def instructions(name: str) -> list[str]:
    whole = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2].strip() for line in whole.splitlines() if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", str(DOCKER / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_stage_begins_with_the_base_that_is_pinned_by_digest() -> None:
    (base,) = instructions("ARG")
    assert re.fullmatch(r"PYTHON=docker\.io/library/python:3\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    assert {one.split()[0] for one in instructions("FROM")} == {"${PYTHON}"}
    assert len(instructions("FROM")) == 2


def test_it_does_not_run_as_root_and_says_whether_it_is_alive() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["driftwarden"\]$', last, re.MULTILINE)


def test_the_build_sees_all_that_the_wheel_is_made_of() -> None:
    allowed = {line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").split() if line[0] == "!"}
    wheel = tomllib.loads((image.ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    wanted = [*wheel["packages"], *wheel["force-include"], "pyproject.toml", "README.md", "LICENSE", "deploy/docker"]
    assert [path for path in wanted if Path(path).parts[0] not in allowed] == []


def locked(name: str) -> dict[str, list[tuple[Requirement, int]]]:
    """Requirement -> its pins, each with its number of hashes."""
    made: dict[str, list[tuple[Requirement, int]]] = {}
    for entry in re.split(r"\n(?=\w)", re.sub(r"^#.*\n", "", (DOCKER / name).read_text("utf-8"), flags=re.MULTILINE)):
        pin, *hashes = entry.replace("\\\n", " ").split(" --hash=sha256:")
        one = Requirement(pin.strip())
        made.setdefault(one.name, []).append((one, len(hashes)))
    return made


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("requirements.txt", list(required().values())),
        ("build.txt", (DOCKER / "build.in").read_text("utf-8").split()),
    ],
)
def test_all_that_is_installed_is_pinned_and_has_hashes(name: str, wanted: list[str]) -> None:
    pins = locked(name)
    assert all(hashes > 0 for found in pins.values() for _, hashes in found)
    for text in wanted:
        one = Requirement(text)
        assert one.name in pins, f"{one.name}: run sh deploy/docker/lock"
        for pin, _ in pins[one.name]:
            (exact,) = pin.specifier
            assert exact.operator == "=="
            assert one.specifier.contains(Version(exact.version)), f"{one}: run sh deploy/docker/lock"


def test_the_build_s_backend_is_that_of_the_project() -> None:
    system = tomllib.loads((image.ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]
    assert (DOCKER / "build.in").read_text("utf-8").split() == system["requires"]


# The image itself.


def configuration(etc: Path, port: int) -> None:
    demo = image.ROOT / "deploy" / "demo" / "reference.parquet"
    pq.write_table(pq.read_table(demo).slice(0, 5_000), etc / "reference.parquet")
    document: dict[str, Any] = {
        "models": [
            {
                "name": "employment",
                "reference": "reference.parquet",
                "columns": {"id": "id", "time": "time", "label": "employed", "ignore": ["year"]},
                "pane": {"rows": 500},
                "alarms": {"false_alarms": "1 per 10000 panes"},
            }
        ],
        "sources": [{"http": {"listen": f"127.0.0.1:{port}"}}],
        "web": {"enabled": False},
        "store": {"path": "/var/lib/driftwarden"},
    }
    (etc / "driftwarden.yaml").write_text(write_yaml(document), "utf-8")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ready(port: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.skipif(image.lacking() is not None, reason=f"no image here: {image.lacking()}")
def test_the_image_is_built_and_serves_with_a_read_only_root_as_nobody(tmp_path: Path) -> None:
    etc, state = tmp_path / "etc", tmp_path / "state"
    etc.mkdir()
    state.mkdir()
    tmp_path.chmod(0o755)
    builder = image.Builder(tmp_path)
    builder.base()
    config = builder.build()
    os.chown(state, *map(int, config["User"].split(":")))
    port = free_port()
    configuration(etc, port)
    with builder.mounted() as mounted:
        assert not list(mounted.glob("opt/driftwarden/bin/pip*")), "what is only needed to build stays out"
        config["Env"].append(f"DRIFTWARDEN_PORT={port}")

        def inside(*arguments: str) -> list[str]:
            return image.command(config, mounted, state, etc, list(arguments))

        unwritable = subprocess.run(inside("touch", "/opt/x"), capture_output=True, text=True, check=False)
        assert "Read-only file system" in unwritable.stderr
        agent = subprocess.Popen(
            inside(*config["Entrypoint"], *config["Cmd"]), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            ready(port, agent)
            assert Path(f"/proc/{agent.pid}").stat().st_uid == int(config["User"].partition(":")[0])
            alive = inside(*config["Healthcheck"]["Test"][1:])
            assert subprocess.run(alive, check=False).returncode == 0
        finally:
            agent.send_signal(signal.SIGTERM)
            said, _ = agent.communicate(timeout=60)
        assert agent.returncode == 0, said
        assert subprocess.run(alive, check=False, stderr=subprocess.DEVNULL).returncode != 0, "nobody is there any more"
        assert (state / "findings.jsonl").exists() or list(state.iterdir()), "it wrote where it may"
