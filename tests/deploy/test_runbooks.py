"""Each alert has a runbook, with every part of one, and commands and addresses that exist."""

from __future__ import annotations

import json
import re
import shlex
import time
from pathlib import Path

import click
import pytest

from monitor import cli, cli_act, cli_report
from monitor.config import describe
from monitor.errors import DriftwardenError
from monitor.ledger import REASONS
from monitor.metrics import table
from monitor.records import News
from monitor.security.pseudonyms import key_of
from monitor.web.runbooks import PLACES, runbooks
from monitor.yaml_text import read_yaml
from tests.deploy.peers import ROOT, Peers, generations
from tests.deploy.test_alertmanager import CONFIG, running
from tests.deploy.test_rules import alerts
from tests.monitor import exports_bench

TEXT = (ROOT / "deploy" / "runbooks" / "README.md").read_text("utf-8")
PARTS = ("Look first at", "Likely causes", "Confirm", "Roll back?", "Accept", "Silence")
SECTIONS = {part.partition("\n")[0]: part.partition("\n")[2] for part in TEXT.split("\n## ")[1:]}
LINES = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE) for line in block.splitlines()
]
ROUTES = [
    route
    for file in ("pages.py", "ops.py", "api.py")
    for route in re.findall(r'"(/[^"\s]*)"', (ROOT / "monitor" / "web" / file).read_text("utf-8"))
]


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert list(SECTIONS) == list(dict.fromkeys(rule["alert"] for rule in alerts()))


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_every_part_in_order(name: str) -> None:
    places = [SECTIONS[name].find(f"\n**{part}") for part in PARTS]
    assert -1 not in places, PARTS[places.index(-1)]
    assert places == sorted(places)


def test_the_agent_serves_each_section_under_the_anchor_that_alerts_link_to() -> None:
    assert ROOT / "deploy" / "runbooks" / "README.md" in PLACES
    page = str(runbooks())
    for rule in alerts():
        anchor = rule["annotations"]["runbook_url"].rpartition("#")[2]
        assert page.count(f'id="{anchor}"') == 1
    assert set(re.findall(r'href="([^"]+)"', page)) <= {f"#{name.lower()}" for name in SECTIONS}


def commands() -> dict[str, click.Command]:
    """All commands of the agent."""
    parts = [one for module in (cli_act, cli_report) for one in vars(module).values() if isinstance(one, click.Command)]
    return {**cli.command.commands, **{str(one.name): one for one in parts}}


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("driftwarden ")])
def test_commands_of_the_agent_can_be_given_as_they_stand(line: str, tmp_path: Path) -> None:
    config = tmp_path / "driftwarden.yaml"
    config.touch()
    name, *words = shlex.split(line.replace("$C", str(config)))[1:]
    commands()[name].make_context(name, words)


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration of two models, with a reference, kept rows and a finding of the first; no agent runs."""
    folder = tmp_path_factory.mktemp("two")
    one = exports_bench.config(folder, name="MODEL")
    exports_bench.measured(one)
    exports_bench.keep(
        one, exports_bench.rows(500, 1, first=int(10 * (time.time() - exports_bench.NOW)), labelled=False)
    )
    exports_bench.write(one, News(findings=(exports_bench.finding("FINDING", model="MODEL"),)))
    key_of(one.store.path)
    document = read_yaml(describe(one), "config")
    document["models"].append({"name": "other", "reference": str(folder / "reference.parquet")})
    document["web"] = {"listen": "127.0.0.1:1"}
    file = folder / "driftwarden.yaml"
    file.write_text(json.dumps(document), "utf-8")
    return file


@pytest.mark.parametrize("line", [line for line in dict.fromkeys(LINES) if re.match("driftwarden (?!calibrate)", line)])
def test_commands_of_the_agent_work_with_two_models(
    line: str, two_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, *words = shlex.split(line.replace("$C", str(two_models)))[1:]
    try:
        commands()[name].main(words, standalone_mode=False)
    except DriftwardenError as error:
        if not any(one in str(error) for one in ("no agent answers", "drawn.parquet: cannot be read")):  # yet
            raise


@generations
def test_silences_can_be_set_as_they_stand(peers: Peers, tmp_path: Path) -> None:
    lines = [line for line in LINES if line.startswith("amtool ")]
    assert len(lines) > 10
    with running(peers, tmp_path, CONFIG) as url:
        for line in lines:
            words = shlex.split(line.replace("http://127.0.0.1:9093", url).replace("alertmanager.yaml", str(CONFIG)))
            peers.run("amtool", *words[1:])


def test_silences_are_about_the_alert_that_they_stand_under() -> None:
    for name, section in SECTIONS.items():
        assert set(re.findall(r"alertname=(\w+)", section)) <= {name}


def test_addresses_exist() -> None:
    patterns = [re.compile(re.sub(r"\{[^}]*\}", "[^/]+", route)) for route in ROUTES]
    asked = re.findall(r"`(/(?!etc/)[^\s?`]*)", TEXT) + re.findall(r"http://127\.0\.0\.1:9710(/\S*)", TEXT)
    assert len(asked) > 10
    for path in asked:
        assert any(pattern.fullmatch(path) for pattern in patterns), path


def test_metrics_and_reasons_that_are_named_exist() -> None:
    for name in re.findall(r"driftwarden_\w+", TEXT):
        assert any(known.startswith(name) for known in table()), name
    rows = re.findall(r"^\| (`[^|]+) \|", SECTIONS["DriftwardenRowsDiscarded"], re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(REASONS)
