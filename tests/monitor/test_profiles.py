"""Columns derived from answers are what their names say, however rows come, and they find what answers alone hide."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from detectors.types import Block
from monitor import artefact
from monitor.config import Model
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.reference import fit
from monitor.report import Finding
from monitor.schema import Roles
from monitor.sinks.prometheus import ModelTally, of_model
from monitor.streams import ModelStreams
from monitor.telling import decoder_of
from monitor.web.live import Live

RNG = np.random.default_rng(0)
N = 3_000
Vectors = NDArray[np.float32]


def vectors(p: NDArray[Any], **given: Any) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(p.astype(np.float32).ravel()), p.shape[1], **given)


def measure(columns: Mapping[str, Any], roles: Roles) -> Fitted:
    return fit(lambda: iter(pa.table(dict(columns)).to_batches(max_chunksize=700)), roles, clock=lambda: 1.7e9)


def chances(classes: int, rows: int = N) -> Vectors:
    return RNG.dirichlet(np.full(classes, 0.4), rows).astype(np.float32)


def derived(fitted: Fitted) -> tuple[str, ...]:
    return tuple(one.name for one in fitted.plan.derived)


def column(fitted: Fitted, block: Block, name: str) -> NDArray[Any]:
    unit, p = fitted.reference.grid.names.index(name), block.numeric.shape[1]
    return block.numeric[:, unit] if unit < p else block.codes[:, unit - p]


def decoded(fitted: Fitted, table: pa.Table) -> Block:
    return decoder_of(fitted).decode(table.combine_chunks().to_batches()[0]).block


@pytest.fixture(scope="module")
def digits() -> tuple[Fitted, Vectors]:
    """Ten classes, no prediction logged."""
    p = chances(10)
    return measure({"x": RNG.normal(size=N), "p": vectors(p)}, Roles(probabilities="p")), p


@pytest.mark.parametrize("classes", [3, 10, 16, 17, 40])
def test_measures_of_vectors_are_their_definitions(classes: int) -> None:
    p = chances(classes)
    fitted = measure({"p": vectors(p)}, Roles(probabilities="p"))
    assert derived(fitted) == ("confidence(p)", "margin(p)", "entropy(p)", "answer(p)")
    block = decoded(fitted, pa.table({"p": vectors(p)}))
    ordered = np.sort(p, axis=1)
    np.testing.assert_array_equal(column(fitted, block, "confidence(p)"), ordered[:, -1])
    np.testing.assert_array_equal(column(fitted, block, "margin(p)"), ordered[:, -1] - ordered[:, -2])
    np.testing.assert_allclose(column(fitted, block, "entropy(p)"), stats.entropy(p, axis=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(column(fitted, block, "answer(p)"), p.argmax(axis=1))


def test_logits_become_chances() -> None:
    z = RNG.normal(size=(N, 4)).astype(np.float32) * 3
    fitted = measure({"z": vectors(z)}, Roles(logits="z"))
    block = decoded(fitted, pa.table({"z": vectors(z)}))
    p = special.softmax(z.astype(np.float64), axis=1)
    np.testing.assert_allclose(column(fitted, block, "confidence(z)"), p.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(column(fitted, block, "entropy(z)"), stats.entropy(p, axis=1), rtol=1e-4, atol=1e-6)


def test_two_classes_have_a_chance_and_a_confidence() -> None:
    p = chances(2)
    fitted = measure({"p": vectors(p)}, Roles(probabilities="p"))
    assert derived(fitted) == ("chance(p)", "confidence(p)")
    np.testing.assert_array_equal(column(fitted, decoded(fitted, pa.table({"p": vectors(p)})), "chance(p)"), p[:, 1])
    both = measure({"p": vectors(p), "s": p[:, 1]}, Roles(probabilities="p", score="s"))
    assert derived(both) == ("confidence(p)",)


def test_a_score_of_two_classes_is_folded() -> None:
    score = RNG.random(N)
    fitted = measure({"s": score, "said": score > 0.5}, Roles(score="s", prediction="said"))
    assert derived(fitted) == ("confidence(s)",)
    odd = [0.2, 0.7, None, float("nan"), -0.1, 1.5, 1.0]
    block = decoded(fitted, pa.table({"s": odd, "said": [True] * 7}))
    np.testing.assert_array_equal(column(fitted, block, "confidence(s)"), [0.8, 0.7, *[np.nan] * 4, 1.0])
    text = decoded(fitted, pa.table({"s": ["0.2", "odd", "0.9"], "said": [True] * 3}))
    np.testing.assert_array_equal(column(fitted, text, "confidence(s)"), [0.8, np.nan, 0.9])


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (RNG.normal(size=N), RNG.integers(0, 2, N)),  # no chance
        (0.5 + RNG.random(N) / 2, RNG.integers(0, 2, N)),  # its own confidence
        (RNG.random(N), RNG.integers(0, 3, N)),  # three classes
        (RNG.random(N), RNG.normal(size=N)),  # a regression
        (pa.nulls(N, pa.float64()), RNG.integers(0, 2, N)),
        (RNG.random(N), pa.array([{"class": 1}] * N)),  # no answer that could be looked at
    ],
    ids=["range", "one side", "three classes", "regression", "empty", "nested"],
)
def test_what_is_no_chance_of_two_classes_is_watched_as_it_is(score: Any, said: Any) -> None:
    fitted = measure({"s": score, "said": said}, Roles(score="s", prediction="said"))
    assert derived(fitted) == ()
    watched = {one.name for one in fitted.plan.columns if one.monitored}
    assert "s" in watched
    assert {fitted.reference.grid.names[unit] for unit in fitted.answers} == watched


def test_how_rows_are_batched_changes_no_value(digits: tuple[Fitted, Vectors]) -> None:
    fitted, p = digits
    table = pa.table({"x": np.zeros(N), "p": vectors(p)})
    whole = decoded(fitted, table)
    cuts = [0, 1, 2, 9, 300, 301, 1_000, N]
    parts = [decoded(fitted, table.slice(a, b - a)) for a, b in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate([one.numeric for one in parts]), whole.numeric)
    np.testing.assert_array_equal(np.concatenate([one.codes for one in parts]), whole.codes)


def test_the_reference_counts_what_production_decodes(digits: tuple[Fitted, Vectors]) -> None:
    """The reader without vectors, which counts strata and grids, and the one with them agree."""
    fitted, p = digits
    lean = dataclasses.replace(fitted.reference.grid, vectors=())
    batch = pa.table({"x": np.zeros(N), "p": vectors(p)}).to_batches()[0]
    one = Decoder(fitted.plan, lean, fitted.vocabularies).decode(batch).block
    np.testing.assert_array_equal(one.numeric, decoder_of(fitted).decode(batch).block.numeric)
    counts = np.bincount(p.argmax(axis=1), minlength=10)
    assert fitted.reference.summary.codes[0][:10].tolist() == counts.tolist()


def test_a_missing_source_is_missing_in_all_that_comes_from_it(digits: tuple[Fitted, Vectors]) -> None:
    fitted, _ = digits
    found = decoder_of(fitted).decode(pa.table({"x": [0.0, 1.0], "confidence(p)": [0.3, 0.4]}).to_batches()[0])
    assert found.missing_columns == ("p",)
    assert np.isnan(found.block.numeric[:, 1:]).all()
    assert (found.block.codes == -1).all()
    holes = pa.array([[0.1] * 10, None, [0.5, 0.5], [float("nan"), *[0.1] * 9]], pa.list_(pa.float32()))
    block = decoded(fitted, pa.table({"x": [0.0] * 4, "p": holes}))
    assert np.isnan(column(fitted, block, "entropy(p)")).tolist() == [False, True, True, True]
    assert column(fitted, block, "answer(p)").tolist() == [0, -1, -1, -1]


def test_declared_classes_name_answers_and_a_taken_name_is_left_alone() -> None:
    p = chances(3)
    roles = Roles(probabilities="p", classes=("cat", "dog", "owl"))
    fitted = measure({"p": vectors(p), "margin(p)": RNG.normal(size=N)}, roles)
    assert fitted.reference.grid.labels == (("cat", "dog", "owl"),)
    assert derived(fitted) == ("confidence(p)", "entropy(p)", "answer(p)")
    block = decoded(fitted, pa.table({"p": vectors(p), "margin(p)": np.full(N, 7.0)}))
    np.testing.assert_array_equal(column(fitted, block, "margin(p)"), 7.0)
    np.testing.assert_array_equal(column(fitted, block, "confidence(p)"), p.max(axis=1))


def test_joint_views_look_at_what_is_logged_only() -> None:
    score = RNG.random(N)
    table = {"x": RNG.normal(size=N), "y": RNG.normal(size=N), "s": score, "said": score > 0.5}
    fitted = measure(table, Roles(score="s", prediction="said"))
    names = {fitted.reference.grid.names[unit] for view in fitted.reference.views for unit in view.units}
    assert fitted.reference.views
    assert names == {"x", "y", "s", "said"}


def test_an_artefact_keeps_them_and_one_of_before_has_none(tmp_path: Path, digits: tuple[Fitted, Vectors]) -> None:
    fitted, p = digits
    artefact.write(fitted, tmp_path / "new")
    again = artefact.load(tmp_path / "new")
    table = pa.table({"x": np.zeros(N), "p": vectors(p)})
    np.testing.assert_array_equal(decoded(again, table).numeric, decoded(fitted, table).numeric)
    with mock.patch("monitor.reference.planned", lambda plan, *_: plan):
        before = measure({"x": RNG.normal(size=N), "p": vectors(p)}, Roles(probabilities="p"))
    artefact.write(before, tmp_path / "old")
    manifest = tmp_path / "old" / "manifest.json"
    document = json.loads(manifest.read_text())
    for one in document["plan"]["columns"]:
        del one["source"], one["length"]
    manifest.write_text(json.dumps(document))
    old = artefact.load(tmp_path / "old")
    assert derived(old) == ()
    assert decoded(old, table).numeric.shape == (N, 1)


def rows(number: int, rng: np.random.Generator, sharper: float) -> pa.Table:
    """A score whose logits are normal, times ``sharper``, among inputs that never move."""
    z = sharper * rng.normal(size=number)
    inputs = {f"x{i}": rng.normal(size=number) for i in range(6)}
    return pa.table({**inputs, "score": special.expit(z), "said": z > 0})


def model(**given: Any) -> Model:
    return Model.model_validate(
        {
            "name": "m",
            "reference": "unused.parquet",
            "columns": {"score": "score", "prediction": "said"},
            "pane": {"rows": 200},
            "alarms": {"false_alarms": "1 per 10000 panes", "smallest_shift": 0.05},
            "joint": {"enabled": False},
            **given,
        }
    )


def streams_of(**given: Any) -> ModelStreams:
    table = rows(20_000, np.random.default_rng(1), 1.0)
    fitted = measure({name: table[name] for name in table.column_names}, Roles(score="score", prediction="said"))
    return ModelStreams(model(**given), fitted, config_id="test", timer=lambda: 0.0)


def test_a_model_that_grows_too_sure_is_paged_by_its_confidence() -> None:
    """Symmetric about 1/2, so that score and class say half of it: within the tolerance, here."""
    batch = rows(40 * 200, np.random.default_rng(2), 1.25).combine_chunks().to_batches()[0]
    quiet = rows(40 * 200, np.random.default_rng(3), 1.0).combine_chunks().to_batches()[0]
    with mock.patch("monitor.reference.planned", lambda plan, *_: plan):
        logged = streams_of()
    assert not [one for streams in (logged, streams_of()) for one in pages(streams, quiet)]
    assert not pages(logged, batch)
    found = pages(streams_of(), batch)
    (unit,) = found[0].units
    assert unit.unit == "confidence(score)"
    z = np.sqrt(2 * np.log(1.25) / (1 - 1.25**-2))  # where the two densities cross
    truth = 2 * (special.ndtr(z) - special.ndtr(z / 1.25))
    assert unit.effect_low < truth < unit.effect_high
    assert truth / 2 < 0.055


def pages(streams: ModelStreams, batch: pa.RecordBatch) -> list[Finding]:
    return [one for report in streams.feed(batch, "", 0.0).reports for one in report.findings if one.severity == "page"]


def test_answers_are_among_the_series_and_on_the_page_whatever_their_evidence() -> None:
    streams = streams_of(top_features=1)
    strong = rows(5 * 200, np.random.default_rng(4), 1.0)
    strong = strong.set_column(0, "x0", pa.array(np.full(1_000, 9.0)))
    streams.feed(strong.combine_chunks().to_batches()[0], "", 0.0)
    answers = {"score", "said", "confidence(score)"}
    series = of_model(streams, ModelTally())
    assert {labels[2] for labels, _ in series["driftwarden_feature_log_e"]} == answers | {"x0"}
    live = Live(lambda: {"m": SimpleNamespace(streams=streams)})  # type: ignore[dict-item]
    shown = live.units("m", "all", values=True, most=1)
    assert next(one.column.name for one in shown) == "x0"
    assert {one.column.name for one in shown} == answers | {"x0"}
    assert next(one for one in shown if one.column.name == "confidence(score)").column.spec
