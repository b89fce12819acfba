"""Where one model fails consistently: rows that wait for their labels, searched beside the engine when these are there.

Rows are sampled as they are judged, get their labels as these are joined, and are searched for groups whenever one more
cohort of predictions is label-complete: the newest complete cohorts of at least `SPAN` seconds, and so many before them
that there are `ENOUGH` labelled rows. A prediction without a label takes no part. Where the log carries an embedding, a
smaller sample has it, and is looked at whenever a cohort begins or is complete.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.types import Block, IntArray
from monitor import log
from monitor.arrays import pack, unpack
from monitor.config import Model
from monitor.errors import ReferenceError_
from monitor.fitted import Fitted
from monitor.outcomes import directed
from monitor.outcomes.answers import Answers
from monitor.outcomes.beside import Beside
from monitor.outcomes.bins import Bins, losses, reference_of, trusted
from monitor.outcomes.delays import Completeness
from monitor.outcomes.directed import Captions, Directed
from monitor.outcomes.door import STATE
from monitor.outcomes.joined import Joined, Kept
from monitor.outcomes.realised import SPAN
from monitor.outcomes.said import Said
from monitor.outcomes.sampled import Records, Sample
from monitor.outcomes.slicing import Rows, Slices
from monitor.passes import taken

MOST_ROWS: Final = 65_536
MOST_VALUES: Final = 1 << 23
"""Bins of all rows of the sample together (8 MB); tables of more than 128 columns keep fewer rows."""
ENOUGH: Final = 16_384
LEAST: Final = 200
"""Labelled rows that are worth a search."""
_STATE: Final = f"{STATE}-failing"
_ROWS: Final = f"{_STATE}/rows/"
_VECTORS: Final = f"{_STATE}/vectors/"
_NOTHING: Final[dict[str, Any]] = {
    **dict.fromkeys(("since", "until", "loss", "reference_loss", "change")),
    "rows": 0,
    "tried": 0,
    "slices": [],
    "reference_slices": [],
}
"""What is told of groups before the first search."""


class Result(NamedTuple):
    """What searches gave: of groups with what is followed and the cohorts searched, and of directions."""

    groups: dict[str, Any] | None = None
    followed: tuple[dict[str, Any], ...] = ()
    cohorts: tuple[int, ...] = ()
    directions: dict[str, Any] | None = None
    seen: tuple[int, ...] = ()


class _Job(NamedTuple):
    """Labelled rows of some cohorts, and their span."""

    cohorts: tuple[int, ...]
    cohort: IntArray
    rows: Records
    start: float
    end: float


class Failing:
    """The samples, the searches and what they have found; but for the searches touched by the engine's thread alone."""

    def __init__(self, model: Model, fitted: Fitted, answers: Answers, tau: float, beside: Beside) -> None:
        """Measure nothing of the reference yet: the first search does."""
        self.model = model
        self._fitted, self._answers, self._tau, self._beside = fitted, answers, tau, beside
        self._bins = Bins(fitted)
        self._sample = Sample(self._bins.fields, min(MOST_ROWS, MOST_VALUES // max(len(self._bins.grid.names), 1)))
        self._embedding = embedding = directed.embedding_of(fitted, answers)
        self._vectors = None if embedding is None else Sample(embedding.fields, embedding.most)
        self._slices: Slices | None = None
        self._directed: Directed | None = None
        self._result = Result()
        self._looked: tuple[int, ...] = ()
        self._seen: tuple[int, ...] = ()
        self.failures = 0
        """Searches that failed, and batches that could not be sampled or labelled."""
        self._log = log.get("slices")

    @property
    def document(self) -> dict[str, Any] | None:
        """What is known, as JSON-able values that nobody may change; None before the first search."""
        result = self._result
        if result.groups is None and result.directions is None:
            return None
        kind = "absolute error" if self._answers.kind == "regression" else "error"
        told = {"model": self.model.name, "loss_is": kind, **(result.groups or _NOTHING)}
        return told | {"directions": result.directions}

    @property
    def nbytes(self) -> int:
        """Memory of the samples."""
        return self._sample.nbytes + (0 if self._vectors is None else self._vectors.nbytes)

    def counts(self) -> tuple[int, int]:
        """Rows of the sample with a label, and without."""
        return self._sample.counts()

    def kept(self, kept: Kept, rows: IntArray, block: Block, said: Said, ids: pa.Array) -> None:
        """Predictions that are new in the index: ``rows (n,)`` of the block are those that it was given."""
        self._tried(lambda: self._take(kept, rows, block, said))
        self._tried(lambda: self._take_vectors(kept, rows, block, said, ids))

    def joined(self, joined: Joined, cohorts: Completeness, width: float) -> None:
        """Predictions that have got a label, or another one than before."""
        self._tried(lambda: self._sample.label(joined))
        if (vectors := self._vectors) is not None:
            self._tried(lambda: vectors.label(joined))
        self.look(cohorts, width)

    def look(self, cohorts: Completeness, width: float) -> None:
        """Have the newest complete cohorts searched, if there is a new one among them."""
        self._tried(lambda: self._look(cohorts, width))
        self._tried(lambda: self._look_along(cohorts, width))

    def states(self, numbers: IntArray) -> dict[str, bytes]:
        """Everything of the cohorts that are followed still, for a checkpoint, under keys that begin with `STATE`."""
        found: dict[str, bytes] = {}
        self._tried(lambda: found.update(self._states(numbers)))
        return found

    def _states(self, numbers: IntArray) -> dict[str, bytes]:
        told = {"identity": self._identity, "result": self._result._asdict()}
        states = {_STATE: pack({"document": np.frombuffer(json.dumps(told).encode(), np.uint8)})}
        for sample, place in ((self._sample, _ROWS), (self._vectors, _VECTORS)):
            if sample is not None:
                sample.keep(numbers.tolist())
                states |= {f"{place}{number}": blob for number, blob in sample.states()}
        return states

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Inverse of `states`; what was of other bins or classes is forgotten."""
        self._tried(lambda: self._restore(states))

    def _restore(self, states: Mapping[str, bytes]) -> None:
        if _STATE not in states:
            return
        told = json.loads(unpack(states[_STATE])["document"].tobytes())
        if told["identity"] != self._identity:
            self._log.warning("bins, classes or hours have changed: slices are looked for anew", model=self.model.name)
            return
        for sample, place in ((self._sample, _ROWS), (self._vectors, _VECTORS)):
            if sample is not None:
                sample.restore({k.removeprefix(place): blob for k, blob in states.items() if k.startswith(place)})
        self._result = Result(**told["result"])
        self._looked, self._seen = tuple(self._result.cohorts), tuple(self._result.seen)

    @property
    def _identity(self) -> str:
        """What sampled rows and followed slices mean."""
        meaning, embedding = self._answers.meaning, None if self._embedding is None else self._embedding[::2]
        told = [self._bins.identity, meaning["kind"], list(meaning["codes"]), self.model.labels.hours, embedding]
        return json.dumps(told)

    def _tried(self, work: Callable[[], None]) -> None:
        """Figures, estimates and rows do not depend on what is looked for here."""
        try:
            work()
        except Exception as fault:  # noqa: BLE001 - what is looked for beside must not cost what is counted
            self.failures += 1
            self._log.error("failing rows cannot be looked for", model=self.model.name, error=repr(fault))

    def _take(self, kept: Kept, rows: IntArray, block: Block, said: Said) -> None:
        if len(places := _fresh(self._sample, kept)):
            records = _begun(self._sample, kept, places, said.prediction[rows[places]])
            records["codes"] = self._bins.codes(taken(dataclasses.replace(block, vectors=()), rows[places]))
            self._sample.add(kept.cohort[places], records)

    def _take_vectors(self, kept: Kept, rows: IntArray, block: Block, said: Said, ids: pa.Array) -> None:
        if self._vectors is None or self._embedding is None:
            return
        if len(places := _fresh(self._vectors, kept)):
            records = _begun(self._vectors, kept, places, said.prediction[rows[places]])
            self._embedding.fill(records, block, rows[places], said, ids.take(pa.array(places)))
            self._vectors.add(kept.cohort[places], records)

    def _look(self, cohorts: Completeness, width: float) -> None:
        done = np.flatnonzero(self._usable(cohorts))
        numbers = cohorts.number[done].tolist()
        if not numbers or numbers[-1] in self._looked[-1:]:
            return
        chosen = self._newest(numbers, max(int(SPAN / width), 1))
        cohort, rows = self._sample.of(chosen)
        known = np.isfinite(rows["truth"])
        if known.sum() >= LEAST:
            self._looked = tuple(chosen)
            job = _Job(self._looked, cohort[known], rows[known], chosen[0] * width, (chosen[-1] + 1) * width)
            self._beside.ask("%groups", lambda: self._tried(lambda: self._search(job)))

    def _look_along(self, cohorts: Completeness, width: float) -> None:
        """Rows of the newest day, whether their labels have come or not."""
        if self._vectors is None or not len(cohorts.number):
            return
        newest = int(cohorts.number[-1])
        usable = self._usable(cohorts)
        seen = (newest, int(cohorts.number[usable].max(initial=-1)))
        if seen == self._seen:
            return
        numbers = cohorts.number[cohorts.number > newest - max(int(SPAN / width), 1) - 1].tolist()
        cohort, rows = self._vectors.of(numbers)
        if len(rows) >= LEAST:
            self._seen = seen
            some = directed.Rows(rows, np.isin(cohort, cohorts.number[usable]))
            self._beside.ask("%directions", lambda: self._tried(lambda: self._search_along(some, seen)))

    def _usable(self, cohorts: Completeness) -> NDArray[np.bool_]:
        """Complete cohorts of which enough rows have a label: those of errors may come first, or alone."""
        enough = cohorts.labelled >= self.model.labels.least_share * cohorts.predicted
        return cohorts.complete & (cohorts.labelled > 0) & enough

    def _newest(self, numbers: list[int], least: int) -> list[int]:
        """The newest cohorts: those of a day, and more until there are enough labelled rows."""
        cohort, rows = self._sample.of(numbers)
        known = cohort[np.isfinite(rows["truth"])]
        later = np.array([(known >= one).sum() for one in numbers])
        first = max(int((later >= ENOUGH).sum()) - 1, 0)
        day = int(np.searchsorted(numbers, numbers[-1] - least + 1))
        return numbers[min(first, day) :]

    def _search(self, job: _Job) -> None:
        """Look for groups, on the thread of its own."""
        if self._slices is None:
            known = trusted(self._fitted, self._answers)
            self._slices = Slices(self._bins, reference_of(self._bins, known), self._tau)
            self._slices.restore(self._result.followed)
        loss = losses(self._answers, Said(job.rows["prediction"], None, None), job.rows["truth"])
        found = self._slices.look(Rows(job.cohort, job.rows["codes"], loss, job.start, job.end))
        self._result = self._result._replace(groups=found, followed=tuple(self._slices.state()), cohorts=job.cohorts)

    def _search_along(self, rows: directed.Rows, seen: tuple[int, ...]) -> None:
        """Look along directions, on the thread of its own."""
        if self._directed is None and self._embedding is not None:
            known = trusted(self._fitted, self._answers)
            self._directed = Directed(self._embedding, self._answers, known, self._tau, self._captions())
        if self._directed is not None:
            self._result = self._result._replace(directions=self._directed.look(rows), seen=seen)

    def _captions(self) -> Captions | None:
        """The captions; directions are told without them if they cannot be used."""
        if self.model.captions is None or self._embedding is None:
            return None
        try:
            return directed.captions_of(self.model.captions, self._embedding.length)
        except ReferenceError_ as fault:
            self._log.error("captions cannot be used", model=self.model.name, error=str(fault))
            return None


def _fresh(sample: Sample, kept: Kept) -> IntArray:
    """Places of the predictions that are new and may be in the sample."""
    places = sample.wanted(kept.key)
    fresh: IntArray = places[kept.fresh[places]]
    return fresh


def _begun(sample: Sample, kept: Kept, places: IntArray, prediction: np.ndarray[Any, Any]) -> Records:
    """Records of predictions without a label, to be filled in."""
    records = np.zeros(len(places), sample.dtype)
    records["key"], records["truth"], records["prediction"] = kept.key[places, 0], np.nan, prediction
    return records
