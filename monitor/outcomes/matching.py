"""Predictions and labels that meet: what becomes of a few thousand of either, and what is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray
from monitor import log
from monitor.errors import StoreError
from monitor.outcomes.cohorts import Cohorts
from monitor.outcomes.corrections import CORRECTED, FIRST, REPEATED, STALE, Held, follow, groups
from monitor.outcomes.joined import LABELS, LEFT, PREDICTIONS, Joined, Values
from monitor.outcomes.labelbook import LabelBook, entries, used
from monitor.outcomes.room import Room
from monitor.outcomes.rowlog import Records, RowLog
from monitor.outcomes.table import Keys

CHUNK: Final = 1 << 12
"""Rows worked on at a time: memory stays small however large a batch is."""
TIDY: Final = 4
"""Entries of the labels' log that are looked through for each that is added, while too many are out of date."""
AHEAD: Final = 3600.0
"""A prediction that says it was made later than so many seconds from now was made now."""
PANE: Final = "pane"
"""Field with the pane that a prediction belongs to: the agent's own, and nothing that the model said."""
_WAITING_SHARE: Final = 20
"""One waiting label to so many predictions at most: labels of another model must not push predictions out."""
_LABEL: Final = (("time", "<f8"), ("truth", "<f8"))
_OUTCOMES: Final = ((REPEATED, "repeated"), (CORRECTED, "corrected"), (STALE, "stale"))


class Matching:
    """The rows that wait, and the books about them."""

    def __init__(self, folder: Path, fields: dict[str, np.dtype[Any]], rows: int, seconds: float) -> None:
        """Keep ``fields`` of predictions."""
        self.fields, self.folder = fields, folder
        self._seconds = seconds
        self.predictions = Room(folder / "predictions", [("time", "<f8"), *fields.items()], rows, seconds)
        self.waiting = Room(folder / "waiting", [*_LABEL], _waiting(rows), seconds)
        self.book = LabelBook(folder / "labels", self.predictions, self.waiting)
        self.chunk = min(CHUNK, self.waiting.rows)
        self._log = log.get("outcomes")
        self.begin()

    def begin(self) -> None:
        """Forget all counts."""
        self.now = self.latest = -np.inf
        self.cohorts = Cohorts(self._seconds)
        self.counts = [dict.fromkeys(names, 0) for names in (PREDICTIONS, LABELS, LEFT)]

    @property
    def logs(self) -> tuple[RowLog, RowLog, RowLog]:
        """All that is on disk."""
        return self.predictions.log, self.waiting.log, self.book.log

    def resize(self, rows: int) -> None:
        """Keep so many predictions from now on; `StoreError` if that cannot be done."""
        self.waiting.resize(_waiting(rows))
        self.chunk = min(CHUNK, self.waiting.rows)
        self.predictions.resize(rows)

    def after(self, old: Matching) -> None:
        """Be empty in the place of other rows, which leave; counts go on."""
        for mine, its in zip(self.logs, old.logs, strict=True):
            mine.after(its)
        self.now, self.counts = old.now, old.counts
        live, labelled = old.predictions.live.rows, old.predictions.marked
        self.count(2, "labelled", labelled)
        self.count(2, "unlabelled", live - labelled)
        self.count(1, "unknown_id", old.waiting.live.rows - old.waiting.marked)

    def count(self, kind: int, reason: str, rows: int) -> None:
        """Count what became of predictions (0), labels (1) or rows that left (2)."""
        self.counts[kind][reason] += rows

    def truths(self, keys: Keys) -> FloatArray:
        """The label of each of at most ``chunk`` ids, NaN where none is known."""
        group = groups(keys)
        numbers = self.predictions.find(keys[group.order[group.first]]).numbers
        there = np.flatnonzero(numbers >= 0)
        which, labels = self.book.held(numbers[there])
        truth = np.full(len(numbers), np.nan)
        truth[there[which]] = labels["truth"]
        found = np.empty(len(keys))
        found[group.order] = truth[group.of]
        return found

    def pass_time(self, now: float) -> None:
        """Let what is too old leave."""
        self.now = max(self.now, now)
        self._leave(0, 0)

    def present(self, arrived: float) -> bool:
        """Nothing is later than the delivery at hand: what a clock that was ahead has said is put right.

        Whether cohorts were forgotten.
        """
        self.latest = arrived
        if self.now <= arrived:
            return False
        self.now = arrived
        for one in (self.predictions, self.waiting):
            one.correct(arrived)
        return self.cohorts.forget_after(arrived + AHEAD)

    def times(self, records: Records) -> FloatArray:
        """When predictions were made; -1 for a time that is to come, by a clock that was ahead."""
        time: FloatArray = records["time"].copy()
        time[time > max(self.now, self.latest) + AHEAD] = -1.0
        return time

    def keep(self, records: Records) -> tuple[NDArray[np.bool_], Joined]:
        """At most ``chunk`` predictions: which are new, and those whose labels have come before them."""
        group = groups(records["key"])
        first = group.order[group.first]
        found = self.predictions.find(records["key"][first])
        known = records[first]
        known[found.there] = found.records
        fresh = np.zeros(len(records), bool)
        fresh[first[~found.there]] = True
        again = np.empty(len(records), bool)
        again[group.order] = self._same(records[group.order], known[group.of])
        new, label = self._meet(records[fresh])
        if new is None:
            self.count(0, "not_kept", len(records))
            return np.zeros(len(records), bool), self.joined()
        self.count(0, "kept", int(fresh.sum()))
        self.count(0, "repeated", int((again & ~fresh).sum()))
        self.count(0, "conflicting", int((~again & ~fresh).sum()))
        self.cohorts.predicted(new["time"])
        return fresh, label

    def _same(self, records: Records, others: Records) -> NDArray[np.bool_]:
        """Whether rows say the same, bit for bit, whenever they were made."""
        same = np.ones(len(records), bool)
        for name in self.fields.keys() - {PANE}:
            mine, other = (np.ascontiguousarray(one[name]).view(np.uint8) for one in (records, others))
            same &= (mine.reshape(len(records), -1) == other.reshape(len(records), -1)).all(axis=1)
        return same

    def _meet(self, new: Records) -> tuple[Records | None, Joined]:
        """Take new predictions in, with the labels that wait for them; None if the disk takes no more."""
        place, number, label = self._waiting_for(new["key"])
        made = entries(self.predictions.log.end + place, label["time"], label["truth"])
        made = np.concatenate([made, used(number)])
        if not self._append(new, None, made):
            return None, self.joined()
        self._leave(len(new), 0)
        self.predictions.enter(new)
        self.book.enter(made)
        self._tidy(TIDY * len(new))
        self.count(1, "joined", len(place))
        joined = self.joined(new[place], label["truth"], np.full(len(place), np.nan))
        self.cohorts.labelled(joined.time, joined.delay)
        return new, joined

    def _waiting_for(self, keys: Keys) -> tuple[IntArray, IntArray, Records]:
        """Places in ``keys`` for which a label waits, its number, and the label."""
        found = self.waiting.find(keys)
        place = np.flatnonzero(found.there)
        number = found.numbers[place]
        waits = self.waiting.marks(number) == 0
        return place[waits], number[waits], found.records[waits]

    def label(self, keys: Keys, time: FloatArray, truth: FloatArray) -> Joined:
        """At most ``chunk`` labels: the predictions whose label is another one now."""
        group = groups(keys)
        key = keys[group.order[group.first]]
        found = self.predictions.find(key)
        there = found.there
        place, number, label = self._held(key, found.numbers)
        held = Held(np.zeros(len(key), bool), np.full(len(key), np.nan), np.full(len(key), np.nan))
        held.known[place], held.time[place], held.truth[place] = True, label["time"], label["truth"]
        kind, after = follow(group, time, truth, held)
        moved = ~(held.known & (after.time == held.time) & (after.truth == held.truth))
        mine, early = moved & there, moved & ~there
        made = entries(found.numbers[mine], after.time[mine], after.truth[mine])
        past = number[moved[place] & ~there[place]]
        if not self._write(key[early], after.time[early], after.truth[early], np.concatenate([made, used(past)])):
            self.count(1, "not_kept", len(keys))
            return self.joined()
        self._tell(kind, there[group.of][np.argsort(group.order)])
        changed = there & (held.truth != after.truth)
        joined = self.joined(found.records[changed[there]], after.truth[changed], held.truth[changed])
        new = np.isnan(joined.before)
        self.cohorts.labelled(joined.time[new], joined.delay[new])
        return joined

    def _held(self, keys: Keys, predictions: IntArray) -> tuple[IntArray, IntArray, Records]:
        """Places of ids that have a label, its number if it waits (-1 if not), and the label."""
        there = np.flatnonzero(predictions >= 0)
        which, labels = self.book.held(predictions[there])
        away = np.flatnonzero(predictions < 0)
        place, number, waits = self._waiting_for(keys[away])
        both = np.empty(len(which) + len(place), waits.dtype)
        for name in ("time", "truth"):
            both[name] = np.concatenate([labels[name], waits[name]])
        return np.append(there[which], away[place]), np.append(np.full(len(which), -1), number), both

    def _write(self, keys: Keys, time: FloatArray, truth: FloatArray, made: Records) -> bool:
        """Write labels that wait from now on, and entries about others; whether the disk took them."""
        records = np.empty(len(keys), self.waiting.log.dtype)
        records["key"], records["time"], records["truth"] = keys, time, truth
        if not self._append(None, records, made):
            return False
        self.book.enter(made)
        self._leave(0, len(records))
        self.waiting.enter(records)
        self._tidy(TIDY * len(made))
        return True

    def _tell(self, kind: IntArray, there: NDArray[np.bool_]) -> None:
        """Count what became of labels; the first of an id without a prediction waits, and is counted when it ends."""
        self.count(1, "joined", int(((kind == FIRST) & there).sum()))
        for one, reason in _OUTCOMES:
            self.count(1, reason, int((kind == one).sum()))

    def joined(
        self, records: Records | None = None, truth: FloatArray | None = None, before: FloatArray | None = None
    ) -> Joined:
        """Predictions that got a label just now; none without arguments."""
        if records is None or truth is None or before is None:
            records, truth, before = np.empty(0, self.predictions.log.dtype), np.empty(0), np.empty(0)
        time = self.times(records)
        delay = np.maximum(self.now - records["time"], 0.0) if len(time) else np.empty(0)
        key = np.ascontiguousarray(records["key"])
        return Joined(time, self.cohorts.of(time), self.values(records), truth, before, delay, key)

    def values(self, records: Records) -> Values:
        """The fields of predictions, an array each."""
        return {name: np.ascontiguousarray(records[name]) for name in self.fields}

    def _leave(self, predictions: int, labels: int) -> None:
        """After so many rows have come, count those that go."""
        first = self.predictions.live.first
        unlabelled = self.predictions.leave(predictions, self.now)
        self.count(2, "unlabelled", unlabelled)
        self.count(2, "labelled", self.predictions.live.first - first - unlabelled)
        self.count(1, "unknown_id", self.waiting.leave(labels, self.now))

    def _append(self, predictions: Records | None, waiting: Records | None, labels: Records) -> bool:
        """Write to all logs or to none; whether it could be done."""
        marks = [one.mark() for one in self.logs]
        try:
            for one, records in zip(self.logs, (predictions, waiting, labels), strict=True):
                if records is not None:
                    one.append(records)
        except OSError as error:
            for one, mark in zip(self.logs, marks, strict=True):
                one.cut(*mark)
            self._log.error("labels' index cannot be written: rows are not kept", error=error.strerror)
            return False
        return True

    def _tidy(self, most: int) -> None:
        try:
            self.book.tidy(most)
        except (OSError, StoreError) as error:  # what has been joined must still be told
            self._log.error("labels' index cannot be tidied", error=str(error))


def _waiting(rows: int) -> int:
    """Place for labels beside so many predictions."""
    return max(rows // _WAITING_SHARE, 1)
