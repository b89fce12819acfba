"""What the shifts of columns cost, from what panes keep of their answers: for the severity of findings.

Cheap enough for the engine's thread (`tests.bench lane`), and asked only when a finding opens: no weighing by inputs
together, but column by column, and the model's own calibrated confidence for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from detectors.performance import changes, estimate
from detectors.performance.answer import WIDE, Estimate
from detectors.performance.classifiers import ClassesFixed
from detectors.performance.estimate import Fixed
from detectors.performance.types import METRICS
from detectors.types import FloatArray
from monitor.engine import Pane
from monitor.outcomes.counting import Counter
from monitor.severity import Harm

_RARE: Final = 5.0
SURE: Final = 4.0
"""Standard errors of a loss that is almost certain."""


class Weighing:
    """Measures what the shifts of some panes cost one model, as `monitor.severity.Measure`."""

    def __init__(self, counter: Counter, columns: int, tau: float, loss: float) -> None:
        """Of ``columns`` in the grid; ``tau`` is the autocorrelation time of the rows' answers.

        Where a class is so rare that to miss half of it costs accuracy little more than the ``loss`` that matters,
        accuracy does not tell what is harmless.
        """
        self._counter, self._columns, self._tau = counter, columns, tau
        self._blind = _rarest(counter.fixed) < _RARE * loss
        self.metric = changes.metric_of(counter.fixed)

    def __call__(self, panes: Sequence[Pane]) -> Harm | None:
        """None where panes have no inputs, or the reference has too few labels."""
        counted, now = self._counter.window([pane.answers for pane in panes])
        if now is None or not len(now):
            return None
        found = changes.effects_of(self._counter.fixed, now, self._counter.unit, self._columns, self._tau)
        made = estimate.estimate(self._counter.fixed, counted, None, self._tau)
        unit = self._unit(made)
        if not math.isfinite(unit):
            return None
        loss, error = found.effect / unit, found.error / abs(unit)
        most = loss + WIDE * error + self._unseen(found.outside)
        most = np.where(np.isfinite(loss), np.inf, most) if self._blind else most
        return Harm(loss, loss - SURE * error, most, self._whole(made))

    def _unit(self, made: Estimate) -> float:
        """What one unit of loss is in units of the figure: a point of what is better higher, else a share of it."""
        spec = METRICS[self.metric]
        return -1.0 if spec.better == "higher" else made.reference.get(self.metric, math.nan) or math.nan

    def _unseen(self, outside: FloatArray) -> FloatArray:
        """What rows may cost that lie where the reference has none: all that there is to lose."""
        bounded = math.isfinite(METRICS[self.metric].bounded[1])
        return outside if bounded else np.where(outside > 0, np.inf, outside)

    def _whole(self, made: Estimate) -> float:
        """Upper end of the loss by the model's own confidence; a regression has none, and may lose anything."""
        figure, before = made.figures.get(self.metric), made.reference.get(self.metric, math.nan)
        if figure is None or not math.isfinite(figure.value) or "no_confidence" in made.reliability.doubts:
            return math.inf
        return (figure.value - before) / self._unit(made) + WIDE * figure.error / abs(self._unit(made))


def _rarest(fixed: Fixed) -> float:
    """Share of the rarest class of the reference; 1 for a regression."""
    if not isinstance(fixed, ClassesFixed):
        return 1.0
    rows, hits = float(fixed.known.tally.rows[0].sum()), fixed.known.hits.sum(axis=(1, 2))
    classes = np.array([rows - hits[0], hits[0]]) if len(hits) == 1 else hits
    return float(classes.min() / rows) if rows else 0.0
