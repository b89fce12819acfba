"""One model's guard: looks at rows one by one, at queries and their senders, and says what operators should know.

It runs on the engine's thread before panes are made, on chunks of at most `CHUNK` rows. A part that fails is named and
the others go on. It answers nobody: what it finds goes where findings go, and never back to who sent the rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.decide.concentration import Verdict
from detectors.queries.ring import none
from detectors.queries.suspicion import Hits, Queries, Suspicion
from detectors.rows import spaces
from detectors.rows.layout import Rows
from detectors.versions import Batch, cells_of
from monitor import arrays as npz
from monitor import budget, log
from monitor.config import Model
from monitor.decode import Decoded
from monitor.security import located
from monitor.security.asking import Asking
from monitor.security.cases import MOST_CASES, MOST_TOLD, STREAM, Case, Cases, Facts, Key, Now
from monitor.security.measured import Flags, Measured, answered, columns_of, flags_of, place_of, queries_of
from monitor.security.pace import Pace
from monitor.security.parts import Parts, some
from monitor.security.reader import MOST_VERSIONS, Reader
from monitor.security.shown import Shown
from monitor.security.watching import watching
from monitor.told import Told

CHUNK = 256
"""Rows at a time."""
LOOK_ROWS = 512
"""Rows after which evidence is looked at, if no pane has been closed meanwhile."""
LEAST_ROWS = 64
"""Rows that a look is worth, when a pane has been closed."""
_NEWS = ("findings", "recovered")
_MOVING = (-math.inf, 0)
"""Evidence that answers do not depend on inputs, and the length of the run: none."""
_T = TypeVar("_T")


@dataclass(slots=True)
class Tally:
    """What the guard counted, for metrics."""

    looked_at: int = 0
    passed_over: int = 0
    flags: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


class Guard:
    """The moving parts of one model's guard."""

    def __init__(
        self,
        model: Model,
        fixed: Measured,
        reader: Reader,
        *,
        names: tuple[str, str],
        silent: frozenset[str],
        timer: Callable[[], float],
        asking: Asking | None = None,
        paced: bool = True,
    ) -> None:
        """``names`` are the ids of configuration and grid, for findings; ``silent`` heuristics lack a column.

        ``asking`` has the model itself asked. Without ``paced`` all rows are looked at, however fast they come.
        """
        self.asking = asking
        self.model, self.fixed, self.reader, self.tally = model, fixed, reader, Tally()
        self.kinds = tuple(str(kind) for kind in fixed.held.clients.kinds)
        self.watching = watching(model, fixed, silent, asked=asking is not None)
        self._names, self._timer = names, timer
        self._pace = Pace(model.security.rows_per_second if paced else math.inf)
        self._failures: dict[str, str] = {}
        self._replaced: list[Suspicion] = []
        self._beside: dict[int, Suspicion] = {}
        self._stuck = _MOVING
        hidden = {"client": model.columns.client, "source": model.columns.source}
        self._shown = Shown(hidden if model.security.client_names == "hashed" else {})
        self.parts = Parts(model, fixed)
        self.cases = Cases(model.name, *names, hold=model.hold)
        self._number = self._looked = self._panes = 0

    def suspects(self, most: int) -> list[tuple[str, str, float]]:
        """The senders with most evidence against them: pseudonym, heuristic, log E; at most ``most``."""
        who, log_e = self.parts.clients.log_e()
        strongest = log_e.max(axis=1, initial=0.0)
        chosen = [i for i in np.argsort(-strongest, kind="stable")[:most] if strongest[i] > 0]
        names = self.cases.called
        return [(names("client", int(who[i])), self.kinds[int(log_e[i].argmax())], float(strongest[i])) for i in chosen]

    def without_own(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch without the prober's own requests."""
        return batch if self.asking is None else self.asking.without_own(batch)

    def feed(self, decoded: Decoded, version: str, now: float, panes: int, length: float) -> Told | None:
        """Take a batch; ``panes`` have been closed so far, ``length`` is A of the whole model in panes.

        What is news, None if there is none.
        """
        began = self._timer()
        self._failures = {}
        rows = self._tried("reader", lambda: self.reader.rows(decoded, version), None)
        looks = [] if rows is None else self._rows(decoded.batch, rows, now, panes, length)
        self.tally.seconds += self._timer() - began
        findings, back = (tuple(one for look in looks for one in getattr(look, part)) for part in _NEWS)
        if not (findings or back or self._failures):
            return None
        return Told(STREAM, findings, back, dict(self._failures))

    def _rows(self, batch: pa.RecordBatch, rows: Rows, now: float, panes: int, length: float) -> list[Told]:
        """Take the rows; what each look gave, of which there are several in a long batch."""
        chosen = np.flatnonzero(self._pace.choose(rows.block.rows, rows.client, now))
        self.tally.looked_at += len(chosen)
        self.tally.passed_over += rows.block.rows - len(chosen)
        first = self._number
        self._shown.add(batch, rows, chosen, first)
        if (asking := self.asking) is not None:
            suspects = self.cases.suspects
            self._tried("active_probes", lambda: asking.offer(batch, rows, chosen, first, suspects), None)
        told = []
        with np.errstate(over="ignore", invalid="ignore"):  # of numbers that only an enemy sends
            for start in range(0, len(chosen), CHUNK):
                part = some(rows, chosen[start : start + CHUNK])
                self._tried("guard", partial(self._chunk, part), None)
                if self._due(panes):
                    moment = _latest(part, now)
                    told.append(self._tried("guard", partial(self._look, moment, panes, length), None))
        return [one for one in told if one is not None]

    def _due(self, panes: int) -> bool:
        """Whether it is time for a look."""
        fresh = self._number - self._looked
        if fresh < LOOK_ROWS and not (panes > self._panes and fresh >= LEAST_ROWS):
            return False
        self._looked, self._panes = self._number, panes
        return True

    def _chunk(self, rows: Rows) -> None:
        """Show some rows to every part."""
        n = rows.block.rows
        self._number += n
        queries = queries_of(self.fixed.held.single.scores.spaces, rows)
        hits = self._tried("near_duplicates", lambda: self._hits(queries), none(n))
        wrong = self._tried("output_integrity", lambda: self._wrong(rows), np.zeros(n, bool))
        self._tried("near_duplicates", lambda: self._compared(rows, queries, hits), None)
        kinds = self.parts.fleet.kinds
        blank = np.zeros((n, len(kinds)), bool)
        found = self._tried(
            "row_scores",
            lambda: self._anew(flags_of(self.fixed.held.single, rows, queries, hits.hit, wrong), queries, hits),
            Flags(kinds, blank, blank, np.full(n, np.nan)),  # whatever fails, rows are counted
        )
        theirs = found.asked & (np.array(kinds) != "output_integrity")  # answers are the model's doing
        self._tried("clients", lambda: self.parts.clients.add(queries, hits, found.flags, found.odd, theirs), None)
        if (prada := self.parts.prada) is not None:
            self._tried("prada", lambda: prada.add(queries, hits), None)
        self._tried("fleet", lambda: self.parts.fleet.add(found.flags, found.asked & ~hits.exact[:, None]), None)
        self._tried("label_disagreement", lambda: self._labelled(rows), None)
        self._tried("version_change", lambda: self._versions(rows, queries), None)
        for kind, number in zip(found.kinds, (found.flags & found.asked).sum(axis=0).tolist(), strict=True):
            self.tally.flags[kind] = self.tally.flags.get(kind, 0) + number

    def _anew(self, found: Flags, queries: Queries, hits: Hits) -> Flags:
        """The flags, but one scene's answers against its neighbours are one piece of evidence, however noisy."""
        kind, ring = "neighbour_disagreement", self.parts.ring
        if ring is None or kind not in found.kinds:
            return found
        asked, place = found.asked.copy(), found.kinds.index(kind)
        told = np.flatnonzero(asked[:, place] & found.flags[:, place])
        of_told = Queries._make(part[told] for part in queries), Hits._make(part[told] for part in hits)
        asked[told, place] = ring.apart(*of_told)
        return found._replace(asked=asked)

    def _compared(self, rows: Rows, queries: Queries, hits: Hits) -> None:
        """Near-duplicates beside what they resemble, and fingerprints."""
        if self.parts.ring is None:
            return
        known, n = self.fixed.held.single, len(queries.digest)
        self.parts.pairs.add(
            columns_of(known.layout, rows.block), queries, hits, rows.version, self.parts.ring.rows - n
        )
        if self.parts.fingerprints is not None:
            self.parts.fingerprints.add(spaces.inputs(known.scores.spaces, rows.block), queries, hits)

    def _wrong(self, rows: Rows) -> NDArray[np.bool_]:
        """Answers that no sound model gives; a log that lost the column of answers says nothing of them."""
        if not answered(self.fixed.held.single.layout, rows):
            return np.zeros(rows.block.rows, bool)
        checked = self.parts.outputs.add(rows, rows.latency)
        numbers = (
            rows.probabilities is not None or rows.logits is not None or int(self.fixed.held.single.layout.score) >= 0
        )
        if numbers and len(checked.log_e):  # a class alone repeats whenever somebody asks for a while about one thing
            last = int(np.argmax(checked.log_e))
            self._stuck = max(self._stuck, (float(checked.log_e[last]), int(checked.run[last])))
        wrong: NDArray[np.bool_] = checked.kinds != 0
        return wrong

    def _of_answers(self, level: float) -> list[Suspicion]:
        """One answer to all inputs, since the last look."""
        (log_e, run), self._stuck = self._stuck, _MOVING
        if log_e < level:
            return []
        facts = {"constant_run": float(run)}
        first, nobody = max(self._number - run, 0), np.zeros(0, np.int64)
        about = ("output_integrity", "fleet", 0, log_e, float("nan"), run, run, first, self._number)
        return [Suspicion(*about, (), facts, nobody)]

    def _labelled(self, rows: Rows) -> None:
        """Labels against their trusted neighbours."""
        if self.parts.feedback is not None and rows.label is not None and (rows.label >= 0).any():
            place = place_of(self.fixed.held.single.scores.spaces, rows.block)
            self.parts.feedback.add(rows, place, rows.source)

    def _versions(self, rows: Rows, queries: Queries) -> None:
        """Answers by version on comparable rows, and to golden inputs."""
        self.parts.golden.add(self.fixed.held.single.layout, rows)
        if rows.version is not None:
            cell = cells_of(self.fixed.held.cells, queries.near)
            nobody = np.full(len(cell), -1, np.int32)
            label = nobody if rows.label is None else rows.label
            confidence = queries.confidence.astype(np.float64)
            told = (rows.version, cell, queries.predicted, confidence, label, rows.model)
            self._replaced += self.parts.versions.add(Batch(*told))

    def _hits(self, queries: Queries) -> Hits:
        return none(len(queries.digest)) if self.parts.ring is None else self.parts.ring.add(queries)

    def _tried(self, name: str, work: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return work()
        except Exception as fault:  # noqa: BLE001 - whatever it is, the other parts go on
            self._failures[name] = f"{type(fault).__name__}: {fault}"
            return otherwise

    def _look(self, now: float, panes: int, length: float) -> Told | None:
        """Weigh the evidence."""
        level = budget.level(length, budget.GUARD, self.parts.born, panes)
        at = Now(panes, now, self._number, level)
        nobody: list[Suspicion] = []
        told = self._tried("clients", lambda: self.parts.clients.suspicions(level), nobody)
        told = told + self._tried("fleet", lambda: self.parts.fleet.suspicions(level), nobody)
        told = told + self._of_answers(level)
        if (ring := self.parts.ring) is not None:
            told = told + self._tried("near_duplicates", lambda: ring.suspicions(level), nobody)
        if (feedback := self.parts.feedback) is not None:
            told = told + self._tried("label_disagreement", lambda: feedback.suspicions(level), nobody)
        if (asking := self.asking) is not None:
            golden, layout = self.parts.golden, self.fixed.held.single.layout
            asked = self._tried("active_probes", lambda: asking.take(golden, layout, self.reader.versions), nobody)
            told = told + [one for one in asked if -one.log_p >= level]
        told = told + self._tried("version_change", lambda: self._of_versions(level), nobody)
        told = told + self._tried("prada", lambda: self._of_prada(told), nobody)
        told = told + self._tried("fingerprints", lambda: self._of_fingerprints(told), nobody)
        told = [self.parts.pairs.beside(one) for one in told]
        if self.model.security.client_names == "plain" and told:
            suspects = {who for one in told for who, _ in one.clients[:MOST_TOLD]}
            self.cases.names = self._known() | self.reader.names(suspects)
        self.cases.versions = {number: name or "without a name" for name, number in self.reader.versions.items()}
        nowhere: dict[Key, Facts] = {}
        where = self._tried("concentration", lambda: located.located(told, self.concentrated, self.kinds), nowhere)
        news = self.cases.judge(told, self.watching, where, at)
        findings = tuple((finding, self._evidence(group)) for finding, group in news)
        back = tuple(self.cases.ended(at))
        return Told(STREAM, findings, back) if findings or back else None

    def _known(self) -> dict[int, str]:
        """Names of senders whose cases are open."""
        names = self.cases.names
        return {who: names[who] for about, who in self.cases.cases if about == "client" and who in names}

    def _evidence(self, group: Sequence[Suspicion]) -> pa.Table:
        """Rows that show it; a finding is told without them rather than not at all."""
        return self._tried("evidence", lambda: self._shown.table(group), pa.table({}))

    def _of_prada(self, told: Sequence[Suspicion]) -> list[Suspicion]:
        """What PRADA says of those whom something else speaks against: alone it is no evidence."""
        if self.parts.prada is None:
            return []
        for one in self.parts.prada.suspicions():
            self._beside.pop(one.who, None)
            self._beside[one.who] = one
        for who in list(self._beside)[:-MOST_CASES]:  # told longest ago
            del self._beside[who]
        suspects = {one.who for one in told if one.about == "client"}
        return [one for who, one in self._beside.items() if who in suspects]

    def _of_fingerprints(self, told: Sequence[Suspicion]) -> list[Suspicion]:
        """The same of fingerprints; clusters, too."""
        if self.parts.fingerprints is None:
            return []
        suspects = {(one.about, one.who): one.clients for one in told}
        found = [one for one in self.parts.fingerprints.suspicions() if (one.about, one.who) in suspects]
        return [one._replace(clients=suspects[one.about, one.who]) for one in found]

    def _of_versions(self, level: float) -> list[Suspicion]:
        """Versions that answer otherwise, or whose files are others."""
        found = [*self._replaced, *self.parts.versions.suspicions(), *self.parts.golden.suspicions()]
        self._replaced = []
        return [self._of_version(one) for one in found if -one.log_p >= level]

    def _of_version(self, one: Suspicion) -> Suspicion:
        """It is about a version, and says whether that was announced, where the configuration lists those that were."""
        announced = self.model.security.releases
        names = {number: name for name, number in self.reader.versions.items() if number < MOST_VERSIONS - 1}
        known = {"release_known": float(names[one.who] in announced)} if announced and one.who in names else {}
        return one._replace(about="version", facts={**one.facts, **known})

    def concentrated(self, kind: str) -> tuple[set[int], Verdict]:
        """Senders who stand out in one kind of flag among the newest rows, and what that means."""
        return located.concentrated(self.parts.clients, self.fixed.held.clients, kind, self._number)

    def share_of(self, suspects: Collection[int]) -> float:
        """Share of the newest rows that some senders sent."""
        return located.share_of(self.parts.clients, self.kinds[0], suspects, self._number)

    @property
    def version_suspected(self) -> bool | None:
        """Whether a version has an open finding; None where nobody looks at versions."""
        if "version_change" not in self.watching:
            return None
        return any(case.findings for (about, _), case in self.cases.cases.items() if about == "version")

    def close(self) -> None:
        """End what runs beside."""
        if self.asking is not None:
            self.asking.stop()

    def state(self) -> bytes:
        """Everything that moves."""
        cases = [
            [*key, {**asdict(case), "heuristics": sorted(case.heuristics)}] for key, case in self.cases.cases.items()
        ]
        names = [[who, name] for who, name in sorted(self._known().items())]
        versions = list(self.reader.versions)
        said = {
            "cases": cases,
            "counts": [self._number, self._looked, self._panes],
            "names": names,
            "versions": versions,
            "asking": None if self.asking is None else self.asking.state(),
        }
        text = json.dumps(said)
        return npz.pack({**self.parts.state(), "text": np.frombuffer(text.encode(), np.uint8)})

    def restore(self, blob: bytes) -> None:
        """Go on from a state; one of other settings is left alone, and everything begins anew."""
        arrays = npz.unpack(blob)
        try:
            said = json.loads(arrays["text"].tobytes())
            if self.asking is not None:
                self.asking.restore(said.get("asking"))  # first: whatever the rest is of, it was spent
            self.parts.restore(arrays)
            cases = {(about, int(who)): Case(**case) for about, who, case in said["cases"]}
            number, looked, panes = (int(one) for one in said["counts"])
            names = {int(who): str(name) for who, name in said["names"]}
            versions = {str(name): i for i, name in enumerate(said["versions"])}
        except Exception as fault:  # noqa: BLE001 - whatever is in it, an agent starts
            log.get("guard").warning(
                "the guard's state is of other settings: its evidence starts anew", why=repr(fault)
            )
            self.parts = Parts(self.model, self.fixed)
            return
        for case in cases.values():
            case.heuristics, case.findings = frozenset(case.heuristics), tuple(case.findings)
        self._number, self._looked, self._panes = number, looked, panes
        self.reader.versions = versions
        self.cases.cases, self.cases.names = cases, names
        if self.asking is not None:
            self.asking.knows(versions.values())


def _latest(rows: Rows, now: float) -> float:
    """Time of the latest of some rows; ``now`` where none has any."""
    latest = -np.inf if rows.time is None else float(np.nanmax(rows.time, initial=-np.inf))
    return latest if np.isfinite(latest) else now
