"""H19 and H20 in a stream: the newest labelled rows of one class after the other.

Question: as in `spectral` and `clusters_against`, of the newest `SIZE` rows that are labelled c, on the leading axes of
the trusted rows.
Statistic: as there, without the `LONE` farthest rows: a few outliers are no group.
Null law: their p-values, measured on trusted rows before the stream; times the looks at a round (two a class) and times
k (k + 1) in the k-th round: over all looks together they keep the level that is asked for. A class is looked at after
every `EVERY` labelled rows, in turn, wherever a batch ends; it is told if two rounds in turn say so, and others do not.
Sees / blind to: a group of rows with one label that lies apart, also with right labels; blind to groups of fewer than
`LONE` in `SIZE` rows, to those apart only in directions in which trusted rows hardly vary, and if most classes are
poisoned alike (that looks like a shift of the inputs); a new honest sub-population of one class looks like poison.
Memory: a class `SIZE` times (4 k + 48) bytes, k <= 32. Cost: a look a few ms, whatever the rows' width and classes; the
null law about 50 ms a class, once. Source: failures.md H19, H20.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.poisoning import clusters, kept, spectral
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray
from detectors.types import CodeArray, FloatArray, IntArray, SingleArray

SIZE = 256
EVERY = 128
LONE = 4
HEURISTICS = ("spectral_signature", "activation_clustering")
MEMBERS = 8
_BASIS_ROWS = 2_000
_FARTHEST = 1e18
"""Places are cut off here, so that their squares are numbers."""


class GroupsFixed(NamedTuple):
    """What trusted rows show: ``centre (d,)`` and ``axes (d, k)`` take rows to k leading axes.

    ``classes (c,)`` are those with rows enough; of each the parts of a `spectral.Null` for `SIZE` rows, and the
    ``silhouettes (c, 40)`` of `clusters.null_of`.
    """

    centre: FloatArray
    axes: FloatArray
    classes: IntArray
    centres: FloatArray
    white: FloatArray
    held: FloatArray
    draws: FloatArray
    silhouettes: FloatArray


def fit(rows: SingleArray, label: CodeArray, classes: int, rng: np.random.Generator) -> GroupsFixed:
    """Measure trusted rows ``(m, d)``, finite, with classes in ``label (m,)`` (-1: none)."""
    centre, axes = _basis(rows, rng)
    k = axes.shape[1]
    sizes = np.bincount(label[label >= 0], minlength=classes)[:classes]
    watched = np.flatnonzero(sizes >= spectral.LEAST_ROWS) if k else np.zeros(0, np.int64)
    places = _project(rows, centre, axes)
    nulls = [_null(places[label == c], rng) for c in watched]
    shapes = ((k,), (k, k), (SIZE, k), (spectral.DRAWS,), (clusters.DRAWS,))
    parts = [np.array([null[i] for null in nulls]).reshape(len(nulls), *shape) for i, shape in enumerate(shapes)]
    return GroupsFixed(centre, axes, watched, *parts)


def _basis(rows: SingleArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Centre and leading axes ``(d, k)`` of a sample of the rows."""
    some = rows[rng.permutation(len(rows))[:_BASIS_ROWS]].astype(np.float64)
    centre = some.mean(axis=0)
    some -= centre
    return centre, np.linalg.eigh(some.T @ some)[1][:, ::-1][:, : spectral.AXES]


def _project(rows: SingleArray, centre: FloatArray, axes: FloatArray) -> SingleArray:
    return np.clip((rows.astype(np.float64) - centre) @ axes, -_FARTHEST, _FARTHEST).astype(np.float32)


def _null(rows: SingleArray, rng: np.random.Generator) -> tuple[FloatArray, ...]:
    found = spectral.null_of(rows, SIZE, rng)
    held = np.resize(found.held, (SIZE, found.held.shape[1]))
    return found.centre, found.white, held, found.draws, clusters.null_of(rows, SIZE, rng)


class Groups:
    """The newest labelled rows of each class of one model, and what the last looks found."""

    def __init__(self, fixed: GroupsFixed) -> None:
        """Compare with trusted rows."""
        c, h = len(fixed.classes), len(HEURISTICS)
        self._fixed = fixed
        self._z = np.zeros((c, SIZE, fixed.axes.shape[1]), np.float32)
        self._source = np.zeros((c, SIZE), np.uint64)
        self._number = np.full((c, SIZE), -1)
        self._rows = np.zeros(c, np.int64)
        self._log_p = np.full((3, h, c), np.nan)
        """Of the round that goes on, the last whole one, and the one before."""
        self._effect = np.full((h, c), np.nan)
        self._which = np.full((h, c, SIZE), -1)
        self._who = np.zeros((h, c, SIZE), np.uint64)
        self._totals = np.zeros(2, np.int64)

    def add(self, z: SingleArray, label: CodeArray, source: DigestArray, number: IntArray) -> None:
        """Take labelled rows ``(n, d)``, finite, in order of arrival."""
        if not len(self._rows):
            return
        places = _project(z, self._fixed.centre, self._fixed.axes)
        at = np.minimum(np.searchsorted(self._fixed.classes, label), len(self._rows) - 1)
        of = np.where(self._fixed.classes[at] == label, at, -1)
        ends = [*range(EVERY - int(self._totals[0]) % EVERY, len(z), EVERY), len(z)]
        for start, end in zip([0, *ends], ends, strict=False):
            part = slice(start, end)
            self._keep(places[part], of[part], source[part], number[part])
            if end > start and self._totals[0] % EVERY == 0:
                self._look()

    def _keep(self, places: SingleArray, of: IntArray, source: DigestArray, number: IntArray) -> None:
        """Put at most `EVERY` rows in the place of their classes' oldest."""
        self._totals[0] += len(of)
        order = np.argsort(of, kind="stable")
        order = order[of[order] >= 0]
        c = of[order]
        at = (self._rows[c] + np.arange(len(c)) - np.searchsorted(c, c)) % SIZE
        self._z[c, at], self._source[c, at], self._number[c, at] = places[order], source[order], number[order]
        self._rows += np.bincount(c, minlength=len(self._rows))

    def _look(self) -> None:
        """Look at the next class; the last one ends a round."""
        many = len(self._rows)
        turn, c = divmod(int(self._totals[1]), many)
        self._totals[1] += 1
        if self._rows[c] >= SIZE:
            self._judge(c, float(np.log1p(turn) + np.log(turn + 2) + np.log(len(HEURISTICS) * many)))
        if c == many - 1:
            self._log_p[1:], self._log_p[0] = self._log_p[:-1].copy(), np.nan

    def _judge(self, c: int, spent: float) -> None:
        fixed = self._fixed
        null = spectral.Null(fixed.centres[c], fixed.white[c], fixed.held[c], fixed.draws[c])
        inside = (self._z[c].astype(np.float64) - null.centre) @ null.white
        near = np.sort(np.argsort(np.square(inside).sum(axis=1), kind="stable")[: SIZE - LONE])
        rows = self._z[c][near]
        spread = spectral.spectrum(null, rows)
        apart = clusters.clusters_against([fixed.silhouettes[c]], rows, np.zeros(len(rows), np.int32))
        strong = spread.tau > max(1.0, float(spread.tau.max()) / 4)
        found = ((spread.log_p, spread.ratio, strong), (float(apart.log_p[0]), apart.silhouette[0], apart.smaller))
        for h, (log_p, effect, suspects) in enumerate(found):
            self._log_p[0, h, c] = min(log_p + spent, 0.0)
            if self._log_p[0, h, c] < 0:
                self._effect[h, c] = effect
                self._show(h, c, near[suspects])

    def _show(self, h: int, c: int, slots: IntArray) -> None:
        """Remember the rows that it is about, in order of arrival."""
        slots = slots[np.argsort(self._number[c, slots])]
        self._which[h, c], self._who[h, c] = -1, 0
        self._which[h, c, : len(slots)], self._who[h, c, : len(slots)] = self._number[c, slots], self._source[c, slots]

    def suspicions(self, level: float) -> list[Suspicion]:
        """Classes whose p-value, corrected as said, is at most exp(-``level``) in the last two whole rounds.

        None if that holds for most classes in the last one: inputs have moved, whatever their labels.
        """
        loud = np.nan_to_num(self._log_p[1:]) <= -max(level, 1e-12)
        most = np.maximum(np.isfinite(self._log_p[1]).sum(axis=1) / 2, 1)
        told = loud.all(axis=0) & (loud[0].sum(axis=1) <= most)[:, None]
        return [self._suspicion(int(h), int(c)) for h, c in np.argwhere(told)]

    def _suspicion(self, h: int, c: int) -> Suspicion:
        label, used = int(self._fixed.classes[c]), self._which[h, c] >= 0
        members, named = self._which[h, c][used], self._who[h, c][used]
        who, rows = np.unique(named[named != 0], return_counts=True)
        order = np.argsort(-rows, kind="stable")
        share = float(rows[order[0]] / len(members)) if len(who) else float("nan")
        effect = {("spread", "silhouette")[h]: float(self._effect[h, c])}
        return Suspicion(
            heuristic=HEURISTICS[h],
            about="class",
            who=label,
            log_e=float("nan"),
            log_p=float(self._log_p[1:, h, c].max()),
            rows=SIZE,
            hits=len(members),
            since=int(members.min(initial=self._number[c].max())),
            until=int(self._number[c].max()),
            clients=tuple((int(who[k]), int(rows[k])) for k in order[:5]),
            facts={"target_class": float(label), "same_source": share, **effect},
            members=members[-MEMBERS:],
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that moves, as arrays of its own."""
        return {key: array.copy() for key, array in self._arrays().items()}

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "z": self._z, "source": self._source, "number": self._number, "rows": self._rows, "log_p": self._log_p,
            "effect": self._effect, "which": self._which, "who": self._who, "totals": self._totals,
        }  # fmt: skip

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go on from `state`; ValueError if it is of another reference."""
        kept.fill(self._arrays(), arrays)
