"""A sample of kept rows: each of them is in it with the same chance, in bounded memory, however many there are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.types import FloatArray, SingleArray


class Piece(NamedTuple):
    """Some rows: their places ``(n, d)``, the model's ``doubt (n,)``, and a table of what is shown of them."""

    places: SingleArray
    doubt: FloatArray
    shown: pa.Table

    def some(self, rows: NDArray[np.bool_]) -> Piece:
        """The marked rows."""
        return Piece(self.places[rows], self.doubt[rows], self.shown.filter(pa.array(rows)))


class Pool:
    """Keeps the rows of least random key; ``offered`` counts all."""

    def __init__(self, most: int, rng: np.random.Generator) -> None:
        """Keep at most so many rows."""
        self._most, self._rng = most, rng
        self._kept: list[tuple[FloatArray, Piece]] = []
        self.offered = 0

    def add(self, piece: Piece) -> None:
        """Offer some rows."""
        rows = len(piece.doubt)
        self.offered += rows
        if rows:
            self._kept.append((self._rng.random(rows), piece))
        if sum(len(key) for key, _ in self._kept) > 2 * self._most:
            self._prune()

    def pieces(self) -> list[Piece]:
        """What is kept, in the order of the stream."""
        self._prune()
        return [piece for _, piece in self._kept]

    def _prune(self) -> None:
        keys = np.concatenate([key for key, _ in self._kept]) if self._kept else np.zeros(0)
        if len(keys) <= self._most:
            return
        least = np.partition(keys, self._most - 1)[self._most - 1]
        marked = [(key <= least, key, piece) for key, piece in self._kept]
        self._kept = [(key[rows], piece.some(rows)) for rows, key, piece in marked if rows.any()]
