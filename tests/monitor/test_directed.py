"""Directions of an embedding along which the model fails: by labels and by the reference, and nothing by chance."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detectors.slices import separator
from monitor.metrics import table
from monitor.outcomes import lane
from monitor.sinks.failing import of_failing
from tests.monitor.failing_bench import KEY
from tests.monitor.lane_bench import COLUMNS, NOW, Bench, labels, silent

D, CLASSES, QUARTER = 24, 4, 900.0
USUAL, HARD = 0.05, 0.5


def pictures(n: int, seed: int, *, hard: float = HARD, share: float = 0.2, start: float = NOW) -> pa.Table:
    """Embeddings of four classes; a share of class "2" is moved along the last axis, and often answered wrong."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, CLASSES, n)
    vectors = rng.normal(size=(n, D)).astype(np.float32)
    vectors[np.arange(n), truth] += 2
    moved = (truth == 2) & (rng.random(n) < share)
    vectors[moved, -1] += 4
    wrong = rng.random(n) < np.where(moved, hard, USUAL)
    said = np.where(wrong, (truth + 1) % CLASSES, truth)
    return pa.table(
        {
            "ts": start + np.sort(rng.uniform(0, 60, n)),
            "id": [f"{seed}-{i}{'-moved' if one else ''}" for i, one in enumerate(moved.tolist())],
            "z": pa.FixedSizeListArray.from_arrays(vectors.ravel(), D),
            "said": [f"class {one}" for one in said.tolist()],
            "truth": [f"class {one}" for one in truth.tolist()],
        }
    )


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []
    monkeypatch.setattr(lane, "key_of", lambda _: KEY)

    def begin(name: str, reference: pa.Table, **changes: Any) -> Bench:
        columns = {key: name for key, name in COLUMNS.items() if name in (*reference.column_names, "truth")}
        columns |= {"embeddings": ["z"]}  # type: ignore[dict-item]
        changes = {"pane": {"rows": 1_000}, "labels": {"rows": 100_000, "hours": 24.0}, **changes}
        made.append(Bench(tmp_path / name, reference, **{"joint": {"enabled": False}, "columns": columns, **changes}))
        return made[-1]

    yield begin
    for one in made:
        one.stop()


def told(bench: Bench) -> dict[str, Any]:
    bench.agent.checkpoint()  # which looks at rows whose labels do not come
    assert bench.side.beside.wait(60)
    assert bench.lane.failing.failures == 0
    document: dict[str, Any] = bench.lane.failing.document
    assert json.loads(json.dumps(document)) == document
    found: dict[str, Any] = document["directions"]
    return found


def quarter(bench: Bench, number: int, rows: pa.Table, *, labelled: bool = True) -> None:
    start = NOW + QUARTER * number
    bench.send(silent(rows), start + 60)
    if labelled:
        bench.send(labels(rows), start + 300)
    bench.send(labels(pictures(1, 10_000)), start + QUARTER + 10)


def moved(rows: list[dict[str, Any]]) -> float:
    return float(np.mean([row["id"].endswith("-moved") for row in rows]))


def test_a_direction_of_the_reference_tells_hard_rows_and_more_of_such_traffic_without_labels(
    make: Callable[..., Bench],
) -> None:
    bench = make("reference", pictures(8_000, 0))
    quarter(bench, 0, pictures(4_000, 1), labelled=False)
    first = told(bench)
    assert (first["column"], first["rows"], first["labelled"], first["tested"]) == ("z", 4_000, 0, 4)
    (one,) = first["classes"]
    assert (one["class"], one["learnt"]) == ("class 2", "reference")
    assert one["auroc"] > 0.6
    assert one["log_p"] > np.log(0.001)
    assert one["hard"]["low"] < 0.1 < one["hard"]["high"]
    assert moved(one["hard_rows"]) > 0.9
    assert moved(one["easy_rows"]) < 0.1
    assert all(row["truth"] is None and row["wrong"] is None for row in one["hard_rows"])
    quarter(bench, 1, pictures(4_000, 2, share=0.9, start=NOW + QUARTER), labelled=False)
    quarter(bench, 2, pictures(4_000, 3, share=0.9, start=NOW + 2 * QUARTER), labelled=False)
    (more,) = told(bench)["classes"]
    assert more["more"]["low"] > 0.05
    assert more["log_p"] < np.log(1e-6)


def test_a_direction_is_learnt_from_late_labels_where_the_reference_shows_none(make: Callable[..., Bench]) -> None:
    bench = make("labels", pictures(8_000, 0, hard=USUAL))
    rows = pictures(6_000, 1)
    bench.send(silent(rows))
    assert told(bench)["classes"] == []
    wrong = rows.filter(pa.array([a != b for a, b in zip(*rows.select(["said", "truth"]).columns, strict=True)]))
    bench.send(labels(wrong), NOW + 100)
    assert told(bench)["classes"] == []
    bench.send(labels(rows), NOW + 300)
    bench.send(labels(pictures(1, 10_000)), NOW + QUARTER + 10)
    (one,) = told(bench)["classes"]
    assert (one["class"], one["learnt"], one["hard"], one["log_p"]) == ("class 2", "labels", None, None)
    assert one["p"] <= 0.05
    assert moved(one["hard_rows"]) > 0.9
    assert all(row["truth"] == "class 2" for row in one["hard_rows"] + one["easy_rows"])
    assert {row["wrong"] for row in one["hard_rows"]} == {row["truth"] != row["answer"] for row in one["hard_rows"]}


def test_the_hard_side_is_where_the_planted_rows_are(make: Callable[..., Bench]) -> None:
    bench = make("auroc", pictures(8_000, 0))
    quarter(bench, 0, pictures(6_000, 1))
    told(bench)
    along, rows = bench.lane.failing._directed, pictures(4_000, 2)
    from detectors.slices import directions

    mine = rows.filter(pa.array([one == "class 2" for one in rows["truth"].to_pylist()]))
    vectors = mine["z"].combine_chunks().flatten().to_numpy().reshape(-1, D)
    found = directions.values(along._reference.fixed, vectors)[:, 0]
    planted = np.array([one.endswith("-moved") for one in mine["id"].to_pylist()], np.float64)
    assert separator.auroc(-found, planted) >= 0.9


def test_where_errors_are_random_no_class_has_a_direction(make: Callable[..., Bench]) -> None:
    bench = make("random", pictures(8_000, 3, hard=USUAL))
    quarter(bench, 0, pictures(6_000, 4, hard=USUAL))
    assert told(bench)["classes"] == []
    assert told(bench)["tested"] == 4


def test_captions_stand_beside_either_side(make: Callable[..., Bench], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = 0.3 * rng.normal(size=(30, D))
    vectors[:5, -1] += 4
    texts = [f"far {i}" if i < 5 else f"near {i}" for i in range(30)]
    pq.write_table(pa.table({"caption": texts, "embedding": vectors.tolist()}), tmp_path / "captions.parquet")
    bench = make("captions", pictures(8_000, 0), captions=str(tmp_path / "captions.parquet"))
    quarter(bench, 0, pictures(4_000, 1), labelled=False)
    (one,) = told(bench)["classes"]
    assert {text.split()[0] for text in one["captions"]["hard"]} == {"far"}
    assert {text.split()[0] for text in one["captions"]["easy"]} == {"near"}


def test_directions_are_told_without_captions_that_cannot_be_read(make: Callable[..., Bench], tmp_path: Path) -> None:
    bench = make("no_captions", pictures(8_000, 0), captions=str(tmp_path / "nothing.parquet"))
    quarter(bench, 0, pictures(4_000, 1), labelled=False)
    (one,) = told(bench)["classes"]
    assert one["captions"] is None


def test_what_is_known_comes_back_and_metrics_are_in_the_table(make: Callable[..., Bench]) -> None:
    bench = make("again", pictures(8_000, 0))
    quarter(bench, 0, pictures(4_000, 1))
    before = told(bench)
    bench.stop()
    again = make("again", pictures(8_000, 0))
    assert told(again) == before
    made, known = of_failing(again.lane.failing), table()
    assert all(len(labels) == len(known[name].labels) for name, series in made.items() for labels, _ in series)
    assert dict(made["driftwarden_direction_hard_ratio"])["m", "class 2"] == before["classes"][0]["hard"]["value"]
    assert again.lane.failing.nbytes < 4_000 * (250 + 4 * D)


def test_ids_that_are_no_texts_or_too_long_are_left_out() -> None:
    from monitor.outcomes.directed import named

    ids = pa.array(["a", "b" * 97, None, "\u00fc"])
    assert named(ids).tolist() == [b"a", b"", b"", "\u00fc".encode()]
    assert named(pa.array([1, 2])).tolist() == [b"1", b"2"]
    assert named(pa.array([b"\xff\xfe"])).tolist() == [b""]
