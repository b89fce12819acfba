"""The outcome side of one model: whether it is right, as far as labels tell and as far as can be known without them.

The agent's only way to all of it, touched by the engine's thread alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from detectors.performance import realised
from monitor import log
from monitor.config import Model
from monitor.decode import Decoded
from monitor.fitted import Fitted
from monitor.outcomes.beside import Beside
from monitor.outcomes.changed import Changes, Divided
from monitor.outcomes.counting import Counter
from monitor.outcomes.door import TIMELINE, Pace
from monitor.outcomes.errors import ErrorStream, errors_of, told_of
from monitor.outcomes.estimates import Estimates, estimates_of
from monitor.outcomes.expectation import below_confirmed
from monitor.outcomes.failing import Failing
from monitor.outcomes.lane import Lane, lane_of
from monitor.outcomes.measured import Known, known_of, tau_of
from monitor.outcomes.realised import Confirmed
from monitor.outcomes.timeline import Timeline
from monitor.outcomes.weighing import Weighing
from monitor.told import Told

_REST: Final = 0.25
"""Seconds between two looks at what labels have confirmed, of some milliseconds each, at least."""

if TYPE_CHECKING:
    from detectors.performance.curves import Curve
    from monitor.streams import Stream

_NEVER, _HALF = 0.02, 0.5


def side_of(model: Model, fitted: Fitted, folder: Path, config_id: str) -> Side:
    """The outcome side of a model with this reference, to be restored."""
    known, tau = known_of(fitted), tau_of(fitted)
    _warn(model, known, tau)
    beside = Beside(model.name)
    estimates = estimates_of(model, fitted, known, tau, beside)
    errors = None if known.errors is None else errors_of(model, fitted, known.errors, config_id)
    lane = lane_of(model, fitted, folder, known.expected, tau, beside, errors)
    side = Side(model, estimates, lane, beside)
    if estimates is not None:
        side.weighing = Weighing(estimates.counter, len(fitted.reference.grid.names), tau, model.labels.smallest_loss)
        side.changes = Changes(model, estimates.counter, tau, beside)
    return side


def _warn(model: Model, known: Known, tau: float) -> None:
    """Say it where the reference's labels look as if they were read the wrong way."""
    if known.expected is None:
        return
    found = realised.figures(known.expected.layout, known.expected.reference, tau=tau)
    told = log.get("outcomes")
    if "accuracy" in found and found["accuracy"].high < _NEVER:
        told.warning(
            "next to no label of the reference equals its answer: are both in the same words?", model=model.name
        )
    elif "auroc" in found and found["auroc"].high < _HALF:
        told.warning(
            "the score speaks against its class, the last of columns.classes (in order of their names where none are "
            "given): name the class of which it is the probability last",
            model=model.name,
        )


class Side:
    """Estimates, and predictions that wait for their labels; either may be missing."""

    def __init__(self, model: Model, estimates: Estimates | None, lane: Lane | None, beside: Beside) -> None:
        """``estimates`` need a reference with labels and answers, the ``lane`` rows with ids."""
        self.model, self.estimates, self.lane, self.beside = model, estimates, lane, beside
        self._failed_before = 0
        self.weighing: Weighing | None = None
        """What the shift of a column costs."""
        self.changes: Changes | None = None
        """Why the performance changed."""
        realised = None if lane is None else lane.realised
        rests = (
            one.identity for one in (None if estimates is None else estimates.counter, realised) if one is not None
        )
        self.timeline = Timeline(sum(rests))
        self._again, self._fresh = 0.0, False
        self.confirmed: tuple[Confirmed, Curve] | None = None
        """What labels have confirmed of the newest complete cohorts, and their reliability; replaced whole."""

    @property
    def failures(self) -> int:
        """Windows and batches that make no estimate, and figures of parts that failed, since the agent began."""
        counter = self.counter
        return self._failed_before + self.beside.failures + (0 if counter is None else counter.failures)

    @property
    def failing(self) -> Failing | None:
        """Where the model fails consistently; None without a lane."""
        return None if self.lane is None else self.lane.failing

    @property
    def counter(self) -> Counter | None:
        """What panes keep of their answers."""
        return None if self.estimates is None else self.estimates.counter

    @property
    def joins(self) -> bool:
        """Whether there is anything to join labels to."""
        return self.lane is not None

    @property
    def errors(self) -> ErrorStream | None:
        """What pages when answers are wrong more often."""
        return None if self.lane is None else self.lane.errors

    @property
    def findings(self) -> set[str]:
        """Ids of findings about answers that are open."""
        return set() if self.errors is None else self.errors.known

    def fed(self, decoded: Decoded, arrived: float, version: str) -> None:
        """Rows that have been judged, at a time in seconds since 1970; ``version`` is their sender's word."""
        if self.lane is not None:
            self.lane.fed(decoded, arrived, version)

    def told(self, pace: Pace) -> Told | None:
        """What is news about answers whose labels have come, None if nothing is."""
        return None if self.lane is None else told_of(self.lane.judged(pace))

    def labelled(self, batch: pa.RecordBatch, arrived: float) -> bool:
        """Ids and labels that came alone; whether they could be joined."""
        return self.lane is not None and self.lane.labelled(batch, arrived)

    def known(self, ids: pa.Array) -> pa.Array:
        """The labels that some ids have now, as they are logged; null where none is known."""
        return pa.nulls(len(ids)) if self.lane is None else self.lane.known(ids)

    def judged(self, streams: Iterable[Stream], length: float) -> None:
        """Windows that are new; ``length`` is panes for each false alarm that is allowed."""
        try:
            self._judged(streams, length)
        except Exception as fault:  # noqa: BLE001 - rows are judged whatever becomes of their performance
            self._failed_before += 1
            log.get("outcomes").error("windows are not estimated", model=self.model.name, error=repr(fault))

    def _judged(self, streams: Iterable[Stream], length: float) -> None:
        self._follow()
        if time.monotonic() >= self._again:
            self._look()
        if self.estimates is None:
            return
        streams = list(streams)
        for one in streams:
            self.estimates.judged(one.name, one.state.panes, length)
        if self.changes is not None and self.lane is not None and self.lane.index is not None:
            self.changes.judged(streams, self.estimates.told, self.lane.index.width)

    def explained(self, stream: str) -> list[Divided]:
        """Why the performance of a version changed, as far as that is known: without labels, and with them."""
        if self.estimates is None or self.changes is None:
            return []
        return self.changes.of(self.estimates.told, stream.partition("/")[0])

    def behind(self, confirmed: Confirmed | None, length: float) -> dict[str, bool]:
        """Of each metric whether it is below what the reference makes one expect."""
        found = {} if self.estimates is None else dict(self.estimates.behind)
        if confirmed is not None and self.lane is not None and self.lane.realised is not None:
            if confirmed.labelled < self.model.labels.least_share * confirmed.predicted:
                return found
            loss, reference = self.model.labels.smallest_loss, self.lane.realised.reference
            for name, worse in below_confirmed(confirmed.figures, reference, length, loss).items():
                found[name] = found.get(name, False) or worse
        return found

    def restore(self, states: Mapping[str, bytes]) -> None:
        """Go on from what `states` gave; panes that it brought back are told by `judged`."""
        if self.lane is not None:
            self.lane.restore(states)
            self._recall(states)
        if self.changes is not None:
            self.changes.mixes.restore(states)

    def succeed(self, old: Side | None) -> None:
        """Take the place of another one, after a reload or with a new reference: predictions go on to wait."""
        self._failed_before += 0 if old is None else old.failures
        if self.lane is not None:
            self.lane.succeed(None if old is None else old.lane)
            self._recall({} if old is None else {TIMELINE: old.timeline.state()})
        if self.changes is not None and old is not None and old.changes is not None:
            self.changes.mixes.succeed(old.changes.mixes)

    def states(self) -> dict[str, bytes]:
        """Everything, for a checkpoint, under keys that begin with `monitor.outcomes.door.STATE`."""
        if self.lane is None:
            return {}
        kept = self.lane.states()
        self._look()
        kept |= {TIMELINE: self.timeline.state()}
        if self.changes is None or self.lane.index is None:
            return kept
        confirmed, realised = self.lane.confirmed, self.lane.realised
        if confirmed is not None and realised is not None:
            self.changes.confirmed(confirmed, realised)
        return kept | self.changes.mixes.states()

    def settled(self) -> None:
        """The checkpoint with the last `states` is on disk."""
        if self.lane is not None:
            self.lane.settled()

    def _recall(self, states: Mapping[str, bytes]) -> None:
        if self.lane is not None and self.lane.index is not None and TIMELINE in states:
            self.timeline.restore(states[TIMELINE], self.lane.index.width)
            self._learn()
        self._look()

    def _follow(self) -> None:
        """Put the newest estimates on the timeline."""
        if self.estimates is not None:
            self._fresh |= self.timeline.estimated(self.estimates.told)

    def _look(self) -> None:
        """Put what labels have confirmed beside them."""
        self._again = time.monotonic() + _REST
        self._follow()
        confirmed = None if self.lane is None else self.lane.confirmed
        if confirmed is None or self.lane is None or self.lane.index is None or self.lane.realised is None:
            return  # no cohort is complete, or counts are in doubt until the next checkpoint
        index = self.lane.index
        if self.confirmed is None or self.confirmed[0] is not confirmed:
            self.confirmed = (confirmed, self.lane.realised.curve(confirmed.numbers))
        if self.timeline.labelled(self.lane.realised, index.cohorts(), index.width) or self._fresh:
            self._fresh = False
            self.timeline.reconcile(index.width)
            self._learn()

    def _learn(self) -> None:
        """Estimates to come take on what those before were off by."""
        if self.estimates is not None:
            self.estimates.excess = self.timeline.excess

    def close(self) -> None:
        """End what runs beside the engine's thread, and let go of files."""
        self.beside.close()
        if self.lane is not None:
            self.lane.close()
