"""What each sender does: rows flagged too often, and rows unlike everybody else's.

Question: H0: the client's rows are flagged no more often than reference rows are, three times their rate allowed.
Statistic: an e-process for each client and kind of flag, from the client's first row on (`detectors.queries.eprocess`);
beside it windows of rows compared with the fleet's (`detectors.queries.looks`), volume (`detectors.queries.flooding`),
and the same for names that appeared together (`detectors.queries.cohorts`).
Null law: anytime-valid per client, all kinds together: log E given out holds a weight of 1 / kinds. It needs one key of
the budget for each client or cohort ever admitted (`Clients.born`), half of it for flags and half for the rest. Log p
holds the spending over looks and questions.
Exact repeats (retries) are no new evidence and are not asked about.
Nothing that a client sends moves its own bar: p0 is the reference's for ever. Its rate over its first 1,000 rows is
told beside the evidence (``baseline_rate``, then ``rate_since``), frozen, for people and arbitration: a client that was
like this from its first day on; it lowers no evidence, so that an attacker gains nothing by teaching it.
Sees / blind to: any client that is remembered; blind to rates within the allowance, and see the modules named above.
Memory: `detectors.queries.table` says who is remembered; about 3.5 kB a client (35 MB for 10,000) and 1 MB of rows.
Cost: some 2 ms for 256 rows, and 10 ms for the looks of a pane. Batches may be cut as one likes up to rounding, but for
which of equally light clients is forgotten. Source: failures.md 3.0, 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import eprocess, membership
from detectors.queries.profile import fit as fit_profile
from detectors.queries.rowlog import MOST_KINDS
from detectors.queries.senders import ClientsFixed, Senders
from detectors.queries.suspicion import Hits, Queries, Suspicion
from detectors.queries.telling import Telling
from detectors.types import FloatArray, IntArray


class Known(NamedTuple):
    """Rows that the model was trained on: digests ``(t,)`` and places in the space of similarity ``(t, m)``."""

    digest: NDArray[np.uint64]
    near: NDArray[np.float32]


def calibrate(
    kinds: Sequence[str],
    flags: NDArray[np.bool_],
    queries: Queries,
    odd: FloatArray,
    classes: int,
    rng: np.random.Generator,
    *,
    asked: NDArray[np.bool_] | None = None,
    training: Known | None = None,
) -> ClientsFixed:
    """Measure on held-out reference rows: ``flags (n, k)`` of `MOST_KINDS` - 1 ``kinds`` at most, and ``odd (n,)``.

    ``asked (n, k)`` says where a flag had what it needs. ``training`` are rows that are none of these; with them comes
    one more kind, membership probing, whose flags `Clients` makes itself.
    """
    if len(kinds) != flags.shape[1] or len(kinds) >= MOST_KINDS:
        raise ValueError(f"{len(kinds)} names for {flags.shape[1]} kinds of flag, of which {MOST_KINDS - 1} may be")
    every = np.ones(flags.shape, np.bool_) if asked is None else asked
    index, names = membership.nobody(queries.near.shape[1]), list(kinds)
    if training is not None and len(training.digest):
        index, chosen = membership.fit(training.digest, training.near, queries.near, rng)
        met, able = membership.probes(index, queries)
        flags, every = np.column_stack([flags, met]), np.column_stack([every, able & ~chosen])
        names.append(membership.KIND)
    return ClientsFixed(
        kinds=np.array(names, np.str_) if names else np.zeros(0, "<U1"),
        flagged=(flags & every).sum(axis=0).astype(np.float64),
        asked=every.sum(axis=0).astype(np.float64),
        profile=fit_profile(queries, odd, classes, rng),
        training=index,
    )


class Clients:
    """All senders of one model's queries, at most ``most`` of them at a time."""

    def __init__(self, fixed: ClientsFixed, most: int = 10_000) -> None:
        """Nobody seen yet."""
        self._all = Senders(fixed, most)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the kinds of flag, membership probing among them where a training set is known."""
        return tuple(self._all.kinds)

    @property
    def born(self) -> int:
        """Clients and cohorts ever admitted, one that came back counted again: keys for the budget."""
        return self._all.table.born + self._all.cohorts.born

    @property
    def evicted(self) -> int:
        """Clients forgotten for want of room."""
        return self._all.table.evicted

    @property
    def remembered(self) -> int:
        """Clients in the table."""
        return len(self._all.table.used)

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
        self._all.add(queries, hits, flags, odd, np.ones(flags.shape, np.bool_) if asked is None else asked)

    def counts(self, kind: str, since: int) -> tuple[NDArray[np.uint64], IntArray, IntArray]:
        """Clients, their flagged rows and rows asked about from row number ``since`` on, ``(c,)`` each.

        For `detectors.decide.concentration`: exact over the last 65,536 rows, evicted clients and all; rows without a
        name are not there.
        """
        return self._all.log.counts(self._all.kinds.index(kind), since)

    def log_e(self) -> tuple[NDArray[np.uint64], FloatArray]:
        """Clients remembered and their evidence by kind ``(c, k)``, the weight of 1 / kinds included."""
        one, used = self._all, self._all.table.used
        state = eprocess.Evidence(one.evidence.log_m[used], one.evidence.asked[used])
        return one.table.key[used], eprocess.log_e(one.bets, state) - np.log(max(len(one.kinds), 1))

    def suspicions(self, least: float) -> list[Suspicion]:
        """Those with a log E of at least ``least``, or a log p of at most -``least``, halves counted; once a pane.

        Windows that are full are judged and begun anew, and volume is counted from here on: this is the look. Each
        sort has its strongest 64: clients and cohorts by flags, by windows, by volume.
        """
        return Telling(self._all, self.log_e()[1], least).told()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Everything that moves."""
        return self._all.state()

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state; ValueError where it is of other kinds, other cuts, or more clients than fit."""
        self._all.restore(arrays)
