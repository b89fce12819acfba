"""Ids as keyed numbers: the same id is the same in any type, different ids differ, and only the key makes them."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from detectors.multivariate.samples import mixed
from monitor.outcomes.ids import LONGEST, Hasher

HASHER = Hasher(b"k" * 32)


def keys(column: pa.Array, hasher: Hasher = HASHER) -> list[tuple[int, ...] | None]:
    made = hasher.ids(column)
    return [tuple(key) if known else None for key, known in zip(made.keys.tolist(), made.known.tolist(), strict=True)]


TEXTS = ["7", "123456789012", "-4", "0"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([7, 123456789012, -4, 0], pa.int64()),
        pa.array([7.0, 123456789012.0, -4.0, -0.0], pa.float64()),
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
        pa.array([one.encode() for one in TEXTS], pa.binary()),
        pa.array(TEXTS).dictionary_encode(),
        pa.array(["x", *TEXTS, "y"])[1:5],
        pa.chunked_array([TEXTS]).combine_chunks(),
        pa.RunEndEncodedArray.from_arrays([1, 2, 3, 4], TEXTS),
    ],
    ids=lambda column: str(column.type),
)
def test_the_same_id_is_the_same_in_any_type(column: pa.Array) -> None:
    assert keys(column) == keys(pa.array(TEXTS))


def test_small_integers_too() -> None:
    for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.uint64(), pa.float32()):
        assert keys(pa.array([7], kind)) == keys(pa.array(["7"]))


def test_a_uuid_is_the_same_as_its_text() -> None:
    some = [uuid.UUID(int=one) for one in (0, 1, 2**127 + 5)]
    storage = pa.array([one.bytes for one in some] + [None], pa.binary(16))
    column = pa.ExtensionArray.from_storage(pa.uuid(), storage)
    assert keys(column) == [*keys(pa.array([str(one) for one in some])), None]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["", None]),
        pa.array([1.5, float("nan"), float("inf"), 2.0**60, None]),
        pa.array([True, False]),
        pa.array([[1], [2]]),
        pa.nulls(3),
        pa.array([1, 2], pa.timestamp("s")),
        pa.array([b"", None], pa.binary()),
    ],
    ids=lambda column: str(column.type),
)
def test_what_is_no_id_has_none(column: pa.Array) -> None:
    assert keys(column) == [None] * len(column)


def test_null_among_ids_leaves_the_others_alone() -> None:
    column = pa.array(["a", None, "b", "", "c"])
    assert keys(column) == [*keys(pa.array(["a"])), None, *keys(pa.array(["b"])), None, *keys(pa.array(["c"]))]


def test_different_ids_differ_whatever_their_length() -> None:
    texts = [
        "a",
        "a\0",
        "a\0\0\0",
        "\0",
        "\0\0",
        "aaaa",
        "aaaab",
        "b",
        "ab",
        "ba",
        *(str(one) for one in range(20_000)),
    ]
    texts += ["x" * length for length in range(1, LONGEST + 40)]
    texts += ["x" * (LONGEST + 39) + last for last in "abc"]
    assert len(set(keys(pa.array(texts)))) == len(texts)


def test_an_id_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef0123456789-"), rng.integers(1, LONGEST + 60))) for _ in range(300)]
    alone = [keys(pa.array([text]))[0] for text in texts]
    assert keys(pa.array(texts)) == alone
    assert keys(pa.array(texts * 20)) == alone * 20


def test_the_key_decides() -> None:
    other = Hasher(b"l" * 32)
    assert keys(pa.array(["a"])) != keys(pa.array(["a"]), other)
    assert keys(pa.array(["x" * 400])) != keys(pa.array(["x" * 400]), other)


def test_numbers_in_a_row_are_spread_evenly() -> None:
    made = HASHER.ids(pa.array(np.arange(100_000))).keys
    for lane in (made[:, 0] >> np.uint64(32), made[:, 0] & np.uint64(2**32 - 1), made[:, 1] & np.uint64(2**32 - 1)):
        counts = np.bincount((lane >> np.uint64(24)).astype(np.int64), minlength=256)
        # chi-square of 255 degrees of freedom: 5 standard deviations either way
        assert 255 - 5 * 22.6 < ((counts - 390.625) ** 2 / 390.625).sum() < 255 + 5 * 22.6


def test_a_chosen_hash_by_the_book() -> None:
    """The same number worked out with Python's own integers: multilinear hashing, 4 times 32 bits."""
    raw = hashlib.shake_256(b"driftwarden/outcomes/ids" + b"k" * 32).digest(8 * (LONGEST // 4 + 2) * 4)
    factors = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]

    def lane(text: bytes, which: int) -> int:
        words = [len(text), *(int.from_bytes(text[i : i + 4], "little") for i in range(0, len(text), 4))]
        total = factors[which] + sum(word * factors[4 * (place + 1) + which] for place, word in enumerate(words))
        return total % 2**64 >> 32

    for text in (b"a", b"request-12345", b"\xff" * 21):
        lanes: list[Any] = [lane(text, which) for which in range(4)]
        halves = np.array([lanes[0] << 32 | lanes[1], lanes[2] << 32 | lanes[3]], np.uint64)
        assert keys(pa.array([text], pa.binary())) == [tuple(mixed(halves).tolist())]
