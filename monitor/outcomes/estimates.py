"""Estimates of one model's performance, window by window, made by a thread of their own.

A pane's counts are made where its rows are folded; what takes longer (weighing inputs takes most of a second) is done
beside the engine, of the newest window of each version and for at most a twentieth of a core. Windows that come
meanwhile are passed over: an estimate is of a whole window, and the next one holds most of its rows.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from detectors.performance import estimate, realised
from detectors.performance.answer import REASONS, Estimate
from detectors.performance.types import Figure
from monitor import log
from monitor.config import Model
from monitor.engine import Pane
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.counting import Arrays, Counter
from monitor.outcomes.expectation import below
from monitor.outcomes.measured import Known

REST: Final = 19.0
"""After an estimate nobody makes another one for so many times longer than it took."""
_WAIT: Final = 0.2
_TURN = threading.Lock()
"""Held by the one model whose estimate is made, and while it rests: many models together cost no more than one."""


class Told(NamedTuple):
    """A window's estimate, the window's span, and which metrics are below expectation."""

    estimate: Estimate
    start: float
    end: float
    below: dict[str, bool]


class _Asked(NamedTuple):
    """A window to be estimated: counts of its panes, its span, and panes for each false alarm that is allowed."""

    panes: tuple[Arrays | None, ...]
    start: float
    end: float
    length: float


class Estimates:
    """The newest estimate of each version; asked and read by the engine's thread."""

    def __init__(self, model: Model, counter: Counter, tau: float, reference: Mapping[str, Figure]) -> None:
        """``tau`` is the autocorrelation time of the rows' answers, ``reference`` the figures of its labels."""
        self.counter = counter
        self.told: dict[str, Told] = {}
        self.failures = 0
        self._model, self._tau, self._reference = model, tau, reference
        self._asked: dict[str, _Asked] = {}
        self._changed = threading.Condition()
        self._busy = self._closed = self._hurry = False
        self._thread: threading.Thread | None = None
        self._log = log.get("estimates")

    def judged(self, stream: str, panes: Sequence[Pane], length: float) -> None:
        """Ask for the estimate of a version's window; segments have none."""
        if "/" in stream or not panes:
            return
        with self._changed:
            counts = tuple(pane.answers for pane in panes)
            self._asked[stream] = _Asked(counts, panes[0].start, panes[-1].end, length)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._work, name=f"estimates {self._model.name}", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    @property
    def behind(self) -> dict[str, bool]:
        """Of each metric whether any version is below expectation that has answered in the newest window."""
        now = min(max((one.end for one in self.told.values()), default=0.0), time.time())
        some = [one.below for one in self.told.values() if one.end >= now - (one.end - one.start)]
        return {name: any(one.get(name, False) for one in some) for one in some for name in one}

    def wait(self, timeout: float) -> bool:
        """Wait, without any rest from now on, until nothing is left to be estimated; whether that came in time."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: not self._asked and not self._busy, timeout)

    def close(self) -> None:
        """Let the thread end after what it is at."""
        with self._changed:
            self._closed = True
            self._asked.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while self._wanted():
            mine = self._turn()
            try:
                self._next()
            finally:
                if mine:
                    _TURN.release()

    def _wanted(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._asked))
            return not self._closed

    def _turn(self) -> bool:
        """Wait for the turn; whether it was taken, which nobody does who is in a hurry or ends."""
        while not (self._hurry or self._closed):
            if _TURN.acquire(timeout=_WAIT):
                return True
        return False

    def _next(self) -> None:
        """Estimate one window, the newest of its version, and rest."""
        with self._changed:
            if self._closed or not self._asked:
                return
            stream = next(iter(self._asked))
            asked, self._busy = self._asked.pop(stream), True
        began = time.monotonic()
        try:
            self._estimate(stream, asked)
        except Exception as fault:  # noqa: BLE001 - an estimate that fails must not end those to come
            self.failures += 1
            self._log.error("estimate failed", model=self._model.name, stream=stream, error=repr(fault))
        self._rest(REST * (time.monotonic() - began))

    def _rest(self, seconds: float) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or self._hurry, seconds)

    def _estimate(self, stream: str, asked: _Asked) -> None:
        counted, inputs = self.counter.window(asked.panes)
        made = estimate.estimate(self.counter.fixed, counted, inputs, self._tau)
        behind = below(made, self._reference, asked.length, self._model.labels.smallest_loss)
        told = Told(made, asked.start, asked.end, behind)
        self.told = {**self.told, stream: told}  # a new one: the engine's thread reads it meanwhile


def estimates_of(model: Model, fitted: Fitted, known: Known, tau: float) -> Estimates | None:
    """What estimates a model, None where its reference has no labels, or they do not tell what answers are worth."""
    measured, expected = known
    if measured is None or expected is None:
        return None
    if measured.fixed.reason:
        why = REASONS[int(measured.fixed.reason)]
        log.get("estimates").warning("performance cannot be estimated without labels", model=model.name, reason=why)
        return None
    reference = realised.figures(expected.layout, expected.reference, tau=tau)
    return Estimates(model, Counter(measured, Answers(fitted), model.window.panes), tau, reference)
