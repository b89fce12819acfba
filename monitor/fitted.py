"""A measured reference in memory: the type alone, so that a run that loads an artefact imports no measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from detectors.types import Reference, Summary
from monitor.schema import Plan

Segments = Mapping[str, Mapping[str, Summary]]
"""Segment column -> value -> summary."""


@dataclass(frozen=True)
class Fitted:
    """All that production needs to know of a reference; `monitor.artefact` stores it.

    ``segments`` are the summaries of the rows of each segment's values, on the same grid. ``sample`` are at most
    10,000 rows and about 16 MB, in the reference's order and columns. ``notes`` are sentences for the person who
    fitted it. ``security`` is what `monitor.security.measured` measured, by path; empty if nobody asked for it.
    ``outcomes`` is what `monitor.outcomes.measured` did; empty without labels.
    """

    plan: Plan
    reference: Reference
    vocabularies: Mapping[str, pa.Array]
    sample: pa.RecordBatch
    rows: int
    created: float
    notes: tuple[str, ...] = ()
    segments: Segments = field(default_factory=dict)
    security: Mapping[str, Any] = field(default_factory=dict)
    outcomes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def answers(self) -> tuple[int, ...]:
        """Positions in the grid of what the model answered: predictions, scores, and what is derived from answers."""
        said = {one.name for one in self.plan.columns if one.source or one.role in ("prediction", "score")}
        return tuple(unit for unit, name in enumerate(self.reference.grid.names) if name in said)
