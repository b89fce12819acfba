"""Whose rows a heuristic flags: those of few senders, or everybody's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from detectors.decide import causes
from detectors.decide.concentration import Verdict, concentration
from detectors.queries.clients import Clients
from detectors.queries.senders import ClientsFixed
from detectors.queries.suspicion import Suspicion
from monitor.security.cases import Facts, Key

ROWS = 20_000
"""Newest rows among which one sender is told from all."""


def concentrated(clients: Clients, fixed: ClientsFixed, kind: str, number: int) -> tuple[set[int], Verdict]:
    """Senders who stand out in one kind of flag, and what that means; ``number`` rows have been seen.

    Who sends half of what is flagged is not everybody, whether or not he has rows enough for a test of his own.
    """
    place = fixed.kinds.tolist().index(kind)
    client, flagged, asked = clients.counts(kind, number - ROWS)
    found = concentration(flagged, asked, expected=float(fixed.flagged[place] / max(fixed.asked[place], 1.0)))
    if found.verdict is Verdict.FLEET and 2 * int(flagged.max(initial=0)) >= int(flagged.sum()):
        return {int(client[flagged.argmax()])}, Verdict.CONCENTRATED
    return {int(who) for who in client[found.suspects]}, found.verdict


def share_of(clients: Clients, kind: str, suspects: Collection[int], number: int) -> float:
    """Share of the newest rows that some senders sent, of those that a kind of flag was asked about."""
    client, _, asked = clients.counts(kind, number - ROWS)
    theirs = np.isin(client, np.array(sorted(suspects), np.uint64))
    return float(asked[theirs].sum() / max(asked.sum(), 1))


def located(
    told: Sequence[Suspicion], whose: Callable[[str], tuple[set[int], Verdict]], kinds: Collection[str]
) -> dict[Key, Facts]:
    """By subject whether one sender stands out in what is flagged, or everybody is flagged more often."""
    found: dict[Key, dict[str, bool | float | None]] = {}
    for kind in {one.heuristic for one in told if one.heuristic in causes.LOCATED and one.heuristic in kinds}:
        suspects, verdict = whose(kind)
        for one in told:
            if one.heuristic != kind or verdict is Verdict.FEW_CLIENTS:
                continue
            facts = found.setdefault((one.about, one.who), {})
            mine = one.who in suspects if one.about == "client" else verdict is Verdict.CONCENTRATED
            facts["concentrated"] = bool(facts.get("concentrated")) or mine
            facts["fleet_wide"] = bool(facts.get("fleet_wide")) or verdict is Verdict.FLEET
    return dict(found)
