"""The counts themselves: whole numbers by segment that are linear in the rows, and how rows are added to them.

Rows in any order, in any pieces, twice and taken back once (`merge`, `remove`) give bit for bit the counts of the clean
batch, and so the same figures to the last digit. Sums of numbers are exact (`detectors.maths.exact`); weights are
rounded to 2^-30 of the reference's typical one, and count at most 1024 times as much.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.maths import exact
from detectors.performance.layout import MOST, Layout
from detectors.performance.types import Kind
from detectors.types import FloatArray, IntArray

HEAVIEST: Final = 1024.0
"""Most that a row counts for, in typical ones."""
UNIT: Final = 2.0**30
"""Whole numbers that a row of typical weight counts for; of squares of weights it is `UNIT_OF_SQUARES`."""
UNIT_OF_SQUARES: Final = 2.0**20
_EXACT: Final = 2**53

SEEN: Final = ("labelled", "unlabelled", "no_prediction", "bad_weight", "clipped_weight", "unknown_class")
"""What ``Tally.seen`` counts: the first four are all rows in a segment, the last two are of those that count."""
DECIDED, SCORED, CHANCES, NONZERO, BOUNDED, SETS, QUERIES = range(7)
"""Whose ``Tally.mass`` it is: rows that count; with a score; with probabilities; with a truth other than 0; with an
interval; with a set; queries."""
OF_CLASSES: Final = ("log_loss", "log_loss2", "brier", "brier2", "bias", "over", "gap2")
"""Sums of classifiers. ``bias`` is probability less truth, ``over`` confidence less right; both have the square
``gap2``."""
OF_NUMBERS: Final = (
    *("error", "size", "square", "fourth", "share", "share2", "pinball", "pinball2"),
    *("truth", "truth2", "truth3", "truth4", "mixed", "mixed2", "width"),
)
"""Sums of regressions: the error e (prediction less truth), its size, square, fourth power; its size as a share of the
truth; quantile loss; the truth t in units of the reference and its powers, with e^2 t, e^2 t^2; interval's width."""
OF_QUERIES: Final = ("ndcg", "ndcg2")


class Tally(NamedTuple):
    """Counts by segment, S of them, all int64.

    ``seen (S, 6)`` as `SEEN` says; ``mass (S, 7, 3)`` of `DECIDED` and so on: rows, weights, squares of weights;
    ``confusion (S, 2, k, k + 1)`` weights and squares by prediction and label (the last one: unknown); ``ranks (S, P,
    2, G)`` weights of rows that are not, and that are, of the class; ``bins (S, B, 4)``: weights, those of what came
    true, weights times probability, squares; ``sums (S, M, LIMBS)``; ``sides (S, 3)``: weights of truths below, within
    and above their interval; ``sets (S, k, 3)`` by label: weights, those of what was covered, weights times size.
    """

    seen: IntArray
    mass: IntArray
    confusion: IntArray
    ranks: IntArray
    bins: IntArray
    sums: IntArray
    sides: IntArray
    sets: IntArray


class Rows(NamedTuple):
    """Rows that count: ``at (m,)`` of the outcomes, their segment, weight in typical ones, prediction, label."""

    at: IntArray
    segment: IntArray
    weight: FloatArray
    prediction: FloatArray
    truth: FloatArray

    def take(self, which: NDArray[np.bool_] | IntArray) -> Rows:
        """Some of them."""
        segment, weight = self.segment[which], self.weight[which]
        return Rows(self.at[which], segment, weight, self.prediction[which], self.truth[which])


def sums_of(kind: Kind) -> tuple[str, ...]:
    """Which sums there are."""
    return {"regression": OF_NUMBERS, "ranking": OF_QUERIES}.get(kind, OF_CLASSES)


def empty(made: Layout, segments: int = 1) -> Tally:
    """No rows."""
    k, (p, cuts) = int(made.classes), made.cuts.shape
    bins = len(made.bins) + 1 if p or k > 2 else 0
    shapes: tuple[tuple[int, ...], ...] = (
        *((len(SEEN),), (QUERIES + 1, 3), (2, k, k + 1 if k else 0), (p, 2, cuts + 1), (bins, 4)),
        *((len(sums_of(made.name)), exact.LIMBS), (3,), (k, 3)),
    )
    return Tally(*(np.zeros((segments, *shape), np.int64) for shape in shapes))


def merge(one: Tally, other: Tally) -> Tally:
    """All rows of both: associative and commutative, bit for bit."""
    return Tally(*(a + b for a, b in zip(one, other, strict=True)))


def remove(one: Tally, other: Tally) -> Tally:
    """The rows of ``one`` without those of ``other``, which must be a part of them: labels that were corrected."""
    return Tally(*(a - b for a, b in zip(one, other, strict=True)))


def whole(rows: Rows) -> IntArray:
    """Weights as whole numbers ``(m,)``."""
    return np.rint(rows.weight * UNIT).astype(np.int64)


def squares(rows: Rows) -> IntArray:
    """Squares of weights as whole numbers ``(m,)``."""
    return np.rint(np.square(rows.weight) * UNIT_OF_SQUARES).astype(np.int64)


def counted(place: IntArray, weight: IntArray, shape: tuple[int, ...]) -> IntArray:
    """Sums of whole numbers from 0 by their ``place (m,)`` in an array of ``shape``."""
    size = int(np.prod(shape))
    out = np.zeros(size, np.int64)
    block = _EXACT // max(int(weight.max(initial=0)), 1)
    for start in range(0, len(place) if size else 0, block):
        part = slice(start, start + block)
        out += np.bincount(place[part], weight[part], minlength=size).astype(np.int64)
    return out.reshape(shape)


def weigh(out: Tally, whose: int, rows: Rows) -> None:
    """Add to ``mass``."""
    for i, weight in enumerate((np.ones(len(rows.at), np.int64), whole(rows), squares(rows))):
        out.mass[:, whose, i] += counted(rows.segment, weight, (len(out.mass),))


def add_sums(out: Tally, kind: Kind, rows: Rows, values: dict[str, FloatArray]) -> None:
    """Add weighted values ``(m,)`` to ``sums``; what is too large for a float is the largest one."""
    with np.errstate(over="ignore"):
        for name, one in values.items():
            product = np.nan_to_num(one * rows.weight, nan=MOST, posinf=MOST, neginf=-MOST)
            out.sums[:, sums_of(kind).index(name)] += exact.summed(product, rows.segment, len(out.sums))


def total(made: Layout, tally: Tally, name: str, segment: int) -> float:
    """An exact sum, rounded once."""
    return exact.value(tally.sums[segment, sums_of(made.name).index(name)])
