"""The real sets with outcomes as logs that `driftwarden replay` reads: reference, rows, and labels that came later.

Nothing is tuned to a set: budget, smallest shift and smallest loss are the defaults; only the rows of a pane and the
panes of a stretch follow from what the data's README counts (chunks of 5,000, months, weeks, blocks).
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from detectors.multivariate.classifier import newton
from detectors.types import FloatArray, IntArray
from monitor.config import parse_config
from monitor.replay import Line, replay
from tests.statistical import data
from tests.statistical.data import table
from tests.statistical.outcomes import trips

ROLES = {"prediction": "said", "label": "truth"}


@dataclass(frozen=True)
class Study:
    """A set as a log; ``labels`` are its rows with id and truth alone, None: the rows carry their labels."""

    reference: pa.Table
    log: pa.Table
    columns: Mapping[str, Any]
    pane: Mapping[str, Any]
    panes: int
    labels: pa.Table | None = None
    model: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """What the replay said: stretches in order, findings, the summary."""

    stretches: list[Line]
    findings: list[Line]
    summary: Line

    def of(self, metric: str, kind: str = "realised", what: str = "value") -> FloatArray:
        """A figure of every stretch, NaN where there is none."""
        return np.array([one[kind].get(metric, {}).get(what, math.nan) for one in self.stretches])

    def within(self, metric: str) -> NDArray[np.bool_]:
        """Stretches whose realised figure lies within the estimate's interval."""
        real = self.of(metric)
        inside: NDArray[np.bool_] = (self.of(metric, "estimate", "low") <= real) & (
            real <= self.of(metric, "estimate", "high")
        )
        return inside

    @property
    def doubted(self) -> NDArray[np.bool_]:
        """Stretches whose estimate is in doubt."""
        return np.array([bool(one["doubts"]) for one in self.stretches])

    def below(self, kind: str, metric: str) -> NDArray[np.bool_]:
        """Stretches that are below expectation by their ``estimate``, or as ``realised``."""
        return np.array([metric in one["below_expectation"][kind] for one in self.stretches])

    @property
    def pages(self) -> list[Line]:
        """Findings that page."""
        return [one for one in self.findings if one["severity"] == "page"]


def told(study: Study) -> Told:
    """Replay it."""
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log").mkdir()
        pq.write_table(study.reference, folder / "reference.parquet")
        pq.write_table(study.log, folder / "log" / "rows.parquet")
        if study.labels is not None:
            pq.write_table(study.labels, folder / "log" / "labels.parquet")
        section = {"name": "m", "reference": "reference.parquet", "columns": dict(study.columns), **study.model}
        section |= {"pane": dict(study.pane), "window": {"panes": study.panes}, "security": {"enabled": False}}
        replay(parse_config({"models": [section]}, base=folder), [str(folder / "log")], emit=lines.append)
    kinds = {kind: [one for one in lines if one["kind"] == kind] for kind in ("performance", "finding", "summary")}
    return Told(kinds["performance"], kinds["finding"], kinds["summary"][0])


def employment() -> Study:
    """Chunks of 5,000; labels come in a file of their own, in another order."""
    labels = table("ma_employment", "analysis_labels.parquet")
    order = np.random.default_rng(0).permutation(labels.num_rows)
    columns = {"id": "id", "prediction": "prediction", "score": "predicted_probability", "label": "employed"}
    return Study(
        table("ma_employment", "reference.parquet"),
        table("ma_employment", "analysis.parquet"),
        {**columns, "ignore": ["year"]},
        {"rows": 500},
        10,
        labels.take(order),
    )


def houses() -> Study:
    """Thirty days at a time, an hour a row; answers at 0.5."""
    parts = [table("california_housing", f"{name}.parquet") for name in ("reference", "analysis", "analysis_labels")]
    both = [one.append_column("said", _cut(one["y_pred_proba"])).drop_columns(["y_pred"]) for one in parts[:2]]
    columns = {"id": "id", "time": "timestamp", "prediction": "said", "score": "y_pred_proba", "label": "clf_target"}
    return Study(both[0], both[1], columns, {"rows": 72}, 10, parts[2])


def bikes() -> Study:
    """Four weeks at a time; inputs are the calendar and the weather."""
    hours = table("bike_sharing", "hour.parquet")
    said = table("bike_sharing", "count_predictions.parquet")
    rows = hours.drop_columns(["yr", "casual", "registered", "instant"]).append_column("said", said["pred_cnt"])
    reference, later = (rows.filter(pc.equal(said["role"], one)) for one in ("reference", "analysis"))
    columns = {"time": "timestamp", "prediction": "said", "label": "cnt"}
    return Study(reference, later, columns, {"rows": 24}, 28)


def taxis() -> Study:
    """A week of trips at a time, from 14 March 2020, by the time of pickup."""
    rows = trips().sort_by("pickup")
    reference, later = (rows.filter(pc.equal(rows["role"], one)) for one in ("reference", "analysis"))
    drop = ["role", "month"]
    columns: dict[str, Any] = {"time": "pickup", "prediction": "said", "label": "minutes"}
    zones = {"categorical": ["PULocationID", "DOLocationID"]}
    return Study(reference.drop_columns(drop), later.drop_columns(drop), columns | zones, {"every": "1d"}, 7)


def games(file: str, since: int) -> Study:
    """Forecasts, a season's number of games at a time (MLB 2,430; NFL 267)."""
    rows = table("forecasts_538", file)
    won = rows["prob1_outcome"]
    rows = rows.filter(pc.and_(pc.is_in(won, pa.array([0.0, 1.0])), pc.is_finite(rows["prob1"])))
    rows = rows.append_column("said", _cut(rows["prob1"])).drop_columns(["prob2", "prob2_outcome", "team1", "team2"])
    early = pc.less(rows["season"], since)
    columns = {"time": "date", "prediction": "said", "score": "prob1", "label": "prob1_outcome", "ignore": ["season"]}
    pane, panes = ({"rows": 243}, 10) if file.startswith("mlb") else ({"rows": 89}, 3)
    return Study(rows.filter(early), rows.filter(pc.invert(early)), columns, pane, panes)


def sea() -> Study:
    """A logistic regression from the first 2,500 rows; the next 7,500 are the reference; stretches of 2,500."""
    rows = table("sea_concepts", "sea.parquet")
    made = answered(rows, ("f1", "f2", "f3"), rows["label"].to_numpy(), np.arange(2_500)).drop_columns(["label"])
    return Study(made.slice(2_500, 7_500), made.slice(10_000), SCORED, {"rows": 100}, 25)


def swapping() -> Study:
    """Nearest class means of the first 1,000 rows; the reference is the rest of the first block, then 19 blocks."""
    rows = table("interchanging_rbf", "interchanging_rbf.parquet").slice(0, 60_000)
    x = np.stack([rows[name].to_numpy() for name in ("f0", "f1")], axis=1)
    y = rows["label"].to_numpy().astype(np.int64)
    means = np.array([x[:1_000][y[:1_000] == one].mean(axis=0) for one in range(15)])
    apart = np.square(x[:, None] - means).sum(axis=2)
    p = np.exp(-(apart - apart.min(axis=1, keepdims=True)) / (2 * 0.05**2))
    p /= p.sum(axis=1, keepdims=True)
    made = rows.drop_columns(["label"]).append_column("said", pa.array(p.argmax(axis=1).astype(str)))
    made = made.append_column("p", pa.FixedSizeListArray.from_arrays(pa.array(p.ravel()), 15))
    made = made.append_column("truth", pa.array(y.astype(str)))
    return Study(made.slice(1_000, 2_000), made.slice(3_000), {**ROLES, "probabilities": "p"}, {"rows": 100}, 30)


def hospitals(site: str) -> Study:
    """Cleveland's 303 patients, each answered by a model of the others, and then another hospital's, of all of them."""
    rows = table("heart_sites", "heart.parquet")
    inputs = [name for name in rows.column_names if name not in ("site", "num")]
    sick = np.greater(rows["num"].to_numpy(), 0).astype(np.int64)
    where = rows["site"].to_numpy(zero_copy_only=False)
    old, new = np.flatnonzero(where == "cleveland"), np.flatnonzero(where == site)
    parts = np.arange(len(old)) % 5
    known = [answered(rows, inputs, sick, old[parts != part]).take(old[parts == part]) for part in range(5)]
    log = answered(rows, inputs, sick, old).take(new)
    drop = ["site", "num"]
    reference = pa.concat_tables(known).drop_columns(drop)
    return Study(reference, log.drop_columns(drop), SCORED, {"rows": 20}, math.ceil(len(new) / 20))


def room(file: str, *, light: bool) -> Study:
    """Minutes; the model learnt every other six hours of the training days, the rest is the reference."""
    inputs = ["Temperature", "Humidity", "CO2", "HumidityRatio", *(["Light"] if light else [])]
    rows = pa.concat_tables([table("occupancy", one).sort_by("timestamp") for one in ("train.parquet", file)])
    old = table("occupancy", "train.parquet").num_rows
    learnt = np.flatnonzero((np.arange(old) // 360) % 2 == 0)
    made = answered(rows, inputs, rows["Occupancy"].to_numpy(), learnt).select([*inputs, "timestamp", *SCORED.values()])
    rest = np.setdiff1d(np.arange(old), learnt)
    return Study(made.take(rest), made.slice(old), {**SCORED, "time": "timestamp"}, {"rows": 60}, 24)


SCORED = {**ROLES, "score": "score"}


def answered(rows: pa.Table, inputs: Iterable[str], truth: NDArray[Any], learnt: IntArray) -> pa.Table:
    """The rows with answers of a logistic regression that has learnt some of them; what is missing is the mean."""
    x = np.stack([rows[name].to_numpy(zero_copy_only=False).astype(np.float64) for name in inputs], axis=1)
    mean, spread = np.nanmean(x[learnt], axis=0), np.nanstd(x[learnt], axis=0)
    scaled = np.nan_to_num((x - mean) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    y = np.asarray(truth, np.float64)
    model = newton(scaled[learnt], y[learnt], np.ones(len(learnt)))
    score = 1 / (1 + np.exp(-np.clip(scaled @ model.weight + model.intercept, -30, 30)))
    made = rows.append_column("score", pa.array(score)).append_column("said", pa.array((score > 0.5).astype(np.int64)))
    return made.append_column("truth", pa.array(y.astype(np.int64)))


def _cut(score: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.greater_equal(score, 0.5), pa.int64())


STUDIES: dict[str, Callable[[], Study]] = {
    "ma_employment": employment,
    "california_housing": houses,
    "bike_sharing": bikes,
    "nyc_green_taxi_2020": taxis,
    "forecasts_538, MLB": partial(games, "mlb_games.parquet", 2019),
    "forecasts_538, NFL": partial(games, "nfl_games.parquet", 2020),
    "sea_concepts": sea,
    "interchanging_rbf": swapping,
    **{f"heart_sites, {site}": partial(hospitals, site) for site in ("hungarian", "switzerland", "va")},
    **{
        f"occupancy, {file}, {how} light": partial(room, f"{file}.parquet", light=how == "with")
        for file in ("test1", "test2")
        for how in ("with", "without")
    },
}


def need(name: str) -> Told:
    """A study's replay, for a test: absent data skips it."""
    try:
        return told(STUDIES[name]())
    except data.AbsentError as absent:
        import pytest

        pytest.skip(str(absent))
