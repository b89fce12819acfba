"""What a model said of each row, and what its labels mean: classes by their codes, or numbers as they are.

A model whose log carries a score, probabilities, logits or a categorical prediction has classes; one whose prediction
is a number has none. Classes are those of the predictions and of the reference's labels together, in the order of
`monitor.security.layout.classes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from detectors.performance.types import Kind, Outcomes
from detectors.types import Block, FloatArray, IntArray, SingleArray
from monitor.decode import labels_of
from monitor.fitted import Fitted
from monitor.outcomes.truths import Truths, class_of, classes, numbers
from monitor.security.layout import classes as in_order

MOST_COUNTED: Final = 200
"""Models with more classes are not followed: a cohort's counts would take more than half a megabyte."""
MOST_CLASSES: Final = 64
"""With more classes their probabilities are not kept row by row."""
_ANSWERS: Final = ("prediction", "score", "probabilities", "logits")


class Said(NamedTuple):
    """Answers ``(n,)``: class or number, NaN where there is none; ``score`` of class 1, ``chances (n, k)`` or None."""

    prediction: FloatArray
    score: FloatArray | None
    chances: SingleArray | None

    def rows(self, index: IntArray) -> Said:
        """Some of them."""
        score, chances = self.score, self.chances
        return Said(
            self.prediction[index], None if score is None else score[index], None if chances is None else chances[index]
        )

    def beside(self, more: Said) -> Said:
        """These and more."""
        score, chances = self.score, self.chances
        return Said(
            np.concatenate([self.prediction, more.prediction]),
            None if score is None or more.score is None else np.concatenate([score, more.score]),
            None if chances is None or more.chances is None else np.concatenate([chances, more.chances]),
        )


class Answers:
    """Reads the answers and labels of one model."""

    def __init__(self, fitted: Fitted) -> None:
        """Take places and classes from the plan, the grid and the reference's sample."""
        plan, grid = fitted.plan, fitted.reference.grid
        self.roles, self.strata = plan.roles, plan.strata is not None
        units = {name: i for i, name in enumerate(grid.names)}
        vectors = {name: i for i, (name, _) in enumerate(grid.vectors)}
        self._p = len(grid.numeric_names)
        self._prediction = units.get(plan.roles.prediction or "", -1)
        score = units.get(plan.roles.score or "", -1)
        self._score = score if score < self._p else -1
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
        if not self._classifies:
            return "regression" if self._prediction >= 0 else None
        return None if not 2 <= self.k <= MOST_COUNTED else "binary" if self.k == 2 else "multiclass"

    @property
    def k(self) -> int:
        """Number of classes, 0 of a regression."""
        return max(self._length, len(self.codes))

    @property
    def fields(self) -> dict[str, Any]:
        """What is kept of a prediction until its label comes."""
        kept: dict[str, Any] = {"prediction": "f8"}
        if self.kind == "binary" and (self._score >= 0 or self._length):
            kept["score"] = "f8"
        if self.kind == "multiclass" and 0 < self._length <= MOST_CLASSES:
            kept["chances"] = ("f4", (self._length,))
        return kept | ({"stratum": "i4"} if self.strata else {})

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

    def said(self, block: Block) -> Said:
        """What the model said of each row."""
        chances = self._vector(block)
        score = block.numeric[:, self._score] if self._score >= 0 else None
        if self.kind == "binary" and score is None and chances is not None:
            score = chances[:, -1].astype(np.float64)
        return Said(
            self._predicted(block, score, chances),
            score if self.kind == "binary" else None,
            chances if self.kind == "multiclass" else None,
        )

    def values(self, block: Block, said: Said) -> Mapping[str, NDArray[Any]]:
        """What is kept of each row."""
        kept: dict[str, NDArray[Any]] = {"prediction": said.prediction}
        if said.score is not None:
            kept["score"] = said.score
        if said.chances is not None:
            kept["chances"] = said.chances
        if self.strata:
            kept["stratum"] = np.full(block.rows, -1, np.int32) if block.strata is None else block.strata
        return {name: kept[name] for name in self.fields}

    def outcomes(self, said: Said, truth: FloatArray | None = None) -> Outcomes:
        """The same as the estimators and counters want it; without ``truth`` no label is known."""
        kind = self.kind or "regression"
        truth = np.full(len(said.prediction), np.nan) if truth is None else truth
        if kind == "regression":
            return Outcomes(kind, said.prediction, None, None, truth)
        chances = None if said.chances is None else said.chances.astype(np.float64)
        return Outcomes(kind, _coded(said.prediction), said.score, chances, _coded(truth))

    def truths(self, column: pa.Array) -> Truths:
        """A column of labels."""
        return classes(column, self.codes) if self._classifies else numbers(column)

    @property
    def _classifies(self) -> bool:
        given = self._score >= 0 or self._length > 0 or bool(self.roles.classes)
        return given or self._prediction >= self._p

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
