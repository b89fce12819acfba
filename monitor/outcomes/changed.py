"""Why the performance changed, told of each version's newest window without labels, and of complete cohorts with them.

Made beside the engine. What labels say waits for them: the inputs of their cohorts are kept as a sample (`mixes`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detectors.performance import changes
from detectors.performance.classifiers import ClassesFixed
from detectors.performance.decompose import PARTS, Change, Shares, verdict
from detectors.performance.trees import Codes
from detectors.performance.types import METRICS, Figure
from monitor.config import Model
from monitor.outcomes.beside import Beside
from monitor.outcomes.counting import Counter
from monitor.outcomes.estimates import Told
from monitor.outcomes.mixes import Mixes, cohort_of
from monitor.outcomes.realised import Confirmed, Realised
from monitor.report import number

if TYPE_CHECKING:
    from monitor.streams import Stream

ESTIMATE, LABELS = "estimate", "labels"
"""By what a change is known."""


class Divided(NamedTuple):
    """A change with its span, by what it is known, what speaks against it, and whether it matters."""

    change: Change
    by: str
    start: float
    end: float
    doubts: tuple[str, ...]
    verdict: str

    def document(self) -> dict[str, Any]:
        """JSON form, for findings and pages; parts in order, then what they add up to."""
        change = self.change
        return {
            "by": self.by,
            "metric": change.metric,
            "start": self.start,
            "end": self.end,
            "verdict": self.verdict,
            "doubts": list(self.doubts),
            "outside": number(change.outside),
            "parts": [_part(name, change.parts[name]) for name in PARTS],
            "total": _part("total", change.total),
        }


class Changes:
    """Changes of one model; asked and read by the engine's thread."""

    def __init__(self, model: Model, counter: Counter, tau: float, beside: Beside) -> None:
        """``tau`` is the autocorrelation time of the rows' answers."""
        self.mixes = Mixes(counter)
        self.labelled: Divided | None = None
        self._model, self._counter, self._tau, self._beside = model, counter, tau, beside
        self._asked: tuple[tuple[int, ...], Figure] | None = None

    def judged(self, streams: Iterable[Stream], told: Mapping[str, Told], width: float) -> None:
        """Keep what came in new panes; cohorts are so many seconds long."""
        fixed = self._counter.fixed
        for one in streams:
            if "/" in one.name or not one.state.panes:
                continue
            self.mixes.add(one.name, one.state.panes, width)
            estimate = told.get(one.name)
            if estimate is not None and isinstance(fixed, ClassesFixed):
                cohort = cohort_of(estimate.start, estimate.end, width)
                self.mixes.note(cohort, changes.shares_of(estimate.estimate), int(fixed.scale.classes))

    def confirmed(self, confirmed: Confirmed, realised: Realised) -> None:
        """Ask what changed in complete cohorts, if they or their labels are new."""
        metric = changes.metric_of(self._counter.fixed)
        figure, before = confirmed.figures.get(metric), realised.reference.get(metric)
        cohorts = confirmed.numbers
        inputs = self.mixes.inputs(cohorts)
        self.mixes.keep(min(cohorts))
        if figure is None or inputs is None or self._asked == (cohorts, figure):
            return
        self._asked = cohorts, figure
        shares = self.mixes.shares(cohorts) or _by_labels(realised, confirmed, self._tau)
        work = partial(self._divide, inputs, shares, figure, before, confirmed)
        self._beside.ask("/labels", work)

    def of(self, told: Mapping[str, Told], stream: str) -> list[Divided]:
        """What is known of a version's stream, and of all by labels."""
        one = told.get(stream)
        free = [] if one is None else unlabelled(one, self._model.labels.smallest_loss)
        return [*free, *([] if self.labelled is None else [self.labelled])]

    def _divide(
        self, inputs: Codes, shares: Shares | None, figure: Figure, before: Figure | None, confirmed: Confirmed
    ) -> None:
        rng = np.random.default_rng(0)
        made = changes.change(
            self._counter.fixed, inputs, rng, shares=shares, realised=figure, reference=before, tau=self._tau
        )
        said = verdict(made, loss_of(made.metric, before, self._model.labels.smallest_loss))
        self.labelled = Divided(made, LABELS, confirmed.start, confirmed.end, (), said)


def unlabelled(told: Told, loss: float) -> list[Divided]:
    """What an estimate says of the change, if anything."""
    if told.change is None:
        return []
    doubts, metric = told.estimate.reliability.doubts, told.change.metric
    whole = told.estimate.reference.get(metric, math.nan)
    before = Figure(metric, whole, whole, whole, 0.0, 0)
    said = verdict(told.change, loss_of(metric, before, loss), doubted=bool(doubts))
    return [Divided(told.change, ESTIMATE, told.start, told.end, doubts, said)]


def loss_of(metric: str, reference: Figure | None, loss: float) -> float:
    """The loss that matters in units of the metric: points of what is bounded, else a share of the reference's."""
    bounded = math.isfinite(METRICS[metric].bounded[1])
    return loss if bounded or reference is None else loss * abs(reference.value)


def _by_labels(realised: Realised, confirmed: Confirmed, tau: float) -> Shares | None:
    return changes.shares_of(None, realised.labels(confirmed.numbers), tau)


def _part(name: str, figure: Figure) -> dict[str, Any]:
    ends = {key: number(getattr(figure, key)) for key in ("value", "low", "high")}
    return {"part": name, **ends, "reason": figure.reason}
