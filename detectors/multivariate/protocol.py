"""What a joint test and a joint e-detector are: pure functions on one view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from detectors.types import Fixed, Reason, Sample, SingleArray, State, View


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a joint test says about one window of one view; NaN and a `Reason` where it has nothing to say."""

    statistic: float
    log_p: float
    n: int
    reason: Reason = Reason.OK
    extra: Mapping[str, float] = field(default_factory=dict)


class JointTest(Protocol):
    """A two-sample test of a window's rows against the reference's.

    ``fit`` runs once a reference; ``score`` costs only the window's rows. ``rng`` makes the permutations: the same
    seed gives the same p-value.
    """

    @property
    def name(self) -> str:
        """Catalogue key."""
        ...

    @property
    def failure_modes(self) -> tuple[str, ...]:
        """The failure modes that this test can speak to."""
        ...

    def fit(self, view: View, rng: np.random.Generator) -> Fixed:
        """Measure on the reference, as a NamedTuple of arrays."""
        ...

    def score(self, fixed: Fixed, view: View, sample: Sample, rng: np.random.Generator) -> Outcome:
        """Judge one window."""
        ...


class Step(NamedTuple):
    """What a joint e-detector says after a pane.

    ``log_e`` of its evidence, ``since`` how many panes ago the evidence began (NaN: there is none), the ``effect``
    (probability mass that moved along its direction in this pane, at least), and while an alarm is open ``back``: the
    log evidence that the shift is over (NaN otherwise).
    """

    log_e: float
    since: float
    effect: float
    back: float
    n: int


class JointEDetector(Protocol):
    """A sequential joint detector: its evidence may be looked at after every pane, for ever.

    The state is a NamedTuple of float64 arrays (checkpoints hold it).
    """

    @property
    def name(self) -> str:
        """Catalogue key."""
        ...

    @property
    def failure_modes(self) -> tuple[str, ...]:
        """The failure modes that this detector can speak to."""
        ...

    def fit(self, view: View, rng: np.random.Generator) -> Fixed:
        """Measure on the reference, as a NamedTuple of arrays."""
        ...

    def start(self, fixed: Fixed) -> State:
        """Begin with no evidence."""
        ...

    def score(self, fixed: Fixed, state: State, fresh: Sample) -> tuple[State, Step]:
        """Take in the newest pane's rows."""
        ...

    def alarmed(self, fixed: Fixed, state: State) -> State:
        """An alarm was raised: drop the evidence, hold the direction and watch along it for the way back."""
        ...

    def recovered(self, fixed: Fixed, state: State) -> State:
        """The alarm is over: let go of the direction and begin anew."""
        ...

    def witness(self, fixed: Fixed, state: State, rows: SingleArray) -> SingleArray:
        """How much each row ``(n, d)`` looks like the shifted stream rather than the reference, ``(n,)``."""
        ...
