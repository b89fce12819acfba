"""The shifts that a study injects: into every column at once where each is judged by itself, or into the rows jointly.

Sizes are in the terms of the kind: standard deviations, a factor, or a share of rows. A discrete column keeps its
values: a row goes to one of the two nearest known ones, at random so that the mean moves by what was asked. Frequent
exact values of a continuous column (an amount of 0) stay where they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors import parts, simulate
from detectors.grid import Grid
from detectors.types import MISSING_CODE, NEW_CODE, Block, CodeArray, FloatArray

SIZES: dict[str, tuple[float, ...]] = {
    "mean": (0.05, 0.1, 0.2, 0.3, 0.5, 1.0),
    "scale": (1.1, 1.25, 1.5, 2.0),
    "spike": (0.02, 0.05, 0.1, 0.3),
    "mix": (0.05, 0.1, 0.15, 0.2, 0.5),
    "new category": (0.02, 0.05, 0.1, 0.3),
    "missing": (0.02, 0.05, 0.1, 0.3),
    "correlation": (0.25, 0.5, 1.0),
    "mode drop": (0.1, 0.3, 0.5),
    "row mix": (1.5, 2.0, 4.0),
}
"""Kind -> sizes: sd, factor, share of rows (spikes, another category, unheard of, missing, torn apart, a cluster gone),
and how many times as often rows of one sort come."""
TOGETHER: tuple[tuple[str, ...], ...] = (("mean", "mix"), ("scale",), ("spike", "new category"), ("missing",))
"""Kinds that can share a stream: no column has two of them."""
JOINT = ("correlation", "mode drop", "row mix")
_DISCRETE = 0.05
"""A column with fewer distinct values than this share of its rows is discrete."""
_ATOM = 0.05
"""A value of a continuous column that this share of the rows has exactly stays where it is."""
_SPIKE_SD = 10.0
_DIRECTIONS, _DIRECTION_ROWS = 4, 2_000
"""Main directions of an embedding, and the rows that they are found from."""
_END = 0.03
"""How far from the end of a column's values the value lies to which probability mass is moved."""


class Shift(NamedTuple):
    """One stream's injection: sizes by kind."""

    sizes: tuple[tuple[str, float], ...]

    @property
    def joint(self) -> bool:
        """Whether rows change and not columns."""
        return self.sizes[0][0] in JOINT


def column_shifts() -> list[Shift]:
    """Those that are judged column by column, smallest first."""
    found = []
    for kinds in TOGETHER:
        longest = max(len(SIZES[kind]) for kind in kinds)
        for level in range(longest):  # the largest sizes of a short list have no company
            sizes = tuple((kind, SIZES[kind][level]) for kind in kinds if level < len(SIZES[kind]))
            found.append(Shift(sizes))
    return found


def joint_shifts() -> list[Shift]:
    """Those that only show in several columns together."""
    return [Shift(((kind, size),)) for kind in JOINT for size in SIZES[kind]]


@dataclass(frozen=True)
class Injector:
    """What the injections need to know of the undrifted rows."""

    grid: Grid
    sample: Block

    @cached_property
    def middle(self) -> FloatArray:
        """Mean of each numeric column, ``(p,)``; values beyond 8 scales count as 8 away."""
        return self._moments[0]

    @cached_property
    def sd(self) -> FloatArray:
        """Standard deviation, ``(p,)``, likewise."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[FloatArray, FloatArray]:
        summary = parts.summarise(self.grid, self.sample)
        n = np.maximum(summary.numeric.sum(axis=1), 1)
        mean = summary.sums[:, 0] / n
        spread = np.sqrt(np.maximum(summary.sums[:, 1] / n - mean**2, 0.0))
        return self.grid.centre + self.grid.scale * mean, self.grid.scale * spread

    @cached_property
    def _values(self) -> dict[int, FloatArray]:
        """Discrete column -> its values in order."""
        found = {}
        for j in range(len(self.sd)):
            x = self.sample.numeric[:, j]
            values = np.unique(x[np.isfinite(x)])
            if 1 < len(values) < max(_DISCRETE * len(x), 3):
                found[j] = values
        return found

    @cached_property
    def _atoms(self) -> dict[int, FloatArray]:
        """Continuous column -> its frequent exact values."""
        found = {}
        for j in set(range(len(self.sd))) - set(self._values):
            values, number = np.unique(self.sample.numeric[:, j], return_counts=True)
            if (often := values[number > _ATOM * self.sample.rows]).size:
                found[j] = often
        return found

    @cached_property
    def _ends(self) -> tuple[FloatArray, FloatArray]:
        """A usual value near one end of each numeric column, and the share of the rows that lies on its other side."""
        value, reach = np.full(len(self.sd), np.nan), np.ones(len(self.sd))
        for j in range(len(self.sd)):
            x = self.sample.numeric[:, j]
            x = x[np.isfinite(x)]
            if x.size:
                low, high = np.quantile(x, _END, method="nearest"), np.quantile(x, 1 - _END, method="nearest")
                sides = ((float((x < high).mean()), high), (float((x > low).mean()), low))
                reach[j], value[j] = max(sides)
        return value, np.maximum(reach, _END)

    @cached_property
    def _rarest(self) -> CodeArray:
        """Each categorical column's least frequent known category, ``(q,)``."""
        counts = parts.summarise(self.grid, self.sample).codes
        rarest: CodeArray = np.where(counts > 0, counts, np.iinfo(np.int64).max).argmin(axis=1).astype(np.int32)
        return rarest

    def touches(self, kind: str) -> NDArray[np.bool_]:
        """Which units a kind can be injected into, ``(u,)``."""
        p, q = len(self.grid.numeric_names), len(self.grid.code_names)
        several = np.array([len(names) > 1 for names in self.grid.labels], bool)
        numeric, codes = np.zeros(p, bool), np.zeros(q, bool)
        if kind in {"mean", "scale", "spike"}:
            numeric = self.sd > 0
        elif kind == "mass":
            numeric, codes = self.sd > 0, several
        elif kind == "mix":
            codes = several
        elif kind == "new category":
            codes = ~self.grid.open_vocabulary
        elif kind == "missing":
            numeric, codes = np.ones(p, bool), np.ones(q, bool)
        return np.concatenate([numeric, codes])

    def inject(self, block: Block, shift: Shift, rng: np.random.Generator, units: Sequence[int] | None = None) -> Block:
        """The rows, shifted in every column that the kinds can be injected into, or in ``units`` only."""
        for kind, size in shift.sizes:
            if kind in JOINT:
                block = _ROWS[kind](self, block, size, rng)
            else:
                chosen = self.touches(kind)
                if units is not None:
                    chosen &= np.isin(np.arange(len(chosen)), units)
                block = self._columns(block, kind, size, chosen, rng)
        return block

    def _columns(
        self, block: Block, kind: str, size: float, chosen: NDArray[np.bool_], rng: np.random.Generator
    ) -> Block:
        p = len(self.sd)
        n, numeric, codes = block.rows, block.numeric, block.codes
        columns, coded = np.flatnonzero(chosen[:p]), np.flatnonzero(chosen[p:])
        if columns.size:
            x = numeric[:, columns]
            numeric = numeric.copy(order="F")
            numeric[:, columns] = self._moved(x, columns, kind, size, rng)
        if coded.size:
            hit = rng.random((n, len(coded))) < size
            single = NEW_CODE if kind == "new category" else MISSING_CODE
            to = self._rarest[coded] if kind in {"mix", "mass"} else np.full(len(coded), single, np.int32)
            codes = codes.copy(order="F")
            codes[:, coded] = np.where(hit, to, codes[:, coded])
        return dataclasses.replace(block, numeric=numeric, codes=codes)

    def _moved(
        self, x: FloatArray, columns: NDArray[np.int64], kind: str, size: float, rng: np.random.Generator
    ) -> FloatArray:
        if kind == "mass":
            end, reach = self._ends
            return np.where(rng.random(x.shape) < size / reach[columns], end[columns], x)
        middle, sd = self.middle[columns], self.sd[columns]
        if kind in {"spike", "missing"}:
            value = middle + _SPIKE_SD * sd if kind == "spike" else np.nan
            return np.where(rng.random(x.shape) < size, value, x)
        y = x + size * sd if kind == "mean" else middle + size * (x - middle)
        for k, j in enumerate(columns):
            if j in self._values:
                y[:, k] = _nearest(y[:, k], self._values[j], rng)
            elif j in self._atoms:
                y[:, k] = np.where(np.isin(x[:, k], self._atoms[j]), x[:, k], y[:, k])
        return y

    def as_numbers(self, block: Block) -> FloatArray:
        """Rows as numbers of like size: sd from the mean, the first category or not, main directions of embeddings."""
        sd = np.where(self.sd > 0, self.sd, 1.0)
        z = np.clip(np.nan_to_num((block.numeric - self.middle) / sd), -4, 4)
        along = [
            np.nan_to_num((vectors - middle) @ directions)
            for vectors, (middle, directions) in zip(block.vectors, self._directions, strict=True)
        ]
        return np.hstack([z, 2.0 * (block.codes == 0), *along])

    @cached_property
    def _directions(self) -> list[tuple[FloatArray, FloatArray]]:
        """Per embedding its middle ``(d,)`` and its main directions ``(d, k)``, for a standard deviation of one."""
        found = []
        for vectors in self.sample.vectors:
            whole = vectors[np.isfinite(vectors).all(axis=1)][:_DIRECTION_ROWS].astype(np.float64)
            middle = whole.mean(axis=0) if len(whole) else np.zeros(vectors.shape[1])
            _, sizes, axes = np.linalg.svd(whole - middle, full_matrices=False)
            scale = np.sqrt(max(len(whole), 1)) / np.maximum(sizes[:_DIRECTIONS], 1e-12)
            found.append((middle, axes[:_DIRECTIONS].T * scale))
        return found

    @cached_property
    def mode(self) -> tuple[FloatArray, FloatArray]:
        """A row about one sd from the middle in every column, and the squared distances of all rows from it."""
        whole = self.as_numbers(self.sample)
        place = whole[np.argmin(((whole - np.median(whole, axis=0) - 1.0) ** 2).sum(axis=1))]
        return place, ((whole - place) ** 2).sum(axis=1)

    @cached_property
    def main_direction(self) -> tuple[FloatArray, FloatArray, float]:
        """Middle of the rows, first principal direction, and the level along it that a fifth of the rows passes."""
        whole = self.as_numbers(self.sample)
        middle = whole.mean(axis=0)
        direction = np.linalg.eigh(np.cov(whole - middle, rowvar=False).reshape(whole.shape[1], -1))[1][:, -1]
        return middle, direction, float(np.quantile((whole - middle) @ direction, 0.8))


def _nearest(y: FloatArray, values: FloatArray, rng: np.random.Generator) -> FloatArray:
    """One of the two nearest known values, the nearer the likelier."""
    good = np.isfinite(y)
    at = np.clip(np.searchsorted(values, y[good], side="right") - 1, 0, len(values) - 2)
    low, high = values[at], values[at + 1]
    up = rng.random(len(at)) < (y[good] - low) / (high - low)
    out = y.copy()
    out[good] = np.where(up, high, low)
    return out


def _torn(injector: Injector, block: Block, share: float, rng: np.random.Generator) -> Block:
    """A share of the rows gets its value of every column from another of these rows: margins stay."""
    del injector
    hit = np.flatnonzero(rng.random(block.rows) < share)
    numeric, codes = block.numeric.copy(order="F"), block.codes.copy(order="F")
    for table in (numeric, codes):
        for j in range(table.shape[1]):
            table[hit, j] = table[rng.permutation(hit), j]
    return dataclasses.replace(block, numeric=numeric, codes=codes)


def _without_mode(injector: Injector, block: Block, share: float, rng: np.random.Generator) -> Block:
    """The rows nearest to one place are gone; others of the same rows come in their stead."""
    place, distances = injector.mode
    near = ((injector.as_numbers(block) - place) ** 2).sum(axis=1) <= np.quantile(distances, share)
    return block if near.all() else simulate.reweighted(block, near, 0.0, rng)


def _more_of_one_sort(injector: Injector, block: Block, odds: float, rng: np.random.Generator) -> Block:
    """Rows of one sort come more often: a fifth of all, the highest along the main direction."""
    middle, direction, level = injector.main_direction
    return simulate.reweighted(block, (injector.as_numbers(block) - middle) @ direction > level, odds, rng)


_ROWS: dict[str, Callable[[Injector, Block, float, np.random.Generator], Block]] = {
    "correlation": _torn,
    "mode drop": _without_mode,
    "row mix": _more_of_one_sort,
}
