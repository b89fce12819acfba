"""What a study found, and as one JSON document."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scipy import special

from monitor.budget import Budget
from monitor.calibration.traffic import Traffic

FOUND = 0.9
"""Share of the streams in which a shift must be found to count as detectable."""
_TAIL = 0.025


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Interval:
        """In another unit."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)


def poisson(events: int, exposure: float) -> Interval:
    """Rate of rare events, with Garwood's exact interval."""
    low = special.gammaincinv(events, _TAIL) if events else 0.0
    return Interval(events, float(low), float(special.gammaincinv(events + 1, 1 - _TAIL))).times(1 / max(exposure, 1.0))


def binomial(hits: int, trials: int) -> Interval:
    """Share, with the exact interval of Clopper and Pearson."""
    low = special.betaincinv(hits, trials - hits + 1, _TAIL) if hits else 0.0
    high = special.betaincinv(hits + 1, trials - hits, 1 - _TAIL) if hits < trials else 1.0
    return Interval(hits / max(trials, 1), float(low), float(high))


@dataclass(frozen=True, slots=True)
class Delay:
    """One size of a kind of shift: in how many streams it was found, and after how many panes (inf: not found).

    ``unit`` is a column, or "rows" for a joint shift; ``mass`` is the probability mass that moved and ``predicted``
    the delay without noise (both NaN for joint shifts). ``streams`` is 0 where the prediction alone says "not within
    the horizon". ``by`` counts what raised the page of a joint shift.
    """

    unit: str
    kind: str
    size: float
    mass: float
    predicted: float
    streams: int
    found: int
    median: float
    ninety: float
    by: Mapping[str, int]

    @property
    def detectable(self) -> bool:
        """Found in enough of the streams."""
        return self.streams > 0 and self.found >= FOUND * self.streams


@dataclass(frozen=True, slots=True)
class Column:
    """One monitored column: the mass that may move unseen, because it is tolerated or could be the reference's error.

    ``tolerated`` is inf where no question is asked of the column's values.
    """

    name: str
    tolerated: float
    error: float
    tau: float
    rows: float


@dataclass(frozen=True, slots=True)
class Rung:
    """Pages that a budget of one per ``length`` panes would have raised, over the panes that were at risk."""

    length: float
    panes: int
    pages: int


@dataclass(frozen=True, slots=True)
class FalseAlarms:
    """Undrifted streams under the model's own threshold, and the same evidence under lower ones."""

    streams: int
    panes: int
    pages: int
    ladder: tuple[Rung, ...]


@dataclass(frozen=True)
class Result:
    """A whole study; panes are the model's own."""

    model: str
    grid_id: str
    budget: Budget
    smallest_shift: float
    traffic: Traffic
    horizon: float
    seed: int
    streams: int
    seconds_cpu: float
    columns: tuple[Column, ...]
    false_alarms: FalseAlarms
    delays: tuple[Delay, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def per_thousand(self) -> Interval:
        """False pages in 1,000 panes."""
        return poisson(self.false_alarms.pages, self.false_alarms.panes).times(1000)

    @property
    def period_panes(self) -> float:
        """Panes in the budget's period at the stated rate."""
        return self.traffic.run_length * self.budget.alarms

    @property
    def per_period(self) -> Interval:
        """False pages in the budget's period."""
        return poisson(self.false_alarms.pages, self.false_alarms.panes).times(self.period_panes)

    def of(self, unit: str, kind: str) -> Sequence[Delay]:
        """All sizes of a kind, smallest first."""
        return [one for one in self.delays if one.unit == unit and one.kind == kind]

    def smallest(self, unit: str, kind: str) -> Delay | None:
        """The smallest size that is found in `FOUND` of the streams; it counts if all larger ones are found too."""
        best: Delay | None = None
        for one in reversed(self.of(unit, kind)):
            if not one.detectable:
                break
            best = one
        return best

    def document(self) -> dict[str, Any]:
        """JSON form; NaN and infinity as null."""
        alarms, traffic = self.false_alarms, self.traffic
        return {
            "kind": "calibration",
            "model": self.model,
            "grid_id": self.grid_id,
            "budget": str(self.budget),
            "smallest_shift": self.smallest_shift,
            "rows_per_second": number(traffic.rate),
            "pane_rows": traffic.pane_rows,
            "pane_seconds": number(traffic.pane_seconds),
            "simulated_pane_rows": traffic.part_rows,
            "run_length_panes": number(traffic.run_length),
            "streams_sharing_the_budget": traffic.shares,
            "horizon_panes": number(self.horizon),
            "seed": self.seed,
            "streams": self.streams,
            "seconds_cpu": round(self.seconds_cpu, 2),
            "false_alarms": {
                "streams": alarms.streams,
                "panes": alarms.panes,
                "pages": alarms.pages,
                "per_1000_panes": _interval(self.per_thousand),
                "per_period": _interval(self.per_period),
                "promised_per_1000_panes": number(1000 / traffic.run_length),
                "promised_per_period": self.budget.alarms,
                "ladder": [
                    {"promised_per_pane": 1 / rung.length, "panes": rung.panes, "pages": rung.pages}
                    | {"per_pane": _interval(poisson(rung.pages, rung.panes))}
                    for rung in alarms.ladder
                ],
            },
            "columns": [self._column(one) for one in self.columns],
            "delays": [self._delay(one) for one in self.delays],
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def _column(self, one: Column) -> dict[str, Any]:
        kinds = dict.fromkeys(delay.kind for delay in self.delays if delay.unit == one.name)
        best = {kind: self.smallest(one.name, kind) for kind in kinds}
        return {
            "column": one.name,
            "tolerated_mass": number(one.tolerated),
            "reference_error": number(one.error),
            "autocorrelation_rows": number(one.tau),
            "detectable": {kind: None if found is None else found.size for kind, found in best.items()},
        }

    def _delay(self, one: Delay) -> dict[str, Any]:
        traffic = self.traffic
        return {
            "unit": one.unit,
            "kind": one.kind,
            "size": one.size,
            "mass": number(one.mass),
            "streams": one.streams,
            "found": one.found,
            "detectable": one.detectable,
            "median_panes": number(one.median),
            "median_rows": number(one.median * traffic.pane_rows),
            "median_seconds": number(traffic.seconds(one.median)),
            "ninety_panes": number(one.ninety),
            "ninety_rows": number(one.ninety * traffic.pane_rows),
            "ninety_seconds": number(traffic.seconds(one.ninety)),
            "predicted_panes": number(one.predicted),
            "by": dict(one.by),
        }


def number(value: float | None) -> float | None:
    """Six significant digits; JSON has neither NaN nor infinity."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def _interval(one: Interval) -> dict[str, float | None]:
    return {"value": number(one.value), "low": number(one.low), "high": number(one.high)}
