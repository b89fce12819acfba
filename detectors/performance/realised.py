"""Figures that labels have confirmed, each with its interval, from counts that merge.

Question: how well did the model do on the rows whose labels are known?
Statistic: as everybody computes it: of two classes about class 1, of more the mean over the classes that are there
(macro); AUROC and average precision from cells (`ranks`). Business value is the mean per row of the cost matrix
``value[prediction, label]``, labels of unknown classes costing what the last column says.
Error: Wilson for shares, and for F1 too, which is 2 q / (1 + q) with the share q = tp / (tp + fp + fn); DeLong for
AUROC; Student for means; influence of each cell (delta method) for the rest, with a row more of each class so that none
is taken for certain. Macro AUROC and average precision take their classes' errors as if they went together: never too
small. ``tau`` is the rows' autocorrelation time (`detectors.performance.errors.tau_of`).
Sees / blind to: everything, but only of labelled rows: where labels come for some rows sooner than for others, judge
cohorts whose labels are complete, or give weights.
Cost: 1 ms a segment. Source: DeLong et al. 1988; Wilson 1927; Wang et al. 2015 (F1's interval).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.performance import coverage, curves, intervals, ranks
from detectors.performance.counts import (
    CHANCES,
    DECIDED,
    NONZERO,
    QUERIES,
    SCORED,
    UNIT,
    UNIT_OF_SQUARES,
    Tally,
    total,
)
from detectors.performance.intervals import bounded, logit, none
from detectors.performance.layout import Layout
from detectors.performance.types import METRICS, Figure
from detectors.types import FloatArray

ABSENT: Final = "the model logs no scores of its classes, or there are too many classes"
NEVER: Final[Mapping[str, str]] = {
    "precision": "no labelled row was said to be of class 1",
    "recall": "no labelled row is of class 1",
    "f1": "no labelled row is, or was said to be, of class 1",
}
_OF_R2: Final = ("square", "fourth", "truth", "truth2", "truth3", "truth4", "mixed", "mixed2")


def figures(
    made: Layout, tally: Tally, segment: int = 0, tau: float = 1.0, value: FloatArray | None = None
) -> dict[str, Figure]:
    """All figures of a segment, by name; those without a value say why. ``value (k, k + 1)`` or ``(k, k)``: costs."""
    if made.name == "ranking":
        return {"ndcg": _mean(made, tally, segment, tau, "ndcg", "ndcg", QUERIES)}
    if made.name == "regression":
        return _numbers(made, tally, segment, tau)
    decided = intervals.mass(tally, DECIDED, segment, tau)
    found = _confusion(tally.confusion[segment], decided, binary=made.name == "binary")
    if value is not None:
        found["business_value"] = _value(tally.confusion[segment], decided, value)
    for name, measure in (("auroc", ranks.auroc), ("average_precision", ranks.average_precision)):
        found[name] = _ranked(name, tally, segment, tau, measure)
    for name in ("log_loss", "brier"):
        found[name] = _mean(made, tally, segment, tau, name, name, CHANCES)
    found["ece"] = curves.ece(tally, segment, tau)
    if len(tally.sets[segment]):
        found["set_coverage"] = coverage.of_sets(tally, segment, tau).figure
    return {name: found[name] for name in METRICS if name in found}


def _mean(made: Layout, tally: Tally, segment: int, tau: float, metric: str, name: str, whose: int) -> Figure:
    """A mean of rows, from their sum and that of the squares, which has the same name and a 2."""
    rows = intervals.mass(tally, whose, segment, tau)
    if not rows.effective > 0:
        reason = {CHANCES: intervals.NO_CHANCES, NONZERO: intervals.UNDEFINED, QUERIES: intervals.NO_QUERIES}
        return none(metric, rows.rows, reason.get(whose, intervals.NO_ROWS))
    square = {"size": "square", "error": "square"}.get(name, f"{name}2")
    first, second = (total(made, tally, one, segment) / rows.weight for one in (name, square))
    return intervals.mean(metric, first, second, rows.rows, rows.effective)


def _ranked(name: str, tally: Tally, segment: int, tau: float, measure: ranks.Measure) -> Figure:
    rows = intervals.mass(tally, SCORED, segment, tau)
    if not len(tally.ranks[segment]):
        return none(name, 0, ABSENT)
    if not rows.effective > 0:
        return none(name, 0, intervals.NO_SCORES)
    values, errors, least = [], [], math.inf
    for weights in tally.ranks[segment] / UNIT / rows.weight * rows.rows:
        found = measure(weights)
        worth = weights.sum(axis=1) * rows.effective / rows.rows
        if math.isfinite(found.value):
            values.append(found.value)
            errors.append(math.sqrt(float((weights * found.influence**2).sum() / rows.rows / rows.effective)))
            least = min(least, float(worth.min()) if worth.min() > 0 else float(worth.max()))
    if not values:
        return none(name, rows.rows, intervals.ONE_CLASS)
    return logit(name, float(np.mean(values)), float(np.mean(errors)), rows.rows, least)


def _confusion(both: FloatArray, decided: intervals.Mass, *, binary: bool) -> dict[str, Figure]:
    """Accuracy, precision, recall and F1 from weights and squares by prediction and label ``(2, k, k + 1)``."""
    names = ("accuracy", "precision", "recall", "f1") + (() if binary else ("f1_micro",))
    if not decided.effective > 0:
        return {name: none(name, decided.rows, intervals.NO_ROWS) for name in names}
    cells, squares = both[0] / UNIT, both[1] / UNIT_OF_SQUARES
    right = float(np.trace(cells)) / decided.weight
    found = {name: intervals.share(name, right, decided.rows, decided.effective) for name in ("accuracy", "f1_micro")}
    make = _of_one if binary else _over_all
    dependence = decided.weight**2 / float(squares.sum()) / decided.effective  # tau
    found |= {name: make(name, cells, squares, dependence, decided.rows) for name in names[1:4]}
    return {name: found[name] for name in names}


def _of_one(name: str, cells: FloatArray, squares: FloatArray, tau: float, rows: int) -> Figure:
    """Precision, recall or F1 of class 1: a share of the rows that were said to be, that are, or that are either."""
    some = np.zeros(cells.shape, np.bool_)
    some[1] |= name != "recall"
    some[:, 1] |= name != "precision"
    weight = float(cells[some].sum())
    if not weight > 0:
        return none(name, rows, NEVER[name])
    worth = weight**2 / float(squares[some].sum()) / tau
    part = intervals.share(name, float(cells[1, 1]) / weight, rows, worth)
    return part if name != "f1" else _doubled(part)


def _doubled(part: Figure) -> Figure:
    """F1 from the share of true positives among all rows that were said to be or are of the class."""
    value, low, high = (2 * q / (1 + q) for q in part[1:4])
    return part._replace(value=value, low=low, high=high, error=2 * part.error / (1 + part.value) ** 2)


def _over_all(name: str, cells: FloatArray, squares: FloatArray, tau: float, rows: int) -> Figure:
    """Mean of precision, recall or F1 over the classes for which it is defined."""
    worth = float(cells.sum()) ** 2 / float(squares.sum()) / tau
    value, known, _ = _by_class(name, cells)
    if not known.any():
        return none(name, rows, intervals.UNDEFINED)
    said, real = cells.sum(axis=1), cells.sum(axis=0)[:-1]
    base = {"precision": said, "recall": real, "f1": said + real}[name][known]
    least = len(base) * float(base.min()) / float(cells.sum()) * worth
    k, mean = len(cells), float(cells.sum()) / rows
    trace = np.where(known[:, None] | np.append(known, False), 1 / k, 0.0)
    trace[np.arange(k), np.arange(k)] *= k
    _, _, slope = _by_class(name, cells + trace * mean)
    spread = float(((squares + trace * mean**2) * slope**2).sum())
    return logit(name, float(value[known].mean()), math.sqrt(spread * tau), rows, worth)._replace(worth=least)


def _by_class(name: str, cells: FloatArray) -> tuple[FloatArray, NDArray[np.bool_], FloatArray]:
    """Figure of each class ``(k,)``, where it is defined, and the slope of their mean by each cell's weight."""
    k = len(cells)
    said, real, hit = cells.sum(axis=1), cells.sum(axis=0)[:k], np.diag(cells)
    times, base = {"precision": (1.0, said), "recall": (1.0, real), "f1": (2.0, said + real)}[name]
    known = base > 0
    value = np.divide(times * hit, base, out=np.zeros(k), where=known)
    by = np.divide(1.0, base, out=np.zeros(k), where=known) / max(int(known.sum()), 1)
    slope = np.zeros(cells.shape)
    slope -= (value * by)[:, None] if name != "recall" else 0.0
    slope[:, :k] -= value * by if name != "precision" else 0.0
    slope[np.arange(k), np.arange(k)] += times * by
    return value, known, slope


def _value(both: FloatArray, decided: intervals.Mass, value: FloatArray) -> Figure:
    """Mean value of a row; where no value is given for labels of unknown classes they are worth the answer's least."""
    cells = both[0]
    if value.shape == (len(cells), len(cells)):
        value = np.concatenate([value, value.min(axis=1, keepdims=True)], axis=1)
    if value.shape != cells.shape or not np.isfinite(value).all():
        raise ValueError(f"`value` must be finite and of shape {(len(cells), len(cells))} or {cells.shape}")
    if not decided.effective > 0:
        return none("business_value", decided.rows, intervals.NO_ROWS)
    share = cells / UNIT / decided.weight
    first, second = float((share * value).sum()), float((share * value**2).sum())
    return intervals.mean("business_value", first, second, decided.rows, decided.effective)


def _numbers(made: Layout, tally: Tally, segment: int, tau: float) -> dict[str, Figure]:
    """Figures of a regression."""
    plain = {"mae": ("size", DECIDED), "bias": ("error", DECIDED)}
    plain |= {"mape": ("share", NONZERO), "quantile_loss": ("pinball", DECIDED)}
    found = {metric: _mean(made, tally, segment, tau, metric, *of) for metric, of in plain.items()}
    found["rmse"] = _rmse(made, tally, segment, tau)
    found["r2"] = _r2(made, tally, segment, tau)
    found["coverage"] = coverage.of_intervals(made, tally, segment, tau).figure
    return {name: found[name] for name in METRICS if name in found}


def _moments(made: Layout, tally: Tally, segment: int, weight: float, *names: str) -> list[float]:
    return [total(made, tally, name, segment) / weight for name in names]


def _rmse(made: Layout, tally: Tally, segment: int, tau: float) -> Figure:
    """Root of the mean square error, and of its interval's ends."""
    rows = intervals.mass(tally, DECIDED, segment, tau)
    if not rows.effective > 0:
        return none("rmse", rows.rows, intervals.NO_ROWS)
    square, fourth = _moments(made, tally, segment, rows.weight, "square", "fourth")
    if not math.isfinite(square):
        return none("rmse", rows.rows, intervals.TOO_LARGE)
    found, root = intervals.mean("rmse", square, fourth, rows.rows, rows.effective), math.sqrt(square)
    error = found.error / (2 * root) if root > 0 else 0.0 * found.error
    return Figure("rmse", root, math.sqrt(found.low), math.sqrt(found.high), error, rows.rows, "", rows.effective)


def _r2(made: Layout, tally: Tally, segment: int, tau: float) -> Figure:
    """Share of the truth's variance that is explained: 1 - S / V, with S the mean square error."""
    rows = intervals.mass(tally, DECIDED, segment, tau)
    if not rows.effective > 1:
        return none("r2", rows.rows, intervals.UNDEFINED if rows.effective else intervals.NO_ROWS)
    scale = float(made.scale) ** 2
    s, s2, t, t2, t3, t4, st, st2 = _moments(made, tally, segment, rows.weight, *_OF_R2)
    variance, error = t2 - t * t, s / scale
    if not (math.isfinite(variance) and math.isfinite(error)):
        return none("r2", rows.rows, intervals.TOO_LARGE)
    if variance <= 1e-12 * t2:
        return none("r2", rows.rows, "the truth is constant")
    ratio = error / variance
    central = (t4 - 4 * t * t3 + 6 * t * t * t2 - 3 * t**4, (st2 - 2 * t * st + t * t * s) / scale, s2 / scale**2)
    spread = central[2] - 2 * ratio * central[1] + ratio**2 * central[0]
    deviation = math.sqrt(max(spread, 0.0) / (rows.effective - 1)) / variance
    half = deviation * float(special.stdtrit(rows.effective - 1, intervals.LEVEL))
    return bounded("r2", 1 - ratio, deviation, half, rows.rows)._replace(worth=rows.effective)
