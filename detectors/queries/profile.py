"""What a sender's rows look like, in counts of fixed size: classes, margins, oddness, and places in the input space.

The reference cuts margins and oddness into 16 bins of equal shares and the space of similarity into 256 cells (k-means;
32 groups of cells for comparisons, the cells themselves for coverage). Counts go on for one *window* of a client:
windows hold 128, 128, 256, 512 ... 4,096 rows at least, and are judged once, when they are full. Exact repeats are not
counted at all; near-duplicates are not counted in the blocks, so that a camera does not differ from others by showing
one scene, but in how confidence and oddness run (`trend`), in the classes of all rows (`answers`), and in how many
there are (`tally`).
The window before stays for comparison. Memory: 8 bytes a bin and 230 more, about 2.8 kB a client.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries.suspicion import Hits, Queries
from detectors.types import FloatArray, IntArray, SingleArray

BINS = 16
CELLS = 256
GROUPS = 32
MOST_CLASSES = 32
"""Classes beyond are counted together with the last one."""
FIRST_WINDOW, LONGEST_WINDOW = 128, 4096
_FIT_ROWS = 8192
_SWEEPS = 8
_FAR = 1e100
_LAST = 4
TALLIES = ("rows", "near", "flips", "odd")
SUMS = ("value", "square", "product with the order", "known", "last value", "squared step")
"""What is kept of how confidence and oddness run; all but the last value are sums."""


class ProfileFixed(NamedTuple):
    """Cuts of margin and oddness ``(15,)``, the middle and spread ``(2,)`` of oddness, and cells ``(256, m)``.

    ``group (256,)`` is each cell's group. ``reference (b,)`` are the counts of all bins on held-out rows, block by
    block; ``blocks (5,)`` says where each of the blocks classes, margins, oddness and cells begins, and the end.
    """

    margin: FloatArray
    odd: FloatArray
    odd_scale: FloatArray
    cells: SingleArray
    group: IntArray
    blocks: IntArray
    reference: FloatArray


def fit(queries: Queries, odd: FloatArray, classes: int, rng: np.random.Generator) -> ProfileFixed:
    """Cut the reference's queries; ``odd (n,)``: how unlike the reference each row is, higher is odder."""
    half = rng.random(len(odd)) < 0.5
    near = queries.near[half & np.isfinite(queries.near).all(axis=1)]
    cells = _centres(near[:_FIT_ROWS], CELLS, rng)
    ends = np.cumsum([0, min(max(classes, 1), MOST_CLASSES), BINS, BINS, CELLS])
    fixed = ProfileFixed(
        margin=_cuts(queries.margin[half], BINS),
        odd=_cuts(odd[half], BINS),
        odd_scale=_scale(odd[half]),
        cells=cells,
        group=_nearest(_centres(cells, GROUPS, rng), cells) if len(cells) else np.zeros(0, np.int64),
        blocks=ends,
        reference=np.zeros(int(ends[-1])),
    )
    bins = bins_of(fixed, queries, odd)[~half]
    return fixed._replace(reference=np.bincount(bins[bins >= 0], minlength=int(ends[-1])).astype(np.float64))


def bins_of(fixed: ProfileFixed, queries: Queries, odd: FloatArray) -> IntArray:
    """The bin of each row in each of the four blocks ``(n, 4)``; -1 where it has none."""
    classes = int(fixed.blocks[1])
    cell = np.full(len(odd), -1, np.int64)
    known = np.isfinite(queries.near).all(axis=1)
    if len(fixed.cells):
        cell[known] = _nearest(fixed.cells, queries.near[known])
    found = np.column_stack(
        [
            np.minimum(queries.predicted, classes - 1).astype(np.int64),
            _binned(fixed.margin, queries.margin),
            _binned(fixed.odd, odd),
            cell,
        ]
    )
    return np.where(found >= 0, found + fixed.blocks[:-1], -1)


class Profiles:
    """The profiles of so many senders, by slot."""

    def __init__(self, fixed: ProfileFixed, slots: int) -> None:
        """Nobody has sent anything."""
        self._fixed = fixed
        self.counts = np.zeros((slots, int(fixed.blocks[-1])), np.uint32)
        self.tally = np.zeros((slots, len(TALLIES)), np.int64)
        self.trend = np.zeros((slots, 2, len(SUMS)))
        self.past = np.zeros_like(self.counts)
        self.answers = np.zeros((slots, int(fixed.blocks[1])), np.uint32)
        self.looks = np.zeros(slots, np.int64)

    def add(self, slot: IntArray, queries: Queries, hits: Hits, odd: FloatArray) -> None:
        """Count rows in order of arrival, ``slot (n,)`` being their senders'; exact repeats must not be among them."""
        bins = bins_of(self._fixed, queries, odd)
        rows, block = np.nonzero((bins >= 0) & ~hits.hit[:, None])
        np.add.at(self.counts, (slot[rows], bins[rows, block]), np.uint32(1))
        answered = np.flatnonzero(bins[:, 0] >= 0)
        np.add.at(self.answers, (slot[answered], bins[answered, 0]), np.uint32(1))
        self._follow(slot, queries.confidence, odd)
        high = bins[:, 2] == self._fixed.blocks[3] - 1
        told = np.column_stack([np.ones(len(slot), np.bool_), hits.hit, hits.flip, high])
        np.add.at(self.tally, slot, told)

    def _follow(self, slot: IntArray, confidence: SingleArray, odd: FloatArray) -> None:
        """Sums of value, its square, its product with the order and so on; oddness is squashed to +-1."""
        middle, spread = self._fixed.odd_scale
        z = (np.where(np.isfinite(odd), np.clip(odd, -_FAR, _FAR), np.nan) - middle) / spread
        values = np.column_stack([np.clip(confidence, 0.0, 1.0).astype(np.float64), z / (1 + np.abs(z))])
        order = self.tally[slot, 0] + _earlier(slot)
        known = np.isfinite(values)
        u = np.where(known, values, 0.0)
        before = self._before(slot, u)
        self.trend[slot, :, _LAST] = 0.0
        np.add.at(
            self.trend,
            slot,
            np.stack([u, u * u, u * order[:, None], known, _newest(slot, u), (u - before) ** 2], axis=2),
        )

    def _before(self, slot: IntArray, values: FloatArray) -> FloatArray:
        """The same sender's value before each ``(n, 2)``; of a window's first row the value itself."""
        order = np.argsort(slot, kind="stable")
        first = np.diff(slot[order], prepend=-1) != 0
        begun = self.tally[slot[order], 0] > 0
        shifted = np.roll(values[order], 1, axis=0)
        kept = np.where(begun[:, None], self.trend[slot[order], :, _LAST], values[order])
        before = np.empty_like(values)
        before[order] = np.where(first[:, None], kept, shifted)
        return before

    def due(self, slots: IntArray) -> NDArray[np.bool_]:
        """Whose window is full, of ``slots (c,)``."""
        size = FIRST_WINDOW * 2 ** np.clip(self.looks[slots] - 1, 0, 5)
        return np.asarray(self.tally[slots, 0] >= np.minimum(size, LONGEST_WINDOW))

    def looked(self, slots: IntArray) -> None:
        """Begin new windows for those that were judged; what they showed stays as what others are compared with."""
        self.past[slots] = self.counts[slots]
        self.counts[slots], self.answers[slots], self.tally[slots], self.trend[slots] = 0, 0, 0, 0.0
        self.looks[slots] += 1

    def clear(self, slots: IntArray) -> None:
        """Somebody else has these slots now."""
        self.looked(slots)
        self.past[slots], self.looks[slots] = 0, 0

    def state(self, used: IntArray) -> dict[str, NDArray[np.generic]]:
        """Everything that moves, of the slots in use."""
        return {
            "counts": self.counts[used],
            "past": self.past[used],
            "answers": self.answers[used],
            "tally": self.tally[used],
            "trend": self.trend[used],
            "looks": self.looks[used],
        }

    def restore(self, used: IntArray, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state; ValueError where it was cut otherwise."""
        if arrays["counts"].shape[1] != self.counts.shape[1]:
            raise ValueError("the state's profiles have other classes or cells")
        self.counts[used], self.past[used], self.answers[used] = arrays["counts"], arrays["past"], arrays["answers"]
        self.tally[used] = arrays["tally"]
        self.trend[used], self.looks[used] = arrays["trend"], arrays["looks"]


def _cuts(values: NDArray[np.floating], bins: int) -> FloatArray:
    """Quantiles that cut into bins of about equal shares; what has no values has no cuts."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return np.quantile(finite, np.arange(1, bins) / bins) if len(finite) else np.zeros(0)


def _scale(values: FloatArray) -> FloatArray:
    """Median and distance of the quartiles; 0 and 1 where there is none."""
    finite = values[np.isfinite(values)]
    low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75]) if len(finite) else (0.0, 0.0, 1.0)
    return np.array([middle, high - low if high > low else 1.0])


def _binned(cuts: FloatArray, values: NDArray[np.floating]) -> IntArray:
    """Bins 0.. of values, -1 for NaN and where nothing was cut."""
    known = ~np.isnan(values) & (len(cuts) > 0)
    return np.where(known, np.searchsorted(cuts, values, side="right"), -1)


def _earlier(slot: IntArray) -> IntArray:
    """How many rows of the same sender stand before each one."""
    order = np.argsort(slot, kind="stable")
    first = np.flatnonzero(np.diff(slot[order], prepend=-1))
    rank = np.arange(len(slot)) - np.repeat(first, np.diff(np.append(first, len(slot))))
    found = np.empty(len(slot), np.int64)
    found[order] = rank
    return found


def _newest(slot: IntArray, values: FloatArray) -> FloatArray:
    """Values of each sender's last row, 0 elsewhere."""
    behind = _earlier(slot[::-1])[::-1]
    return np.where((behind == 0)[:, None], values, 0.0)


def _nearest(centres: SingleArray, rows: SingleArray) -> IntArray:
    found: IntArray = (rows @ centres.T - 0.5 * np.einsum("ij,ij->i", centres, centres)).argmax(axis=1)
    return found


def _centres(rows: SingleArray, number: int, rng: np.random.Generator) -> SingleArray:
    """Lloyd's k-means from random rows; a centre that loses all its rows stays where it is."""
    if not len(rows) or not rows.shape[1]:
        return np.zeros((0, rows.shape[1]), np.float32)
    centres = rows[rng.permutation(len(rows))[:number]].astype(np.float32)
    for _ in range(_SWEEPS):
        mine = _nearest(centres, rows)
        size = np.bincount(mine, minlength=len(centres))
        order = np.argsort(mine, kind="stable")
        some = np.flatnonzero(size)
        first = (np.cumsum(size) - size)[some]
        centres[some] = np.add.reduceat(rows[order], first, axis=0) / size[some, None]
    return centres
