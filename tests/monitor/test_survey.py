"""The first pass: exact counts while they fit, frequent values always, and a fair sample of rows."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from monitor import survey
from monitor.schema import Roles
from monitor.survey import Counter, Sample, Survey, WiderSchema


def counted(*columns: pa.Array, most: int | None = None) -> Counter:
    counter = Counter(columns[0].type, most)
    for column in columns:
        counter.add(column)
    return counter


def test_values_are_counted_over_batches_in_any_encoding() -> None:
    counter = counted(
        pa.array(["a", "b", None]), pa.array(["b", "b"]).dictionary_encode(), pa.array(["c"], pa.string_view())
    )
    assert counter.counts == {"a": 1, "b": 3, "c": 1}
    assert counter.present == 5


def test_entries_of_a_dictionary_that_no_row_uses_are_not_values() -> None:
    unused = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int8()), pa.array(["a", "never"]))
    assert counted(unused).counts == {"a": 2}


def test_integers_with_many_values_are_given_up_early() -> None:
    counter = counted(pa.array(range(5000)), most=32)
    assert counter.many
    assert not counter.counts
    assert counted(pa.array([1, 2, 3] * 1000), most=32).counts == {1: 1000, 2: 1000, 3: 1000}


def test_rare_values_are_dropped_when_there_are_too_many_but_frequent_ones_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(survey, "MAX_ENTRIES", 500)
    rng = np.random.default_rng(0)
    counter = Counter(pa.string())
    for i in range(40):
        rare = [f"rare {i} {j}" for j in range(300)]
        counter.add(pa.array(rng.permutation([*rare, *["top"] * 50, *["second"] * 30])))
        assert len(counter.counts) <= 500
    words = counter.vocabulary(named=False)
    assert words.is_open
    assert words.labels[:2] == ("top", "second")
    assert counter.counts["top"] == 2000


def test_a_few_very_long_texts_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MAX_ENTRY_BYTES", 1 << 20)
    counter = counted(pa.array([f"{i} {'x' * 2000}" for i in range(2000)]))
    assert sum(len(value) for value in counter.counts) <= 1 << 20


def test_all_columns_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "ALL_ENTRIES", 1000)
    schema = pa.schema([(f"c{i}", pa.string()) for i in range(20)])
    it = Survey(schema, Roles(), seed=0)
    for k in range(5):
        it.add(pa.record_batch({f"c{i}": [f"{i} {k} {j}" for j in range(100)] for i in range(20)}))
        assert sum(len(c.counts) for c in it.counters.values()) <= 1000


def test_codes_are_ordered_by_number_and_names_by_frequency() -> None:
    words = counted(pa.array([3, 3, 3, 3, 1, 1, 2, 2, 2])).vocabulary(named=False)
    assert (words.labels, words.ordered) == (("1", "2", "3"), True)
    words = counted(pa.array([3, 3, 3, 3, 1, 1, 2, 2, 2])).vocabulary(named=True)
    assert (words.labels, words.ordered) == (("3", "2", "1"), False)
    words = counted(pa.array([True, False, True])).vocabulary(named=False)
    assert (words.labels, words.ordered) == (("false", "true"), True)
    words = counted(pa.array(["b", "a", "b", "c", "a", "b"])).vocabulary(named=False)
    assert (words.labels, words.ordered) == (("b", "a", "c"), False)


def test_whole_numbers_stored_as_floats_become_integer_categories() -> None:
    words = counted(pa.array([1.0, 2.0, math.nan, None, 1.0])).vocabulary(named=True)
    assert words.values == pa.array([1, 2])
    words = counted(pa.array([0.5, 0.5, 1.0])).vocabulary(named=True)
    assert words.values == pa.array([0.5, 1.0])


def test_more_categories_than_slots_keep_their_membership() -> None:
    words = counted(pa.array([f"{i:04}" for i in range(1000)] * 3)).vocabulary(named=False)
    assert not words.is_open
    assert len(words.labels) == 255
    assert len(words.values) == 1000
    assert words.values[:255].to_pylist() == list(words.labels)


def test_a_vocabulary_that_is_still_growing_is_open_and_gives_no_slot_to_flukes() -> None:
    words = counted(pa.array([f"id {i}" for i in range(3000)] + ["often"] * 100)).vocabulary(named=False)
    assert words.is_open
    assert words.labels == ("often",)
    assert words.values.to_pylist() == ["often"]


def test_a_vocabulary_with_two_rare_values_is_still_closed() -> None:
    words = counted(pa.array(["a"] * 20 + ["b", "c"])).vocabulary(named=False)
    assert not words.is_open
    assert words.labels == ("a", "b", "c")


def test_labels_of_very_long_texts_are_cut_and_stay_distinct() -> None:
    words = counted(pa.array(["x" * 1000 + "1", "x" * 1000 + "2"] * 9)).vocabulary(named=False)
    assert len(set(words.labels)) == 2
    assert max(map(len, words.labels)) < 150


def batches(n: int, size: int) -> list[pa.RecordBatch]:
    whole: list[pa.RecordBatch] = pa.table({"i": range(n), "c": [f"w{i}" for i in range(n)]}).to_batches(size)
    return whole


def sampled(n: int, size: int, *, seed: int = 0, rows: int = 100, weight: int = 16 << 20) -> pa.RecordBatch:
    sample = Sample(batches(1, 1)[0].schema, seed, rows=rows, size=weight)
    for batch in batches(n, size):
        sample.add(batch)
    return sample.batch()


def test_the_sample_does_not_depend_on_how_rows_are_batched() -> None:
    assert sampled(5000, 5000).equals(sampled(5000, 17))
    assert not sampled(5000, 5000).equals(sampled(5000, 5000, seed=1))


def test_the_sample_keeps_row_order_and_whole_rows() -> None:
    got = sampled(5000, 700)
    i = got.column("i").to_pylist()
    assert len(i) == 100
    assert i == sorted(set(i))
    assert got.column("c").to_pylist() == [f"w{k}" for k in i]


@pytest.mark.parametrize("n", [50, 5_000])
def test_the_sample_knows_where_its_rows_came_from(n: int) -> None:
    sample = Sample(batches(1, 1)[0].schema, 0, rows=100)
    for batch in batches(n, 700):
        sample.add(batch)
    assert sample.batch().column("i").to_pylist() == sample.numbers.tolist()


def test_the_sample_is_uniform() -> None:
    # 200 samples of 100 out of 1000: the mean index has standard deviation 289 / sqrt(20000) * sqrt(0.9) = 1.9
    means = [np.mean(sampled(1000, 300, seed=seed).column("i").to_numpy()) for seed in range(200)]
    assert abs(np.mean(means) - 499.5) < 5 * 1.94


def test_all_rows_are_kept_when_there_are_few() -> None:
    assert sampled(50, 7).column("i").to_pylist() == list(range(50))
    assert sampled(0, 7).num_rows == 0


def test_the_sample_is_bounded_in_bytes_and_still_uniform() -> None:
    got = sampled(20_000, 900, rows=10_000, weight=20_000)
    assert got.nbytes <= 20_000
    i = got.column("i").to_numpy()
    assert len(i) > 500
    assert abs(i.mean() - 10_000) < 5 * 20_000 / math.sqrt(12 * len(i))


def test_the_sample_resolves_dictionaries_and_leaves_out_nested_binary_and_ignored_columns() -> None:
    schema = pa.schema(
        [
            ("d", pa.dictionary(pa.int8(), pa.string())),
            ("v", pa.string_view()),
            ("e", pa.list_(pa.float32(), 2)),
            ("n", pa.list_(pa.int64())),
            ("b", pa.binary()),
            ("secret", pa.string()),
        ]
    )
    it = Survey(schema, Roles(ignore=("secret",)), seed=0)
    it.add(
        pa.RecordBatch.from_pylist([{"d": "x", "v": "y", "e": [1.0, 2.0], "n": [1], "b": b"", "secret": "s"}], schema)
    )
    got = it.sample.batch()
    assert got.to_pydict() == {"d": ["x"], "v": ["y"], "e": [[1.0, 2.0]]}


def test_a_batch_that_does_not_fit_the_schema_asks_for_a_wider_one() -> None:
    it = Survey(pa.schema([("a", pa.int64())]), Roles(), seed=0)
    it.add(pa.record_batch({"a": pa.array([1], pa.int8())}))
    with pytest.raises(WiderSchema) as caught:
        it.add(pa.record_batch({"a": [1.5], "b": ["x"]}))
    assert caught.value.schema == pa.schema([("a", pa.float64()), ("b", pa.string())])
