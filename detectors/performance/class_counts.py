"""Counts of a classifier's rows: confusion, ranks of scores, probabilities, conformal sets."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.performance.counts import (
    CHANCES,
    SCORED,
    SETS,
    UNIT,
    Rows,
    Tally,
    add_sums,
    counted,
    squares,
    weigh,
    whole,
)
from detectors.performance.layout import Layout, chances, scores
from detectors.performance.types import Outcomes
from detectors.types import FloatArray

_EPSILON: Final = float(np.finfo(np.float64).eps)
"""Probabilities are not taken to be nearer to 0 or 1 in a log loss."""


def fill(out: Tally, made: Layout, outcomes: Outcomes, rows: Rows) -> None:
    """Count rows that have a prediction and a label."""
    k = int(made.classes)
    unknown = rows.truth >= k
    out.seen[:, 5] = np.bincount(rows.segment[unknown], minlength=len(out.seen))
    label = np.where(unknown, k, rows.truth).astype(np.int64)
    place = rows.segment * (k * (k + 1)) + rows.prediction.astype(np.int64) * (k + 1) + label
    shape = out.confusion[:, 0].shape
    out.confusion[:] = np.stack([counted(place, one, shape) for one in (whole(rows), squares(rows))], axis=1)
    given = scores(outcomes)[rows.at]
    if given.shape[1]:
        good = np.logical_and.reduce(np.isfinite(given), axis=1)
        if out.ranks.shape[1]:
            _rank(out, made, given[good], rows.take(good))
        sure = chances(outcomes)[rows.at]
        good = np.isfinite(sure) & ~unknown
        _believe(out, made, given[good], sure[good], rows.take(good))
    if outcomes.sets is not None:
        sets = outcomes.sets[rows.at]
        good = ~unknown & (sets >= 0).all(axis=1)
        _cover(out, sets[good], rows.take(good))


def _rank(out: Tally, made: Layout, given: FloatArray, rows: Rows) -> None:
    """Weights by class or not, and cell."""
    weigh(out, SCORED, rows)
    weight, shape = whole(rows), out.ranks[:, 0].shape
    for c, cuts in enumerate(made.cuts):
        mine = rows.truth == (1 if made.name == "binary" else c)
        cell = np.searchsorted(cuts, given[:, c], side="right")
        out.ranks[:, c] = counted((rows.segment * 2 + mine) * shape[2] + cell, weight, shape)


def _believe(out: Tally, made: Layout, given: FloatArray, sure: FloatArray, rows: Rows) -> None:
    """Losses of probabilities, and bins of the reliability curve."""
    weigh(out, CHANCES, rows)
    label = rows.truth.astype(np.int64)
    if made.name == "binary":
        given = np.stack([1 - sure, sure], axis=1)
        true, confident = label == 1, np.maximum(sure, 1 - sure)
        right = (sure >= 0.5) == true
    else:
        true = right = given.argmax(axis=1) == label
        confident = sure
    own = given[np.arange(len(label)), label]
    brier = np.square(sure - true) if made.name == "binary" else np.square(given).sum(axis=1) - 2 * own + 1
    log_loss = -np.log(np.clip(own, _EPSILON, 1 - _EPSILON))
    gap = sure - true
    values = {
        "log_loss": log_loss,
        "log_loss2": np.square(log_loss),
        "brier": brier,
        "brier2": np.square(brier),
        "bias": gap,
        "over": confident - right,
        "gap2": np.square(gap),
    }
    add_sums(out, made.name, rows, values)
    weight, shape = whole(rows), out.bins[:, :, 0].shape
    place = rows.segment * shape[1] + np.searchsorted(made.bins, sure, side="right")
    parts = (weight, weight * true, np.rint(rows.weight * sure * UNIT).astype(np.int64), squares(rows))
    out.bins[:] = np.stack([counted(place, one, shape) for one in parts], axis=2)


def _cover(out: Tally, sets: NDArray[np.bool_] | NDArray[np.int8], rows: Rows) -> None:
    """Conformal sets by label."""
    weigh(out, SETS, rows)
    label, weight, shape = rows.truth.astype(np.int64), whole(rows), out.sets[:, :, 0].shape
    place = rows.segment * shape[1] + label
    held, size = sets[np.arange(len(label)), label].astype(np.int64), sets.sum(axis=1, dtype=np.int64)
    out.sets[:] = np.stack([counted(place, one, shape) for one in (weight, weight * held, weight * size)], axis=2)
