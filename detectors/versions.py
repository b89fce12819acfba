"""Versions of a model: whether another one behaves otherwise on inputs like those, and has the files it had.

Question: H0: on comparable rows no class (band of confidence, chance of being right at a confidence) differs between
the two versions by more than ``tolerated``. H1: one does.
Statistic: rows are comparable within a cell of the space of inputs (k-means of the reference). Over the cells that both
versions saw, with the later version's shares w_c: D = sum_c w_c (p1_c - p0_c) for each class and for each band of
confidence; with labels the same for "is right", within bands of confidence: that is the change of calibration.
A model is not accused of what its inputs may have done within cells: the total variation by which they moved between
cells is allowed beside ``tolerated``.
Null law: z = (|D| - allowed) / sd, sd^2 = tau sum_c w_c^2 (v1_c / n1_c + v0_c / n0_c) with shares smoothed by 1/2,
one-sided, Bonferroni over classes; looks at 200, 400, 800, ... rows of the later version, the k-th one that
is taken spending 1/(k (k + 1)).
Sees / blind to: a release that answers otherwise, better or worse, and a model file replaced under an old name (by its
digest); blind to changes within a cell that cancel, and to a release that comes together with a shift of its size.
Cost: a look-up a row. Memory: 8 versions of 64 (cells, bands) x 64 (classes) counts; counts beyond 65,536 rows of a
version are halved, so that it is remembered as it was lately (the one result that depends on how rows are batched).
Source: H21 and row 9 of the table of observables; direct standardisation as in Fleiss, Levin and Paik 2003, ch. 19.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray
from detectors.types import CodeArray, FloatArray, IntArray, SingleArray

KEPT: Final = 8
"""Versions that are remembered; the one unheard of for longest is forgotten first."""
CELLS: Final = 24
CLASSES: Final = 64
"""Classes beyond are counted with the last one."""
BANDS: Final = 10
LEAST: Final = 200
"""Rows of a version before it is judged."""
_MOST_ROWS = 65_536
_SHARED = 10
"""Rows that both versions must have in a cell for it to be compared."""
_NOBODY = np.iinfo(np.int64).min
_KINDS = ("classes", "confidence", "calibration")


class Batch(NamedTuple):
    """Rows in order, ``(n,)`` each: version, cell (-1: none), class (-1), confidence (NaN), label (-1).

    ``model`` is a keyed hash of the model's files, None where the log does not carry it.
    """

    version: CodeArray
    cell: IntArray
    predicted: CodeArray
    confidence: FloatArray
    label: CodeArray
    model: DigestArray | None = None


class Change(NamedTuple):
    """Greatest difference of one kind between two versions: of which class or band, its 95 % interval, ``log_p``.

    ``shared`` is the share of the later version's rows in cells that both saw; NaN and -1 if there are none.
    """

    of: int
    difference: float
    low: float
    high: float
    log_p: float
    shared: float


def centres(near: SingleArray, rng: np.random.Generator, cells: int = CELLS) -> SingleArray:
    """Centres ``(k, m)`` of cells of the space in which inputs are compared, from reference rows ``(n, m)``."""
    rows = near[np.isfinite(near).all(axis=1)]
    rows = rows[rng.permutation(len(rows))[:4_096]]
    found = rows[:cells].copy()
    for _ in range(12):
        cell = cells_of(found, rows)
        for k in range(len(found)):
            if (cell == k).any():
                found[k] = rows[cell == k].mean(axis=0)
    return found


def cells_of(found: SingleArray, near: SingleArray) -> IntArray:
    """The cell of each row ``(n,)``; -1 for rows without a place, and for all without cells."""
    if not len(found):
        return np.full(len(near), -1, np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        distance = (found**2).sum(axis=1) - 2.0 * near @ found.T
    lost = ~np.isfinite(near).all(axis=1)
    return np.where(lost, -1, np.where(np.isnan(distance), np.inf, distance).argmin(axis=1))


class Versions:
    """Counts the answers of each version and compares those that follow each other."""

    def __init__(self, tolerated: float = 0.05, cells: int = CELLS, tau: float = 1.0) -> None:
        """Let two versions differ by ``tolerated``; rows depend on each other for ``tau`` rows.

        Rows without a cell are a cell of their own.
        """
        self._tolerated, self._cells, self._tau = tolerated, cells + 1, tau
        self._version = np.full(KEPT, _NOBODY)
        self._counts = [
            np.zeros((KEPT, self._cells, CLASSES)),
            np.zeros((KEPT, self._cells, BANDS)),
            np.zeros((KEPT, BANDS, 2)),
        ]
        self._model = np.zeros(KEPT, np.uint64)
        self._numbers = np.zeros((KEPT, 6), np.int64)  # rows, first and last row, version before, last look due, looks
        self._rows = 0

    def add(self, batch: Batch) -> list[Suspicion]:
        """Count rows; a suspicion for each version whose model file is another than it was."""
        replaced = []
        for version in _by_appearance(batch.version):
            mine = np.flatnonzero(batch.version == version)
            slot = self._slot(int(version), self._rows + int(mine[0]))
            self._count(slot, batch, mine)
            self._numbers[slot, [0, 2]] = self._numbers[slot, 0] + len(mine), self._rows + int(mine[-1])
            if batch.model is not None:
                replaced += self._files(slot, batch.model[mine], self._rows + mine)
        self._rows += len(batch.version)
        return replaced

    def suspicions(self) -> list[Suspicion]:
        """Compare each version that is due for a look with the one before it."""
        found = []
        for slot in np.flatnonzero(self._version != _NOBODY):
            rows = int(self._numbers[slot, 0])
            look = int(np.log2(rows / LEAST)) + 1 if rows >= LEAST else 0
            before = np.flatnonzero(self._version == self._numbers[slot, 3])
            if look > self._numbers[slot, 4] and len(before) and self._numbers[before[0], 0] >= LEAST:
                self._numbers[slot, 4:] = look, self._numbers[slot, 5] + 1
                found.append(self._suspicion(int(slot), int(before[0]), int(self._numbers[slot, 5])))
        return found

    def changes(self, version: int, before: int) -> dict[str, Change]:
        """Compare two versions that are remembered, by kind; empty if one is not."""
        slots = [np.flatnonzero(self._version == one) for one in (version, before)]
        if not all(len(found) for found in slots):
            return {}
        later, earlier = (int(found[0]) for found in slots)
        inputs = self._counts[0].sum(axis=2)
        allowed = self._tolerated + moved(inputs[later], inputs[earlier], self._tau)
        pairs = zip(_KINDS, self._counts, strict=True)
        return {kind: compared(each[later], each[earlier], allowed, self._tau) for kind, each in pairs}

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that moves."""
        named = {kind: counts.copy() for kind, counts in zip(_KINDS, self._counts, strict=True)}
        return named | {
            "version": self._version.copy(),
            "model": self._model.copy(),
            "numbers": self._numbers.copy(),
            "rows": np.array(self._rows, np.int64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave; ValueError if it counted other cells."""
        if arrays["classes"].shape != self._counts[0].shape:
            raise ValueError(f"`arrays` counts {arrays['classes'].shape}, not {self._counts[0].shape}")
        self._counts = [arrays[kind].copy() for kind in _KINDS]
        self._version, self._model = arrays["version"].copy(), arrays["model"].copy()
        self._numbers, self._rows = arrays["numbers"].copy(), int(arrays["rows"])

    def _slot(self, version: int, row: int) -> int:
        """Where a version is counted; the version before a new one is the one with the most recent row then."""
        found = np.flatnonzero(self._version == version)
        if len(found):
            return int(found[0])
        known = self._version != _NOBODY
        last = np.where(known, self._numbers[:, 2], -1)
        before = int(self._version[np.argmax(last)]) if known.any() else _NOBODY
        slot = int(np.argmin(last))
        self._version[slot], self._model[slot] = version, 0
        self._numbers[slot] = [0, row, row, before, 0, 0]
        for counts in self._counts:
            counts[slot] = 0.0
        return slot

    def _count(self, slot: int, batch: Batch, mine: IntArray) -> None:
        predicted, label, confidence = batch.predicted[mine], batch.label[mine], batch.confidence[mine]
        known = np.isfinite(confidence)
        band = np.clip(np.where(known, confidence, 0.0) * BANDS, 0, BANDS - 1).astype(np.int64)
        cell = np.where((batch.cell[mine] < 0) | (batch.cell[mine] >= self._cells), self._cells - 1, batch.cell[mine])
        said, right = predicted >= 0, (predicted == label).astype(np.int64)
        np.add.at(self._counts[0][slot], (cell[said], np.minimum(predicted[said], CLASSES - 1)), 1.0)
        np.add.at(self._counts[1][slot], (cell[known], band[known]), 1.0)
        judged = said & known & (label >= 0)
        np.add.at(self._counts[2][slot], (band[judged], right[judged]), 1.0)
        for counts in self._counts:
            while counts[slot].sum() > _MOST_ROWS:
                counts[slot] /= 2.0

    def _files(self, slot: int, model: DigestArray, row: IntArray) -> list[Suspicion]:
        """Every change of the digest of a version's files; 0 is no digest."""
        named = model != 0
        chain = np.concatenate([self._model[[slot]], model[named]])
        changes = np.flatnonzero((chain[1:] != chain[:-1]) & (chain[:-1] != 0))
        self._model[slot] = chain[-1]
        where, first = row[named][changes], int(self._numbers[slot, 1])
        facts = {"replaced": float(len(changes))}
        return [
            Suspicion("version_change", "fleet", int(self._version[slot]), float("nan"), -690.0, int(named.sum()),
                      len(changes), first, int(where[0]), (), facts, where[:32])
        ] if len(changes) else []  # fmt: skip

    def _suspicion(self, slot: int, before: int, look: int) -> Suspicion:
        every = self.changes(int(self._version[slot]), int(self._version[before]))
        known = [change.log_p for change in every.values() if np.isfinite(change.log_p)]
        spent = np.log(max(len(known), 1)) + np.log(look * (look + 1.0))
        rows, first, last = (int(number) for number in self._numbers[slot, :3])
        facts = {f"{kind}_{name}": float(value) for kind, one in every.items() for name, value in one._asdict().items()}
        shift = moved(self._counts[0][slot].sum(axis=1), self._counts[0][before].sum(axis=1), self._tau)
        facts |= {"before": float(self._version[before]), "tolerated": self._tolerated, "inputs_moved": shift}
        return Suspicion(
            "version_change", "fleet", int(self._version[slot]), float("nan"),
            float(min(min(known, default=0.0) + spent, 0.0)), rows, rows, first, last, (), facts, np.zeros(0, np.int64),
        )  # fmt: skip


def moved(later: FloatArray, earlier: FloatArray, tau: float = 1.0) -> float:
    """By how much inputs moved between cells ``(cells,)``: total variation of what exceeds two standard errors."""
    n1, n0 = max(float(later.sum()), 1.0), max(float(earlier.sum()), 1.0)
    share = (later + earlier) / max(n1 + n0, 1.0)
    error = np.sqrt(tau * share * (1 - share) * (1 / n1 + 1 / n0))
    return 0.5 * float(np.maximum(np.abs(later / n1 - earlier / n0) - 2.0 * error, 0.0).sum())


def compared(later: FloatArray, earlier: FloatArray, tolerated: float, tau: float = 1.0) -> Change:
    """Compare counts ``(cells, outcomes)`` of two versions, standardised to the later one's cells."""
    n1, n0 = later.sum(axis=1), earlier.sum(axis=1)
    both = (n1 >= _SHARED) & (n0 >= _SHARED)
    total = float(n1.sum())
    if not both.any():
        return Change(-1, np.nan, np.nan, np.nan, np.nan, 0.0 if total else np.nan)
    weight = n1[both] / n1[both].sum()
    difference = weight @ (later[both] / n1[both][:, None] - earlier[both] / n0[both][:, None])
    variance = tau * weight**2 @ (_variance(later[both]) + _variance(earlier[both]))
    asked = (later + earlier)[both].sum(axis=0) > 0
    z = np.where(asked, (np.abs(difference) - tolerated) / np.sqrt(variance), -np.inf)
    log_p = special.log_ndtr(-z) + np.log(2.0 * max(int(asked.sum()) - 1, 1))
    of = int(np.argmax(z))
    error = 1.96 * float(np.sqrt(variance[of]))
    return Change(
        of,
        float(difference[of]),
        float(difference[of]) - error,
        float(difference[of]) + error,
        float(max(min(log_p[of], 0.0), -690.0)),
        float(n1[both].sum()) / total,
    )


def _variance(counts: FloatArray) -> FloatArray:
    """Variance of each share ``(cells, outcomes)``, never zero: shares are smoothed by half a row each way."""
    rows = counts.sum(axis=1)[:, None]
    share = (counts + 0.5) / (rows + 1.0)
    variance: FloatArray = share * (1 - share) / rows
    return variance


def _by_appearance(version: CodeArray) -> CodeArray:
    """The versions of some rows in the order of their first ones."""
    found, first = np.unique(version, return_index=True)
    ordered: CodeArray = found[np.argsort(first)]
    return ordered
