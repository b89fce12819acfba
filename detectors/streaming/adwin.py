"""ADWIN: a window that grows while its mean is constant and loses its old end when it is not.

Question: H0: the mean of the observations in the window is constant. H1: there is a cut with different means before and
after it.
Statistic: over all cuts between buckets, the difference of the means against
sqrt(2/m var ln(2/d)) + 2/(3m) ln(2/d), d = delta / ln(width), 1/m = 1/(n0 - l + 1) + 1/(n1 - l + 1), l =
``min_window_length``. While a cut passes, the oldest bucket is dropped; that is an alarm.
Null law: one check alarms with probability at most about delta, by the paper's bound for values in [0, 1]; none for an
endless stream. Measured run length (tests.bench streaming): about 2,000,000 observations, independent, normal or 0/1.
Sees / blind to: lasting shifts of mean in either direction; thrifty with false alarms and so slow. Blind to changes of
shape. It looks once in ``clock`` observations, and not before ``grace_period``. While it sheds the past it may alarm
several times for one change.
Cost: an exponential histogram of at most ``max_buckets`` buckets a power of two: 2.6 kB a column.
Source: Bifet and Gavalda 2007, section 3.2 and theorem 3.2; bucket variances: Babcock et al. 2003. Parameters and
defaults as in MOA and river. Unlike river's class, which forgets its whole window at an alarm, the part after the cut
is kept, as in the paper. The variance is computed from the buckets at every check: nothing accumulates errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.streaming import scan
from detectors.streaming.protocol import Kind, Step
from detectors.types import FloatArray, IntArray

LEVELS = 32
"""Bucket sizes 2^0 to 2^31: the window holds 2e10 observations before it forgets the oldest."""


class AdwinState(NamedTuple):
    """Buckets by level ``(u, LEVELS)``, oldest first, and observations that wait for the next check.

    ``total`` and ``spread (u, LEVELS, max_buckets)`` are each bucket's sum and its squared deviations from its mean.
    ``waiting (u, clock)`` are observations since the last check and ``waited (u,)`` their number.
    """

    buckets: FloatArray
    total: FloatArray
    spread: FloatArray
    waiting: FloatArray
    waited: FloatArray


class _Histogram(NamedTuple):
    """The buckets of some columns, changed in place: ``held (c, LEVELS)``, ``sums (2, c, LEVELS, max_buckets)``."""

    held: IntArray
    sums: FloatArray

    def of(self, columns: IntArray | scan.BoolArray) -> _Histogram:
        """Copy some columns."""
        return _Histogram(self.held[columns], self.sums[:, columns])


@dataclass(frozen=True, slots=True)
class Adwin:
    """Catalogue entry."""

    delta: float = 0.002
    clock: int = 32
    max_buckets: int = 5
    min_window_length: int = 5
    grace_period: int = 10
    name: str = "adwin"
    kind: Kind = "values"

    def start(self, units: int) -> AdwinState:
        """Begin with an empty window."""
        slots = np.zeros((units, LEVELS, self.max_buckets))
        return AdwinState(np.zeros((units, LEVELS)), slots, slots, np.zeros((units, self.clock)), np.zeros(units))

    def update(self, state: AdwinState, x: FloatArray) -> Step:
        """Take in observations ``(n, u)``, ``clock`` at a time."""
        if not x.size:
            return scan.nothing(state, x.shape[1])
        packed = scan.pack(np.asarray(x, np.float64))
        waited = state.waited.astype(np.int64)
        line, length = _joined(state.waiting, waited, packed.x.T, packed.counts)
        _, alarms, none, first = scan.nothing(state, len(length))
        full = length // self.clock
        if full.any():
            inner = _Histogram(state.buckets.astype(np.int64), np.stack([state.total, state.spread]))
            for block in range(int(full.max())):
                columns = np.flatnonzero(full > block)
                values = line[columns, block * self.clock : (block + 1) * self.clock]
                hit = columns[self._check(inner, columns, values)]
                alarms[hit] += 1
                first[hit] = np.fmin(first[hit], (block + 1) * self.clock - 1 - waited[hit])
            state = state._replace(buckets=inner.held.astype(np.float64), total=inner.sums[0], spread=inner.sums[1])
        rest = _window(line, full * self.clock, self.clock, length)
        state = state._replace(waiting=rest, waited=(length - full * self.clock).astype(np.float64))
        return Step(state, alarms, none, scan.row_of(packed, first))

    def _check(self, all_columns: _Histogram, columns: IntArray, values: FloatArray) -> scan.BoolArray:
        """Insert ``values (c, clock)`` and drop old buckets while a cut passes; which columns dropped any."""
        mine = all_columns.of(columns)
        _insert(mine, values)
        active = np.arange(len(columns))
        hit = np.zeros(len(columns), np.bool_)
        while active.size:
            active = active[self._differs(mine.of(active))]
            hit[active] = True
            _drop_oldest(mine, active)
        all_columns.held[columns], all_columns.sums[:, columns] = mine
        return hit

    def _differs(self, it: _Histogram) -> scan.BoolArray:
        """Whether any cut passes, ``(c,)``."""
        size, total, spread = _oldest_first(it)
        n0, u0 = size.cumsum(axis=1), total.cumsum(axis=1)
        width, whole = n0[:, -1:], u0[:, -1:]
        away = total - size * (whole / width)
        variance = (spread + away**2 / np.maximum(size, 1)).sum(axis=1, keepdims=True) / width
        n1, least = width - n0, self.min_window_length
        m = 1 / np.maximum(n0 - least + 1, 1) + 1 / np.maximum(n1 - least + 1, 1)
        log = np.log(2 * np.log(np.maximum(width, 2)) / self.delta)
        bound = np.sqrt(2 * m * variance * log) + 2 / 3 * m * log
        apart = np.abs(u0 / np.maximum(n0, 1) - (whole - u0) / np.maximum(n1, 1)) > bound
        judged = (n0 >= least) & (n1 >= least) & (width > self.grace_period)
        differs: scan.BoolArray = (apart & judged).any(axis=1)
        return differs


def _oldest_first(it: _Histogram) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Size, sum and spread of the buckets of each column, oldest first, zeros where there is none: ``(c, k)`` each."""
    depth = int(np.flatnonzero(it.held.any(axis=0))[-1]) + 1
    columns, _, slots = it.sums.shape[1:]
    levels = np.arange(depth - 1, -1, -1)
    used = np.arange(slots) < it.held[:, levels, None]
    size = used * 2.0 ** levels[:, None]
    sums = it.sums[:, :, levels].reshape(2, columns, depth * slots)
    return size.reshape(columns, -1), sums[0], sums[1]


def _insert(it: _Histogram, values: FloatArray) -> None:
    """Append ``values (c, k)``: where a level holds too many buckets, its oldest pairs join the next level."""
    most = it.sums.shape[-1]
    new = np.stack([values, np.zeros_like(values)])
    count = np.full(len(values), values.shape[1])
    for level in range(LEVELS):
        line, length = _joined(it.sums[:, :, level], it.held[:, level], new, count)
        count = (np.maximum(length - most, 0) + 1) // 2
        it.held[:, level] = length - 2 * count
        it.sums[:, :, level] = _window(line, 2 * count, most, length)
        pairs = int(count.max())
        if pairs == 0:
            return
        older, newer = line[:, :, 0 : 2 * pairs : 2], line[:, :, 1 : 2 * pairs : 2]
        new = older + newer
        new[1] += (older[0] - newer[0]) ** 2 / 2.0 ** (level + 1)


def _drop_oldest(it: _Histogram, columns: IntArray) -> None:
    """Drop one bucket of the highest level of each of the columns."""
    top = LEVELS - 1 - (it.held[columns, ::-1] > 0).argmax(axis=1)
    it.held[columns, top] -= 1
    shifted = np.zeros_like(it.sums[:, columns, top])
    shifted[..., :-1] = it.sums[:, columns, top, 1:]
    it.sums[:, columns, top] = shifted


def _joined(a: FloatArray, held: IntArray, b: FloatArray, more: IntArray) -> tuple[FloatArray, IntArray]:
    """The first ``held (c,)`` entries of ``a (..., c, i)`` and then ``b (..., c, j)``, and the number of entries."""
    if (held == held[0]).all():  # the usual case: columns fill in step, only dropped buckets set them apart
        return np.concatenate([a[..., : held[0]], b], axis=-1), held + more
    line = np.concatenate([a, b], axis=-1)
    at = np.arange(line.shape[-1])
    source = at + np.where(at >= held[:, None], a.shape[-1] - held[:, None], 0)
    source = np.minimum(source, line.shape[-1] - 1).reshape((1,) * (line.ndim - 2) + source.shape)
    return np.take_along_axis(line, source, axis=-1), held + more


def _window(line: FloatArray, start: IntArray, width: int, length: IntArray) -> FloatArray:
    """``width`` entries of ``line (..., c, k)`` from ``start (c,)`` on, zeros from ``length (c,)`` on."""
    if (start == start[0]).all() and (length == length[0]).all():
        same = np.zeros((*line.shape[:-1], width))
        some = line[..., start[0] : min(start[0] + width, length[0])]
        same[..., : some.shape[-1]] = some
        return same
    at = start[:, None] + np.arange(width)
    source = np.minimum(at, line.shape[-1] - 1).reshape((1,) * (line.ndim - 2) + at.shape)
    return np.where(at < length[:, None], np.take_along_axis(line, source, axis=-1), 0.0)
