"""The index: predictions wait here for their labels, and labels that were faster for their predictions.

Bounded in rows and in hours; what no longer fits leaves in the order in which it came, and is counted. Everything is
kept in logs that only grow at the end (`rowlog`), and looked up by a table in memory (`table`); a checkpoint holds how
long the logs were, so what a crash has left behind is cut off, and the deliveries that come again meet the same state.
Ids are kept as keyed hashes only. Touched by the engine's thread alone, which never waits for a disk but in `settle`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from detectors.types import FloatArray
from monitor.arrays import pack, unpack
from monitor.columns import EARLIEST
from monitor.errors import StoreError
from monitor.outcomes.delays import Completeness, Delays, completeness, delays
from monitor.outcomes.ids import Hasher
from monitor.outcomes.joined import Figures, Joined, Kept, Row, Values, concatenated
from monitor.outcomes.matching import AHEAD, Matching
from monitor.outcomes.rowlog import Records
from monitor.outcomes.table import MOST_ROWS, Keys
from monitor.outcomes.truths import Truths

VERSION: Final = 1
_HOUR: Final = 3600.0
COMPLETE: Final = 0.95
"""Share of a cohort's labels that has to be there before it is judged."""


class Index:
    """Predictions and labels of one model."""

    def __init__(self, folder: Path, fields: Mapping[str, Any], *, key: bytes, rows: int, hours: float) -> None:
        """Keep ``fields`` (name: NumPy dtype, or a pair of dtype and shape) of at most ``rows`` for ``hours``.

        ``key`` is the state folder's, of 16 to 64 bytes. To be restored before anything else.
        """
        if not 1 <= rows <= MOST_ROWS or not hours > 0:
            raise ValueError(f"`rows` must be from 1 to {MOST_ROWS} and `hours` above 0")
        self.seconds = hours * _HOUR
        kinds = {name: np.dtype(kind) for name, kind in fields.items()}
        self._hasher = Hasher(key)
        self._matching = Matching(folder, kinds, rows, self.seconds)
        told = repr((VERSION, [(name, str(kind)) for name, kind in kinds.items()])).encode()
        self._identity = hashlib.blake2b(told, digest_size=16, key=key).hexdigest()

    def present(self, arrived: float) -> bool:
        """The time of the delivery at hand, of which rows may be history; whatever is later than that never was.

        Whether cohorts were forgotten for that, so that all has to be counted anew.
        """
        return self._matching.present(arrived)

    def predicted(self, ids: pa.Array, time: FloatArray | None, values: Values, now: float) -> Kept:
        """Keep predictions ``(n,)`` made at ``time`` (NaN or None: now); their labels may have come before them.

        ``values`` has an array for each field, ``now`` is when they arrived, in seconds since the epoch as ``time``.
        """
        it = self._matching
        it.pass_time(now)
        keys, known = self._hasher.ids(ids)
        records = self._records(keys, time, values, now)
        it.count(0, "no_id", int((~known).sum()))
        fresh, parts = np.zeros(len(keys), bool), [it.joined()]
        which = np.flatnonzero(known)
        for start in range(0, len(which), it.chunk):
            some = which[start : start + it.chunk]
            fresh[some], joined = it.keep(records[some])
            parts.append(joined)
        return Kept(fresh, concatenated(parts), keys, it.cohorts.of(it.times(records)))

    def labelled(self, ids: pa.Array, truths: Truths, now: float, time: FloatArray | None = None) -> Joined:
        """Join labels ``(n,)`` that arrived ``now``; ``time`` says since when each is known, where the log says so.

        Of two labels of an id the one with the later time counts, without times the one that came later.
        """
        it = self._matching
        it.pass_time(now)
        keys, known = self._hasher.ids(ids)
        none = ~np.isfinite(truths.values)
        it.count(1, "no_id", int((~known).sum()))
        it.count(1, "wrong_type", int((known & none & truths.wrong).sum()))
        it.count(1, "missing", int((known & none & ~truths.wrong).sum()))
        when = np.full(len(keys), now) if time is None else np.where(time <= max(now, it.latest), time, now)
        which, parts = np.flatnonzero(known & ~none), [it.joined()]
        for start in range(0, len(which), it.chunk):
            some = which[start : start + it.chunk]
            parts.append(it.label(keys[some], when[some], truths.values[some]))
        return concatenated(parts)

    def settle(self) -> bytes:
        """Everything on disk: what the next checkpoint has to hold of it; `StoreError` if it cannot be written.

        Nothing that an earlier checkpoint needs goes before `settled`, so the commit may fail, or never come.
        """
        it = self._matching
        try:
            predictions, waiting, labels = (one.settle() for one in it.logs)
        except OSError as error:
            message = f"store.path: the index of labels cannot be written: {error.strerror}; free some space"
            raise StoreError(message) from error
        document = {
            "identity": self._identity,
            "now": None if np.isinf(it.now) else it.now,
            "predictions": it.predictions.state(predictions),
            "waiting": it.waiting.state(waiting),
            "labels": labels,
            "counts": it.counts,
        }
        raw = np.frombuffer(json.dumps(document).encode(), np.uint8)
        return pack({"document": raw, **it.cohorts.state()})

    def settled(self) -> None:
        """The checkpoint with the last `settle` is on disk: what only earlier ones needed may go."""
        for one in self._matching.logs:
            one.settled()

    def restore(self, state: bytes | None) -> bool:
        """Be what `settle` gave, empty without it; False: that was of other fields or another key, and is forgotten.

        `Damaged` if the files are not what was written, another `StoreError` if they cannot be read just now.
        """
        it = self._matching
        arrays = unpack(state) if state is not None else {}
        document = json.loads(arrays.pop("document").tobytes()) if arrays else {}
        mine = not arrays or document["identity"] == self._identity
        it.begin()
        if arrays and mine:
            it.now = -np.inf if document["now"] is None else float(document["now"])
            it.counts = document["counts"]
            it.cohorts.restore(arrays)
        else:
            document = {}
        try:
            it.predictions.restore(document.get("predictions"))
            it.waiting.restore(document.get("waiting"))
            it.book.restore(document.get("labels"))
        except OSError as error:
            fix = f"start again once it can, or remove {it.folder} to begin without it"
            message = f"store.path: the index of labels cannot be read: {error.strerror}; {fix}"
            raise StoreError(message) from error
        return mine

    @property
    def bound(self) -> int:
        """Predictions that it keeps at most."""
        return self._matching.predictions.rows

    def resize(self, rows: int) -> None:
        """Keep so many predictions from now on; `StoreError` if what is there cannot be read."""
        self._matching.resize(rows)

    def after(self, old: Index) -> None:
        """Be empty in the place of another index of the folder, which ends: its files go with the next checkpoint."""
        self._matching.after(old._matching)

    def cohorts(self, wanted: float = COMPLETE) -> Completeness:
        """How many predictions of each stretch of time have their label, and whether it may be judged yet."""
        return completeness(self._matching.cohorts.triangle(), self._matching.now, wanted)

    @property
    def now(self) -> float:
        """The latest time that it has been told of; minus infinity at first."""
        return float(self._matching.now)

    @property
    def width(self) -> float:
        """Length of a cohort in seconds."""
        return self._matching.cohorts.width

    def delays(self) -> Delays:
        """How long labels take."""
        return delays(self._matching.cohorts.triangle(), self._matching.now)

    def rows(self, since: float = -np.inf, until: float = np.inf) -> Iterator[Row]:
        """The predictions of a stretch of event time with their labels, some thousand at a time."""
        it = self._matching
        live = it.predictions.live
        for first, records in it.predictions.log.blocks(live.first, live.end):
            inside = np.flatnonzero((records["time"] >= since) & (records["time"] < until))
            which, labels = it.book.held(first + inside)
            truth = np.full(len(inside), np.nan)
            truth[which] = labels["truth"]
            if len(inside):
                yield Row(it.times(records[inside]), it.values(records[inside]), truth)

    def truths(self, ids: pa.Array) -> FloatArray:
        """The label that each id has now ``(n,)``, NaN where none is known."""
        it = self._matching
        keys, known = self._hasher.ids(ids)
        found, which = np.full(len(keys), np.nan), np.flatnonzero(known)
        for start in range(0, len(which), it.chunk):
            some = which[start : start + it.chunk]
            found[some] = it.truths(keys[some])
        return found

    def figures(self) -> Figures:
        """How things stand."""
        it = self._matching
        predictions, labels, left = (dict(one) for one in it.counts)
        return Figures(
            rows=it.predictions.live.rows,
            labelled=it.predictions.marked,
            waiting=it.waiting.live.rows - it.waiting.marked,
            disk_bytes=sum(one.nbytes for one in it.logs),
            memory_bytes=it.predictions.nbytes + it.waiting.nbytes,
            predictions=predictions,
            labels=labels,
            left=left,
            edges=it.cohorts.edges[1:],
            delays=it.cohorts.total.copy(),
            delay_seconds=it.cohorts.milliseconds / 1000,
        )

    def close(self) -> None:
        """Let go of the files."""
        for one in self._matching.logs:
            one.close()

    def _records(self, keys: Keys, time: FloatArray | None, values: Values, now: float) -> Records:
        records = np.empty(len(keys), self._matching.predictions.log.dtype)
        records["key"], records["time"] = keys, self.times(time, len(keys), now)
        for name in self._matching.fields:
            records[name] = values[name]
        return records

    def times(self, time: FloatArray | None, rows: int, now: float) -> FloatArray:
        """When predictions were made, by what they say; where that cannot be, or nothing is said, it is now."""
        when = np.full(rows, now) if time is None else time
        latest = max(now, self._matching.latest) + AHEAD
        return np.where((when >= EARLIEST) & (when <= latest), when, now)
