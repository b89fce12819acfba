"""What probes found, row by row, and whose rows are less stable than those of a random sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from detectors.maths import binomial
from detectors.queries.suspicion import Suspicion
from detectors.types import FloatArray

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
