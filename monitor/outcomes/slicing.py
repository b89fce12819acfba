"""Groups of rows on which the model fails more than elsewhere, or more than it did: found, followed, and told.

Question: on which groups does the model fail consistently, since when, and did it already in the reference?
Statistic: `detectors.slices.search` and `worse` on the labelled rows of the newest complete cohorts, whenever one is
added. What is found is followed by name, with the rows that it was found by; it is confirmed when it holds on
`LEAST_ROWS` rows of later cohorts: its mean loss, or its rise, is above that of all rows, lower bound (97.5 %) and all.
Error: both together tell anything false in at most 5 % of all cases (family-wise, half of it each). Searches of cohorts
that overlap are no new evidence; the rows that confirm are.
Sees / blind to: what labels have come for. A slice that is not found again is followed for `PATIENCE` more searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Self

import numpy as np

from detectors.performance.types import Figure
from detectors.slices import compare, search, worse
from detectors.slices.columns import Codes, Condition, Slice, inside
from detectors.slices.compare import SlicesFixed, Standing
from detectors.types import FloatArray, IntArray
from monitor.outcomes.bins import Bins

MOST: Final = 10
"""Slices that are followed at a time."""
PATIENCE: Final = 8
LEVEL: Final = 0.025
"""Of either search: together they are wrong in one of twenty."""
LEAST_ROWS: Final = 50


class Rows(NamedTuple):
    """Labelled rows: the number of the cohort ``(n,)`` of each, its bins ``(n, f)`` and loss ``(n,)``; their span."""

    cohort: IntArray
    codes: Codes
    loss: FloatArray
    start: float
    end: float


@dataclass(slots=True)
class Followed:
    """A slice that has been found, by rows up to ``cohort``; ``reference``: it was weak there already.

    ``since`` and ``seen``: the end of the rows that showed it first, and last. ``rise`` is from `worse`.
    """

    conditions: Slice
    reference: bool
    since: float
    cohort: int
    seen: float
    score: float = 0.0
    p: float | None = None
    rise: float | None = None
    rise_p: float | None = None
    confirmed: bool = False
    missed: int = 0

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Inverse of `dataclasses.asdict`, by way of JSON."""
        conditions = tuple(Condition(*one) for one in document["conditions"])
        return cls(**{**document, "conditions": conditions})


class Slices:
    """Follows the slices of one model; used by one thread."""

    def __init__(self, bins: Bins, reference: SlicesFixed, tau: float) -> None:
        """Begin with what the reference's own labelled rows show."""
        self.searches = 0
        self._bins, self._reference, self._tau = bins, reference, tau
        self._followed: list[Followed] = []
        found = search.find(bins.fixed, reference.codes, reference.loss, np.random.default_rng(0), (), tau).found
        self._weak = [one.conditions for one in found[:MOST]]

    def state(self) -> list[dict[str, Any]]:
        """What is followed, as JSON-able values."""
        return [asdict(one) for one in self._followed]

    def restore(self, state: Iterable[Mapping[str, Any]]) -> None:
        """Inverse of `state`."""
        self._followed = [Followed.of(one) for one in state]

    def look(self, rows: Rows) -> dict[str, Any]:
        """Search these rows; what is known now, as JSON-able values."""
        self.searches += 1
        newest = int(rows.cohort.max(initial=0))
        rng = np.random.default_rng(newest % 2**32)
        known = [one.conditions for one in self._followed]
        told = search.find(self._bins.fixed, rows.codes, rows.loss, rng, [*known, *self._weak], self._tau)
        risen = worse.worsened(self._bins.fixed, rows.codes, rows.loss, self._reference, rng, self._tau)
        for one in self._followed:
            one.missed += 1
        for found in (one for one in told.found if one.p <= LEVEL):
            mine = self._mine(found.conditions, rows, newest)
            mine.p, mine.score = found.p, found.score
        for group in (one for one in risen if one.p <= LEVEL):
            mine = self._mine(self._alike(group.conditions, rows.codes), rows, newest)
            mine.rise, mine.rise_p = group.rise, group.p
        standings = self._standings(rows, told)
        self._followed = [one for one in self._ranked() if one.missed < PATIENCE][:MOST]
        usual = compare.measure([()], rows.codes, rows.loss, self._reference, self._tau)[0]
        return {
            "since": rows.start,
            "until": rows.end,
            "rows": len(rows.loss),
            "tried": told.tried,
            "loss": figure(usual.loss),
            "reference_loss": figure(usual.before),
            "change": figure(usual.change),
            "slices": [self._document(one, standings[one.conditions]) for one in self._followed],
            "reference_slices": [self._bins.told(one) for one in self._weak],
        }

    def _mine(self, group: Slice, rows: Rows, newest: int) -> Followed:
        """The slice among those that are followed, as one that has been found again, or for the first time."""
        mine = next((one for one in self._followed if one.conditions == group), None)
        if mine is None:
            mine = Followed(group, group in self._weak, rows.end, newest, rows.end)
            self._followed.append(mine)
        if mine.missed:
            mine.p = mine.rise = mine.rise_p = None
        mine.missed, mine.seen = 0, rows.end
        return mine

    def _alike(self, group: Slice, codes: Codes) -> Slice:
        """The slice that is followed and has most rows in common with a group, or the group itself."""
        mine = inside(group, codes)
        best, most = group, search.ALIKE
        for one in self._followed:
            other = inside(one.conditions, codes)
            share = (mine & other).sum() / max((mine | other).sum(), 1)
            if share >= most:
                best, most = one.conditions, share
        return best

    def _standings(self, rows: Rows, told: search.Search) -> dict[Slice, Standing]:
        """How each slice does on rows that it has not been found by; later rows may confirm it."""
        held = np.zeros(len(rows.loss), np.bool_)
        held[told.validation] = True
        out = {}
        for one in self._followed:
            later = rows.cohort > one.cohort
            if not one.confirmed and later.any():
                one.confirmed = self._holds(one, self._measured(one.conditions, rows, later))
            out[one.conditions] = self._measured(one.conditions, rows, held if one.missed == 0 else later)
        return out

    def _measured(self, group: Slice, rows: Rows, some: np.ndarray[Any, np.dtype[np.bool_]]) -> Standing:
        return compare.measure([group], rows.codes[some], rows.loss[some], self._reference, self._tau)[0]

    def _holds(self, one: Followed, now: Standing) -> bool:
        """Whether rows that have not found a slice show it as well."""
        if now.loss.reason or now.loss.n < LEAST_ROWS:
            return False
        if one.p is not None:
            return now.loss.low > now.usual.value
        return now.change.low > max(now.usual.value - float(self._reference.loss.mean()), 0.0)

    def _ranked(self) -> list[Followed]:
        """Confirmed slices first, then those that the newest search has found, by score."""
        return sorted(self._followed, key=lambda one: (not one.confirmed, one.missed, -one.score, one.conditions))

    def _document(self, one: Followed, now: Standing) -> dict[str, Any]:
        return {
            **self._bins.told(one.conditions),
            "since": one.since,
            "seen": one.seen,
            "found": one.missed == 0,
            "confirmed": one.confirmed,
            "weak_in_reference": one.reference,
            "p": one.p,
            "rise": one.rise,
            "rise_p": one.rise_p,
            "share": None if np.isnan(now.share) else now.share,
            "loss": figure(now.loss),
            "usual": figure(now.usual),
            "before": figure(now.before),
            "change": figure(now.change),
            "status": now.status,
        }


def figure(one: Figure) -> dict[str, float | int] | None:
    """A figure as JSON-able values, None where there is none."""
    if one.reason or not np.isfinite([one.value, one.low, one.high]).all():
        return None
    return {"value": float(one.value), "low": float(one.low), "high": float(one.high), "n": int(one.n)}
