"""The classical streaming detectors that the configuration names, on the pane means of one stream. Pure.

They bound nothing over an endless stream, so they never page and never open a ticket: an alarm of theirs is a note, at
most one a detector within the hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from detectors.streaming.catalog import CLASSICAL
from detectors.streaming.observe import observations
from detectors.streaming.protocol import Streaming
from detectors.types import IntArray, Reference, Summary


class Notes(NamedTuple):
    """Detectors that alarmed with the units of each, failures and seconds by detector."""

    alarms: dict[str, IntArray]
    failures: dict[str, str]
    seconds: dict[str, float]


class ClassicalState(NamedTuple):
    """States of the detectors by name, and the pane up to which each is not heard."""

    states: Mapping[str, Any]
    quiet: Mapping[str, int]


@dataclass(frozen=True)
class Classical:
    """``names`` of `catalog.VALUES`; ``hold`` in panes."""

    names: tuple[str, ...]
    reference: Reference
    hold: int
    timer: Callable[[], float]

    @cached_property
    def detectors(self) -> dict[str, Streaming]:
        """The detectors, with their papers' parameters."""
        return {name: CLASSICAL[name]() for name in self.names}

    def start(self) -> ClassicalState:
        """Nothing observed."""
        units = len(self.reference.grid.names)
        return ClassicalState({name: it.start(units) for name, it in self.detectors.items()}, {})

    def step(self, state: ClassicalState, number: int, fresh: Summary) -> tuple[ClassicalState, Notes]:
        """Take in pane ``number``."""
        notes = Notes({}, {}, {})
        if not self.names:
            return state, notes
        seen = observations(self.reference, fresh)
        moved, quiet = dict(state.states), dict(state.quiet)
        for name, it in self.detectors.items():
            began = self.timer()
            try:
                step = it.update(moved[name], seen)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the other detectors go on
                notes.failures[name] = f"{type(fault).__name__}: {fault}"
                continue
            moved[name] = step.state
            if step.alarms.any() and number > quiet.get(name, 0):
                notes.alarms[name] = np.flatnonzero(step.alarms)
                quiet[name] = number + self.hold
            notes.seconds[name] = self.timer() - began
        return ClassicalState(moved, quiet), notes
