"""A new reference of a span has the labels that came for its rows since."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.performance import realised
from monitor.learning import measured
from monitor.outcomes.measured import known_of
from monitor.outcomes.relabelled import relabelled
from tests.monitor.lane_bench import NOW, Bench, labels, numbered, scored, silent


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def begin(reference: pa.Table) -> Bench:
        made.append(Bench(tmp_path / f"{len(made)}", reference))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def again(bench: Bench, rows: pa.Table) -> pa.Table:
    """Rows with the labels that the agent knows."""
    watched = bench.agent.models["m"]
    assert watched.types is not None
    made = relabelled(rows.to_batches(max_chunksize=700), watched.model.columns, watched.types, bench.side.known)
    return pa.Table.from_batches(made)


def test_a_reference_of_a_span_knows_the_labels_that_came_alone(make: Callable[..., Bench]) -> None:
    bench, rows = make(scored(4_000, 0)), scored(3_000, 1)
    bench.send(silent(rows))
    bench.send(labels(rows.slice(0, 100)).set_column(1, "truth", pa.array([0] * 100)), NOW + 100)
    bench.send(labels(rows.slice(0, 2_500)), NOW + 200)
    found = again(bench, silent(rows))
    assert found["truth"].to_pylist() == rows["truth"].to_pylist()[:2_500] + [None] * 500
    assert found["truth"].type == pa.int64()
    fitted = measured(found.to_batches(), bench.agent.models["m"].model)
    known = known_of(fitted)
    assert known.measured is not None  # estimates go on
    assert known.expected is not None
    told = realised.figures(known.expected.layout, known.expected.reference)["accuracy"]
    right = np.equal(rows["said"].to_numpy(), rows["truth"].to_numpy())[:2_500]
    assert (told.n, told.value) == (2_500, right.mean())


def test_a_label_in_the_row_stays_where_no_newer_one_has_come(make: Callable[..., Bench]) -> None:
    bench, rows = make(scored(2_000, 0)), scored(300, 2)
    bench.send(rows.slice(0, 200))
    turned = pa.array(1 - rows["truth"].to_numpy())
    bench.send(labels(rows.set_column(rows.column_names.index("truth"), "truth", turned)).slice(0, 50), NOW + 100)
    found = again(bench, rows)["truth"].to_pylist()
    assert found == turned.to_pylist()[:50] + rows["truth"].to_pylist()[50:]


def test_numbers_and_words_keep_the_type_of_the_log(make: Callable[..., Bench]) -> None:
    bench, rows = make(numbered(2_000, 0)), numbered(200, 1)
    bench.send(silent(rows))
    bench.send(labels(rows))
    assert again(bench, silent(rows))["truth"].to_pylist() == rows["truth"].to_pylist()
    words = [scored(n, seed) for n, seed in ((2_000, 0), (200, 1))]
    yes = np.array(["no", "yes"])
    words = [
        one.set_column(place, name, pa.array(yes[one[name].to_numpy()]).dictionary_encode())
        for one in words
        for place, name in [(one.column_names.index("truth"), "truth")]
    ]
    words = [one.set_column(5, "said", pa.array(yes[one["said"].to_numpy()])) for one in words]
    bench = make(words[0])
    bench.send(silent(words[1]))
    bench.send(labels(words[1]))
    assert again(bench, silent(words[1]))["truth"].to_pylist() == words[1]["truth"].to_pylist()
    assert again(bench, words[1])["truth"].type == pa.string()


def test_rows_without_ids_and_strange_labels_stay_as_they_are(make: Callable[..., Bench]) -> None:
    bench, rows = make(scored(2_000, 0)), scored(100, 3)
    bench.send(silent(rows))
    bench.send(labels(rows))
    bare: Any = rows.drop_columns(["id"])
    assert again(bench, bare).equals(bare)
    odd = rows.set_column(rows.column_names.index("truth"), "truth", pa.array([[1]] * 100))
    assert again(bench, odd).equals(odd)
