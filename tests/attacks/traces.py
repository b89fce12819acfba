"""What a log shows of senders: rows with answers, names and times; attackers hide in it by `dilute` and `sybil`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries.suspicion import Queries
from detectors.rows.layout import DigestArray
from detectors.types import CodeArray, FloatArray, SingleArray
from tests.attacks.models import margin
from tests.attacks.oracle import Oracle


class Trace(NamedTuple):
    """Queries in order of arrival: ``inputs (n, d)`` and ``probabilities (n, C)`` float32, else ``(n,)``.

    ``client`` is a hash of the sender's name, ``time`` in seconds, ``kind`` says what the row belongs to.
    """

    inputs: SingleArray
    probabilities: SingleArray
    client: DigestArray
    time: FloatArray
    is_attack: NDArray[np.bool_]
    kind: NDArray[np.str_]

    @property
    def rows(self) -> int:
        """Number of queries."""
        return len(self.inputs)

    @property
    def predicted(self) -> CodeArray:
        """The class that each was answered with."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int32)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Trace:
        """Some of the queries, in the given order."""
        return Trace._make(column[rows] for column in self)


def trace_of(
    inputs: SingleArray,
    probabilities: SingleArray,
    client: DigestArray | int,
    time: FloatArray,
    kind: str,
    *,
    is_attack: bool = False,
) -> Trace:
    """All rows of one kind."""
    n = len(inputs)
    names = np.broadcast_to(np.asarray(client, np.uint64), (n,)).copy()
    return Trace(
        np.asarray(inputs, np.float32),
        np.asarray(probabilities, np.float32),
        names,
        np.asarray(time, np.float64),
        np.full(n, is_attack),
        np.full(n, kind, "U32"),
    )


def of_attack(
    oracle: Oracle, kind: str, rng: np.random.Generator, *, begin: float = 0.0, each: float = 1.0, client: int = 0
) -> Trace:
    """What the oracle was asked, at random times ``each`` seconds apart on average; 0 draws a name."""
    time = begin + np.cumsum(rng.exponential(each, oracle.asked))
    name = client or int(names(1, rng)[0])
    return trace_of(oracle.inputs, oracle.probabilities, name, time, kind, is_attack=True)


def names(number: int, rng: np.random.Generator) -> DigestArray:
    """Hashes of senders' names, never 0."""
    return rng.integers(1, 2**63, number, dtype=np.uint64)


def traffic(
    inputs: SingleArray,
    answer: Callable[[SingleArray], SingleArray],
    rng: np.random.Generator,
    *,
    clients: int = 50,
    begin: float = 0.0,
    each: float = 1.0,
) -> Trace:
    """The rows as sent by ordinary clients, a few of them busy: the k-th sends in proportion to 1/k."""
    share = 1.0 / np.arange(1, clients + 1)
    sender = names(clients, rng)[rng.choice(clients, len(inputs), p=share / share.sum())]
    time = begin + np.cumsum(rng.exponential(each, len(inputs)))
    return trace_of(inputs, answer(inputs), sender, time, "benign")


def mix(*parts: Trace) -> Trace:
    """All of them in the order of their times."""
    whole = Trace._make(np.concatenate(columns) for columns in zip(*parts, strict=True))
    return whole.take(np.argsort(whole.time, kind="stable"))


def dilute(attack: Trace, benign: Trace, share: float, rng: np.random.Generator) -> Trace:
    """The attacker sends ordinary rows under the same name until the attack is only ``share`` of the rows sent.

    ``benign`` gives the ordinary rows and needs ``rows * (1 - share) / share`` of them.
    """
    wanted = round(attack.rows * (1.0 - share) / share)
    if wanted > benign.rows:
        raise ValueError(f"{wanted} ordinary rows are needed, there are {benign.rows}")
    hiding = benign.take(np.sort(rng.choice(benign.rows, wanted, replace=False)))
    time = rng.uniform(attack.time[0], attack.time[-1] + 1e-9, wanted)
    return mix(attack, hiding._replace(client=rng.choice(attack.client, wanted), time=np.sort(time)))


def dither(
    trace: Trace, sigma: float, answer: Callable[[SingleArray], SingleArray], rng: np.random.Generator, free: int
) -> Trace:
    """Gaussian noise on the first ``free`` coordinates of each attacking row, which is answered anew.

    The attack did not see these answers; `oracle.disturbed` makes one that did.
    """
    inputs = trace.inputs.copy()
    noise = rng.normal(0.0, sigma, (trace.rows, free)).astype(np.float32) * trace.is_attack[:, None]
    inputs[:, :free] = np.clip(inputs[:, :free] + noise, 0.0, 1.0)
    return trace._replace(inputs=inputs, probabilities=answer(inputs))


def sybil(trace: Trace, number: int, rng: np.random.Generator) -> Trace:
    """The attacking rows are sent under ``number`` names, each row under a random one."""
    return trace._replace(client=np.where(trace.is_attack, rng.choice(names(number, rng), trace.rows), trace.client))


def digests(inputs: SingleArray) -> DigestArray:
    """A hash ``(n,)`` of each row: equal rows have equal ones."""
    bits = np.ascontiguousarray(inputs, np.float32).view(np.uint32).astype(np.uint64)
    odd = np.random.default_rng(0).integers(0, 2**63, inputs.shape[1], dtype=np.uint64) * 2 + 1
    mixed = (bits * odd).sum(axis=1, dtype=np.uint64)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(mixed * np.uint64(0x9E3779B97F4A7C15), np.uint64)


def queries(trace: Trace, near: SingleArray) -> Queries:
    """The trace as the analysis of queries is given it; ``near (n, m)`` are the rows in the space of similarity."""
    return Queries(
        near,
        digests(trace.inputs),
        trace.client,
        trace.predicted,
        margin(trace.probabilities).astype(np.float32),
        trace.probabilities.max(axis=1),
        trace.time,
    )
