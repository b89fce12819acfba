"""Keyed hashes: names of senders and inputs leave this module as 64-bit numbers that only the state folder's key makes.

Nobody without the key can tell from a number whose it is, nor choose names or inputs that collide.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detectors.rows.layout import DigestArray
from detectors.types import Block
from monitor.errors import StoreError

KEY_FILE = "security.key"
KEY_BYTES = 32
_REMEMBERED = 65_536
"""Names whose hash is remembered."""
_LONGEST = 256
"""A longer name is hashed each time and not remembered: strangers choose names, and memory is bounded."""
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def key_of(folder: Path) -> bytes:
    """The state folder's own key, made at the first start, readable by its owner only."""
    path = folder / KEY_FILE
    known = known_key(folder)
    if known is not None:
        return known
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key = os.urandom(KEY_BYTES)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        return key
    except OSError as error:
        raise StoreError(f"{path}: cannot be made: {error.strerror}; check its permissions") from error


def known_key(folder: Path) -> bytes | None:
    """The state folder's key if it has one; `StoreError` if that is damaged or may not be read."""
    path = folder / KEY_FILE
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    if len(key) != KEY_BYTES:
        raise StoreError(f"{path}: is not a key of {KEY_BYTES} bytes; remove it, and senders get new pseudonyms")
    return key


class Pseudonyms:
    """Hashes of names and of inputs under one key."""

    def __init__(self, key: bytes) -> None:
        """``key`` of 16 to 64 bytes."""
        self._key = key
        self._known: OrderedDict[str, int] = OrderedDict()

    def of_name(self, name: str) -> int:
        """64 bits, never 0."""
        known = self._known.get(name)
        if known is not None:
            self._known.move_to_end(name)
        else:
            made = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).digest()
            known = int.from_bytes(made, "little") or 1
            if len(name) <= _LONGEST:
                self._known[name] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    def secret(self, purpose: str) -> int:
        """64 bits for one purpose, and for no name."""
        made = hashlib.blake2b(purpose.encode(), digest_size=8, key=self._key, person=b"secret").digest()
        return int.from_bytes(made, "little")

    def names(self, digests: Collection[int]) -> dict[int, str]:
        """Names that some of the digests belong to, by digest, as far as they are remembered."""
        wanted = set(digests)
        return {digest: name for name, digest in self._known.items() if digest in wanted} if wanted else {}

    def of_names(self, codes: NDArray[np.int32], names: Sequence[str]) -> DigestArray:
        """Hash of ``names[code]``, 0 for code -1 and empty names ``(n,)``."""
        used = np.unique(codes[codes >= 0])
        table = np.zeros(len(names) + 1, np.uint64)
        for code in used:
            table[code] = self.of_name(names[code]) if names[code] else 0
        digests: DigestArray = table[codes]  # -1 takes the last entry, which is 0
        return digests

    def of_inputs(self, block: Block, features: NDArray[np.int64], vectors: Sequence[int]) -> DigestArray:
        """Hash of each row's features and vectors ``(n,)``: multiply-shift under the key (Dietzfelbinger 1996)."""
        p = block.numeric.shape[1]
        numeric = block.numeric[:, features[features < p]] + 0.0  # -0.0 is 0.0
        words = [np.where(np.isnan(numeric), np.nan, numeric).view(np.uint64)] if numeric.size else []
        codes = block.codes[:, features[features >= p] - p]
        words += [codes.astype(np.int64).view(np.uint64)] if codes.size else []
        words += [_words(block.vectors[i]) for i in vectors]
        return self.of_words(words, block.rows)

    def of_words(self, words: Sequence[DigestArray], rows: int) -> DigestArray:
        """Hash of each row's words ``(n, k)`` of 64 bits, of which there may be several arrays."""
        total = np.zeros(rows, np.uint64)
        for place, part in enumerate(words):
            total = _mixed(
                total + (_mixed(part) * self._multipliers(place, part.shape[1])).sum(axis=1, dtype=np.uint64)
            )
        return np.where(total == 0, np.uint64(1), total)

    def _multipliers(self, place: int, length: int) -> DigestArray:
        """Odd numbers from the key."""
        seed = hashlib.blake2b(bytes([place]), digest_size=16, key=self._key).digest()
        rng = np.random.default_rng(int.from_bytes(seed, "little"))
        return rng.integers(0, 2**63, length, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def _words(vectors: NDArray[np.float32]) -> DigestArray:
    """Rows of float32 as rows of 32-bit words."""
    plain = np.where(np.isnan(vectors), np.float32(np.nan), vectors + np.float32(0.0))
    return np.ascontiguousarray(plain, np.float32).view(np.uint32).astype(np.uint64)


def _mixed(words: DigestArray) -> DigestArray:
    """Splitmix64's finaliser."""
    with np.errstate(over="ignore"):
        words = (words ^ (words >> np.uint64(30))) * _MIX[0]
        words = (words ^ (words >> np.uint64(27))) * _MIX[1]
        return words ^ (words >> np.uint64(31))
