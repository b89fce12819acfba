"""The classical streaming detectors that the configuration names, on the pane means of one stream. Pure.

They bound nothing over an endless stream, so they never page and never open a ticket: an alarm of theirs is a note, at
most one a detector within the hold. Online MMD looks at the first view, one row of each run that a pane has kept: those
are nearly independent.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from detectors.streaming.catalog import CLASSICAL, ONLINE
from detectors.streaming.observe import observations
from detectors.streaming.online_mmd import OnlineMMD, OnlineMMDFixed
from detectors.streaming.protocol import Streaming
from detectors.types import FloatArray, IntArray, Reference, Sample, SingleArray, Summary

MMD = OnlineMMD(run_length=10_000.0, draws=30_000)
"""One false alarm in so many kept runs: some hundred panes."""


class Notes(NamedTuple):
    """Detectors that alarmed with the units of each (columns, then views), failures and seconds by detector."""

    alarms: dict[str, IntArray]
    failures: dict[str, str]
    seconds: dict[str, float]


class ClassicalState(NamedTuple):
    """States of the detectors by name, and the pane up to which each is not heard."""

    states: Mapping[str, Any]
    quiet: Mapping[str, int]


@dataclass(frozen=True)
class Classical:
    """``names`` of `catalog.VALUES`, and `ONLINE`; ``hold`` in panes."""

    names: tuple[str, ...]
    reference: Reference
    hold: int
    timer: Callable[[], float]

    @cached_property
    def detectors(self) -> dict[str, Streaming]:
        """The detectors, with their papers' parameters."""
        return {name: CLASSICAL[name]() for name in self.names if name != ONLINE}

    @cached_property
    def online(self) -> OnlineMMDFixed | None:
        """What online MMD measured; None where it was not asked for, or there are too few rows."""
        if ONLINE not in self.names or not self.reference.views:
            return None
        view = self.reference.views[0]
        rows = _apart(view.sample)
        if len(rows) < 4 * MMD.window:
            return None
        return MMD.fit(rows, np.random.default_rng(zlib.crc32(self.reference.grid.id.encode())))

    def start(self) -> ClassicalState:
        """Nothing observed."""
        units = len(self.reference.grid.names)
        states: dict[str, Any] = {name: it.start(units) for name, it in self.detectors.items()}
        if self.online is not None:
            states[ONLINE] = MMD.start(self.online)
        return ClassicalState(states, {})

    def adopt(self, state: ClassicalState) -> ClassicalState:
        """Take over from the reference before: online MMD, whose window lies in that one, begins anew."""
        fresh = {} if self.online is None else {ONLINE: MMD.start(self.online)}
        return ClassicalState({name: one for name, one in state.states.items() if name != ONLINE} | fresh, state.quiet)

    def step(
        self, state: ClassicalState, number: int, fresh: Summary, samples: Sequence[Sample]
    ) -> tuple[ClassicalState, Notes]:
        """Take in pane ``number`` and the rows of the views that it kept."""
        notes = Notes({}, {}, {})
        moved, quiet = dict(state.states), dict(state.quiet)
        observed = cache(partial(observations, self.reference, fresh))
        for name in state.states:
            began = self.timer()
            try:
                moved[name], units = self._update(name, moved[name], observed, samples)
            except Exception as fault:  # noqa: BLE001 - whatever it is, the other detectors go on
                notes.failures[name] = f"{type(fault).__name__}: {fault}"
                continue
            if len(units) and number > quiet.get(name, 0):
                notes.alarms[name] = units
                quiet[name] = number + self.hold
            notes.seconds[name] = self.timer() - began
        return ClassicalState(moved, quiet), notes

    def _update(
        self, name: str, state: Any, observed: Callable[[], FloatArray], samples: Sequence[Sample]
    ) -> tuple[Any, IntArray]:
        """The detector's next state, and the units that alarmed."""
        if name == ONLINE and self.online is not None:
            online = MMD.update(self.online, state, _apart(samples[0]))
            return online.state, np.full(min(online.alarms, 1), len(self.reference.grid.names))
        step = self.detectors[name].update(state, observed())
        return step.state, np.flatnonzero(step.alarms)


def _apart(sample: Sample) -> SingleArray:
    """One row of each run."""
    return sample.rows[np.flatnonzero(np.diff(sample.run, prepend=-1))]
