"""Rows of a block as rows of numbers for the joint tests."""

from __future__ import annotations

from typing import Protocol

from detectors.types import Block, IntArray, SingleArray


class Encoder(Protocol):
    """Encodes one view; everything it knows comes from the reference.

    ``unit (d,)`` is the monitored column (position in ``Grid.names``) that each dimension belongs to, -1 for none.
    """

    @property
    def unit(self) -> IntArray:
        """Whose dimension each one is."""
        ...

    def encode(self, block: Block) -> SingleArray:
        """Rows ``(n, d)``, finite."""
        ...
