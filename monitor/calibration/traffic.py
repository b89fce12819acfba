"""The stated traffic in panes: how many rows and seconds a pane has, and how many panes the budget asks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitor import columns
from monitor.budget import run_length
from monitor.config import Model
from monitor.errors import ConfigError
from monitor.fitted import Fitted

MOST_VALUES = 240_000
"""Values of a simulated pane: larger panes are simulated in parts, which costs as much a row and less a pane."""
_LEAST_ROWS, _MOST_ROWS = 200, 20_000


@dataclass(frozen=True, slots=True)
class Traffic:
    """Rows of a pane and how they arrive.

    ``rate`` (rows a second) and ``pane_seconds`` are None where nothing tells them. ``parts`` is the number of parts
    in which a pane is simulated, ``threshold`` is A in panes of one stream: the run length times the streams that share
    the budget. ``pane_sample`` rows of a pane are kept for the joint views.
    """

    rate: float | None
    pane_rows: int
    pane_seconds: float | None
    parts: int
    run_length: float
    shares: int
    pane_sample: int

    @property
    def part_rows(self) -> int:
        """Rows of a simulated pane."""
        return -(-self.pane_rows // self.parts)

    @property
    def part_sample(self) -> int:
        """Rows of a simulated pane that are kept."""
        return -(-self.pane_sample // self.parts)

    @property
    def threshold(self) -> float:
        """A of the model's main stream."""
        return self.run_length * self.shares

    def panes(self, simulated: float) -> float:
        """Whole panes that contain so many simulated ones; infinity and NaN stay."""
        return float(np.ceil(simulated / self.parts))

    def seconds(self, panes: float) -> float | None:
        """How long so many panes last."""
        return None if self.pane_seconds is None or not np.isfinite(panes) else panes * self.pane_seconds


def traffic_of(model: Model, fitted: Fitted, rate: float | None, *, most_values: int = MOST_VALUES) -> Traffic:
    """``rate`` in rows a second; None takes the reference's own, if its rows have times. ``most_values`` of a part.

    `ConfigError` where panes are cut by time and nothing tells how many rows they have.
    """
    rate = rate or reference_rate(fitted)
    rows, every = model.pane.rows, model.pane.every
    if every is not None:
        if rate is None:
            raise ConfigError(
                [f"--rate: panes of {every:g} s have as many rows as come in; say how many rows come in a second"]
            )
        rows = max(round(rate * every), 1)
    rows = rows or 1
    seconds = every if every is not None else rows / rate if rate else None
    most = int(np.clip(most_values // max(len(fitted.reference.grid.names), 1), _LEAST_ROWS, _MOST_ROWS))
    length = model.run_length
    if seconds is not None:
        length = max(length, run_length(model.alarms.false_alarms, seconds))
    streams = sum(min(len(values), model.max_segments) for values in fitted.segments.values())
    sample = -(-model.joint.rows // model.window.panes)
    return Traffic(rate, rows, seconds, -(-rows // most), length, 1 + streams, sample)


def reference_rate(fitted: Fitted) -> float | None:
    """Rows a second of the reference itself; None where its rows have no times."""
    name = fitted.plan.roles.time
    if name is None or name not in fitted.sample.schema.names:
        return None
    time = columns.seconds(fitted.sample.column(name))
    time = time[np.isfinite(time)]
    span = float(np.subtract(*np.quantile(time, [0.95, 0.05]))) / 0.9 if time.size > 1 else 0.0
    return fitted.rows / span if span > 0 else None
