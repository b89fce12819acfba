"""The error stream of one model: the model answers wrong more often than it did. Pages within the model's budget.

Of all versions together, and of each where there are several. Predictions are followed in the order in which they were
made, in panes that are judged once, when as good as all of their labels are there (`monitor.outcomes.ripening`).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.decide.incidents import Incident, joins
from detectors.performance import watch
from detectors.performance.errors import Answers as Counts
from detectors.performance.errors import ErrorsFixed, tolerant
from detectors.performance.types import Outcomes
from detectors.performance.watch import Alarm, Watch
from detectors.sequential.recursion import Recursion
from detectors.types import FloatArray, IntArray
from monitor import budget
from monitor.arrays import pack, unpack
from monitor.config import Model
from monitor.decode import Decoded
from monitor.fitted import Fitted
from monitor.outcomes.answers import Answers
from monitor.outcomes.classical import Classical
from monitor.outcomes.delays import Delays
from monitor.outcomes.divided import shown
from monitor.outcomes.door import OUTCOMES, Pace
from monitor.outcomes.joined import Joined
from monitor.outcomes.ripening import MOST_VERSIONS, Panes, Ripening, empty
from monitor.outcomes.said import Said
from monitor.outcomes.worse import Moved, Worse, finding_of, name_of, note_of
from monitor.report import Finding, Recovered
from monitor.sections import of_errors
from monitor.told import Told

PANE_ROWS: Final = 50
"""Predictions of a pane, at least, where panes are counted in time."""
KEPT: Final = 1024
"""Judged panes that are remembered: as far back it is told since when, and by how much."""
OTHER: Final = "other"
WHOLE: Final = -1
_LEVELS: Final = ("panes", "born", "late")


class Standing(NamedTuple):
    """Of a stream: evidence, share of errors in the newest panes, and whether a rise is open."""

    log_e: float
    ratio: float
    open: bool


class News(NamedTuple):
    """What has opened and what has ended."""

    findings: tuple[Finding, ...] = ()
    recovered: tuple[Recovered, ...] = ()


class ErrorStream:
    """Judges the answers of one model as labels come."""

    def __init__(
        self, model: Model, fixed: ErrorsFixed, answers: Answers, segments: tuple[str, ...], ids: tuple[str, str]
    ) -> None:
        """``segments`` are the names of those that are judged, ``ids`` of configuration and grid, for findings."""
        self.model, self.fixed, self.segments = model, fixed, segments
        self._answers, self._ids = answers, ids
        rows, seconds = model.pane.rows or PANE_ROWS, model.pane.every or 0.0
        self.ripening = Ripening(len(fixed.questions.share), rows, seconds, model.labels.least_share)
        self.versions: list[str] = []
        names = of_errors(model.streaming) if int(fixed.plan.classes) else ()
        self._classical = Classical(names, model.hold * (model.pane.rows or PANE_ROWS))
        self._begin()

    def _begin(self) -> None:
        """No evidence, and nothing open."""
        self.watches: dict[int, Watch] = {WHOLE: watch.start(self.fixed)}
        self.log_e: dict[int, float] = {}
        self.judged = empty(0, len(self.fixed.questions.share))
        self.owners: dict[tuple[int, int], str] = {}
        self.counts = dict.fromkeys(_LEVELS, 0)
        self._incident = Incident()
        self.threshold = np.inf

    @property
    def identity(self) -> int:
        """What counts and evidence depend on."""
        parts = (*self.fixed.plan, *self.fixed.questions)
        return zlib.crc32(b"".join(np.ascontiguousarray(part).tobytes() for part in parts))

    def version(self, name: str) -> int:
        """Number of a version; of very many the last share one."""
        if name not in self.versions:
            if len(self.versions) == MOST_VERSIONS - 1:
                self.versions.append(OTHER)
            if len(self.versions) == MOST_VERSIONS:
                return MOST_VERSIONS - 1
            self.versions.append(name)
        return self.versions.index(name)

    def versions_of(self, decoded: Decoded, version: str) -> IntArray:
        """The number of each row's version; ``version`` is the sender's word."""
        rows, labels = decoded.block.rows, decoded.version
        if labels is None:
            return np.full(rows, self.version(version), np.int64)
        codes, where = np.unique(labels.codes, return_inverse=True)
        names = (labels.values[code] if code >= 0 else version for code in codes.tolist())
        return np.array([self.version(name) for name in names], np.int64)[where]

    def joined(self, joined: Joined, segments: Sequence[str]) -> None:
        """Count predictions that have got their label, or another one than before; what was judged stays so.

        ``segments`` are the names for which the rows' ``segment`` stands.
        """
        known = {name: i for i, name in enumerate(self.segments)}
        table = np.array([*(known.get(name, -1) for name in segments), -1])
        segment = table[joined.values["segment"]] if self.segments else None
        places = self.ripening.places(joined.values["pane"].astype(np.int64))
        self.counts["late"] += int((places < 0).sum())
        again = np.isfinite(joined.before)
        self._classical.add(np.not_equal(joined.values["prediction"], joined.truth)[~again])
        for truth, some, sign in ((joined.truth, places >= 0, 1), (joined.before, (places >= 0) & again, -1)):
            rows = np.flatnonzero(some)
            if len(rows):
                panes, pane = np.unique(places[rows], return_inverse=True)
                labels = np.bincount(pane[~again[rows]], minlength=len(panes))
                mine = None if segment is None else segment[rows]
                self.ripening.add(panes, labels, self._counted(joined, truth, rows, pane, mine), sign)

    def judge(self, found: Delays, now: float, pace: Pace) -> News:
        """Judge the panes whose labels have come."""
        about = (self.model.name, self._ids, self.counts["born"], Moved(now, pace.moved))
        findings = [note_of(one, *about) for one in self._classical.heard()]
        recovered: list[Recovered] = []
        ripe = self.ripening.ripe(found, now)
        for place in range(len(ripe.number)):
            one = ripe.at(np.array([place]))
            self.judged = self.judged.beside(one).at(slice(-KEPT, None))
            self.counts["panes"] += 1
            for whose in self._streams(int(one.version[0])):
                self._step(whose, one, now, pace, findings, recovered)
        return News(tuple(findings), tuple(recovered))

    def _streams(self, version: int) -> Iterator[int]:
        """All together, and the version where there are several."""
        yield WHOLE
        if len(self.versions) > 1:
            if version not in self.watches:
                self.watches[version] = watch.start(self.fixed)
            yield version

    def _step(
        self,
        whose: int,
        pane: Panes,
        now: float,
        pace: Pace,
        findings: list[Finding],
        recovered: list[Recovered],
    ) -> None:
        self.counts["born"] += 1
        self.threshold = budget.level(pace.length, budget.ERRORS, self.counts["born"], pace.panes)
        counted = Counts(pane.yes[0].astype(np.int64), pane.asked[0].astype(np.int64))
        step = watch.step(self.fixed, self.watches[whose], counted, self.threshold)
        self.watches[whose], self.log_e[whose] = step.watch, step.log_e
        if len(step.back):
            recovered += self._back(whose, step.back, now)
        if step.alarm is not None:
            findings.append(self._found(whose, step.alarm, now, moved=pace.moved))

    def _found(self, whose: int, alarm: Alarm, now: float, *, moved: bool) -> Finding:
        several = self.versions if len(self.versions) > 1 else []
        told = Worse(self.fixed, alarm, several, whose, self.segments, self.judged, self.threshold, moved)
        found = finding_of(told, self.model.name, self._ids, self.counts["born"], now)
        onset, effect = found.since_pane, max(found.units[0].effect, 0.0)
        open_ = self._incident.id in self.owners.values()
        belongs = open_ and joins(
            self._incident,
            pane=found.pane,
            onset=onset,
            effect=effect,
            hold=self.model.hold,
            still_open=open_,
        )
        if belongs:
            found = told.joined(found, self._incident.id)
        else:
            self._incident = Incident(found.pane, onset, effect, found.id)
        self.owners |= {(whose, int(unit)): found.id for unit in alarm.units}
        return found

    def _back(self, whose: int, units: IntArray, now: float) -> list[Recovered]:
        """Findings of which nothing lasts any more."""
        ended = {self.owners.pop((whose, unit)) for unit in units.tolist() if (whose, unit) in self.owners}
        over = tuple(sorted(ended - set(self.owners.values())))
        names = tuple(dict.fromkeys(name_of(unit) for unit in units.tolist()))
        return [Recovered(over, names, self.counts["born"], now)] if over else []

    def _counted(
        self, joined: Joined, truth: FloatArray, rows: IntArray, pane: IntArray, segment: IntArray | None
    ) -> Counts:
        values = {name: one[rows] for name, one in joined.values.items()}
        said = Said(values["prediction"], values.get("score"), values.get("chances"))
        outcomes: Outcomes = self._answers.outcomes(said, truth[rows])
        return watch.DETECTOR.answers_by(self.fixed, outcomes, pane, int(pane.max()) + 1, segment)

    def standing(self) -> dict[str, Standing]:
        """How things stand: of all, and of each version where there are several."""
        found = {}
        for whose, log_e in self.log_e.items():
            mine = self.judged if whose == WHOLE else self.judged.at(self.judged.version == whose)
            newest = mine.at(slice(-self.model.window.panes, None))
            yes, asked = int(newest.yes[:, 0].sum()), int(newest.asked[:, 0].sum())
            name = "all" if whose == WHOLE else self.versions[whose] or "without a version"
            ratio = yes / asked if asked else float("nan")
            found[name] = Standing(log_e, ratio, any(of == whose for of, _ in self.owners))
        return found

    def state(self) -> bytes:
        """Everything that moves."""
        arrays: dict[str, NDArray[Any]] = {f"waiting/{name}": one for name, one in self.ripening.state().items()}
        arrays |= {f"classical/{name}": one for name, one in self._classical.state().items()}
        arrays |= {f"judged/{name}": one for name, one in self.judged._asdict().items()}
        for whose, one in self.watches.items():
            arrays[f"watch/{whose}"] = np.stack([*one.risen, *(np.pad(part, _PAD) for part in one.back)])
            arrays[f"open/{whose}"] = one.open
        said = {
            "identity": self.identity,
            "versions": self.versions,
            "owners": [[*key, owner] for key, owner in self.owners.items()],
            "counts": self.counts,
            "incident": list(self._incident),
        }
        return pack({**arrays, "said": np.frombuffer(json.dumps(said).encode(), np.uint8)})

    def restore(self, blob: bytes, *, evidence: bool = True) -> None:
        """Go on from a state; one of another reference gives numbers alone. Without ``evidence`` that begins anew."""
        arrays = unpack(blob)
        said = json.loads(arrays["said"].tobytes())
        waiting = _under("waiting", arrays)
        self._begin()
        if said["identity"] != self.identity:
            self.ripening.go_on(waiting)
            return
        self.versions = [str(name) for name in said["versions"]]
        self.ripening.restore(waiting)
        if not evidence:
            return
        self._classical.restore(_under("classical", arrays))
        for whose in _under("watch", arrays):
            risen, back = np.split(arrays[f"watch/{whose}"], 2)
            self.watches[int(whose)] = Watch(
                Recursion(*risen), Recursion(*(part[:, : -_PAD[1][1]] for part in back)), arrays[f"open/{whose}"]
            )
        judged: list[Any] = [arrays[f"judged/{name}"] for name in Panes._fields]
        self.judged = Panes(*judged)
        self.owners = {(int(whose), int(unit)): str(owner) for whose, unit, owner in said["owners"]}
        self.counts |= said["counts"]
        self._incident = Incident(*said["incident"])

    @property
    def known(self) -> set[str]:
        """Findings that are open."""
        return set(self.owners.values())


def errors_of(model: Model, fitted: Fitted, measured: ErrorsFixed, config_id: str) -> ErrorStream:
    """The error stream of a model with this reference; rises below the smallest loss that matters are none."""
    fixed = tolerant(measured, model.labels.smallest_loss)
    return ErrorStream(model, fixed, Answers(fitted), shown(fitted.plan.strata), (config_id, fitted.reference.grid.id))


def told_of(news: News) -> Told | None:
    """What the agent hears; None if there is nothing."""
    if not (news.findings or news.recovered):
        return None
    return Told(OUTCOMES, tuple((one, pa.table({})) for one in news.findings), news.recovered)


_PAD: Final = ((0, 0), (0, 3))
"""Evidence of an end rests on two bets, that of a rise on five."""


def _under(name: str, arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {key.removeprefix(f"{name}/"): one for key, one in arrays.items() if key.startswith(f"{name}/")}
