"""False alarms: driftless streams of real rows through the real engine.

Reference and stream are drawn at random, with replacement, from the same rows, so their law is the same whatever the
rows are. As a script it prints the issue's table: ``python -m tests.statistical.null``.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from scipy.signal import lfilter

from detectors.compare import Baseline, Comparison
from detectors.types import Summary, Window
from detectors.univariate.distribution import KolmogorovSmirnov
from monitor.config import Model
from monitor.engine import Engine
from tests.statistical import data

PANE_ROWS = 200
BUDGET_PANES = 10_000
SETS: dict[str, Callable[[], pa.Table]] = {
    "adult": lambda: data.table("adult", "adult.parquet"),
    "ma_employment": lambda: data.table("ma_employment", "reference.parquet").drop_columns(["id", "year", "employed"]),
    "nyc_taxi_march": lambda: data.taxi("2020-03-01", "2020-03-14"),
    "higgs": lambda: data.table("two_sample", "higgs_5k.parquet"),
    "blobs": lambda: data.where(data.table("two_sample", "blobs.parquet"), "sample", ["P"]),
    "white_wine": lambda: data.table("wine_quality", "white.parquet"),
}


@dataclass
class Tally:
    """What a set of streams raised."""

    panes: int = 0
    streams: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    ks_panes: int = 0
    ks_windows: int = 0
    windows: int = 0

    def row(self, name: str) -> str:
        """One line of the table."""
        pages, tickets, infos = (self.findings[kind] for kind in ("page", "ticket", "info"))
        return (
            f"{name:34s} {self.streams:4d} {self.panes:7d}  {pages:5d} {tickets:7d} {infos:5d}   "
            f"{self.ks_panes:5d} of {self.panes:6d}   {self.ks_windows:4d} of {self.windows:4d}"
        )


HEAD = (
    f"{'':34s} {'streams':>4s} {'panes':>4s}  {'pages':>5s} {'tickets':>7s} {'infos':>5s}"
    "   KS 5 % a pane      KS 5 % a window"
)


def model(smallest_shift: float, window: int = 60) -> Model:
    """The issue's settings."""
    return Model.model_validate(
        {
            "name": "null",
            "reference": "unused.parquet",
            "pane": {"rows": PANE_ROWS},
            "window": {"panes": window},
            "alarms": {"false_alarms": f"1 per {BUDGET_PANES} panes", "smallest_shift": smallest_shift},
        }
    )


def run(tally: Tally, reference: pa.Table, stream: pa.Table, settings: Model) -> None:
    """Judge one stream, and the same panes by Kolmogorov-Smirnov with Bonferroni's correction at 5 %."""
    streams = data.streams_of(settings, reference)
    tally.streams += 1
    classic = Classic(streams.engine)
    batch, size = data.batch_of(stream), settings.window.panes * PANE_ROWS
    for start in range(0, batch.num_rows, size):
        reports = streams.feed(batch.slice(start, size), "", 0.0).reports
        panes = streams.streams["all"].state.panes[-len(reports) :]
        for report, pane in zip(reports, panes, strict=True):
            tally.panes += 1
            tally.findings.update(finding.severity for finding in report.findings)
            tally.ks_panes += classic.rejects(pane.summary)
        if len(reports) == settings.window.panes:
            tally.windows += 1
            tally.ks_windows += classic.rejects(reports[-1].comparison.summary)


class Classic:
    """What most tools do: a KS test per column and window, at 5 % divided by the number of columns."""

    def __init__(self, engine: Engine) -> None:
        """Measure the reference, and take its rows for independent as such tests do."""
        independent = np.ones(len(engine.names))
        reference = dataclasses.replace(engine.reference, tau=independent, tau_missing=independent)
        self._baseline = Baseline(reference)
        self._test = KolmogorovSmirnov()
        self._fixed = self._test.fit(reference)

    def rejects(self, summary: Summary) -> bool:
        """Whether any numeric column of these rows is called drifted."""
        window = Window(0.0, 1.0, Comparison(self._baseline, summary), summary)
        log_p = self._test.score(self._fixed, self._test.start(self._fixed), window)[1].log_p
        columns = max(int(np.isfinite(log_p).sum()), 1)
        return bool(np.nanmin(log_p, initial=0.0) < np.log(0.05 / columns))


def real(
    names: list[str], streams: int, panes: int, smallest_shift: float, *, reference_rows: int = 10_000, window: int = 60
) -> Tally:
    """``streams`` streams, spread evenly over the named data sets."""
    tally = Tally()
    settings = model(smallest_shift, window)
    for name in names:
        rows = SETS[name]()
        rng = np.random.default_rng([len(name), *name.encode(), int(1000 * smallest_shift)])
        for _ in range(streams // len(names)):
            reference = data.drawn(rows, reference_rows, rng)
            run(tally, reference, data.drawn(rows, panes * PANE_ROWS, rng), settings)
    return tally


def dependent(streams: int, panes: int, smallest_shift: float, rows: int = 50_000, phi: float = 0.9) -> Tally:
    """AR(1) columns: tempering must keep the promise."""
    tally = Tally()
    rng = np.random.default_rng(int(1000 * smallest_shift))
    for _ in range(streams):
        made = [pa.table({f"x{j}": _ar(rng, n, phi) for j in range(4)}) for n in (rows, panes * PANE_ROWS)]
        run(tally, made[0], made[1], model(smallest_shift))
    return tally


def _ar(rng: np.random.Generator, rows: int, phi: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    noise = rng.standard_normal(rows + 200)
    return np.asarray(lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise)[200:], np.float64)


def main() -> None:
    """The issue's table."""
    say = sys.stdout.write
    say(HEAD + "\n")
    names = list(SETS)
    for shift in (0.02, 0.05):
        say(real(names, 60, 500, shift).row(f"six real sets, smallest shift {shift}") + "\n")
        say(real(names, 60, 500, shift, reference_rows=1_000).row(f"reference of 1,000 rows, {shift}") + "\n")
        wide = real(names, 12, 600, shift, reference_rows=1_000, window=300)
        say(wide.row(f"window of 60,000, ref 1,000, {shift}") + "\n")
        say(dependent(20, 500, shift).row(f"AR(1) 0.9, smallest shift {shift}") + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
