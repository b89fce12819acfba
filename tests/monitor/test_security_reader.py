"""Senders, answers and labels as the heuristics get them."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from detectors.rows.layout import Rows
from monitor.decode import Decoder
from monitor.errors import ConfigError, StoreError
from monitor.fitted import Fitted
from monitor.reference import fit
from monitor.schema import Roles
from monitor.security.layout import classes, layout_of
from monitor.security.pseudonyms import Pseudonyms, key_of
from monitor.security.reader import Reader

KEY = b"k" * 32


def table(n: int = 400, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    chance = rng.dirichlet(np.ones(3), n).astype(np.float32)
    names = np.array(["ant", "bee", "cat"])
    return pa.table(
        {
            "x": rng.standard_normal(n),
            "kind": pa.array(rng.choice(["u", "v"], n)),
            "who": pa.array(rng.choice(["ann", "bob", "eve"], n)),
            "answer": pa.array(names[chance.argmax(axis=1)]),
            "chance": pa.FixedSizeListArray.from_arrays(pa.array(chance.ravel()), 3),
            "truth": pa.array(names[rng.integers(0, 3, n)]),
            "pixels": pa.FixedSizeListArray.from_arrays(pa.array(rng.random(n * 16, np.float32)), 16),
        }
    )


ROLES = Roles(
    client="who", prediction="answer", probabilities="chance", label="truth", image="pixels", image_shape=(4, 4, 1)
)


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(lambda: iter(table().to_batches()), ROLES)


def read(fitted: Fitted, given: pa.Table, key: bytes = KEY) -> Rows:
    grid = fitted.reference.grid
    decoded = Decoder(fitted.plan, grid, fitted.vocabularies).decode(given.combine_chunks().to_batches()[0])
    return Reader(fitted, Pseudonyms(key)).rows(decoded, "v1")


def test_the_layout_finds_features_answers_and_the_image(fitted: Fitted) -> None:
    grid = fitted.reference.grid
    layout = layout_of(fitted.plan, grid)
    assert [grid.names[unit] for unit in layout.features] == ["x", "kind"]
    assert [name for name, _ in grid.vectors] == ["chance", "pixels"]
    assert layout.image.tolist() == [1, 4, 4, 1]
    assert (int(layout.probabilities), int(layout.embedding), int(layout.logits)) == (0, -1, -1)
    assert grid.names[int(layout.prediction)] == "answer"


def test_answers_and_labels_share_their_classes(fitted: Fitted) -> None:
    given = table(50, seed=3)
    rows = read(fitted, given)
    names = np.array(["ant", "bee", "cat"])
    assert rows.predicted is not None
    assert rows.label is not None
    assert rows.probabilities is not None
    assert names[rows.predicted].tolist() == given["answer"].to_pylist()
    assert names[rows.label].tolist() == given["truth"].to_pylist()
    np.testing.assert_array_equal(rows.probabilities.argmax(axis=1), rows.predicted)


def test_senders_are_hashed_under_the_key(fitted: Fitted) -> None:
    given = table(60, seed=4)
    rows, other = read(fitted, given), read(fitted, given, b"o" * 32)
    assert rows.client is not None
    assert other.client is not None
    who = np.array(given["who"].to_pylist())
    assert len(np.unique(rows.client)) == 3
    for name in ("ann", "bob", "eve"):
        assert len(np.unique(rows.client[who == name])) == 1
    assert not set(rows.client.tolist()) & set(other.client.tolist())


def test_a_missing_sender_is_nought_and_a_log_without_senders_has_none(fitted: Fitted) -> None:
    given = table(3)
    some = given.set_column(2, "who", pa.array(["ann", None, ""]))
    rows = read(fitted, some)
    assert rows.client is not None
    assert (rows.client == 0).tolist() == [False, True, True]
    assert read(fitted, given.drop_columns("who")).client is None


def test_equal_inputs_have_equal_digests_whatever_was_answered(fitted: Fitted) -> None:
    given = table(40, seed=5)
    twice = pa.concat_tables([given, given.set_column(3, "answer", pa.array(["ant"] * 40))])
    digest = read(fitted, twice).digest
    np.testing.assert_array_equal(digest[:40], digest[40:])
    assert len(np.unique(digest)) == 40
    other = given.set_column(0, "x", pa.array(given["x"].to_numpy() + 1e-9))
    assert not set(read(fitted, given).digest.tolist()) & set(read(fitted, other).digest.tolist())


def test_a_senders_own_digest_counts_where_it_gives_one() -> None:
    given = table(40).append_column("sha", pa.array(["same"] * 20 + [None] * 20))
    roles = Roles(client="who", prediction="answer", digest="sha", ignore=("pixels",))
    fitted = fit(lambda: iter(given.to_batches()), roles)
    digest = read(fitted, given).digest
    assert len(np.unique(digest[:20])) == 1
    assert len(np.unique(digest[20:])) == 20


def test_a_score_stands_for_two_probabilities() -> None:
    score = [0.1, 0.9, None, 1.5] * 50
    given = pa.table({"x": np.arange(200.0), "answer": [0, 1, 1, 0] * 50, "score": pa.array(score, pa.float64())})
    fitted = fit(lambda: iter(given.to_batches()), Roles(prediction="answer", score="score"))
    rows = read(fitted, given.slice(0, 4))
    assert rows.probabilities is not None
    np.testing.assert_allclose(rows.probabilities[:2], [[0.9, 0.1], [0.1, 0.9]], rtol=1e-6)
    assert np.isnan(rows.probabilities[2:]).all()
    assert rows.predicted is not None
    assert rows.predicted.tolist() == [0, 1, 1, 0]


def test_classes_are_numbers_letters_or_as_declared() -> None:
    assert classes(("7", "2"), (), 10) == {"7": 7, "2": 2}
    assert classes(("10", "9"), (), 0) == {"9": 0, "10": 1}
    assert classes(("b", "a"), (), 2) == {"a": 0, "b": 1}
    assert classes(("b", "a"), ("b", "a"), 2) == {"b": 0, "a": 1}


def test_an_image_of_another_size_is_refused() -> None:
    roles = Roles(image="pixels", image_shape=(5, 4, 1))
    with pytest.raises(ConfigError, match=r"columns.image_shape: 5 x 4 x 1 is not 16"):
        fit(lambda: iter(table(100).to_batches()), roles)


def test_classes_that_are_not_those_of_the_probabilities_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"columns.classes: 2 names for vectors of 3"):
        fit(lambda: iter(table(100).to_batches()), Roles(probabilities="chance", classes=("ant", "bee")))


def test_the_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    key = key_of(tmp_path / "state")
    file = tmp_path / "state" / "security.key"
    assert key == key_of(tmp_path / "state")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"short")
    with pytest.raises(StoreError, match="is not a key"):
        key_of(tmp_path / "state")


def test_names_of_any_length_are_told_apart_and_long_ones_not_remembered() -> None:
    one, long = Pseudonyms(KEY), "x" * 60_000
    digests = [one.of_name(name) for name in ("ann", long, long + "y")]
    assert len(set(digests)) == 3
    assert one.of_name(long) == digests[1]
    assert one.names(digests) == {digests[0]: "ann"}


def test_versions_are_numbered_and_capped(fitted: Fitted) -> None:
    grid = fitted.reference.grid
    reader = Reader(fitted, Pseudonyms(KEY))
    decoded = Decoder(fitted.plan, grid, fitted.vocabularies).decode(table(2).to_batches()[0])
    numbers = [reader.rows(decoded, f"v{i}").version for i in range(100)]
    assert {int(one[0]) for one in numbers if one is not None} == set(range(64))


def test_rows_that_are_kept_hold_no_names(fitted: Fitted) -> None:
    given = table(5).rename_columns(["x", "kind", "who", "answer", "chance", "truth", "pixels"])
    both = given.append_column("who (reference)", given["who"])
    hidden = Reader(fitted, Pseudonyms(KEY)).hidden(both)
    assert hidden.schema.names == both.schema.names
    assert hidden["who"].to_pylist() == hidden["who (reference)"].to_pylist()
    assert not set(hidden["who"].to_pylist()) & {"ann", "bob", "eve"}
    assert hidden["truth"].to_pylist() == given["truth"].to_pylist()
