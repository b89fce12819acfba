"""The README says what the code does: tables, names, links and examples."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import click
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from detectors.registry import CATALOG
from monitor import docs
from monitor.cli import command
from monitor.config import Config, parse_config
from monitor.metrics import METRICS

ROOT: Final = Path(__file__).resolve().parent.parent
README: Final = (ROOT / "README.md").read_text("utf-8")
MODULES: Final = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("detectors", "monitor")
    for path in (ROOT / package).rglob("*.py")
    if not path.name.startswith("__")
)


def blocks(language: str) -> list[str]:
    """The fenced examples of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def configurations() -> list[dict[str, Any]]:
    """The examples that are configurations of the agent."""
    return [document for text in blocks("yaml") if "models" in (document := yaml.safe_load(text))]


def anchors(text: str) -> set[str]:
    """What a heading can be linked by."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def test_the_tables_are_current() -> None:
    assert docs.render(README) == README, "run python -m monitor.docs"
    assert docs.main(["--check"]) == 0


def test_every_table_has_its_place() -> None:
    marked = set(re.findall(r"<!-- ([a-z]+):begin -->", README))
    assert marked == {*docs.TABLES, "figures"}


def test_a_stale_table_is_written_anew_and_other_text_is_left_alone() -> None:
    text = "a\n<!-- reasons:begin -->\nstale\n<!-- reasons:end -->\n<!-- other:begin -->\nb\n<!-- other:end -->\n"
    fresh = docs.render(text)
    assert "stale" not in fresh
    assert "queue_full" in fresh
    assert fresh.endswith("<!-- other:begin -->\nb\n<!-- other:end -->\n")


def test_every_command_and_option_is_described() -> None:
    lines = {line.split("`")[1]: line for line in README.splitlines() if line.startswith("| `driftwarden ")}
    assert set(lines) == {f"driftwarden {name}" for name in command.commands}
    for name, one in command.commands.items():
        given = [option for parameter in one.params if isinstance(parameter, click.Option) for option in parameter.opts]
        assert [option for option in given if f"`{option}`" not in lines[f"driftwarden {name}"]] == []
        assert all(parameter.help for parameter in one.params if isinstance(parameter, click.Option))


def test_every_configuration_key_is_described() -> None:
    wanted = list(docs.keys(Config))
    assert len(wanted) > 50
    assert [path for path, _, _ in wanted if f"| `{path}` |" not in README] == []
    assert [path for path, field, _ in wanted if not field.description] == []


def test_every_metric_is_described() -> None:
    assert [metric.name for metric in METRICS if f"| `{metric.name}` |" not in README] == []


def test_every_detector_is_described() -> None:
    assert [name for name in CATALOG if f"`{name}` (" not in README] == []


@pytest.mark.parametrize("name", CATALOG)
def test_every_detector_says_what_it_asks_and_what_it_cannot_see(name: str) -> None:
    make = importlib.import_module("detectors.registry").CATALOG[name]
    module = sys.modules[type(make(importlib.import_module("detectors.registry").Tolerances())).__module__]
    words = docs.sections(module.__doc__ or "")
    assert {"Question", "Statistic", "Null law", "Sees / blind to", "Cost", "Source"} <= set(words)


def test_every_runtime_dependency_has_its_reason() -> None:
    assert list(docs.required()) == list(docs.WHY)


def test_every_internal_link_resolves() -> None:
    for page in [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "deploy").rglob("*.md")]:
        text = page.read_text("utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, anchor = target.partition("#")
            if "://" in target:
                continue
            place = page.parent / path if path else page
            assert place.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(place.read_text("utf-8")), f"{page.name}: {target}"


def test_the_tree_is_described_as_it_is() -> None:
    table = README.partition("## The tree")[2].partition("\n## ")[0]
    rows = [re.findall(r"`([^`]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    named: set[Path] = set()
    for row in rows:
        folder = Path(row[0]).parent
        for entry in row:
            path = Path(entry) if entry.startswith(("detectors/", "monitor/", "tests/", "deploy/")) else folder / entry
            assert (ROOT / path).exists(), entry
            named.add(path)
    told = [Path(*module.split(".")) for module in MODULES]
    missing = [str(path) for path in told if path.with_suffix(".py") not in named and path.parent not in named]
    assert missing == [], "name them in the README's table of the tree"


def test_every_shown_configuration_is_valid(tmp_path: Path) -> None:
    shown = configurations()
    assert len(shown) >= 2
    for document in shown:
        assert parse_config(document, base=tmp_path, secrets=False).models


def test_the_demo_s_configuration_is_valid() -> None:
    file = ROOT / "deploy" / "demo" / "demo.yaml"
    assert parse_config(yaml.safe_load(file.read_text("utf-8")), base=file.parent, secrets=False).models


def test_promtool_accepts_the_shown_scrape_configuration(tmp_path: Path) -> None:
    shown = [text for text in blocks("yaml") if "scrape_configs" in text]
    assert len(shown) == 1
    file = tmp_path / "prometheus.yml"
    file.write_text(shown[0], "utf-8")
    done = subprocess.run(["promtool", "check", "config", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_second_command_is_what_ci_runs() -> None:
    commands = blocks("sh")[0].splitlines()
    assert commands[1].split("#")[0].split() == ["sh", ".ci/test"]
    assert "/test" in (ROOT / ".ci" / "run").read_text("utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def reference(rows: int) -> pa.Table:
    """Rows with the columns that the README's examples name."""
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "ts": 1.6e9 + np.arange(rows),
            "request_id": [f"r{row}" for row in range(rows)],
            "age": 20 + 40 * rng.random(rows),
            "y_score": rng.random(rows),
            "y_pred": (rng.random(rows) < 0.5).astype(np.int64),
            "note": [""] * rows,
        }
    )


def test_the_sending_examples_work_as_they_are_shown(tmp_path: Path) -> None:
    grpc, http = free_port(), free_port()
    url = f"http://127.0.0.1:{http}"

    def here(text: str) -> str:
        return text.replace("8815", str(grpc)).replace("9710", str(http))

    pq.write_table(reference(2000), tmp_path / "reference.parquet")
    (tmp_path / "driftwarden.yaml").write_text(here(blocks("yaml")[0]), "utf-8")
    (python,) = blocks("python")
    body = re.search(r"--data-binary '(\{.*?\})'", README)
    assert body is not None
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = (tmp_path / "log").open("wb")
    agent = subprocess.Popen(
        [sys.executable, "-m", "monitor", "run", "--config", str(tmp_path / "driftwarden.yaml")],
        cwd=ROOT,
        env=environment,
        stderr=log,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/readyz").raise_for_status()
                break
            except httpx.HTTPError:
                assert agent.poll() is None, (tmp_path / "log").read_text("utf-8")
                assert time.monotonic() < deadline
                time.sleep(0.05)
        sent = subprocess.run(
            [sys.executable, "-c", here(python)], capture_output=True, text=True, check=False, env=environment
        )
        assert (sent.returncode, sent.stdout) == (0, "1\n"), sent.stderr
        content_type = {"Content-Type": "application/x-ndjson"}
        answer = httpx.post(f"{url}/v1/ingest/credit?version=v7", content=body.group(1), headers=content_type)
        assert (answer.status_code, answer.json()) == (202, {"accepted_rows": 1})
        wanted = [
            f'driftwarden_ingest_received_rows_total{{source="{source}",model="credit"}} 1'
            for source in ("flight", "http")
        ]
        while not all(line in httpx.get(f"{url}/metrics").text for line in wanted):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0
        log.close()
