"""The scores of rows as a joint view: what tests of two samples need to see an attack in a window.

An MMD test over pixels, embeddings or probabilities does not see 20 % adversarial rows (failures.md 3.5); over the
normal scores of `detectors.rows.scores` it does. The encoder must be fitted on rows that are never in the view's
sample: rows that gave the ranks are less spread in them than later ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.rows import scores
from detectors.types import Block, IntArray, SingleArray

VIEW = "row scores"
"""Name of the view."""


class ScoreEncoder(NamedTuple):
    """Encodes rows as normal scores; ``fixed`` is from `scores.fit`. Its dimensions belong to no column."""

    fixed: scores.RowsFixed

    @property
    def unit(self) -> IntArray:
        """-1 for every score."""
        return np.full(len(self.fixed.which), -1, np.int64)

    @property
    def names(self) -> tuple[str, ...]:
        """The score of each dimension."""
        return scores.names(self.fixed)

    def encode(self, block: Block) -> SingleArray:
        """Rows ``(n, s)``, within about +-4."""
        return scores.normal_scores(self.fixed, block)
