"""The support bundle says how an agent does, and nothing that belongs to others: what is planted is searched for."""

from __future__ import annotations

import ast
import dataclasses
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor import bundle, log, scrub
from monitor.archive import reading
from monitor.config import Config, parse_config
from monitor.records import Intervention, Judged, News
from tests.monitor.exports_bench import COLUMNS, NOW, config, finding, keep, measured, rows, write

PLANTED = [f"PLANTED{i}" for i in range(40)]
MONITOR = Path(__file__).parents[2] / "monitor"


class Bundle:
    """An unpacked bundle."""

    def __init__(self, content: bytes) -> None:
        with zipfile.ZipFile(io.BytesIO(content)) as made:
            self.files = {name.partition("/")[2]: made.read(name).decode() for name in made.namelist()}

    @property
    def text(self) -> str:
        return "\n".join(self.files.values())

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[name].splitlines()]


def planted(folder: Path) -> Config:
    """A configuration with a secret, a name or a value of a column wherever one can stand."""
    plain = config(folder)
    (folder / "token").write_text(PLANTED[0], "utf-8")
    (folder / "hook").write_text(f"https://hooks.example.com/{PLANTED[1]}", "utf-8")
    model = {
        "name": "m",
        "reference": list(plain.models[0].reference.paths),
        "columns": COLUMNS | {"classes": [PLANTED[2], PLANTED[3]], "segments": ["kind"]},
        "security": {"releases": [PLANTED[4]], "client_names": "plain"},
    }
    document = {
        "models": [model, {"name": "far", "reference": f"s3://{PLANTED[5]}:key@bucket/x?sig={PLANTED[6]}"}],
        "store": {"path": str(folder / "state")},
        "web": {
            "token_file": str(folder / "token"),
            "people": [{"name": "token"}, {"name": PLANTED[7], "models": ["m"]}],
        },
        "notify": [
            {"webhook": {"name": "chat", "url_file": str(folder / "hook"), "format": "slack"}},
            {"webhook": {"name": "hook", "url": f"https://example.com/{PLANTED[8]}"}},
        ],
    }
    return parse_config(document, base=folder)


def news() -> News:
    """Findings, history and acts that name senders, values and people."""
    units = [
        {"unit": f"client {PLANTED[10]}", "detector": "near_duplicates", "log_e": 30.0},
        {"unit": "right", "detector": "e_ks", "log_e": 12.0},
        {"unit": f"right*{PLANTED[11]}", "detector": "energy", "log_e": 1.0},
    ]
    blank = dict.fromkeys(("effect", "effect_low", "effect_high", "reference", "window"), 0.5)
    document = {
        "units": [one | blank | {"effect_name": "share_of_rows", "together": [], "view": None} for one in units],
        "stream": f"all/kind={PLANTED[12]}",
        "strata": [{"stratum": PLANTED[13], "reference": 0.1, "window": 0.2}],
        "evidence": {"suspicions": [{"about": PLANTED[14], "clients": [[PLANTED[15], 3]]}]},
    }
    one = finding("f" * 16, document=document, tables={"rows": pa.table({"x": [PLANTED[16]]})})
    one = dataclasses.replace(one, sentence=f"attack by {PLANTED[17]}", unit=PLANTED[18])
    history = Judged(f"m/kind={PLANTED[19]}", 7, 1.0, 2.0, 30, 1.5, 11.0, {PLANTED[20]: 1.0})
    act = Intervention("a1", "mute", "m", {"segment": PLANTED[21]}, PLANTED[22], PLANTED[23], NOW, until=NOW + 60)
    act = dataclasses.replace(act, undone=NOW, undone_by=PLANTED[24], undone_because=PLANTED[25])
    return News(findings=(one,), history=(history,), interventions=(act,))


METRICS = f"""# HELP driftwarden_window_rows Rows in the current window.
# TYPE driftwarden_window_rows gauge
driftwarden_window_rows{{model="m",stream="all"}} 400
driftwarden_window_rows{{model="m",stream="kind={PLANTED[26]}"}} 40
driftwarden_window_rows{{model="m",stream="kind=\\"{PLANTED[27]}\\\\"}} 4
# TYPE driftwarden_suspect_log_e gauge
driftwarden_suspect_log_e{{model="m",suspect="{PLANTED[28]}",heuristic="near_duplicates"}} 30
# TYPE driftwarden_checkpoint_duration_seconds histogram
driftwarden_checkpoint_duration_seconds_bucket{{le="+Inf"}} 4 # {{trace="{PLANTED[29]}"}} 1.0
driftwarden_checkpoint_duration_seconds_count 4
driftwarden_checkpoint_duration_seconds_sum 0.5
"""


def logged() -> None:
    """Lines as the agent and its libraries write them."""
    log.configure(stream=io.StringIO())
    log.get("agent").error("batch failed", model="m", rows=3, error=repr(ValueError(PLANTED[30])))
    log.get("agent").error("task failed", error=PLANTED[31])
    log.get("findings").warning(f"page in client {PLANTED[32]}", stream=PLANTED[33], by=PLANTED[34])
    log.get("uvicorn.error").warning(f"Invalid {PLANTED[35]}")
    log.get("guard").warning("state is of other settings", why=repr(KeyError(PLANTED[36])))
    try:
        raise ValueError(PLANTED[37])  # noqa: TRY301
    except ValueError:
        log.get("app").exception("the engine thread ended")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    settings = planted(folder)
    measured(settings)
    batch = rows(50, 1)
    batch = batch.set_column(2, "who", pa.array([PLANTED[38]] * 50)).set_column(5, "kind", pa.array([PLANTED[39]] * 50))
    keep(settings, batch)
    write(settings, news())
    logged()
    with reading(settings.store.path) as archive:
        return Bundle(bundle.bundle(settings, archive, bundle.live(METRICS)))


def test_nothing_that_was_planted_is_in_it(made: Bundle) -> None:
    assert [one for one in PLANTED if one in made.text] == []
    assert str(Path.home()) not in made.files["config.yaml"]


def test_what_helps_is_in_it(made: Bundle) -> None:
    found = made.lines("findings.jsonl")[0]
    assert (found["id"], found["triage"], found["pane"], found["log_e"]) == ("f" * 16, "shift", 40, 41.0)
    assert [one["unit"] for one in found["units"]] == ["unit#1", "right", "right*unit#2"]
    assert json.loads(made.files["about.json"])["packages"]["pyarrow"] == pa.__version__
    assert {one["name"] for one in json.loads(made.files["columns.json"])["m"]["columns"]} >= {"left", "right", "kind"}
    assert "pane:" in made.files["config.yaml"]
    assert "token_file" in made.files["config.yaml"]
    assert made.lines("history.jsonl")[0]["log_e"] == 1.5
    assert made.lines("interventions.jsonl")[0]["target"] == ["segment"]
    assert any(one["file"].startswith("kept/") for one in json.loads(made.files["files.json"]))
    assert "MainThread" in made.files["threads.txt"]


def test_metrics_keep_their_numbers_with_marks_for_streams(made: Bundle) -> None:
    text = made.files["metrics.txt"]
    assert 'driftwarden_window_rows{model="m",stream="all"} 400' in text
    assert 'driftwarden_window_rows{model="m",stream="stream#3"} 40' in text
    assert 'suspect="suspect#1"' in text
    assert made.lines("findings.jsonl")[0]["stream"] == "stream#1"
    timing = json.loads(made.files["timings.json"])["driftwarden_checkpoint_duration_seconds{}"]
    assert timing == {"count": 4.0, "mean": 0.125}


def test_log_lines_keep_their_sentence_and_the_type_of_an_error(made: Bundle) -> None:
    lines = made.lines("log.jsonl")[-6:]
    assert [one["msg"] for one in lines] == [
        "batch failed",
        "task failed",
        "(findings)",
        "(library)",
        "state is of other settings",
        "the engine thread ended",
    ]
    assert (lines[0]["error"], lines[0]["rows"], lines[0]["model"]) == ("ValueError", 3, "m")
    assert "error" not in lines[1]
    assert lines[4]["why"] == "KeyError"
    assert np.all([set(one) <= {"time", "level", "component", "msg", "model", "rows", "error", "why"} for one in lines])


def test_every_part_that_logs_is_known() -> None:
    told = set()
    for path in MONITOR.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "log.get" and node.args:
                told |= {one.value for one in node.args if isinstance(one, ast.Constant)}
    assert told <= scrub.COMPONENTS


def test_without_an_agent_or_a_store_there_is_still_a_bundle(tmp_path: Path) -> None:
    found = Bundle(bundle.bundle(config(tmp_path), None))
    assert set(found.files) == {"README.txt", "about.json", "config.yaml", "columns.json", "files.json"}
    assert found.files["columns.json"].strip() == "{}"


def test_the_tail_of_the_log_is_bounded() -> None:
    log.configure(stream=io.StringIO())
    for number in range(2 * log.TAIL):
        log.get("agent").info("line", number=number)
    assert [one["number"] for one in log.tail()] == list(range(log.TAIL, 2 * log.TAIL))


def test_its_readme_says_what_is_left_out_and_what_is_not(made: Bundle) -> None:
    out, _, kept = made.files["README.txt"].partition("Still in it: ")
    assert "all but its scheme" in out
    assert not re.search(r"[a-z0-9+.-]+://(?!\(left out\))", made.files["config.yaml"])
    for told, there in (
        ("columns", "right"),
        ("paths of files", "reference.parquet"),
        ("listens on", "127.0.0.1:9711"),
    ):
        assert told in kept
        assert there in made.text
