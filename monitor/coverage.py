"""Which failure modes are watched here and now: by which detectors, what is missing for more, what no log shows.

It is told from the configuration and, where the reference was measured before, from that; data is never read for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from detectors.compare import Baseline, Comparison
from detectors.registry import JOINT, SEQUENTIAL, WINDOWED, WITNESS, Tolerances
from detectors.taxonomy import MODES, TELEMETRY, Mode
from detectors.types import Detector, Reason, Reference, Window
from monitor import artefact
from monitor.config import Model
from monitor.fitted import Fitted
from monitor.loading import at_hand, roles_of
from monitor.schema import Roles
from monitor.watched import standing_in

READS: Final[dict[str, frozenset[str]]] = {
    "distributional_shift": frozenset({"inputs", "prediction", "score", "embeddings", "segments", "version", "time"}),
    "common_corruption": frozenset({"inputs"}),
    "incomplete_testing": frozenset({"inputs", "segments"}),
}
"""Failure mode -> telemetry that this version's detectors read for it; what is not here is of no use to it yet."""
PAGES, EXPLAINS, NOTES = "pages", "explains", "notes"
_SHIFT: Final = ("distributional_shift",)


class Watcher(NamedTuple):
    """A detector that runs: what it does, and on how many columns (None: not known yet) or on which views."""

    detector: str
    does: str
    modes: tuple[str, ...]
    columns: int | None = None
    views: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"detector": self.detector, "does": self.does, "columns": self.columns, "views": list(self.views)}


class Gap(NamedTuple):
    """Telemetry that would show more of a mode: ``given`` in this log, ``read`` by this version for this mode."""

    name: str
    key: str
    what: str
    given: bool
    read: bool


class Row(NamedTuple):
    """One failure mode."""

    mode: Mode
    watchers: tuple[Watcher, ...]
    missing: tuple[Gap, ...]

    @property
    def status(self) -> str:
        """Whether it is ``watched``, ``in part``, not at all though logs could show it (``no``), or ``cannot`` be."""
        if self.watchers:
            return "in part" if self.missing else "watched"
        return "no" if self.mode.observable else "cannot"

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "number": self.mode.number,
            "mode": self.mode.name,
            "title": self.mode.title,
            "intentional": self.mode.intentional,
            "status": self.status,
            "detectors": [one.as_dict() for one in self.watchers],
            "missing": [one._asdict() for one in self.missing],
            "observable": self.mode.observable,
            "not_observable": self.mode.not_observable,
            "tags": self.mode.tags,
        }


class Coverage(NamedTuple):
    """The table of one model; ``source`` is what it was told from: "reference" or "configuration"."""

    model: str
    source: str
    rows: tuple[Row, ...]

    def document(self) -> dict[str, Any]:
        """JSON form."""
        return {"model": self.model, "source": self.source, "modes": [row.as_dict() for row in self.rows]}


def measured(model: Model, folder: Path) -> Fitted | None:
    """The reference that an agent with this state folder would use, if it was measured before."""
    made = standing_in(folder, model)
    return at_hand(model, folder / "references") if made is None else artefact.load(made)


def coverage(model: Model, fitted: Fitted | None = None) -> Coverage:
    """Make the table of a model; without its measured reference from the configuration alone."""
    running = tuple(watchers(model, fitted))
    given = _given(model, fitted)
    rows = tuple(
        Row(mode, tuple(one for one in running if mode.name in one.modes), tuple(_missing(mode, model, given)))
        for mode in MODES.values()
    )
    return Coverage(model.name, "configuration" if fitted is None else "reference", rows)


def watchers(model: Model, fitted: Fitted | None) -> Iterator[Watcher]:
    """Every detector that runs for a model and has something to look at."""
    tolerances = Tolerances(model.alarms.smallest_shift, model.alarms.smallest_fault)
    for name, make in (SEQUENTIAL | WINDOWED).items():
        detector = make(tolerances)
        columns = None if fitted is None else _columns(detector, fitted.reference)
        if columns != 0:
            yield Watcher(name, PAGES if name in SEQUENTIAL else EXPLAINS, detector.failure_modes, columns)
    views = _views(model, fitted)
    if views:
        witness = WITNESS(tolerances)
        yield Watcher(witness.name, PAGES, witness.failure_modes, views=views)
        for name in model.joint.tests:
            yield Watcher(name, EXPLAINS, JOINT[name](tolerances).failure_modes, views=views)
    for name in model.streaming:
        yield Watcher(name, NOTES, _SHIFT, None if fitted is None else len(fitted.reference.grid.names))


def _columns(detector: Detector, reference: Reference) -> int:
    """How many columns a detector has something to say about, asked of it with the reference's own counts."""
    fixed = detector.fit(reference)
    window = Window(0.0, 1.0, Comparison(Baseline(reference), reference.summary), reference.summary)
    with np.errstate(all="ignore"):
        _, evidence = detector.score(fixed, detector.start(fixed), window)
    return int((evidence.reason == Reason.OK).sum())


def _views(model: Model, fitted: Fitted | None) -> tuple[str, ...]:
    """The joint views: those that the reference has, or those that one with rows enough would have."""
    if not model.joint.enabled:
        return ()
    if fitted is not None:
        return tuple(view.name for view in fitted.reference.views)
    scores = ("scores",) if model.columns.score or model.columns.prediction else ()
    return ("columns", *scores, *model.columns.embeddings)


def _given(model: Model, fitted: Fitted | None) -> set[str]:
    """Telemetry that the log carries, as far as it has a key."""
    roles: Roles = roles_of(model) if fitted is None else fitted.plan.roles
    given = {name for name in TELEMETRY if getattr(roles, name, None)}
    features = fitted is None or any(one.monitored and one.role == "feature" for one in fitted.plan.columns)
    return given | ({"inputs"} if features else set())


def _missing(mode: Mode, model: Model, given: set[str]) -> Iterator[Gap]:
    """What would have to be logged, or read, to watch more of a mode."""
    reads = READS.get(mode.name, frozenset())
    for name in mode.telemetry:
        if not (name in given and name in reads):
            yield Gap(name, *TELEMETRY[name], given=name in given, read=name in reads)
    if mode.name in _SHIFT and not model.joint.enabled:
        yield Gap("joint", "joint.enabled", "the joint views, which are switched off", given=False, read=True)
