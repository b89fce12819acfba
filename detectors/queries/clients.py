"""What each sender does: rows flagged too often, and rows unlike everybody else's.

Question: H0: the client's rows are flagged no more often than reference rows are, three times their rate allowed.
Statistic: an e-process for each client and kind of flag, from the client's first row on (`detectors.queries.eprocess`).
Null law: anytime-valid per client, all kinds together: log E given out holds a weight of 1 / kinds. It needs one key of
the budget for each client ever admitted (`born`). Exact repeats (retries) are no new evidence and are not asked about.
Nothing that a client sends moves its own bar: p0 is the reference's for ever. Its rate over its first 1,000 rows is
told beside the evidence (``baseline_rate``, then ``rate_since``), frozen, for people and arbitration: a client that was
like this from its first day on; it lowers no evidence, so that an attacker gains nothing by teaching it.
Sees / blind to: any client that is remembered; blind to names with a few rows each (see ``cohort``) and to rates
within the allowance. Memory: `detectors.queries.table` says who is remembered; 1.1 kB a client, 1 MB of rows.
Cost: about 1 ms for 256 rows. Source: failures.md 3.0, 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import eprocess
from detectors.queries.rowlog import MOST_KINDS, RowLog
from detectors.queries.suspicion import Hits, Queries, Suspicion
from detectors.queries.table import Table
from detectors.types import FloatArray, IntArray

BASELINE_ROWS = 1_000
"""The first rows of a client, whose rate is told beside later ones."""
MOST_TOLD = 64
"""Suspicions given out at a time; an attacker with many names must not flood those who read them."""
MOST_MEMBERS = 32
"""Telling rows of one suspicion."""
_COUNTERS = ("flagged", "asked", "early_flagged", "early_asked")


class ClientsFixed(NamedTuple):
    """Names of the kinds of flag ``(k,)``, and how many held-out reference rows each flagged and was asked about."""

    kinds: NDArray[np.str_]
    flagged: FloatArray
    asked: FloatArray


def calibrate(kinds: Sequence[str], flags: NDArray[np.bool_]) -> ClientsFixed:
    """Measure the rates of ``kinds`` on held-out reference rows, ``flags (n, k)``; at most 32 kinds."""
    if len(kinds) > MOST_KINDS:
        raise ValueError(f"at most {MOST_KINDS} kinds of flag, not {len(kinds)}")
    return ClientsFixed(
        kinds=np.array(list(kinds), np.str_),
        flagged=flags.sum(axis=0).astype(np.float64),
        asked=np.full(flags.shape[1], float(len(flags))),
    )


class Clients:
    """All senders of one model's queries, at most ``most`` of them at a time."""

    def __init__(self, fixed: ClientsFixed, most: int = 10_000) -> None:
        """Nobody seen yet."""
        self._kinds = [str(name) for name in fixed.kinds]
        self._fixed = fixed
        self._bets = eprocess.bets(fixed.flagged, fixed.asked)
        self._table = Table(most)
        self._log = RowLog()
        self._evidence = eprocess.start(self._table.most, self._bets)
        self._count = {name: np.zeros((self._table.most, len(self._kinds)), np.int64) for name in _COUNTERS}

    @property
    def born(self) -> int:
        """Clients ever admitted, a forgotten one that came back counted again: keys for the budget."""
        return self._table.born

    @property
    def evicted(self) -> int:
        """Clients forgotten for want of room."""
        return self._table.evicted

    @property
    def remembered(self) -> int:
        """Clients in the table."""
        return len(self._table.used)

    def add(
        self,
        queries: Queries,
        hits: Hits,
        flags: NDArray[np.bool_],
        odd: FloatArray,
        asked: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take rows in order of arrival: ``flags (n, k)`` by kind and ``odd (n,)``, how unlike the reference a row is.

        ``asked (n, k)`` says where a flag had what it needs (everywhere by default).
        """
        every = np.ones(flags.shape, np.bool_) if asked is None else asked
        every = every & ~hits.exact[:, None]
        for begin in range(0, len(queries.client), self._table.piece):
            some = slice(begin, begin + self._table.piece)
            self._named(queries.client[some], flags[some] & every[some], every[some])
            self._log.add(queries.client[some], flags[some], every[some])

    def _named(self, client: NDArray[np.uint64], flags: NDArray[np.bool_], asked: NDArray[np.bool_]) -> None:
        named = np.flatnonzero(client > 0)
        if not len(named):
            return
        keys, key = np.unique(client[named], return_inverse=True)
        flags, asked = flags[named], asked[named]
        slots, fresh = self._table.admit(keys, self._log.seen)
        self._clear(fresh)
        self._tally(slots, key, flags, asked)
        before = eprocess.Evidence(self._evidence.log_m[slots], self._evidence.asked[slots])
        after = eprocess.update(self._bets, before, key, flags, asked)
        self._evidence.log_m[slots], self._evidence.asked[slots] = after
        told = eprocess.log_e(self._bets, after).max(axis=1, initial=0.0)
        self._table.touch(slots, np.bincount(key), self._log.seen + int(named[-1]), told)

    def _clear(self, fresh: IntArray) -> None:
        self._evidence.log_m[fresh], self._evidence.asked[fresh] = -np.inf, 0
        for store in self._count.values():
            store[fresh] = 0

    def _tally(self, slots: IntArray, key: IntArray, flags: NDArray[np.bool_], asked: NDArray[np.bool_]) -> None:
        """Count flags and rows asked; the rows of one piece belong to the first thousand all together or not."""
        early = self._table.rows[slots] < BASELINE_ROWS
        for name, rows in (("flagged", flags), ("asked", asked)):
            number = np.zeros((len(slots), flags.shape[1]), np.int64)
            np.add.at(number, key, rows)
            self._count[name][slots] += number
            self._count[f"early_{name}"][slots] += number * early[:, None]

    def counts(self, kind: str, since: int) -> tuple[NDArray[np.uint64], IntArray, IntArray]:
        """Clients, their flagged rows and rows asked about from row number ``since`` on, ``(c,)`` each.

        For `detectors.decide.concentration`: exact over the last 65,536 rows, evicted clients and all; rows without a
        name are not there.
        """
        return self._log.counts(self._kinds.index(kind), since)

    def log_e(self) -> tuple[NDArray[np.uint64], FloatArray]:
        """Clients remembered and their evidence by kind ``(c, k)``, the weight of 1 / kinds included."""
        used = self._table.used
        state = eprocess.Evidence(self._evidence.log_m[used], self._evidence.asked[used])
        return self._table.key[used], eprocess.log_e(self._bets, state) - np.log(max(len(self._kinds), 1))

    def suspicions(self, least: float) -> list[Suspicion]:
        """Clients with a log E of at least ``least`` for a kind, the strongest first, `MOST_TOLD` at most."""
        _, evidence = self.log_e()
        slot, kind = np.nonzero(evidence >= least)
        strongest = np.argsort(-evidence[slot, kind], kind="stable")[:MOST_TOLD]
        return [self._flagged(int(slot[i]), int(kind[i]), evidence, len(slot)) for i in strongest]

    def _flagged(self, slot: int, kind: int, evidence: FloatArray, found: int) -> Suspicion:
        who, rows = int(self._table.key[slot]), int(self._table.rows[slot])
        return Suspicion(
            heuristic=self._kinds[kind],
            about="client",
            who=who,
            log_e=float(evidence[slot, kind]),
            log_p=float("nan"),
            rows=int(self._count["asked"][slot, kind]),
            hits=int(self._count["flagged"][slot, kind]),
            since=int(self._table.first[slot]),
            until=int(self._table.last[slot]) + 1,
            clients=((who, rows),),
            facts={**self._facts(slot, kind), "suspicions": float(found)},
            members=self._log.telling(who, kind, MOST_MEMBERS),
        )

    def _facts(self, slot: int, kind: int) -> dict[str, float]:
        count = {name: float(store[slot, kind]) for name, store in self._count.items()}
        early, late = count["early_asked"], count["asked"] - count["early_asked"]
        return {
            "rate": _ratio(count["flagged"], count["asked"]),
            "reference_rate": _ratio(float(self._fixed.flagged[kind]), float(self._fixed.asked[kind])),
            "allowed_rate": float(self._bets.p0[kind]),
            "baseline_rows": early,
            "baseline_rate": _ratio(count["early_flagged"], early),
            "rate_since": _ratio(count["flagged"] - count["early_flagged"], late),
        }

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that moves."""
        used = self._table.used
        arrays: dict[str, NDArray[np.generic]] = {
            "kinds": self._fixed.kinds,
            "log_m": self._evidence.log_m[used],
            "steps": self._evidence.asked[used],
            **{name: store[used] for name, store in self._count.items()},
        }
        arrays |= {f"table/{name}": array for name, array in self._table.state().items()}
        return arrays | {f"log/{name}": array for name, array in self._log.state().items()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state; ValueError where it is of other kinds of flag or has more clients than fit."""
        if arrays["kinds"].tolist() != self._kinds:
            raise ValueError(f"the state is of {arrays['kinds'].tolist()}, not of {self._kinds}")
        self._table.restore(_below(arrays, "table/"))
        self._log.restore(_below(arrays, "log/"))
        used = self._table.used
        self._evidence.log_m[used], self._evidence.asked[used] = arrays["log_m"], arrays["steps"]
        for name, store in self._count.items():
            store[used] = arrays[name]


def _below(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else float("nan")
