"""Samples of encoded rows: cut from a block, chosen from a stream, merged over the panes of a window.

Rows are numbered as they come; a run is so many neighbours by that number. Of the runs that a pane shows, those whose
number has the least hash are kept: which ones depends on nothing but the numbers, so that pieces of a pane can be taken
in one after the other, stored in between, and merged, always with the same result.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate.encode import Encoder
from detectors.types import Block, CodeArray, FloatArray, IntArray, Sample, SingleArray, View

LEAST_RUN, MOST_RUN = 8, 256
"""Rows of a run: at least, at most."""
_TAUS = 10
"""Runs are so many times longer than rows depend on each other (methods.md 6)."""
_LEAST_KEPT = 2


class Kept(NamedTuple):
    """The rows kept of one pane, encoded for every view: ``run (r,)`` ascending, ``strata (r,)``, ``rows`` by view."""

    run: IntArray
    strata: CodeArray
    rows: tuple[SingleArray, ...]

    @property
    def samples(self) -> tuple[Sample, ...]:
        """One sample a view; they share the numbers."""
        return tuple(Sample(rows, self.run, self.strata) for rows in self.rows)


class Chooser(NamedTuple):
    """Keeps of each pane at most ``runs`` runs of ``run`` rows, encoded by the ``encoders`` of the views."""

    encoders: tuple[Encoder, ...]
    run: int
    runs: int

    def empty(self) -> Kept:
        """Nothing kept yet."""
        rows = tuple(np.zeros((0, len(encoder.unit)), np.float32) for encoder in self.encoders)
        return Kept(np.zeros(0, np.int64), np.zeros(0, np.int32), rows)

    def add(self, kept: Kept, blocks: Sequence[Block], number: IntArray, whole: Block | None = None) -> Kept:
        """Take in the pane's next n >= 1 rows: blocks, with ``number (n,)`` ascending and above all earlier ones.

        ``whole`` is the same rows as one block (its vectors are not looked at), where it has been made already.
        """
        both = np.concatenate([kept.run, number // self.run])
        chosen = self.chosen(both)
        old, new = chosen[: len(kept.run)], np.flatnonzero(chosen[len(kept.run) :])
        rows = kept.rows if old.all() else tuple(part[old] for part in kept.rows)
        if not len(new):
            return Kept(kept.run[old], kept.strata[old], rows)
        block = picked(blocks, new, whole)
        strata = np.zeros(len(new), np.int32) if block.strata is None else block.strata
        return Kept(
            both[chosen],
            np.concatenate([kept.strata[old], strata]),
            tuple(
                np.concatenate([part, encoder.encode(block)]) for part, encoder in zip(rows, self.encoders, strict=True)
            ),
        )

    def chosen(self, run: IntArray) -> NDArray[np.bool_]:
        """Rows of the runs of least hash; ``run (n,)``, n >= 1, is ascending."""
        index = np.zeros(len(run), np.int64)
        change = run[1:] != run[:-1]
        np.cumsum(change, out=index[1:])
        if index[-1] < self.runs:
            return np.ones(len(run), bool)
        hashes = mixed(run[np.concatenate(([0], np.flatnonzero(change) + 1))].view(np.uint64))
        chosen: NDArray[np.bool_] = (hashes <= np.partition(hashes, self.runs - 1)[self.runs - 1])[index]
        return chosen


def chooser(views: Sequence[View], rows: int) -> Chooser:
    """Keep about ``rows`` rows a pane, in whole runs and at least two; the views must agree on the run."""
    if len({view.run for view in views}) != 1:
        message = f"`views` must be some views with one length of runs, not {sorted({view.run for view in views})}"
        raise ValueError(message)
    run = views[0].run
    return Chooser(tuple(view.encoder for view in views), run, max(-(-rows // run), _LEAST_KEPT))


def run_rows(tau: float) -> int:
    """Rows of a run for an autocorrelation time: ten times what exceeds independence (1), as a power of two."""
    wanted = _TAUS * max(tau - 1.0, 0.0)
    return int(np.clip(2 ** int(np.ceil(np.log2(max(wanted, 1.0)))), LEAST_RUN, MOST_RUN))


def cut(encoder: Encoder, block: Block, run: int) -> Sample:
    """All rows of a block in complete runs, numbered from 0; the rest at its end is left out."""
    rows = block.rows // run * run
    strata = np.zeros(rows, np.int32) if block.strata is None else block.strata[:rows]
    return Sample(encoder.encode(block)[:rows], np.arange(rows) // run, strata)


def together(samples: Sequence[Sample]) -> Sample:
    """All rows of several panes in one view, as they came."""
    if len(samples) == 1:
        return samples[0]
    return Sample(
        np.concatenate([one.rows for one in samples]),
        np.concatenate([one.run for one in samples]),
        np.concatenate([one.strata for one in samples]),
    )


def window_sample(samples: Iterable[Sample], run: int) -> Sample:
    """The complete runs (``run`` rows) of one view in a window's panes, in order; a run may lie in two panes.

    At least one pane.
    """
    parts = list(samples)
    number = np.concatenate([part.run for part in parts])
    order = np.argsort(number, kind="stable")
    number = number[order]
    first = np.flatnonzero(np.diff(number, prepend=-1))
    length = np.diff(first, append=len(number))
    whole = np.repeat(length == run, length)
    order = order[whole]
    return Sample(
        np.concatenate([part.rows for part in parts])[order],
        number[whole],
        np.concatenate([part.strata for part in parts])[order],
    )


def picked(blocks: Sequence[Block], rows: IntArray, whole: Block | None = None) -> Block:
    """Some rows (ascending positions) of blocks laid end to end, without touching the vectors of the others.

    Times and faults are left out. ``whole`` as in `Chooser.add`.
    """
    ends = np.cumsum([block.rows for block in blocks])
    cuts = np.searchsorted(rows, ends)
    starts = np.concatenate([[0], cuts[:-1]])
    parts = [
        (block, rows[a:b] - (end - block.rows))
        for block, a, b, end in zip(blocks, starts, cuts, ends, strict=True)
        if b > a
    ]
    numeric: FloatArray
    if whole is not None:
        numeric, codes = whole.numeric[rows], whole.codes[rows]
        strata = None if whole.strata is None else whole.strata[rows]
    else:
        numeric = np.concatenate([block.numeric[some] for block, some in parts])
        codes = np.concatenate([block.codes[some] for block, some in parts])
        found = [block.strata[some] for block, some in parts if block.strata is not None]
        strata = np.concatenate(found) if found else None
    vectors = tuple(
        np.concatenate([block.vectors[v][some] for block, some in parts]) for v in range(len(blocks[0].vectors))
    )
    return Block(numeric, codes, np.zeros(numeric.shape[1] + codes.shape[1], np.int64), None, vectors, strata)


def mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014): a one-to-one scramble."""
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
