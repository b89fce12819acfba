"""Rows into panes, by event time with a watermark or by row count. Pure: state in the object, no clock, no threads.

Event time: a pane closes when the watermark (the 95th percentile of a batch's times, less the allowed lateness) has
passed its end; later rows for it are counted as late and never re-open it. Times that are absurd against the stream
(years away) are discarded one by one; when most rows of a sustained stretch disagree with the watermark, the clock has
been set back, and the stream follows it. Panes are numbered in the order in which they close; empty ones are not
judged.

With views a pane keeps rows, too: runs of neighbours by their number in the stream, chosen by a hash of the run's
number and encoded, so that neither batches nor checkpoints decide which ones. Only rows that are kept are encoded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors import parts
from detectors.grid import Grid
from detectors.multivariate.samples import Kept, chooser
from detectors.types import Block, FloatArray, IntArray, Sample, Summary, View
from monitor.engine import Pane

if TYPE_CHECKING:
    from monitor.outcomes.counting import Counted, Counter

FOLD_ROWS = 4096
"""Rows that wait for company before they are summarised: small batches are cheaper together."""
_ABSURD_SECONDS = 400 * 86400.0
"""A time this far ahead of the watermark is absurd, unless most of a sustained stretch agrees."""
_SUSTAINED_ROWS = 64
"""Rows in a stretch whose majority must disagree with the watermark before the stream follows them."""
_ADVANCE_QUANTILE = 0.95


class PaneRule(NamedTuple):
    """Exactly one of ``seconds`` and ``rows``; ``lateness`` in seconds of event time."""

    seconds: float | None
    rows: int | None
    lateness: float


@dataclass(slots=True)
class _Open:
    """An open pane: a summary of the rows folded so far, those kept of them, and rows that wait, with their numbers."""

    start: float
    end: float
    summary: Summary | None = None
    kept: Kept | None = None
    waiting: list[Block] = field(default_factory=list)
    numbers: list[IntArray] = field(default_factory=list)
    waiting_rows: int = 0
    counted: Counted | None = None

    @property
    def rows(self) -> int:
        return self.waiting_rows + (self.summary.rows if self.summary is not None else 0)


class Discards(NamedTuple):
    """Rows that no pane took."""

    late: int
    implausible_time: int


class Panes:
    """The panes of one stream."""

    def __init__(
        self, grid: Grid, rule: PaneRule, views: Sequence[View] = (), rows: int = 0, counter: Counter | None = None
    ) -> None:
        """Begin before the first row; of each pane about ``rows`` rows are kept for every view, and answers counted."""
        self._grid, self._rule, self._counter = grid, rule, counter
        self._chooser = chooser(views, rows) if views else None
        self._arrived = 0
        self._open: dict[int, _Open] = {}
        self.watermark = -np.inf
        self.latest = -np.inf
        self.number = 0
        self._astray = 0
        self._closed_before = -(2**62)

    @property
    def pending_rows(self) -> int:
        """Rows in open panes."""
        return sum(pane.rows for pane in self._open.values())

    def add(self, block: Block, arrival: float) -> tuple[list[Pane], Discards]:
        """Take rows; return the panes that this closes, in order.

        ``arrival`` is the time of rows in a stream without times; a row whose time is absent is taken for as late as
        the latest one.
        """
        if block.rows == 0:
            return [], Discards(0, 0)
        if self._chooser is None and self._counter is None and block.vectors:
            block = dataclasses.replace(block, vectors=())  # nobody will look at them
        self._arrived += block.rows
        if block.time is None:
            time = np.full(block.rows, arrival)
        else:
            stand_in = self.latest if np.isfinite(self.latest) else arrival
            time = np.where(np.isnan(block.time), stand_in, block.time)
            if self._rule.rows is not None:  # here a time is told, not obeyed: an absurd one costs no row
                time = np.where(_impossible(time), stand_in, time)
        if self._rule.rows is not None:
            return self._by_count(block, time, self._rule.rows), Discards(0, 0)
        return self._by_time(block, time, self._rule.seconds or 1.0)

    def places(self, block: Block, rows: IntArray, arrival: float) -> FloatArray:
        """Where some rows of the block that was added last lie: the numbers of their panes of rows, else their times.

        A row whose time is absurd lies nowhere (NaN).
        """
        if self._rule.rows is not None:
            ahead = self.pending_rows - block.rows + rows  # of the first row of the open pane
            return self.number + 1.0 + np.floor(ahead / self._rule.rows)
        time = np.full(len(rows), arrival) if block.time is None else block.time[rows]
        time = np.where(np.isnan(time), self.latest, time)
        return np.where(_impossible(time), np.nan, time)

    def place_of(self, pane: int, start: float) -> float:
        """Where a pane begins, as `places` tells it."""
        return float(pane) if self._rule.rows is not None else start

    def advance(self, to: float) -> list[Pane]:
        """Move the watermark when no data comes: close what has ended by ``to``."""
        if self._rule.seconds is None or not np.isfinite(self.watermark):
            return []
        self.watermark = max(self.watermark, to - self._rule.lateness)
        return self._close_ended()

    def flush(self) -> list[Pane]:
        """Close all open panes, the last ones perhaps early: the end of a replay."""
        return [self._close(key) for key in sorted(self._open)]

    def _by_count(self, block: Block, time: FloatArray, size: int) -> list[Pane]:
        closed, first = [], 0
        number = self._arrived - block.rows
        self.latest = max(self.latest, float(time.max()))
        self.watermark = self.latest
        while first < block.rows:
            pane = self._open.setdefault(0, _Open(float(time[first]), float(time[first])))
            last = min(first + size - pane.rows, block.rows)
            part = slice(first, last)
            pane.start = min(pane.start, float(time[part].min()))
            pane.end = max(pane.end, float(time[part].max()))
            self._hold(pane, rows_of(block, part), np.arange(number + first, number + last))
            if pane.rows >= size:
                closed.append(self._close(0))
            first = last
        return closed

    def _by_time(self, block: Block, time: FloatArray, seconds: float) -> tuple[list[Pane], Discards]:
        ahead = time > self.watermark + _ABSURD_SECONDS if np.isfinite(self.watermark) else np.zeros(len(time), bool)
        far = ahead | _impossible(time)
        behind = time < self.watermark - 60 * max(seconds, self._rule.lateness, 60.0)
        far, behind, closed = self._follow(time, far, behind)
        index = np.floor(np.where(far, 0.0, time) / seconds).astype(np.int64)
        late = ~far & (index < self._closed_before)
        good = ~far & ~late
        if good.any():
            times = time[good]
            top = float(np.quantile(times, _ADVANCE_QUANTILE, method="lower")) if times.size > 1 else float(times[0])
            self.latest = max(self.latest, top)
            numbers = np.arange(self._arrived - block.rows, self._arrived)
            for key in np.unique(index[good]):
                pane = self._open.setdefault(int(key), _Open(float(key * seconds), float((key + 1) * seconds)))
                mine = good & (index == key)
                some = block if mine.all() else rows_of(block, np.flatnonzero(mine))
                self._hold(pane, some, numbers[mine])
            self.watermark = max(self.watermark, top - self._rule.lateness)
            closed += self._close_ended()
        return closed, Discards(int(late.sum()), int(far.sum()))

    def _follow(
        self, time: FloatArray, far: NDArray[np.bool_], behind: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[Pane]]:
        """Follow a clock that was set back or far ahead once a sustained majority of rows says so."""
        astray = (far & ~_impossible(time)) | behind
        wrong = int(astray.sum())
        self._astray = self._astray + wrong if 2 * wrong > len(time) else 0
        if self._astray < _SUSTAINED_ROWS:
            return far, behind, []
        self._astray = 0
        closed = self.flush()
        self.watermark, self._closed_before = -np.inf, -(2**62)
        self.latest = float(np.median(time[astray]))
        return _impossible(time) | ~astray, np.zeros_like(behind), closed

    def _close_ended(self) -> list[Pane]:
        seconds = self._rule.seconds or 1.0
        limit = int(np.floor(self.watermark / seconds))
        ended = sorted(key for key in self._open if key < limit)
        self._closed_before = max(self._closed_before, limit)
        return [self._close(key) for key in ended]

    def _hold(self, pane: _Open, block: Block, numbers: IntArray) -> None:
        pane.waiting.append(block)
        pane.numbers.append(numbers)
        pane.waiting_rows += block.rows
        if pane.waiting_rows >= FOLD_ROWS:
            self._fold(pane)

    def _fold(self, pane: _Open) -> Summary:
        if pane.waiting:
            whole = joined(pane.waiting)
            summary = parts.summarise(self._grid, whole)
            pane.summary = summary if pane.summary is None else parts.merge(pane.summary, summary)
            if self._chooser is not None:
                kept = self._chooser.empty() if pane.kept is None else pane.kept
                pane.kept = self._chooser.add(kept, pane.waiting, np.concatenate(pane.numbers), whole)
            if self._counter is not None:
                pane.counted = self._counter.add(pane.counted, pane.waiting, whole, np.concatenate(pane.numbers))
            pane.waiting, pane.numbers, pane.waiting_rows = [], [], 0
        return parts.zero(self._grid) if pane.summary is None else pane.summary

    def _close(self, key: int) -> Pane:
        pane = self._open.pop(key)
        self.number += 1
        summary = self._fold(pane)
        answers = None if self._counter is None else self._counter.packed(pane.counted)
        kept = () if pane.kept is None else pane.kept.samples
        return Pane(self.number, pane.start, pane.end, summary, kept, answers)

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything as arrays, for a checkpoint. Waiting rows are folded first, which changes no later number."""
        keys = sorted(self._open)
        summaries = [self._fold(self._open[key]) for key in keys]
        arrays: dict[str, NDArray[np.generic]] = {
            "clock": np.array([self.watermark, self.latest, self.number, self._astray]),
            "arrived": np.array([self._arrived], np.int64),
            "closed_before": np.array([self._closed_before], np.int64),
            "keys": np.array(keys, np.int64),
            "spans": np.array([[self._open[key].start, self._open[key].end] for key in keys]).reshape(-1, 2),
        }
        for position, (key, summary) in enumerate(zip(keys, summaries, strict=True)):
            arrays.update({f"open{position}/{name}": part for name, part in arrays_of(summary).items()})
            kept = self._open[key].kept
            if kept is not None:
                arrays.update(
                    {f"open{position}/{name}": part for name, part in arrays_of_samples(kept.samples).items()}
                )
            if self._counter is not None:
                counted = self._counter.packed(self._open[key].counted) or {}
                arrays.update({f"open{position}/answers/{name}": part for name, part in counted.items()})
        return arrays

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go on from a checkpoint."""
        watermark, latest, number, astray = (float(value) for value in arrays["clock"])
        self.watermark, self.latest = watermark, latest
        self.number, self._astray = int(number), int(astray)
        self._closed_before = int(arrays["closed_before"][0])
        self._arrived = int(arrays["arrived"][0])
        self._open = {}
        for position, key in enumerate(arrays["keys"]):
            start, end = (float(value) for value in arrays["spans"][position])
            mine = _below(arrays, f"open{position}/")
            one = _Open(start, end, summary_of(self._grid.id, mine), self._kept(samples_of(mine)))
            if self._counter is not None and (counted := _below(mine, "answers/")):
                one.counted = self._counter.unpacked(counted)
            self._open[int(key)] = one

    def _kept(self, samples: tuple[Sample, ...]) -> Kept | None:
        """What was kept of a pane; nothing if the views have become others."""
        encoders = () if self._chooser is None else self._chooser.encoders
        if not samples or [one.rows.shape[1] for one in samples] != [len(encoder.unit) for encoder in encoders]:
            return None
        return Kept(samples[0].run, samples[0].strata, tuple(one.rows for one in samples))


def _impossible(time: FloatArray) -> NDArray[np.bool_]:
    """Beyond the year 5138 or before 1653."""
    impossible: NDArray[np.bool_] = (time > 1e11) | (time < -1e10)
    return impossible


def rows_of(block: Block, rows: slice | IntArray) -> Block:
    """Some rows of a block. Type faults are only known by number: they are spread evenly over the block's rows."""
    faults = block.faults
    if faults.any():
        inside = np.zeros(block.rows, bool)
        inside[rows] = True
        faults = np.zeros_like(faults)
        for unit in np.flatnonzero(block.faults):  # rare, and every fault falls into exactly one part of a partition
            number = int(block.faults[unit])
            faults[unit] = inside[((np.arange(number) + 0.5) * block.rows / number).astype(np.int64)].sum()
    return Block(
        block.numeric[rows],
        block.codes[rows],
        faults,
        None if block.time is None else block.time[rows],
        tuple(vectors[rows] for vectors in block.vectors),
        None if block.strata is None else block.strata[rows],
    )


def joined(blocks: list[Block]) -> Block:
    """One block with what a summary needs of all rows, column-major: neither times nor vectors."""
    if len(blocks) == 1:
        return blocks[0]
    n = sum(block.rows for block in blocks)
    numeric = np.empty((n, blocks[0].numeric.shape[1]), order="F")
    codes = np.empty((n, blocks[0].codes.shape[1]), np.int32, order="F")
    at = 0
    for block in blocks:
        numeric[at : at + block.rows] = block.numeric
        codes[at : at + block.rows] = block.codes
        at += block.rows
    strata = [block.strata for block in blocks if block.strata is not None]
    return Block(
        numeric,
        codes,
        np.sum([block.faults for block in blocks], axis=0),
        strata=np.concatenate(strata) if strata else None,
    )


_PARTS: tuple[str, ...] = ("numeric", "codes", "missing", "nonfinite", "new", "faults", "sums", "mix")


def arrays_of(summary: Summary) -> dict[str, NDArray[np.generic]]:
    """A summary as arrays, counts in the smallest type that holds them."""
    arrays: dict[str, NDArray[np.generic]] = {"rows": np.array([summary.rows], np.int64)}
    for name in _PARTS:
        part: NDArray[np.generic] = getattr(summary, name)
        arrays[name] = (
            part if part.dtype == np.float64 or summary.rows > np.iinfo(np.int32).max else part.astype(np.int32)
        )
    return arrays


def summary_of(grid_id: str, arrays: dict[str, NDArray[np.generic]]) -> Summary:
    """Inverse of `arrays_of`."""
    kept = {name: arrays[name].astype(np.float64 if name == "sums" else np.int64) for name in _PARTS}
    return Summary(grid_id=grid_id, rows=int(arrays["rows"][0]), **kept)  # type: ignore[arg-type]  # dtypes by name


def arrays_of_samples(samples: Sequence[Sample]) -> dict[str, NDArray[np.generic]]:
    """The samples of one pane as arrays: they share the numbers of the runs and the strata."""
    if not samples:
        return {}
    rows: dict[str, NDArray[np.generic]] = {f"sample{i}": one.rows for i, one in enumerate(samples)}
    return {"run": samples[0].run, "strata": samples[0].strata, **rows}


def samples_of(arrays: Mapping[str, NDArray[Any]]) -> tuple[Sample, ...]:
    """Inverse of `arrays_of_samples`; none if there are none among the arrays."""
    number = sum(name.startswith("sample") for name in arrays)
    return tuple(Sample(arrays[f"sample{i}"], arrays["run"], arrays["strata"]) for i in range(number))


def _below(arrays: dict[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    return {name.removeprefix(prefix): part for name, part in arrays.items() if name.startswith(prefix)}
