"""Replay: stored logs through the very engine that runs, to one JSON object per finding and a summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from monitor.cli import command
from monitor.config import Config, parse_config
from monitor.errors import ConfigError, DriftwardenError
from monitor.replay import Line, replay
from monitor.report import Report
from tests.monitor.streams_bench import rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("replay")
    pq.write_table(pa.Table.from_batches([rows(20_000, 0)]), place / "reference.parquet")
    (place / "log").mkdir()
    log = [rows(4_000, 1), rows(4_000, 2, shift=1.0), rows(20_000, 3)]
    for number, batch in enumerate(log):
        pq.write_table(pa.Table.from_batches([batch]), place / "log" / f"{number}.parquet")
    return place


def _config(folder: Path, *names: str, **changes: Any) -> Config:
    base: dict[str, Any] = {
        "reference": "reference.parquet",
        "pane": {"rows": 200},
        "window": {"panes": 10},
        "alarms": {"false_alarms": "1 per 1000 panes"},
    }
    return parse_config({"models": [base | {"name": name} | changes for name in names or ("m",)]}, base=folder)


def _run(folder: Path, config: Config, **options: Any) -> tuple[list[Line], list[Report]]:
    lines: list[Line] = []
    reports: list[Report] = []
    replay(config, [str(folder / "log")], emit=lines.append, watch=reports.append, **options)
    return lines, reports


def test_shift_in_a_stored_log_is_found_and_its_end_too(folder: Path) -> None:
    lines, reports = _run(folder, _config(folder))
    findings = [line for line in lines if line["kind"] == "finding" and line["severity"] == "page"]
    assert len(findings) == 1
    assert findings[0]["units"][0]["unit"] == "a"
    assert 21 <= findings[0]["pane"] <= 23
    (recovery,) = [line for line in lines if line["kind"] == "recovery" and findings[0]["id"] in line["findings"]]
    assert recovery["pane"] > 40
    assert len(reports) == 140
    assert json.loads(json.dumps(lines, allow_nan=False)) == lines


def test_lines_of_all_streams_come_in_the_order_of_time(folder: Path) -> None:
    columns = {"segments": ["kind"]}
    log = pa.Table.from_batches([rows(8_000, 1, shift=1.0)])
    pq.write_table(log, folder / "one.parquet")
    reports: list[Report] = []
    config = _config(folder, columns=columns)
    replay(config, [str(folder / "one.parquet")], emit=lambda _: None, watch=reports.append)
    assert len({report.stream for report in reports}) > 1
    ends = [report.end for report in reports]
    assert ends == sorted(ends)


def test_last_line_sums_up(folder: Path) -> None:
    lines, _ = _run(folder, _config(folder))
    summary = lines[-1]
    assert summary["kind"] == "summary"
    assert summary["rows"] == 28_000
    assert summary["panes"] == 140
    assert summary["discarded"] == {}
    assert summary["findings"] == sum(line["kind"] == "finding" for line in lines)


def test_replay_says_the_same_thing_twice(folder: Path) -> None:
    first, second = (_run(folder, _config(folder))[0][:-1] for _ in range(2))
    assert first == second


def test_reference_learnt_from_the_first_rows_leaves_them_out_of_the_stream(folder: Path) -> None:
    _, reports = _run(folder, _config(folder, reference={"learn_rows": 3_000}))
    assert sum(report.rows for report in reports) == 25_000


def test_log_shorter_than_what_is_to_be_learnt_is_told(folder: Path) -> None:
    with pytest.raises(DriftwardenError, match="only 28000 rows"):
        _run(folder, _config(folder, reference={"learn_rows": 50_000}))


def test_one_model_of_several_must_be_named(folder: Path) -> None:
    config = _config(folder, "one", "two")
    with pytest.raises(ConfigError, match="say which one"):
        _run(folder, config)
    lines, _ = _run(folder, config, model="two")
    assert {line["model"] for line in lines} == {"two"}
    with pytest.raises(ConfigError, match="configured are: one, two"):
        _run(folder, config, model="three")


def test_validate_looks_for_the_columns_that_are_named(folder: Path) -> None:
    columns = "{segments: [kind, nowhere], numeric: [a], prediction: kid}"
    lines = f"models: [{{name: m, reference: reference.parquet, pane: {{rows: 200}}, columns: {columns}}}]\n"
    (folder / "c.yaml").write_text(lines, encoding="utf-8")
    arguments = ["validate", "--config", str(folder / "c.yaml"), "--json"]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 78
    faults = json.loads(done.stdout)["faults"]
    assert [fault.split(":")[0] for fault in faults] == ["models.0.columns.prediction", "models.0.columns.segments"]
    assert CliRunner().invoke(command, [*arguments, "--no-environment"]).exit_code == 0


def test_progress_is_told(folder: Path) -> None:
    told: list[tuple[str, int, int | None]] = []
    _run(folder, _config(folder), progress=lambda *what: told.append(what))
    assert told[-1] == ("replay", 28_000, 28_000)
