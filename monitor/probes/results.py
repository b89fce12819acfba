"""What probes found, row by row, and whose rows are less stable than those of a random sample."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

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
USUAL: Final = 1_000
"""Random rows that others are compared with, the newest."""
SENDERS: Final = 1_000
MEMBERS: Final = 1_000
"""Rows that speak against a sender, the newest of all: for evidence."""
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


class Tally(NamedTuple):
    """A sender's probed rows: how many, how many of them stand out, the greatest rate they are judged by, and sums."""

    rows: int = 0
    telling: int = 0
    rate: float = 0.0
    change: float = 0.0
    kept: float = 0.0
    first: int = 0
    last: int = 0


class Tallies:
    """Judges each sender by the share of its probed rows that change more than 95 % of random ones.

    Each row is compared with the random rows before it; they bound from above how often a benign row stands out. A
    sender is judged once at each of its first 5, 10, 20, ... probes, look k spending 1/(k (k + 1)) of the level, so
    that asking more often changes nothing, whatever the batching. Memory: `USUAL` numbers, eight of each of the
    `SENDERS` heard of last, and `MEMBERS` numbers of rows.
    """

    def __init__(self) -> None:
        """Nothing has been probed."""
        self._usual: deque[float] = deque(maxlen=USUAL)
        self._rule: tuple[float, float] | None = None
        self._senders: OrderedDict[int, Tally] = OrderedDict()
        self._telling: deque[tuple[int, int]] = deque(maxlen=MEMBERS)

    def add(self, results: Iterable[Result]) -> list[Suspicion]:
        """Count results, but for golden rows; what the looks that were taken say, the last one of each sender."""
        found = {}
        for one in results:
            if one.why == GOLDEN or not math.isfinite(one.change):
                continue
            if one.client and (told := self._count(one)) is not None:
                found[one.client] = told
            if one.why == RANDOM:
                self._usual.append(float(one.change))
                self._rule = None
        return list(found.values())

    def state(self) -> dict[str, Any]:
        """Everything that moves, but for the numbers of rows, as JSON."""
        return {"usual": list(self._usual), "senders": [[who, *tally] for who, tally in self._senders.items()]}

    def restore(self, said: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._usual = deque(map(float, said["usual"]), maxlen=USUAL)
        self._senders = OrderedDict((int(who), Tally(*tally)) for who, *tally in said["senders"])
        self._rule = None

    def _count(self, one: Result) -> Suspicion | None:
        """Count a sender's row; what a look says, if it is time for one."""
        if len(self._usual) < LEAST_RANDOM:
            return None
        threshold, rate = self._rule = self._rule or _rule(self._usual)
        mine, telling = self._senders.pop(one.client, Tally(first=one.number)), one.change > threshold
        if telling:
            self._telling.append((one.client, one.number))
        mine = Tally(
            mine.rows + 1, mine.telling + telling, max(mine.rate, rate), mine.change + float(one.change),
            mine.kept + float(one.kept), min(mine.first, one.number), max(mine.last, one.number),
        )  # fmt: skip
        self._senders[one.client] = mine
        if len(self._senders) > SENDERS:
            self._senders.popitem(last=False)
        look = math.log2(mine.rows / LEAST) + 1
        return self._judged(one.client, mine, int(look), threshold) if look >= 1 and look.is_integer() else None

    def _judged(self, client: int, mine: Tally, look: int, threshold: float) -> Suspicion:
        spent = math.log(look * (look + 1.0))
        log_p = min(float(binomial.log_tail(mine.telling, mine.rows, mine.rate)) + spent, 0.0)
        facts = {
            "change": mine.change / mine.rows,
            "kept": mine.kept / mine.rows,
            "usual_change": threshold,
            "usual_rate": mine.rate,
        }
        members = np.array([number for who, number in self._telling if who == client], np.int64)
        return Suspicion(
            "active_probes", "client", client, float("nan"), log_p, mine.rows, mine.telling, mine.first, mine.last,
            ((client, mine.rows),), facts, members,
        )  # fmt: skip


def golden_answers(
    results: Sequence[tuple[Result, int]], digests: Mapping[int, int], classes: Mapping[str, int] | None = None
) -> Rows | None:
    """Answers to golden rows as `detectors.golden.Golden` takes them; None without any.

    Each comes with the number of the version that gave it. ``digests`` are those of the golden rows by their number,
    ``classes`` the class of each name that a model answers with (by default the names are the classes' numbers).
    Answers with another number of probabilities than the first one are left out.
    """
    known_rows = [(one, version) for one, version in results if one.why == GOLDEN and one.number in digests]
    if not known_rows:
        return None
    size = len(known_rows[0][0].probabilities)
    mine = [one for one, _ in known_rows if len(one.probabilities) == size]
    said = [one.names[int(one.probabilities.argmax())] for one in mine]
    known = {name: int(name) for name in said if name.isdecimal()} if classes is None else classes
    p = np.stack([one.probabilities for one in mine]).astype(np.float32)
    return Rows(
        block=Block(np.zeros((len(mine), 0)), np.zeros((len(mine), 0), np.int32), np.zeros(0, np.int64)),
        digest=np.array([digests[one.number] for one in mine], np.uint64),
        predicted=np.array([known.get(name, -1) for name in said], np.int32),
        probabilities=p if p.shape[1] > 1 else None,
        version=np.array([version for one, version in known_rows if len(one.probabilities) == size], np.int32),
    )


def _rule(usual: Sequence[float]) -> tuple[float, float]:
    """The change that few random rows exceed, and how often a benign row does so at most."""
    change = np.array(usual)
    threshold = float(np.quantile(change, 1 - _UNSTABLE, method="inverted_cdf"))
    return threshold, float(binomial.upper(int((change > threshold).sum()), len(change), _LEVEL))
