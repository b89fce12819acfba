"""One look at all senders: who is suspected of what, and what is told of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import looks
from detectors.queries.cohorts import SPAN
from detectors.queries.flooding import REGULAR, REPEATED
from detectors.queries.senders import Senders
from detectors.queries.suspicion import Suspicion
from detectors.types import FloatArray, IntArray

MOST_TOLD = 64
"""Suspicions of each sort given out at a time: an attacker with many names must not flood those who read them."""
MOST_MEMBERS = 32
"""Telling rows, and senders of a cohort, in one suspicion."""
_PEERS = 500
"""Clients that others are compared with, those seen last."""
_DUE = 256
"""Full windows judged at a time; the others wait for the next look."""
_NOTABLE = float(np.log(20.0))
HALVES = float(np.log(2.0))
"""A sender is one key of the budget, asked twice: half its level is for flags, half for windows and volume."""
_NAN = float("nan")


class _Finding(NamedTuple):
    """What is said of somebody, but for who it is."""

    heuristic: str
    log_e: float
    log_p: float
    rows: int
    hits: int
    facts: dict[str, float]
    members: IntArray


class _Windows(NamedTuple):
    """Judged windows: ``clients (c,)`` by slot, then ``cohorts (d,)`` by place; which are full, and what was found."""

    clients: IntArray
    cohorts: IntArray
    full: NDArray[np.bool_]
    looked: looks.Looked

    def facts(self, index: int) -> dict[str, float]:
        """What is known of one of them."""
        return {name: float(values[index]) for name, values in self.looked.facts.items()}

    def facts_of(self, slot: int) -> dict[str, float]:
        """What is known of a client's window, if it was judged."""
        at = np.flatnonzero(self.clients == slot)
        return self.facts(int(at[0])) if len(at) else {}


class Telling:
    """Made anew for each look, with the evidence ``log_e (c, k)`` of the clients in use."""

    def __init__(self, senders: Senders, log_e: FloatArray, least: float) -> None:
        """Suspect whoever has evidence of at least ``least`` and `HALVES`."""
        self._all, self._log_e, self._least = senders, log_e, least + HALVES

    def told(self) -> list[Suspicion]:
        """All suspicions of this look; windows that were full and all volumes begin anew."""
        slot, kind = _strongest(self._log_e, self._least)
        windows = self._judged(slot)
        found = [self._flagged(int(one), int(what), windows) for one, what in zip(slot, kind, strict=True)]
        found += self._flagged_together(windows) + self._unlike(windows) + self._floods(windows)
        full = windows.full[: len(windows.clients)]
        self._all.profiles.looked(windows.clients[full])
        self._all.cohorts.profiles.looked(windows.cohorts)
        return found

    def _judged(self, suspects: IntArray) -> _Windows:
        """Compare full windows, and those of suspects, with each other and with the clients seen last."""
        one, used = self._all, self._all.table.used
        due = used[one.profiles.due(used)]
        due = due[np.argsort(-one.profiles.tally[due, 0], kind="stable")[:_DUE]]
        cohorts = one.cohorts.judged
        cohorts = cohorts[one.cohorts.profiles.due(cohorts)]
        clients = np.zeros(0, np.int64)
        if len(due) + len(cohorts) + len(suspects):
            peers = used[np.argsort(-one.table.last[used], kind="stable")[:_PEERS]]
            clients = np.unique(np.concatenate([peers, due, suspects]))
        seen = looks.together(looks.seen(one.profiles, clients), looks.seen(one.cohorts.profiles, cohorts))
        full = np.append(np.isin(clients, due), np.ones(len(cohorts), np.bool_))
        return _Windows(clients, cohorts, full, looks.judge(one.fixed.profile, seen))

    def _flagged(self, slot: int, kind: int, windows: _Windows) -> Suspicion:
        one = self._all
        count = {name: float(store[slot, kind]) for name, store in one.count.items()}
        early, late = count["early_asked"], count["asked"] - count["early_asked"]
        facts = {
            **windows.facts_of(slot),
            **self._rates(kind, count["flagged"], count["asked"]),
            "baseline_rows": early,
            "baseline_rate": _ratio(count["early_flagged"], early),
            "rate_since": _ratio(count["flagged"] - count["early_flagged"], late),
        }
        members = one.log.telling(one.table.key[[slot]], kind, MOST_MEMBERS)
        rows, hits = int(count["asked"]), int(count["flagged"])
        return self._client(
            slot, _Finding(one.kinds[kind], float(self._log_e[slot, kind]), _NAN, rows, hits, facts, members)
        )

    def _flagged_together(self, windows: _Windows) -> list[Suspicion]:
        """Cohorts with evidence from flags."""
        one = self._all
        evidence = np.full((len(one.cohorts.number), len(one.kinds)), -np.inf)
        evidence[one.cohorts.judged] = one.cohorts.log_e()[one.cohorts.judged]
        found = []
        for place, kind in zip(*_strongest(evidence, self._least), strict=True):
            rows, hits = int(one.cohorts.asked()[place, kind]), int(one.cohorts.flagged[place, kind])
            at = np.flatnonzero(windows.cohorts == place) + len(windows.clients)
            facts = {**(windows.facts(int(at[0])) if len(at) else {}), **self._rates(int(kind), hits, rows)}
            members = one.log.telling(one.table.key[self._names(int(place))], int(kind), MOST_MEMBERS)
            finding = _Finding(one.kinds[kind], float(evidence[place, kind]), _NAN, rows, hits, facts, members)
            found.append(self._cohort(int(place), finding))
        return found

    def _unlike(self, windows: _Windows) -> list[Suspicion]:
        """Full windows that differ."""
        log_p = np.where(windows.full[:, None], windows.looked.log_p, np.nan)
        found = []
        for index, kind in zip(*_strongest(-log_p, self._least), strict=True):
            facts = windows.facts(int(index))
            rows = int(facts["window_rows"])
            finding = _Finding(
                looks.HEURISTICS[kind], _NAN, float(log_p[index, kind]), rows, rows, facts, np.zeros(0, np.int64)
            )
            found.append(self._named(int(index), windows, finding))
        return found

    def _named(self, index: int, windows: _Windows, finding: _Finding) -> Suspicion:
        if index >= len(windows.clients):
            place = int(windows.cohorts[index - len(windows.clients)])
            keys = self._all.table.key[self._names(place)]
            return self._cohort(place, finding._replace(members=self._all.log.rows_of(keys, MOST_MEMBERS)))
        slot = int(windows.clients[index])
        keys = self._all.table.key[[slot]]
        return self._client(slot, finding._replace(members=self._all.log.rows_of(keys, MOST_MEMBERS)))

    def _floods(self, windows: _Windows) -> list[Suspicion]:
        """Clients that send far more than they did."""
        one, used = self._all, self._all.table.used
        floods = one.volume.look(used)
        log_p = np.minimum(floods.log_p + looks.SHARED, 0.0)
        found = []
        for slot, _ in zip(*_strongest(-log_p[:, None], self._least), strict=True):
            calm = float(self._log_e[slot].max(initial=0.0)) < _NOTABLE
            even = bool(floods.variation[slot] < REGULAR) or bool(floods.repeats[slot] > REPEATED)
            facts = {
                **windows.facts_of(int(slot)),
                "share": float(floods.share[slot]),
                "variation": float(floods.variation[slot]),
                "repeats": float(floods.repeats[slot]),
                "per_second": float(floods.per_second[slot]),
                "load_test": float(calm and even),
            }
            rows, members = int(floods.rows[slot]), one.log.rows_of(one.table.key[[slot]], MOST_MEMBERS)
            finding = _Finding("flooding", _NAN, float(log_p[slot]), rows, rows, facts, members)
            found.append(self._client(int(slot), finding))
        return found

    def _rates(self, kind: int, flagged: float, asked: float) -> dict[str, float]:
        fixed = self._all.fixed
        return {
            "rate": _ratio(flagged, asked),
            "reference_rate": _ratio(float(fixed.flagged[kind]), float(fixed.asked[kind])),
            "allowed_rate": float(self._all.bets.p0[kind]),
        }

    def _client(self, slot: int, finding: _Finding) -> Suspicion:
        table = self._all.table
        who, rows = int(table.key[slot]), int(table.rows[slot])
        span = (int(table.first[slot]), int(table.last[slot]) + 1)
        return _suspicion("client", who, span, ((who, rows),), finding)

    def _cohort(self, place: int, finding: _Finding) -> Suspicion:
        table, cohorts = self._all.table, self._all.cohorts
        number, slots = int(cohorts.number[place]), self._names(place)
        busiest = slots[np.argsort(-table.rows[slots], kind="stable")[:MOST_MEMBERS]]
        clients = tuple(zip(table.key[busiest].tolist(), table.rows[busiest].tolist(), strict=True))
        span = (number * SPAN, int(table.last[slots].max(initial=number * SPAN)) + 1)
        facts = {**finding.facts, "names": float(cohorts.names[place])}
        return _suspicion("fleet", number, span, clients, finding._replace(facts=facts))

    def _names(self, place: int) -> IntArray:
        """Slots of the names of a cohort that are still remembered."""
        used = self._all.table.used
        named: IntArray = used[self._all.table.first[used] // SPAN == self._all.cohorts.number[place]]
        return named


def _suspicion(
    about: str, who: int, span: tuple[int, int], clients: tuple[tuple[int, int], ...], finding: _Finding
) -> Suspicion:
    heuristic, log_e, log_p, rows, hits, facts, members = finding
    return Suspicion(heuristic, about, who, log_e, log_p, rows, hits, *span, clients, facts, members)


def _strongest(evidence: FloatArray, least: float) -> tuple[IntArray, IntArray]:
    """Where it is at least ``least``, the strongest first, at most `MOST_TOLD`."""
    row, column = np.nonzero(evidence >= least)
    order = np.argsort(-evidence[row, column], kind="stable")[:MOST_TOLD]
    return row[order], column[order]


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else _NAN
