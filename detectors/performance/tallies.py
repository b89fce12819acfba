"""Rows with their outcomes counted: all that realised figures need, by segment, mergeable and correctable.

A row counts when it has a prediction and a label; "not labelled yet" is counted apart. A label of a class that the
model does not know is a wrong answer. Scores are counted in cells that the reference fixes; rows of a cell count as
ties (`ranks` says what that costs). All rows of a ranking's query have to come in one call, and be taken back in one.
Cost (tests.bench errors): 1 us a row of two classes or a regression, 1.2 us of four classes; 21 kB a segment of two or
four classes, 8 kB of a regression.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from detectors.performance import class_counts, number_counts, query_counts
from detectors.performance.counts import DECIDED, HEAVIEST, Rows, Tally, empty, weigh
from detectors.performance.layout import Layout, known
from detectors.performance.types import Kind, Outcomes
from detectors.types import IntArray

_FILL: Final[dict[Kind, Callable[[Tally, Layout, Outcomes, Rows], None]]] = {
    "binary": class_counts.fill,
    "multiclass": class_counts.fill,
    "regression": number_counts.fill,
    "ranking": query_counts.fill,
}


def tally(made: Layout, outcomes: Outcomes, segment: IntArray | None = None, segments: int = 1) -> Tally:
    """Count rows, ``segment (n,)`` of each from 0 (-1: in none). `ValueError` if they are of another kind.

    Segments do not overlap: one call for each way to divide the rows.
    """
    if segment is not None and len(segment) and int(segment.max()) >= segments:
        raise ValueError(f"`segment` goes up to {int(segment.max())}: `segments` are {segments}")
    given = outcomes.probabilities
    if outcomes.kind != made.name or (given is not None and given.shape[1] != int(made.classes)):
        raise ValueError(f"`outcomes` are not of the reference's kind: {made.name} with {int(made.classes)} classes")
    out = empty(made, segments)
    rows = _rows(made, outcomes, np.zeros(len(outcomes.prediction), np.int64) if segment is None else segment, out)
    _FILL[made.name](out, made, outcomes, rows)
    return out


def _rows(made: Layout, outcomes: Outcomes, segment: IntArray, out: Tally) -> Rows:
    """Pick the rows that count; those that do not are ``seen``."""
    prediction, truth = known(outcomes.prediction, int(made.classes)), known(outcomes.truth, int(made.classes))
    given = np.ones(len(truth)) if outcomes.weight is None else np.asarray(outcomes.weight, np.float64)
    said = ~np.isnan(prediction)
    if made.name == "ranking":
        said = np.isfinite(np.full(len(truth), np.nan) if outcomes.score is None else outcomes.score)
    elif int(made.classes):
        said &= prediction < int(made.classes)
    fair, told = np.isfinite(given) & (given >= 0), ~np.isnan(truth)
    at = np.flatnonzero(said & fair & told & (segment >= 0))
    with np.errstate(over="ignore"):
        weight = given[at] / float(made.base) if outcomes.weight is not None else given[at]
    rows = Rows(at, segment[at], np.minimum(weight, HEAVIEST), prediction[at], truth[at])
    parts = (said & fair & told, said & fair & ~told, ~said, said & ~fair)
    for i, part in enumerate(parts):
        out.seen[:, i] = np.bincount(segment[part & (segment >= 0)], minlength=len(out.seen))
    out.seen[:, 4] = np.bincount(rows.segment[weight > HEAVIEST], minlength=len(out.seen))
    weigh(out, DECIDED, rows)
    return rows
