"""What is kept beside a finding's rows: the nearest trusted rows, and those that speak for and against an answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.types import FloatArray
from monitor.decode import Decoder
from monitor.evidence import pack_evidence, unpack_evidence
from monitor.exemplars import EXEMPLARS, NEIGHBOURS, ROWS, explained, nearest
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from tests.monitor.streams_bench import model

COLUMNS = {"embeddings": ["z"], "probabilities": "p", "prediction": "answer", "label": "truth"}
CENTRES = np.eye(3, 6) * 3


def vectors(rows: FloatArray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.astype(np.float32).reshape(-1)), rows.shape[1])


def rows(n: int, seed: int, wrong: int = 0) -> pa.RecordBatch:
    """Three classes by embedding; the answer is the nearest centre, the truth is too but for the first ``wrong``."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    z = CENTRES[y] + rng.standard_normal((n, 6))
    raised = np.exp(z[:, :3] - z[:, :3].max(axis=1, keepdims=True))
    p = raised / raised.sum(axis=1, keepdims=True)
    answer = p.argmax(axis=1)
    truth = np.where(np.arange(n) < wrong, (answer + 1) % 3, answer)
    x = rng.standard_normal((n, 2))
    return pa.RecordBatch.from_pydict(
        {
            "x": pa.array(x[:, 0]),
            "row": pa.array(x[:, 1]),
            "z": vectors(z),
            "p": vectors(p),
            "answer": pa.array([f"c{one}" for one in answer]),
            "truth": pa.array([f"c{one}" for one in truth]),
        }
    )


def measured(batch: pa.RecordBatch, **roles: Any) -> Fitted:
    return measure_batches([batch], model(columns=roles or COLUMNS))


def arrays(table: pa.Table) -> dict[str, Any]:
    """Columns that are neither nested nor given twice."""
    return {name: np.array(table[name].to_pylist()) for name in table.column_names if name not in ("z", "p")}


def asked(fitted: Fitted, batch: pa.RecordBatch, view: int | None = None) -> dict[str, pa.Table]:
    decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
    telling = pa.Table.from_batches([batch]).append_column("witness", pa.array(np.zeros(batch.num_rows)))
    return explained(fitted, decoder, {"window": telling}, view)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return measured(rows(4000, 0))


def test_rows_of_the_reference_are_their_own_nearest_neighbours(fitted: Fitted) -> None:
    found = arrays(asked(fitted, fitted.sample.slice(5, 4))["neighbours"])
    first = found["rank"] == 1
    assert set(found["space"]) == {"columns", "z"}
    assert (found["distance"][first] == 0).all()
    assert (found["reference_row"][first] == found["row"][first] + 5).all()
    assert (np.diff(found["distance"].reshape(-1, NEIGHBOURS), axis=1) >= 0).all()


def test_tables_are_bounded_and_survive_the_archive(fitted: Fitted) -> None:
    found = asked(fitted, rows(500, 1))
    assert found["neighbours"].num_rows == 2 * ROWS * NEIGHBOURS
    assert 0 < found["influence"].num_rows <= 2 * ROWS * EXEMPLARS
    assert found["neighbours"].column_names[:6] == ["row", "rank", "space", "distance", "reference_row", "x"]
    assert "row (reference)" in found["neighbours"].column_names
    kept = unpack_evidence(pack_evidence(pa.table({}), pa.table({}), found))
    assert kept["influence"].equals(found["influence"])


def test_a_findings_own_view_comes_first_and_only_once(fitted: Fitted) -> None:
    names = [view.name for view in fitted.reference.views]
    found = asked(fitted, rows(3, 1), names.index("z"))["neighbours"]
    assert set(found["space"].to_pylist()) == {"z"}


def test_rows_with_the_answers_label_support_it_and_others_oppose() -> None:
    reference = rows(4000, 0, wrong=200)
    found = arrays(asked(measured(reference), rows(20, 1))["influence"])
    answers = np.array(rows(20, 1)["answer"].to_pylist())[found["row"]]
    supports = found["side"] == "supports"
    assert (found["influence"][supports] > 0).all()
    assert (found["influence"][~supports] < 0).all()
    assert np.mean(found["truth"][supports] == answers[supports]) > 0.9
    assert np.mean(found["truth"][~supports] == answers[~supports]) < 0.2  # a third of all rows
    wrong = found["truth"] != found["answer"]
    assert wrong[~supports].mean() > 0.2  # 5 % of the reference


@pytest.mark.parametrize("absent", ["embeddings", "probabilities", "label"])
def test_what_is_not_logged_turns_off_attribution_only(absent: str) -> None:
    roles = {key: value for key, value in COLUMNS.items() if key != absent}
    found = asked(measured(rows(4000, 0), **roles), rows(5, 1))
    assert set(found) == {"neighbours"}


def test_rows_that_lack_their_embedding_have_neighbours_by_columns_only(fitted: Fitted) -> None:
    batch = rows(2, 1)
    place = batch.schema.get_field_index("z")
    batch = batch.set_column(place, "z", pa.array([None, batch["z"][1].as_py()], batch["z"].type))
    found = asked(fitted, batch)
    told = arrays(found["neighbours"])
    assert set(told["space"][told["row"] == 0]) == {"columns"}
    assert set(told["space"][told["row"] == 1]) == {"columns", "z"}
    assert set(found["influence"]["row"].to_pylist()) == {1}


def test_no_rows_and_no_columns_explain_nothing_or_what_they_can(fitted: Fitted) -> None:
    assert asked(fitted, rows(4, 1).slice(0, 0)) == {}
    decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
    assert explained(fitted, decoder, {}) == {}
    assert set(asked(fitted, rows(4, 1).drop_columns(["z", "p", "truth"]))) == {"neighbours"}
    hostile = pa.RecordBatch.from_pydict({"x": [1e308, float("nan"), -1e308]})
    assert asked(fitted, hostile)["neighbours"].num_rows == 3 * NEIGHBOURS


def test_nearest_is_exact_where_squares_cancel() -> None:
    others = (1e4 + np.arange(50)[:, None] * 1e-2).astype(np.float32) * np.ones((1, 3), np.float32)
    found = nearest(others[[20]], others, 3)
    assert found.rows[0, 0] == 20
    assert found.distances[0].tolist() == sorted(found.distances[0].tolist())
    assert nearest(others[:2], others[:1], 3).rows.shape == (2, 1)
    assert nearest(others[:0], others, 3).rows.shape == (0, 3)
