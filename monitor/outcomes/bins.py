"""What slices are told by: bins of inputs, as the reference gives them, and its labelled rows beside."""

from __future__ import annotations

import hashlib
from typing import Any, Final, NamedTuple

import numpy as np

from detectors.grid import Grid
from detectors.slices import columns, compare
from detectors.slices.columns import Codes, ColumnsFixed, Slice
from detectors.slices.compare import SlicesFixed
from detectors.types import Block, FloatArray
from monitor.decode import Decoded, Decoder
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.said import Said

_LONGEST: Final = 120
"""Characters of a condition that are told; what stands in a log may be of any length."""


class Bins:
    """Bins rows by the columns that a model was given: features and segments, no answers."""

    def __init__(self, fitted: Fitted) -> None:
        """Take cuts and categories from the reference."""
        self.grid: Grid = fitted.reference.grid
        self.fixed: ColumnsFixed = columns.fit(self.grid, fitted.reference.summary)
        given = {one.name for one in fitted.plan.columns if one.role in ("feature", "segment")}
        self._answers = np.array([i for i, name in enumerate(self.grid.names) if name not in given], np.int64)

    @property
    def fields(self) -> dict[str, Any]:
        """What is kept of a row."""
        return {"codes": ("u1", (len(self.grid.names),))}

    @property
    def identity(self) -> str:
        """What bins mean."""
        parts = [np.ascontiguousarray(part).tobytes() for part in (*self.fixed, self._answers)]
        return hashlib.blake2b(b"".join([self.grid.id.encode(), *parts]), digest_size=16).hexdigest()

    def codes(self, block: Block) -> Codes:
        """Bins ``(n, f)``; columns that make no slices have one and the same bin in all rows."""
        made = columns.codes(self.fixed, block)
        made[:, self._answers] = columns.MISSING
        return made

    def name(self, group: Slice) -> str:
        """What a slice is called."""
        return columns.name(self.fixed, self.grid, group)

    def told(self, group: Slice) -> dict[str, Any]:
        """A slice in words: a short name that holds no values, its columns, and its conditions."""
        digest = hashlib.blake2b(self.name(group).encode(), digest_size=4).hexdigest()
        conditions = sorted(self.name((one,))[:_LONGEST] for one in group)
        names = sorted(self.grid.names[one.column] for one in group)
        return {"id": digest, "name": " & ".join(conditions), "columns": names, "conditions": conditions}


class Trusted(NamedTuple):
    """Labelled rows of the reference's sample ``(n,)``: decoded, what was said of them, class or value, and loss."""

    block: Block
    said: Said
    truth: FloatArray
    loss: FloatArray


def trusted(fitted: Fitted, answers: Answers) -> Trusted:
    """The reference's sample with its labels, NaN where there is none."""
    made = Decoder(fitted.plan, fitted.reference.grid, fitted.vocabularies).decode(fitted.sample)
    said, truth = answers.said(made.block), truths(answers, made)
    return Trusted(made.block, said, truth, losses(answers, said, truth))


def truths(answers: Answers, rows: Decoded) -> FloatArray:
    """The label of each row ``(n,)``, NaN where there is none."""
    names = rows.batch.schema.names
    if answers.roles.label not in names:
        return np.full(rows.block.rows, np.nan)
    return answers.truths(rows.batch.column(names.index(answers.roles.label))).values


def losses(answers: Answers, said: Said, truth: FloatArray) -> FloatArray:
    """Loss of each row ``(n,)``, NaN without a label."""
    return compare.losses(answers.outcomes(Said(said.prediction, None, None), truth))


def reference_of(bins: Bins, known: Trusted, seed: int = 0) -> SlicesFixed:
    """What slices are compared with; no rows if the reference has no labels."""
    return compare.fit(bins.codes(known.block), known.loss, np.random.default_rng(seed))
