"""The stratum of each row: which segment it belongs to and in which hour of the week it falls.

A stratum is a segment (a combination of values of all segment columns) crossed with a cell of the week. The segments
that the reference shows most often have strata of their own, all others share "other"; rows without a time share a
cell of their own. Hours are local ones: the zone's offset is asked once for each quarter of an hour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np

from detectors.types import CodeArray, FloatArray, IntArray

if TYPE_CHECKING:
    from monitor.decode import Labels

MOST_SEGMENTS = 64
"""Combinations of segment values that get strata of their own."""
MOST_STRATA = 512
"""Strata in all; with many cells there are fewer segments."""
MOST_COUNTS = 1 << 24
"""Counts of all strata in all (128 MB); with very many columns there are fewer segments."""
CELLS = {"none": 1, "hour_of_day": 24, "weekday_hour": 48, "hour_of_week": 168}
"""Cells of the week by the name of the season."""
OTHER = "other segments"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_QUARTER, _HOUR, _DAY = 900, 3_600, 86_400
_EPOCH_WEEKDAY = 3
"""1970 began on a Thursday."""
_OFFSETS = 1 << 16
"""Zone offsets remembered."""


@dataclass(frozen=True, slots=True)
class StrataPlan:
    """What makes the strata of a model: ``combinations`` of values of ``columns``, and the season."""

    columns: tuple[str, ...] = ()
    combinations: tuple[tuple[str, ...], ...] = ()
    by: str = "none"
    timezone: str = "UTC"

    def document(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> StrataPlan:
        """Read back what `document` wrote; KeyError, TypeError or ValueError if it is something else."""
        by, zone = document["by"], document["timezone"]
        CELLS[by], ZoneInfo(zone)
        combinations = tuple(tuple(map(str, names)) for names in document["combinations"])
        return cls(tuple(document["columns"]), combinations, by, zone)

    @property
    def cells(self) -> int:
        """Cells of each segment, that of the rows without a time included."""
        return CELLS[self.by] + (self.by != "none")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the strata in the order of their codes: segment by segment."""
        segments = self.segments or ("",)
        hours = [_cell_name(self.by, cell) for cell in range(CELLS[self.by])]
        hours += ["no time"] if self.by != "none" else []
        return tuple(" | ".join(filter(None, (segment, hour))) for segment in segments for hour in hours)

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the segments, that of all others the last; none where no columns make segments."""
        named = (
            ", ".join(f"{column}={value}" for column, value in zip(self.columns, values, strict=True))
            for values in self.combinations
        )
        return (*named, OTHER) if self.columns else ()

    @property
    def hours(self) -> IntArray:
        """The cell of the week of each stratum."""
        return np.tile(np.arange(self.cells), len(self.names) // self.cells)

    @property
    def parents(self) -> IntArray:
        """The wider group of each stratum: its segment; without segments the hour of the day, or the sort of day.

        One group for all where that is the stratum itself.
        """
        cells = np.arange(self.cells)
        if self.columns and self.by != "none":
            return np.repeat(np.arange(len(self.combinations) + 1), len(cells))
        if self.columns or self.by in ("none", "hour_of_day"):
            return np.zeros(len(self.names), np.int64)
        group = cells // 24 if self.by == "weekday_hour" else cells % 24
        group[-1] = group[:-1].max() + 1  # no time
        return group


def plan_of(
    columns: Sequence[str], seen: Mapping[tuple[str, ...], int], by: str, timezone: str, counts: int
) -> StrataPlan | None:
    """The plan for segments ``seen`` so often in the reference; None where neither segments nor season are asked for.

    ``counts`` is the number of counts in one summary: it bounds how many strata there can be.
    """
    if not columns and by == "none":
        return None
    bare = StrataPlan(tuple(columns), (), by, timezone)
    room = min(MOST_STRATA, MOST_COUNTS // max(counts, 1)) // bare.cells - 1
    ranked = sorted(seen, key=lambda values: (-seen[values], values))
    return StrataPlan(bare.columns, tuple(ranked[: max(min(room, MOST_SEGMENTS), 1)]), by, timezone)


def tally(columns: Sequence[Labels], found: Counter[tuple[str, ...]]) -> None:
    """Add the combinations of values in a batch to ``found``; rows that miss one of them do not count."""
    codes = np.stack([column.codes for column in columns], axis=1)
    rows, times = np.unique(codes[(codes >= 0).all(axis=1)], axis=0, return_counts=True)
    for row, number in zip(rows.tolist(), times.tolist(), strict=True):
        found[tuple(column.values[code] for column, code in zip(columns, row, strict=True))] += number


class Stratifier:
    """Says the strata of rows; not thread-safe, for it remembers offsets."""

    def __init__(self, plan: StrataPlan) -> None:
        """Make the look-up tables."""
        self.plan = plan
        self._zone = None if plan.timezone == "UTC" else ZoneInfo(plan.timezone)
        self._offsets: dict[int, int] = {}
        self._ids = [
            {value: i for i, value in enumerate(dict.fromkeys(values[depth] for values in plan.combinations))}
            for depth in range(len(plan.columns))
        ]
        self._steps = _trie(plan.combinations, self._ids)

    def codes(self, segments: Mapping[str, Labels], time: FloatArray | None, rows: int) -> CodeArray:
        """Strata ``(rows,)``; a segment column that the batch does not have is missing in all rows."""
        segment = self._segment([segments.get(name) for name in self.plan.columns], rows)
        if self.plan.by == "none":
            return segment.astype(np.int32)
        return (segment * self.plan.cells + self._cell(time, rows)).astype(np.int32)

    def _segment(self, columns: Sequence[Labels | None], rows: int) -> IntArray:
        """Position in ``combinations``, their number for the others; 0 without segments."""
        node = np.zeros(rows, np.int64)
        for column, ids, step in zip(columns, self._ids, self._steps, strict=True):
            if column is None:
                return np.full(rows, len(self.plan.combinations), np.int64)
            known = np.array([ids.get(value, -1) for value in column.values] + [-1], np.int64)
            node = step[node, known[column.codes]]
        return node

    def _cell(self, time: FloatArray | None, rows: int) -> IntArray:
        none = CELLS[self.plan.by]
        if time is None:
            return np.full(rows, none, np.int64)
        known = np.isfinite(time)
        local = self._local(np.where(known, time, 0.0))
        day = local // _DAY
        hour = local % _DAY // _HOUR
        weekday = (day + _EPOCH_WEEKDAY) % 7
        group = {"hour_of_day": weekday * 0, "weekday_hour": weekday // 5, "hour_of_week": weekday}[self.plan.by]
        return np.where(known, group * 24 + hour, none)

    def _local(self, time: FloatArray) -> IntArray:
        """Whole seconds of local time since the epoch."""
        seconds = np.floor(time).astype(np.int64)
        if self._zone is None or not len(time):
            return seconds
        quarter = seconds // _QUARTER
        if quarter.min() == quarter.max():
            return seconds + self._offset(int(quarter[0]), self._zone)
        some, where = np.unique(quarter, return_inverse=True)
        return seconds + np.array([self._offset(one, self._zone) for one in some.tolist()], np.int64)[where]

    def _offset(self, quarter: int, zone: ZoneInfo) -> int:
        offset = self._offsets.get(quarter)
        if offset is None:
            try:
                ahead = datetime.fromtimestamp(quarter * _QUARTER, zone).utcoffset()
                offset = int(ahead.total_seconds()) if ahead else 0
            except (ValueError, OverflowError, OSError):  # at either end of the calendar
                offset = 0
            if len(self._offsets) >= _OFFSETS:
                self._offsets.clear()
            self._offsets[quarter] = offset
        return offset


def _trie(combinations: Sequence[tuple[str, ...]], ids: Sequence[Mapping[str, int]]) -> list[IntArray]:
    """A table for each column: from (node, value) to the next node; the last nodes are positions of combinations.

    The last row and the last column of a table are for what is unknown.
    """
    steps: list[IntArray] = []
    nodes: dict[tuple[str, ...], int] = {(): 0}
    for depth, known in enumerate(ids):
        reached = dict.fromkeys(values[: depth + 1] for values in combinations)
        following = {values: i for i, values in enumerate(reached)}
        step = np.full((len(nodes) + 1, len(known) + 1), len(following), np.int64)
        for values, i in following.items():
            step[nodes[values[:-1]], known[values[-1]]] = i
        steps.append(step)
        nodes = following
    return steps


def _cell_name(by: str, cell: int) -> str:
    hour = f"{cell % 24:02d}h"
    if by == "none":
        return ""
    return {
        "hour_of_day": hour,
        "weekday_hour": f"{('weekday', 'weekend')[cell // 24 % 2]} {hour}",
        "hour_of_week": f"{_DAYS[cell // 24]} {hour}",
    }[by]
