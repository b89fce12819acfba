"""A stored log with labels: what was estimated of each stretch of panes, and what its labels say, to the last digit."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from monitor.cli import command
from monitor.config import parse_config
from monitor.outcomes import replayed
from monitor.reader import Tables
from monitor.replay import Line, replay
from tests.monitor.lane_bench import COLUMNS, NOW, labels, numbered, scored, silent

ROWS, PANE, PANES = 6_000, 200, 10
STRETCH = PANE * PANES
LOG = scored(ROWS, 1)
RNG = np.random.default_rng(0)


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., list[Line]]:
    def run(*parts: pa.Table, reference: pa.Table | None = None, without: str = "", **model: Any) -> list[Line]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        (folder / "log").mkdir(parents=True)
        pq.write_table(scored(4_000, 0) if reference is None else reference, folder / "reference.parquet")
        for number, part in enumerate(parts):
            pq.write_table(part, folder / "log" / f"{number:02d}.parquet")
        columns = {role: name for role, name in COLUMNS.items() if role != without}
        known = {name for part in parts for name in part.column_names} | {"truth"}
        columns = {role: name for role, name in columns.items() if name in known}
        columns |= model.pop("columns", {})
        section = {"name": "m", "reference": "reference.parquet", "columns": columns, "pane": {"rows": PANE}}
        section |= {"window": {"panes": PANES}, "security": {"enabled": False}, **model}
        lines: list[Line] = []
        replay(parse_config({"models": [section]}, base=folder), [str(folder / "log")], emit=lines.append)
        return lines

    return run


def stretches(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line["kind"] == "performance"]


def right(rows: pa.Table) -> float:
    return float(np.mean(np.equal(rows["said"].to_numpy(), rows["truth"].to_numpy())))


def written(value: float) -> float:
    return float(f"{value:.6g}")


def test_labels_in_the_rows_beside_them_and_without_ids_say_the_same(told: Callable[..., list[Line]]) -> None:
    shuffled = labels(LOG).take(RNG.permutation(ROWS))
    wrong = shuffled.slice(0, 900).set_column(1, "truth", pa.array(1 - shuffled["truth"].to_numpy()[:900]))
    both = [LOG, silent(LOG)]
    runs = [
        stretches(told(both[0])),
        stretches(told(both[1], shuffled, shuffled.slice(0, 2_000))),
        stretches(told(both[1], wrong, shuffled)),  # corrected
        stretches(told(labels(LOG).slice(0, 100), both[1], shuffled)),
    ]
    assert [line["labelled"] for line in runs[0]] == [STRETCH] * 3
    for line, first in zip(runs[0], range(0, ROWS, STRETCH), strict=True):
        mine = LOG.slice(first, STRETCH)
        assert line["realised"]["accuracy"]["value"] == written(right(mine))
        assert line["estimate"]["accuracy"]["low"] < right(mine) < line["estimate"]["accuracy"]["high"]
        assert (line["since_pane"], line["pane"]) == (first // PANE + 1, (first + STRETCH) // PANE)
    assert runs[0] == runs[1] == runs[2] == runs[3]
    carried = stretches(told(LOG.drop_columns(["id"]), reference=scored(4_000, 0).drop_columns(["id"])))
    assert [line["realised"] for line in carried] == [line["realised"] for line in runs[0]]


def test_labels_alone_are_no_rows_of_the_log(told: Callable[..., list[Line]]) -> None:
    alone, beside = told(silent(LOG)), told(silent(LOG), labels(LOG))
    assert alone[-1]["rows"] == beside[-1]["rows"] == ROWS
    assert alone[-1]["panes"] == beside[-1]["panes"] == ROWS // PANE
    first, second = ([line for line in lines if line["kind"] == "finding"] for lines in (alone, beside))
    assert first == second
    assert all(line["realised"] == {} and line["estimate"]["accuracy"] for line in stretches(alone))
    assert alone[-1]["performance"]["estimates_less_labels"] == {}


def test_versions_have_stretches_of_their_own(told: Callable[..., list[Line]]) -> None:
    old = RNG.random(ROWS) < 0.6
    said = np.where(old, LOG["said"].to_numpy(), 1 - LOG["said"].to_numpy())
    rows = LOG.set_column(LOG.column_names.index("said"), "said", pa.array(said))
    rows = rows.append_column("build", pa.array(np.where(old, "one", "two")))
    lines = stretches(told(silent(rows), labels(rows), columns={"version": "build"}))
    for version, mine in (("one", old), ("two", ~old)):
        found = [line for line in lines if line["stream"] == version]
        parts = [rows.filter(mine.tolist()).slice(first, STRETCH) for first in range(0, int(mine.sum()), STRETCH)]
        assert [line["labelled"] for line in found] == [part.num_rows for part in parts]
        assert [line["realised"]["accuracy"]["value"] for line in found] == [written(right(part)) for part in parts]
    assert all("accuracy" in line["below_expectation"]["realised"] for line in lines if line["stream"] == "two")


def test_stretches_of_panes_by_time_hold_the_rows_of_their_time(told: Callable[..., list[Line]]) -> None:
    rows = scored(ROWS, 2, start=NOW - NOW % 60)
    lines = stretches(told(silent(rows), labels(rows), pane={"every": "3s", "lateness": "0s"}, window={"panes": 5}))
    seconds = rows["ts"].to_numpy() - (NOW - NOW % 60)
    parts = [rows.filter((seconds // 15 == part).tolist()) for part in range(4)]
    assert [line["labelled"] for line in lines] == [part.num_rows for part in parts]
    assert [line["realised"]["accuracy"]["value"] for line in lines] == [written(right(part)) for part in parts]
    assert [line["rows"] for line in lines] == [part.num_rows for part in parts]


def test_a_regression_is_told_too_and_the_summary_says_what_estimates_were_worth(
    told: Callable[..., list[Line]],
) -> None:
    lines = told(numbered(ROWS, 1, spread=0.5), reference=numbered(6_000, 0))
    off = [abs(line["estimate"]["mae"]["value"] - line["realised"]["mae"]["value"]) for line in stretches(lines)]
    worth = lines[-1]["performance"]["estimates_less_labels"]["mae"]
    assert worth["n"] == 3
    assert worth["mae"] == pytest.approx(np.mean(off), rel=1e-4)
    assert lines[-1]["performance"]["reference"]["mae"]["value"] > 1.3


def test_more_stretches_than_are_kept_are_told_as_they_stand(
    told: Callable[..., list[Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = told(silent(LOG), labels(LOG), window={"panes": 2})
    monkeypatch.setattr(replayed.Performance.lines, "__defaults__", (4,))
    few = told(*(silent(LOG.slice(at, 400)) for at in range(0, ROWS, 400)), labels(LOG), window={"panes": 2})
    assert [line["labelled"] for line in stretches(few)] == [0] * 11 + [400] * 4
    assert stretches(few)[-4:] == stretches(whole)[-4:]
    assert len(stretches(few)) == len(stretches(whole)) == 15


def test_times_all_over_the_place_make_no_more_stretches_than_are_kept(
    told: Callable[..., list[Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replayed, "MOST", 8)
    rows = scored(ROWS, 2, start=NOW - NOW % 60)
    wild = rows["ts"].to_numpy().copy()
    wild[::10] = RNG.uniform(0, 4e9, len(wild[::10]))
    rows = rows.set_column(0, "ts", pa.array(wild))
    lines = stretches(told(rows, pane={"every": "3s", "lateness": "0s"}, window={"panes": 5}))
    assert 1 <= len(lines) <= 16
    assert sum(line["labelled"] for line in lines) <= ROWS


def test_without_labels_in_the_reference_nothing_is_told(told: Callable[..., list[Line]]) -> None:
    lines = told(LOG, reference=silent(scored(2_000, 0)))
    assert all(line["realised"] == line["estimate"] == {} for line in stretches(lines))
    assert not stretches(told(LOG, without="label"))


def test_the_command_says_it_in_words(tmp_path: Path) -> None:
    pq.write_table(scored(4_000, 0), tmp_path / "reference.parquet")
    pq.write_table(LOG, tmp_path / "log.parquet")
    columns = json.dumps(COLUMNS)
    (tmp_path / "c.yaml").write_text(
        f"models: [{{name: m, reference: reference.parquet, columns: {columns}, pane: {{rows: 200}}, "
        "window: {panes: 10}, security: {enabled: false}}]\n"
    )
    arguments = ["replay", "--config", str(tmp_path / "c.yaml"), "--input", str(tmp_path / "log.parquet")]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    assert "labels of 2,000 of 2,000 rows: accuracy 0." in done.output
    assert "estimates: accuracy off by 0.0" in done.output


def test_tables_are_parted_by_what_their_files_hold(tmp_path: Path) -> None:
    for name, rows in (("a", silent(LOG)), ("b", labels(LOG)), ("c", LOG)):
        pq.write_table(rows.slice(0, 10), tmp_path / f"{name}.parquet")
    few, rest = Tables([str(tmp_path)]).parted(partial(_short, 2))
    assert [name[-9:] for name in few.names] == ["b.parquet"]
    assert sum(batch.num_rows for batch in rest.batches()) == rest.row_count == 20
    assert few.schema.names == ["id", "truth"]
    assert not list(few.parted(partial(_short, 1))[0].batches())


def _short(most: int, schema: pa.Schema) -> bool:
    return len(schema.names) <= most


@pytest.mark.parametrize("alone", [False, True])
def test_errors_that_rise_are_found_as_by_the_agent(told: Callable[..., list[Line]], alone: bool) -> None:  # noqa: FBT001
    later = scored(3_000, 2, start=NOW + 60)
    turned = np.where(np.arange(3_000) % 5 < 2, 1 - later["truth"].to_numpy(), later["truth"].to_numpy())
    worse = later.set_column(later.column_names.index("truth"), "truth", pa.array(turned))
    rows, budget = pa.concat_tables([LOG, worse]), {"alarms": {"false_alarms": "1 per 10000 panes"}}
    lines = told(silent(rows), labels(rows), **budget) if alone else told(rows, **budget)
    found = [line for line in lines if line["kind"] == "finding" and line["subject"] == "outcome"]
    assert [line["severity"] for line in found] == ["page"]
    assert found[0]["since_time"] == pytest.approx(NOW + 60, abs=12)
    quiet = told(silent(LOG), labels(LOG), **budget) if alone else told(LOG, **budget)
    assert [line for line in quiet if line["kind"] == "finding" and line["subject"] == "outcome"] == []
