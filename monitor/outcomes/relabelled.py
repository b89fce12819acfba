"""Rows of the log with the labels that have come since: what a new reference of a span is measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as at

from monitor.columns import sound
from monitor.schema import plain_type
from monitor.sections import Columns

Ask = Callable[[pa.Array], pa.Array]
"""Gives the labels of ids, null where none is known."""


def relabelled(
    batches: Iterable[pa.RecordBatch], roles: Columns, types: pa.Schema, ask: Ask
) -> Iterator[pa.RecordBatch]:
    """Each batch with the newest label of every row; where none has come, with the one in the row.

    ``types`` are those of the reference. Labels that cannot be written in the log's own type stay away.
    """
    for batch in batches:
        yield _with(sound(batch)[0], roles, types, ask)


def _with(batch: pa.RecordBatch, roles: Columns, types: pa.Schema, ask: Ask) -> pa.RecordBatch:
    names, label = batch.schema.names, roles.label
    if label is None or roles.id not in names:
        return batch
    place = names.index(label) if label in names else -1
    given = batch.column(place) if place >= 0 else pa.nulls(batch.num_rows)
    there = [given.type, *(types.field(one).type for one in types.names if one == label)]
    kind = next((plain_type(one) for one in there if not at.is_null(one)), None)
    known = ask(batch.column(names.index(roles.id)))
    try:
        known = known if kind is None else known.cast(kind)
        made = pc.coalesce(known, given.cast(known.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return batch
    return batch.set_column(place, label, made) if place >= 0 else batch.append_column(label, made)
