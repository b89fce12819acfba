"""Suspicions become cases, and cases findings: one a sender or cluster, judged by the fault tree, told to operators.

A case that the tree explains as harmless opens no finding; it is counted. One that it calls an attack opens a finding,
once, until the subject has been quiet for the hold; what it did before is no news afterwards, though the evidence of it
stands. At most `MOST_OPEN` pages and as many tickets are open: an attacker with many names must not flood those who
read findings, nor keep a page from them by many tickets; what is beyond is counted, and told when there is room.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detectors.decide import causes, fault_tree
from detectors.decide.fault_tree import UNKNOWN, Verdict
from detectors.heuristics import HEURISTICS, LABEL
from detectors.maths import binomial
from detectors.queries.suspicion import Suspicion
from monitor.naming import mode_of
from monitor.report import Culprit, Finding, Recovered, number

Key = tuple[str, int]
"""What a case is about, and which."""
MOST_OPEN = 20
"""Open cases with a page, and with no more than a ticket."""
MOST_CASES = 1_000
"""Cases remembered, with findings or without."""
MOST_TOLD = 5
"""Senders listed with a finding."""
STREAM = "senders"
PAGED = ("search", "inversion")
"""Causes that wake somebody: near-duplicates that look for something. Others can be an unusual customer."""
_OF_LABELS = frozenset(name for name, one in HEURISTICS.items() if one.about == LABEL)
_FLEET: Key = ("fleet", 0)
_EVERYBODY = ("odd_everywhere", "corruption", "concept")
_GROWN = 1.25
"""A case is judged again once its rows have grown so much, or another heuristic has joined."""

Facts = Mapping[str, bool | float | None]


@dataclass(slots=True)
class Case:
    """A sender, cluster or version under suspicion; ``findings``: ids of open ones, ``paged``: one was a page.

    ``last`` is the pane in which it did something, ``told`` that in which it was last suspected; ``seen`` how far each
    suspicion had come then.
    """

    heuristics: frozenset[str] = frozenset()
    rows: int = 0
    last: int = 0
    told: int = 0
    triage: str = ""
    cause: str = ""
    findings: tuple[str, ...] = ()
    paged: bool = False
    seen: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Now:
    """Where in the stream a look is taken: pane number, time, rows so far, and the log evidence that is asked for."""

    pane: int
    time: float
    rows: int
    level: float


@dataclass(slots=True)
class Cases:
    """The cases of one model."""

    model: str
    config_id: str
    grid_id: str
    hold: int
    cases: dict[Key, Case] = field(default_factory=dict)
    verdicts: dict[tuple[str, str], int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    versions: dict[int, str] = field(default_factory=dict)

    def judge(
        self,
        told: Iterable[Suspicion],
        watching: Collection[str],
        more: Mapping[Key, Facts],
        now: Now,
    ) -> list[tuple[Finding, Sequence[Suspicion]]]:
        """Findings that are news, each with its suspicions; ``more`` are facts about a subject from elsewhere."""
        groups: dict[Key, list[Suspicion]] = {}
        for one in told:
            groups.setdefault(_subject(one), []).append(one)
        found: list[tuple[Finding, Sequence[Suspicion]]] = []
        everybody = _everybody(groups)
        for key, group in groups.items():
            case = self._case(key)
            if case is None or not self._news(case, group, now.pane):
                continue
            facts = more.get(key, {})
            verdict = self._verdict(group, watching, facts)
            if (verdict.triage, verdict.cause) != (case.triage, case.cause) or not case.triage:
                case.triage, case.cause = verdict.triage, verdict.cause
                self._count(group, verdict)
            few = bool(facts.get("concentrated"))
            common = verdict.cause in _EVERYBODY and key[0] != "class"  # of one class nobody else tells
            theirs = common or (key in everybody and not few)
            elsewhere = few if key[0] == "fleet" else theirs  # a sender's case says it, or that of all
            if elsewhere or not _tells(verdict):
                continue
            finding = self._finding(group, verdict, now)
            page = finding.severity == "page"
            if (case.findings and (case.paged or not page)) or self._open(paged=page) >= MOST_OPEN:
                continue
            case.findings, case.paged = (*case.findings, finding.id), page
            found.append((finding, group))
        return found

    def ended(self, now: Now) -> list[Recovered]:
        """Findings whose subject has been quiet for the hold; a case is forgotten when its evidence is gone, too."""
        back = []
        for key, case in list(self.cases.items()):
            if case.findings and now.pane - case.last > self.hold:
                back.append(Recovered(case.findings, (self.called(*key),), now.pane, now.time))
                case.findings, case.paged, case.triage, case.cause = (), False, "", ""
            if not case.findings and now.pane - case.told > self.hold:
                del self.cases[key]
        return back

    @property
    def suspects(self) -> set[int]:
        """Senders whose case has an open finding."""
        return {who for (about, who), case in self.cases.items() if about == "client" and case.findings}

    def called(self, about: str, who: int) -> str:
        """What people read: the sender's name if it is known, else its pseudonym."""
        if about in ("client", "source"):
            return f"{about} {self.names.get(who) or f'{who & (2**64 - 1):016x}'}"
        if about == "version":
            return f"version {self.versions.get(who, str(who))}"
        return "all senders" if about == "fleet" else f"{about} {who}"

    def _case(self, key: Key) -> Case | None:
        """The subject's case; where there are too many, the one without findings that was told of longest ago goes."""
        case = self.cases.get(key)
        if case is None:
            if len(self.cases) >= MOST_CASES:
                idle = [(one.told, key) for key, one in self.cases.items() if not one.findings]
                if not idle:
                    return None
                del self.cases[min(idle)[1]]
            case = self.cases[key] = Case()
        return case

    @staticmethod
    def _news(case: Case, group: Sequence[Suspicion], pane: int) -> bool:
        """Whether to judge it anew: another heuristic has joined, or many more rows speak for it."""
        seen = {f"{one.heuristic}/{one.about}/{one.who}": _progress(one) for one in group}
        moved = {key for key, value in seen.items() if value > case.seen.get(key, -1)}
        case.seen, case.told = seen, pane
        case.last = pane if moved else case.last
        heuristics = frozenset(one.heuristic for one in group) | case.heuristics
        rows = max(one.hits for one in group)
        again = not case.triage and any(np.isnan(one.log_e) for one in group)  # such evidence is new each time
        if heuristics == case.heuristics and not (moved and (again or rows >= _GROWN * case.rows)):
            return False
        case.heuristics, case.rows = heuristics, rows
        return True

    def _verdict(self, group: Sequence[Suspicion], watching: Collection[str], more: Facts) -> Verdict:
        facts = causes.gathered([(one.heuristic, causes.facts_of(one)) for one in group], watching)
        return fault_tree.evaluate(causes.TREE, {**facts, **more})

    def _count(self, group: Sequence[Suspicion], verdict: Verdict) -> None:
        for heuristic in {one.heuristic for one in group}:
            key = (heuristic, verdict.triage if _tells(verdict) else _BENIGN)
            self.verdicts[key] = self.verdicts.get(key, 0) + 1

    def _open(self, *, paged: bool) -> int:
        return sum(bool(case.findings) and case.paged == paged for case in self.cases.values())

    def _finding(self, group: Sequence[Suspicion], verdict: Verdict, now: Now) -> Finding:
        strongest = sorted(group, key=lambda one: -_strength(one))
        sure = max(_strength(one) for one in group if not np.isnan(one.log_e)) if _promised(group) else float("nan")
        wakes = any(one.name in PAGED for one in verdict.supported())
        severity = "page" if wakes and sure >= now.level else "ticket"
        first = min(one.since for one in group)
        return Finding(
            model=self.model,
            stream=STREAM,
            time=now.time,
            pane=now.pane,
            failure_mode=mode_of(verdict, strongest[0].heuristic),
            triage=verdict.triage,
            severity=severity,
            detector=strongest[0].heuristic,
            units=tuple(self._culprit(one) for one in strongest),
            log_e=sure,
            threshold=now.level,
            since_pane=now.pane,
            since_time=float(min((one.facts.get("since_time", now.time) for one in group), default=now.time)),
            rows=max(now.rows - first, 0),
            grid_id=self.grid_id,
            config_id=self.config_id,
            subject="sender",
            evidence=self._evidence(strongest, verdict),
        )

    def _culprit(self, one: Suspicion) -> Culprit:
        """A suspicion as a unit: its share of rows that speak for it, with a 95 % interval (Clopper and Pearson)."""
        nan = float("nan")
        share = one.hits / one.rows if one.rows else nan
        low, high = (float(end(one.hits, one.rows, 0.025)) for end in (binomial.lower, binomial.upper))
        log_e = one.log_e if np.isfinite(one.log_e) else nan
        before = float(one.facts.get("reference_rate", nan))
        about = "source" if one.about == "client" and one.heuristic in _OF_LABELS else one.about
        name = self.called(about, one.who)
        return Culprit(name, -1, one.heuristic, log_e, "share_of_rows", share, low, high, before, share)

    def _evidence(self, group: Sequence[Suspicion], verdict: Verdict) -> dict[str, Any]:
        return {
            "fault_tree": verdict.as_dict(),
            "suspicions": [
                {
                    "heuristic": one.heuristic,
                    "about": self.called(one.about, one.who),
                    "rows": one.rows,
                    "hits": one.hits,
                    "clients": [[self.called("client", who), rows] for who, rows in one.clients[:MOST_TOLD]],
                    "facts": {name: number(value) for name, value in one.facts.items()},
                }
                for one in group
            ],
        }


def _subject(one: Suspicion) -> Key:
    """Whose case it is: a cluster that is mostly one sender's is the sender's; who gives labels is a source."""
    if one.about == "client" and one.heuristic in _OF_LABELS:
        return "source", one.who
    if one.about == "cluster" and one.clients:
        who, rows = one.clients[0]
        if who and 2 * rows >= one.rows:
            return "client", who
    return one.about, one.who


def _everybody(groups: Mapping[Key, Sequence[Suspicion]]) -> set[Key]:
    """Senders, two or more, of whom nothing is said that is not said of all together in the same look."""
    of_all = {one.heuristic for one in groups.get(_FLEET, ())}
    theirs = {key for key, group in groups.items() if key[0] == "client" and {one.heuristic for one in group} <= of_all}
    return theirs if len(theirs) > 1 else set()


def _tells(verdict: Verdict) -> bool:
    """Whether people are told: not of what a harmless cause explains."""
    return verdict.triage != UNKNOWN or not verdict.cause


_BENIGN = "benign"
"""What suspicions that a harmless cause explains are counted as."""


def _progress(one: Suspicion) -> int:
    """What grows while its subject goes on: evidence that lasts stands still, and so do the rows that speak for it."""
    return one.until if np.isnan(one.log_e) else one.hits


def _promised(group: Sequence[Suspicion]) -> bool:
    return any(not np.isnan(one.log_e) for one in group)


def _strength(one: Suspicion) -> float:
    return -one.log_p if np.isnan(one.log_e) else one.log_e
