"""By what rows are told apart when figures are made of them: the version that answered, and the segment they are of.

The few segments that the reference shows most often have figures of their own, the others share one; so do versions
beyond the newest few.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from detectors.performance.layout import Layout
from detectors.types import CodeArray, IntArray
from monitor.decode import Decoded, Labels, named
from monitor.outcomes.slots import OTHER, Slots
from monitor.strata import StrataPlan
from monitor.streams import MOST_VERSIONS

MOST_SEGMENTS: Final = 10
MOST_CLASSES: Final = 24
"""With more classes parts have no figures; beyond `_RANKED` classes no scores are ranked: 36 MB for all counts."""
_RANKED: Final = 8
_CELLS: Final = {"binary": 256, "multiclass": 64}
"""Cells of scores that are counted of a part: fewer than of the whole."""

Places = Mapping[str, NDArray[np.int8]]


def coarse(made: Layout) -> Layout:
    """The layout of parts; its bins and sums are those of the whole."""
    cuts = made.cuts if int(made.classes) <= _RANKED else made.cuts[:0]
    step = max((made.cuts.shape[1] + 1) // _CELLS.get(made.name, 1), 1)
    return made._replace(cuts=cuts[:, step - 1 :: step])


def shown(plan: StrataPlan | None) -> tuple[str, ...]:
    """Names of the segments with figures of their own."""
    return () if plan is None else plan.segments[:-1][:MOST_SEGMENTS]


def segments_of(plan: StrataPlan | None, strata: CodeArray | None, rows: int) -> IntArray:
    """Place of each row's segment among those `shown`, their number for the others; -1 where there are none."""
    names = shown(plan)
    if plan is None or strata is None or not names:
        return np.full(rows, -1, np.int64)
    place: IntArray = np.minimum(strata.astype(np.int64) // plan.cells, len(names))
    return place


class Divided:
    """The places of one model's versions and segments."""

    def __init__(self, plan: StrataPlan | None, seconds: float) -> None:
        """For rows that are kept for so long."""
        self._plan = plan
        self.names = shown(plan)
        self.slots = {"version": Slots(MOST_VERSIONS, seconds), "segment": Slots(MOST_SEGMENTS, seconds)}

    def places(self, decoded: Decoded, version: str, now: float) -> tuple[Places, dict[str, list[int]]]:
        """Of each row, and which places another name has taken; ``version`` is the sender's word."""
        rows = decoded.block.rows
        segments = segments_of(self._plan, decoded.block.strata, rows)
        given = {"version": _versions(decoded.version, version, rows), "segment": (segments, (*self.names, OTHER))}
        places: dict[str, NDArray[np.int8]] = {}
        freed = {}
        for kind, (codes, values) in given.items():
            found, freed[kind] = self.slots[kind].of(codes, values, now)
            places[kind] = found.astype(np.int8)
        return places, freed

    def state(self) -> dict[str, Any]:
        """JSON-able."""
        return {kind: one.state() for kind, one in self.slots.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`."""
        for kind, one in self.slots.items():
            one.restore(state[kind])


def _versions(labels: Labels | None, version: str, rows: int) -> tuple[IntArray, tuple[str, ...]]:
    """Codes of versions and their names as those of streams."""
    if labels is None:
        return np.zeros(rows, np.int64), (named(version),)
    codes = labels.codes.astype(np.int64)
    names = (*map(named, labels.values), named(version))
    return np.where(codes < 0, len(labels.values), codes), names
