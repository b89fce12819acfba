"""The outcome lane of one model: its predictions wait in the index for their labels, whichever way these come.

Labels come in the rows of the log itself, or in deliveries that carry nothing but ids and labels; those take no part in
drift. Touched by the engine's thread alone. What fails here is counted and told, and the rows are judged all the same.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from monitor import columns, log
from monitor.arrays import pack, unpack
from monitor.config import Model
from monitor.decode import Decoded
from monitor.errors import StoreError
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.index import Index
from monitor.outcomes.joined import Joined
from monitor.schema import Roles
from monitor.sections import Columns

STATE: Final = "%outcomes"
"""Key of the lane's state; no stream can be called so."""
FOLDER: Final = "outcomes"


def only_labels(roles: Columns | Roles, names: Sequence[str]) -> bool:
    """Whether a batch with these columns carries ids and labels, and nothing that a model was given or said."""
    beside = (roles.time, roles.client, roles.source, roles.version, *roles.ignore)
    return bool(roles.id in names and roles.label in names and set(names) <= {roles.id, roles.label, *beside})


def lane_of(model: Model, fitted: Fitted, folder: Path, key: bytes) -> Lane | None:
    """The model's lane, to be restored; None where rows have no ids or labels, or the reference shows no answers."""
    answers = Answers(fitted)
    if not (model.columns.id and model.columns.label and model.labels.rows) or answers.kind is None:
        return None
    return Lane(model, answers, folder / FOLDER / model.name, key)


class Lane:
    """Joins late labels to predictions."""

    def __init__(self, model: Model, answers: Answers, folder: Path, key: bytes) -> None:
        """Open nothing yet: `restore` or `succeed` does."""
        self.model, self.answers = model, answers
        self.failures = 0
        self._folder, self._key = folder, key
        self._log = log.get("outcomes")
        self.index: Index | None = None

    def restore(self, state: bytes | None) -> None:
        """Go on from what `state` gave; without it, or if it means something else now, with an empty index."""
        arrays = {} if state is None else unpack(state)
        held = arrays["index"].tobytes() if arrays and self._knows(arrays["meaning"].tobytes()) else None
        if arrays and held is None:
            self._log.warning("classes or hours have changed: labels are joined anew", model=self.model.name)
        self.index = self._opened()
        try:
            known = self.index.restore(held)
        except StoreError as error:
            known = False
            self._log.error("the index of labels is damaged, it begins anew", model=self.model.name, error=str(error))
        if not known:
            self.index.close()
            self.index = self._opened()
            self.index.restore(None)

    def succeed(self, old: Lane | None) -> None:
        """Go on in the place of another lane of the same model, which ends."""
        state = None
        if old is not None and old.index is not None:
            state = old.state()
            old.close()
        self.restore(state)

    def state(self) -> bytes:
        """Everything, for a checkpoint; `StoreError` if it cannot be written."""
        index = b"" if self.index is None else self.index.settle()
        meaning = json.dumps({**self.answers.meaning, "hours": self.model.labels.hours}).encode()
        return pack({"meaning": np.frombuffer(meaning, np.uint8), "index": np.frombuffer(index, np.uint8)})

    def settled(self) -> None:
        """The checkpoint with the last `state` is on disk."""
        if self.index is not None:
            self.index.settled()

    def fed(self, decoded: Decoded, arrived: float) -> None:
        """Keep the predictions of a batch that has been judged, and join the labels that it brings."""
        names = decoded.batch.schema.names
        if self.index is None or self.model.columns.id not in names:
            return
        try:
            if self.answers.answered(names):
                self._predicted(self.index, decoded, arrived)
            if self.model.columns.label in names:
                self._labelled(self.index, decoded.batch, arrived, alone=False)
        except Exception as fault:  # noqa: BLE001 - rows are judged whatever becomes of their labels
            self._failed(fault)

    def labelled(self, batch: pa.RecordBatch, arrived: float) -> None:
        """Join the labels of a batch that carries nothing else."""
        if self.index is None:
            return
        try:
            self._labelled(self.index, columns.sound(batch)[0], arrived, alone=True)
        except Exception as fault:  # noqa: BLE001 - one batch must not end the agent
            self._failed(fault)

    def close(self) -> None:
        """Let go of the files."""
        if self.index is not None:
            self.index.close()
            self.index = None

    def joined(self, joined: Joined) -> None:
        """Predictions that have got their label, or another one than before."""

    def _predicted(self, index: Index, decoded: Decoded, arrived: float) -> None:
        block = decoded.block
        said = self.answers.said(block)
        values, ids = self.answers.values(block, said), self._column(decoded.batch, self.model.columns.id)
        known = np.isfinite(said.prediction)
        for given in (said.score, said.chances):
            known |= False if given is None else np.isfinite(given.reshape(block.rows, -1)).all(axis=1)
        time = block.time
        if not known.all():
            values = {name: part[known] for name, part in values.items()}
            ids = ids.filter(pa.array(known))
            time = None if time is None else time[known]
        self.joined(index.predicted(ids, time, values, arrived).joined)

    def _labelled(self, index: Index, batch: pa.RecordBatch, arrived: float, *, alone: bool) -> None:
        """In the rows of the log a missing label is the rule, and their time is that of the prediction."""
        ids, labels = (self._column(batch, name) for name in (self.model.columns.id, self.model.columns.label))
        time = None
        if alone and self.model.columns.time in batch.schema.names:
            time = columns.seconds(self._column(batch, self.model.columns.time))
        if not alone and labels.null_count:
            there = labels.is_valid()
            ids, labels = ids.filter(there), labels.filter(there)
        if len(ids):
            self.joined(index.labelled(ids, self.answers.truths(labels), arrived, time))

    @staticmethod
    def _column(batch: pa.RecordBatch, name: str | None) -> pa.Array:
        """A column in plain types; of several of one name the first."""
        return columns.unwrap(batch.column(batch.schema.names.index(str(name))))

    def _knows(self, meaning: bytes) -> bool:
        said = json.loads(meaning)
        return bool(said["hours"] == self.model.labels.hours) and self.answers.knows(said)

    def _opened(self) -> Index:
        labels = self.model.labels
        return Index(self._folder, self.answers.fields, key=self._key, rows=labels.rows, hours=labels.hours)

    def _failed(self, fault: Exception) -> None:
        self.failures += 1
        self._log.error("labels of a batch cannot be joined", model=self.model.name, error=repr(fault))
