"""What a model said of each row, and what its labels mean: classes by their codes, or numbers as they are.

A model whose log carries a score, probabilities, logits or a categorical prediction has classes; one whose prediction
is a number has none. Classes are those of the predictions and of the reference's labels together, in the order of
`monitor.security.layout.classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from detectors.performance.types import Kind, Outcomes
from detectors.types import Block, FloatArray, IntArray, SingleArray
from monitor.decode import labels_of
from monitor.fitted import Fitted
from monitor.outcomes.said import MOST_IN_SETS, Said, members, queries_of, sets_of
from monitor.outcomes.truths import Truths, class_of, classes, numbers
from monitor.security.layout import classes as in_order

MOST_COUNTED: Final = 200
"""Models with more classes are not followed: a cohort's counts would take more than half a megabyte."""
MOST_CLASSES: Final = 64
"""With more classes their probabilities are not kept row by row."""
_ANSWERS: Final = ("prediction", "score", "probabilities", "logits")


class Answers:
    """Reads the answers and labels of one model."""

    def __init__(self, fitted: Fitted) -> None:
        """Take places and classes from the plan, the grid and the reference's sample."""
        plan, grid = fitted.plan, fitted.reference.grid
        self.roles, self.strata = plan.roles, plan.strata
        units = {name: i for i, name in enumerate(grid.names)}
        vectors = {name: i for i, (name, _) in enumerate(grid.vectors)}
        self._p = len(grid.numeric_names)
        self._prediction = units.get(plan.roles.prediction or "", -1)
        score = units.get(plan.roles.score or "", -1)
        self._score = score if score < self._p else -1
        self._ends = tuple(units.get(one or "", -1) for one in (plan.roles.lower, plan.roles.upper))
        self._chances = vectors.get(plan.roles.probabilities or "", -1)
        self._logits = vectors.get(plan.roles.logits or "", -1) if self._chances < 0 else -1
        self._length = max((grid.vectors[i][1] for i in (self._chances, self._logits) if i >= 0), default=0)
        categorical = self._prediction >= self._p
        said = grid.labels[self._prediction - self._p] if categorical else ()
        self.codes = self._classes(fitted, said) if self._classifies else {}
        self._table = np.array([*(class_of(name, self.codes) for name in said), np.nan])

    @property
    def kind(self) -> Kind | None:
        """What the model is, None where the reference does not tell."""
        if self.roles.query:
            return "ranking" if self._score >= 0 else None
        if not self._classifies:
            return "regression" if self._prediction >= 0 else None
        return None if not 2 <= self.k <= MOST_COUNTED else "binary" if self.k == 2 else "multiclass"

    @property
    def k(self) -> int:
        """Number of classes, 0 without."""
        return max(self._length, len(self.codes))

    @property
    def fields(self) -> dict[str, Any]:
        """What is kept of a prediction until its label comes."""
        kind, length = self.kind, self._length
        kept: dict[str, Any] = {
            "score": "f8" if kind == "ranking" or (kind == "binary" and (self._score >= 0 or length)) else None,
            "chances": ("f4", (length,)) if kind == "multiclass" and 0 < length <= MOST_CLASSES else None,
            **dict.fromkeys(("low", "high"), "f8" if kind == "regression" and min(self._ends) >= 0 else None),
            "sets": "u8" if self.roles.set and 0 < self.k <= MOST_IN_SETS else None,
            "query": "i8" if kind == "ranking" else None,
        }
        kept = {name: one for name, one in kept.items() if one is not None}
        return {"prediction": "f8"} | kept | {"version": "i1", "segment": "i1"}

    @property
    def meaning(self) -> dict[str, Any]:
        """What kept numbers mean, as JSON-able values."""
        return {"kind": self.kind, "codes": dict(self.codes), "fields": repr(self.fields)}

    def knows(self, meaning: Mapping[str, Any]) -> bool:
        """Whether numbers of that meaning have the same one here: a new class takes nothing from the others."""
        same = all(meaning[key] == self.meaning[key] for key in ("kind", "fields"))
        return same and dict(meaning["codes"]).items() <= dict(self.codes).items()

    def answered(self, names: list[str]) -> bool:
        """Whether a batch with these columns carries any answer."""
        return any(getattr(self.roles, role) in names for role in _ANSWERS if getattr(self.roles, role))

    def said(self, block: Block, batch: pa.RecordBatch | None = None) -> Said:
        """What the model said of each row; sets and queries are read from the batch itself."""
        kept, chances = self.fields, self._vector(block)
        score = block.numeric[:, self._score] if self._score >= 0 else None
        if self.kind == "binary" and score is None and chances is not None:
            score = chances[:, -1].astype(np.float64)
        low, high = (block.numeric[:, place] if "low" in kept else None for place in self._ends)
        return Said(
            self._predicted(block, score, chances),
            score if "score" in kept else None,
            chances if self.kind == "multiclass" else None,
            low,
            high,
            sets_of(_column(batch, self.roles.set), self.codes, block.rows) if "sets" in kept else None,
            queries_of(_column(batch, self.roles.query), block.rows) if "query" in kept else None,
        )

    def values(self, said: Said, places: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """What is kept of each row; ``places`` are those of its version and segment."""
        kept = {**said.kept, **places}
        return {name: kept[name] for name in self.fields}

    @staticmethod
    def kept(values: Mapping[str, NDArray[Any]]) -> Said:
        """What the model said of rows by what is kept of them."""
        return Said(**{name: one for name, one in values.items() if name in Said._fields})

    def outcomes(self, said: Said, truth: FloatArray | None = None) -> Outcomes:
        """The same as the estimators and counters want it; without ``truth`` no label is known."""
        kind = self.kind or "regression"
        truth = np.full(len(said.prediction), np.nan) if truth is None else truth
        if kind == "ranking":
            return Outcomes(kind, said.prediction, said.score, None, truth, group=said.query)
        if kind == "regression":
            return Outcomes(kind, said.prediction, None, None, truth, low=said.low, high=said.high)
        chances = None if said.chances is None else said.chances.astype(np.float64)
        sets = None if said.sets is None else members(said.sets, self.k)
        return Outcomes(kind, _coded(said.prediction), said.score, chances, _coded(truth), sets=sets)

    def truths(self, column: pa.Array) -> Truths:
        """A column of labels."""
        return classes(column, self.codes) if self._classifies else numbers(column)

    def labels(self, truths: FloatArray) -> pa.Array:
        """Inverse of `truths`: names of classes, or numbers; null for NaN."""
        none = np.isnan(truths)
        if not self._classifies:
            return pa.array(truths, mask=none)
        names = {code: name for name, code in self.codes.items()}
        return pa.array(
            [None if gone else names[int(one)] for one, gone in zip(truths, none, strict=True)], pa.string()
        )

    @property
    def _classifies(self) -> bool:
        given = self._score >= 0 or self._length > 0 or bool(self.roles.classes)
        return not self.roles.query and (given or self._prediction >= self._p)

    def _classes(self, fitted: Fitted, said: tuple[str, ...]) -> Mapping[str, int]:
        place = fitted.sample.schema.get_field_index(self.roles.label or "")
        labels = labels_of(fitted.sample.column(place)) if self.roles.label and place >= 0 else None
        seen = [] if labels is None else [labels.values[code] for code in np.unique(labels.codes) if code >= 0]
        known = list(dict.fromkeys(name.removesuffix(".0") for name in said))
        for name in seen[: MOST_CLASSES**2]:
            if np.isnan(class_of(name, dict.fromkeys(known, 0))) and name.strip().lower() not in ("", "nan"):
                known.append(name.strip().removesuffix(".0"))
        known = known or [str(one) for one in range(self._length)]
        return in_order(tuple(known), self.roles.classes, self._length)

    def _vector(self, block: Block) -> SingleArray | None:
        place = max(self._chances, self._logits)
        if place < 0:
            return None
        given = block.vectors[place]
        return given if self._logits < 0 else special.softmax(given.astype(np.float64), axis=1).astype(np.float32)

    def _predicted(self, block: Block, score: FloatArray | None, chances: SingleArray | None) -> FloatArray:
        if self.kind == "ranking" and score is not None:
            return score
        if self._prediction >= self._p:
            slots = block.codes[:, self._prediction - self._p]
            known = (slots >= 0) & (slots < len(self._table) - 1)
            return self._table[np.where(known, slots, -1)]
        if self._prediction >= 0:
            given = block.numeric[:, self._prediction]
            return self._numbered(given) if self._classifies else given
        if chances is not None and chances.shape[1]:
            missing = np.isnan(chances).any(axis=1)
            return np.where(missing, np.nan, np.nan_to_num(chances).argmax(axis=1))
        if score is None:
            return np.full(block.rows, np.nan)
        return np.where(np.isfinite(score), score >= 0.5, np.nan).astype(np.float64)

    def _numbered(self, given: FloatArray) -> FloatArray:
        """Classes that are logged as numbers."""
        out = np.full(len(given), np.nan)
        for name, code in self.codes.items():
            try:
                out[given == float(name)] = code
            except ValueError:
                continue
        return out


def _coded(values: FloatArray) -> IntArray:
    return np.where(np.isnan(values), -1, values).astype(np.int64)


def _column(batch: pa.RecordBatch | None, name: str | None) -> pa.Array | None:
    """A column of a batch; of several of one name the first."""
    if batch is None or name not in batch.schema.names:
        return None
    return batch.column(batch.schema.names.index(name))
