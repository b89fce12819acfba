"""What a pane keeps of its answers for estimates: exact counts, and a bounded random sample of inputs.

Which rows are in the sample is decided by a hash of their number in the stream, so that neither batches nor checkpoints
decide it: a pane keeps those of least hash, and of a window are taken those below a hash that every pane still knows.
A closed pane's counts are kept as the few that are not zero.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate.samples import mixed
from detectors.performance import calibrate, estimate, pape
from detectors.performance.classifiers import ClassesFixed
from detectors.performance.estimate import Fixed, Tally
from detectors.performance.trees import Codes
from detectors.performance.types import Outcomes
from detectors.types import Block, IntArray
from monitor import log
from monitor.outcomes.answers import Answers
from monitor.outcomes.measured import Measured
from monitor.outcomes.said import Said

_SPARE: Final = 4
"""A pane may have so many times more rows than the others of its window before it thins the sample of all."""
_LEAST: Final = 256
_SALT: Final = np.uint64(0x6F7574636F6D6573)
_TOP: Final = 2.0**64

Arrays = Mapping[str, NDArray[Any]]


class Counted(NamedTuple):
    """An open pane: its counts, how many rows could be in the sample, and those that are, with their hashes."""

    tally: Tally
    offered: int
    hashes: NDArray[np.uint64]
    inputs: Codes


class Counter:
    """Counts the answers of panes against one reference."""

    def __init__(self, measured: Measured, answers: Answers, panes: int) -> None:
        """Of a window of ``panes`` panes."""
        self.fixed: Fixed = measured.fixed
        self._encoder, self._answers = measured.encoder, answers
        self._most = min(max(_SPARE * -(-pape.MOST_ROWS // panes), _LEAST), pape.MOST_ROWS)
        self._regression = not isinstance(measured.fixed, ClassesFixed)
        how = measured.fixed.sample.how if isinstance(measured.fixed, ClassesFixed) else measured.fixed.forests.how
        self._features = len(how.begin) - 1
        self._empty = estimate.empty(self.fixed)
        self.failures = 0
        told = [np.ascontiguousarray(part).tobytes() for part in (how.begin, how.cuts, *_scale(measured.fixed))]
        self._id = zlib.crc32(b"".join(told))

    @property
    def identity(self) -> int:
        """What counts and inputs mean."""
        return self._id

    @property
    def unit(self) -> IntArray:
        """The column of each encoded input ``(d,)``."""
        return self._encoder.unit

    def add(self, counted: Counted | None, blocks: Sequence[Block], whole: Block, numbers: IntArray) -> Counted:
        """Count a pane's next rows: blocks, the same as one block without vectors, and their numbers in the stream.

        What cannot be counted is left out of estimates, and `failures` says so: the rows are judged all the same.
        """
        kept = self._start() if counted is None else counted
        try:
            return self._added(kept, blocks, whole, numbers)
        except Exception as fault:  # noqa: BLE001 - an estimate is not worth a row
            self.failures += 1
            log.get("estimates").error("answers cannot be counted", error=repr(fault))
            return kept

    def _added(self, kept: Counted, blocks: Sequence[Block], whole: Block, numbers: IntArray) -> Counted:
        if len(blocks) > 1 and blocks[0].vectors:
            vectors = tuple(np.concatenate(parts) for parts in zip(*(one.vectors for one in blocks), strict=True))
            whole = dataclasses.replace(whole, vectors=vectors)
        said = self._answers.said(whole)
        outcomes = self._answers.outcomes(said)
        rows = self._encoder.encode(whole) if self._regression else None
        tally = estimate.merge(kept.tally, estimate.count(self.fixed, outcomes, rows))
        usable = np.flatnonzero(self._usable(said, outcomes))
        hashes = mixed(numbers[usable].view(np.uint64) ^ _SALT)
        limit = limit_of(np.concatenate([kept.hashes, hashes]), self._most)
        old, new = kept.hashes <= limit, hashes <= limit
        inputs, mine = self._inputs(whole, said, usable[new]), hashes[new]
        return Counted(
            tally,
            kept.offered + len(usable),
            np.concatenate([kept.hashes[old], mine]),
            np.concatenate([kept.inputs[old], inputs]),
        )

    def packed(self, counted: Counted | None) -> Arrays | None:
        """A pane as arrays, for the window and for checkpoints."""
        if counted is None:
            return None
        flat = np.concatenate([part.ravel() for part in counted.tally])
        which = np.flatnonzero(flat)
        return {
            "which": which.astype(np.int32),
            "counts": flat[which],
            "offered": np.array([self._id, counted.offered], np.int64),
            "hashes": counted.hashes,
            "inputs": counted.inputs,
        }

    def unpacked(self, arrays: Arrays) -> Counted | None:
        """Inverse of `packed`; None if it was counted against another reference."""
        if not self._mine(arrays):
            return None
        tally, _ = self.window([arrays])
        return Counted(tally, int(arrays["offered"][1]), arrays["hashes"], arrays["inputs"])

    def window(self, panes: Iterable[Arrays | None]) -> tuple[Tally, Codes | None]:
        """All counts together, and a sample of the inputs of all panes: each row is in it with the same chance."""
        some = [pane for pane in panes if pane is not None and self._mine(pane)]
        flat = np.zeros(sum(part.size for part in self._empty), np.int64)
        for pane in some:
            flat[pane["which"]] += pane["counts"]
        ends = np.cumsum([part.size for part in self._empty])
        parts = (one.reshape(like.shape) for one, like in zip(np.split(flat, ends[:-1]), self._empty, strict=True))
        tally = type(self._empty)(*parts)
        offered = sum(int(pane["offered"][1]) for pane in some)
        if not offered or not self._features:
            return tally, None
        thinned = [pane["hashes"].max() for pane in some if len(pane["hashes"]) < int(pane["offered"][1])]
        chance = min(pape.MOST_ROWS / offered, 1.0)
        limit = min([np.uint64(min(chance * _TOP, _TOP - 2048)), *thinned])
        return tally, np.concatenate([pane["inputs"][pane["hashes"] <= limit] for pane in some])

    def _start(self) -> Counted:
        return Counted(self._empty, 0, np.zeros(0, np.uint64), np.zeros((0, self._features), np.uint8))

    def _mine(self, arrays: Arrays) -> bool:
        return int(arrays["offered"][0]) == self._id

    def _usable(self, said: Said, outcomes: Outcomes) -> NDArray[np.bool_]:
        if isinstance(self.fixed, ClassesFixed):
            return calibrate.usable(self.fixed.scale, outcomes)
        return np.isfinite(said.prediction)

    def _inputs(self, whole: Block, said: Said, rows: IntArray) -> Codes:
        if not len(rows):
            return np.zeros((0, self._features), np.uint8)
        few = dataclasses.replace(whole, numeric=whole.numeric[rows], codes=whole.codes[rows], time=None, strata=None)
        return estimate.inputs(self.fixed, self._answers.outcomes(said.rows(rows)), self._encoder.encode(few))


def limit_of(hashes: NDArray[np.uint64], most: int) -> np.uint64:
    """The greatest hash that is still kept."""
    if len(hashes) <= most:
        return np.uint64(2**64 - 1)
    limit: np.uint64 = np.partition(hashes, most - 1)[most - 1]
    return limit


def _scale(fixed: Fixed) -> tuple[NDArray[Any], ...]:
    """What counts mean."""
    if isinstance(fixed, ClassesFixed):
        return fixed.scale.cuts, fixed.scale.classes
    return fixed.forests.scale, fixed.forests.rows
