from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from monitor.config import Config, parse_config
from monitor.demo.page import HELD_ROW
from monitor.demo.receiver import main as pager
from monitor.demo.server import main as model_server
from monitor.yaml_text import read_yaml
from tests.deploy.peers import SUITES, UNPACKED

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "deploy" / "compose"
PINNED: Final = r"\$\{[A-Z]+:-docker\.io/[\w/]+:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}\}"


def document(name: str) -> Any:
    return read_yaml((FOLDER / name).read_text("utf-8"), name)


COMPOSE: Final[dict[str, Any]] = document("compose.yaml")
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]


def config() -> Config:
    return parse_config(document("driftwarden.yaml"), base=FOLDER, secrets=False)


def plugin() -> str | None:
    """The real Compose, which reads and checks files without an engine."""
    places = (ROOT / ".venv" / "peers").glob("*/usr/libexec/docker/cli-plugins/docker-compose")
    return shutil.which("docker-compose") or next(map(str, places), None)


@pytest.mark.skipif(plugin() is None, reason="no docker-compose 2 on this machine")
def test_compose_itself_accepts_the_file() -> None:
    command = [str(plugin()), "--file", str(FOLDER / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_all_parts_of_the_demo_are_there() -> None:
    assert set(SERVICES) == {"agent", "model-server", "prometheus", "alertmanager", "pager", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_may_do_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "mem_limit" in service
    assert not {"privileged", "cap_add", "pid", "ipc", "devices"} & set(service)
    assert service.get("network_mode", "service:") == ("service:alertmanager" if name == "pager" else "service:")


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_our_own_or_pinned_by_digest(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image == "driftwarden" or re.fullmatch(PINNED, image)


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in ports)


def test_what_is_mounted_is_there_and_cannot_be_written_to() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", ()):
            source, _, rest = volume.partition(":")
            if source.startswith("."):
                assert (FOLDER / source).exists(), f"{name}: {source}"
                assert rest.endswith(":ro"), f"{name}: {volume}"
            else:
                assert source in COMPOSE["volumes"]


def test_the_image_is_built_from_the_checkout() -> None:
    build = SERVICES["agent"]["build"]
    assert (FOLDER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).is_file()


def test_the_agent_judges_as_in_the_demo_and_writes_into_its_volume() -> None:
    demo = ROOT / "deploy" / "demo" / "demo.yaml"
    theirs = parse_config(read_yaml(demo.read_text("utf-8"), "demo.yaml"), base=demo.parent, secrets=False)
    (ours,), (given,) = config().models, theirs.models
    assert ours.model_copy(update={"reference": None}) == given.model_copy(update={"reference": None})
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in SERVICES["agent"]["volumes"]}
    (reference,) = (Path(path) for path in ours.reference.paths)
    assert (FOLDER / mounted[str(reference.parent)] / reference.name).is_file()
    assert mounted[str(config().store.path)] == "agent"


def test_addresses_in_one_file_are_those_of_the_other() -> None:
    agent = config()
    (source,) = agent.sources
    assert source.flight is not None
    location = f"grpc://agent:{source.flight.listen.port}"
    assert SERVICES["model-server"]["command"][:2] == ["--location", location]
    prometheus = document("prometheus.yaml")
    assert prometheus["scrape_configs"][0]["static_configs"] == [{"targets": [f"agent:{agent.endpoint.address.port}"]}]
    assert prometheus["alerting"]["alertmanagers"][0]["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert agent.web.url == f"http://localhost:{agent.web.listen.port}"
    assert f"127.0.0.1:{agent.web.listen.port}:{agent.web.listen.port}" in SERVICES["agent"]["ports"]


def test_the_model_server_understands_its_options_and_leaves_the_incident_open() -> None:
    given = SERVICES["model-server"]["command"]
    parsed = model_server.make_context("server", list(given)).params
    assert parsed["end"] == HELD_ROW
    assert parsed["seconds"] >= 120


def test_the_pager_listens_where_the_shipped_webhooks_go() -> None:
    parsed = pager.make_context("pager", list(SERVICES["pager"]["command"])).params
    routing = read_yaml((ROOT / "deploy" / "alertmanager" / "alertmanager.yaml").read_text("utf-8"), "routing")
    hooks = [hook["url"] for receiver in routing["receivers"] for hook in receiver.get("webhook_configs", ())]
    assert hooks
    assert all(hook.startswith(f"http://127.0.0.1:{parsed['port']}/") for hook in hooks)


def test_promtool_accepts_the_configuration_of_prometheus() -> None:
    command = ["promtool", "check", "config", "--syntax-only", str(FOLDER / "prometheus.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (pattern,) = document("prometheus.yaml")["rule_files"]
    assert list((ROOT / "deploy" / "prometheus").glob(Path(pattern).name)), "mounted at rules/"


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root has namespaces here")
def test_the_services_find_each_other_and_page_as_the_rules_are_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = UNPACKED / SUITES[0] / "usr" / "bin"
    if not (programs / "alertmanager").is_file():
        pytest.skip("Alertmanager is not unpacked: sh .ci/peers .venv/peers")
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), os.environ["PATH"]]))
    command = [
        "unshare",
        "--mount",
        "--net",
        "--propagation",
        "private",
        sys.executable,
        "-m",
        "tests.deploy.compose_run",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-8000:]
    assert done.stdout.startswith("opened http://localhost:9711/findings/")
