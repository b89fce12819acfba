"""Real data sets beside the repository: no part of it, so tests that need them are skipped where they are absent.

``DRIFTWARDEN_DATA`` names the folder; without it the sibling ``shared/data`` is looked for.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from monitor.config import Model
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.streams import ModelStreams

ROOT = Path(os.environ.get("DRIFTWARDEN_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


class AbsentError(FileNotFoundError):
    """The data is not on this machine."""


def table(*path: str) -> pa.Table:
    """One stored table; `AbsentError` says where it was looked for."""
    file = ROOT.joinpath(*path)
    if not file.is_file():
        raise AbsentError(f"{'/'.join(path)} is not in {ROOT}; set DRIFTWARDEN_DATA to the folder that has it")
    return pq.read_table(file)


def need(*path: str) -> pa.Table:
    """The same for a test: absent data skips it."""
    try:
        return table(*path)
    except AbsentError as absent:
        pytest.skip(str(absent))


def taxi(first: str, last: str) -> pa.Table:
    """Green taxi rows of March to July with pickup in [first, last), in the order of their pickup."""
    files = [f"green_tripdata_2020-{month:02d}.parquet" for month in range(int(first[5:7]), int(last[5:7]) + 1)]
    parts = [table("nyc_green_taxi_2020", file) for file in files]
    rows = pa.concat_tables(parts, promote_options="permissive")
    pickup = rows.column("lpep_pickup_datetime")
    stamps = [pc.cast(pa.scalar(day), pickup.type) for day in (first, last)]
    rows = rows.filter(pc.and_(pc.greater_equal(pickup, stamps[0]), pc.less(pickup, stamps[1])))
    rows = rows.sort_by("lpep_pickup_datetime")
    return rows.drop_columns(["lpep_pickup_datetime", "lpep_dropoff_datetime"])


def drawn(rows: pa.Table, number: int, rng: np.random.Generator) -> pa.Table:
    """Rows drawn at random with replacement: independent rows of one law, the table's own."""
    return rows.take(pa.array(rng.integers(0, rows.num_rows, number)))


def shuffled(rows: pa.Table, rng: np.random.Generator) -> pa.Table:
    """All rows in random order."""
    return rows.take(pa.array(rng.permutation(rows.num_rows)))


def where(rows: pa.Table, column: str, values: list[object], *, other: bool = False) -> pa.Table:
    """Rows whose column has one of the values (or has none of them)."""
    found = rows.column(column)
    plain = found.cast(found.type.value_type) if pa.types.is_dictionary(found.type) else found
    inside = pc.is_in(plain, value_set=pa.array(values, plain.type))
    return rows.filter(pc.invert(inside) if other else inside)


def batch_of(rows: pa.Table) -> pa.RecordBatch:
    """A whole table as one batch."""
    return rows.combine_chunks().to_batches(max_chunksize=None)[0]


def streams_of(model: Model, reference: pa.Table) -> ModelStreams:
    """Measure the reference and make ready for its stream, exactly as `replay` does."""
    fitted: Fitted = measure_batches([batch_of(reference)], model)
    return ModelStreams(model, fitted, config_id="test", timer=lambda: 0.0)
