"""The ruler: measured once on the reference, then laid on every batch.

A numeric value is put on a *float grid*: z = (x - centre) / scale is rounded to float32, and the top sixteen bits of
that (sign, exponent, seven bits of mantissa) are its cell. Cells are ordered like the values, are 0.4-0.8 % of the
distance from the centre wide, and cost two arithmetic passes instead of a binary search: heavy tails, atoms and
bell shapes are resolved alike. Bins are runs of cells that hold about 1/K of the reference each; a cell that holds more
(an atom: a frequent exact value) is a bin of its own. Categories are codes: one slot each for the most frequent ones,
the last slot for all other known ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.types import FloatArray, IntArray

BINS = 64
"""K: bins within the reference range (binned KS, AD and G lose nothing at K = 64)."""
BELOW, ABOVE = 0, BINS + 1
"""Bin indices of values below and above the reference range."""
SLOTS = BINS + 2
MAX_ATOMS = 24
"""At most this many atoms get a bin of their own, so that at least K - 2*24 = 16 bins are left for the rest."""
MAX_CATEGORIES = 255
"""Own slots per categorical column; the rest of the known categories share one slot more."""

_LOW_BITS, _HIGH_BITS = (127 - 20) << 7, (127 + 12) << 7
_MAGNITUDES = _HIGH_BITS - _LOW_BITS + 1
CELLS = 2 * _MAGNITUDES
"""Cells of the float grid: |z| from 2^-20 to 2^12 in steps of 2^-7 octaves, both signs."""
ORDER: NDArray[np.int64] = np.concatenate([np.arange(CELLS - 1, _MAGNITUDES - 1, -1), np.arange(_MAGNITUDES)])
"""Cells from the least value to the greatest."""


@dataclass(frozen=True)
class Grid:
    """The ruler of one reference.

    ``centre``, ``scale`` are ``(p,)``; ``lut`` ``(p, CELLS)`` uint8 takes a cell to its bin; ``edges (p, K+1)`` are the
    values at the bin boundaries (NaN after the last used bin), for people; ``centres (p, K)`` the mean reference value
    of each bin; ``used (p,)`` is the number of bins in use.
    ``labels`` holds, per categorical column, the names of its own slots; the slot after them is "other".
    ``open_vocabulary (q,)`` marks columns with too many categories to know a new one when it comes. ``vectors`` are
    name and dimension of the embeddings, ``strata`` the names of the strata (none without them).
    """

    numeric_names: tuple[str, ...]
    code_names: tuple[str, ...]
    centre: FloatArray
    scale: FloatArray
    lut: NDArray[np.uint8]
    edges: FloatArray
    centres: FloatArray
    used: IntArray
    labels: tuple[tuple[str, ...], ...]
    open_vocabulary: NDArray[np.bool_]
    ordered: NDArray[np.bool_]
    vectors: tuple[tuple[str, int], ...] = ()
    strata: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All units, numeric first."""
        return self.numeric_names + self.code_names

    @property
    def slots(self) -> int:
        """Width v of the categorical count matrix: the longest vocabulary plus "other"."""
        return max((len(names) for names in self.labels), default=0) + 1

    @cached_property
    def id(self) -> str:
        """Hash of everything that decides into which bin a value falls."""
        digest = hashlib.sha256(
            repr((self.numeric_names, self.code_names, self.labels, self.vectors, self.strata)).encode()
        )
        for array in (self.centre, self.scale, self.lut, self.open_vocabulary):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def centre_and_scale(sample: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Median and normal-consistent interquartile range of each column of a finite-or-NaN ``(n, p)`` sample.

    Where the quartiles coincide (an atom in the middle) the scale is the median distance of the other values from the
    centre; for a constant or empty column it is 1. Both results are ``(p,)`` and finite.
    """
    p = sample.shape[1]
    centre, scale = np.zeros(p), np.ones(p)
    for j in range(p):  # once per fit: about 20 us a column and thousand rows
        x = sample[:, j]
        x = x[np.isfinite(x)]
        if x.size == 0:
            continue
        low, mid, high = np.quantile(x, [0.25, 0.5, 0.75], method="inverted_cdf")
        width = high / 1.349 - low / 1.349
        if not width > 0:
            away = np.abs(x - mid)
            away = away[away > 0]
            width = float(np.median(away)) if away.size else 1.0
        centre[j] = mid
        scale[j] = width if np.isfinite(width) and width > np.finfo(np.float64).tiny * 1e16 else 1.0
    return centre, scale


def cells_of(
    z: FloatArray, single: NDArray[np.float32], cell: NDArray[np.uint32], sign: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Cells of scaled values, written to ``cell``; ``single`` and ``sign`` are scratch. All four have one shape.

    NaN is not allowed. Values beyond float32 become infinite there and fall into the outermost cells.
    """
    np.copyto(single, z, casting="same_kind")
    bits = single.view(np.uint32)
    np.right_shift(bits, np.uint32(16), out=cell)
    np.bitwise_and(cell, np.uint32(0x7FFF), out=cell)
    np.clip(cell, _LOW_BITS, _HIGH_BITS, out=cell)
    np.right_shift(bits, np.uint32(31), out=sign)
    np.multiply(sign, np.uint32(_MAGNITUDES), out=sign)
    np.subtract(cell, np.uint32(_LOW_BITS), out=cell)
    np.add(cell, sign, out=cell)
    return cell


def cell_values() -> FloatArray:
    """Upper boundary of every cell in z, ``(CELLS,)``, indexed by cell."""
    bits = np.arange(_LOW_BITS, _HIGH_BITS + 2, dtype=np.uint32) << np.uint32(16)
    magnitude = bits.view(np.float32).astype(np.float64)
    magnitude[0] = 0.0
    return np.concatenate([magnitude[1:], -magnitude[:-1]])


class Bins(NamedTuple):
    """Bins of all columns: the look-up table, edges and mean values in z, and the number in use."""

    lut: NDArray[np.uint8]
    edges: FloatArray
    centres: FloatArray
    used: IntArray


def bins_of_cells(counts: IntArray) -> Bins:
    """Bins from one reference's cell counts ``(p, CELLS)``; edges and centres are in z, NaN where not in use.

    Cells up to the first occupied one belong to `BELOW`, those after the last to `ABOVE`.
    """
    p = counts.shape[0]
    lut = np.full((p, CELLS), ABOVE, np.uint8)
    edges, centres = np.full((p, BINS + 1), np.nan), np.full((p, BINS), np.nan)
    used = np.zeros(p, np.int64)
    upper = cell_values()[ORDER]
    lower = np.concatenate([upper[:1], upper[:-1]])
    middle = (lower + upper) / 2
    for j in range(p):  # once per fit
        mass = counts[j, ORDER]
        full = np.flatnonzero(mass)
        if full.size == 0:
            continue
        segment = _segments(mass[full])
        ordered = np.full(CELLS, ABOVE, np.uint8)
        ordered[: full[0]] = BELOW
        reach = np.diff(np.append(full, full[-1] + 1))
        ordered[full[0] : full[-1] + 1] = np.repeat(segment + 1, reach)
        lut[j, ORDER] = ordered
        first = full[np.flatnonzero(np.diff(segment, prepend=-1))]
        used[j] = first.size
        edges[j, : first.size] = lower[first]
        edges[j, first.size] = upper[full[-1]]
        weight = np.bincount(segment, mass[full])
        centres[j, : first.size] = np.bincount(segment, mass[full] * middle[full]) / weight
    return Bins(lut, edges, centres, used)


def _segments(mass: IntArray) -> IntArray:
    """Assign occupied cells, in order, to at most `BINS` runs of about equal mass; atoms stand alone."""
    total = mass.sum()
    atom = mass * BINS >= total
    if atom.sum() > MAX_ATOMS:
        atom = np.zeros(mass.size, bool)
        atom[np.argsort(mass, kind="stable")[-MAX_ATOMS:]] = True
    if mass.size <= BINS:
        return np.arange(mass.size)
    rest = np.where(atom, 0, mass)
    share = (np.cumsum(rest) - rest / 2) / max(rest.sum(), 1)
    base = np.minimum((share * (BINS - 2 * int(atom.sum()))).astype(np.int64), BINS - 1)
    cut = np.diff(base, prepend=base[0]) > 0
    cut |= atom | np.concatenate([[False], atom[:-1]])
    cut[0] = False
    return np.cumsum(cut)
