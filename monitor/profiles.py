"""How a model answers, as columns of their own: derived from its probabilities, logits or score, judged like any other.

Of vectors of three classes or more these are the confidence (greatest probability), the margin (greatest less second),
the entropy, and the answer where no prediction is logged; of two classes the confidence, and the chance of the last
class where no score is logged. Of a score in [0, 1] of two classes it is the confidence max(p, 1 - p): both others keep
or turn its order, and what compares distributions would say the same of them. A score that is on one side of 1/2 in
nearly all rows has no such column: it is its own confidence. Answers that are numbers, or ranks, are their own profile.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from detectors.grid import MAX_CATEGORIES
from detectors.rows.answers import softmax
from detectors.rows.confidence import entropy, top_two
from detectors.types import MISSING_CODE, CodeArray, FloatArray, SingleArray
from monitor import columns
from monitor.schema import ColumnPlan, Facts, Kind, Plan
from monitor.survey import Vocabulary
from monitor.vectors import missing_vectors, vectors_of

_BINARY: Final = 2
_OTHER_SIDE: Final = 0.01
"""Share of a score's rows on either side of 1/2, at least, for its confidence to be another column than itself."""
_WHAT: Final = {
    "chance": "chance of the last class",
    "confidence": "greatest chance of a class",
    "margin": "greatest less second chance",
    "entropy": "entropy of the chances",
    "answer": "class of the greatest chance",
}


class Profile(NamedTuple):
    """Derived columns of a batch: numbers ``(n,)`` each, and the class of each row ``(n,)``, -1 where missing."""

    numbers: tuple[pa.Array, ...]
    answer: CodeArray | None


_NONE: Final = Profile((), None)


class Profiles:
    """Computes the derived columns of a plan: none, or all from one logged column."""

    def __init__(self, plan: Plan) -> None:
        """Take what is derived, and from what, from the plan."""
        derived = plan.derived
        self.names = frozenset(one.name for one in derived)
        self.source = derived[0].source if derived else ""
        self._length = derived[0].length if derived else 0
        self._logits = bool(self.source) and self.source == plan.roles.logits
        self._numbers = tuple(one.role for one in derived if one.kind is Kind.NUMERIC)
        self._answer = any(one.role == "answer" for one in derived)

    def of(self, batch: pa.RecordBatch, place: int, vectors: Mapping[str, SingleArray]) -> Profile:
        """Derived columns of a batch with the source at ``place`` (-1: absent); ``vectors`` are decoded already."""
        if not self.source:
            return _NONE
        if not self._length:
            return Profile((pa.array(_folded(batch, place)),), None)
        p = self._chances(batch, place, vectors)
        found = _measured(p, self._numbers)
        lost = np.isnan(found["confidence"])
        answer = np.where(lost, MISSING_CODE, p.argmax(axis=1)).astype(np.int32) if self._answer else None
        doubles = (found[name].astype(np.float64) for name in self._numbers)  # one type is quickest
        return Profile(tuple(pa.array(one) for one in doubles), answer)

    def _chances(self, batch: pa.RecordBatch, place: int, vectors: Mapping[str, SingleArray]) -> SingleArray:
        known = vectors.get(self.source)
        if known is None and place >= 0:
            known = vectors_of(batch.column(place), self._length)
        if known is None:
            known = missing_vectors(batch.num_rows, self._length)
        return softmax(known) if self._logits else known


def _measured(p: SingleArray, wanted: tuple[str, ...]) -> dict[str, SingleArray]:
    """Measures of rows of chances ``(n, C)``, NaN in rows of NaN."""
    first, second = top_two(p)
    found = {"chance": np.ascontiguousarray(p[:, -1]), "confidence": first, "margin": first - second}
    return found | ({"entropy": entropy(p)} if "entropy" in wanted else {})


def _folded(batch: pa.RecordBatch, place: int) -> FloatArray:
    """How far from undecided a score is: max(p, 1 - p), NaN where it is no chance."""
    if place < 0:
        return np.full(batch.num_rows, np.nan)
    p = _numbers(batch.column(place))
    return np.where((p >= 0) & (p <= 1), np.maximum(p, 1 - p), np.nan)


def _numbers(column: pa.Array) -> FloatArray:
    out: FloatArray = columns.floats(column)[0].to_numpy(zero_copy_only=False)
    return out


def planned(plan: Plan, facts: Mapping[str, Facts], sample: pa.RecordBatch) -> Plan:
    """The plan with what can be derived in it; ``sample`` are reference rows."""
    logged = {one.name: one for one in plan.columns}
    for name in (plan.roles.probabilities, plan.roles.logits):
        if name and name in logged and logged[name].monitored and facts[name].length >= _BINARY:
            return _with(plan, name, facts[name].length, _of_vectors(plan, facts[name].length))
    score = plan.roles.score
    if score and score in plan.numeric and _is_chance(sample, plan):
        return _with(plan, score, 0, ("confidence",))
    return plan


def _of_vectors(plan: Plan, length: int) -> tuple[str, ...]:
    if length == _BINARY:
        return ("confidence",) if plan.roles.score else ("chance", "confidence")
    answer = () if plan.roles.prediction or length > MAX_CATEGORIES else ("answer",)
    return ("confidence", "margin", "entropy", *answer)


def _is_chance(sample: pa.RecordBatch, plan: Plan) -> bool:
    """Whether the score is the chance of one of two classes, and lies on both sides of 1/2."""
    if len(plan.roles.classes) > _BINARY or _several(sample, plan.roles.prediction):
        return False
    p = _numbers(sample.column(plan.roles.score))
    p = p[~np.isnan(p)]
    sides = np.array([np.mean(p < 1 / 2), np.mean(p > 1 / 2)]) if p.size else np.zeros(2)
    return bool(p.size and p.min() >= 0 and p.max() <= 1 and sides.min() >= _OTHER_SIDE)


def _several(sample: pa.RecordBatch, prediction: str | None) -> bool:
    """Whether predictions have more than two values, or none that can be told apart."""
    if prediction is None:
        return False
    if prediction not in sample.schema.names:  # nested or binary
        return True
    return len(pc.unique(columns.unwrap(sample.column(prediction)).drop_null())) > _BINARY


def _with(plan: Plan, source: str, length: int, wanted: tuple[str, ...]) -> Plan:
    """The plan with derived columns; one whose name is taken is left out."""
    taken = {one.name for one in plan.columns}
    derived = (
        ColumnPlan(
            name=f"{what}({source})",
            kind=Kind.CATEGORICAL if what == "answer" else Kind.NUMERIC,
            role=what,
            arrow_type="string" if what == "answer" else "double",
            note=_WHAT[what],
            family="text" if what == "answer" else "number",
            source=source,
            length=length,
        )
        for what in wanted
    )
    return dataclasses.replace(plan, columns=(*plan.columns, *(one for one in derived if one.name not in taken)))


def vocabularies(plan: Plan) -> dict[str, Vocabulary]:
    """The classes of a derived answer, by its column."""
    return {one.name: _classes(plan, one.length) for one in plan.derived if one.role == "answer"}


def _classes(plan: Plan, length: int) -> Vocabulary:
    """Names of the classes as declared, else their numbers."""
    declared = plan.roles.classes
    names = declared if len(declared) == length else tuple(map(str, range(length)))
    return Vocabulary(pa.array(names, pa.string()), names, is_open=False, ordered=False)
