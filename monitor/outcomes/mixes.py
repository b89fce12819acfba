"""Which rows came, cohort by cohort: a bounded sample of their inputs, until their labels are there to be divided by.

Rows are in the sample by the hashes that panes choose theirs by, so that each row of a cohort has the same chance. Kept
through checkpoints: at most `MOST` rows of a cohort, 1 kB of 40 columns for 25 rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.performance import pape
from detectors.performance.decompose import Shares
from detectors.performance.trees import Codes
from detectors.types import FloatArray
from monitor.arrays import pack, unpack
from monitor.engine import Pane
from monitor.outcomes.counting import Arrays, Counter, limit_of
from monitor.outcomes.door import STATE

MOST: Final = 1_024
"""Rows of a cohort."""
COHORTS: Final = 128
"""Cohorts at a time, the newest."""
_KEY: Final = f"{STATE}-mixes/"
_LAST: Final = f"{STATE}-mixed"
_TOP: Final = np.uint64(2**64 - 1)


class Kept(NamedTuple):
    """Rows of least hash ``hashes (n,)``, ``inputs (n, f)``, all up to ``limit ()``; ``shares (2, k)`` and errors.

    Shares of the classes by the scores where nothing else has changed, NaN where something has, none where not known.
    """

    hashes: NDArray[np.uint64]
    inputs: Codes
    limit: NDArray[np.uint64]
    shares: FloatArray


class Mixes:
    """The samples of one model against one reference; touched by the engine's thread alone."""

    def __init__(self, counter: Counter) -> None:
        """``counter`` says what inputs mean."""
        self._counter = counter
        self._held: dict[int, Kept] = {}
        self._packed: dict[int, bytes] = {}
        self._last: dict[str, int] = {}

    def add(self, stream: str, panes: Sequence[Pane], width: float) -> None:
        """Take in what is new of a stream's panes, in cohorts of so many seconds."""
        last, newest = self._last.get(stream, 0), panes[-1].number
        last = last if newest >= last else 0  # the stream has begun anew
        for pane in panes:
            if pane.number > last and pane.answers is not None:
                self._take(cohort_of(pane.start, pane.end, width), pane.answers)
        self._last[stream] = newest

    def note(self, cohort: int, shares: Shares | None, classes: int) -> None:
        """Say which shares of the classes an estimate of that time gave, None where it went by something else."""
        kept = self._held.get(cohort)
        if kept is not None:
            told = np.full((2, classes), np.nan) if shares is None else np.stack([shares.share, shares.error])
            if not np.array_equal(told, kept.shares, equal_nan=True):
                self._put(cohort, kept._replace(shares=told))

    def inputs(self, cohorts: Sequence[int]) -> Codes | None:
        """A sample of the rows of some cohorts; None where nothing is known of most of them."""
        some = [self._held[one] for one in cohorts if one in self._held]
        if 2 * len(some) <= len(cohorts):
            return None
        hashes = np.concatenate([one.hashes for one in some])
        limit = min(*(one.limit[()] for one in some), limit_of(hashes, pape.MOST_ROWS))
        inputs: Codes = np.concatenate([one.inputs for one in some])[hashes <= limit]
        return inputs

    def shares(self, cohorts: Iterable[int]) -> Shares | None:
        """Shares of the classes by the scores, if estimates of all of these cohorts went by them."""
        some = [self._held[one].shares for one in cohorts if one in self._held]
        if not some or any(not one.size or np.isnan(one).any() for one in some):
            return None
        share, error = np.mean(some, axis=0)
        return Shares(share, error)

    def keep(self, oldest: int) -> None:
        """Forget cohorts before this one."""
        for number in [one for one in self._held if one < oldest]:
            del self._held[number]
            self._packed.pop(number, None)

    def succeed(self, old: Mixes) -> None:
        """Go on in the place of another one, if inputs mean the same."""
        if old._counter.identity == self._counter.identity:
            self._held = dict(old._held)

    def states(self) -> dict[str, bytes]:
        """Everything, for a checkpoint."""
        self._packed = {number: self._packed.get(number) or pack(one._asdict()) for number, one in self._held.items()}
        names = np.array([f"{number} {stream}" for stream, number in self._last.items()], np.str_)
        last = {"id": np.array([self._counter.identity]), "last": names}
        return {_LAST: pack(last), **{f"{_KEY}{number}": blob for number, blob in self._packed.items()}}

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Inverse of `states`; nothing is kept of another reference, whose inputs mean something else."""
        told = unpack(states[_LAST]) if _LAST in states else {}
        if not told or int(told["id"][0]) != self._counter.identity:
            return
        self._last = {stream: int(number) for number, _, stream in (str(one).partition(" ") for one in told["last"])}
        self._packed = {int(key.removeprefix(_KEY)): blob for key, blob in states.items() if key.startswith(_KEY)}
        self._held = {number: Kept(**unpack(blob)) for number, blob in self._packed.items()}

    def _take(self, cohort: int, answers: Arrays) -> None:
        hashes, inputs = answers["hashes"], answers["inputs"]
        whole = len(hashes) >= int(answers["offered"][1])
        limit = _TOP if whole or not len(hashes) else hashes.max()
        held = self._held.get(cohort)
        if held is not None:
            hashes, inputs = np.concatenate([held.hashes, hashes]), np.concatenate([held.inputs, inputs])
            limit = min(limit, held.limit[()])
        limit = min(limit, limit_of(hashes, MOST))
        some = hashes <= limit
        shares = np.zeros((2, 0)) if held is None else held.shares
        self._put(cohort, Kept(hashes[some], inputs[some], np.array(limit, np.uint64), shares))
        self.keep(max(self._held) - COHORTS + 1)

    def _put(self, cohort: int, kept: Kept) -> None:
        self._held[cohort] = kept
        self._packed.pop(cohort, None)


def cohort_of(start: float, end: float, width: float) -> int:
    """The cohort in whose time the middle of a stretch lies."""
    return int(max((start + end) / 2, -1.0) // width)
