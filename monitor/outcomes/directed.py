"""Along which directions of an embedding the model fails, class by class, in the rows of the log.

Directions are learnt on the labelled rows of the reference's sample, once; of classes that have none there, on rows of
complete cohorts of the log (`detectors.slices.directions`, family-wise 5 %, half of it each). Told are the hardest and
the easiest rows of each class by their ids, how much of the newest traffic lies on the hard side of what the reference
taught, and the captions nearest to either side, where there is a table of captions embedded alike. The first of
columns.embeddings is looked at: it has to be independent of the model's own last layer, whose boundary it would learn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from detectors.slices import directions
from detectors.slices.directions import DirectionsFixed
from detectors.types import Block, FloatArray, IntArray, SingleArray
from monitor.errors import ReferenceError_
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.bins import Trusted
from monitor.outcomes.said import Said
from monitor.outcomes.sampled import Records
from monitor.outcomes.slicing import LEVEL, figure
from monitor.outcomes.truths import OTHER
from monitor.vectors import vectors_of

MOST_ROWS: Final = 8_192
MOST_VALUES: Final = 1 << 22
"""Values of all vectors of the sample together (16 MB); of long ones fewer rows are kept."""
LONGEST_ID: Final = 96
"""Bytes of an id; a row whose id is longer is shown without it."""
MOST_CLASSES: Final = 10
SHOWN: Final = 10
"""Rows shown of either side."""
MOST_CAPTIONS: Final = 100_000
_LONGEST: Final = 200


class Embedding(NamedTuple):
    """Which vectors are looked at: their column, its place in ``Block.vectors``, and their length."""

    name: str
    place: int
    length: int

    @property
    def fields(self) -> dict[str, Any]:
        """What is kept of a row."""
        return {"id": f"S{LONGEST_ID}", "sure": "f4", "vector": ("f4", (self.length,))}

    @property
    def most(self) -> int:
        """Rows that are kept."""
        return min(MOST_ROWS, MOST_VALUES // max(self.length, 1))

    def fill(self, records: Records, block: Block, rows: IntArray, said: Said, ids: pa.Array) -> None:
        """Write what is kept of some rows of a block; ``ids`` are theirs alone."""
        records["id"], records["sure"] = named(ids), sure(said)[rows]
        records["vector"] = block.vectors[self.place][rows]


def embedding_of(fitted: Fitted, answers: Answers) -> Embedding | None:
    """The first embedding of a model with classes."""
    vectors = {name: (i, length) for i, (name, length) in enumerate(fitted.reference.grid.vectors)}
    name = next((one for one in fitted.plan.roles.embeddings if one in vectors), None)
    return None if name is None or answers.kind not in ("binary", "multiclass") else Embedding(name, *vectors[name])


class Captions(NamedTuple):
    """Texts, and their vectors ``(n, d)`` in the space of the embedding."""

    texts: list[str]
    vectors: SingleArray


class Rows(NamedTuple):
    """Rows of the log's newest cohorts with their labels as far as these are known; ``complete (n,)``: all of them."""

    records: Records
    complete: NDArray[np.bool_]

    @property
    def vectors(self) -> SingleArray:
        """Embeddings ``(n, d)``."""
        return np.ascontiguousarray(self.records["vector"])

    @property
    def truth(self) -> IntArray:
        """Class ``(n,)``, -1 where no label is known."""
        return _coded(self.records["truth"])

    @property
    def answer(self) -> IntArray:
        """Class that the model said ``(n,)``."""
        return _coded(self.records["prediction"])


class _Learnt(NamedTuple):
    """Directions, and where they come from."""

    source: str
    fixed: DirectionsFixed


class Directed:
    """Looks at the embedding of one model; used by one thread."""

    def __init__(
        self, embedding: Embedding, answers: Answers, known: Trusted, tau: float, captions: Captions | None
    ) -> None:
        """Learn from the reference."""
        self._embedding, self._tau, self._captions = embedding, tau, captions
        self._names = {code: name for name, code in answers.codes.items()} | {int(OTHER): "(another)"}
        truth = _coded(np.where(np.isfinite(known.loss), known.truth, np.nan))
        mine = known.block.vectors[embedding.place]
        self._reference = _Learnt("reference", _fitted(mine, truth, known.loss > 0, sure(known.said)))

    def look(self, rows: Rows) -> dict[str, Any]:
        """What is known now, as JSON-able values."""
        usable = np.where(rows.complete & (rows.answer >= 0), rows.truth, -1)
        now = _Learnt("labels", _fitted(rows.vectors, usable, usable != rows.answer, rows.records["sure"]))
        told: list[dict[str, Any]] = []
        for one in (self._reference, now):
            found = directions.values(one.fixed, rows.vectors)
            known = {document["class"] for document in told}
            made = [self._document(one, i, rows, found) for i in range(len(one.fixed.classes))]
            told += [document for document in made if document["class"] not in known and document["p"] <= LEVEL]
        tested = np.union1d(self._reference.fixed.tested, now.fixed.tested)
        return {
            "column": self._embedding.name,
            "rows": len(rows.records),
            "labelled": int((rows.truth >= 0).sum()),
            "tested": len(tested),
            "classes": sorted(told, key=lambda one: one["p"])[:MOST_CLASSES],
        }

    def _document(self, one: _Learnt, i: int, rows: Rows, found: FloatArray) -> dict[str, Any]:
        fixed, label = one.fixed, int(one.fixed.classes[i])
        at = int(np.flatnonzero(fixed.tested == label)[0])
        moved = directions.drift(fixed, found, self._tau)[i] if one.source == "reference" else None
        mine = np.where((rows.truth == label) | ((rows.truth < 0) & (rows.answer == label)), found[:, i], np.nan)
        shown = directions.exemplars(fixed, rows.vectors, mine, SHOWN)
        return {
            "class": self._names.get(label, str(label))[:_LONGEST],
            "learnt": one.source,
            "balanced": float(fixed.balanced[at]),
            "chance": float(fixed.chance[at]),
            "p": float(fixed.p[at]),
            "auroc": _number(fixed.auroc[i]),
            "confidence_auroc": _number(fixed.confidence[i]),
            "hard": None if moved is None else figure(moved.hard),
            "more": None if moved is None else figure(moved.more),
            "log_p": None if moved is None else _number(moved.log_p),
            "hard_rows": [self._row(rows, row, mine) for row in shown.hard if mine[row] < 0],
            "easy_rows": [self._row(rows, row, mine) for row in shown.easy if mine[row] >= 0],
            "captions": self._said(fixed, i),
        }

    def _row(self, rows: Rows, row: int, found: FloatArray) -> dict[str, Any]:
        truth, answer = int(rows.truth[row]), int(rows.answer[row])
        return {
            "id": bytes(rows.records["id"][row]).decode("utf-8", "replace"),
            "value": float(found[row]),
            "truth": None if truth < 0 else self._names.get(truth, str(truth))[:_LONGEST],
            "answer": None if answer < 0 else self._names.get(answer, str(answer))[:_LONGEST],
            "wrong": None if truth < 0 or answer < 0 else truth != answer,
        }

    def _said(self, fixed: DirectionsFixed, i: int) -> dict[str, list[str]] | None:
        if self._captions is None:
            return None
        found = directions.captions(fixed, self._captions.vectors, i)
        return {
            side: [self._captions.texts[row] for row in rows]
            for side, rows in (("hard", found.hard), ("easy", found.easy))
        }


def sure(said: Said) -> FloatArray:
    """How sure the model is of its answer ``(n,)``: its greatest probability, NaN where not logged."""
    if said.score is not None:
        return np.maximum(said.score, 1 - said.score)
    if said.chances is not None:
        most: FloatArray = said.chances.max(axis=1, initial=-np.inf).astype(np.float64)
        return most
    return np.full(len(said.prediction), np.nan)


def named(ids: pa.Array) -> NDArray[np.bytes_]:
    """Ids as bytes; those that are too long, or no text, are empty."""
    try:
        texts = ids.cast(pa.string()).to_pylist()
    except pa.ArrowException:
        texts = [None] * len(ids)
    raw = [b"" if one is None else one.encode() for one in texts]
    return np.array([one if len(one) <= LONGEST_ID else b"" for one in raw], f"S{LONGEST_ID}")


def _fitted(vectors: SingleArray, truth: IntArray, wrong: NDArray[np.bool_], confidence: FloatArray) -> DirectionsFixed:
    return directions.fit(vectors, truth, wrong, np.random.default_rng(0), np.asarray(confidence, np.float64))


def captions_of(path: Path, length: int) -> Captions:
    """Read captions; `ReferenceError_` if there are none."""
    try:
        table = pq.read_table(path, columns=["caption", "embedding"]).slice(0, MOST_CAPTIONS).combine_chunks()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ReferenceError_(f"captions: needs the columns caption and embedding ({type(error).__name__})") from error
    texts = [str(one or "")[:_LONGEST] for one in table.column("caption").to_pylist()]
    vectors = [vectors_of(one, length) for one in table.column("embedding").chunks]
    return Captions(texts, np.concatenate(vectors) if vectors else np.zeros((0, length), np.float32))


def _coded(values: FloatArray) -> IntArray:
    return np.where(np.isfinite(values), values, -1).astype(np.int64)


def _number(value: float | np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
