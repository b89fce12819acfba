"""The study: undrifted streams for false alarms, shifted ones for delays, all through the engine's own step.

A round is one undrifted stream; every shift begins where that stream stands after a few panes, and shifts the very
rows that would have come (common random numbers). Shifts of single columns are injected into all columns at once and
judged column by column: a column is found when its own share of the evidence reaches the threshold, as if it had
shifted alone. Joint shifts are judged by the page that they raise. Pure but for the timer that bounds the run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from detectors.types import FloatArray, IntArray
from monitor.calibration.forecast import Forecast, forecast
from monitor.calibration.judge import NEVER, PagingEngine, Stream, by_column, without_views
from monitor.calibration.result import Delay, FalseAlarms, Rung
from monitor.calibration.rows import Rows
from monitor.calibration.shifts import Injector, Shift, column_shifts, joint_shifts
from monitor.calibration.traffic import Traffic

WARM_PANES = 10
"""Undrifted panes before a shift begins."""
LENGTHS = (10.0, 30.0, 100.0, 300.0, 1000.0)
"""Budgets, in panes an alarm, whose promise a short study can check as well."""
_MOST_PARTS = 200
"""Simulated panes of a stream whose panes are so large that they are simulated in parts."""
_HOPELESS = 1.5
"""A shift that the forecast puts beyond so many horizons is not simulated."""
ROWS_UNIT = "rows"

Tell = Callable[[int, int], None]
"""Told the rounds done and asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is simulated: at most ``streams`` rounds of ``horizon`` panes (the model's own) in ``seconds`` CPU."""

    streams: int = 20
    horizon: int = 100
    seed: int = 0
    seconds: float = 50.0


@dataclass
class _Tally:
    """What the rounds gave: delays in simulated panes by shift, ``(u,)`` a round; pages of joint shifts."""

    delays: dict[Shift, list[FloatArray]] = field(default_factory=dict)
    joint: dict[Shift, list[tuple[float, str]]] = field(default_factory=dict)
    crossed: list[FloatArray] = field(default_factory=list)
    null_panes: int = 0
    pages: int = 0


class Study:
    """One model's study, round by round."""

    def __init__(self, engine: PagingEngine, rows: Rows, traffic: Traffic, plan: Plan) -> None:
        """Forecast every shift; nothing is simulated yet."""
        self.engine, self.rows, self.traffic, self.plan = engine, rows, traffic, plan
        self._plain = without_views(engine)
        self.injector = Injector(engine.reference.grid, rows.block)
        self.most = min(plan.horizon * traffic.parts, max(plan.horizon, _MOST_PARTS))
        rng = np.random.default_rng([plan.seed, 0])
        self.forecasts = {shift: self._forecast(shift, rng) for shift in column_shifts()}
        self.joint = joint_shifts() if len(engine.names) > 1 else []
        self.rounds = 0
        self._tally = _Tally()

    def _forecast(self, shift: Shift, rng: np.random.Generator) -> Forecast:
        shifted = self.injector.inject(self.rows.block, shift, rng)
        horizon = int(_HOPELESS * self.most)
        return forecast(self.engine, shifted, self.traffic.part_rows, self.traffic.threshold, horizon)

    def run(self, timer: Callable[[], float], tell: Tell | None = None) -> None:
        """All rounds, or as many as the time allows; at least one."""
        began = timer()
        while self.rounds < self.plan.streams and (not self.rounds or timer() - began < self.plan.seconds):
            self.round()
            if tell is not None:
                tell(self.rounds, self.plan.streams)

    def round(self) -> None:
        """One undrifted stream and every shift of it."""
        self.rounds += 1
        rng = np.random.default_rng([self.plan.seed, self.rounds])
        law, rows = self.rows.law(rng), self.traffic.part_rows
        number = WARM_PANES + self.most
        index = self.rows.index(law, number * rows, rng).reshape(number, rows)
        fork, plain = self._undrifted(index), self._warm(index)
        for shift, foretold in self.forecasts.items():
            self._tally.delays.setdefault(shift, []).append(self._columns(plain(), index, shift, foretold, rng))
        for shift in self.joint:
            self._tally.joint.setdefault(shift, []).append(self._rows(fork(), index, shift, rng))

    def _undrifted(self, index: IntArray) -> Callable[[], Stream]:
        """Run the undrifted stream; the result begins streams where it stood after the first panes."""
        tally = self._tally
        stream, crossed = Stream(self.engine, self.traffic.part_sample), np.full(len(LENGTHS), np.inf)
        warm = stream.state
        for pane, some in enumerate(index, 1):
            report = stream.judge(self.rows.take(some), self.traffic.threshold)
            tally.pages += sum(one.severity == "page" for one in report.findings)
            crossed[np.isinf(crossed) & (report.mean_log_e >= np.log(LENGTHS))] = pane
            if pane == WARM_PANES:
                warm = stream.state
        tally.null_panes += len(index)
        tally.crossed.append(crossed)
        return lambda: Stream(self.engine, self.traffic.part_sample, warm, WARM_PANES)

    def _warm(self, index: IntArray) -> Callable[[], Stream]:
        """The same first panes for columns alone, which is cheaper."""
        stream = Stream(self._plain, 0)
        for some in index[:WARM_PANES]:
            stream.judge(self.rows.take(some), NEVER)
        return lambda: Stream(self._plain, 0, stream.state, WARM_PANES)

    def _columns(
        self,
        stream: Stream,
        index: IntArray,
        shift: Shift,
        foretold: Forecast,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Panes until each column alone would have paged, ``(u,)``."""
        found = np.full(len(self.engine.names), np.inf)
        hopeful = np.isfinite(foretold.panes)
        for pane, some in enumerate(index[WARM_PANES:], 1):
            if not (hopeful & np.isinf(found)).any():
                break
            report = stream.judge(self.injector.inject(self.rows.take(some), shift, rng), NEVER)
            reached = by_column(self.engine, report) >= np.log(self.traffic.threshold)
            found[np.isinf(found) & reached] = pane
        return found

    def _rows(
        self,
        stream: Stream,
        index: IntArray,
        shift: Shift,
        rng: np.random.Generator,
    ) -> tuple[float, str]:
        """Panes until the model pages, and by what."""
        for pane, some in enumerate(index[WARM_PANES:], 1):
            report = stream.judge(self.injector.inject(self.rows.take(some), shift, rng), self.traffic.threshold)
            for one in report.findings:
                if one.severity == "page":
                    return pane, one.detector
        return np.inf, ""

    def delays(self) -> list[Delay]:
        """Every size of every shift, per column and for the rows jointly."""
        found = []
        for shift, foretold in self.forecasts.items():
            measured = np.array(self._tally.delays[shift])
            for kind, size in shift.sizes:
                touched = self.injector.touches(kind)
                found += [
                    self._delay(name, kind, size, measured[:, u], foretold.mass[u], foretold.panes[u])
                    for u, name in enumerate(self.engine.names)
                    if touched[u]
                ]
        for shift, pages in self._tally.joint.items():
            ((kind, size),) = shift.sizes
            by = Counter(detector for _, detector in pages if detector)
            panes = np.array([pane for pane, _ in pages])
            found.append(self._delay(ROWS_UNIT, kind, size, panes, np.nan, np.nan, by))
        return found

    def _delay(
        self,
        unit: str,
        kind: str,
        size: float,
        panes: FloatArray,
        mass: float,
        predicted: float,
        by: Counter[str] | None = None,
    ) -> Delay:
        seen = np.isfinite(panes)
        streams = 0 if np.isinf(predicted) and not seen.any() else len(panes)
        delays = (predicted, *(np.quantile(panes, share, method="higher") for share in (0.5, 0.9)))
        foretold, median, ninety = (self.traffic.panes(float(one)) for one in delays)
        return Delay(unit, kind, size, float(mass), foretold, streams, int(seen.sum()), median, ninety, by or {})

    @property
    def horizon(self) -> float:
        """Panes of the model's own that a shift was watched for."""
        return self.most / self.traffic.parts

    def false_alarms(self) -> FalseAlarms:
        """Pages of the undrifted streams, in the model's own panes, and what lower thresholds would have raised."""
        tally = self._tally
        crossed = np.array(tally.crossed)
        most = tally.null_panes // max(self.rounds, 1)
        ladder = tuple(
            Rung(length, int(np.minimum(crossed[:, i], most).sum()), int(np.isfinite(crossed[:, i]).sum()))
            for i, length in enumerate(LENGTHS)
        )
        return FalseAlarms(self.rounds, tally.null_panes // self.traffic.parts, tally.pages, ladder)
