"""Ids of rows as numbers of 128 bits under the state folder's key: what is kept names nobody.

Four times 32 bits by multilinear hashing, which is strongly universal: two ids that differ get the same number with
probability 2^-128, whoever chose them, as long as the key is unknown (Lemire and Kaser 2014, "Strongly universal string
hashing is fast"). They are then scrambled one to one: of ids that count up, multilinear hashes are spread
more evenly than by chance, of others less, and the table counts on chance. Whole numbers and their decimal texts are
the same id.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types as at

from detectors.multivariate.samples import mixed
from monitor.columns import unwrap
from monitor.outcomes.table import Keys
from monitor.schema import family

LONGEST: Final = 256
"""Bytes of an id that are hashed as they are; of a longer one a digest is."""
_LANES: Final = 4
_ROWS: Final = 1 << 12
"""Ids hashed at a time."""
_EXACT: Final = 2.0**53
"""Floats beyond may be another whole number than the one that was meant."""


class Ids(NamedTuple):
    """The ids of a column, and which rows have one."""

    keys: Keys
    known: NDArray[np.bool_]


class Hasher:
    """Hashes ids under one key."""

    def __init__(self, key: bytes) -> None:
        """``key`` of 16 to 64 bytes."""
        self._key = key
        words = LONGEST // 4 + 2  # one more for the length, one more to begin with
        raw = hashlib.shake_256(b"driftwarden/outcomes/ids" + key).digest(8 * words * _LANES)
        self._multipliers = np.frombuffer(raw, "<u8").reshape(words, _LANES)

    def ids(self, column: pa.Array) -> Ids:
        """Numbers, texts, bytes and UUIDs are ids; nulls, empty texts, fractions, truth values and times are none."""
        raw, known = _bytes(column)
        keys = np.zeros((len(raw), 2), np.uint64)
        for start in range(0, len(raw), _ROWS):
            keys[start : start + _ROWS] = self._keys(raw.slice(start, _ROWS))
        return Ids(keys, known)

    def _keys(self, raw: pa.Array) -> Keys:
        offsets = np.frombuffer(raw.buffers()[1], np.int64)[raw.offset : raw.offset + len(raw) + 1]
        sizes = np.diff(offsets)
        if sizes.max(initial=0) > LONGEST:
            texts = [one if one is None or len(one) <= LONGEST else self._digest(one) for one in raw.to_pylist()]
            raw = pa.array(texts, pa.large_binary())
            offsets = np.frombuffer(raw.buffers()[1], np.int64)
        words = _words(np.frombuffer(raw.buffers()[2] or b"", np.uint8), offsets)
        total = self._multipliers[0] + sizes.astype(np.uint64)[:, None] * self._multipliers[1]
        for place in range(words.shape[1]):
            total += words[:, place, None] * self._multipliers[place + 2]
        lanes = total >> np.uint64(32)
        return mixed(lanes[:, ::2] << np.uint64(32) | lanes[:, 1::2])

    def _digest(self, raw: bytes) -> bytes:
        """Of an id that is too long; it keeps its length, so it is no other id's hash."""
        return hashlib.blake2b(raw, digest_size=16, key=self._key).digest()


def _words(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Texts as rows of 32-bit words, zeros behind their ends ``(n, w)``."""
    sizes = np.diff(offsets)
    width = -(-int(sizes.max(initial=0)) // 4) * 4
    place = np.arange(width)
    inside = place < sizes[:, None]
    out = np.zeros((len(sizes), width), np.uint8)
    out[inside] = data[(offsets[:-1, None] + place)[inside]]
    return out.view("<u4").astype(np.uint64)


def _bytes(column: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
    """The column as bytes, and which rows have an id."""
    named = isinstance(column, pa.ExtensionArray) and str(column.type.extension_name) == "arrow.uuid"
    column = unwrap(column)
    if at.is_dictionary(column.type):
        column = unwrap(column.dictionary_decode())
    kind, group = column.type, family(column.type)
    if named:
        column = _uuids(column)
    elif at.is_floating(kind):
        column = _whole(column).cast(pa.string())
    elif group == "number":
        column = column.cast(pa.string())
    elif group not in ("text", "binary"):
        column = pa.nulls(len(column), pa.string())
    raw = column.cast(pa.large_binary())
    filled = pc.fill_null(pc.greater(pc.binary_length(raw), 0), fill_value=False)
    return raw.fill_null(b""), filled.to_numpy(zero_copy_only=False)


def _whole(column: pa.Array) -> pa.Array:
    """Floats that are whole numbers as such, the others null."""
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore"):
        fine = (np.abs(values) < _EXACT) & (values == np.rint(values))
    return pa.array(np.where(fine, values, 0).astype(np.int64), mask=~fine)


def _uuids(column: pa.Array) -> pa.Array:
    """UUIDs as they are written."""
    raw = b"".join(one or bytes(16) for one in column.to_pylist()).hex()
    texts = [raw[start : start + 32] for start in range(0, len(raw), 32)]
    written = [f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}" for one in texts]
    return pa.array(written, pa.string(), mask=column.is_null().to_numpy(zero_copy_only=False))
