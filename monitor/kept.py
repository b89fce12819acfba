"""Rows that were judged, kept for questions asked later: a new reference from a span, rows for labelling, weights.

Segments of the spool that a checkpoint has settled move here instead of being deleted, as they are; the oldest go when
there are more bytes than `store.keep_bytes`. Reading needs no lock and no agent. What a source can read again by itself
(a watched folder) never was in the spool, and so is not here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from monitor.columns import seconds
from monitor.envelope import Delivery, batches
from monitor.limits import Limits
from monitor.offer import Offer
from monitor.segment import Record, scan

if TYPE_CHECKING:
    from monitor.config import Config

SPOOL = "spool"
"""Folder of the rows not yet settled, beside that of the kept ones."""
_LOOKS = 3
FILE_BYTES = 16 << 20
"""Small segments are joined up to this size: an idle agent settles one with every checkpoint."""


class Kept:
    """The folder of kept segments, written by the thread that settles."""

    def __init__(self, folder: Path, capacity_bytes: int) -> None:
        """``capacity_bytes`` 0 keeps nothing."""
        self._folder, self._capacity = folder, capacity_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._sizes = {path: path.stat().st_size for path in files(folder)}
        self._trim()

    @property
    def bytes(self) -> int:
        """Bytes on disk."""
        return sum(self._sizes.values())

    def take(self, segment: Path) -> None:
        """Keep a settled segment, which is gone from its place afterwards; on a full disk it is only gone."""
        try:
            if self._capacity:
                self._keep(segment)
        except OSError:
            self._capacity = 0  # a disk that is full needs its room for rows not yet judged
        finally:
            segment.unlink(missing_ok=True)
        self._trim()

    def _keep(self, segment: Path) -> None:
        size, newest = segment.stat().st_size, next(reversed(self._sizes), None)
        if newest is None or self._sizes[newest] + size > FILE_BYTES:
            newest = segment.rename(self._folder / segment.name)
            self._sizes[newest] = size
            return
        with segment.open("rb") as source, newest.open("ab") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        self._sizes[newest] += size

    def _trim(self) -> None:
        """Let the oldest go."""
        while self._sizes and self.bytes > self._capacity:
            oldest = next(iter(self._sizes))
            del self._sizes[oldest]
            oldest.unlink(missing_ok=True)


class Span(NamedTuple):
    """Event times from ``since`` to before ``until``, seconds since the epoch."""

    since: float = -np.inf
    until: float = np.inf


def folder_of(config: Config) -> Path:
    """Where an agent with this configuration keeps rows."""
    return config.store.path / "kept"


def rows(
    folder: Path, model: str, span: Span, *, time: str | None, limits: Limits, types: pa.Schema | None = None
) -> Iterator[pa.RecordBatch]:
    """The kept rows of a model whose ``time`` column lies in the span, in the order in which they came.

    Without a ``time`` column the moment of their arrival counts. ``types`` are those of the reference, for JSON. What
    cannot be decoded any more is left out. The newest rows are still in the spool beside ``folder``: they count too.
    """
    for record in _records(folder):
        given = record.header
        if given["model"] != model or (time is None and not span.since <= given["arrived"] < span.until):
            continue
        for batch in batches(_delivery(record), limits, _pass_over, types):
            inside = batch if time is None else _within(batch, time, span)
            if inside.num_rows:
                yield inside


def files(folder: Path) -> list[Path]:
    """Kept files, the oldest first."""
    return sorted(folder.glob("*.seg"))


def _records(folder: Path) -> Iterator[Record]:
    """Every record once: a crash while segments were joined may have left some twice.

    A segment that moves here from the spool meanwhile is found by looking again.
    """
    last, moved = 0, True
    for _ in range(_LOOKS):
        newest = files(folder.parent / SPOOL)
        moved = False
        for path in [*files(folder), *newest]:
            try:
                for record in scan(path):
                    if record is not None and record.sequence > last:
                        last = record.sequence
                        yield record
            except FileNotFoundError:
                moved |= path in newest
        if not moved:
            return


def _delivery(record: Record) -> Delivery:
    offer, place = Offer.recovered(record), record.place
    with place.path.open("rb") as file:
        file.seek(place.offset)
        return offer.delivery(file.read(place.size))


def _pass_over(_reason: str, _rows: int, _message: str) -> None:
    """They were accounted for when they were judged."""


def _within(batch: pa.RecordBatch, time: str, span: Span) -> pa.RecordBatch:
    """Rows of a span; a batch without the column has none."""
    if time not in batch.schema.names:
        return batch.slice(0, 0)
    when = seconds(batch.column(time))
    return batch.filter(pa.array((when >= span.since) & (when < span.until)))
