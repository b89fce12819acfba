"""Counts of a regression's rows: errors, their powers, the truth's spread, intervals."""

from __future__ import annotations

import numpy as np

from detectors.performance.counts import BOUNDED, NONZERO, Rows, Tally, add_sums, counted, weigh, whole
from detectors.performance.layout import Layout
from detectors.performance.types import Outcomes
from detectors.types import FloatArray


def fill(out: Tally, made: Layout, outcomes: Outcomes, rows: Rows) -> None:
    """Count rows that have a prediction and a truth."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = rows.prediction - rows.truth
        truth = (rows.truth - float(made.centre)) / float(made.scale)
        add_sums(out, made.name, rows, _powers(error, truth) | _pinball(error, float(made.level)))
        some = rows.truth != 0
        weigh(out, NONZERO, rows.take(some))
        share = np.abs(error[some] / rows.truth[some])
        add_sums(out, made.name, rows.take(some), {"share": share, "share2": np.square(share)})
        if outcomes.low is not None and outcomes.high is not None:
            _bound(out, made, outcomes.low[rows.at], outcomes.high[rows.at], rows)


def _powers(error: FloatArray, truth: FloatArray) -> dict[str, FloatArray]:
    square, truth2 = np.square(error), np.square(truth)
    return {
        "error": error,
        "size": np.abs(error),
        "square": square,
        "fourth": np.square(square),
        "truth": truth,
        "truth2": truth2,
        "truth3": truth2 * truth,
        "truth4": np.square(truth2),
        "mixed": square * truth,
        "mixed2": square * truth2,
    }


def _pinball(error: FloatArray, level: float) -> dict[str, FloatArray]:
    """Loss of a predicted quantile: too low a prediction costs ``level``, too high a one the rest."""
    loss = np.maximum(-level * error, (1 - level) * error)
    return {"pinball": loss, "pinball2": np.square(loss)}


def _bound(out: Tally, made: Layout, low: FloatArray, high: FloatArray, rows: Rows) -> None:
    """Intervals, which may be open to one side; those turned upside down are none."""
    good = low <= high
    some, low, high = rows.take(good), low[good], high[good]
    weigh(out, BOUNDED, some)
    side = np.where(some.truth < low, 0, np.where(some.truth > high, 2, 1))
    out.sides[:] = counted(some.segment * 3 + side, whole(some), out.sides.shape)
    add_sums(out, made.name, some, {"width": high - low})
