"""What rows are compared by, how unsure an answer is read to be, and what is left out of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from monitor.archive import Archive
from monitor.config import parse_config
from monitor.errors import ReferenceError_
from monitor.exports import table
from monitor.exports.asked import Asked
from monitor.exports.ground import Ground
from monitor.exports.labelling import doubts, reasons
from monitor.exports.weights import verdict
from monitor.loading import measure_batches
from tests.monitor.streams_bench import model
from tests.monitor.test_exemplars import COLUMNS, rows, vectors


def stand(batch: pa.RecordBatch, **columns: Any) -> Ground:
    settings = model(columns=columns)
    fitted = measure_batches([batch], settings)
    document = {"models": [{"name": "m", "reference": "r"}], "store": {"path": "not there"}}
    config = parse_config(document, base=Path("/nowhere"))
    return Ground(config, settings, fitted, cast("Archive", None), Asked("weights"))


def test_inputs_are_compared_by_columns_and_embeddings_never_by_answers() -> None:
    ground = stand(rows(4_000, 0), **COLUMNS)
    names = ground.places.names
    assert set(names) == {"x", "row", "z"}
    assert names.count("z") == 6
    place = ground.places.of(ground.trusted.block)
    assert place.shape == (ground.fitted.sample.num_rows, len(names))
    assert np.isfinite(place).all()


def test_columns_whose_rows_depend_on_each_other_for_long_are_left_out() -> None:
    batch = rows(4_000, 0).append_column("clock", pa.array(np.arange(4_000.0)))
    ground = stand(batch, **COLUMNS)
    assert ground.places.left_out == ("clock",)
    assert "clock" not in ground.places.names


def test_without_an_input_that_varies_there_is_nothing_to_compare_by() -> None:
    batch = pa.RecordBatch.from_pydict({"same": [1.0] * 500, "p": np.random.default_rng(0).random(500)})
    with pytest.raises(ReferenceError_, match="no input column varies"):
        _ = stand(batch, score="p").places


def test_doubt_is_read_from_probabilities_logits_or_the_chance_of_two_classes() -> None:
    batch, logits = rows(600, 0), np.random.default_rng(1).standard_normal((600, 3))
    ground = stand(batch, **COLUMNS)
    found = doubts(ground.reader.rows(ground.decoder.decode(batch)))
    told = np.array(batch.column("p").to_pylist())
    assert found == pytest.approx(1 - told.max(axis=1), abs=1e-6)
    raw = batch.append_column("raw", vectors(logits))
    ground = stand(raw, logits="raw", prediction="answer")
    raised = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = doubts(ground.reader.rows(ground.decoder.decode(raw)))
    assert found == pytest.approx(1 - raised.max(axis=1), abs=1e-5)
    ground = stand(batch, prediction="answer")
    assert np.isnan(doubts(ground.reader.rows(ground.decoder.decode(batch)))).all()


def test_reasons_are_told_in_words() -> None:
    assert reasons(0.02, 0.04, 1.1) == [
        "the model is as unsure of at most 2.0% of the reference",
        "rows like it come 3.0 times as often as in the reference",
    ]
    assert reasons(float("nan"), 0.5, 0.2) == ["it covers a part of the traffic that no row above does"]
    assert reasons(0.5, 0.01, -0.1) == reasons(0.5, 0.5, 0.0)


def test_what_weights_are_worth_is_said_plainly() -> None:
    assert "change nothing" in verdict(9_000, 10_000, 0.51)
    assert "Do not train with them" in verdict(90, 5_000, 0.9)
    assert "Do not train with them" in verdict(900, 100_000, 0.9)
    assert "worth 4,000 of 5,000 rows" in verdict(4_000, 5_000, 0.7)


def test_a_log_that_uses_our_names_loses_nothing() -> None:
    batch = pa.RecordBatch.from_pydict({"driftwarden_row": ["mine"], "x": [1.0]})
    found = table.beside({"row": [7]}, batch)
    assert found.to_pylist() == [{"driftwarden_row": 7, "driftwarden_row (logged)": "mine", "x": 1.0}]
