"""The engine of a study: the one that runs, with the layer that pages and without window tests, which never page."""

from __future__ import annotations

import dataclasses

import numpy as np

from detectors.types import Block, FloatArray
from monitor.calibration.rows import Rows, as_sampled
from monitor.engine import Engine, StreamState
from monitor.report import Report
from monitor.windows import PaneRule, Panes

NEVER = 1e300
"""A threshold that nothing reaches: evidence is read and not used up."""
_ENDLESS = 1 << 40


@dataclasses.dataclass(frozen=True)
class PagingEngine(Engine):
    """The engine with its sequential detectors alone: what pages does not depend on the window layer."""

    def __post_init__(self) -> None:
        """Build the catalogue's e-detectors."""
        super().__post_init__()
        object.__setattr__(self, "windowed", {})


def paging(engine: Engine, rows: Rows) -> PagingEngine:
    """The same engine for a study: no window ever becomes full."""
    given = {field.name: getattr(engine, field.name) for field in dataclasses.fields(engine) if field.init}
    given |= {"reference": as_sampled(engine.reference, rows), "window_panes": _ENDLESS, "tests": (), "streaming": ()}
    return PagingEngine(**given)


def without_views(engine: PagingEngine) -> PagingEngine:
    """The same columns without the joint layer, whose weight must then be taken from the engine that has it."""
    return dataclasses.replace(engine, reference=dataclasses.replace(engine.reference, views=()))


def by_column(engine: Engine, report: Report) -> FloatArray:
    """What each column alone contributes to the log evidence that pages, ``(u,)``; -inf for none."""
    d, u = report.log_e.shape[0], len(engine.names)
    log_e, weight = report.log_e[:, :u], engine.weight[:d, :u]
    with np.errstate(divide="ignore"):
        weighted = np.where(np.isnan(log_e) | (weight <= 0), -np.inf, log_e + np.log(weight))
    total: FloatArray = np.logaddexp.reduce(weighted, axis=0)
    return total


class Stream:
    """One simulated stream; it may begin where another one stands."""

    def __init__(self, engine: Engine, sample: int, state: StreamState | None = None, number: int = 0) -> None:
        """Begin anew, or in ``state`` after ``number`` panes; ``sample`` rows of a pane are kept for the views."""
        self._engine, self._sample = engine, sample
        self.state = engine.start() if state is None else state
        self.number = number

    def judge(self, block: Block, threshold: float) -> Report:
        """One pane of exactly the rows given."""
        reference, rule = self._engine.reference, PaneRule(None, block.rows, 0.0)
        (pane,), _ = Panes(reference.grid, rule, reference.views, self._sample).add(block, float(self.number))
        self.number += 1
        pane = dataclasses.replace(pane, number=self.number)
        self.state, report = self._engine.step(self.state, pane, "all", threshold=threshold, ticket_level=0.0)
        return report
