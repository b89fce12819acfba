"""What a classical streaming detector is: a recursion over the observations of each column, and its alarms.

None of them pages by default. Their papers bound the chance of a false alarm of one look, or nothing at all; over an
endless stream each raises false alarms at a rate that depends on the stream. So every one is judged by its measured run
length, and `python -m tests.bench streaming` measures it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

from detectors.types import FloatArray, State

Kind = Literal["values", "errors"]
"""``values``: real numbers with mean 0 and standard deviation 1 under no drift; ``errors``: 0 (right) or 1 (wrong)."""


class Step(NamedTuple):
    """What ``n`` observations did to each column, ``(u,)`` but for the state.

    ``alarms`` and ``warnings`` count observations at which the detector alarmed, or stood in its warning zone without
    alarming; ``first`` is the row of the first alarm, from 0, NaN without one.
    """

    state: State
    alarms: FloatArray
    warnings: FloatArray
    first: FloatArray


class Streaming(Protocol):
    """A streaming detector over all columns at once; columns never touch each other.

    The state is a NamedTuple of float64 arrays of shape ``(u, ...)`` (checkpoints hold it). Updating in pieces gives
    the same bits as updating at once. After an alarm a column begins anew, in the way that its paper says.
    """

    @property
    def name(self) -> str:
        """Catalogue key."""
        ...

    @property
    def kind(self) -> Kind:
        """What one observation is."""
        ...

    def start(self, units: int) -> State:
        """Begin with no observations."""
        ...

    def update(self, state: State, x: FloatArray) -> Step:
        """Take in consecutive observations ``(n, u)``; one that is not finite is no observation of its column."""
        ...
