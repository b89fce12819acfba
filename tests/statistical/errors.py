"""Streams of errors of models that have their labels: real ones with documented change points, and shuffled ones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc

from detectors.multivariate.classifier import newton
from detectors.performance.errors import Errors, question
from detectors.performance.types import Outcomes
from detectors.streaming.catalog import CLASSICAL
from detectors.types import FloatArray, IntArray
from tests.detectors.outcomes import take
from tests.statistical import data
from tests.statistical.outcomes import ages, employment, trips

PANE = 50
BUDGET = 10_000.0
"""Panes between false alarms that are promised."""
BLOCK, TRAINED, MEASURED = 12_500, 2_500, 7_500
"""Rows of a concept of `sea`; of these the model sees the first, the next are the reference, 2,500 more are quiet."""


class Alarm(NamedTuple):
    """Rows after the reference until an alarm, and the question that was answered most strongly."""

    rows: int
    why: str


def sea() -> tuple[FloatArray, IntArray]:
    """SEA's columns and labels: the threshold moves at 12,500, 25,000 and 37,500, and 10 % are noise."""
    rows = data.table("sea_concepts", "sea.parquet")
    columns = [rows[name].to_numpy().astype(np.float64) for name in ("f1", "f2", "f3")]
    return np.stack(columns, axis=1), rows["label"].to_numpy().astype(np.int64)


def modelled(x: FloatArray, y: IntArray, trained: int = TRAINED, *, scored: bool = True) -> Outcomes:
    """Rows after the first ``trained``, answered by a logistic regression on those."""
    scaled = ((x - x[:trained].mean(axis=0)) / x[:trained].std(axis=0)).astype(np.float32)
    model = newton(scaled[:trained], y[:trained].astype(np.float64), np.ones(trained))
    score = 1 / (1 + np.exp(-(scaled[trained:] @ model.weight + model.intercept)))
    return Outcomes("binary", (score > 0.5).astype(np.int64), score if scored else None, None, y[trained:])


def alarms(outcomes: Outcomes, measured: int, detector: Errors, pane: int = PANE) -> list[Alarm]:
    """Watch the rows after the first ``measured``, pane by pane, beginning anew after each alarm."""
    fixed = detector.fit(take(outcomes, slice(0, measured)))
    state, found = detector.start(fixed), []
    for begin in range(measured, len(outcomes.truth) - pane + 1, pane):
        counted = detector.answers(fixed, take(outcomes, slice(begin, begin + pane)))
        state, evidence = detector.score(fixed, state, counted)
        if evidence.log_e[0] >= np.log(BUDGET):
            why = question(fixed.plan, int(evidence.extra["question"][0]))
            found.append(Alarm(begin + pane - measured, why))
            state = detector.forget(fixed, state, np.ones(1, np.bool_))
    return found


def concept(change: int, *, scored: bool, shift: int = 0) -> Outcomes:
    """Answers around a change point of `sea` by a model of the concept before; ``shift`` takes other training rows."""
    x, y = sea()
    begin, end = change - BLOCK, change + 3_000
    order = np.arange(begin, end)
    order[: BLOCK - 2_500] = np.roll(order[: BLOCK - 2_500], shift)
    return modelled(x[order], y[order], scored=scored)


def delay(outcomes: Outcomes, detector: Errors, pane: int = PANE) -> tuple[float, int]:
    """Rows from the change until the first alarm after it, and alarms before."""
    quiet = BLOCK - TRAINED - MEASURED
    found = [one.rows - quiet for one in alarms(outcomes, MEASURED, detector, pane)]
    return next((float(one) for one in found if one > 0), np.inf), sum(one <= 0 for one in found)


def shuffled(seed: int, *, scored: bool = True) -> Outcomes:
    """All of `sea` in random order: one law, whose errors never rise."""
    x, y = sea()
    order = np.random.default_rng(seed).permutation(len(y))
    return modelled(x[order], y[order], scored=scored)


def classical(name: str, measured: FloatArray, wrong: FloatArray) -> list[int]:
    """Rows at which a classical detector alarms on a stream of 0 and 1; ``measured`` scales it where that is wanted."""
    detector = CLASSICAL[name]()
    state, found = detector.start(1), []
    stream = (wrong - measured.mean()) / measured.std() if detector.kind == "values" else wrong
    for row, one in enumerate(stream):
        step = detector.update(state, one.reshape(1, 1))
        state = step.state
        if step.alarms[0] > 0:
            found.append(row + 1)
    return found


def swapping(boundary: int) -> Outcomes:
    """Answers around the ``boundary``-th swap of `interchanging_rbf` by nearest class means, from 1,000 rows."""
    rows = data.table("interchanging_rbf", "interchanging_rbf.parquet").slice((boundary - 1) * 3_000, 5_000)
    x = np.stack([rows[name].to_numpy() for name in ("f0", "f1")], axis=1)
    y = rows["label"].to_numpy().astype(np.int64)
    means = np.array([x[:1_000][y[:1_000] == c].mean(axis=0) for c in range(15)])
    apart = np.square(x[1_000:, None] - means).sum(axis=2)
    score = np.exp(-(apart - apart.min(axis=1, keepdims=True)) / (2 * 0.05**2))
    p = score / score.sum(axis=1, keepdims=True)
    return Outcomes("multiclass", p.argmax(axis=1), None, p, y[1_000:])


def bike_counts() -> tuple[Outcomes, int, IntArray]:
    """Hourly counts and their predictions, the reference first; rows of it, and the quarter of each row."""
    rows = data.table("bike_sharing", "count_predictions.parquet")
    role = rows["role"].to_numpy(zero_copy_only=False)
    order = np.concatenate([np.flatnonzero(role == "reference"), np.flatnonzero(role != "reference")])
    said, truth = (rows[name].to_numpy().astype(np.float64)[order] for name in ("pred_cnt", "cnt"))
    quarter = rows["timestamp"].to_numpy().astype("datetime64[M]").astype(np.int64)[order] // 3
    return Outcomes("regression", said, None, None, truth), int((role == "reference").sum()), quarter


def census() -> tuple[Outcomes, int]:
    """The census model's answers in time order, the reference first; rows of it."""
    one = employment()
    return _after(one.reference.outcomes, one.later.outcomes), one.reference.number


def turned(seed: int, quiet: int = 10_000, rows: int = 2_500) -> tuple[Outcomes, int]:
    """The same, but later rows at random; after so many ``quiet`` ones 30 % of the labels of those over 50 turn."""
    one, rng = employment(), np.random.default_rng(seed)
    which = rng.choice(one.later.number, quiet + rows, replace=False)
    later = take(one.later.outcomes, which)
    other = (ages()[which] > 50) & (rng.random(len(which)) < 0.3) & (np.arange(len(which)) >= quiet)
    later = later._replace(truth=np.where(other, 1 - later.truth, later.truth))
    return _after(one.reference.outcomes, later), one.reference.number


def minutes() -> tuple[Outcomes, int]:
    """Predicted and real minutes of taxi trips of March 2020 by time, those before the 14th first; rows of these."""
    rows = trips().sort_by("pickup")
    rows = rows.filter(pc.and_(pc.not_equal(rows["role"], "train"), pc.equal(rows["month"], 3)))
    said, real = (rows[name].to_numpy().astype(np.float64) for name in ("said", "minutes"))
    return Outcomes("regression", said, None, None, real), int(pc.sum(pc.equal(rows["role"], "reference")).as_py())


def _after(one: Outcomes, other: Outcomes) -> Outcomes:
    columns: list[Any] = [
        None if a is None or b is None else np.concatenate([a, b]) for a, b in zip(one[1:], other[1:], strict=True)
    ]
    return Outcomes(one.kind, *columns)


def room(file: str, *, light: bool) -> tuple[Outcomes, int]:
    """Minutes of `occupancy` by a logistic regression on every other six hours of the training days; the rest measures.

    The reference comes first; rows of it.
    """
    names = ("Temperature", "Humidity", "CO2", "HumidityRatio", *(("Light",) if light else ()))
    parts = []
    for one in ("train.parquet", file):
        rows = data.table("occupancy", one).sort_by("timestamp")
        x = np.stack([rows[name].to_numpy().astype(np.float64) for name in names], axis=1)
        parts.append((x, rows["Occupancy"].to_numpy().astype(np.int64)))
    (x, y), (later, truth) = parts
    trained = (np.arange(len(y)) // 360) % 2 == 0
    order = np.argsort(~trained, kind="stable")
    outcomes = modelled(np.concatenate([x[order], later]), np.concatenate([y[order], truth]), int(trained.sum()))
    return outcomes, int((~trained).sum())
