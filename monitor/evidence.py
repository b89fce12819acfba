"""The evidence kept with a finding: before and after of each culprit column, and rows, as Arrow.

Histograms are one long table (unit, bin or category, reference and window counts); sampled rows of the stream are a
table of their own; for a joint finding there are the most telling rows of either side as well. All are IPC streams in
one archive, read by `unpack_evidence`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from detectors import parts
from detectors.compare import Comparison
from detectors.types import FloatArray
from monitor.arrays import pack, unpack
from monitor.report import Finding

if TYPE_CHECKING:
    from monitor.engine import Engine, Pane

TELLING = 20
"""Rows of each side that are kept as the most telling ones."""
CATEGORIES = 20
"""Categories shown per column: those with the largest change; all others are counted in "other"."""
_SCHEMA = pa.schema(
    [
        ("unit", pa.string()),
        ("position", pa.int32()),
        ("label", pa.string()),
        ("lower", pa.float64()),
        ("upper", pa.float64()),
        ("reference", pa.int64()),
        ("window", pa.int64()),
    ]
)
NO_HISTOGRAMS = _SCHEMA.empty_table()
"""Of a finding that names no column."""


def histograms(finding: Finding, comparison: Comparison) -> pa.Table:
    """Reference and window counts of every column that the finding names."""
    return counts(dict.fromkeys(unit for culprit in finding.units for unit in culprit.members), comparison)


def counts(units: Iterable[int], comparison: Comparison) -> pa.Table:
    """Reference and window counts of some columns (positions in the grid)."""
    p, names = len(comparison.bins), comparison.reference.grid.names
    tables = [(_numeric if unit < p else _categories)(names[unit], unit, comparison) for unit in units]
    return pa.concat_tables(tables) if tables else _SCHEMA.empty_table()


def since(engine: Engine, panes: Sequence[Pane], first: int, last: float = math.inf) -> Comparison | None:
    """The rows of some panes, ``first`` to ``last`` by number, beside the reference; None where none is kept any more.

    In the first pane of a shift a whole window hardly shows it: what people want to see are the rows since it began.
    """
    chosen = [pane.summary for pane in panes if first <= pane.number <= last]
    if not chosen:
        return None
    merged = reduce(parts.merge, chosen)
    return Comparison(engine.baseline.at(merged.mix), merged)


def most_telling(rows: pa.RecordBatch, witness: FloatArray, *, largest: bool) -> pa.Table:
    """The rows with the largest (or smallest) values of the witness function, which become the last column."""
    order = np.argsort(-witness if largest else witness, kind="stable")[:TELLING]
    table = pa.Table.from_batches([rows]).take(pa.array(order))
    return table.append_column("witness", pa.array(np.asarray(witness, np.float64)[order]))


def _numeric(name: str, unit: int, comparison: Comparison) -> pa.Table:
    grid = comparison.reference.grid
    used = int(grid.used[unit])
    edges = grid.edges[unit]
    labels = ["below range", *[""] * used, "above range"]
    inner = slice(1, used + 1)
    window, reference = comparison.summary.numeric[unit], comparison.reference.summary.numeric[unit]
    counts = [np.concatenate([side[:1], side[inner], side[-1:]]) for side in (reference, window)]
    lower = np.concatenate([[-np.inf], edges[:used], edges[used : used + 1]])
    upper = np.concatenate([edges[:1], edges[1 : used + 1], [np.inf]])
    return _table(name, labels, lower, upper, counts, comparison, unit)


def _categories(name: str, unit: int, comparison: Comparison) -> pa.Table:
    column = unit - len(comparison.bins)
    grid = comparison.reference.grid
    names = [*grid.labels[column], "other"]
    sides = (comparison.reference.summary, comparison.summary)
    reference, window = (side.codes[column][: len(names)] for side in sides)
    change = np.abs(window / max(sides[1].rows, 1) - reference / max(sides[0].rows, 1))
    shown = np.append(np.sort(np.argsort(-change[:-1], kind="stable")[: CATEGORIES - 1]), len(names) - 1)
    blank = np.full(len(shown), np.nan)
    counts = [side[shown] for side in (reference, window)]
    for some, side in zip(counts, (reference, window), strict=True):
        some[-1] += side.sum() - some.sum()
    return _table(name, [names[i] for i in shown], blank, blank, counts, comparison, unit)


def _table(
    name: str,
    labels: list[str],
    lower: np.ndarray,
    upper: np.ndarray,
    counts: list[np.ndarray],
    comparison: Comparison,
    unit: int,
) -> pa.Table:
    """Rows of one column, with its fault counters as rows of their own."""
    before, after = comparison.reference.summary, comparison.summary
    faults = ("missing", "nonfinite", "new")
    labels = [*labels, *faults]
    blank = np.full(len(faults), np.nan)
    reference = np.concatenate([counts[0], [getattr(before, fault)[unit] for fault in faults]])
    window = np.concatenate([counts[1], [getattr(after, fault)[unit] for fault in faults]])
    columns = {
        "unit": [name] * len(labels),
        "position": range(len(labels)),
        "label": labels,
        "lower": np.concatenate([lower, blank]),
        "upper": np.concatenate([upper, blank]),
        "reference": reference,
        "window": window,
    }
    return pa.table(columns, schema=_SCHEMA)


def pack_evidence(table: pa.Table, rows: pa.Table, telling: Mapping[str, pa.Table] | None = None) -> bytes:
    """The tables as one archive of IPC streams; ``telling`` holds "window" and "reference" for a joint finding."""
    return pack({name: _stream(one) for name, one in {"histograms": table, "rows": rows, **(telling or {})}.items()})


def unpack_evidence(blob: bytes) -> dict[str, pa.Table]:
    """Inverse of `pack_evidence`: "histograms", "rows", and for a joint finding "window" and "reference"."""
    return {name: pa.ipc.open_stream(one.tobytes()).read_all() for name, one in unpack(blob).items()}


def _stream(table: pa.Table) -> np.ndarray:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return np.frombuffer(sink.getvalue(), np.uint8)
