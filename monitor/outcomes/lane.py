"""The outcome lane of one model: its predictions wait in the index for their labels, whichever way these come.

Labels come in the rows of the log itself, or in deliveries that carry nothing but ids and labels; those take no part in
drift. Rows that are older, when they arrive, than the index keeps any are history that is being read: their own times
are the clock then. Touched by the engine's thread alone. What fails here is counted and told, and the rows are judged
all the same.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from detectors.types import FloatArray
from monitor import columns, log
from monitor.arrays import pack, unpack
from monitor.config import Model
from monitor.decode import Decoded
from monitor.errors import StoreError
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.beside import Beside
from monitor.outcomes.divided import Divided
from monitor.outcomes.door import ERRORS, STATE, Pace
from monitor.outcomes.errors import ErrorStream, News
from monitor.outcomes.failing import Failing
from monitor.outcomes.index import Index
from monitor.outcomes.joined import Joined
from monitor.outcomes.leftovers import FOLDER
from monitor.outcomes.matching import AHEAD, PANE
from monitor.outcomes.measured import Expected
from monitor.outcomes.parts import How, Parts, worth
from monitor.outcomes.rankings import Rankings
from monitor.outcomes.realised import Confirmed, Realised
from monitor.outcomes.rowlog import Damaged
from monitor.security.pseudonyms import key_of

_HOUR: Final = 3600.0
_LAST_QUANTILE: Final = 0.95
"""Of the times of a batch the last is taken beyond which there are no more than one in twenty: some may be garbage."""
_COHORT: Final = f"{STATE}/"


def lane_of(
    model: Model,
    fitted: Fitted,
    folder: Path,
    expected: Expected | None,
    tau: float,
    beside: Beside,
    errors: ErrorStream | None = None,
) -> Lane | None:
    """The model's lane, to be restored; None where rows have no ids or labels, or the reference shows no answers."""
    answers = Answers(fitted)
    if not (model.columns.id and model.columns.label and model.labels.rows) or answers.kind is None:
        return None
    divided = Divided(fitted.plan.strata, model.labels.hours * _HOUR)
    how = How(tau, worth(model.labels, answers), model.labels.coverage)
    make = Rankings if answers.kind == "ranking" else Realised
    counted = None if expected is None else make(expected, answers, how, divided)
    failing = Failing(model, fitted, answers, tau, beside)
    return Lane(model, answers, folder / FOLDER / model.name, key_of(folder), divided, beside, counted, errors, failing)


class Lane:
    """Joins late labels to predictions."""

    def __init__(
        self,
        model: Model,
        answers: Answers,
        folder: Path,
        key: bytes,
        divided: Divided,
        beside: Beside,
        realised: Realised | None = None,
        errors: ErrorStream | None = None,
        failing: Failing | None = None,
    ) -> None:
        """Open nothing yet: `restore` or `succeed` does. Without ``realised`` labels are joined and make no figures."""
        self.model, self.answers, self.realised = model, answers, realised
        self.errors, self.failing = errors, failing
        self.parts: Parts | None = None
        self.failures = 0
        self._doubtful = False
        self._history = True
        self._folder, self._key, self._divided, self._beside = folder, key, divided, beside
        self._asked: Confirmed | None = None
        self._log = log.get("outcomes")
        self.index: Index | None = None

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Go on from what `states` gave; without it, or if it means something else now, with an empty index.

        `StoreError`, and nothing is changed, if the disk cannot be read: a fault that passes must not cost the index.
        """
        state = states.get(STATE)
        arrays = {} if state is None else unpack(state)
        said = json.loads(arrays["meaning"].tobytes()) if arrays else {}
        held = arrays["index"].tobytes() if arrays and self._knows(said) else None
        if held is not None:
            self._divided.restore(said["divided"])
        if arrays and held is None:
            self._log.warning("classes or hours have changed: labels are joined anew", model=self.model.name)
        self.index, known = self._restored(held)
        ahead = self.index.present(time.time())
        self._history = bool(said["history"]) if known and held is not None else True
        goes_on = known and held is not None and not ahead
        if self.realised is not None and goes_on and said["layout"] == self.realised.identity:
            mine = {key.removeprefix(_COHORT): blob for key, blob in states.items() if key.startswith(_COHORT)}
            self.realised.restore(mine)
            self.realised.partial = frozenset(said["partial"])
        elif self.realised is not None:
            self._recount()
        if self.errors is not None and held is not None and known and ERRORS in states:
            self.errors.restore(states[ERRORS])
        if self.failing is not None and known and held is not None:
            self.failing.restore(states)

    def _restored(self, held: bytes | None) -> tuple[Index, bool]:
        """The index, and whether it goes on from what was held."""
        index = self._opened()
        try:
            return index, index.restore(held)
        except Damaged as error:
            index.close()
            self._log.error("the index of labels is damaged, it begins anew", model=self.model.name, error=str(error))
            return self._restored(None)[0], False
        except StoreError:
            index.close()
            raise

    def succeed(self, old: Lane | None) -> None:
        """Go on in the place of another lane of the same model, which ends: its open index is handed over.

        What the last checkpoint needs stays on disk until the next one, so a crash in between changes nothing; and
        nothing can fail here: what cannot be kept is told and counted.
        """
        index = None if old is None else old.index
        if old is None or index is None:
            self._begin()
        else:
            self._take(old, index)

    def _take(self, old: Lane, index: Index) -> None:
        """Go on with the open index of another lane."""
        self.failures += old.failures
        self._history = old._history
        old.index = None
        if not self._knows(old.meaning):
            self._log.warning("classes or hours have changed: labels are joined anew", model=self.model.name)
            self.index = self._opened()
            self.index.after(index)
            return
        self.index = index
        self._divided.restore(old._divided.state())
        self._resize(index)
        if self.errors is not None and old.errors is not None:
            self.errors.restore(old.errors.state(), evidence=False)
        if self.realised is not None:
            self._count_on(self.realised, old)
        if self.failing is not None and old.failing is not None:
            self.failing.restore(old.failing.states(index.cohorts().number))

    def _begin(self) -> None:
        """With an empty index, even where the disk cannot be written: rows are then counted as not kept."""
        try:
            self.restore({})
        except StoreError as fault:
            self._failed("the index of labels cannot be made", fault)
            self.index = self._opened()

    def _resize(self, index: Index) -> None:
        """Have the index keep what the configuration says."""
        try:
            if index.bound != self.model.labels.rows:
                index.resize(self.model.labels.rows)
        except Exception as fault:  # noqa: BLE001 - a reload must not lose the index for its size
            self._failed("the index of labels keeps its size until a restart", fault)

    def _count_on(self, realised: Realised, old: Lane) -> None:
        """Take the counts over, if they mean the same."""
        before = old.realised
        if before is None or old._doubtful or before.identity != realised.identity:
            self._recount()
            return
        realised.restore(dict(before.states()))
        realised.partial = before.partial

    def states(self) -> dict[str, bytes]:
        """Everything, for a checkpoint, under keys that begin with `STATE`; `StoreError` if it cannot be written."""
        if self.index is None:
            return {}
        if self._doubtful:
            self._recount()
        index = self.index.settle()
        meaning: dict[str, Any] = {**self.meaning, "history": self._history, "layout": None, "partial": []}
        meaning["divided"] = self._divided.state()
        found = {}
        if self.realised is not None and not self._doubtful:
            meaning["layout"] = self.realised.identity
            numbers = self.index.cohorts().number
            self.realised.keep(numbers)
            meaning["partial"] = sorted(self.realised.partial.intersection(numbers.tolist()))
            found = {f"{_COHORT}{number}": blob for number, blob in self.realised.states()}
        if self.errors is not None:
            found[ERRORS] = self.errors.state()
        if self.failing is not None:
            self.failing.look(self.index.cohorts(), self.index.width)
            found |= self.failing.states(self.index.cohorts().number)
        told = np.frombuffer(json.dumps(meaning).encode(), np.uint8)
        return {STATE: pack({"meaning": told, "index": np.frombuffer(index, np.uint8)}), **found}

    @property
    def meaning(self) -> dict[str, Any]:
        """What kept rows mean, and how long they are kept, as JSON-able values."""
        return {**self.answers.meaning, "hours": self.model.labels.hours}

    @property
    def confirmed(self) -> Confirmed | None:
        """What labels have confirmed of the newest complete cohorts."""
        if self.index is None or self.realised is None or self._doubtful:
            return None
        self.realised.index = self.index
        found = self.realised.confirmed(self.index.cohorts(), self.index.width)
        if found is not None and found is not self._asked:
            self._asked = found
            self._beside.ask("%parts", partial(self._tell, self.realised.parts(found.numbers)))
        return found

    def settled(self) -> None:
        """The checkpoint with the last `state` is on disk."""
        if self.index is not None:
            self.index.settled()

    def fed(self, decoded: Decoded, arrived: float, version: str) -> None:
        """Keep the predictions of a batch that has been judged, and join the labels that it brings.

        ``version`` is the sender's word for rows that do not say which version answered.
        """
        names = decoded.batch.schema.names
        if self.index is None or self.model.columns.id not in names:
            return
        try:
            self._doubtful |= self.index.present(arrived)
            now = self._made(decoded.block.time, arrived)
            if self.answers.answered(names):
                self._predicted(self.index, decoded, now, version)
            if self.model.columns.label in names:
                self._labelled(self.index, decoded.batch, now, alone=False)
        except Exception as fault:  # noqa: BLE001 - rows are judged whatever becomes of their labels
            self._failed("labels of a batch cannot be joined", fault)

    def labelled(self, batch: pa.RecordBatch, arrived: float) -> bool:
        """Join the labels of a batch that carries nothing else; whether that could be done."""
        if self.index is None:
            return False
        try:
            sound, times = columns.sound(batch)[0], None
            if self.model.columns.time in sound.schema.names:
                times = columns.seconds(self._column(sound, self.model.columns.time))
            self._doubtful |= self.index.present(arrived)
            self._labelled(self.index, sound, self._known(self.index, times, arrived), times, alone=True)
        except Exception as fault:  # noqa: BLE001 - one batch must not end the agent
            self._failed("labels of a batch cannot be joined", fault)
            return False
        return True

    def known(self, ids: pa.Array) -> pa.Array:
        """The labels that some ids have now, null where none is known."""
        truths = np.full(len(ids), np.nan) if self.index is None else self.index.truths(columns.unwrap(ids))
        return self.answers.labels(truths)

    def close(self) -> None:
        """Let go of the files."""
        if self.index is not None:
            self.index.close()
            self.index = None

    def _join(self, work: Callable[[], Joined]) -> None:
        """Count the predictions that get their label, or another one, by work on the index.

        If that ends halfway, nobody knows what has been counted: no figures are told until all is counted anew.
        """
        doubtful, self._doubtful = self._doubtful, True
        joined = work()
        if self.realised is not None and joined.rows:
            self.realised.add(joined)
        self._doubtful = doubtful
        if self.errors is not None and joined.rows:
            self.errors.joined(joined, self._divided.slots["segment"].names)
        if self.failing is not None and self.index is not None and joined.rows:
            self.failing.joined(joined, self.index.cohorts(), self.index.width)

    def judged(self, pace: Pace) -> News:
        """What the answers tell whose labels have come."""
        if self.index is None or self.errors is None:
            return News()
        try:
            return self.errors.judge(self.index.delays(), self.index.now, pace)
        except Exception as fault:  # noqa: BLE001 - rows are judged whatever becomes of their labels
            self._failed("answers cannot be judged", fault)
            return News()

    def _recount(self) -> None:
        """Count all that the index holds; if it cannot be read, the next checkpoint tries again."""
        self._doubtful = True
        if self.index is None or self.realised is None:
            return
        self.realised.index = self.index
        try:
            self.realised.rebuild(self.index.rows(), self.index.cohorts(), self.index.width)
            self._doubtful = False
        except Exception as fault:  # noqa: BLE001 - rows and labels are joined whatever becomes of their figures
            self._failed("labels cannot be counted anew", fault)

    def _made(self, times: FloatArray | None, arrived: float) -> float:
        """The present of predictions of these times: when they arrived, or the last times if they are history."""
        last = _last(times, arrived)
        self._history = math.isfinite(last) and arrived - last > self.model.labels.hours * _HOUR
        return last if self._history else arrived

    def _known(self, index: Index, times: FloatArray | None, arrived: float) -> float:
        """The present of labels that are known since these times: that of history only while predictions are."""
        last = max(_last(times, arrived), index.now)
        return last if self._history and np.isfinite(last) else arrived

    def _tell(self, made: Callable[[], Parts]) -> None:
        self.parts = made()

    def _predicted(self, index: Index, decoded: Decoded, now: float, version: str) -> None:
        block = decoded.block
        said = self.answers.said(block, decoded.batch)
        places, freed = self._divided.places(decoded, version, now)
        if self.realised is not None:
            self.realised.forget(freed)
        values, ids = self.answers.values(said, places), self._column(decoded.batch, self.model.columns.id)
        known = np.isfinite(said.prediction)
        for given in (said.score, said.chances):
            known |= False if given is None else np.isfinite(given.reshape(block.rows, -1)).all(axis=1)
        time = index.times(block.time, block.rows, now)
        versions = np.zeros(block.rows, np.int64) if self.errors is None else self.errors.versions_of(decoded, version)
        if not known.all():
            values = {name: part[known] for name, part in values.items()}
            ids = ids.filter(pa.array(known))
            time, versions = time[known], versions[known]
        pane = np.zeros(len(time), np.int64) if self.errors is None else self.errors.ripening.number(versions, time)

        def keep() -> Joined:
            kept = index.predicted(ids, time, {**values, PANE: pane}, now)
            if self.errors is not None:
                self.errors.ripening.predicted(pane[kept.fresh], time[kept.fresh])
            if self.failing is not None:
                self.failing.kept(kept, np.flatnonzero(known), block, said, ids)
            return kept.joined

        self._join(keep)

    def _labelled(
        self, index: Index, batch: pa.RecordBatch, now: float, time: FloatArray | None = None, *, alone: bool
    ) -> None:
        """``time`` is when each label was known. In the rows of the log a missing label is the rule."""
        ids, labels = (self._column(batch, name) for name in (self.model.columns.id, self.model.columns.label))
        if not alone and labels.null_count:
            there = labels.is_valid()
            ids, labels = ids.filter(there), labels.filter(there)
        if len(ids):
            truths = self.answers.truths(labels)
            self._join(lambda: index.labelled(ids, truths, now, time))

    @staticmethod
    def _column(batch: pa.RecordBatch, name: str | None) -> pa.Array:
        """A column in plain types; of several of one name the first."""
        return columns.unwrap(batch.column(batch.schema.names.index(str(name))))

    def _knows(self, said: Mapping[str, Any]) -> bool:
        return bool(said["hours"] == self.model.labels.hours) and self.answers.knows(said)

    def _opened(self) -> Index:
        labels = self.model.labels
        fields = {**self.answers.fields, PANE: "u4"}
        return Index(self._folder, fields, key=self._key, rows=labels.rows, hours=labels.hours)

    def _failed(self, what: str, fault: Exception) -> None:
        self.failures += 1
        self._log.error(what, model=self.model.name, error=repr(fault))


def _last(times: FloatArray | None, arrived: float) -> float:
    """The last of some times, but for the few that no other agrees with; minus infinity if none can be true."""
    some = np.zeros(0) if times is None else times[np.isfinite(times) & (times <= arrived + AHEAD)]
    return float(np.quantile(some, _LAST_QUANTILE, method="lower")) if len(some) else -np.inf
