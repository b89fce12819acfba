"""Realised performance: delays and false alarms of the error stream, intervals, what counting costs.

``python -m tests.bench errors [part]``: parts sea, null, swaps, bikes, rooms, seasons, intervals, speed (all without
one); needs the data sets beside the repository (`tests.statistical.data`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from detectors.performance import coverage, curves
from detectors.performance.counts import Tally, empty, merge
from detectors.performance.errors import Errors, tau_of
from detectors.performance.layout import layout
from detectors.performance.realised import figures
from detectors.performance.tallies import tally
from detectors.streaming.catalog import CLASSICAL
from tests.bench.common import cpu, table
from tests.detectors.outcomes import MADE, binary, regression, take
from tests.statistical.errors import (
    BLOCK,
    BUDGET,
    MEASURED,
    PANE,
    TRAINED,
    alarms,
    bike_counts,
    classical,
    concept,
    delay,
    room,
    shuffled,
    swapping,
)
from tests.statistical.outcomes import seasons

CHANGES = (12_500, 25_000, 37_500)
SHIFTS = range(0, 10_000, 1_000)
SHUFFLES = 60


def _line(name: str, found: list[tuple[float, int]]) -> list[object]:
    delays = [one for one, _ in found]
    middle, most = np.median(delays), max(delays)
    return [name, delays[0], f"{middle:.0f}", f"{most:.0f}", sum(early for _, early in found)]


def sea() -> None:
    """Delays at the documented change points, ten models each (other rows to learn from and to measure)."""
    for change in CHANGES:
        rows = []
        for scored in (True, False):
            streams = [concept(change, scored=scored, shift=shift) for shift in SHIFTS]
            name = "e_errors, scores logged" if scored else "e_errors, answers only"
            rows.append(_line(name, [delay(one, Errors()) for one in streams]))
        wrong = [np.not_equal(one.prediction, one.truth).astype(np.float64) for one in streams]
        quiet = BLOCK - TRAINED - MEASURED
        for name in CLASSICAL:
            at = [classical(name, one[:MEASURED], one[MEASURED:]) for one in wrong[:3]]
            late = [next((float(row - quiet) for row in one if row > quiet), np.inf) for one in at]
            rows.append(
                _line(f"{name} (3 models)", list(zip(late, [sum(r <= quiet for r in one) for one in at], strict=True)))
            )
        headings = ("", "as documented", "median", "longest", "alarms in 2,500 quiet rows each")
        table(f"SEA, change at {change}: rows until the alarm, panes of {PANE}, A = {BUDGET:.0f}", headings, rows)


def null() -> None:
    """False alarms over shuffled streams."""
    rows = []
    for name, detector in (
        ("errors, tolerance 0.01", Errors()),
        ("errors, tolerance 0", Errors(tolerance=0.0)),
        ("calibration, tolerance 0.01", Errors(asks="calibration")),
    ):
        for measured in (500, 2_000, MEASURED):
            count = panes = 0
            for seed in range(SHUFFLES):
                stream = shuffled(seed)
                count += len(alarms(stream, measured, detector))
                panes += (len(stream.truth) - measured) // PANE
            rows.append([name, measured, panes, count, f"{count / panes * 10_000:.2f}"])
    table("SEA shuffled", ("asks", "reference rows", "panes", "false alarms", "per 10,000 panes"), rows)


def swaps() -> None:
    """Delays at the boundaries of `interchanging_rbf`: more classes move at later ones."""
    rows = []
    for first in (1, 4, 8, 16, 40):
        found = [(alarms(swapping(one), 1_500, Errors(), 25)) for one in range(first, first + 3)]
        late = [next((one.rows - 500 for one in each if one.rows > 500), None) for each in found]
        early = sum(one.rows <= 500 for each in found for one in each)
        rows.append([f"{first} to {first + 2}", ", ".join("none" if one is None else str(one) for one in late), early])
    table("interchanging_rbf: rows until the alarm", ("boundaries", "delay", "alarms before"), rows)


def bikes() -> None:
    """Errors that rise while inputs are quiet."""
    outcomes, reference, quarter = bike_counts()
    rows = []
    made, tau = layout(take(outcomes, slice(0, reference))), tau_of(Errors().fit(take(outcomes, slice(0, reference))))
    for name, some in (
        ("reference", np.arange(reference)),
        *((f"2012 Q{q + 1}", reference + np.flatnonzero(quarter[reference:] == 168 + q)) for q in range(4)),
    ):
        found = figures(made, tally(made, take(outcomes, some)), tau=tau)
        told = [
            f"{found[one].value:.3g} ({found[one].low:.3g} to {found[one].high:.3g})" for one in ("mae", "bias", "r2")
        ]
        rows.append([name, len(some), *told])
    table(f"bike_sharing, autocorrelation time {tau:.1f} rows", ("", "hours", "MAE", "bias", "R2"), rows)
    later = np.concatenate([np.arange(reference), reference + np.flatnonzero(quarter[reference:] >= 168)])
    first = alarms(take(outcomes, later), reference, Errors(), 24)[0]
    print(f"\nfirst alarm after {first.rows} hours of 2012: {first.why}")


def rooms() -> None:
    """Inputs that drift with and without a loss, and errors that come in bursts."""
    rows = []
    for light in (True, False):
        for file in ("test1.parquet", "test2.parquet"):
            outcomes, reference = room(file, light=light)
            before, after = take(outcomes, slice(0, reference)), take(outcomes, slice(reference, len(outcomes.truth)))
            made, tau = layout(before), tau_of(Errors().fit(before))
            told = [figures(made, tally(made, one), tau=tau)["accuracy"] for one in (before, after)]
            found = alarms(outcomes, reference, Errors(), 60)
            rows.append(
                [
                    *("with light" if light else "without", file, f"{tau:.0f}"),
                    *(f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in told),
                    f"after {found[0].rows} minutes" if found else "none",
                ]
            )
    table("occupancy", ("columns", "", "tau", "accuracy before", "after", "alarm"), rows)


def by_season() -> None:
    """Calibration of forecasts against that of all seasons before."""
    for file in ("mlb_games.parquet", "nfl_games.parquet"):
        games, season = seasons(file)
        made = layout(games.outcomes)
        years = np.unique(season)
        known = tally(made, games.outcomes, season - years[0], len(years))
        rows, before = [], empty(made)
        for year in range(len(years)):
            alone = Tally(*(one[year : year + 1] for one in known))
            found, moved = curves.calibration(made, alone), curves.drift(made, before, alone)
            before = merge(before, alone)
            brier = figures(made, alone)["brier"]
            rows.append(
                [
                    *(years[year], found.rows, f"{brier.value:.3f} ({brier.low:.3f} to {brier.high:.3f})"),
                    f"{found.over.value:+.3f} ({found.over.low:+.3f} to {found.over.high:+.3f})",
                    *(f"{found.ece.value:.3f} (from {found.ece.low:.3f})", f"{np.exp(moved.log_p):.2g}", moved.verdict),
                ]
            )
        headings = ("season", "games", "Brier", "over-confidence", "ECE", "p of no change", "verdict")
        table(file, headings, rows)


def intervals() -> None:
    """How often intervals hold the figure of the law, 1,000 draws."""
    rows: list[list[object]] = []
    for kind, make in MADE.items():
        made = layout(make(4_000, 10**6))
        truth = figures(made, tally(made, make(1_000_000, 10**6 + 1)))
        for n in (50, 200, 1_000):
            held = dict.fromkeys(truth, 0)
            for seed in range(1_000):
                found = figures(made, tally(made, make(n, seed)))
                for name in held:
                    held[name] += found[name].low <= truth[name].value <= found[name].high
            rows.append([kind, n, ", ".join(f"{name} {count / 10:.1f}" for name, count in held.items())])
    table("95 % intervals that hold, in per cent", ("", "rows", ""), rows)


def speed() -> None:
    """CPU time of counting and of figures."""
    rows = []
    for name, make in MADE.items():
        outcomes = make(200_000, 0)
        made = layout(outcomes)
        counted = tally(made, outcomes)
        took, told = cpu(partial(tally, made, outcomes), 3), cpu(partial(figures, made, counted), 5)
        size = sum(one.nbytes for one in counted) / 1e3
        rows.append([name, f"{took / 0.2:.2f}", f"{told * 1e3:.2f}", f"{size:.0f}"])
    table("Counting", ("", "CPU us a row", "CPU ms for the figures", "kB a segment"), rows)
    detector, rows = Errors(), []
    for name, stream in (("binary", binary(200_000, 0)), ("regression", regression(200_000, 0))):
        fixed = detector.fit(stream)
        pane, state = detector.answers(fixed, stream), detector.start(fixed)
        took = cpu(partial(detector.answers, fixed, stream), 3)
        step = cpu(partial(detector.score, fixed, state, pane), 50)
        rows.append([name, f"{took / 0.2:.2f}", f"{step * 1e6:.0f}"])
    table("Error stream", ("", "CPU us a row", "CPU us a pane"), rows)
    made = layout(regression(1_000, 0))
    covered = coverage.of_intervals(made, tally(made, regression(1_000, 1)), nominal=0.9)
    print(f"\ncoverage of 90 % intervals, 1,000 rows: {covered.figure.value:.3f}, log p {covered.log_p:.2f}")


PARTS = {
    "sea": sea,
    "null": null,
    "swaps": swaps,
    "bikes": bikes,
    "rooms": rooms,
    "seasons": by_season,
    "intervals": intervals,
    "speed": speed,
}


def run(only: str = "") -> None:
    """Print the tables."""
    for name, one in PARTS.items():
        if only in ("", name):
            one()
