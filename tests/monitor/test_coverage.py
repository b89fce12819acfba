"""`driftwarden report --coverage`: what is watched with these columns, what is missing, what no log shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from detectors.heuristics import CLIENT, HEURISTICS, LABEL
from detectors.taxonomy import MODES, TELEMETRY
from monitor import artefact, docs, standing
from monitor.cli import command
from monitor.config import Config, Model, parse_config
from monitor.coverage import READS, Row, coverage, measured
from monitor.errors import ConfigError
from monitor.fitted import Fitted
from monitor.loading import fitted_of, measure_batches
from tests.monitor.streams_bench import rows

ANY_CLIENT = [name for name, one in HEURISTICS.items() if one.about == CLIENT]
ANY_LABEL = [name for name, one in HEURISTICS.items() if one.about == LABEL]
SHIFT, CORRUPTION, UNTESTED = "distributional_shift", "common_corruption", "incomplete_testing"


def configured(folder: Path = Path(), **changes: Any) -> Model:
    return parse_config({"models": [{"name": "m", "reference": "reference.parquet"} | changes]}, base=folder).models[0]


def table(model: Model, fitted: Fitted | None = None) -> dict[str, Row]:
    return {row.mode.name: row for row in coverage(model, fitted).rows}


def names(row: Row) -> set[str]:
    return {one.detector for one in row.watchers}


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return measure_batches([rows(6_000, 0)], configured())


FULL: dict[str, Any] = {
    "client": "c",
    "prediction": "p",
    "probabilities": "q",
    "label": "y",
    "source": "s",
    "version": "v",
    "image": "i",
    "image_shape": [8, 8, 1],
}
GUARDED: dict[str, Any] = {"security": {"enabled": True, "training": True}}


def test_every_mode_has_a_row_and_inputs_alone_show_some_of_them() -> None:
    found = table(configured(**GUARDED))
    assert list(found) == list(MODES)
    assert {name for name, row in found.items() if row.status in ("watched", "in part")} == {
        *(SHIFT, CORRUPTION, UNTESTED),
        *("perturbation_attack", "model_inversion", "reprogramming", "physical_adversarial_example"),
        "software_dependencies",
    }
    assert {name for name, row in found.items() if row.status == "cannot"} == {"malicious_provider"}
    assert {row.status for row in found.values()} == {"no", "in part", "cannot"}


@pytest.mark.parametrize("changes", [{}, {"columns": FULL, "security": {"enabled": False}}])
def test_without_the_heuristics_only_drift_is_watched_and_it_says_so(changes: dict[str, Any]) -> None:
    found = table(configured(**changes))
    assert {name for name, row in found.items() if row.watchers} == {SHIFT, CORRUPTION, UNTESTED}
    assert "security.enabled" in {gap.key for gap in found["model_stealing"].missing}
    assert coverage(configured(**changes)).absent == ()


def test_full_log_leaves_out_only_what_has_no_key() -> None:
    absent = coverage(configured(columns=FULL, **GUARDED)).absent
    assert [(one.names, one.heuristics) for one in absent] == [
        (("endpoint",), ("active_probes",)),
    ]
    assert {row.mode.number for row in coverage(configured(columns=FULL, **GUARDED)).rows if not row.watchers} == {
        8,
        12,
        13,
    }


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        (
            "client",
            f"no columns.client: modes 1, 4, 5, 6 not watched by {', '.join(ANY_CLIENT)}",
        ),
        (
            "label",
            f"no columns.label: modes 2, 10 not watched by {', '.join(ANY_LABEL)}",
        ),
        ("image", "no columns.image: modes 1, 16 not watched by image_statistics"),
        ("source", ""),
    ],
)
def test_one_line_says_what_is_off_without_a_column_and_nothing_else_changes(column: str, sentence: str) -> None:
    given = {name: FULL[name] for name in FULL if name != column and not (column == "image" and name == "image_shape")}
    fewer, full = coverage(configured(columns=given, **GUARDED)), coverage(configured(columns=FULL, **GUARDED))
    new = [one.sentence for one in fewer.absent if one not in full.absent]
    assert new == ([sentence] if sentence else [])
    off = {name for one in fewer.absent if one not in full.absent for name in one.heuristics}
    for before, after in zip(full.rows, fewer.rows, strict=True):
        assert names(before) - off == names(after)


def test_who_asks_about_training_rows_is_watched_once_the_reference_is_said_to_be_them() -> None:
    fewer = coverage(configured(columns=FULL, security={"enabled": True}))
    assert "no security.training: mode 4 not watched by membership_probing" in [one.sentence for one in fewer.absent]


def test_answers_of_any_kind_are_enough() -> None:
    for column in ("prediction", "probabilities", "logits", "score"):
        assert "boundary_walk" in names(table(configured(columns={column: "a"}, **GUARDED))["perturbation_attack"])
    found = coverage(configured(**GUARDED))
    (lacking,) = [one for one in found.absent if "boundary_walk" in one.heuristics]
    assert lacking.sentence.startswith(
        "no columns.prediction or columns.probabilities or columns.logits or columns.score: modes 1, "
    )


def test_mode_that_is_only_spoken_of_beside_others_is_not_watched() -> None:
    found = table(configured(columns={"score": "s"}, **GUARDED))
    assert (names(found["membership_inference"]), found["membership_inference"].status) == ({"boundary_walk"}, "no")


def test_configuration_alone_names_what_would_run() -> None:
    found = table(configured(columns={"score": "s", "embeddings": ["e"]}, streaming=["adwin"]))[SHIFT]
    assert {"e_ks", "e_witness", "joint_min_p", "adwin", "relevant_drift"} <= names(found)
    by = {one.detector: one for one in found.watchers}
    assert by["e_witness"].views == ("columns", "scores", "e", "row scores")
    assert (by["e_ks"].columns, by["e_ks"].does, by["adwin"].does) == (None, "pages", "notes")


def test_joint_layer_that_is_switched_off_is_missing() -> None:
    found = table(configured(joint={"enabled": False}))[SHIFT]
    assert not names(found) & {"e_witness", "joint_min_p"}
    assert "joint.enabled" in {gap.key for gap in found.missing}


def test_named_column_is_missing_no_more_where_it_is_read() -> None:
    bare = {gap.key for gap in table(configured())[SHIFT].missing}
    named = {gap.key for gap in table(configured(columns={"score": "s", "version": "v"}))[SHIFT].missing}
    assert bare - named == {"columns.score", "columns.version"}


def test_named_column_that_nothing_reads_is_said_to_be_so() -> None:
    gaps = {gap.name: gap for gap in table(configured(columns={"label": "y"}))["reward_hacking"].missing}
    assert (gaps["label"].given, gaps["label"].read) == (True, False)
    assert (gaps["outcome"].given, gaps["outcome"].read, gaps["outcome"].key) == (False, False, "")


def test_measured_reference_says_how_many_columns_each_detector_looks_at(fitted: Fitted) -> None:
    found = coverage(configured(), fitted)
    assert found.source == "reference"
    by = {one.detector: one.columns for row in found.rows for one in row.watchers}
    numeric, codes = len(fitted.plan.numeric), len(fitted.plan.categorical)
    assert (by["e_ks"], by["e_missing"]) == (numeric + codes, numeric + codes)
    assert (by["e_nonfinite"], by["mean_change"], by["e_new_category"]) == (numeric, numeric, codes)


def test_detector_without_a_column_to_look_at_does_not_watch() -> None:
    model = configured()
    numbers = measure_batches([rows(2_000, 0).select(["a", "b"])], model)
    assert names(table(model, numbers)[UNTESTED]) == {"e_out_of_range"}


def test_embedding_alone_is_no_input(fitted: Fitted) -> None:
    plan = fitted.plan
    bare = Fitted(
        type(plan)(tuple(one for one in plan.columns if one.role != "feature"), plan.roles, plan.strata),
        fitted.reference,
        fitted.vocabularies,
        fitted.sample,
        fitted.rows,
        fitted.created,
    )
    assert "inputs" in {gap.name for gap in table(configured(), bare)[CORRUPTION].missing}
    assert "inputs" not in {gap.name for gap in table(configured(), fitted)[CORRUPTION].missing}


def test_keys_of_telemetry_exist_in_the_configuration_and_what_is_read_is_asked_for() -> None:
    known = {path for path, _, _ in docs.keys(Config)}
    known |= {path.rpartition(".")[0] for path in known}  # a section is a key too
    assert {f"models[].{one.key}" for one in TELEMETRY.values() if one.key} <= known
    assert set(READS) == set(MODES)
    assert set().union(*READS.values()) <= set(TELEMETRY)


def test_reference_is_taken_where_it_was_measured_and_never_measured(tmp_path: Path) -> None:
    cache = tmp_path / "references"
    model = configured(tmp_path)
    assert measured(model, tmp_path) is None  # nothing there at all
    pq.write_table(pa.Table.from_batches([rows(2_000, 0)]), tmp_path / "reference.parquet")
    assert measured(model, tmp_path) is None  # only data
    assert not cache.exists()
    fitted_of(model, cache)
    kept = measured(model, tmp_path)
    assert kept is not None
    assert kept.rows == 2_000


def test_reference_that_the_agent_learnt_is_taken_only_where_it_still_stands_in(tmp_path: Path, fitted: Fitted) -> None:
    model = configured(reference={"learn_rows": 1_000})
    place = tmp_path / "references" / "m-learned"
    artefact.write(fitted, place)
    assert measured(model, tmp_path) is None  # nobody knows what it was made for
    place.with_name("m-learned.json").write_text(json.dumps({"replaces": standing.identity(model)}), encoding="utf-8")
    learned = measured(model, tmp_path)
    assert learned is not None
    assert learned.rows == 6_000
    other = configured(reference={"learn_rows": 1_000}, columns={"ignore": ["a"]})
    assert measured(other, tmp_path) is None


def invoke(folder: Path, *more: str, **changes: Any) -> Result:
    file = folder / "driftwarden.yaml"
    model = {"name": "m", "reference": "reference.parquet"} | changes
    file.write_text(yaml.safe_dump({"models": [model], "store": {"path": "state"}}), encoding="utf-8")
    return CliRunner().invoke(command, ["report", "-c", str(file), *more], catch_exceptions=False)


def test_command_prints_one_json_document(tmp_path: Path, fitted: Fitted) -> None:
    artefact.write(fitted, tmp_path / "artefact")
    done = invoke(tmp_path, "--coverage", "--json", reference="artefact", **GUARDED)
    assert done.exit_code == 0
    (found,) = json.loads(done.stdout)
    assert (found["model"], found["source"]) == ("m", "reference")
    assert [one["number"] for one in found["modes"]] == list(range(1, 18))
    shift = found["modes"][13]
    assert (shift["mode"], shift["status"]) == (SHIFT, "in part")
    assert {"detector": "e_ks", "does": "pages", "columns": 4, "views": []} in shift["detectors"]
    assert {"name", "key", "what", "given", "read"} == set(shift["missing"][0])
    assert {"names": ["client"], "heuristics": ANY_CLIENT, "modes": [1, 4, 5, 6]} in found["absent"]
    assert not (tmp_path / "state").exists()


def test_command_prints_a_table_for_people(tmp_path: Path) -> None:
    done = invoke(tmp_path, "--coverage", columns={"client": "who", "embeddings": ["[bold]"]})
    assert done.exit_code == 0
    text = done.stdout
    assert "m: failure modes, told from the configuration alone" in text
    assert [mode.title for mode in MODES.values() if mode.title.split()[0] not in text] == []
    for wanted in (
        "14 tests of columns",
        "no key yet: outcome",
        "security.training",
        "no columns.label: modes 2, 10 not watched by label_disagreement",
        "no security.probes: mode 1 not watched by active_probes",
        "[bold]",
    ):
        assert wanted in text


def test_command_refuses_a_model_that_is_not_configured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model is called 'x'"):
        invoke(tmp_path, "--coverage", "--model", "x")
