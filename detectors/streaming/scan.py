"""How a recursion runs over many rows at once although each column begins anew after each of its alarms.

A detector gives the whole path of its state over a stretch of rows as if nothing happened. Each column keeps the path
up to its first alarm; only the columns that alarmed are run again, from the row after it. Sums and extremes along a
path are accumulated strictly from row to row, so that pieces give the same bits as the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from detectors.streaming.protocol import Step
from detectors.types import FloatArray, IntArray, State

BoolArray = NDArray[np.bool_]
ROWS = 256
"""Rows of one stretch: their paths fit the second-level cache at 60 columns; an alarm repeats no more than these."""


class Scan(NamedTuple):
    """Path of a state: its fields with the row as first axis ``(n, c, ...)``, alarms and warning zone ``(n, c)``."""

    path: State
    alarm: BoolArray
    warning: BoolArray


class Packed(NamedTuple):
    """Observations ``(n, u)`` moved to the top of their columns, zeros below; how many, and the rows they came from."""

    x: FloatArray
    counts: IntArray
    row: IntArray | None


class Recursion(Protocol):
    """What a detector has to give."""

    def trace(self, state: State, x: FloatArray) -> Scan:
        """Run over ``x (n, c)``, all finite, as if there were no alarm."""
        ...

    def after(self, state: State) -> State:
        """Begin anew from the states ``(c, ...)`` in which the alarm was raised."""
        ...


def pack(x: FloatArray) -> Packed:
    """Leave out what is not finite."""
    good = np.isfinite(x)
    count = np.count_nonzero(good, axis=0).astype(np.int64)
    if good.all():
        return Packed(x, count, None)
    row = np.argsort(~good, axis=0, kind="stable")
    packed = np.take_along_axis(np.where(good, x, 0.0), row, axis=0)
    return Packed(packed, count, row)


def row_of(packed: Packed, position: FloatArray) -> FloatArray:
    """Rows of the observations at ``position (u,)`` in their columns; NaN stays NaN."""
    if packed.row is None:
        return position
    known = np.isfinite(position)
    at = np.where(known, position, 0).astype(np.int64)
    return np.where(known, packed.row[at, np.arange(len(at))], np.nan)


def nothing(state: State, units: int) -> Step:
    """No alarm, no warning."""
    return Step(state, np.zeros(units), np.zeros(units), np.full(units, np.nan))


def run(detector: Recursion, state: State, x: FloatArray) -> Step:
    """Update the state with ``x (n, u)``, stretch by stretch."""
    packed = pack(np.asarray(x, np.float64))
    units = x.shape[1]
    told = nothing(type(state)(*(field.copy() for field in state)), units)
    for start in range(0, len(x), ROWS):
        left = np.clip(packed.counts - start, 0, ROWS)
        if left.any():
            _stretch(detector, told, packed.x[start : start + ROWS], left, start)
    return told._replace(first=row_of(packed, told.first))


def _stretch(detector: Recursion, told: Step, x: FloatArray, left: IntArray, start: int) -> None:
    """Run over one stretch, writing to ``told``; ``left (u,)`` are each column's observations in it."""
    columns = np.flatnonzero(left)
    if len(columns) < len(left):
        x, left = x[:, columns], left[columns]
    begin = np.full(len(columns), start)
    while columns.size:
        scan = detector.trace(_take(told.state, columns), x)
        end, hit = _first_alarm(scan.alarm, left)
        rows = np.arange(len(x))[:, None]
        told.warnings[columns] += np.count_nonzero(scan.warning & ~scan.alarm & (rows <= end), axis=0)
        reached = type(told.state)(*(field[end, np.arange(len(end))] for field in scan.path))
        _put(told.state, columns, reached)
        if not hit.any():
            return
        columns, end, begin, left = columns[hit], end[hit], begin[hit], left[hit]
        _put(told.state, columns, detector.after(_take(reached, np.flatnonzero(hit))))
        told.alarms[columns] += 1
        told.first[columns] = np.fmin(told.first[columns], begin + end)
        x, begin, left = _rest(x[:, hit], end), begin + end + 1, left - end - 1
        more = left > 0
        columns, x, begin, left = columns[more], x[:, more], begin[more], left[more]


def _first_alarm(alarm: BoolArray, left: IntArray) -> tuple[IntArray, BoolArray]:
    """Row of each column's first alarm, or of its last observation, and whether it alarmed."""
    alarm = alarm & (np.arange(len(alarm))[:, None] < left)
    hit: BoolArray = np.any(alarm, axis=0)
    return np.where(hit, alarm.argmax(axis=0), left - 1), hit


def _rest(x: FloatArray, end: IntArray) -> FloatArray:
    """Rows after ``end (c,)``, moved to the top."""
    rows = np.arange(len(x) - 1 - int(end.min()))[:, None] + end + 1
    return np.take_along_axis(x, np.minimum(rows, len(x) - 1), axis=0)


def _take(state: State, columns: IntArray) -> State:
    return type(state)(*(field[columns] for field in state))


def _put(state: State, columns: IntArray, values: State) -> None:
    for field, value in zip(state, values, strict=True):
        field[columns] = value


def number(start: FloatArray, x: FloatArray) -> FloatArray:
    """Count the observations at each row ``(n, c)``, after ``start (c,)`` earlier ones."""
    return start + np.arange(1.0, len(x) + 1)[:, None]


def sums(start: FloatArray, x: FloatArray) -> FloatArray:
    """Running sums of ``x (n, c)`` from ``start (c,)``."""
    return _accumulate(np.add, start, x)


def lows(start: FloatArray, x: FloatArray) -> FloatArray:
    """Running minima of ``x (n, c)`` and ``start (c,)``."""
    return _accumulate(np.minimum, start, x)


def highs(start: FloatArray, x: FloatArray) -> FloatArray:
    """Running maxima of ``x (n, c)`` and ``start (c,)``."""
    return _accumulate(np.maximum, start, x)


def _accumulate(ufunc: np.ufunc, start: FloatArray, x: FloatArray) -> FloatArray:
    table = np.concatenate([start[None], x])
    running: FloatArray = ufunc.accumulate(table, axis=0, out=table)[1:]
    return running


def before(start: FloatArray, path: FloatArray) -> FloatArray:
    """What a path ``(n, c)`` was one row earlier."""
    return np.concatenate([start[None], path[:-1]])


def fade(start: FloatArray, x: FloatArray, keep: float) -> FloatArray:
    """Fading sums s <- keep s + x along the rows of ``x (n, c)``, from ``start (c,)``.

    The one recursion that numpy cannot accumulate: two operations a row, over all columns.
    """
    path = np.empty_like(x)
    earlier, scratch = start, np.empty_like(start)
    for out, value in zip(path, x, strict=True):
        np.multiply(earlier, keep, out=scratch)
        np.add(scratch, value, out=out)
        earlier = out
    return path


def latest(marked: BoolArray) -> IntArray:
    """Number of the latest marked row up to each row ``(n, c)``, from 1; 0 before any."""
    rows = np.arange(1, len(marked) + 1)[:, None]
    newest: IntArray = np.maximum.accumulate(np.where(marked, rows, 0), axis=0)
    return newest


def recall(at: IntArray, start: FloatArray, values: FloatArray) -> FloatArray:
    """Values ``(n, c)`` as they were at the rows of `latest`; ``start (c,)`` where there was none."""
    return np.take_along_axis(np.concatenate([start[None], values]), at, axis=0)


def held(fields: Sequence[FloatArray], x: FloatArray) -> list[FloatArray]:
    """Paths of fields ``(c,)`` that stay as they are along the rows of ``x (n, c)``."""
    return [np.broadcast_to(field, x.shape) for field in fields]
