"""Which failure modes are watched here and now: by which detectors, what is missing for more, what no log shows.

It is told from the configuration and, where the reference was measured before, from that; data is never read for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from detectors.compare import Baseline, Comparison
from detectors.heuristics import HEURISTICS, SUPPORTS, Heuristic, absences
from detectors.registry import JOINT, SEQUENTIAL, WINDOWED, WITNESS, Tolerances
from detectors.rows.encoder import VIEW
from detectors.taxonomy import MODES, TELEMETRY, Mode
from detectors.types import Detector, Reason, Reference, Window
from monitor import artefact
from monitor.config import Model
from monitor.fitted import Fitted
from monitor.loading import at_hand, roles_of
from monitor.schema import Roles
from monitor.sections import of_errors
from monitor.standing import Standing

_DRIFT: Final[dict[str, frozenset[str]]] = {
    "distributional_shift": frozenset({"inputs", "prediction", "score", "embeddings", "segments", "version", "time"}),
    "common_corruption": frozenset({"inputs"}),
    "incomplete_testing": frozenset({"inputs", "segments"}),
}


def _reads(mode: str) -> frozenset[str]:
    speaking = [one for one in HEURISTICS.values() if mode in one.modes]
    needs = {name for one in speaking for group in one.needs for name in group}
    return frozenset(needs.union(*(one.helps for one in speaking))) | _DRIFT.get(mode, frozenset())


READS: Final[dict[str, frozenset[str]]] = {name: _reads(name) for name in MODES}
"""Failure mode -> telemetry that this version's detectors and heuristics read for it."""
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


class Absence(NamedTuple):
    """Telemetry of which one kind would be enough and none is logged: what is off without it, for which modes."""

    names: tuple[str, ...]
    heuristics: tuple[str, ...]
    modes: tuple[int, ...]

    @property
    def sentence(self) -> str:
        """For people."""
        lacks = " or ".join(TELEMETRY[name].key or name.replace("_", " ") for name in self.names)
        return f"no {lacks}: {_numbers(self.modes)} not watched by {', '.join(self.heuristics)}"


class Row(NamedTuple):
    """One failure mode."""

    mode: Mode
    watchers: tuple[Watcher, ...]
    missing: tuple[Gap, ...]

    @property
    def status(self) -> str:
        """Whether it is ``watched``, ``in part``, not at all though logs could show it (``no``), or ``cannot`` be."""
        if any(one.does != SUPPORTS for one in self.watchers):
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
    absent: tuple[Absence, ...] = ()

    def document(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "model": self.model,
            "source": self.source,
            "modes": [row.as_dict() for row in self.rows],
            "absent": [one._asdict() for one in self.absent],
        }


def measured(model: Model, folder: Path) -> Fitted | None:
    """The reference that an agent with this state folder would use, if it was measured before."""
    made = Standing(folder, model).place
    return at_hand(model, folder / "references") if made is None else artefact.load(made)


def coverage(model: Model, fitted: Fitted | None = None) -> Coverage:
    """Make the table of a model; without its measured reference from the configuration alone."""
    given = _given(model, fitted)
    running = (*watchers(model, fitted), *_heuristics(model, given))
    rows = tuple(
        Row(mode, tuple(one for one in running if mode.name in one.modes), tuple(_missing(mode, model, given)))
        for mode in MODES.values()
    )
    return Coverage(model.name, "configuration" if fitted is None else "reference", rows, switched_off(model, fitted))


def switched_off(model: Model, fitted: Fitted | None = None) -> tuple[Absence, ...]:
    """Heuristics that cannot run with this log, by what it lacks; none where they are switched off altogether."""
    if not model.guarded:
        return ()
    off = absences(_given(model, fitted))
    return tuple(Absence(names, tuple(one.name for one in ones), _modes(ones)) for names, ones in off.items())


def _heuristics(model: Model, given: set[str]) -> Iterator[Watcher]:
    """Heuristics about rows, senders, labels and versions that can run."""
    for one in HEURISTICS.values() if model.guarded else ():
        if one.met(given):
            yield Watcher(one.name, one.does, one.modes)


def _modes(heuristics: tuple[Heuristic, ...]) -> tuple[int, ...]:
    return tuple(sorted({MODES[name].number for one in heuristics for name in one.modes}))


def _numbers(numbers: tuple[int, ...]) -> str:
    return f"mode{'s' if len(numbers) > 1 else ''} {', '.join(str(one) for one in numbers)}"


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
    for name in model.streaming_values:
        yield Watcher(name, NOTES, _SHIFT, None if fitted is None else len(fitted.reference.grid.names))
    if model.columns.label and model.columns.id and model.labels.rows:
        yield from _of_errors(model)


def _of_errors(model: Model) -> Iterator[Watcher]:
    """What looks at answers that have their labels."""
    from detectors.performance.errors import Errors

    yield Watcher("e_errors", PAGES, Errors().failure_modes)
    for name in of_errors(model.streaming):
        yield Watcher(name, NOTES, _SHIFT)


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
    vectors = roles_of(model).vectors
    rows = (VIEW,) if model.scored or (model.scored is None and vectors) else ()
    return ("columns", *scores, *vectors, *rows)


def _given(model: Model, fitted: Fitted | None) -> set[str]:
    """Telemetry that the log carries, as far as it has a key; inputs have a digest of their own."""
    roles: Roles = roles_of(model) if fitted is None else fitted.plan.roles
    keys = ((name, *one.key.split(".")) for name, one in TELEMETRY.items() if one.key)
    given = {name for name, section, key in keys if getattr(roles if section == "columns" else model.security, key)}
    features = fitted is None or any(one.monitored and one.role == "feature" for one in fitted.plan.columns)
    return given | ({"inputs", "request_digest"} if features or "image" in given else set())


def _missing(mode: Mode, model: Model, given: set[str]) -> Iterator[Gap]:
    """What would have to be logged, or read, to watch more of a mode."""
    reads = READS.get(mode.name, frozenset())
    for name in mode.telemetry:
        if not (name in given and name in reads):
            yield Gap(name, *TELEMETRY[name], given=name in given, read=name in reads)
    if reads and mode.name not in _DRIFT and not model.guarded:
        yield Gap("security", "security.enabled", "the heuristics, which are switched off", given=False, read=True)
    if mode.name in _SHIFT and not model.joint.enabled:
        yield Gap("joint", "joint.enabled", "the joint views, which are switched off", given=False, read=True)
