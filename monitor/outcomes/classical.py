"""The classical detectors of an error stream that the configuration names, on errors in the order of their labels.

They bound nothing over an endless stream, and labels that come sooner for wrong answers fool them: an alarm of theirs
is a note, at most one a detector within the hold, and calls nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.streaming.catalog import CLASSICAL
from detectors.types import FloatArray


class Classical:
    """Detectors by name; after an alarm a detector is not heard for so many ``quiet`` labels."""

    def __init__(self, names: tuple[str, ...], quiet: int) -> None:
        """Begin with no observations."""
        self._detectors = {name: CLASSICAL[name]() for name in names}
        self._states: dict[str, Any] = {name: one.start(1) for name, one in self._detectors.items()}
        self._quiet, self._labels = quiet, 0
        self._until = dict.fromkeys(names, 0)
        self._alarms: list[str] = []

    def add(self, wrong: NDArray[np.bool_]) -> None:
        """Errors ``(n,)`` in the order of their labels."""
        errors: FloatArray = wrong.astype(np.float64)[:, None]
        self._labels += len(errors)
        for name, one in self._detectors.items():
            step = one.update(self._states[name], errors)
            self._states[name] = step.state
            if step.alarms[0] and self._labels > self._until[name]:
                self._until[name] = self._labels + self._quiet
                self._alarms.append(name)

    def heard(self) -> list[str]:
        """Those that have alarmed since the last time."""
        told, self._alarms = self._alarms, []
        return told

    def state(self) -> dict[str, NDArray[Any]]:
        """Arrays for a checkpoint."""
        found = {f"{name}/{i}": part for name, state in self._states.items() for i, part in enumerate(state)}
        until = {f"{name}/until": np.array([self._until[name]]) for name in self._detectors}
        return {**found, **until, "labels": np.array([self._labels])}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Inverse of `state`; a detector that was not there begins."""
        self._labels = int(arrays["labels"][0])
        for name in self._detectors:
            if f"{name}/until" in arrays:
                state = self._states[name]
                self._states[name] = type(state)(*(arrays[f"{name}/{i}"] for i in range(len(state))))
                self._until[name] = int(arrays[f"{name}/until"][0])
