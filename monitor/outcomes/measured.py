"""What estimates need to know of a reference: measured once on its labelled rows, and kept with the artefact.

A bounded random sample of the labelled rows is enough, taken in one pass over all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import reduce
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from detectors.multivariate.encode import ColumnsEncoder, columns_encoder
from detectors.multivariate.samples import mixed
from detectors.performance import estimate
from detectors.performance.classifiers import ClassesFixed
from detectors.performance.counts import DECIDED, Tally
from detectors.performance.errors import Errors, ErrorsFixed, Run
from detectors.performance.layout import Layout, layout
from detectors.performance.regressions import NumbersFixed
from detectors.performance.tallies import tally
from detectors.performance.types import Outcomes
from detectors.types import CodeArray, FloatArray, IntArray, SingleArray
from monitor import log
from monitor.decode import Decoded, Decoder
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.divided import coarse, segments_of, shown
from monitor.outcomes.said import Said
from monitor.passes import Batches, decoded, taken
from monitor.prepared import flat, rebuilt, under

MOST_ROWS: Final = 100_000
"""Labelled reference rows that are looked at."""
LEAST_ROWS: Final = 200
"""A new reference with fewer labelled rows takes over those of the one before."""
MOST_VALUES: Final = 1 << 23
"""Encoded values of these rows (32 MB)."""
RUN_ROWS: Final = 50_000
"""Labelled rows that follow each other, from the first: what is known of the dependence of errors."""


class OfClasses(NamedTuple):
    """What a classifier is estimated from, and how its inputs are encoded."""

    encoder: ColumnsEncoder
    fixed: ClassesFixed


class OfNumbers(NamedTuple):
    """What a regression is estimated from, and how its inputs are encoded."""

    encoder: ColumnsEncoder
    fixed: NumbersFixed


class Expected(NamedTuple):
    """How outcomes are counted, and the counts of the reference: what labels are held against.

    ``segments`` are those of the segments that are shown, by place; none where they are not known.
    """

    layout: Layout
    reference: Tally
    segments: Tally


Measured = OfClasses | OfNumbers
_EXPECTED, _ERRORS = "expected", "errors"
_LABELS: Final = (_EXPECTED, _ERRORS)
"""What only labels are held against: it outlives a new reference that has none."""
_KINDS: Final[dict[str, type[Any]]] = {"classes": OfClasses, "numbers": OfNumbers}


class _Rows(NamedTuple):
    """Labelled rows: random ``key (n,)`` (one for all rows of a query), answers, labels, strata, inputs ``(n, d)``."""

    key: FloatArray
    said: Said
    truth: FloatArray
    strata: CodeArray
    inputs: SingleArray


def with_outcomes(fitted: Fitted, batches: Batches, seed: int = 0) -> Fitted:
    """The same with what estimates need, if there are labels to measure it on; what fails costs no reference."""
    try:
        return dataclasses.replace(fitted, outcomes=measure(fitted, batches, seed))
    except Exception as fault:  # noqa: BLE001 - drift can be judged without
        log.get("outcomes").error("the reference's labels cannot be measured", error=repr(fault))
        return fitted


def measure(fitted: Fitted, batches: Batches, seed: int = 0) -> Mapping[str, Any]:
    """Arrays by path; none where rows have no labels or answers."""
    answers, grid = Answers(fitted), fitted.reference.grid
    label = fitted.plan.roles.label
    if answers.kind is None or not label or label not in fitted.sample.schema.names:
        return {}
    decoder = Decoder(fitted.plan, grid, fitted.vocabularies)
    encoder = _encoder(fitted, decoder)
    rng = np.random.default_rng(seed)
    most = min(MOST_ROWS, MOST_VALUES // max(len(encoder.unit), 1))
    width = len(grid.names) + sum(length for _, length in grid.vectors)
    rows: _Rows | None = None
    first: list[_Rows] = []
    for piece in decoded(batches, decoder, width):
        some = _labelled(answers, encoder, piece, label, rng)
        if some is None:
            continue
        if sum(len(one.key) for one in first) < RUN_ROWS:
            first.append(some._replace(inputs=some.inputs[:, :0]))
        rows = some if rows is None else _least(_joined(rows, some), most)
    if rows is None or not np.isfinite(rows.truth).any():
        return {}
    outcomes = answers.outcomes(rows.said, rows.truth)
    level = answers.roles.quantile or 0.5
    made = layout(outcomes, answers.k, level, answers.roles.places)
    expected = {_EXPECTED: Expected(made, tally(made, outcomes), _segments(made, fitted, rows, outcomes))}
    if outcomes.kind == "ranking":
        return flat(expected)  # rankings are not estimated without labels
    fixed = estimate.fit(outcomes, rng, rows.inputs, encoder.unit)
    known: dict[str, Any] = {**expected, _ERRORS: _errors(answers, rows, first, fitted)}
    if isinstance(fixed, ClassesFixed):
        return flat({"classes": OfClasses(encoder, fixed), **known})
    return flat({"numbers": OfNumbers(encoder, fixed), **known})


class Known(NamedTuple):
    """What is known of a reference: for estimates, and for figures and errors that labels give; None: nothing."""

    measured: Measured | None
    expected: Expected | None
    errors: ErrorsFixed | None


_NOTHING: Final = Known(None, None, None)


def known_of(fitted: Fitted) -> Known:
    """What was kept with the reference, or measured now on its sample where nothing was, or by another version."""
    try:
        kept = _known(fitted.outcomes)
    except (KeyError, ValueError):
        kept = _NOTHING
    if kept.expected is not None:
        return kept
    bare = dataclasses.replace(fitted, outcomes={})
    return _known(with_outcomes(bare, lambda: iter([fitted.sample])).outcomes)


def inherited(fitted: Fitted, before: Fitted) -> Fitted:
    """A new reference with too few labels: what labels are held against stays what it was, if classes mean the same."""
    kept = {path: one for path, one in before.outcomes.items() if path.partition("/")[0] in _LABELS}
    mine = known_of(fitted).expected
    if not kept or (mine is not None and mine.reference.mass[0, DECIDED, 0] >= LEAST_ROWS):
        return fitted
    if not Answers(fitted).knows(Answers(before).meaning):
        return fitted
    if fitted.plan.strata != before.plan.strata:  # its segments are others
        kept |= {path: one[:0] for path, one in kept.items() if path.startswith(f"{_EXPECTED}/segments/")}
    return dataclasses.replace(fitted, outcomes=kept)


def _known(arrays: Mapping[str, Any]) -> Known:
    found = [rebuilt(kind, mine) for name, kind in _KINDS.items() if (mine := under(name, arrays))]
    expected, errors = (under(name, arrays) for name in _LABELS)
    return Known(
        found[0] if found else None,
        rebuilt(Expected, expected) if expected else None,
        rebuilt(ErrorsFixed, errors) if errors else None,
    )


def _errors(answers: Answers, rows: _Rows, first: list[_Rows], fitted: Fitted) -> ErrorsFixed:
    """The reference's errors, without any tolerance: that is the configuration's."""
    names = shown(fitted.plan.strata)

    def known(one: _Rows) -> tuple[Outcomes, IntArray | None]:
        segment = segments_of(fitted.plan.strata, one.strata, len(one.key))
        return answers.outcomes(one.said, one.truth), np.where(segment < len(names), segment, -1) if names else None

    outcomes, segment = known(rows)
    return Errors(tolerance=0.0).fit(outcomes, segment, len(names), run=Run(*known(_all(first))))


def tau_of(fitted: Fitted) -> float:
    """Autocorrelation time of the rows' answers; where none is a column (an old artefact), of all that is."""
    reference, answers = fitted.reference, list(fitted.answers)
    given = reference.tau[answers] if answers else reference.tau
    return float(np.nan_to_num(given, nan=1.0).max(initial=1.0))


def _encoder(fitted: Fitted, decoder: Decoder) -> ColumnsEncoder:
    """How inputs are encoded: features and segments, neither answers nor what lies in vectors."""
    grid = fitted.reference.grid
    units = {name: i for i, name in enumerate(grid.names)}
    given = [units[c.name] for c in fitted.plan.columns if c.name in units and c.role in ("feature", "segment")]
    block = decoder.decode(fitted.sample).block
    return columns_encoder(grid, fitted.reference.summary, block, np.array(given, np.int64))


def _labelled(
    answers: Answers, encoder: ColumnsEncoder, piece: Decoded, label: str, rng: np.random.Generator
) -> _Rows | None:
    if label not in piece.batch.schema.names:
        return None
    truth = answers.truths(_column(piece.batch, label)).values
    said = answers.said(piece.block, piece.batch)
    index = np.flatnonzero(np.isfinite(truth) | (said.query is not None))
    block, said = taken(piece.block, index), said.rows(index)
    strata = np.full(len(index), -1, np.int32) if block.strata is None else block.strata
    key = rng.random(len(index))
    if said.query is not None:
        key = mixed(said.query.view(np.uint64)).astype(np.float64)
    return _Rows(key, said, truth[index], strata, encoder.encode(block))


def _segments(made: Layout, fitted: Fitted, rows: _Rows, outcomes: Outcomes) -> Tally:
    segments = segments_of(fitted.plan.strata, rows.strata, len(rows.key))
    return tally(coarse(made), outcomes, segments, int(segments.max(initial=-1)) + 1)


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(batch.schema.names.index(name))


def _joined(one: _Rows, other: _Rows) -> _Rows:
    key, truth = np.concatenate([one.key, other.key]), np.concatenate([one.truth, other.truth])
    strata, inputs = np.concatenate([one.strata, other.strata]), np.concatenate([one.inputs, other.inputs])
    return _Rows(key, one.said.beside(other.said), truth, strata, inputs)


def _all(parts: list[_Rows]) -> _Rows:
    return reduce(_joined, parts)


def _least(rows: _Rows, most: int) -> _Rows:
    """The rows of least key, once there are too many."""
    if len(rows.key) <= most:
        return rows
    index = np.flatnonzero(rows.key < np.partition(rows.key, most)[most])
    said, strata = rows.said.rows(index), rows.strata[index]
    return _Rows(rows.key[index], said, rows.truth[index], strata, rows.inputs[index])
