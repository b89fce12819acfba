"""Where a model has become worse than it was, even if it fails more often elsewhere.

Question: is there a group of rows, told by one or two columns, whose mean loss has risen since the reference, by more
than that of all rows has? H0: no group's has.
Statistic: z of the rise beyond that of all rows (if this has risen at all), by the spread of both samples together. On
one half of the rows, and of the reference's labelled ones, the group of the largest z is taken; then, without its rows,
the next, while z is above `LEAST_Z`.
Null law: on the other halves z is normal; p-values are multiplied by the number of groups that were chosen. ``tau``
divides z^2. Approximate for few errors: groups have `LEAST_ROWS` rows in each sample.
Sees / blind to: local concept shift, once labels are there. A new mix within a group is a rise too, if what tells the
parts apart is in no column. Nothing finer than two conditions.
Cost: 0.1 CPU s for 4 x 8,192 rows of 13 columns, 0.3 s of 60.
Source: Kulldorff 1997 (the largest over regions); Podkopaev and Ramdas 2022 (losses of both samples).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.slices.columns import Codes, ColumnsFixed, Condition, Slice, conditions, inside
from detectors.slices.compare import SlicesFixed
from detectors.types import FloatArray, IntArray, SingleArray

MOST_ROWS: Final = 8_192
"""Rows of each half at most."""
MOST_ATOMS: Final = 400
MOST_SLICES: Final = 5
LEAST_ROWS: Final = 50
LEAST_Z: Final = 3.5
LEVEL: Final = 0.05


class Worse(NamedTuple):
    """A group that has become worse, its rise beyond that of all rows, and ``p`` for all groups together.

    Rise and p come from rows that did not choose the group, and are in none of the groups before it.
    """

    conditions: Slice
    rise: float
    p: float


class _Half(NamedTuple):
    """Rows now and then with their losses."""

    now: Codes
    loss: FloatArray
    then: Codes
    before: FloatArray

    def without(self, group: Slice) -> _Half:
        """The rows that are not in a group."""
        new, old = ~inside(group, self.now), ~inside(group, self.then)
        return _Half(self.now[new], self.loss[new], self.then[old], self.before[old])

    @property
    def rise(self) -> float:
        """Rise of the mean loss of all rows, 0 if it has fallen."""
        return max(float(self.loss.mean() - self.before.mean()), 0.0)


def worsened(
    fixed: ColumnsFixed,
    binned: Codes,
    loss: FloatArray,
    reference: SlicesFixed,
    rng: np.random.Generator,
    tau: float = 1.0,
) -> tuple[Worse, ...]:
    """Groups of rows ``(n, f)`` with ``loss (n,)``, NaN where not known, that do worse than in the reference."""
    new, old = _halves(loss, rng), _halves(reference.loss, rng)
    most = max(_largest(loss, new), _largest(reference.loss, old))
    if min(len(new[0]), len(old[0])) < 2 * LEAST_ROWS or most <= 0:
        return ()
    first, second = (
        _Half(binned[a], loss[a] / most, reference.codes[b], reference.loss[b] / most)
        for a, b in zip(new, old, strict=True)
    )
    return _judged(_chosen(fixed, first), second, most, max(tau, 1.0))


def _halves(loss: FloatArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    known = rng.permutation(np.flatnonzero(np.isfinite(loss) & (loss >= 0)))
    half = min(len(known) // 2, MOST_ROWS)
    return known[:half], known[half : 2 * half]


def _largest(loss: FloatArray, halves: tuple[IntArray, IntArray]) -> float:
    return max(float(loss[half].max(initial=0.0)) for half in halves)


def _chosen(fixed: ColumnsFixed, half: _Half) -> list[Slice]:
    """Groups with the largest z, one after the other, each without the rows of those before."""
    out: list[Slice] = []
    rise, every = half.rise, conditions(fixed)
    while len(out) < MOST_SLICES and min(len(half.loss), len(half.before)) >= LEAST_ROWS:
        counts = np.array([(inside((one,), half.now).sum(), inside((one,), half.then).sum()) for one in every])
        enough = np.flatnonzero(counts.min(axis=1) >= LEAST_ROWS)
        if not len(enough):
            break
        some = [every[i] for i in np.sort(enough[np.argsort(-counts[enough, 0], kind="stable")[:MOST_ATOMS]])]
        z = _pairs(some, half, rise)
        i, j = divmod(int(z.argmax()), len(some))
        if not z[i, j] > LEAST_Z:
            break
        group = tuple(sorted({some[i], some[j]}))
        out.append(group)
        half = half.without(group)
    return out


def _pairs(some: list[Condition], half: _Half, rise: float) -> FloatArray:
    """The z of all pairs of conditions ``(m, m)``, of single ones on the diagonal."""
    column = np.array([one.column for one in some])
    new, old = _sums(some, half.now, half.loss), _sums(some, half.then, half.before)
    z = _z(new, old, rise)
    allowed = (column[:, None] != column[None, :]) | np.eye(len(some), dtype=np.bool_)
    return np.where(allowed & (new[0] >= LEAST_ROWS) & (old[0] >= LEAST_ROWS), z, -np.inf)


def _sums(some: list[Condition], binned: Codes, loss: FloatArray) -> FloatArray:
    """Rows, losses and squares of the losses of all pairs ``(3, m, m)``."""
    member: SingleArray = np.zeros((len(loss), len(some)), np.float32, order="F")
    for i, one in enumerate(some):
        member[:, i] = inside((one,), binned)
    weight = loss[:, None].astype(np.float32)
    return np.array([member.T @ (member * one) for one in (np.float32(1), weight, weight * weight)], np.float64)


def _z(new: FloatArray, old: FloatArray, rise: float) -> FloatArray:
    """Rise of means beyond ``rise`` in standard errors; ``(3, ...)`` rows, losses, squares of either sample."""
    n, m = np.maximum(new[0], 1), np.maximum(old[0], 1)
    mean = (new[1] + old[1]) / (n + m)
    variance = np.maximum((new[2] + old[2]) / (n + m) - mean * mean, 1e-12)
    z: FloatArray = (new[1] / n - old[1] / m - rise) / np.sqrt(variance * (1 / n + 1 / m))
    return z


def _judged(chosen: list[Slice], half: _Half, most: float, tau: float) -> tuple[Worse, ...]:
    """The groups that are worse on rows that have not chosen them."""
    out, rise = [], half.rise
    for group in chosen:
        new, old = (_total(part, group) for part in ((half.now, half.loss), (half.then, half.before)))
        if min(new[0], old[0]) >= LEAST_ROWS / 2:
            z = float(_z(new, old, rise)) / math.sqrt(tau)
            p = min(float(special.ndtr(-z)) * len(chosen), 1.0)
            if p <= LEVEL:
                out.append(Worse(group, float(new[1] / new[0] - old[1] / old[0] - rise) * most, p))
        half = half.without(group)
    return tuple(out)


def _total(part: tuple[Codes, FloatArray], group: Slice) -> FloatArray:
    mine: NDArray[np.float64] = part[1][inside(group, part[0])]
    return np.array([len(mine), mine.sum(), np.square(mine).sum()])
