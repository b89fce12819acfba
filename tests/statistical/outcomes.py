"""Windows of the real data sets with outcomes: natural and with planted shifts, and what estimates missed in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from detectors.multivariate.classifier import mid_ranks
from detectors.multivariate.encode import ColumnsEncoder, columns_encoder
from detectors.performance import estimate as estimates
from detectors.performance import pape
from detectors.performance.answer import Estimate
from detectors.performance.types import Outcomes
from detectors.types import IntArray, SingleArray
from monitor.decode import Decoder
from monitor.reference import fit
from monitor.schema import Roles
from tests.statistical import data

ANSWERS = ("predicted_probability", "prediction", "employed", "id", "year")


class Rows(NamedTuple):
    """Outcomes with the inputs that they are about, encoded as the agent does."""

    outcomes: Outcomes
    rows: SingleArray

    def take(self, which: IntArray | slice) -> Rows:
        """Some rows."""
        o = self.outcomes
        score = None if o.score is None else o.score[which]
        return Rows(
            o._replace(prediction=o.prediction[which], score=score, truth=o.truth[which]),
            self.rows[which],
        )

    @property
    def number(self) -> int:
        """How many."""
        return len(self.outcomes.prediction)


class Set(NamedTuple):
    """Reference and later rows, and the column of each encoded dimension."""

    reference: Rows
    later: Rows
    unit: IntArray


def employment() -> Set:
    """The census model of Massachusetts; three years without labels, which came later."""
    reference = data.table("ma_employment", "reference.parquet")
    labels = data.table("ma_employment", "analysis_labels.parquet")
    later = data.table("ma_employment", "analysis.parquet").append_column("employed", labels["employed"])
    return encoded(reference, later, binary("prediction", "predicted_probability", "employed"), ANSWERS)


def ages() -> NDArray[np.float64]:
    """Of the census's later rows."""
    years: NDArray[np.float64] = data.table("ma_employment", "analysis.parquet")["AGEP"].to_numpy().astype(np.float64)
    return years


def encoded(
    reference: pa.Table, later: pa.Table, outcomes: Callable[[pa.Table], Outcomes], answers: tuple[str, ...]
) -> Set:
    """Both tables with inputs encoded by what the reference's columns, without ``answers``, look like."""
    names = [name for name in reference.column_names if name in later.column_names and name not in answers]
    inputs = reference.select(names)
    fitted = fit(lambda: iter([data.batch_of(inputs)]), Roles())
    grid = fitted.reference.grid
    reader = Decoder(fitted.plan, grid, fitted.vocabularies)
    encoder: ColumnsEncoder = columns_encoder(
        grid, fitted.reference.summary, reader.decode(data.batch_of(inputs.slice(0, 20_000))).block
    )
    both = [
        Rows(outcomes(one), encoder.encode(reader.decode(data.batch_of(one.select(names))).block))
        for one in (reference, later)
    ]
    return Set(both[0], both[1], encoder.unit)


def binary(prediction: str, score: str, truth: str) -> Callable[[pa.Table], Outcomes]:
    """Outcomes of two classes from columns of those names."""

    def made(rows: pa.Table) -> Outcomes:
        return Outcomes(
            "binary",
            rows[prediction].to_numpy().astype(np.int64),
            rows[score].to_numpy().astype(np.float64),
            None,
            rows[truth].to_numpy().astype(np.int64),
        )

    return made


def houses() -> Set:
    """California's housing, answers at 0.5; the later months are further south."""
    reference = data.table("california_housing", "reference.parquet")
    labels = data.table("california_housing", "analysis_labels.parquet")
    later = data.table("california_housing", "analysis.parquet").append_column("clf_target", labels["clf_target"])

    def made(rows: pa.Table) -> Outcomes:
        score = rows["y_pred_proba"].to_numpy().astype(np.float64)
        truth = rows["clf_target"].to_numpy().astype(np.int64)
        return Outcomes("binary", (score >= 0.5).astype(np.int64), score, None, truth)

    return encoded(reference, later, made, ("id", "timestamp", "clf_target", "y_pred_proba", "y_pred"))


def months(rows: Rows) -> Iterator[tuple[str, Rows]]:
    """The later rows of `houses`, an hour each, month by month."""
    time = data.table("california_housing", "analysis.parquet")["timestamp"].to_numpy().astype("datetime64[M]")
    for month in np.unique(time):
        yield str(month), rows.take(np.flatnonzero(time == month))


def seasons(file: str) -> tuple[Rows, IntArray]:
    """Forecasts of games that somebody won, and the season of each."""
    games = data.table("forecasts_538", file)
    score, won = (games[name].to_numpy().astype(np.float64) for name in ("prob1", "prob1_outcome"))
    known = np.flatnonzero(np.isin(won, (0.0, 1.0)) & np.isfinite(score))
    outcomes = Outcomes("binary", (score >= 0.5).astype(np.int64), score, None, won.astype(np.int64))
    return Rows(outcomes, np.zeros((len(won), 0), np.float32)).take(known), games["season"].to_numpy()[known]


def brier(outcomes: Outcomes) -> float:
    """As the labels say."""
    assert outcomes.score is not None
    return float(np.square(outcomes.score - outcomes.truth).mean())


def regression(prediction: str, truth: str) -> Callable[[pa.Table], Outcomes]:
    """Outcomes of a regression from columns of those names."""

    def made(rows: pa.Table) -> Outcomes:
        said, real = (rows[name].to_numpy().astype(np.float64) for name in (prediction, truth))
        return Outcomes("regression", said, None, None, real)

    return made


def bikes() -> tuple[Set, IntArray, tuple[str, ...]]:
    """Hourly counts of bicycles: reference 2011, later 2012; the quarter of each later row."""
    said = data.table("bike_sharing", "count_predictions.parquet")
    hours = data.table("bike_sharing", "hour.parquet")
    rows = hours.append_column("pred_cnt", said["pred_cnt"]).append_column("role", said["role"])
    reference, later = (rows.filter(pc.equal(rows["role"], one)) for one in ("reference", "analysis"))
    answers = ("timestamp", "instant", "yr", "casual", "registered", "cnt", "pred_cnt", "role")
    quarter = (later["mnth"].to_numpy().astype(np.int64) - 1) // 3
    return encoded(reference, later, regression("pred_cnt", "cnt"), answers), quarter, ("Q1", "Q2", "Q3", "Q4")


def taxis() -> tuple[Set, IntArray, tuple[str, ...]]:
    """Minutes of trips: reference the first two weeks of March 2020; the month of each later row, from 14 March."""
    rows = trips().drop_columns(["pickup"])
    reference, later = (rows.filter(pc.equal(rows["role"], one)) for one in ("reference", "analysis"))
    made = encoded(reference, later, regression("said", "minutes"), ("minutes", "role", "month", "said"))
    month = later["month"].to_numpy().astype(np.int64) - 3
    return made, month, ("14-31 March", "April", "May", "June", "July")


def trips() -> pa.Table:
    """All trips whose minutes were predicted, with the inputs, the minutes that were said and those that it took."""
    said = data.table("nyc_green_taxi_2020", "duration_predictions_2020-03_07.parquet")
    inputs = ["PULocationID", "DOLocationID", "trip_distance"]
    stamps = ["lpep_pickup_datetime", "lpep_dropoff_datetime"]
    parts = []
    for month in range(3, 8):
        mine = said.filter(pc.equal(said["month"], month))
        some = data.table("nyc_green_taxi_2020", f"green_tripdata_2020-{month:02d}.parquet")
        some = some.select(inputs + stamps).take(mine["row"])
        taken = [some[name].to_numpy().astype("datetime64[s]") for name in stamps]
        hour = (taken[0].astype(np.int64) // 3600) % 24
        minutes = (taken[1] - taken[0]).astype(np.float64) / 60
        some = some.select(inputs).append_column("hour", pa.array(hour.astype(np.float64)))
        some = some.append_column("minutes", pa.array(minutes)).append_column("role", mine["role"])
        some = some.append_column("month", mine["month"]).append_column("said", mine["pred_duration_min"])
        parts.append(some.append_column("pickup", pa.array(taken[0])))
    return pa.concat_tables(parts, promote_options="permissive")


def accuracy(outcomes: Outcomes) -> float:
    """As the labels say."""
    return float((outcomes.prediction == outcomes.truth).mean())


def auroc(outcomes: Outcomes) -> float:
    """As the labels say."""
    assert outcomes.score is not None
    up = outcomes.truth == 1
    real, n = int(up.sum()), len(up)
    return float((mid_ranks(outcomes.score)[up].sum() - real * (real + 1) / 2) / (real * (n - real)))


def judged(fixed: estimates.Fixed, window: Rows) -> Estimate:
    """Estimate one window with all that there is."""
    now = estimates.inputs(fixed, window.outcomes, window.rows)[: pape.MOST_ROWS]
    return estimates.estimate(fixed, estimates.count(fixed, window.outcomes, window.rows), now)


class Errors(NamedTuple):
    """What estimates missed in each window, in percentage points: by estimator, of accuracy and of AUROC."""

    by: dict[str, list[tuple[float, float]]]
    chosen: list[str]
    verdicts: list[str]
    z: list[float]
    doubts: list[int]


def missed(fixed: estimates.Fixed, windows: Iterator[Rows], constant: tuple[float, float]) -> Errors:
    """Lay the estimates of windows beside their labels."""
    out = Errors({}, [], [], [], [])
    for window in windows:
        made = judged(fixed, window)
        real = accuracy(window.outcomes), auroc(window.outcomes)
        beside = {**made.beside, "default": made.figures}
        for name, figures in beside.items():
            pair = [figures[one].value if one in figures else np.nan for one in ("accuracy", "auroc")]
            off = 100 * (pair[0] - real[0]), 100 * (pair[1] - real[1])
            out.by.setdefault(name, []).append(off)
        out.by.setdefault("constant", []).append((100 * (constant[0] - real[0]), 100 * (constant[1] - real[1])))
        out.by.setdefault("floor", []).append(
            (100 * made.floors["accuracy"] * np.sqrt(2 / np.pi), 100 * made.floors["auroc"] * np.sqrt(2 / np.pi))
        )
        figure = made.figures["accuracy"]
        out.chosen.append(made.chosen)
        out.verdicts.append(made.reliability.verdict)
        out.z.append((figure.value - real[0]) / float(np.hypot(figure.error, made.floors["accuracy"])))
        out.doubts.append(len(made.reliability.doubts))
    return out


def mae(errors: Errors, name: str, which: int) -> float:
    """Mean absolute error of an estimator's accuracy (0) or AUROC (1) in percentage points."""
    return float(np.abs([pair[which] for pair in errors.by[name]]).mean())


def chunks(rows: Rows, size: int) -> Iterator[Rows]:
    """Neighbouring rows, in time order."""
    for begin in range(0, rows.number - size + 1, size):
        yield rows.take(slice(begin, begin + size))


def tilted(rows: Rows, weight: NDArray[np.float64], size: int, number: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Rows drawn with chances in proportion to ``weight (n,)``."""
    for _ in range(number):
        yield rows.take(rng.choice(rows.number, size, p=weight / weight.sum()))


def label_shifted(rows: Rows, size: int, number: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Rows drawn with positives 0.2 to 4 times as frequent."""
    for _ in range(number):
        factor = rng.uniform(0.2, 4)
        yield from tilted(rows, np.where(rows.outcomes.truth == 1, factor, 1.0), size, 1, rng)


def flipped(
    rows: Rows, where: NDArray[np.bool_], share: float, size: int, number: int, rng: np.random.Generator
) -> Iterator[Rows]:
    """Rows drawn at random, some labels of those ``where`` turned round: another concept, the same inputs."""
    for _ in range(number):
        which = rng.choice(rows.number, size)
        mine = rows.take(which)
        turned = where[which] & (rng.random(size) < share)
        truth = np.where(turned, 1 - mine.outcomes.truth, mine.outcomes.truth)
        yield Rows(mine.outcomes._replace(truth=truth), mine.rows)
