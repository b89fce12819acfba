"""What-if: two configurations over one log, alarm by alarm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from monitor.cli import command
from monitor.compare_runs import Comparison, Side, compare
from monitor.config import parse_config
from monitor.errors import ConfigError, DriftwardenError
from monitor.replay import Line
from monitor.tables import print_comparison
from tests.monitor.streams_bench import rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which a large shift of a comes and goes, then a small one comes."""
    place = tmp_path_factory.mktemp("compare")
    pq.write_table(pa.Table.from_batches([rows(20_000, 0)]), place / "reference.parquet")
    (place / "log").mkdir()
    log = [rows(2_000, 1), rows(2_000, 2, shift=1.0), rows(14_000, 3), rows(6_000, 4, shift=0.3)]
    for number, batch in enumerate(log):
        pq.write_table(pa.Table.from_batches([batch]), place / "log" / f"{number}.parquet")
    return place


def _side(folder: Path, file: str, **changes: Any) -> Side:
    base: dict[str, Any] = {
        "name": "m",
        "reference": "reference.parquet",
        "pane": {"rows": 200},
        "window": {"panes": 10},
        "alarms": {"false_alarms": "1 per 1000 panes"},
    }
    return Side(file, parse_config({"models": [base | changes]}, base=folder))


def _run(folder: Path, a: Side, b: Side, model: str | None = None) -> tuple[Comparison, list[Line]]:
    lines: list[Line] = []
    return compare((a, b), [str(folder / "log")], model=model, emit=lines.append), lines


def test_the_same_configuration_twice_agrees_on_everything(folder: Path) -> None:
    found, lines = _run(folder, _side(folder, "one"), _side(folder, "two"))
    assert found.pairs
    assert all(pair.later == 0 for pair in found.pairs)
    sides = {key: [{**line, "config": ""} for line in lines if line["config"] == key] for key in "ab"}
    assert sides["a"][:-1] == sides["b"][:-1]
    assert [one["kind"] for one in (sides["a"][-1], sides["b"][-1])] == ["summary", "summary"]


def test_a_coarser_tolerance_misses_the_small_shift_and_keeps_the_large_one(folder: Path) -> None:
    blunt = {"false_alarms": "1 per 1000 panes", "smallest_shift": 0.2}
    found, _ = _run(folder, _side(folder, "fine"), _side(folder, "blunt", alarms=blunt))
    document = found.document()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    large = [pair for pair in document["both"] if pair["a"]["units"][0]["unit"] == "a" and pair["a"]["pane"] < 25]
    assert large
    assert all(line["pane"] > 90 for line in document["only_a"] if line["severity"] == "page")
    assert any(line["severity"] == "page" and line["units"][0]["unit"] == "a" for line in document["only_a"])
    assert document["a"]["rows"] == document["b"]["rows"] == 24_000


def test_delay_is_counted_in_rows_where_panes_differ_and_rows_have_no_times(folder: Path) -> None:
    found, _ = _run(folder, _side(folder, "short"), _side(folder, "long", pane={"rows": 1_000}))
    assert not found.timed
    first = next(pair for pair in found.pairs if pair.a is not None and pair.b is not None)
    assert first.a is not None
    assert first.b is not None
    assert first.a.raised == 200 * first.a.line["pane"]
    assert first.b.raised == 1_000 * first.b.line["pane"]
    assert first.later == first.b.raised - first.a.raised > 0


def test_errors_name_the_configuration(folder: Path) -> None:
    good = _side(folder, "good.yaml")
    with pytest.raises(DriftwardenError, match=r"^bad\.yaml: .*gone\.parquet"):
        _run(folder, good, _side(folder, "bad.yaml", reference="gone.parquet"))
    with pytest.raises(ConfigError, match=r"^bad\.yaml: models\.m\.columns\.time"):
        _run(folder, good, _side(folder, "bad.yaml", pane={"every": "60s"}))
    timed = _side(folder, "bad.yaml", pane={"every": "60s"}, columns={"time": "ts"})
    with pytest.raises(ConfigError, match=r"^bad\.yaml: .*count panes in rows"):
        _run(folder, good, timed)


def test_models_may_have_different_names_where_there_is_no_choice(folder: Path) -> None:
    found, _ = _run(folder, _side(folder, "a"), _side(folder, "b", name="renamed"), model="m")
    assert [outcome.model for outcome in found.outcomes] == ["m", "renamed"]


def test_table_shows_both_sides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blunt = {"false_alarms": "1 per 1000 panes", "smallest_shift": 0.2}
    found, _ = _run(folder, _side(folder, "fine"), _side(folder, "blunt", alarms=blunt))
    print_comparison(found, ("fine.yaml", "blunt.yaml"))
    shown = capsys.readouterr().out
    assert "A = fine.yaml" in shown
    assert "both" in shown
    assert "only A" in shown
    assert "rows" in shown


def test_command_writes_lines_of_both_and_one_document(folder: Path, tmp_path: Path) -> None:
    for name, panes in (("fine", 200), ("long", 1_000)):
        settings = (
            f"models: [{{name: m, reference: reference.parquet, pane: {{rows: {panes}}}, window: {{panes: 10}}}}]\n"
        )
        (folder / f"{name}.yaml").write_text(settings, encoding="utf-8")
    arguments = ["replay", "-c", str(folder / "fine.yaml"), "--input", str(folder / "log"), "--json"]
    arguments += ["--compare", str(folder / "long.yaml"), "--jsonl", str(tmp_path / "lines")]
    done = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert {"both", "only_a", "only_b", "a", "b"} <= json.loads(done.stdout).keys()
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text(encoding="utf-8").splitlines()]
    assert {(line["config"], line["kind"]) for line in lines} >= {("a", "finding"), ("b", "finding"), ("b", "summary")}
