"""What `calibrate` predicts against what `replay` then measures, on fresh rows of three real data sets.

Half of a set is fitted; `calibrate` tells the delay of shifts from the artefact alone. Then the same shifts are
injected into stored rows of the other half, and `replay` reads them like any log. As a script it prints the table:
``python -m tests.statistical.calibration [SET...]``.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from detectors.types import NEW_CODE, Block
from monitor import artefact
from monitor.calibration.calibrate import calibrate
from monitor.calibration.result import Delay, Result
from monitor.calibration.shifts import Injector, Shift
from monitor.calibration.study import ROWS_UNIT, Plan
from monitor.config import Config, parse_config
from monitor.decode import Decoder
from monitor.fitted import Fitted
from monitor.loading import measure_batches
from monitor.replay import Line, replay
from monitor.windows import rows_of
from tests.statistical import data

PANE_ROWS = 200
WARM, HORIZON = 10, 100
FACTOR = 1.5
COLUMNS, STREAMS = 6, 21
_SHORT, _LONG = 2, 60
"""Delays that are compared: a delay of one pane is too easy, one near the horizon is cut off."""


@dataclass(frozen=True)
class Row:
    """A shift with both delays, in panes."""

    predicted: Delay
    measured: tuple[float, ...]

    @property
    def median(self) -> float:
        """Measured median."""
        return float(np.quantile(self.measured, 0.5, method="higher"))

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.median / self.predicted.median


def halves(rows: pa.Table, rng: np.random.Generator, run: int) -> tuple[pa.Table, pa.Table]:
    """Two halves of one law, of runs of ``run`` rows each, in the order of the table."""
    number = rows.num_rows // run
    side = rng.permutation(number) < number // 2
    index = np.arange(number * run).reshape(number, run)
    return rows.take(pa.array(index[side].ravel())), rows.take(pa.array(index[~side].ravel()))


def _adult(rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    return halves(data.shuffled(data.table("adult", "adult.parquet"), rng), rng, 1)


def _employment(rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    rows = data.table("ma_employment", "reference.parquet").drop_columns(["id", "year", "employed"])
    return halves(data.shuffled(rows, rng), rng, 1)


def _taxi(rng: np.random.Generator) -> tuple[pa.Table, pa.Table]:
    return halves(data.taxi("2020-03-01", "2020-03-14"), rng, 1_000)  # in order: rows depend on their neighbours


SETS: dict[str, Callable[[np.random.Generator], tuple[pa.Table, pa.Table]]] = {
    "adult": _adult,
    "ma_employment": _employment,
    "nyc_taxi_march": _taxi,
}


def settings(reference: Path) -> Config:
    """The issue's settings."""
    alarms = {"false_alarms": "1 per 10000 panes", "smallest_shift": 0.05}
    model = {"name": "m", "reference": str(reference), "pane": {"rows": PANE_ROWS}, "alarms": alarms}
    return parse_config({"models": [model]}, base=reference.parent)


def chosen(result: Result, columns: int) -> list[Delay]:
    """Of some columns spread over the set, and of the rows jointly, the smallest size of each kind that is found."""
    names = [one.name for one in result.columns]
    some = [names[i] for i in np.unique(np.linspace(0, len(names) - 1, columns).astype(int))]
    found = []
    for unit in (*some, ROWS_UNIT):
        for kind in dict.fromkeys(one.kind for one in result.delays if one.unit == unit and one.kind != "correlation"):
            sizes = [one for one in result.of(unit, kind) if one.detectable and _SHORT <= one.median <= _LONG]
            found += sizes[:1]
    return found


class Log:
    """Hold-out rows as stored logs with an injected shift."""

    def __init__(self, fitted: Fitted, fresh: pa.Table, *, ordered: bool) -> None:
        """``ordered`` rows keep their order, others are shuffled for each log."""
        self._fitted, self._fresh, self._ordered = fitted, data.batch_of(fresh), ordered
        grid = fitted.reference.grid
        self._decoder = Decoder(fitted.plan, grid, fitted.vocabularies)
        self._injector = Injector(grid, self._decoder.decode(fitted.sample).block)

    def write(self, shift: Delay, place: Path, rng: np.random.Generator) -> None:
        """One log: `WARM` panes as they are, then the shift."""
        n = self._fresh.num_rows
        start = int(rng.integers(n))
        order = (start + np.arange(n)) % n if self._ordered else rng.permutation(n)
        rows = self._fresh.take(pa.array(order[: (WARM + HORIZON) * PANE_ROWS]))
        pq.write_table(pa.Table.from_batches([self._shifted(rows, shift, rng)]), place)

    def _shifted(self, rows: pa.RecordBatch, shift: Delay, rng: np.random.Generator) -> pa.RecordBatch:
        block = self._decoder.decode(rows).block
        block = dataclasses.replace(block, time=np.arange(block.rows, dtype=np.float64))  # tells which rows were taken
        names, onset = self._fitted.reference.grid.names, WARM * PANE_ROWS
        units = None if shift.unit == ROWS_UNIT else [names.index(shift.unit)]
        before = rows_of(block, slice(onset, block.rows))
        after = self._injector.inject(before, Shift(((shift.kind, shift.size),)), rng, units)
        if units is None:
            assert after.time is not None
            return rows.take(pa.array(np.concatenate([np.arange(onset), after.time.astype(np.int64)])))
        place = rows.schema.get_field_index(shift.unit)
        return rows.set_column(place, shift.unit, self._column(rows, before, after, units[0]))

    def _column(self, rows: pa.RecordBatch, before: Block, after: Block, unit: int) -> pa.Array:
        """The injected column, in a plain type that can hold the values."""
        grid = self._fitted.reference.grid
        p, name = len(grid.numeric_names), grid.names[unit]
        if unit < p:
            quiet = rows.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)[: -after.rows]
            return pa.array(np.concatenate([quiet, after.numeric[:, unit]]), from_pandas=True)
        old, new = before.codes[:, unit - p], after.codes[:, unit - p]
        known = self._fitted.vocabularies[name].to_pylist()
        values = rows.column(name).to_pylist()
        unheard = "unheard of" if isinstance(known[0], str) else 10_000
        for i in np.flatnonzero(old != new):
            value = unheard if new[i] == NEW_CODE else None if new[i] < 0 else known[new[i]]
            values[len(values) - len(new) + i] = value
        return pa.array(values)


def study(name: str, streams: int, columns: int = COLUMNS) -> Iterator[Row]:
    """Predict from the artefact, then measure by `replay`."""
    rng = np.random.default_rng([len(name), *name.encode()])
    reference, fresh = SETS[name](rng)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        config = settings(place / "artefact")
        (model,) = config.models
        fitted = measure_batches([data.batch_of(reference)], model)
        artefact.write(fitted, place / "artefact")
        result = calibrate(model, fitted, plan=Plan(streams=20, horizon=HORIZON, seconds=float("inf")))
        log = Log(fitted, fresh, ordered=name == "nyc_taxi_march")
        for shift in chosen(result, columns):
            yield Row(shift, tuple(_delay(config, log, shift, place / "log.parquet", rng) for _ in range(streams)))


def _delay(config: Config, log: Log, shift: Delay, place: Path, rng: np.random.Generator) -> float:
    """Panes from the onset to the first alarm that names the column (to the first page, for the rows jointly)."""
    log.write(shift, place, rng)
    lines: list[Line] = []
    replay(config, [str(place)], emit=lines.append)
    for line in lines:
        if line["kind"] != "finding" or line["severity"] == "info" or line["pane"] <= WARM:
            continue
        joint = shift.unit == ROWS_UNIT and line["severity"] == "page"
        if joint or (line["detector"] != "window" and shift.unit in {unit["unit"] for unit in line["units"]}):
            return float(line["pane"] - WARM)
    return float("inf")


def line(name: str, row: Row) -> str:
    """One line of the table."""
    one = row.predicted
    found = int(np.isfinite(row.measured).sum())
    return (
        f"| {name} | {one.unit} | {one.kind} {one.size:g} | {one.median:.0f} ({one.ninety:.0f}) | "
        f"{row.median:.0f} ({np.quantile(row.measured, 0.9, method='higher'):.0f}) | {found} of {len(row.measured)} | "
        f"{row.ratio:.2f} |"
    )


def main() -> None:
    """Print the table, of all sets or those named."""
    say = sys.stdout.write
    say("| set | unit | shift | predicted: median (90 %) | measured by replay | found | measured / predicted |\n")
    say("|---|---|---|---|---|---|---|\n")
    for name in sys.argv[1:] or SETS:
        ratios = []
        for row in study(name, STREAMS):
            ratios.append(row.ratio)
            say(line(name, row) + "\n")
            sys.stdout.flush()
        good = sum(1 / FACTOR <= ratio <= FACTOR for ratio in ratios)
        say(f"{name}: {good} of {len(ratios)} within a factor {FACTOR}, median ratio {np.median(ratios):.2f}\n")


if __name__ == "__main__":
    main()
