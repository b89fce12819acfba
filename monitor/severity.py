"""How loudly a finding calls, by what its columns have to do with the performance.

A shift pages whatever it does, unless somebody knows better. A page is lowered to a ticket where none of its columns
can cost more than `labels.smallest_loss`: by the importance that the configuration declares, or as measured where the
model's own calibrated confidence agrees. A ticket or a note is raised to a page where its column's shift surely costs
more than that. Nothing is ever lowered below a ticket. Of several findings of one alarm, of views, faults of the data,
changes of the mix and columns of which nothing is known, none is lowered.

Pure, like the engine that calls it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from detectors.types import FloatArray
from monitor.report import Culprit, number

if TYPE_CHECKING:
    from monitor.engine import Pane

SEVERITY: Final = "severity"
"""Key of a finding's evidence: what its columns' shifts cost, and what it would have been."""
SHARE: Final = 0.01
"""False pages that raised tickets may add to those that the budget allows."""


class Harm(NamedTuple):
    """Loss of performance by column ``(u,)`` in the unit of `labels.smallest_loss`, negative for a gain; NaN: unknown.

    ``least`` is almost certain, ``most`` is the upper end of a 95 % interval; ``whole`` is that of all columns
    together, by the model's own confidence.
    """

    loss: FloatArray
    least: FloatArray
    most: FloatArray
    whole: float


Measure = Callable[[Sequence["Pane"]], Harm | None]
"""What the shifts of some panes cost; None where nobody can say."""


class _Cost(NamedTuple):
    column: str
    by: str
    loss: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Severity:
    """The rule of one model: ``importance`` by column as declared, the ``loss`` that matters, and what measures it.

    A column of importance x is taken to cost x times the probability mass that has moved.
    """

    importance: Mapping[str, float]
    loss: float
    measure: Measure | None = None

    def page(self, panes: Sequence[Pane], culprits: Sequence[Culprit]) -> tuple[str, dict[str, Any]]:
        """The severity of a shift of columns that would page, and its evidence; ``panes`` are those since it began."""
        harm = self._harm(panes)
        costs = [self._cost(one, harm) for one in culprits]
        whole = all(one.by == "declared" for one in costs) or (harm is not None and harm.whole < self.loss)
        harmless = whole and all(one.most < self.loss for one in costs)
        severity = "ticket" if harmless else "page"
        return severity, self._told(costs, "page", severity)

    def ticket(
        self, panes: Sequence[Pane], culprit: Culprit, severity: str, *, sure: bool
    ) -> tuple[str, dict[str, Any]]:
        """The same of a column that would be a ticket or a note; ``sure``: its shift is within `SHARE`'s budget."""
        cost = self._cost(culprit, self._harm(panes))
        raised = "page" if sure and cost.least > self.loss else severity
        return raised, self._told([cost], severity, raised)

    def _harm(self, panes: Sequence[Pane]) -> Harm | None:
        return None if self.measure is None else self.measure(panes)

    def _cost(self, culprit: Culprit, harm: Harm | None) -> _Cost:
        nothing = _Cost(culprit.unit, "", math.nan, math.nan, math.nan)
        if culprit.view:
            return nothing
        if culprit.unit in self.importance:
            times = self.importance[culprit.unit]
            loss, least = (times * one if times else 0.0 for one in (culprit.effect, culprit.effect_low))
            return _Cost(culprit.unit, "declared", loss, least, times)  # however far it goes on to move
        if harm is None or culprit.index >= len(harm.loss):
            return nothing
        parts = (float(part[culprit.index]) for part in (harm.loss, harm.least, harm.most))
        return _Cost(culprit.unit, "measured", *parts) if np.isfinite(harm.loss[culprit.index]) else nothing

    def _told(self, costs: Sequence[_Cost], usual: str, severity: str) -> dict[str, Any]:
        """Nothing where nothing is known."""
        known = [one for one in costs if one.by]
        if not known:
            return {}
        columns = [
            {"column": one.column, "by": one.by, "loss": number(one.loss), "most": number(one.most)} for one in known
        ]
        because = "" if severity == usual else _LOWERED if severity == "ticket" else _RAISED
        told = {"usual": usual, "severity": severity, "smallest_loss": self.loss, "columns": columns}
        return {SEVERITY: told | ({"because": because} if because else {})}


GROWN: Final = "found small, these columns may cost more performance than labels.smallest_loss by now"
_LOWERED: Final = "none of these columns can cost more performance than labels.smallest_loss as they have moved"
_RAISED: Final = "the shift of this column surely costs more performance than labels.smallest_loss"
