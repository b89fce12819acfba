"""The joint views and the strata of a reference are its rows, encoded, in runs of neighbours, and parted."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.multivariate.samples import mixed
from detectors.parts import merge, summarise
from detectors.types import View
from monitor import joint_reference, passes, reference
from monitor.decode import Decoder
from monitor.errors import ConfigError
from monitor.fitted import Fitted
from monitor.passes import taken
from monitor.reference import fit
from monitor.schema import Roles
from monitor.sections import Season


def columns(n: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "x": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.05),
        "y": rng.exponential(size=n),
        "word": np.array(["a", "b", "c"])[rng.choice(3, n, p=[0.6, 0.3, 0.1])],
        "ts": 1.7e9 + 60.0 * np.arange(n),
    }


def measure(
    table: dict[str, Any] | pa.Table, roles: Roles | None = None, season: Season | None = None, size: int = 1000
) -> Fitted:
    table = table if isinstance(table, pa.Table) else pa.table(table)
    return fit(lambda: iter(table.to_batches(max_chunksize=size)), roles or Roles(time="ts"), season=season)


def view(fitted: Fitted, name: str) -> View:
    return next(one for one in fitted.reference.views if one.name == name)


def encoded(fitted: Fitted, table: dict[str, Any], name: str) -> Any:
    decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
    (batch,) = pa.table(table).combine_chunks().to_batches()
    return view(fitted, name).encoder.encode(decoder.decode(batch).block)


@pytest.mark.parametrize("size", [37, 1000, 5000])
def test_a_small_reference_is_kept_whole_in_runs_of_neighbours(size: int) -> None:
    table = columns(5_003)
    fitted = measure(table, size=size)
    (one,) = fitted.reference.views
    assert (one.name, one.run, one.units) == ("columns", 8, (0, 1, 2))
    assert one.tau < 1.3
    np.testing.assert_array_equal(one.sample.run, np.arange(5_000) // 8)
    np.testing.assert_array_equal(one.sample.rows, encoded(fitted, table, "columns")[:5_000])
    assert not one.sample.strata.any()


def test_rows_are_put_into_the_order_of_their_time() -> None:
    table = pa.table(columns(3_000))
    shuffled = table.take(pa.array(np.random.default_rng(1).permutation(3_000)))
    a, b = (measure(one).reference.views[0].sample.rows for one in (table, shuffled))
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_of_a_large_reference_the_runs_of_least_hash_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint_reference, "MOST_ROWS", 4_000)
    table = columns(20_000)
    fitted = measure(table)
    sample = fitted.reference.views[0].sample
    least = np.sort(np.argsort(mixed(np.arange(2_500, dtype=np.uint64)))[:500])
    np.testing.assert_array_equal(sample.run, np.repeat(least, 8))
    rows = (least[:, None] * 8 + np.arange(8)).ravel()
    np.testing.assert_array_equal(sample.rows, encoded(fitted, table, "columns")[rows])
    monkeypatch.setattr(reference, "_ORDER_BYTES", 1 << 18)  # the first rows are no longer all rows
    monkeypatch.setattr(passes, "MATRIX_VALUES", 3_000)
    again = measure(table).reference.views[0]
    np.testing.assert_array_equal(again.sample.run, sample.run)
    np.testing.assert_array_equal(again.sample.rows, sample.rows)


def test_dependent_rows_have_long_runs() -> None:
    rng = np.random.default_rng(2)
    walk = rng.normal(size=(12_000, 3))
    for i in range(1, len(walk)):
        walk[i] += 0.9 * walk[i - 1]
    (one,) = measure({"a": walk[:, 0], "b": walk[:, 1], "c": walk[:, 2]}, Roles()).reference.views
    assert 5 < one.tau < 30
    assert one.run in (64, 128, 256)
    assert (np.bincount(one.sample.run) == one.run).all()


def test_few_rows_give_no_views_and_a_note() -> None:
    fitted = measure(columns(300))
    assert fitted.reference.views == ()
    assert any("about 320" in note for note in fitted.notes)
    assert measure({"x": np.arange(1_000.0)}, Roles()).reference.views == ()  # one column is not joint


def test_the_models_answers_are_a_view_of_their_own() -> None:
    table = columns(1_000)
    assert [one.name for one in measure(table, Roles(time="ts", prediction="word", score="y")).reference.views] == [
        "columns",
        "scores",
    ]
    scores = view(measure(table, Roles(time="ts", prediction="word", score="y")), "scores")
    assert scores.units == (1, 2)
    assert len(measure(table, Roles(time="ts", score="y")).reference.views) == 1


@pytest.mark.parametrize("fits", [True, False])
def test_embeddings_vary_along_their_axes_as_later_rows_do(fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    if not fits:
        monkeypatch.setattr(reference, "_ORDER_BYTES", 1 << 21)
    rng = np.random.default_rng(3)
    n, d = 6_000, 200
    noise = rng.standard_normal((2 * n, d)).astype(np.float32)
    table = columns(n) | {"emb": pa.FixedSizeListArray.from_arrays(noise[:n].ravel(), d)}
    fitted = measure(table, Roles(time="ts", embeddings=("emb",)))
    assert fitted.reference.grid.vectors == (("emb", d),)
    emb = view(fitted, "emb")
    assert (emb.units, emb.run) == ((), 8)
    assert emb.sample.rows.shape[1] == 64
    assert 4_000 < len(emb.sample.rows) < 5_000  # a quarter of the runs is for the axes
    later = encoded(fitted, columns(n) | {"emb": pa.FixedSizeListArray.from_arrays(noise[n:].ravel(), d)}, "emb")
    inside, outside = (rows.var(axis=0, dtype=np.float64).mean() for rows in (emb.sample.rows, later))
    assert abs(inside / outside - 1) < 0.01
    kept = (emb.sample.run[::8, None] * 8 + np.arange(8)).ravel()
    np.testing.assert_array_equal(emb.sample.rows, encoded(fitted, table, "emb")[kept])
    np.testing.assert_array_equal(view(fitted, "columns").sample.run, emb.sample.run)


@pytest.mark.parametrize("fits", [True, False])
@pytest.mark.parametrize("seed", [None, 5])
def test_rows_that_axes_were_fitted_to_are_not_resampled(
    fits: bool,  # noqa: FBT001
    seed: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not fits:
        monkeypatch.setattr(reference, "_ORDER_BYTES", 1 << 16)
    n, d = 4_000, 16
    noise = np.random.default_rng(6).standard_normal((n, d)).astype(np.float32)
    table = pa.table(columns(n) | {"emb": pa.FixedSizeListArray.from_arrays(noise.ravel(), d)})
    if seed is not None:
        table = table.take(pa.array(np.random.default_rng(seed).permutation(n)))
    fitted = measure(table, Roles(time="ts", embeddings=("emb",)))
    decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
    rows = view(fitted, "emb").encoder.encode(decoder.decode(fitted.sample).block)
    known = {row.tobytes() for row in view(fitted, "emb").sample.rows}
    assert 0.6 * n < len(rows) < 0.9 * n  # a quarter of the runs is for the axes
    assert np.mean([row.tobytes() in known for row in rows]) > 0.99  # all but the last run, where that is cut off


def test_an_embedding_named_like_a_view_is_told_apart() -> None:
    rng = np.random.default_rng(4)
    table = columns(2_000) | {"scores": rng.standard_normal((2_000, 3)).tolist(), "still": [[1.0, 2.0]] * 2_000}
    fitted = measure(table, Roles(time="ts", embeddings=("scores", "still")))
    assert [one.name for one in fitted.reference.views] == ["columns", "scores (embedding)", "row scores"]
    assert "scores" in fitted.sample.schema.names


@pytest.mark.parametrize("size", [100, 5000])
def test_strata_are_the_summaries_of_their_rows(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.parted_reference._TOGETHER", 2_000)
    table = columns(5_000)
    fitted = measure(table, Roles(time="ts", segments=("word",)), Season(by="hour_of_day", timezone="Asia/Tokyo"), size)
    got, grid = fitted.reference, fitted.reference.grid
    assert got.strata is not None
    assert len(got.strata.parts) == len(grid.strata) == 4 * 25
    assert grid.strata[0] == "word=a | 00h"
    block = Decoder(fitted.plan, grid, fitted.vocabularies).decode(pa.table(table).to_batches()[0]).block
    assert block.strata is not None
    for code, part in enumerate(got.strata.parts):
        wanted = summarise(grid, taken(block, block.strata == code))
        for name in ("grid_id", "rows", "numeric", "codes", "missing", "sums", "mix"):
            np.testing.assert_array_equal(getattr(part, name), getattr(wanted, name))
    whole = reduce(merge, got.strata.parts)
    for name in ("grid_id", "rows", "numeric", "codes", "missing", "mix"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(got.summary, name))
    assert got.strata.free.tolist() == [False, False, True]
    assert got.strata.parent.tolist() == np.repeat(np.arange(4), 25).tolist()
    assert got.strata.cells.tolist() == np.tile(np.arange(25), 4).tolist()
    np.testing.assert_array_equal(view(fitted, "columns").sample.strata, block.strata)
    assert fitted.segments["word"]["a"].mix.sum() == fitted.segments["word"]["a"].rows


def test_without_segments_and_season_there_are_no_strata() -> None:
    fitted = measure(columns(1_000))
    assert fitted.reference.strata is None
    assert fitted.reference.summary.mix.shape == (0,)


@pytest.mark.parametrize("roles", [Roles(), Roles(time="when")])
def test_a_season_needs_times(roles: Roles) -> None:
    with pytest.raises(ConfigError, match=r"season\.by: hour_of_week needs the time"):
        measure(columns(100), roles, Season(by="hour_of_week"))
