"""What probes found, row by row, and whose rows are less stable than those of a random sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.maths import binomial
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import Rows
from detectors.types import Block, FloatArray

RANDOM, GOLDEN = "random", "golden"
"""Why a row is probed: to say what is usual, or for its known answer; anything else is a suspicion."""
LEAST_RANDOM: Final = 40
"""Probes of random rows before anybody is compared with them."""
LEAST: Final = 5
"""Probes of a client before it is judged."""
_UNSTABLE = 0.05
_LEVEL = 0.01


class Result(NamedTuple):
    """One probed row: its ``number`` in the stream, its ``client``'s hash (0: none), and ``why`` it was chosen.

    ``probabilities (C,)`` and ``names (C,)`` are the model's answer now, of the ``version`` it gave. ``kept`` is the
    share of ``copies`` answered alike, ``change`` and ``worst`` the mean and greatest L1 change. ``radius`` is the
    smoothed model's (`detectors.smoothing.CERTIFIES`), 0 if it abstains, NaN if nobody asked for it. ``seconds`` is
    what the calls took; ``time`` is when, since the epoch.
    """

    number: int
    client: int
    why: str
    time: float
    seconds: float
    version: str
    probabilities: FloatArray
    names: tuple[str, ...]
    copies: int
    kept: float
    change: float
    worst: float
    radius: float


def suspicions(results: Sequence[Result]) -> list[Suspicion]:
    """Judge each client by the share of its probed rows that change more than 95 % of random ones.

    The benign rate is bounded from above by the random rows themselves. A client is judged at its first 5, 10, 20, ...
    probes, look k spending 1/(k (k + 1)) of the level, so that asking more often changes nothing.
    """
    usual = np.array([one.change for one in results if one.why == RANDOM and np.isfinite(one.change)])
    if len(usual) < LEAST_RANDOM:
        return []
    threshold = float(np.quantile(usual, 1 - _UNSTABLE, method="inverted_cdf"))
    rate = float(binomial.upper(int((usual > threshold).sum()), len(usual), _LEVEL))
    found = []
    for client in sorted({one.client for one in results if one.client}):
        mine = [one for one in results if one.client == client and np.isfinite(one.change)]
        look = int(np.log2(len(mine) / LEAST)) + 1 if len(mine) >= LEAST else 0
        if look:
            found.append(_judged(client, mine[: LEAST * 2 ** (look - 1)], look, (threshold, rate)))
    return found


def golden_answers(
    results: Sequence[Result], digests: Mapping[int, int], version: int, classes: Mapping[str, int] | None = None
) -> Rows | None:
    """Answers to golden rows as `detectors.golden.Golden` takes them; None without any.

    ``digests`` are those of the golden rows by their number, ``version`` the number of the version that was asked,
    ``classes`` the class of each name that a model answers with (by default the names are the classes' numbers).
    Answers with another number of probabilities than the first one are left out.
    """
    mine = [one for one in results if one.why == GOLDEN and one.number in digests]
    mine = [one for one in mine if len(one.probabilities) == len(mine[0].probabilities)]
    if not mine:
        return None
    said = [one.names[int(one.probabilities.argmax())] for one in mine]
    known = {name: int(name) for name in said if name.isdecimal()} if classes is None else classes
    p = np.stack([one.probabilities for one in mine]).astype(np.float32)
    return Rows(
        block=Block(np.zeros((len(mine), 0)), np.zeros((len(mine), 0), np.int32), np.zeros(0, np.int64)),
        digest=np.array([digests[one.number] for one in mine], np.uint64),
        predicted=np.array([known.get(name, -1) for name in said], np.int32),
        probabilities=p if p.shape[1] > 1 else None,
        version=np.full(len(mine), version, np.int32),
    )


def _judged(client: int, mine: Sequence[Result], look: int, usual: tuple[float, float]) -> Suspicion:
    threshold, rate = usual
    telling = [one for one in mine if one.change > threshold]
    log_p = float(binomial.log_tail(len(telling), len(mine), rate)) + float(np.log(look * (look + 1.0)))
    numbers = [one.number for one in mine]
    facts = {
        "change": float(np.mean([one.change for one in mine])),
        "kept": float(np.mean([one.kept for one in mine])),
        "usual_change": threshold,
        "usual_rate": rate,
    }
    return Suspicion(
        "active_probes", "client", client, float("nan"), min(log_p, 0.0), len(mine), len(telling), min(numbers),
        max(numbers), ((client, len(mine)),), facts, np.array([one.number for one in telling], np.int64),
    )  # fmt: skip
