"""Estimates of one model's performance, window by window, made by a thread of their own.

A pane's counts are made where its rows are folded; what takes longer (weighing inputs takes most of a second) is done
beside the engine, of the newest window of each version and for at most a twentieth of a core. Windows that come
meanwhile are passed over: an estimate is of a whole window, and the next one holds most of its rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from detectors.performance import changes, estimate, realised
from detectors.performance.answer import REASONS, Estimate
from detectors.performance.decompose import Change
from detectors.performance.trees import Codes
from detectors.performance.types import Figure
from monitor import log
from monitor.config import Model
from monitor.engine import Pane
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.beside import Beside
from monitor.outcomes.counting import Arrays, Counter
from monitor.outcomes.expectation import below
from monitor.outcomes.measured import Known


class Told(NamedTuple):
    """A window's estimate and span, which metrics are below expectation, the past's share of errors, what changed."""

    estimate: Estimate
    start: float
    end: float
    below: dict[str, bool]
    excess: Mapping[str, float]
    change: Change | None = None


class _Asked(NamedTuple):
    """A window to be estimated: counts of its panes, its span, and panes for each false alarm that is allowed."""

    panes: tuple[Arrays | None, ...]
    start: float
    end: float
    length: float


class Estimates:
    """The newest estimate of each version; asked and read by the engine's thread."""

    def __init__(
        self, model: Model, counter: Counter, tau: float, reference: Mapping[str, Figure], beside: Beside
    ) -> None:
        """``tau`` is the autocorrelation time of the rows' answers, ``reference`` the figures of its labels."""
        self.counter = counter
        self.told: dict[str, Told] = {}
        self.excess: Mapping[str, float] = {}
        """What estimates were off by in the past, beyond their errors; replaced whole."""
        self._model, self._tau, self._reference, self._beside = model, tau, reference, beside

    def judged(self, stream: str, panes: Sequence[Pane], length: float) -> None:
        """Ask for the estimate of a version's window; segments have none."""
        if "/" in stream or not panes:
            return
        asked = _Asked(tuple(pane.answers for pane in panes), panes[0].start, panes[-1].end, length)
        self._beside.ask(stream, partial(self._estimate, stream, asked))

    @property
    def behind(self) -> dict[str, bool]:
        """Of each metric whether any version is below expectation that has answered in the newest window."""
        now = min(max((one.end for one in self.told.values()), default=0.0), time.time())
        some = [one.below for one in self.told.values() if one.end >= now - (one.end - one.start)]
        return {name: any(one.get(name, False) for one in some) for one in some for name in one}

    @property
    def failures(self) -> int:
        """What could not be counted or made."""
        return self.counter.failures + self._beside.failures

    def wait(self, timeout: float) -> bool:
        """Wait, without any rest from now on, until nothing is left to be estimated; whether that came in time."""
        return self._beside.wait(timeout)

    def _estimate(self, stream: str, asked: _Asked) -> None:
        counted, inputs = self.counter.window(asked.panes)
        excess = self.excess
        made = estimate.estimate(self.counter.fixed, counted, inputs, self._tau, excess)
        behind = below(made, self._reference, asked.length, self._model.labels.smallest_loss)
        told = Told(made, asked.start, asked.end, behind, excess, self._change(made, inputs))
        self.told = {**self.told, stream: told}  # a new one: the engine's thread reads it meanwhile

    def _change(self, made: Estimate, inputs: Codes | None) -> Change | None:
        """What of the change is known without labels, None where nothing is."""
        if inputs is None or not made.chosen:
            return None
        rng = np.random.default_rng(0)
        return changes.change(self.counter.fixed, inputs, rng, shares=changes.shares_of(made), tau=self._tau)


def estimates_of(model: Model, fitted: Fitted, known: Known, tau: float, beside: Beside) -> Estimates | None:
    """What estimates a model, None where its reference has no labels, or they do not tell what answers are worth."""
    measured, expected = known.measured, known.expected
    if measured is None or expected is None:
        return None
    if measured.fixed.reason:
        why = REASONS[int(measured.fixed.reason)]
        log.get("estimates").warning("performance cannot be estimated without labels", model=model.name, reason=why)
        return None
    reference = realised.figures(expected.layout, expected.reference, tau=tau)
    return Estimates(model, Counter(measured, Answers(fitted), model.window.panes), tau, reference, beside)
