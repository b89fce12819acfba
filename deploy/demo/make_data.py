"""Make the demo's files from NannyML's data set: the model, and the logs of reference and production that it scored.

    python deploy/demo/make_data.py --reference employment_MA_reference.pq --analysis employment_MA_analysis.pq \
        --labels employment_MA_analysis_gt.pq

The files are `nannyml/datasets/data/employment_MA_*.pq` of NannyML/nannyml at commit 4c86ee350d, or any copy of them
with the same values. Features, labels, row order, years and ids are kept as they are; NannyML's own predictions are
not: prediction and score come from the logistic regression that is fitted here, to the reference's label. The moment in
the year is made up (people are spread evenly over the year of the survey), because the data has only the year.
"""
# ruff: noqa: INP001 - a script beside its data, not a package

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from monitor.demo.classifier import Classifier

HERE = Path(__file__).parent
LABEL = "employed"
VERSION = "v1"
LATE_MILLISECONDS = 28 * 86_400_000
"""The source says nothing about when a person's answer was known."""
NUMERIC = {"AGEP": (0, 14, 15, 16, 17, 18, 20, 22, 25, 30, 40, 50, 55, 60, 62, 65, 67, 70, 75, 80, 97)}
"""Numeric features and the knots of their lines: close together where work begins and ends."""
CATEGORICAL = (
    "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P",
)  # fmt: skip
RIDGE = 1.0
STEPS = 50
ACCURATE = 1e-9
DIGITS = 6
"""Decimals of the stored weights."""

Floats = NDArray[np.float64]


@click.command()
@click.option("--reference", required=True, type=click.Path(exists=True, path_type=Path), help="2015, with labels.")
@click.option("--analysis", required=True, type=click.Path(exists=True, path_type=Path), help="2016 to 2018.")
@click.option("--labels", required=True, type=click.Path(exists=True, path_type=Path), help="Of 2016 to 2018.")
@click.option("--out", default=HERE, type=click.Path(file_okay=False, path_type=Path), help="Folder to write to.")
def main(reference: Path, analysis: Path, labels: Path, out: Path) -> None:
    """Write model.json, reference.parquet, production.parquet and labels.parquet."""
    first = pq.read_table(reference)
    model = fit(first)
    (out / "model.json").write_text(json.dumps(model.document(), indent=1) + "\n", encoding="utf-8")
    write(log(first, model, label=True), out / "reference.parquet")
    later = log(pq.read_table(analysis), model, label=False)
    write(later, out / "production.parquet")
    write(truths(later, pq.read_table(labels)), out / "labels.parquet")
    truth = np.asarray(first[LABEL])
    score = model.score(first)
    sizes = ", ".join(f"{file.name} {file.stat().st_size:,} bytes" for file in sorted(out.glob("*.parquet")))
    click.echo(f"area under the ROC curve on the reference: {area(score, truth):.4f}; {sizes}")


def fit(table: pa.Table) -> Classifier:
    """Ridge logistic regression by Newton's method; weights in the form that the server reads."""
    columns: list[Floats] = [np.ones(table.num_rows)]
    names: list[tuple[str, str]] = [("", "")]
    for name, knots in NUMERIC.items():
        values = np.asarray(table[name], dtype=float)
        for place, knot in enumerate(knots):
            names.append((name, str(knot)))
            columns.append(np.interp(values, knots, np.eye(len(knots))[place]))
    for name in CATEGORICAL:
        values = np.array(table[name].to_pylist())
        for level in sorted(set(values), key=int):
            names.append((name, str(level)))
            columns.append((values == level).astype(float))
    weights = newton(np.column_stack(columns), np.asarray(table[LABEL], dtype=float))
    made: dict[str, dict[str, float]] = {}
    for (name, level), weight in zip(names, weights, strict=True):
        made.setdefault(name, {})[level] = round(float(weight), DIGITS)
    return Classifier(VERSION, made[""][""], {c: made[c] for c in CATEGORICAL}, {c: made[c] for c in NUMERIC})


def newton(x: Floats, y: Floats) -> Floats:
    """Weights that maximise the likelihood less RIDGE / 2 times their squares (the first, the bias, is free)."""
    penalty = np.full(x.shape[1], RIDGE)
    penalty[0] = 0.0
    weights = np.zeros(x.shape[1])
    for _ in range(STEPS):
        p = 1.0 / (1.0 + np.exp(-(x @ weights)))
        slope = x.T @ (y - p) - penalty * weights
        bend = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(bend, slope)
        weights = weights + step
        if np.abs(step).max() < ACCURATE:
            return weights
    message = f"no convergence in {STEPS} steps"
    raise RuntimeError(message)


def log(table: pa.Table, model: Classifier, *, label: bool) -> pa.Table:
    """The rows as a model server logs them, in tight types."""
    prediction, score = model.answer(table)
    columns: dict[str, pa.Array] = {
        "id": table["id"].cast(pa.int32()),
        "time": pa.array(moments(np.asarray(table["year"])), pa.timestamp("ms", tz="UTC")),
        "year": table["year"].cast(pa.int16()),
        **{name: table[name].cast(pa.int8()) for name in NUMERIC},
        **{name: codes(table[name]) for name in CATEGORICAL},
        "prediction": pa.array(prediction),
        "score": pa.array(score),
    }
    if label:
        columns[LABEL] = table[LABEL].cast(pa.int8())
    return pa.table(columns)


def truths(log: pa.Table, labels: pa.Table) -> pa.Table:
    """The truth about the rows of a log, and when it was known: after four weeks."""
    known = np.asarray(log["time"].cast(pa.int64())) + LATE_MILLISECONDS
    order = pc.index_in(log["id"], labels["id"].cast(log["id"].type))
    return pa.table(
        {
            "id": log["id"],
            "time": pa.array(known, log["time"].type),
            LABEL: labels[LABEL].take(order).cast(pa.int8()),
        }
    )


def moments(years: NDArray[np.int64]) -> NDArray[np.int64]:
    """Event times in milliseconds: the rows of a year, which follow each other, spread evenly over it."""
    made = np.zeros(len(years), np.int64)
    for year in np.unique(years):
        rows = np.flatnonzero(years == year)
        start, end = (np.datetime64(f"{one}-01-01", "ms").astype(np.int64) for one in (year, year + 1))
        made[rows] = start + (end - start) * np.arange(len(rows)) // len(rows)
    return made


def codes(column: pa.ChunkedArray) -> pa.Array:
    """A categorical column as a dictionary with its levels in numeric order."""
    values = column.cast(pa.string()).combine_chunks()
    levels = sorted(set(values.to_pylist()), key=int)
    places: Mapping[str, int] = {level: place for place, level in enumerate(levels)}
    return pa.DictionaryArray.from_arrays(pa.array([places[v] for v in values.to_pylist()], pa.int8()), levels)


def write(table: pa.Table, path: Path) -> None:
    """Small rather than fast: written once, read once at the start of each demo."""
    plain = {"id": "DELTA_BINARY_PACKED", "time": "DELTA_BINARY_PACKED", "score": "BYTE_STREAM_SPLIT"}
    coded = [name for name in table.column_names if name not in plain]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=22,
        use_dictionary=coded,
        column_encoding=plain,
        row_group_size=1 << 20,
        write_statistics=False,
    )


def area(score: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
    """Area under the ROC curve, ties counted half."""
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    yes = truth == 1
    return float((ranks[yes].sum() - yes.sum() * (yes.sum() + 1) / 2) / (yes.sum() * (~yes).sum()))


if __name__ == "__main__":
    main()
