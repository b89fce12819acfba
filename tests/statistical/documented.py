"""Documented drift: real data sets with a known change, replayed through the real engine with one set of settings.

Nothing is tuned to a data set: budget 1 per 10,000 panes and smallest shift 0.05 throughout; only the rows of a pane
follow from how many rows there are. As a script it prints the table: ``python -m tests.statistical.documented``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.config import Model
from monitor.report import Finding, Report
from tests.statistical import data
from tests.statistical.data import table, where


@dataclass(frozen=True)
class Case:
    """A reference, a stream, the row of the stream at which the documented change begins, and the columns it is in.

    ``early`` names columns whose changes before the onset are real too (season, geography) and so not false.
    """

    documented: str
    reference: pa.Table
    stream: pa.Table
    onset_row: int
    columns: tuple[str, ...]
    pane_rows: int = 200
    early: str = ""


@dataclass(frozen=True)
class Outcome:
    """What the engine said about a case; panes are counted from 1, the delay in panes after the onset's pane."""

    case: Case
    onset: int
    panes: int
    found: Finding | None
    named: tuple[str, ...]
    before: int
    triage: str

    @property
    def delay(self) -> int | None:
        """Panes from the one in which the change begins to the first finding that names a documented column."""
        return None if self.found is None else self.found.pane - self.onset


def judge(case: Case) -> Outcome:
    """Replay one case."""
    model = Model.model_validate(
        {
            "name": "documented",
            "reference": "unused.parquet",
            "pane": {"rows": case.pane_rows},
            "window": {"panes": 60},
            "alarms": {"false_alarms": "1 per 10000 panes", "smallest_shift": 0.05},
        }
    )
    streams = data.streams_of(model, case.reference)
    reports: list[Report] = []
    for batch in case.stream.select(case.reference.column_names).to_batches(max_chunksize=10_000):
        reports += streams.feed(batch, "", 0.0).reports
    reports += streams.flush()
    onset = case.onset_row // case.pane_rows + 1
    findings = [one for report in reports for one in report.findings if one.severity in ("page", "ticket")]
    after = [one for one in findings if one.pane >= onset]
    found = next((one for one in after if {unit.unit for unit in one.units} & set(case.columns)), None)
    named: dict[str, None] = {}
    for one in after:
        if found is not None and one.pane <= found.pane + 2:
            named |= dict.fromkeys(unit.unit for unit in one.units)
    before = sum(one.severity == "page" and one.pane < onset for one in findings)
    return Outcome(case, onset, len(reports), found, tuple(named), before, found.triage if found else "")


def _employment(documented: str, onset: int, columns: tuple[str, ...], early: str = "") -> Case:
    reference = table("ma_employment", "reference.parquet").drop_columns(["id", "year", "employed"])
    stream = table("ma_employment", "analysis.parquet").drop_columns(["id", "year"])
    return Case(documented, reference, stream, onset, columns, early=early)


def _dormitories() -> Case:
    early = "RELP 16/17 goes from 7 % to 0 % at row 70,000"
    return _employment("dormitory episode, chunks 26-28 of 5,000", 130_000, ("RELP", "AGEP", "SCHL"), early)


def _no_dormitories() -> Case:
    return _employment("RELP 16/17 goes from 7 % to 0 %, chunk 14 of 5,000", 70_000, ("RELP",))


def _no_vendor(first: str, last: str) -> pa.Table:
    rows = data.taxi(first, last)
    return rows.filter(pc.is_null(rows.column("VendorID")))


def _taxi_tip() -> Case:
    return Case(
        "tip_amount of no-vendor rows from 8 April 2020",
        _no_vendor("2020-03-22", "2020-04-06"),
        _no_vendor("2020-04-06", "2020-05-01"),
        _no_vendor("2020-04-06", "2020-04-08").num_rows,
        ("tip_amount",),
        pane_rows=100,
    )


def _taxi_fare() -> Case:
    return Case(
        "fare_amount of no-vendor rows from 15 June 2020",
        _no_vendor("2020-05-11", "2020-06-01"),
        _no_vendor("2020-06-01", "2020-07-01"),
        _no_vendor("2020-06-01", "2020-06-15").num_rows,
        ("fare_amount", "total_amount"),
    )


def _taxi_missing() -> Case:
    return Case(
        "no-vendor share 0.21 -> 0.3 in April, 0.55 from 11 May: seven columns null together",
        data.taxi("2020-03-01", "2020-03-14"),
        data.taxi("2020-04-01", "2020-06-01"),
        0,
        ("VendorID", "store_and_fwd_flag", "RatecodeID", "payment_type", "trip_type"),
    )


def _taxi_quiet() -> Case:
    return Case(
        "nothing: 8-13 March against 1-7 March",
        data.taxi("2020-03-01", "2020-03-08"),
        data.taxi("2020-03-08", "2020-03-14"),
        10**9,
        (),
    )


def _elec2() -> Case:
    rows = table("elec2", "elec2.parquet").drop_columns(["timestamp", "date_raw"])
    return Case(
        "three constant columns begin to vary at row 17,424",
        rows.slice(0, 12_000),
        rows.slice(12_000),
        17_424 - 12_000,
        ("vicprice", "vicdemand", "transfer"),
        early="season: reference is 8 months",
    )


def _california() -> Case:
    rows = table("california_housing", "analysis.parquet")
    reference = table("california_housing", "reference.parquet")
    features = ["MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude"]
    features += [name for name in ("y_pred_proba",) if name in rows.column_names]
    onset = np.flatnonzero(np.array([str(stamp)[:7] >= "2021-07" for stamp in _stamps(rows)]))[0]
    return Case(
        "geography moves from July 2021",
        reference.select(features),
        rows.select(features),
        int(onset),
        ("Latitude", "Longitude"),
        pane_rows=100,
        early="rows are in geographic order throughout",
    )


def _stamps(rows: pa.Table) -> list[object]:
    name = next(name for name in rows.column_names if "time" in name.lower())
    stamps: list[object] = rows.column(name).to_pylist()
    return stamps


def _occupancy() -> Case:
    columns = ["Temperature", "Humidity", "Light", "CO2", "HumidityRatio", "Occupancy"]
    return Case(
        "door open: CO2, humidity, temperature (whole file)",
        table("occupancy", "train.parquet").select(columns),
        table("occupancy", "test2.parquet").select(columns),
        0,
        ("CO2", "Humidity", "HumidityRatio", "Temperature"),
    )


def _wine() -> Case:
    rng = np.random.default_rng(1)
    red = data.shuffled(table("wine_quality", "red.parquet"), rng)
    white = data.shuffled(table("wine_quality", "white.parquet"), rng)
    return Case(
        "red, then white",
        red.slice(0, 1_000),
        pa.concat_tables([red.slice(1_000), white]),
        red.num_rows - 1_000,
        ("total_sulfur_dioxide", "chlorides", "volatile_acidity", "residual_sugar"),
        pane_rows=50,
    )


def _heart() -> Case:
    rng = np.random.default_rng(1)
    rows = table("heart_sites", "heart.parquet")
    cleveland = data.shuffled(where(rows, "site", ["cleveland"]), rng).drop_columns(["site", "num"])
    others = where(rows, "site", ["switzerland"]).drop_columns(["site", "num"])
    return Case(
        "cleveland, then switzerland: chol 0 (sentinel), ca and fbs null",
        cleveland.slice(0, 200),
        pa.concat_tables([cleveland.slice(200), others]),
        cleveland.num_rows - 200,
        ("chol", "ca", "fbs"),
        pane_rows=20,
    )


def _adult() -> Case:
    rng = np.random.default_rng(1)
    rows = data.shuffled(table("adult", "adult.parquet"), rng)
    usual = where(rows, "education", ["HS-grad", "Some-college", "Bachelors"])
    others = where(rows, "education", ["HS-grad", "Some-college", "Bachelors"], other=True)
    return Case(
        "the other levels of education",
        usual.slice(0, 20_000),
        pa.concat_tables([usual.slice(20_000), others]),
        usual.num_rows - 20_000,
        ("education", "education-num"),
    )


def _higgs() -> Case:
    rng = np.random.default_rng(1)
    rows = table("two_sample", "higgs_5k.parquet")
    background = data.shuffled(where(rows, "label", [0]).drop_columns(["label"]), rng)
    signal = data.shuffled(where(rows, "label", [1]).drop_columns(["label"]), rng)
    return Case(
        "background, then signal: m_bb, m_wwbb",
        background.slice(0, 1_500),
        pa.concat_tables([background.slice(1_500), signal]),
        background.num_rows - 1_500,
        ("m_bb", "m_wwbb", "m_wbb", "m_jjj"),
        pane_rows=100,
    )


def _keystroke() -> Case:
    rows = table("keystroke", "keystroke.parquet")
    features = [name for name in rows.column_names if pa.types.is_floating(rows.schema.field(name).type)]
    return Case(
        "typing drifts with every session after the first",
        rows.slice(0, 200).select(features),
        rows.slice(200).select(features),
        0,
        tuple(features),
        pane_rows=20,
    )


def _bike() -> Case:
    rows = table("bike_sharing", "hour.parquet")
    columns = ["hr", "temp", "hum", "windspeed", "casual", "registered", "cnt"]
    old, new = where(rows, "yr", [0]), where(rows, "yr", [1])
    return Case("demand x1.6 from January 2012", old.select(columns), new.select(columns), 0, ("registered", "cnt"))


def _skab() -> Case:
    rows = table("skab", "valve1.parquet")
    first = where(rows, "experiment", [rows.column("experiment")[0].as_py()])
    sensors = [name for name in first.column_names if pa.types.is_floating(first.schema.field(name).type)]
    sensors = [name for name in sensors if name not in ("anomaly", "changepoint")]
    onset = int(np.flatnonzero(np.array(first.column("anomaly").to_pylist()) > 0)[0])
    flow = next(name for name in sensors if "flow" in name.lower())
    return Case(
        "valve 1 closes: FlowRateRMS",
        first.slice(0, 400).select(sensors),
        first.slice(400).select(sensors),
        onset - 400,
        (flow,),
        pane_rows=10,
    )


CASES: dict[str, Callable[[], Case]] = {
    "ma_employment, episode": _dormitories,
    "ma_employment, 2017": _no_dormitories,
    "nyc_taxi, tip": _taxi_tip,
    "nyc_taxi, fare": _taxi_fare,
    "nyc_taxi, missing": _taxi_missing,
    "nyc_taxi, quiet": _taxi_quiet,
    "elec2": _elec2,
    "california_housing": _california,
    "occupancy": _occupancy,
    "wine": _wine,
    "heart_sites": _heart,
    "adult": _adult,
    "higgs": _higgs,
    "keystroke": _keystroke,
    "bike_sharing": _bike,
    "skab": _skab,
}


def line(name: str, outcome: Outcome) -> str:
    """One row of the table."""
    case = outcome.case
    if outcome.found is None:
        verdict = "nothing found" if case.columns else "nothing, as documented"
    else:
        verdict = f"{outcome.found.severity} at {outcome.found.pane}, delay {outcome.delay}, {outcome.triage}"
    names = ", ".join(outcome.named[:6]) + (f" and {len(outcome.named) - 6} more" if len(outcome.named) > 6 else "")
    early = f" ({case.early})" if outcome.before and case.early else ""
    onset = str(outcome.onset) if case.columns else "-"
    return (
        f"{name} | {case.documented} | {outcome.panes} x {case.pane_rows} | {onset} | {verdict} | {names} | "
        f"{outcome.before}{early}"
    )


def main() -> None:
    """Print the table."""
    say = sys.stdout.write
    say("data set | documented | panes x rows | onset pane | found | columns named | pages before onset\n")
    for name, make in CASES.items():
        try:
            say(line(name, judge(make())) + "\n")
        except data.AbsentError as absent:
            say(f"{name} | skipped: {absent}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
