"""The demo's model: who of the people asked has a job, by logistic regression, read from a file of JSON.

Log odds are a bias, a number per level of each categorical feature, and a line through knots for each numeric one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitor.errors import DriftwardenError

THRESHOLD = 0.5
"""Score from which the model answers yes."""

Weights = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Classifier:
    """A fitted model; ``levels`` and ``lines`` map a feature to its weights by level and by knot."""

    version: str
    bias: float
    levels: Weights
    lines: Weights

    @classmethod
    def load(cls, path: Path) -> Classifier:
        """Read what `document` describes; `DriftwardenError` if the file is something else."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return cls(str(raw["version"]), float(raw["bias"]), raw["levels"], raw["lines"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"{path.name}: not the demo's model ({error}); make it again with make_data.py"
            raise DriftwardenError(message) from None

    def document(self) -> dict[str, Any]:
        """The model as JSON-able values."""
        return {"version": self.version, "bias": self.bias, "levels": self.levels, "lines": self.lines}

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that a request must have."""
        return (*self.lines, *self.levels)

    def score(self, requests: pa.RecordBatch | pa.Table) -> NDArray[np.float32]:
        """Probability of a yes for each row. A level that the model has not met adds nothing."""
        log_odds = np.full(requests.num_rows, self.bias)
        for name, line in self.lines.items():
            knots = np.array([float(knot) for knot in line])
            log_odds += np.interp(_numbers(requests.column(name)), knots, np.array(list(line.values())))
        for name, weights in self.levels.items():
            table = np.array([*weights.values(), 0.0])  # the last entry answers index -1
            log_odds += table[_positions(requests.column(name), pa.array(list(weights)))]
        return (1.0 / (1.0 + np.exp(-log_odds))).astype(np.float32)

    def answer(self, requests: pa.RecordBatch | pa.Table) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Prediction and score for each row."""
        scores = self.score(requests)
        return (scores >= THRESHOLD).astype(np.int8), scores


def _numbers(column: Any) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=float)


def _positions(column: Any, levels: pa.Array) -> NDArray[np.int64]:
    """Place of each value in ``levels``; -1 for values that are not there."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not pa.types.is_dictionary(whole.type):
        whole = whole.dictionary_encode()
    known = pc.fill_null(pc.index_in(whole.dictionary, value_set=levels), -1).to_numpy(zero_copy_only=False)
    codes = pc.fill_null(whole.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    places: NDArray[np.int64] = np.append(known, -1).astype(np.int64)[codes]
    return places
