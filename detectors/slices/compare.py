"""Slices followed: how they do now, and how they did in the reference.

Question: what is the mean loss of a slice that somebody has named, and has it changed?
Statistic: mean loss within, and its change against labelled rows of the reference.
Error: Wilson's interval of a share of errors, Student's of absolute errors, worth 1 / tau of the rows; the change by
adding up squared distances to the ends (Newcombe 1998, method 10). Not family-wise over slices.
Sees / blind to: a slice that does no worse than elsewhere but worse than it did is seen if it is followed, not found.
Cost: O(rows) a slice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from detectors.performance import intervals
from detectors.performance.types import Figure, Outcomes
from detectors.slices.columns import Codes, Slice, inside
from detectors.types import FloatArray

MOST_ROWS: Final = 20_000
"""Labelled rows of the reference that are kept: a sample."""
Status = Literal["worse", "better", "weak before", "not weak before", "unknown"]


class SlicesFixed(NamedTuple):
    """Labelled rows of the reference: bins ``(m, f)`` and ``loss (m,)``."""

    codes: Codes
    loss: FloatArray


class Standing(NamedTuple):
    """A slice now: mean ``loss`` and that of all rows (``usual``); ``before`` in the reference, and the ``change``.

    ``share`` of all rows. ``status``: its loss has become ``worse`` or ``better`` (95 %); if neither, whether it was a
    weak spot before: above all rows of the reference, its lower bound that is; ``unknown`` without rows to say so.
    """

    conditions: Slice
    share: float
    loss: Figure
    usual: Figure
    before: Figure
    change: Figure
    status: Status


def losses(outcomes: Outcomes) -> FloatArray:
    """Loss of each row ``(n,)``: 1 for a wrong class, the size of a regression's error; NaN without a label."""
    prediction, truth = (np.asarray(one, np.float64) for one in (outcomes.prediction, outcomes.truth))
    if outcomes.kind == "ranking":
        return np.full(len(prediction), np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        known = np.isfinite(prediction) & np.isfinite(truth)
        if outcomes.kind == "regression":
            apart = np.abs(prediction - truth)
            return np.where(known & np.isfinite(apart), apart, np.nan)
        return np.where(known & (prediction >= 0) & (truth >= 0), prediction != truth, np.nan)


def fit(binned: Codes, loss: FloatArray, rng: np.random.Generator) -> SlicesFixed:
    """Keep labelled rows of the reference, a sample if there are many."""
    known = np.flatnonzero(np.isfinite(loss))
    some = np.sort(rng.choice(known, min(len(known), MOST_ROWS), replace=False))
    return SlicesFixed(binned[some], np.asarray(loss, np.float64)[some])


def measure(
    groups: Sequence[Slice], binned: Codes, loss: FloatArray, reference: SlicesFixed, tau: float = 1.0
) -> tuple[Standing, ...]:
    """How slices do on rows ``(n, f)`` with ``loss (n,)``: rows that they have not been found by."""
    known = np.isfinite(loss)
    binned, loss = binned[known], loss[known]
    usual, common = _mean(loss, tau), _mean(reference.loss, tau)
    return tuple(_standing(one, binned, loss, reference, usual, common, tau) for one in groups)


def _standing(
    group: Slice,
    binned: Codes,
    loss: FloatArray,
    reference: SlicesFixed,
    usual: Figure,
    common: Figure,
    tau: float,
) -> Standing:
    mine = loss[inside(group, binned)]
    now, before = _mean(mine, tau), _mean(reference.loss[inside(group, reference.codes)], tau)
    change = _change(now, before)
    share = len(mine) / len(loss) if len(loss) else math.nan
    return Standing(group, share, now, usual, before, change, _status(change, before, common))


def _status(change: Figure, before: Figure, common: Figure) -> Status:
    if change.reason or not math.isfinite(change.value):
        return "unknown"
    if change.low > 0:
        return "worse"
    if change.high < 0:
        return "better"
    return "weak before" if before.low > common.value else "not weak before"


def _mean(loss: FloatArray, tau: float) -> Figure:
    rows, worth = len(loss), len(loss) / max(tau, 1.0)
    if not rows:
        return intervals.none("loss", 0, intervals.NO_ROWS)
    top = float(loss.max())
    if np.isin(loss, (0.0, 1.0)).all():
        return intervals.share("loss", float(loss.mean()), rows, worth)
    scaled = loss / top
    said = intervals.mean("mae", float(scaled.mean()), float(np.square(scaled).mean()), rows, worth)
    with np.errstate(over="ignore"):
        value, low, high, error = (float(np.float64(one) * top) for one in said[1:5])
    return Figure("loss", value, low, high, error, rows, said.reason)


def _change(now: Figure, before: Figure) -> Figure:
    if now.reason or before.reason:
        return intervals.none("change", min(now.n, before.n), now.reason or before.reason)
    value = now.value - before.value
    down = math.hypot(now.value - now.low, before.high - before.value)
    up = math.hypot(now.high - now.value, before.value - before.low)
    error = math.hypot(now.error, before.error)
    return Figure("change", value, value - down, value + up, error, min(now.n, before.n))
