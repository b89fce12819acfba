"""The running agent's own figures: a study in small slices, between batches, for as long as it runs.

Undrifted streams under the model's own threshold count false alarms; others get a shift of twice the smallest one that
matters in one column, a different one each time, and tell how many are found and when. All rows are resampled from the
reference's sample (see `monitor.calibration.rows`); nothing of it touches the streams of production.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np

from detectors.types import IntArray
from monitor.calibration.judge import Stream, paging
from monitor.calibration.rows import rows_from
from monitor.calibration.shifts import Injector, Shift
from monitor.calibration.traffic import traffic_of
from monitor.config import Model
from monitor.engine import Engine
from monitor.figures import Figures
from monitor.fitted import Fitted
from monitor.streams import ModelStreams

WARM_PANES = 5
"""Undrifted panes before a shift."""
NULL_PANES = 100
"""Panes of an undrifted stream; then another one begins, with a law of its own."""
HORIZON = 100
"""Panes after which a shift counts as not found."""
TIMES = 2.0
"""Injected: so many times the smallest shift that matters."""
_USUAL_ROWS = 200
_LEAST_MASS = 0.02
_DELAYS = 1000
_MOST_VALUES = 60_000
"""Values of a simulated pane: a slice must not keep a batch waiting."""


class Selfcheck:
    """One model's figures; ``engine`` spares building another one, ``pane_rows`` are what panes by time really hold."""

    def __init__(
        self, model: Model, fitted: Fitted, seed: int, *, engine: Engine | None = None, pane_rows: int | None = None
    ) -> None:
        """Decode the sample and measure the reference; nothing is simulated yet."""
        self._rows = rows_from(fitted)
        whole = engine or ModelStreams(model, fitted, config_id="", timer=lambda: 0.0).engine
        self._engine = paging(whole, self._rows)
        every, known = model.pane.every, pane_rows or _USUAL_ROWS
        rate = known / every if every is not None else None
        traffic = traffic_of(model, fitted, rate, most_values=_MOST_VALUES)
        self._pane_rows, self._parts, self._threshold = traffic.part_rows, traffic.parts, traffic.threshold
        self._sample = traffic.part_sample
        self._injector = Injector(self._engine.reference.grid, self._rows.block)
        self._units = np.flatnonzero(self._injector.touches("mass"))
        self._mass = max(TIMES * model.alarms.smallest_shift, _LEAST_MASS)
        self._rng = np.random.default_rng(seed)
        self._delays: deque[float] = deque(maxlen=_DELAYS)
        self._null_parts = self._false = self._detected = self._injected = 0
        self._work = self._for_ever()

    def step(self, budget_panes: int) -> None:
        """Go on for so many simulated panes."""
        for _ in range(budget_panes):
            next(self._work)

    def figures(self) -> Figures:
        """What was found so far."""
        delay = float(np.quantile(self._delays, 0.5, method="higher")) if self._delays else float("nan")
        return Figures(self._false, self._null_parts // self._parts, self._detected, self._injected, delay)

    def _for_ever(self) -> Iterator[None]:
        """Undrifted and shifted streams in turn; one pane each time."""
        while True:
            yield from self._undrifted(Stream(self._engine, self._sample), self._panes(NULL_PANES))
            if self._units.size:
                yield from self._shifted()
                yield from self._shifted()

    def _panes(self, number: int) -> IntArray:
        law = self._rows.law(self._rng)
        index = self._rows.index(law, number * self._pane_rows, self._rng)
        return index.reshape(number, self._pane_rows)

    def _undrifted(self, stream: Stream, panes: IntArray) -> Iterator[None]:
        for some in panes:
            report = stream.judge(self._rows.take(some), self._threshold)
            self._false += sum(one.severity == "page" for one in report.findings)
            self._null_parts += 1
            yield

    def _shifted(self) -> Iterator[None]:
        """One injection: found when the model pages."""
        panes = self._panes(WARM_PANES + HORIZON)
        stream = Stream(self._engine, self._sample)
        yield from self._undrifted(stream, panes[:WARM_PANES])
        unit = int(self._rng.choice(self._units))
        shift, delay = Shift((("mass", self._mass),)), np.inf
        for number, some in enumerate(panes[WARM_PANES:], 1):
            block = self._injector.inject(self._rows.take(some), shift, self._rng, [unit])
            report = stream.judge(block, self._threshold)
            if any(one.severity == "page" for one in report.findings):
                delay = number
            yield
            if np.isfinite(delay):
                break
        self._injected += 1
        self._detected += int(np.isfinite(delay))
        self._delays.append(float(np.ceil(delay / self._parts)))
