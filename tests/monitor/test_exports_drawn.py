"""Rows drawn to be labelled, and what their labels say of all: unbiased, by the file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from monitor.archive import reading
from monitor.cli_report import estimate
from monitor.config import Config
from monitor.errors import ConfigError, NothingThere
from monitor.exports import drawing
from monitor.exports.asked import Asked
from monitor.exports.estimated import estimated
from monitor.exports.export import write as export
from monitor.records import News
from tests.monitor.exports_bench import NOW, config, keep, measured, rows, write

KEPT = [rows(3_000, seed, shift=0.5, first=10_000 * seed) for seed in (1, 2)]
TRUTH = {row["row"]: row["truth"] for batch in KEPT for row in batch.to_pylist()}
WRONG = float(np.mean([row["truth"] != row["answer"] for batch in KEPT for row in batch.to_pylist()]))


def without_labels(batch: pa.RecordBatch) -> pa.RecordBatch:
    place = batch.schema.get_field_index("truth")
    return batch.set_column(place, "truth", pa.nulls(batch.num_rows, pa.string()))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """6,000 rows without labels, and 500 with."""
    made = config(tmp_path_factory.mktemp("drawn"))
    measured(made)
    keep(made, *(without_labels(batch) for batch in KEPT), rows(500, 9, first=90_000))
    write(made, News())
    return made


def drawn(settings: Config, place: Path, number: int = 400, **asked: Any) -> dict[str, Any]:
    with reading(settings.store.path) as archive, place.open("wb") as out:
        return export(settings, archive, Asked("drawn", rows=number, **{"values": True, **asked}), out)


def labelled(place: Path, share: float = 1.0) -> pa.Table:
    """The file with its labels filled in, of a share of the rows."""
    found = pq.read_table(place)
    known = np.random.default_rng(0).random(found.num_rows) < share
    names = [TRUTH[row] if one else None for row, one in zip(found["row"].to_pylist(), known.tolist(), strict=True)]
    found = found.set_column(found.column_names.index("driftwarden_label"), "driftwarden_label", pa.array(names))
    pq.write_table(found, place)
    return found


def test_labels_of_drawn_rows_say_how_often_the_model_is_wrong(settings: Config, tmp_path: Path) -> None:
    place = tmp_path / "drawn.parquet"
    facts = drawn(settings, place)
    assert (facts["rows"], facts["candidates"], facts["unlabelled_rows"], facts["labelled_rows"]) == (
        400,
        6_000,
        6_000,
        500,
    )
    assert facts["predicted_error_auroc"] > 0.6
    assert facts["expected_loss"] == pytest.approx(WRONG, abs=0.06)
    found = labelled(place)
    assert found["truth"].null_count == 400
    said = estimated(place, by="kind")
    assert (said["rows"], said["drawn"], said["labelled"], said["loss_is"]) == (6_000, 400, 400, "error")
    assert said["unbiased"]["low"] < WRONG < said["unbiased"]["high"]
    assert said["unbiased"]["value"] == pytest.approx(said["ratio"]["value"], abs=0.01)
    assert set(said["by"]) == {"x", "y", "z"}
    assert sum(one["labels"] for one in said["by"].values()) == 400


def test_over_many_draws_the_estimate_is_unbiased_and_narrower_than_one_of_even_draws(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "CANDIDATES", 4_500)  # an even sample of the rows first
    got, covered, errors = [], 0, []
    for number in range(40):
        monkeypatch.setattr("secrets.randbits", lambda _, seed=number: seed)
        place = tmp_path / "drawn.parquet"
        drawn(settings, place, 300)
        labelled(place)
        said = estimated(place)["unbiased"]
        got.append(said["value"])
        errors.append(said["error"])
        covered += said["low"] <= WRONG <= said["high"]
    assert np.mean(got) == pytest.approx(WRONG, abs=4 * float(np.std(got)) / 40**0.5)
    assert covered >= 35
    assert np.std(got) < 1.25 * np.mean(errors)
    assert np.mean(errors) < 0.95 * (WRONG * (1 - WRONG) / 300) ** 0.5


def test_labels_that_never_came_are_borne_and_said(settings: Config, tmp_path: Path) -> None:
    place = tmp_path / "drawn.parquet"
    drawn(settings, place)
    found = labelled(place, 0.6)
    said = estimated(place)
    assert said["labelled"] == 400 - found["driftwarden_label"].null_count
    assert said["unbiased"] == {"value": None, "why": "labels are missing"}
    assert said["ratio"]["low"] < WRONG < said["ratio"]["high"]
    pq.write_table(found.filter(found["driftwarden_label"].is_valid()), place)
    shorter = estimated(place)
    assert shorter["ratio"]["value"] == pytest.approx(said["ratio"]["value"])


def test_a_file_that_was_tampered_with_is_refused(settings: Config, tmp_path: Path) -> None:
    place = tmp_path / "drawn.parquet"
    drawn(settings, place)
    found = labelled(place)
    faults = {
        "each row once": pa.concat_tables([found, found]),
        "there is no column driftwarden_stratum": found.drop_columns(["driftwarden_stratum"]),
        "a value is missing": found.set_column(
            found.column_names.index("driftwarden_probability"), "driftwarden_probability", pa.nulls(400, pa.float64())
        ),
    }
    for fault, table in faults.items():
        pq.write_table(table, place)
        with pytest.raises(ConfigError, match=fault):
            estimated(place)
    place.write_bytes(b"no table")
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        estimated(place)


def test_who_may_see_no_values_sees_no_answers(settings: Config, tmp_path: Path) -> None:
    place = tmp_path / "drawn.parquet"
    drawn(settings, place, values=False)
    found = pq.read_table(place)
    assert {name for name in found.column_names if not name.startswith("driftwarden_")} == {"row", "ts"}
    assert "driftwarden_answer" not in found.column_names
    with pytest.raises(ConfigError, match="--answer"):
        estimated(place)


def test_regressions_are_drawn_evenly_and_told_as_absolute_errors(tmp_path: Path) -> None:
    columns = {"time": "ts", "id": "row", "client": "who", "prediction": "said", "label": "truth"}
    truth = np.concatenate([batch["right"].to_numpy() for batch in KEPT])

    def numbers(batch: pa.RecordBatch, *, known: bool) -> pa.RecordBatch:
        table = pa.Table.from_batches([batch]).select(["row", "ts", "who", "left", "kind"])
        said = batch["right"].to_numpy() + 1
        table = table.append_column("said", pa.array(said))
        label = pa.array(batch["right"].to_numpy()) if known else pa.nulls(batch.num_rows, pa.float64())
        return table.append_column("truth", label).combine_chunks().to_batches()[0]

    folder = tmp_path / "numbers"
    folder.mkdir()
    reference = numbers(rows(4_000, 0, first=-10_000), known=True)
    pq.write_table(pa.Table.from_batches([reference]), folder / "reference.parquet")
    settings = config(folder, columns=columns)
    measured(settings)
    keep(settings, *(numbers(batch, known=False) for batch in KEPT))
    write(settings, News())
    place = tmp_path / "drawn.parquet"
    drawn(settings, place, 200)
    found = pq.read_table(place)
    place_of = {row: i for i, row in enumerate(row for batch in KEPT for row in batch["row"].to_pylist())}
    values = pa.array(truth[[place_of[row] for row in found["row"].to_pylist()]])
    pq.write_table(found.set_column(found.column_names.index("driftwarden_label"), "driftwarden_label", values), place)
    said = estimated(place)
    assert said["loss_is"] == "absolute error"
    assert said["unbiased"]["value"] == pytest.approx(1.0, abs=1e-9)
    assert np.allclose(found["driftwarden_probability"].to_numpy(), 200 / 6_000, rtol=0.2)


def test_labels_are_classes_however_they_are_written(settings: Config, tmp_path: Path) -> None:
    place = tmp_path / "drawn.parquet"
    drawn(settings, place, 10)
    found = pq.read_table(place)
    answers = pa.array(["1", "1", "0", "0", "1", "1", "1", "0", "0", "1"])
    label = pa.array([1.0, 0.0, 0.0, None, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0])
    for name, column in (("driftwarden_answer", answers), ("driftwarden_label", label)):
        found = found.set_column(found.column_names.index(name), name, column)
    pq.write_table(found, place)
    assert estimated(place)["labelled"] == 9
    full = found.filter(found["driftwarden_label"].is_valid())
    wrong = np.array([0, 1, 0, 0, 0, 0, 1, 1, 0]) / full["driftwarden_probability"].to_numpy()
    expected = wrong.sum() / (1 / full["driftwarden_probability"].to_numpy()).sum()
    assert estimated(place)["ratio"]["value"] == pytest.approx(expected)


def test_the_command_says_it_in_words_and_as_json(settings: Config, tmp_path: Path) -> None:
    place = tmp_path / "drawn.parquet"
    drawn(settings, place)
    labelled(place)
    told = CliRunner().invoke(estimate, [str(place), "--by", "kind"], catch_exceptions=False)
    assert told.output.splitlines()[0] == "400 labels of 400 rows drawn from 6000"
    assert "95 % from" in told.output
    assert json.loads(CliRunner().invoke(estimate, [str(place), "--json"]).output) == estimated(place)


def test_where_everything_is_labelled_nothing_is_drawn(settings: Config, tmp_path: Path) -> None:
    with pytest.raises(NothingThere, match="without a label"):
        drawn(settings, tmp_path / "none.parquet", since=NOW + 5_000)
