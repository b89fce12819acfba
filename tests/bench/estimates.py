"""Estimates of performance before labels come, beside what the labels said later: real drift, planted shifts, speed.

``python -m tests.bench estimates [part] [python]``: parts natural, planted, sets, speed (all without one; none: only
what follows); needs the data sets beside the repository (`tests.statistical.data`). ``python`` is an interpreter of an
environment of its own that has nannyml: its CBPE is then shown on the same chunks.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import numpy as np

from detectors.performance import estimate as estimates
from detectors.performance import pape
from detectors.performance.past import past
from tests.bench.common import cpu, table
from tests.statistical import data
from tests.statistical.outcomes import (
    Errors,
    Rows,
    accuracy,
    ages,
    auroc,
    bikes,
    brier,
    chunks,
    employment,
    flipped,
    houses,
    judged,
    label_shifted,
    mae,
    missed,
    months,
    seasons,
    taxis,
    tilted,
)

ESTIMATORS = ("cbpe", "pape", "mlls", "bbse", "doc", "atc")
SEED = 20260101


def _line(name: str, errors: Errors, which: int) -> list[object]:
    known = [f"{mae(errors, one, which):.2f}" if one in errors.by else "-" for one in ESTIMATORS]
    return [
        name,
        *(f"{mae(errors, one, which):.2f}" for one in ("floor", "constant")),
        *("-" if one == "nan" else one for one in known),
        f"**{mae(errors, 'default', which):.2f}**",
    ]


HEADINGS = ("windows", "floor", "constant", *(one.upper() for one in ESTIMATORS), "default")


def natural() -> None:
    """Chunks of 2,000 and 5,000 rows in time order."""
    one = employment()
    fixed = estimates.fit(one.reference.outcomes, np.random.default_rng(SEED), one.reference.rows, one.unit)
    constant = accuracy(one.reference.outcomes), auroc(one.reference.outcomes)
    lines, about = [], []
    for size in (2_000, 5_000):
        errors = missed(fixed, chunks(one.later, size), constant)
        for which, metric in enumerate(("accuracy", "AUROC")):
            lines.append(_line(f"{len(errors.chosen)} of {size:,}: {metric}", errors, which))
        spread = float(np.std(errors.z))
        verdicts = ", ".join(f"{errors.verdicts.count(v)} {v}" for v in ("none", "label", "covariate"))
        about.append([size, verdicts, f"{spread:.2f}", sum(map(bool, errors.doubts))])
    table("Census, time order: mean absolute error, percentage points", HEADINGS, lines)
    table("The same windows", ("rows", "verdicts", "sd of (estimate - truth) / its error", "with doubts"), about)


def planted() -> None:
    """Shifts of one kind, windows of 2,000 rows."""
    one, rng = employment(), np.random.default_rng(SEED)
    fixed = estimates.fit(one.reference.outcomes, rng, one.reference.rows, one.unit)
    constant = accuracy(one.reference.outcomes), auroc(one.reference.outcomes)
    age = ages()
    working = np.where((age >= 25) & (age < 60), 4.0, 1.0)
    flat = np.ones(one.later.number)
    kinds: dict[str, Iterator[Rows]] = {
        "no shift (25)": tilted(one.reference, np.ones(one.reference.number), 2_000, 25, rng),
        "later, shuffled (25)": tilted(one.later, flat, 2_000, 25, rng),
        "younger, exp(-.08 age) (13)": tilted(one.later, np.exp(-0.08 * (age - 45)), 2_000, 13, rng),
        "older, exp(.08 age) (12)": tilted(one.later, np.exp(0.08 * (age - 45)), 2_000, 12, rng),
        "working age x 4 (25)": tilted(one.later, working, 2_000, 25, rng),
        "positives x U(.2, 4) (60)": label_shifted(one.later, 2_000, 60, rng),
        "30 % flips over 50 (15)": flipped(one.later, age > 50, 0.3, 2_000, 15, rng),
    }
    lines, about = [], []
    for name, windows in kinds.items():
        errors = missed(fixed, windows, constant)
        lines.append(_line(name, errors, 0))
        off = np.array([pair[0] for pair in errors.by["default"]]) / 100
        z, zero = np.array(errors.z), np.zeros(len(off))
        width = np.abs(off / z)
        later = past(off, zero, width, zero)
        verdicts = ", ".join(f"{errors.verdicts.count(v)} {v}" for v in ("none", "label", "covariate"))
        about.append(
            [name, verdicts, sum(map(bool, errors.doubts)), f"{later.within:.2f}", f"{later.log_p / np.log(10):.1f}"]
        )
    table("Planted shifts: mean absolute error of accuracy, percentage points", HEADINGS, lines)
    headings = ("windows", "verdicts", "with doubts", "truth within the interval", "log10 p once labels are there")
    table("The same windows", headings, about)


def california() -> None:
    """A month at a time: geography moves, and calibration breaks with it."""
    one = houses()
    fixed = estimates.fit(one.reference.outcomes, np.random.default_rng(SEED), one.reference.rows, one.unit)
    lines = []
    for month, window in months(one.later):
        made = judged(fixed, window)
        values = [made.figures[name] for name in ("accuracy", "auroc")]
        real = accuracy(window.outcomes), auroc(window.outcomes)
        said = [f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}] / {r:.3f}" for f, r in zip(values, real, strict=True)]
        about = made.reliability
        lines.append([month, window.number, made.chosen, *said, f"{about.outside:.2f}", ", ".join(about.doubts)])
    table(
        "California housing: estimate / truth",
        ("month", "rows", "by", "accuracy at 0.5", "AUROC", "outside", "doubts"),
        lines,
    )


def forecasts() -> None:
    """A season at a time, calibrated on the seasons before 2019 (MLB) and 2020 (NFL)."""
    lines = []
    for league, file, since in (("MLB", "mlb_games.parquet", 2019), ("NFL", "nfl_games.parquet", 2020)):
        games, season = seasons(file)
        fixed = estimates.fit(games.take(np.flatnonzero(season < since)).outcomes, np.random.default_rng(SEED))
        for year in np.unique(season[season >= since]).tolist():
            window = games.take(np.flatnonzero(season == year))
            made = judged(fixed, window)
            cells = []
            for name, real in (("accuracy", accuracy(window.outcomes)), ("brier", brier(window.outcomes))):
                f = made.figures[name]
                cells.append(f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}] / {real:.3f}")
            lines.append([f"{league} {year}", window.number, made.chosen, *cells, made.reliability.verdict])
    table("Forecasts: estimate / truth", ("season", "games", "by", "accuracy", "Brier", "verdict"), lines)


def regressions() -> None:
    """Errors of two regressions that move while inputs are quiet."""
    lines = []
    for name, made in (("bikes", bikes()), ("taxis", taxis())):
        one, number, parts = made
        fixed = estimates.fit(one.reference.outcomes, np.random.default_rng(SEED), one.reference.rows, one.unit)
        for part in np.unique(number).tolist():
            window = one.later.take(np.flatnonzero(number == part))
            said = judged(fixed, window)
            off = window.outcomes.prediction - window.outcomes.truth
            f, bias = said.figures["mae"], said.figures["bias"]
            lines.append(
                [
                    f"{name} {parts[part]}",
                    window.number,
                    f"{said.reference['mae']:.2f}",
                    f"{f.value:.2f} [{f.low:.2f}, {f.high:.2f}] / {np.abs(off).mean():.2f}",
                    f"{bias.value:.2f} / {off.mean():.2f}",
                    f"{said.reliability.outside:.2f}",
                    ", ".join(said.reliability.doubts),
                ]
            )
    headings = ("window", "rows", "reference's MAE", "MAE: estimate / truth", "bias", "outside", "doubts")
    table("Regressions: DLE", headings, lines)


def sets() -> None:
    """Real sets where estimates hold, where they do not, and where they cannot."""
    california()
    forecasts()
    regressions()


def speed() -> None:
    """CPU seconds for 1,000,000 rows."""
    one, rng = employment(), np.random.default_rng(SEED)
    fixed = estimates.fit(one.reference.outcomes, rng, one.reference.rows, one.unit)
    million = one.later.take(rng.integers(0, one.later.number, 1_000_000))
    counted = estimates.count(fixed, million.outcomes)
    some = one.later.take(rng.integers(0, one.later.number, pape.MOST_ROWS))
    now = estimates.inputs(fixed, some.outcomes, some.rows)
    lines = [
        ["count 1,000,000 scores", f"{cpu(lambda: estimates.count(fixed, million.outcomes), 3):.3f}"],
        ["CBPE, MLLS, BBSE, DoC, ATC from the counts", f"{cpu(lambda: estimates.estimate(fixed, counted), 3):.3f}"],
        ["bin 16,384 rows of inputs", f"{cpu(lambda: estimates.inputs(fixed, some.outcomes, some.rows), 3):.3f}"],
        ["the same with PAPE, 16,384 rows a side", f"{cpu(lambda: estimates.estimate(fixed, counted, now), 3):.3f}"],
    ]
    bike = bikes()[0]
    forest = estimates.fit(bike.reference.outcomes, rng, bike.reference.rows, bike.unit)
    trips = bike.later.take(rng.integers(0, bike.later.number, 1_000_000))
    lines.append(
        [
            "DLE, 1,000,000 rows of 12 inputs",
            f"{cpu(lambda: estimates.count(forest, trips.outcomes, trips.rows), 1):.3f}",
        ]
    )
    table("CPU seconds", ("what", "seconds"), lines)


_PEER = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import nannyml, pandas
from sklearn.metrics import roc_auc_score
folder, out = sys.argv[1], {}
read = lambda name: pandas.read_parquet(f"{folder}/{name}.parquet")
reference, later, labels = read("reference"), read("analysis"), read("analysis_labels")
for size in (2000, 5000):
    made = nannyml.CBPE(problem_type="classification_binary", y_pred_proba="predicted_probability", y_pred="prediction",
        y_true="employed", metrics=["roc_auc", "accuracy"], chunk_size=size).fit(reference)
    said = made.estimate(later).filter(period="analysis").to_df()
    both, off = later.merge(labels, on="id"), []
    for i in range(len(both) // size):
        rows = both.iloc[i * size : (i + 1) * size]
        real = (rows.prediction == rows.employed).mean(), roc_auc_score(rows.employed, rows.predicted_probability)
        off.append([abs(said[(name, "value")].iloc[i] - one) for name, one in zip(("accuracy", "roc_auc"), real)])
    out[size] = [100 * sum(column) / len(column) for column in zip(*off)]
print(json.dumps(out))
"""


def peer(python: str) -> None:
    """NannyML's CBPE on the same chunks, by an interpreter that has it; it is told to call nobody."""
    environment = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1"}
    command = [python, "-c", _PEER, str(data.ROOT / "ma_employment")]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found = json.loads(answer.strip().splitlines()[-1])
    lines = [[size, f"{pair[0]:.3f}", f"{pair[1]:.3f}"] for size, pair in found.items()]
    table("NannyML's CBPE on the same chunks", ("rows", "accuracy", "AUROC"), lines)


def run(part: str = "", python: str = "") -> None:
    """Print the tables."""
    parts = {"natural": natural, "planted": planted, "sets": sets, "speed": speed}
    for name, one in parts.items():
        if part in {"", name}:
            one()
    if python:
        peer(python)
