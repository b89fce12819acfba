"""What weights and chosen labels are worth on real data: ``retraining [REPEATS]``.

Old rows and new ones of a data set; the rows of either side fall in halves at random. One half each teaches: the
weights are learnt on it, and a model (logistic regression on the encoder's columns and their squares). The other half
is only looked at: how far the old rows' means lie from the new ones', plain and weighted (the worst dimension, in
standard deviations), and how often the model is right about new rows when it was trained on old rows as they are, on
old rows with their weights, and on old rows with 200 new labels beside them, drawn at random or chosen. Means over the
repeats.

Sets: adult with rows kept by age and hours (a shift of the inputs alone); california, where geography moves (the
reference's months against those from July 2021 on); employment in Massachusetts, 2015 against 2018; the same adult rows
without a shift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import expit

from detectors import labelling, weights
from detectors.multivariate.classifier import Model, newton
from detectors.multivariate.encode import columns_encoder
from detectors.types import FloatArray, SingleArray
from monitor.config import Model as Settings
from monitor.decode import Decoder
from monitor.loading import measure_batches
from tests.bench.common import cpu, table
from tests.statistical import data

LABELS = 200
_RIDGE = 1.0


@dataclass(frozen=True)
class Side:
    """Encoded rows and their answers (0 or 1)."""

    x: SingleArray
    y: FloatArray

    def some(self, rows: NDArray[np.generic]) -> Side:
        return Side(self.x[rows], self.y[rows])


def run(repeats: str = "5") -> None:
    """Print the tables."""
    rows = []
    for name, made in _sets().items():
        try:
            old, new = made()
        except data.AbsentError as absent:
            print(f"{name}: skipped: {absent}")
            continue
        found = [_measured(old, new, np.random.default_rng(seed)) for seed in range(int(repeats))]
        mean = np.mean(found, axis=0)
        sizes = f"{len(old.y) // 2:,} / {len(new.y) // 2:,}"
        rows.append(
            (name, sizes, f"{mean[0]:.2f}", f"{mean[1]:.2f}", f"{mean[2]:,.0f}", *(f"{v:.4f}" for v in mean[3:]))
        )
    heads = ("set", "old / new rows", "apart", "weighted", "worth, rows")
    table(
        f"Right about new rows, {repeats} repeats",
        (*heads, "old model", "weighted", f"{LABELS} random labels", f"{LABELS} chosen labels"),
        rows,
    )
    rng = np.random.default_rng(0)
    x, z = (rng.standard_normal((20_000, 60)).astype(np.float32) + np.float32(shift) for shift in (0.0, 0.1))
    ratio = weights.fit(x, z, rng)
    costs = cpu(lambda: weights.fit(x, z, rng), 3), cpu(lambda: weights.log_ratio(ratio, x), 3)
    places, total = x[: labelling.MOST_CANDIDATES], rng.random(labelling.MOST_CANDIDATES)
    taken = cpu(lambda: labelling.taken(total, places, 500, 5.0), 3)
    told = [(f"{costs[0]:.2f}", f"{costs[1] / 20e3 * 1e6:.1f} s", f"{taken:.2f}")]
    table("CPU seconds, 60 dimensions", ("learning weights", "weighing a million rows", "taking 500 of 5,000"), told)


def _sets() -> dict[str, Callable[[], tuple[Side, Side]]]:
    return {
        "adult, kept by age and hours": lambda: _adult(tilt=1.0),
        "adult, no shift": lambda: _adult(tilt=0.0),
        "california, geography": _california,
        "employment, 2015 to 2018": _employment,
    }


def _measured(old: Side, new: Side, rng: np.random.Generator) -> list[float]:
    """Distances, worth in rows, and the share of new rows that each model is right about."""
    (old_seen, old_kept), (new_seen, new_kept) = (_halves(side, rng) for side in (old, new))
    ratio = weights.fit(old_seen.x, new_seen.x, rng)
    held = weights.clipped(ratio, weights.log_ratio(ratio, old_kept.x))
    apart = weights.balance(old_kept.x, new_kept.x, held)
    weight = weights.clipped(ratio, weights.log_ratio(ratio, old_seen.x))
    before = _trained(old_seen, np.ones(len(old_seen.y)))
    picks = rng.choice(len(new_seen.y), LABELS, replace=False), _chosen(before, old_seen, new_seen, ratio, rng)
    models = [before, _trained(old_seen, weight)]
    for pick in picks:
        both = Side(np.concatenate([old_seen.x, new_seen.x[pick]]), np.concatenate([old_seen.y, new_seen.y[pick]]))
        models.append(_trained(both, np.ones(len(both.y))))
    right = [float(((_chance(model, new_kept.x) > 0.5) == new_kept.y).mean()) for model in models]
    worst = [float(np.abs(one).max()) for one in apart]
    return [*worst, weights.effective(weight), *right]


def _chosen(model: Model, old: Side, new: Side, ratio: weights.Ratio, rng: np.random.Generator) -> NDArray[np.int64]:
    doubt = [np.minimum(p, 1 - p) for p in (_chance(model, new.x), _chance(model, old.x))]
    worth = labelling.worth((doubt[0], doubt[1]), (weights.log_ratio(ratio, new.x), weights.log_ratio(ratio, old.x)))
    return labelling.taken(worth.total, new.x, LABELS, labelling.near(old.x, rng)).rows


def _trained(side: Side, weight: FloatArray) -> Model:
    return newton(_wide(side.x), side.y, weight, _RIDGE)


def _chance(model: Model, x: SingleArray) -> FloatArray:
    found: FloatArray = expit(_wide(x) @ model.weight + model.intercept)
    return found


def _wide(x: SingleArray) -> SingleArray:
    wide: SingleArray = np.hstack([x, np.square(x)]).astype(np.float32) / np.float32(np.sqrt(x.shape[1]))
    return wide


def _halves(side: Side, rng: np.random.Generator) -> Iterator[Side]:
    order = rng.permutation(len(side.y))
    yield side.some(order[: len(order) // 2])
    yield side.some(order[len(order) // 2 :])


def _encoded(old: pa.Table, new: pa.Table, target: str) -> tuple[Side, Side]:
    """Both sides by the encoder of the old one's columns; the target is no column."""
    settings = Settings.model_validate({"name": "m", "reference": "unused", "columns": {"label": target}})
    batches = [one.combine_chunks().to_batches()[0] for one in (old, new)]
    fitted = measure_batches(batches[:1], settings)
    grid = fitted.reference.grid
    decoder = Decoder(fitted.plan, grid, fitted.vocabularies)
    encoder = columns_encoder(grid, fitted.reference.summary, decoder.decode(fitted.sample).block)
    sides = []
    for batch in batches:
        label = batch.column(batch.schema.get_field_index(target)).to_numpy(zero_copy_only=False)
        sides.append(Side(encoder.encode(decoder.decode(batch).block), label.astype(float)))
    return sides[0], sides[1]


def _adult(tilt: float) -> tuple[Side, Side]:
    """Every second row is old; of the others those are kept that an older, longer working law would show."""
    rows = data.table("adult", "adult.parquet")
    target = rows.column_names[-1]
    told = pc.cast(pc.match_substring(pc.cast(rows[target], pa.string()), ">"), pa.int8())
    rows = rows.drop_columns([target]).append_column("target", told)
    z = [_standard(rows[name].to_numpy()) for name in ("age", "hours-per-week")]
    rng = np.random.default_rng(0)
    kept = rng.random(rows.num_rows) < expit(2 * (z[0] + z[1]) - 1.5) if tilt else rng.random(rows.num_rows) < 0.4
    even = np.arange(rows.num_rows) % 2 == 0
    return _encoded(rows.filter(pa.array(even)), rows.filter(pa.array(~even & kept)), "target")


def _standard(values: NDArray[np.generic]) -> FloatArray:
    numbers = values.astype(float)
    standard: FloatArray = (numbers - numbers.mean()) / numbers.std()
    return standard


def _california() -> tuple[Side, Side]:
    old, new = (data.table("california_housing", f"{name}.parquet") for name in ("reference", "analysis"))
    labels = data.table("california_housing", "analysis_labels.parquet")
    key = next(name for name in labels.column_names if name in new.column_names)
    new = new.join(labels, key).sort_by("timestamp")
    new = new.filter(pc.greater_equal(pc.cast(new["timestamp"], pa.string()), "2021-07"))
    inputs = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]
    target = next(name for name in old.column_names if name in ("clf_target", "y_true", "target"))
    return _encoded(old.select([*inputs, target]), new.select([*inputs, target]), target)


def _employment() -> tuple[Side, Side]:
    old, new = (data.table("ma_employment", f"{name}.parquet") for name in ("reference", "analysis"))
    labels = data.table("ma_employment", "analysis_labels.parquet")
    key = next(name for name in labels.column_names if name in new.column_names)
    target = next(name for name in labels.column_names if name != key)
    new = new.join(labels, key)
    new = new.slice(new.num_rows - 40_000)
    inputs = [name for name in new.column_names if name in old.column_names and name.isupper() and name != "YEAR"]
    return _encoded(old.slice(0, 40_000).select([*inputs, target]), new.select([*inputs, target]), target)
