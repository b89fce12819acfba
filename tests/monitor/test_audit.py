"""From files to exit code: clean rows pass, poisoned ones are found, named and ranked, bad input is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from monitor.audit_data import digests
from monitor.cli import command
from monitor.errors import AuditError

CLASSES = np.array(["bird", "cat", "dog"])


def table(rows: int, seed: int, *, poison: float = 0.0, source: str = "mallory") -> tuple[pa.Table, NDArray[np.bool_]]:
    """Numbers, a category and an embedding that tell the class; poisoned rows are called dog by one source."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, rows)
    x = 3 * np.eye(3, 5)[label] + rng.standard_normal((rows, 5))
    colour = np.where(rng.random(rows) < 0.8, np.array(["red", "green", "blue"])[label], "red")
    bad = (label != 2) & (rng.random(rows) < poison)
    given, who = np.where(bad, 2, label), np.where(bad, source, rng.choice(["ann", "bob", source], rows))
    columns: dict[str, Any] = {f"x{j}": x[:, j] for j in range(5)}
    columns |= {
        "colour": colour,
        "number": np.arange(rows) + seed * 100_000,
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(x.astype(np.float32).reshape(-1)), 5),
        "by": who,
        "label": CLASSES[given],
    }
    return pa.table(columns), bad


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    for name, rows, seed, poison in (("trusted", 1_000, 1, 0.0), ("clean", 900, 2, 0.0), ("bad", 900, 3, 0.06)):
        pq.write_table(table(rows, seed, poison=poison)[0], folder / f"{name}.parquet")
    pa.csv.write_csv(table(1_000, 1)[0].drop_columns(["vector"]), folder / "trusted.csv")
    return folder


def asked(*options: object) -> tuple[int, str]:
    """Exit code and output (the message of an `AuditError` instead)."""
    done = CliRunner().invoke(command, ["audit", *map(str, options)])
    if isinstance(done.exception, AuditError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def document(*options: object) -> tuple[int, dict[str, Any]]:
    code, text = asked(*options, "--json")
    return code, json.loads(text)


def test_clean_rows_pass_whatever_the_format(files: Path) -> None:
    code, found = document("--data", files / "clean.parquet", "--reference", files / "trusted.csv", "--source", "by")
    assert code == 0
    assert not found["suspicious"]
    assert found["findings"] == []
    assert set(found["looked_at"]) == {
        "label_disagreement", "spectral_signature", "activation_clustering", "label_floods", "unlike_trusted",
    }  # fmt: skip
    assert "--probabilities" in found["not_looked_at"]["label_noise"]
    assert any("number" in note and "counts the rows" in note for note in found["notes"])


@pytest.mark.parametrize("space", [(), ("--embedding", "vector")])
def test_poison_is_found_named_and_ranked_first(files: Path, tmp_path: Path, space: tuple[str, ...]) -> None:
    out = tmp_path / "ranked.parquet"
    code, found = document(
        "--data",
        files / "bad.parquet",
        "--reference",
        files / "trusted.parquet",
        "--source",
        "by",
        "--out",
        out,
        *space,
    )
    assert code == 1
    about = {one["about"] for one in found["findings"] if one["heuristic"] == "label_disagreement"}
    assert {"all rows", "class dog", "source mallory"} <= about
    assert not about & {"source ann", "source bob", "class cat", "class bird"}
    ranked = pq.read_table(out)
    bad = table(900, 3, poison=0.06)[1]
    assert sorted(ranked["row"].to_pylist()) == list(range(900))
    top = ranked["row"].to_numpy()[: 2 * int(bad.sum())]
    assert bad[top].sum() >= 0.9 * bad.sum()
    assert ranked["rank"].to_pylist() == list(range(1, 901))
    assert "label contradicts trusted rows nearby" in ranked["reasons"][0].as_py()
    assert ranked["label"][0].as_py() == "dog" != ranked["looks_like"][0].as_py()


def test_the_report_says_in_words_what_was_looked_at_and_what_was_not(files: Path) -> None:
    code, text = asked("--data", files / "bad.parquet", "--reference", files / "trusted.parquet", "--source", "by")
    assert code == 1
    for words in ("looked at:", "not looked at:", "suspicious: source mallory", "expected", "look first at rows"):
        assert words in text


def test_probabilities_are_asked_where_both_tables_have_them(files: Path, tmp_path: Path) -> None:
    for name in ("trusted", "bad"):
        rows = pq.read_table(files / f"{name}.parquet")
        logits = 3 * np.stack([rows[f"x{j}"].to_numpy() for j in range(3)], axis=1)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for j, one in enumerate(CLASSES):
            rows = rows.append_column(f"p_{one}", pa.array(p[:, j]))
        pq.write_table(rows, tmp_path / f"{name}.parquet")
    chosen = [word for one in CLASSES for word in ("--probabilities", f"p_{one}")]
    place = ("--data", tmp_path / "bad.parquet", "--reference", tmp_path / "trusted.parquet")
    code, found = document(*place, *chosen)
    assert code == 1
    assert "label_noise" in {one["heuristic"] for one in found["findings"]}
    code, text = asked(*place, *chosen[:4])
    assert code == 2
    assert "2 columns for 3 classes" in text


def test_without_trusted_rows_a_source_unlike_the_others_is_still_found(files: Path) -> None:
    code, found = document("--data", files / "bad.parquet", "--source", "by")
    assert code == 1
    assert "source mallory" in {one["about"] for one in found["findings"]}
    assert "spectral_signature" in found["not_looked_at"]
    code, found = document("--data", files / "clean.parquet", "--source", "by")
    assert code == 0


def test_a_flood_and_rows_unlike_any_trusted_row_are_told(files: Path, tmp_path: Path) -> None:
    rows = pq.read_table(files / "clean.parquet")
    pq.write_table(pa.concat_tables([rows, *[rows.slice(7, 1)] * 60]), tmp_path / "flood.parquet")
    trusted = ("--reference", files / "trusted.parquet", "--embedding", "vector")
    code, found = document("--data", tmp_path / "flood.parquet", *trusted, "--source", "by")
    assert code == 1
    flood = [one for one in found["findings"] if one["heuristic"] == "label_floods"]
    assert [one["hits"] for one in flood] == [61]
    far = np.stack(rows["vector"].to_numpy()).astype(np.float32)
    far[:60] += 30
    moved = rows.drop_columns(["vector"]).append_column(
        "vector", pa.FixedSizeListArray.from_arrays(pa.array(far.reshape(-1)), 5)
    )
    pq.write_table(moved, tmp_path / "far.parquet")
    code, found = document("--data", tmp_path / "far.parquet", *trusted)
    assert code == 1
    assert "unlike_trusted" in {one["heuristic"] for one in found["findings"]}


def test_inputs_that_moved_for_all_classes_are_a_note_and_no_poison(files: Path, tmp_path: Path) -> None:
    rows = pq.read_table(files / "clean.parquet")
    for name in ("x3", "x4"):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, pa.array(2.2 * rows[name].to_numpy()))
    pq.write_table(rows, tmp_path / "moved.parquet")
    place = ("--data", tmp_path / "moved.parquet", "--reference", files / "trusted.parquet", "--ignore", "vector")
    found = document(*place)[1]
    assert {one["heuristic"] for one in found["findings"]} <= {"unlike_trusted"}
    assert any("inputs have moved" in note for note in found["notes"])


def test_rows_without_label_or_with_one_that_nobody_knows_are_counted(files: Path, tmp_path: Path) -> None:
    rows = pq.read_table(files / "clean.parquet")
    label = rows["label"].to_pylist()
    label[:3], label[3:5] = [None] * 3, ["fish"] * 2
    pq.write_table(rows.drop_columns(["label"]).append_column("label", pa.array(label)), tmp_path / "odd.parquet")
    code, found = document("--data", tmp_path / "odd.parquet", "--reference", files / "trusted.parquet")
    assert code == 0
    assert (found["rows_without_label"], found["rows_with_unknown_label"]) == (3, 2)
    other = rows.drop_columns(["label"]).append_column("label", pa.array(np.arange(rows.num_rows) % 3 * 1.0))
    pq.write_table(other, tmp_path / "other.parquet")
    code, text = asked("--data", tmp_path / "other.parquet", "--reference", files / "trusted.parquet")
    assert code == 2
    assert "bird, cat, dog" in text


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--data", "{}/none.parquet", "--reference", "{}/trusted.parquet"), "no such file"),
        (("--data", "{}/bad.parquet", "--reference", "{}/none.csv"), "--reference"),
        (("--data", "{}/bad.parquet", "--reference", "{}/trusted.parquet", "--label", "lable"), "did you mean 'label'"),
        (("--data", "{}/bad.parquet", "--reference", "{}/trusted.parquet", "--label", "number"), "at most 100"),
        (("--data", "{}/bad.parquet", "--reference", "{}/trusted.parquet", "--embedding", "x1"), "lists of numbers"),
        (("--data", "{}/bad.parquet", "--reference", "{}/trusted.csv", "--embedding", "vector"), "--embedding"),
        (("--data", "{}/bad.parquet", "--reference", "{}/trusted.parquet", "--source", "who"), "--source"),
        (("--data", "{}/bad.parquet", "--reference", "{}/trusted.parquet", "--out", "{}/no/where.parquet"), "--out"),
    ],
)
def test_bad_input_is_told_with_its_option_and_exit_code_two(files: Path, options: tuple[str, ...], told: str) -> None:
    code, text = asked(*(one.format(files) for one in options))
    assert code == 2
    assert told in text


def test_digests_tell_rows_apart_and_not_their_types() -> None:
    rows = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [np.nan, 0.0], [np.nan, -0.0]])
    found = digests(rows)
    assert found[0] == found[2]
    assert found[3] == found[4]
    assert len(set(found.tolist())) == 3
    assert (digests(rows.astype(np.float32)) == found).all()
    many = np.random.default_rng(0).integers(0, 4, (20_000, 12)).astype(np.float64)
    assert len(np.unique(digests(many))) == len(np.unique(many, axis=0))


def test_the_installed_command_says_it_by_exit_code(files: Path) -> None:
    place = ["--reference", str(files / "trusted.parquet"), "--embedding", "vector"]
    codes = [
        subprocess.run(
            [sys.executable, "-m", "monitor", "audit", "--data", str(files / name), *place],
            capture_output=True,
            check=False,
        ).returncode
        for name in ("bad.parquet", "none.parquet")
    ]
    assert codes == [1, 2]
