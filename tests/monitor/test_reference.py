"""A measured reference says what a plain count says, on every awkward column, however its rows are batched."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.grid import ABOVE, BELOW
from detectors.parts import merge, summarise, zero
from detectors.types import MISSING_CODE, NEW_CODE
from monitor import passes
from monitor.decode import Decoder
from monitor.errors import ConfigError, ReferenceError_
from monitor.fitted import Fitted
from monitor.reference import fit
from monitor.schema import Kind, Roles


def factory(table: pa.Table, size: int = 1000) -> Callable[[], Iterator[pa.RecordBatch]]:
    return lambda: iter(table.to_batches(max_chunksize=size))


def measure(columns: dict[str, Any], roles: Roles | None = None, size: int = 1000) -> Fitted:
    return fit(factory(pa.table(columns), size), roles or Roles(), clock=lambda: 1.7e9)


def note_on(fitted: Fitted, name: str) -> str:
    return next(column.note for column in fitted.plan.columns if column.name == name)


def mixed(n: int = 5000, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "normal": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.05),
            "heavy": np.exp(rng.normal(size=n) * 20),
            "atoms": np.where(rng.random(n) < 0.5, 0.0, rng.exponential(size=n)),
            "code": rng.integers(0, 7, n),
            "word": pa.array(np.array(["a", "b", "c", "d"])[rng.integers(0, 4, n)], mask=rng.random(n) < 0.1),
            "flag": rng.random(n) < 0.2,
            "ts": pa.array(np.arange(n) * 1000, pa.timestamp("ms")),
        }
    )


def same(a: Fitted, b: Fitted) -> bool:
    x, y = a.reference, b.reference
    arrays = ("numeric", "codes", "missing", "nonfinite", "new", "faults", "sums")
    return x.grid.id == y.grid.id and all(
        np.array_equal(getattr(x.summary, name), getattr(y.summary, name)) for name in arrays
    )


@pytest.mark.parametrize("size", [7, 1000, 5000])
def test_the_summary_is_exactly_what_summarising_the_rows_gives(size: int) -> None:
    table = mixed()
    fitted = fit(factory(table, size), Roles(time="ts"))
    grid, got = fitted.reference.grid, fitted.reference.summary
    decoder = Decoder(fitted.plan, grid, fitted.vocabularies)
    expected = zero(grid)
    for batch in table.to_batches(max_chunksize=613):
        expected = merge(expected, summarise(grid, decoder.decode(batch).block))
    assert got.rows == expected.rows == 5000
    for name in ("numeric", "codes", "missing", "nonfinite", "new", "faults", "sums"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
    assert got.numeric[:, [BELOW, ABOVE]].sum() == 0
    assert got.new.sum() == 0


def test_the_result_does_not_depend_on_how_rows_are_batched() -> None:
    table = mixed()
    one, other = fit(factory(table, 5000), Roles(), seed=4), fit(factory(table, 37), Roles(), seed=4)
    assert same(one, other)
    assert one.sample.equals(other.sample)
    np.testing.assert_allclose(one.reference.tau, other.reference.tau)


def test_counts_cover_every_present_value() -> None:
    fitted = fit(factory(mixed()), Roles(time="ts"))
    summary, p = fitted.reference.summary, len(fitted.plan.numeric)
    assert (summary.numeric.sum(axis=1) + summary.missing[:p] == 5000).all()
    assert (summary.codes.sum(axis=1) + summary.missing[p:] == 5000).all()
    assert fitted.plan.numeric == ("normal", "heavy", "atoms")
    assert fitted.plan.categorical == ("code", "word", "flag")
    assert fitted.reference.grid.ordered.tolist() == [True, False, True]
    assert fitted.reference.grid.labels[0] == tuple("0123456")


def test_edges_are_values_of_the_column() -> None:
    fitted = fit(factory(mixed()), Roles(time="ts"))
    grid = fitted.reference.grid
    x = mixed()["normal"].drop_null().to_numpy()
    edges = grid.edges[0, : grid.used[0] + 1]
    assert (np.diff(edges) > 0).all()
    assert edges[0] == x.min()
    assert edges[-1] == x.max()
    counts = np.histogram(x, edges)[0]
    np.testing.assert_allclose(counts, fitted.reference.summary.numeric[0, 1 : grid.used[0] + 1], atol=20)


def test_a_constant_column_is_one_bin_and_said_so() -> None:
    fitted = measure({"x": [3.5] * 2000, "c": ["only"] * 2000})
    assert fitted.reference.grid.used.tolist() == [1]
    assert fitted.reference.summary.numeric.max() == 2000
    assert "constant" in note_on(fitted, "x")
    assert "constant" in note_on(fitted, "c")
    decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
    block = decoder.decode(pa.record_batch({"x": [3.5, 4.0, 3.0], "c": ["only", "other", None]})).block
    moved = summarise(fitted.reference.grid, block)
    assert moved.numeric[0, [BELOW, ABOVE]].tolist() == [1, 1]
    assert block.codes[:, 0].tolist() == [0, NEW_CODE, MISSING_CODE]


@pytest.mark.parametrize("kind", [pa.null(), pa.float64(), pa.int64(), pa.string(), pa.bool_()])
def test_an_all_missing_column_is_measured_as_missing(kind: pa.DataType) -> None:
    fitted = measure({"gone": pa.nulls(500, kind), "x": np.arange(500.0)})
    unit = fitted.reference.grid.names.index("gone")
    assert fitted.reference.summary.missing[unit] == 500
    assert fitted.reference.tau[unit] == 1
    assert "only the share of missing values" in note_on(fitted, "gone")


def test_huge_values_and_infinities_neither_warn_nor_spoil_the_bins() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=4000)
    x[:8] = [1e300, -1e300, 1.7e308, -1.7e308, math.inf, -math.inf, math.nan, math.inf]
    fitted = measure({"x": x, "span": rng.uniform(-1, 1, 4000) * 1.7e308, "tiny": rng.normal(size=4000) * 1e-300})
    summary, grid = fitted.reference.summary, fitted.reference.grid
    assert summary.nonfinite.tolist() == [3, 0, 0]
    assert summary.missing.tolist() == [1, 0, 0]
    assert summary.numeric.sum(axis=1).tolist() == [3996, 4000, 4000]
    assert (grid.used[:2] > 40).all()
    assert np.isfinite(grid.scale).all()
    assert np.isfinite(summary.sums).all()
    assert np.isfinite(grid.edges[0, : grid.used[0] + 1]).all()


def test_a_hundred_thousand_categories_keep_the_top_and_one_slot_for_the_rest() -> None:
    rng = np.random.default_rng(2)
    rare = np.char.add("r", rng.integers(0, 100_000, 150_000).astype(str))
    top = np.repeat(["alpha", "beta"], 25_000)
    fitted = measure({"c": rng.permutation(np.concatenate([rare, top]))}, size=20_000)
    grid, summary = fitted.reference.grid, fitted.reference.summary
    assert grid.labels[0][:2] == ("alpha", "beta")
    assert len(grid.labels[0]) <= 255
    assert grid.open_vocabulary[0]
    assert len(fitted.vocabularies["c"]) <= 255
    assert summary.codes[0, :2].tolist() == [25_000, 25_000]
    assert summary.codes.sum() == 200_000
    assert "open vocabulary" in note_on(fitted, "c")


def test_five_thousand_known_categories_stay_known() -> None:
    fitted = measure({"c": [f"w{i}" for i in range(5000)] * 3})
    decoder = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies)
    block = decoder.decode(pa.record_batch({"c": ["w4999", "w0", "never"]})).block
    slots = len(fitted.reference.grid.labels[0])
    assert slots == 255
    assert set(block.codes[:2, 0]) <= set(range(slots + 1))
    assert block.codes[2, 0] == NEW_CODE


def test_a_column_that_identifies_rows_is_pointed_out() -> None:
    fitted = measure({"request": [f"id-{i}" for i in range(3000)], "x": np.arange(3000.0)})
    assert "columns.id" in note_on(fitted, "request")
    assert fitted.reference.summary.codes[0, -1] == 3000


def test_a_single_row_is_measured() -> None:
    fitted = measure({"x": [1.5], "i": [7], "c": ["a"], "n": pa.nulls(1)})
    assert fitted.rows == 1
    assert fitted.reference.summary.numeric.sum() == 2
    assert fitted.sample.num_rows == 1
    assert "only 1 rows" in fitted.notes[0]


@pytest.mark.parametrize("table", [pa.table({"x": pa.array([], pa.float64())}), pa.table({})])
def test_no_rows_are_an_error_with_a_fix(table: pa.Table) -> None:
    with pytest.raises(ReferenceError_, match="no rows"):
        fit(factory(table), Roles())
    with pytest.raises(ReferenceError_, match="no rows"):
        fit(lambda: iter([pa.RecordBatch.from_pylist([], schema=table.schema)]), Roles())


def test_two_thousand_columns_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "MATRIX_VALUES", 100_000)
    rng = np.random.default_rng(5)
    fitted = measure({f"x{i}": rng.normal(size=200) for i in range(2000)})
    assert len(fitted.plan.numeric) == 2000
    assert (fitted.reference.summary.numeric.sum(axis=1) == 200).all()
    assert fitted.sample.nbytes <= 16 << 20


def test_only_categories_or_only_numbers_are_enough() -> None:
    words = measure({"c": ["a", "b"] * 100})
    assert (words.plan.numeric, words.reference.summary.numeric.shape[0]) == ((), 0)
    numbers = measure({"x": np.arange(200.0)})
    assert (numbers.plan.categorical, numbers.reference.summary.codes.shape[0]) == ((), 0)


def test_a_reference_with_nothing_to_monitor_is_an_error() -> None:
    with pytest.raises(ReferenceError_, match="no column to monitor"):
        measure({"ts": [datetime(2020, 1, 1, tzinfo=UTC)], "nested": [[1]]})


def test_nested_binary_and_vector_columns_are_ignored_and_said_so() -> None:
    columns = {
        "x": np.arange(100.0),
        "nested": [[1, 2]] * 100,
        "record": [{"a": 1}] * 100,
        "blob": [b"x"] * 100,
        "emb": pa.array([[1.0, 2.0]] * 100, pa.list_(pa.float32(), 2)),
    }
    fitted = measure(columns)
    assert fitted.reference.grid.names == ("x",)
    assert all(note_on(fitted, name) for name in ("nested", "record", "blob", "emb"))
    assert fitted.sample.schema.names == ["x", "emb"]


def test_times_may_be_year_1_or_9999() -> None:
    stamps = pa.array([-62_135_596_800, 253_402_300_799] * 50, pa.timestamp("s"))
    fitted = measure({"ts": stamps, "when": stamps, "x": np.arange(100.0)}, Roles(time="ts", numeric=("when",)))
    assert fitted.plan.columns[0].kind is Kind.TIMESTAMP
    assert fitted.reference.grid.numeric_names == ("when", "x")
    assert fitted.reference.summary.missing.sum() == 0


def test_a_declared_zip_code_is_a_category_and_a_declared_text_is_a_number() -> None:
    columns = {"zip": pa.array([10_001.0, 94_110.0, None] * 100), "amount": ["1.5", "2", "n/a"] * 100}
    fitted = measure(columns, Roles(categorical=("zip",), numeric=("amount",)))
    assert fitted.reference.grid.labels == (("10001", "94110"),)
    assert fitted.reference.summary.faults.tolist() == [100, 0]
    assert fitted.reference.summary.missing.tolist() == [100, 100]
    assert any("do not convert" in note and "amount" in note for note in fitted.notes)


def test_roles_that_do_not_fit_are_refused_before_anything_is_measured() -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        measure({"amount": [1.0]}, Roles(time="amonut"))


def test_batches_whose_schema_grows_are_measured_on_the_widest_one() -> None:
    batches = [
        pa.record_batch({"a": pa.nulls(40), "k": pa.array([1, 2] * 20)}),
        pa.record_batch({"a": pa.array([1.5] * 40), "k": pa.array([1.0, None] * 20)}),
        pa.record_batch({"b": pa.array(["x", "y"] * 20), "a": pa.array([2] * 40)}),
    ]
    fitted = fit(lambda: iter(batches), Roles())
    assert fitted.reference.grid.names == ("a", "k", "b")
    assert fitted.reference.summary.missing.tolist() == [40, 60, 80]
    assert fitted.reference.summary.faults.sum() == 0


def test_a_reference_that_changes_while_it_is_read_is_an_error() -> None:
    sizes = iter([100, 90, 80])
    with pytest.raises(ReferenceError_, match="nothing writes to it"):
        fit(lambda: iter(pa.table({"x": np.arange(float(next(sizes)))}).to_batches()), Roles())


def test_dependent_rows_have_a_long_autocorrelation_time_and_independent_ones_none() -> None:
    rng = np.random.default_rng(6)
    walk = np.zeros(20_000)
    for i, e in enumerate(rng.normal(size=len(walk))):
        walk[i] = 0.9 * walk[i - 1] + e
    fitted = measure({"ar": walk, "iid": rng.normal(size=len(walk))})
    ar, iid = fitted.reference.tau
    assert 4 < ar < 40  # (1 + 0.9) / (1 - 0.9) = 19 for the mean
    assert iid < 1.5
    assert fitted.reference.tau_missing.tolist() == [1, 1]


def test_progress_is_told_rows_of_both_passes() -> None:
    told: list[tuple[str, int]] = []
    fit(factory(mixed(2500)), Roles(), progress=lambda name, rows: told.append((name, rows)))
    assert [rows for name, rows in told if name == "survey"] == [1000, 2000, 2500]
    assert told[-1] == ("measure", 2500)


def test_the_clock_is_an_argument() -> None:
    assert measure({"x": [1.0, 2.0]}).created == 1.7e9
