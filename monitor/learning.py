"""A reference from the first traffic: rows are kept until there are enough, then measured like a stored reference.

What has been kept is written to the state folder with every checkpoint, so that a restart goes on learning.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

from monitor.config import Model
from monitor.errors import ConfigError, StoreError
from monitor.fitted import Fitted
from monitor.interventions import LEAST_ROWS
from monitor.loading import measure_batches

MOST_ROWS = 200_000
"""Rows in memory that a reference is measured on at most."""


class Learner:
    """Collects the first rows of one model."""

    def __init__(self, model: Model, wanted: int, folder: Path) -> None:
        """Go on with what an earlier run has kept in ``folder``."""
        self.model, self.wanted = model, wanted
        self._folder = folder
        self._batches: list[pa.RecordBatch] = []
        self._unsaved: list[pa.RecordBatch] = []
        self._schema: pa.Schema | None = None

    @property
    def rows(self) -> int:
        """Rows kept so far."""
        return sum(batch.num_rows for batch in self._batches)

    def feed(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Keep rows; what is left of the batch once there are enough, None before that."""
        room = max(self.wanted - self.rows, 0)  # more than enough may have been kept for a larger reference
        kept = batch.slice(0, room)
        if not self._fits(kept.schema):
            return None if room > batch.num_rows else batch.slice(room)
        self._batches.append(kept)
        self._unsaved.append(kept)
        return batch.slice(room) if self.rows >= self.wanted else None

    def _fits(self, schema: pa.Schema) -> bool:
        """Whether rows of this schema go with those kept: JSON shows a column as null or whole numbers at first."""
        known = [batch.schema for batch in self._batches] if self._schema is None else [self._schema]
        try:
            self._schema = pa.unify_schemas([*known, schema], promote_options="permissive")
        except (pa.ArrowTypeError, pa.ArrowInvalid):
            return False
        return True

    @property
    def complete(self) -> bool:
        """Whether there are enough rows."""
        return self.rows >= self.wanted

    def fit(self) -> Fitted:
        """Measure the rows."""
        return measure_batches(_alike(self._batches), self.model)

    def save(self, sequence: int) -> None:
        """Write what is not on disk yet as one file, named after the checkpoint that it belongs to."""
        if not self._unsaved:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            target = self._folder / f"{sequence:020d}.arrow"
            fresh = target.with_suffix(".tmp")
            alike = _alike(self._unsaved)
            with fresh.open("wb") as file, pa.ipc.new_stream(file, alike[0].schema) as writer:
                for batch in alike:
                    writer.write_batch(batch)
                file.flush()
                os.fsync(file.fileno())
            fresh.rename(target)
        except OSError as error:
            raise StoreError(f"{self._folder}: rows to learn from cannot be written: {error.strerror}") from error
        self._unsaved = []

    def restore(self, sequence: int) -> None:
        """Read what belongs to the checkpoint; files of a later, unfinished one are dropped: their rows come again."""
        for file in sorted(self._folder.glob("*.arrow")):
            if int(file.stem) > sequence:
                file.unlink()
                continue
            with pa.memory_map(str(file)) as source:
                self._batches += pa.ipc.open_stream(source).read_all().to_batches()

    def forget(self) -> None:
        """Delete the files: the artefact has taken their place."""
        for file in self._folder.glob("*.arrow"):
            file.unlink()


def measured(batches: Iterable[pa.RecordBatch], model: Model) -> Fitted:
    """A reference of rows that are kept, the newest `MOST_ROWS` of them; `ConfigError` if they are too few."""
    kept: deque[pa.RecordBatch] = deque()
    total = 0
    for batch in batches:
        kept.append(batch)
        total += batch.num_rows
        while total - kept[0].num_rows >= MOST_ROWS:
            total -= kept.popleft().num_rows
    if total < LEAST_ROWS:
        fix = "name a longer span, raise store.keep_bytes, or take the next rows (rows of watched folders are not kept)"
        raise ConfigError([f"target: {total} rows of this span are kept, a reference needs {LEAST_ROWS}; {fix}"])
    return measure_batches(_alike(list(kept)), model)


def _alike(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The batches with one schema, the widest."""
    if all(batch.schema.equals(batches[0].schema) for batch in batches):
        return batches
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    widest: list[pa.RecordBatch] = pa.concat_tables(tables, promote_options="permissive").to_batches()
    return widest
