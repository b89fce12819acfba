"""Exports as Parquet: the rows' own columns behind ours, and in the file's metadata what a reader must know of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

import pyarrow as pa
import pyarrow.parquet as pq

PREFIX = "driftwarden_"
"""Of every column that is ours; a log's own column of that very name is called otherwise."""
KEY = b"driftwarden"
_LOGGED = " (logged)"


def beside(facts: Mapping[str, Any], rows: pa.RecordBatch | pa.Table) -> pa.Table:
    """Columns of our own, named with the prefix, and those of as many rows behind them."""
    ours = {f"{PREFIX}{name}": pa.array(values) for name, values in facts.items()}
    theirs = [name + _LOGGED if name in ours else name for name in rows.schema.names]
    return pa.Table.from_arrays([*ours.values(), *rows.columns], names=[*ours, *theirs])


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Tables under each other; a column whose types do not fit each other becomes text."""
    found = list(tables)
    try:
        return pa.concat_tables(found, promote_options="permissive") if found else pa.table({})
    except pa.ArrowException:
        return pa.concat_tables([_as_text(one, _at_odds(found)) for one in found], promote_options="permissive")


def write(table: pa.Table, facts: Mapping[str, Any], out: BinaryIO) -> None:
    """Write a table with its facts."""
    with Writer(out, facts) as writer:
        writer.add(table)


class Writer:
    """Writes tables of one schema, some rows at a time; the facts are given at the end."""

    def __init__(self, out: BinaryIO, facts: Mapping[str, Any] | None = None) -> None:
        """Nothing is written before the first table."""
        self._out = out
        self._writer: pq.ParquetWriter | None = None
        self.facts = dict(facts or {})

    def __enter__(self) -> Self:
        """For ``with``."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Close, with the facts."""
        if self._writer is None and kind is None:
            self.add(pa.table({}))
        if self._writer is not None:
            self._writer.add_key_value_metadata({KEY: json.dumps(self.facts).encode()})
            self._writer.close()

    def add(self, table: pa.Table) -> None:
        """Write some rows."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._out, table.schema, compression="zstd")
        self._writer.write_table(table)


def facts_of(source: Path | BinaryIO) -> dict[str, Any]:
    """What an export says about itself."""
    found: dict[str, Any] = json.loads(pq.read_metadata(source).metadata[KEY])
    return found


def _at_odds(tables: list[pa.Table]) -> set[str]:
    """Columns that have several types."""
    kinds: dict[str, set[str]] = {}
    for table in tables:
        for one in table.schema:
            kinds.setdefault(one.name, set()).add(str(one.type))
    return {name for name, types in kinds.items() if len(types) > 1}


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    for name in names & set(table.column_names):
        place = table.schema.get_field_index(name)
        told = [None if value is None else str(value) for value in table.column(place).to_pylist()]
        table = table.set_column(place, name, pa.array(told, pa.string()))
    return table
