"""Measure a reference: some passes over its rows, in memory that does not grow with them.

Pass one surveys values (`monitor.survey`); from it come the plan, the vocabularies and the scale of every numeric
column. Pass two decodes the rows as production will and counts them on the float grid; the bins, and with them the
reference's own summary, follow from these counts. Where there are segments or a season, one more pass sums up theirs
(`monitor.parted_reference`). The first rows, in the order of time, tell how far rows depend on their neighbours; last
comes the sample for the joint views (`monitor.joint_reference`), from these same rows if that is all there are.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from detectors.grid import BINS, CELLS, SLOTS, Grid, bins_of_cells, centre_and_scale
from detectors.parts import count_cells, merge, summarise, zero
from detectors.rows.encoder import VIEW
from detectors.sequential.dependence import MOST_BATCHES, autocorrelation_time, base_rows
from detectors.strata import Strata
from detectors.types import Block, FloatArray, IntArray, Reference, Summary
from monitor.decode import Decoder
from monitor.errors import ConfigError, ReferenceError_
from monitor.fitted import Fitted
from monitor.joint_reference import Measured, for_axes, views_of
from monitor.parted_reference import parted
from monitor.passes import Batches, decoded, taken, together
from monitor.profiles import planned
from monitor.profiles import vocabularies as derived_words
from monitor.schema import ColumnPlan, Kind, Plan, Roles, build, check_roles
from monitor.sections import Season
from monitor.security.layout import layout_of
from monitor.strata import plan_of, tally
from monitor.survey import Progress, Survey, Vocabulary, WiderSchema

FEW_ROWS = 1_000
"""Below this the reference's own error is larger than most shifts; said, not refused."""
_COLUMNS_AT_ONCE = 64
_ORDER_BYTES = 128 << 20
_EVENTS_A_UNIT = 31
"""At most 15 categories and 15 cuts are asked of a column (see `detectors.sequential.events`), and if it is missing."""


def fit(
    batches_factory: Batches,
    roles: Roles,
    *,
    season: Season | None = None,
    scored: bool | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.time,
) -> Fitted:
    """Measure the reference whose rows every call of ``batches_factory`` gives again, from the first.

    ``scored``: whether the rows' scores are a joint view; unless given, where the log carries vectors.
    Raises `ConfigError` if the roles or the season do not fit its columns, `ReferenceError_` if there are no rows.
    """
    tell = progress or (lambda _name, _rows: None)
    season = season or Season()
    survey = _survey(batches_factory, roles, seed, tell)
    _check_season(season, roles, survey.schema)
    facts, sample = survey.facts(), survey.sample.batch()
    plan = planned(build(survey.schema, roles, facts), facts, sample)
    if not plan.numeric and not plan.categorical:
        raise ReferenceError_("the reference has no column to monitor; `columns.ignore` and the roles take all of them")
    counted = [name for name in plan.categorical if name in survey.counters]
    words = survey.vocabularies(counted, frozenset(roles.categorical + roles.segments)) | derived_words(plan)
    vocabularies = {name: word.values for name, word in words.items()}
    grid = _provisional(plan, words)
    rows = Decoder(plan, grid, vocabularies).decode(sample).block
    with np.errstate(over="ignore"):  # differences of values near 1e308
        centre, scale = centre_and_scale(rows.numeric)
    grid = dataclasses.replace(grid, centre=centre, scale=scale)
    seen = Counter[tuple[str, ...]]()
    grid, summary = _measure(batches_factory, Decoder(plan, grid, vocabularies), grid, seen, tell)
    if summary.rows != survey.rows:
        raise ReferenceError_(
            f"the reference had {survey.rows} rows at first and {summary.rows} later; fit it when nothing writes to it"
        )
    counts = summary.numeric.size + summary.codes.size
    plan = dataclasses.replace(plan, strata=plan_of(roles.segments, seen, season.by, season.timezone, counts))
    grid = dataclasses.replace(grid, strata=() if plan.strata is None else plan.strata.names)
    lean, full = grid, dataclasses.replace(grid, vectors=tuple((n, facts[n].length) for n in plan.vectors))
    summary = dataclasses.replace(summary, grid_id=full.id)
    reader, whole_reader = Decoder(plan, lean, vocabularies), Decoder(plan, full, vocabularies)
    segments, strata = parted(batches_factory, reader, plan, full) if plan.strata else ({}, None)
    if strata is not None:
        summary = dataclasses.replace(summary, mix=strata.rows.astype(np.int64))
    fits = summary.rows * _bytes_a_row(full) <= _ORDER_BYTES
    first, places = _first_rows(batches_factory, whole_reader if fits else reader, full, summary.rows)
    tau, tau_missing = _dependence(first, full, summary, strata)
    whole = first.rows == summary.rows and (fits or not full.vectors)
    views, remarks = views_of(
        Measured(plan, full, summary, rows, tau, tau_missing, layout_of(plan, full), scored),
        first if whole else None,
        batches_factory,
        whole_reader,
        np.random.default_rng(seed),
    )
    if views and (
        full.vectors or any(view.name == VIEW for view in views)
    ):  # rows that axes were fitted to look drifted and are no traffic
        numbers = np.argsort(places)[survey.sample.numbers] if whole else survey.sample.numbers
        sample = sample.take(pa.array(np.flatnonzero(~for_axes(numbers, views[0].run))))
    plan, notes = _remarks(plan, full, summary)
    reference = Reference(full, summary, tau, tau_missing, strata, views)
    return Fitted(plan, reference, vocabularies, sample, summary.rows, clock(), (*notes, *remarks), segments)


def _bytes_a_row(grid: Grid) -> int:
    return 8 * len(grid.names) + 4 * sum(length for _, length in grid.vectors)


def _check_season(season: Season, roles: Roles, schema: pa.Schema) -> None:
    if season.by != "none" and (roles.time is None or roles.time not in schema.names):
        raise ConfigError([f"season.by: {season.by} needs the time of each row; name its column under columns.time"])


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


def _measure(
    batches: Batches, decoder: Decoder, grid: Grid, seen: Counter[tuple[str, ...]], tell: Progress
) -> tuple[Grid, Summary]:
    """Second pass: the bins and the reference's summary on them; ``seen`` counts the combinations of segments."""
    p = len(grid.numeric_names)
    cells = np.zeros((p, CELLS), np.int64)
    low, high = np.full(p, np.inf), np.full(p, -np.inf)
    summary = zero(grid)
    for piece in decoded(batches, decoder, len(grid.names)):
        block = piece.block
        if piece.segments:
            tally(list(piece.segments.values()), seen)
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


def _count(cells: IntArray, columns: FloatArray, grid: Grid, low: FloatArray, high: FloatArray) -> None:
    """Add the cell counts and extremes of finite values, some columns at a time to spare memory."""
    for first in range(0, len(columns), _COLUMNS_AT_ONCE):
        some = slice(first, first + _COLUMNS_AT_ONCE)
        cells[some] += count_cells(columns[some], grid.centre[some], grid.scale[some])[0]
        finite = np.isfinite(columns[some])
        np.minimum(low[some], columns[some].min(axis=1, where=finite, initial=np.inf), out=low[some])
        np.maximum(high[some], columns[some].max(axis=1, where=finite, initial=-np.inf), out=high[some])


def _first_rows(batches: Batches, decoder: Decoder, grid: Grid, rows: int) -> tuple[Block, IntArray]:
    """The first rows in the order of their time if they have one, else of the files, and their places in the files.

    With their vectors only if these fit into memory for all ``rows``: then all of them are in it.
    """
    columns = len(grid.names)
    size = base_rows(rows)
    most = min(
        MOST_BATCHES * size, _ORDER_BYTES // (8 * columns), _ORDER_BYTES * size // (16 * _EVENTS_A_UNIT * columns)
    )
    held: list[Block] = []
    room = most
    for piece in decoded(batches, decoder, columns + sum(length for _, length in grid.vectors)):
        held.append(taken(piece.block, slice(0, room)))
        room -= held[-1].rows
        if room <= 0:
            break
    block = together(held)
    if block.time is None or not np.isfinite(block.time).any():
        return block, np.arange(block.rows)
    order = np.argsort(block.time, kind="stable")  # absent times go last
    return taken(block, order), order


def _dependence(first: Block, grid: Grid, summary: Summary, strata: Strata | None) -> tuple[FloatArray, FloatArray]:
    """Autocorrelation times from rows in their order."""
    size = base_rows(summary.rows)
    pieces = (taken(first, slice(start, start + size)) for start in range(0, first.rows - size + 1, size))
    return autocorrelation_time(grid, summary, (summarise(grid, piece) for piece in pieces), strata)


def _remarks(plan: Plan, grid: Grid, summary: Summary) -> tuple[Plan, tuple[str, ...]]:
    """Say on each column what a person should know, and in sentences what they should do."""
    unit = {name: i for i, name in enumerate(grid.names)}
    columns = tuple(
        dataclasses.replace(c, note="; ".join(filter(None, (c.note, _remark(c, unit[c.name], grid, summary)))))
        if c.name in unit
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
