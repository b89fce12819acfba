"""Measure a reference: two passes over its rows (and a look at their order), in memory that does not grow with them.

Pass one surveys values (`monitor.survey`); from it come the plan, the vocabularies and the scale of every numeric
column. Pass two decodes the rows as production will and counts them on the float grid; the bins, and with them the
reference's own summary, follow from these counts. The look at the order tells how far rows depend on their neighbours.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.grid import BINS, CELLS, SLOTS, Grid, bins_of_cells, centre_and_scale
from detectors.parts import count_cells, merge, summarise, zero
from detectors.sequential.dependence import MOST_BATCHES, autocorrelation_time, base_rows
from detectors.types import Block, FloatArray, IntArray, Reference, Summary
from monitor.decode import Decoder
from monitor.errors import ReferenceError_
from monitor.fitted import Fitted, Segments
from monitor.schema import ColumnPlan, Kind, Plan, Roles, build, check_roles
from monitor.survey import Progress, Survey, Vocabulary, WiderSchema

Batches = Callable[[], Iterator[pa.RecordBatch]]
FEW_ROWS = 1_000
"""Below this the reference's own error is larger than most shifts; said, not refused."""
_MATRIX_VALUES = 1 << 22
"""Numeric values decoded at a time: bounds memory for tables of thousands of columns."""
_COLUMNS_AT_ONCE = 64
_ORDER_BYTES = 128 << 20
_EVENTS_A_UNIT = 31
"""At most 15 categories and 15 cuts are asked of a column (see `detectors.sequential.events`), and if it is missing."""


MOST_SEGMENTS = 1000
"""Values of a segment column that get a reference of their own, in the order in which they are met."""
SEGMENT_ROWS = 50
"""Fewer reference rows than this are no reference: the segment's rows are judged in the whole only."""


def fit(
    batches_factory: Batches,
    roles: Roles,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.time,
) -> Fitted:
    """Measure the reference whose rows every call of ``batches_factory`` gives again, from the first.

    Raises `ConfigError` if the roles do not fit its columns, `ReferenceError_` if there are no rows.
    """
    tell = progress or (lambda _name, _rows: None)
    survey = _survey(batches_factory, roles, seed, tell)
    plan = build(survey.schema, roles, survey.facts())
    if not plan.numeric and not plan.categorical:
        raise ReferenceError_("the reference has no column to monitor; `columns.ignore` and the roles take all of them")
    words = survey.vocabularies(plan.categorical, frozenset(roles.categorical + roles.segments))
    vocabularies = {name: word.values for name, word in words.items()}
    grid = _provisional(plan, words)
    sample = survey.sample.batch()
    with np.errstate(over="ignore"):  # differences of values near 1e308
        centre, scale = centre_and_scale(Decoder(plan, grid, vocabularies).decode(sample).block.numeric)
    grid = dataclasses.replace(grid, centre=centre, scale=scale)
    grid, summary = _measure(batches_factory, Decoder(plan, grid, vocabularies), grid, tell)
    if summary.rows != survey.rows:
        raise ReferenceError_(
            f"the reference had {survey.rows} rows at first and {summary.rows} later; fit it when nothing writes to it"
        )
    tau, tau_missing = _dependence(batches_factory, Decoder(plan, grid, vocabularies), grid, summary)
    plan, notes = _remarks(plan, grid, summary)
    reference = Reference(grid, summary, tau, tau_missing)
    segments = _segments(batches_factory, Decoder(plan, grid, vocabularies), grid) if roles.segments else {}
    return Fitted(plan, reference, vocabularies, sample, summary.rows, clock(), notes, segments)


def _survey(batches: Batches, roles: Roles, seed: int, tell: Progress) -> Survey:
    schema: pa.Schema | None = None
    while True:
        survey: Survey | None = None
        try:
            for batch in batches():
                if survey is None:
                    schema = batch.schema if schema is None else schema
                    check_roles(schema.names, roles)
                    survey = Survey(schema, roles, seed=seed)
                survey.add(batch)
                tell("survey", survey.rows)
        except WiderSchema as wider:
            schema = wider.schema
            continue
        if survey is None or not survey.rows:
            raise ReferenceError_("the reference has no rows; point `reference` to a table with some")
        return survey


def _provisional(plan: Plan, words: Mapping[str, Vocabulary]) -> Grid:
    """A grid without bins: enough to decode, and to sum up what does not depend on bins."""
    p = len(plan.numeric)
    return Grid(
        numeric_names=plan.numeric,
        code_names=plan.categorical,
        centre=np.zeros(p),
        scale=np.ones(p),
        lut=np.zeros((p, CELLS), np.uint8),
        edges=np.full((p, BINS + 1), np.nan),
        centres=np.full((p, BINS), np.nan),
        used=np.zeros(p, np.int64),
        labels=tuple(words[name].labels for name in plan.categorical),
        open_vocabulary=np.array([words[name].is_open for name in plan.categorical], bool),
        ordered=np.array([words[name].ordered for name in plan.categorical], bool),
    )


def _blocks(batches: Batches, decoder: Decoder, columns: int) -> Iterator[Block]:
    rows = max(1, _MATRIX_VALUES // max(columns, 1))
    for batch in batches():
        for start in range(0, batch.num_rows, rows):
            yield decoder.decode(batch.slice(start, rows)).block


def _measure(batches: Batches, decoder: Decoder, grid: Grid, tell: Progress) -> tuple[Grid, Summary]:
    """Second pass: the final grid and the reference's summary on it."""
    p = len(grid.numeric_names)
    cells = np.zeros((p, CELLS), np.int64)
    low, high = np.full(p, np.inf), np.full(p, -np.inf)
    summary = zero(grid)
    for block in _blocks(batches, decoder, len(grid.names)):
        summary = merge(summary, summarise(grid, block))
        _count(cells, block.numeric.T, grid, low, high)
        tell("measure", summary.rows)
    bins = bins_of_cells(cells)
    counts = np.zeros((p, SLOTS), np.int64)
    for j in range(p):  # once per fit: the cells of each bin add up to the very counts that `summarise` would give
        counts[j] = np.bincount(bins.lut[j], weights=cells[j], minlength=SLOTS).astype(np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        edges, centres = (
            np.clip(z * grid.scale[:, None] + grid.centre[:, None], low[:, None], high[:, None])
            for z in (bins.edges, bins.centres)
        )
    grid = dataclasses.replace(grid, lut=bins.lut, edges=edges, centres=centres, used=bins.used)
    return grid, dataclasses.replace(summary, grid_id=grid.id, numeric=counts)


def _segments(batches: Batches, decoder: Decoder, grid: Grid) -> Segments:
    """Another pass where there are segments: each value's own rows, for a segment is compared with itself."""
    found: dict[str, dict[str, Summary]] = {}
    rows = max(1, _MATRIX_VALUES // len(grid.names))
    for batch in batches():
        for start in range(0, batch.num_rows, rows):
            decoded = decoder.decode(batch.slice(start, rows))
            for column, labels in decoded.segments.items():
                values = found.setdefault(column, {})
                for code in np.unique(labels.codes[labels.codes >= 0]):
                    value = labels.values[code]
                    if value in values or len(values) < MOST_SEGMENTS:
                        part = _some(decoded.block, np.flatnonzero(labels.codes == code))
                        values[value] = merge(values.get(value, zero(grid)), summarise(grid, part))
    return {
        column: {value: one for value, one in values.items() if one.rows >= SEGMENT_ROWS}
        for column, values in found.items()
    }


def _some(block: Block, rows: NDArray[np.int64]) -> Block:
    return Block(block.numeric[rows], block.codes[rows], np.zeros_like(block.faults))


def _count(cells: IntArray, columns: FloatArray, grid: Grid, low: FloatArray, high: FloatArray) -> None:
    """Add the cell counts and extremes of finite values, some columns at a time to spare memory."""
    for first in range(0, len(columns), _COLUMNS_AT_ONCE):
        some = slice(first, first + _COLUMNS_AT_ONCE)
        cells[some] += count_cells(columns[some], grid.centre[some], grid.scale[some])[0]
        finite = np.isfinite(columns[some])
        np.minimum(low[some], columns[some].min(axis=1, where=finite, initial=np.inf), out=low[some])
        np.maximum(high[some], columns[some].max(axis=1, where=finite, initial=-np.inf), out=high[some])


def _dependence(batches: Batches, decoder: Decoder, grid: Grid, summary: Summary) -> tuple[FloatArray, FloatArray]:
    """Autocorrelation times from the first rows: in the order of their time if they have one, else of the files."""
    size = base_rows(summary.rows)
    columns = len(grid.names)
    most = min(
        MOST_BATCHES * size, _ORDER_BYTES // (8 * columns), _ORDER_BYTES * size // (16 * _EVENTS_A_UNIT * columns)
    )
    whole = _in_time(_first_rows(_blocks(batches, decoder, columns), most))
    pieces = (_rows(whole, start, start + size) for start in range(0, whole.rows - size + 1, size))
    return autocorrelation_time(grid, summary, (summarise(grid, piece) for piece in pieces))


def _first_rows(blocks: Iterator[Block], most: int) -> Block:
    """At most ``most`` rows as one block."""
    held: list[Block] = []
    rows = 0
    for block in blocks:
        held.append(_rows(block, 0, most - rows))
        rows += held[-1].rows
        if rows >= most:
            break
    times = [block.time for block in held if block.time is not None]
    return Block(
        np.asfortranarray(np.concatenate([block.numeric for block in held])),
        np.asfortranarray(np.concatenate([block.codes for block in held])),
        held[0].faults,
        np.concatenate(times) if times else None,
    )


def _in_time(block: Block) -> Block:
    """The rows in the order of their time: a file that is sorted by something else would look dependent."""
    if block.time is None or not np.isfinite(block.time).any():
        return block
    order = np.argsort(block.time, kind="stable")  # absent times go last
    return Block(block.numeric[order], block.codes[order], block.faults, block.time[order])


def _rows(block: Block, start: int, end: int) -> Block:
    time = None if block.time is None else block.time[start:end]
    return Block(block.numeric[start:end], block.codes[start:end], np.zeros_like(block.faults), time)


def _remarks(plan: Plan, grid: Grid, summary: Summary) -> tuple[Plan, tuple[str, ...]]:
    """Say on each column what a person should know, and in sentences what they should do."""
    unit = {name: i for i, name in enumerate(grid.names)}
    columns = tuple(
        dataclasses.replace(c, note="; ".join(filter(None, (c.note, _remark(c, unit[c.name], grid, summary)))))
        if c.monitored
        else c
        for c in plan.columns
    )
    notes = []
    if summary.rows < FEW_ROWS:
        notes.append(f"The reference has only {summary.rows} rows: small shifts cannot be told from its own error.")
    faulty = [name for name, i in unit.items() if summary.faults[i]]
    if faulty:
        notes.append(f"Values that do not convert were taken as missing in: {', '.join(faulty[:12])}.")
    return dataclasses.replace(plan, columns=columns), tuple(notes)


def _remark(column: ColumnPlan, unit: int, grid: Grid, summary: Summary) -> str:
    missing, rows = int(summary.missing[unit]), summary.rows
    if missing == rows:
        return (
            ""
            if "no value" in column.note
            else "no value in the reference: only the share of missing values is watched"
        )
    p = len(grid.numeric_names)
    if column.kind is Kind.NUMERIC:
        return "constant" if np.count_nonzero(summary.numeric[unit]) == 1 else ""
    counts = summary.codes[unit - p]
    if grid.open_vocabulary[unit - p]:
        own = int(counts[: len(grid.labels[unit - p])].sum())
        name = "looks like an identifier: name it under columns.id or columns.ignore; " if own * 4 < rows else ""
        return f"{name}open vocabulary: {len(grid.labels[unit - p])} frequent values, all others together"
    return "constant" if len(grid.labels[unit - p]) == 1 and not missing else ""
