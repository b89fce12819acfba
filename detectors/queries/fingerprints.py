"""Fingerprints of inputs (H9), the hash path of Blacklight: does a query share most of its windows with an earlier one.

Question: H0: a subject's inputs, but for exact repeats, share their marks with an earlier one's no more often than
reference rows do. H1: more often from its first match on.
Statistic: numbers are scaled to 0..255 (pixels with one scale, columns each with its own), a secret salt is added to
each place modulo 255, and the sum is cut into steps of 50. Each window of w neighbouring places is hashed: a polynomial
in a secret number modulo 2^64, of which running sums give all windows at once, then splitmix64. Windows that have what
most reference rows have there (margins, backgrounds) say nothing and are left out. The S greatest hashes are the row's
marks; it matches if T of them are those of one earlier row. w = 20, S = 50 and T = 25 as published; of fewer than 400
numbers w is a twentieth of them (2 at least), and of fewer than S windows all are marks.
Calibration: T is the least from S / 2 on of which reference rows that do not belong together match so rarely that, with
``capacity`` earlier rows in place of theirs, at most `MOST_RATE` would (upper 95 % bound; a chance to match one of N
grows no faster than N). Where there is none, or most rows have fewer than S / 2 marks, `refusal` says why: tables of
few columns, and those whose rows are alike.
Null law: an e-process a subject from its first match on (`boundary.Bet`); log p is minus its logarithm. It supports
other evidence, and is none alone: frames and pages match as well, and rows of one cluster are alike to begin with.
Sees / blind to: attacks that change few numbers at a time, or all of them by less than a step; noise of 0.02 on each
query changes a number in most windows, and nothing matches any more.
Cost: some 15 passes over the windows (`tests.bench fingerprints`) and 50 us a row. Memory: a table of 4 hashes in each
of at most 2^18 places, the oldest replaced: 12.6 MB for the marks of about 20,000 rows.
Source: Li, Shan, Wenger et al. 2022 (Blacklight); parameters as in the code of OARS (Feng et al. 2023); failures.md H9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.queries.boundary import Bet
from detectors.queries.subjects import Subjects, of_row
from detectors.queries.suspicion import Hits, Queries, Suspicion
from detectors.types import FloatArray, IntArray, Reason, SingleArray

Marks = NDArray[np.uint64]
WINDOW: Final = 20
KEPT: Final = 50
STEP: Final = 50
MOST_RATE: Final = 0.2
"""Share of honest rows that may match; above it a match says nothing."""
MOST: Final = 1_024
"""Subjects whose matches are counted."""
_SALTS: Final = 255
_FEWEST_WINDOWS: Final = 8
_FEWEST_ROWS: Final = 200
_FIT_ROWS: Final = 2_048
_USUAL: Final = 0.05
"""Share of reference rows from which on what a window holds is usual there."""
_TAIL: Final = 0.001
_HIGHEST: Final = 0.9
_SURE: Final = 0.95
_TELLING: Final = math.log(1e-4)
_WAYS: Final = 4
_MOST_PLACES: Final = 2**18
_TILE: Final = 32
_ROWS, _MATCHES, _FIRST, _LAST, _BET = range(5)


class FingerprintsFixed(NamedTuple):
    """What marks are made with, and how often honest rows share them.

    ``low (d,)`` and ``span (d,)`` scale numbers, ``salt (d,)`` and ``power (d,)`` are secret, ``window ()`` is w and
    ``kept ()`` S, ``usual (d - w + 1,)`` are the hashes that most rows have (0: none). A match has ``shared ()`` marks
    in common, ``rate ()`` of honest rows have one at most, ``reason ()`` is a `Reason`.
    """

    low: SingleArray
    span: SingleArray
    salt: SingleArray
    power: Marks
    window: IntArray
    kept: IntArray
    usual: Marks
    shared: IntArray
    rate: FloatArray
    reason: NDArray[np.int8]


def calibrate(
    rows: SingleArray, digest: NDArray[np.uint64], capacity: int, secret: int, *, pixels: bool
) -> FingerprintsFixed:
    """Measure on reference ``rows (n, d)`` with their digests, for ``capacity`` earlier rows; ``secret`` makes salts.

    ``pixels``: all numbers are of one kind.
    """
    rng = np.random.default_rng(secret)
    _, once = np.unique(digest, return_index=True)
    some = rng.permutation(once[np.isfinite(rows[once]).all(axis=1)])[: 2 * _FIT_ROWS]
    known, half = rows[some], len(some) // 2
    d = rows.shape[1]
    window = min(max(d // 20, 2), WINDOW)
    windows = max(d - window + 1, 0)
    low, span = _scale(known, pixels=pixels)
    factor = int(rng.integers(1, 2**63)) * 2 + 1
    powers = np.cumprod(np.full(d, factor % 2**64, np.uint64), dtype=np.uint64)
    salt = np.asarray(rng.integers(0, _SALTS, d), np.float32)
    fixed = FingerprintsFixed(
        low, span, salt, powers, np.array(window), np.array(min(KEPT, windows)), np.zeros(windows, np.uint64),
        np.array(0), np.array(1.0), np.array(Reason.OK, np.int8),
    )  # fmt: skip
    if windows < _FEWEST_WINDOWS or half < _FEWEST_ROWS:
        why = Reason.NOT_APPLICABLE if windows < _FEWEST_WINDOWS else Reason.FEW_ROWS
        return fixed._replace(reason=np.array(why, np.int8))
    fixed = fixed._replace(usual=_usual(np.concatenate([_hashes(fixed, tile) for tile in _tiles(known[:half])])))
    return _threshold(fixed, known[half:], capacity)


def refusal(fixed: FingerprintsFixed) -> str:
    """Why there are no fingerprints ("": there are)."""
    if fixed.reason == Reason.OK:
        return ""
    if fixed.reason == Reason.FEW_ROWS:
        return f"they need {2 * _FEWEST_ROWS} different reference rows"
    if fixed.reason == Reason.NOT_APPLICABLE:
        return f"inputs of {len(fixed.low)} numbers have too few windows that tell them apart"
    return f"{float(fixed.rate):.0%} of honest rows could share most of their windows with others"


def marks(fixed: FingerprintsFixed, rows: SingleArray) -> Marks:
    """The S greatest hashes of each row ``(n, S)``, in no order; 0 for places without one, as in rows with a NaN."""
    size = int(fixed.kept)
    found = np.zeros((len(rows), size), np.uint64)
    for i, tile in enumerate(_tiles(rows)):
        telling = _hashes(fixed, tile)
        telling[telling == fixed.usual] = 0
        telling[~np.isfinite(tile).all(axis=1)] = 0
        found[i * _TILE : (i + 1) * _TILE] = np.partition(telling, telling.shape[1] - size, axis=1)[:, -size:]
    return found


class Table:
    """The marks of earlier rows: each has 4 places to be in, of which the oldest is overwritten."""

    def __init__(self, capacity: int, kept: int) -> None:
        """Empty, for about ``capacity`` rows of ``kept`` marks."""
        places = 2 ** math.ceil(math.log2(max(capacity * kept / _WAYS, 1)))
        self.mark = np.zeros((min(places, _MOST_PLACES), _WAYS), np.uint32)
        self.number = np.full(self.mark.shape, -1, np.int64)

    def shared(self, mine: Marks, number: int) -> int:
        """The most marks that an earlier row has in common with a new one ``(S,)``, remembered by its ``number``."""
        mine = mine[mine != 0]
        place = (mine & np.uint64(len(self.mark) - 1)).astype(np.int64)
        mark, holder = (mine >> np.uint64(32)).astype(np.uint32), self.number[place]
        found = holder[(self.mark[place] == mark[:, None]) & (holder >= 0)]
        oldest = holder.argmin(axis=1)
        self.mark[place, oldest], self.number[place, oldest] = mark, number
        if not len(found):
            return 0
        return int(np.unique(found, return_counts=True)[1].max())


class Fingerprints:
    """The marks of one model's queries, and who sends those that match. Batches may be cut anywhere."""

    def __init__(self, fixed: FingerprintsFixed, capacity: int) -> None:
        """Nothing seen; what ``fixed`` refuses never matches."""
        self._fixed, self._bet = fixed, Bet(float(fixed.rate))
        self._table = Table(capacity, int(fixed.kept))
        self._seen = 0
        self._known = Subjects(_BET + len(self._bet.start()), MOST)

    def add(self, rows: SingleArray, queries: Queries, hits: Hits) -> NDArray[np.bool_]:
        """Take inputs ``(n, d)`` in order of arrival; whether each matches an earlier one. Exact repeats do not."""
        matched = np.zeros(len(rows), np.bool_)
        if self._fixed.reason == Reason.OK:
            every = marks(self._fixed, rows)
            for row in np.flatnonzero(~hits.exact & every.any(axis=1)).tolist():  # each row may match the one before
                matched[row] = self._table.shared(every[row], self._seen + row) >= self._fixed.shared
                for subject in of_row(queries, hits, row):
                    self._count(subject, self._seen + row, matched=bool(matched[row]))
        self._seen += len(rows)
        return matched

    def _count(self, subject: tuple[str, int], number: int, *, matched: bool) -> None:
        """One row more of whoever has had a match."""
        numbers = self._known.heard(subject) if matched else self._known.get(subject)
        if numbers is None:
            return
        if numbers[_ROWS] == 0:
            numbers[_FIRST] = number
        else:
            bet = numbers[_BET:]
            self._bet.step(bet, yes=matched)
            numbers[_BET:] = bet
        numbers[_ROWS] += 1
        numbers[_MATCHES] += matched
        numbers[_LAST] = number

    def suspicions(self) -> list[Suspicion]:
        """Senders and clusters of whose rows more match than the reference's do."""
        log_p = [(-self._bet.log_e(numbers[_BET:]), subject, numbers) for subject, numbers in self._known]
        return [self._suspicion(*one) for one in log_p if one[0] < _TELLING]

    def _suspicion(self, log_p: float, subject: tuple[str, int], numbers: list[float]) -> Suspicion:
        about, who = subject
        rows, matches, first, last = (int(one) for one in numbers[:_BET])
        clients = ((who, rows),) if about == "client" else ()
        facts = {"matched_share": matches / rows, "allowed_rate": float(self._fixed.rate)}
        return Suspicion(
            "fingerprints", about, who, math.nan, log_p, rows, matches, first, last + 1, clients, facts,
            np.zeros(0, np.int64),
        )  # fmt: skip

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that moves; of the table what is filled."""
        mark, number = self._table.mark, self._table.number
        filled = np.flatnonzero(number >= 0)
        moving = {"seen": np.array(self._seen), "size": np.array(number.size), "filled": filled.astype(np.int32)}
        moving |= {"mark": mark.ravel()[filled], "number": number.ravel()[filled]}
        return moving | {f"subjects/{name}": array for name, array in self._known.state().items()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a `state`; ValueError where its table has another size."""
        mark, number = self._table.mark, self._table.number
        if int(arrays["size"]) != number.size:
            raise ValueError(f"a table of {int(arrays['size'])} places, not {number.size}")
        prefix = "subjects/"
        self._known.restore({name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)})
        self._seen = int(arrays["seen"])
        mark[:], number[:] = 0, -1
        mark.ravel()[arrays["filled"]], number.ravel()[arrays["filled"]] = arrays["mark"], arrays["number"]


def _scale(rows: SingleArray, *, pixels: bool) -> tuple[SingleArray, SingleArray]:
    """Lowest number and span of each place, but for the outermost thousandth."""
    d = rows.shape[1]
    if not rows.size:
        return np.zeros(d, np.float32), np.ones(d, np.float32)
    ends = np.quantile(rows.astype(np.float64), [_TAIL, 1 - _TAIL], axis=None if pixels else 0)
    low, high = (np.broadcast_to(end, (d,)) for end in ends)
    return low.astype(np.float32), np.where(high > low, high - low, 1.0).astype(np.float32)


def _tiles(rows: SingleArray) -> list[SingleArray]:
    return [rows[start : start + _TILE] for start in range(0, len(rows), _TILE)]


def _hashes(fixed: FingerprintsFixed, rows: SingleArray) -> Marks:
    """Of each window, ``(n, d - w + 1)``."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = np.nan_to_num(np.clip((rows - fixed.low) / fixed.span, 0, 1)) * np.float32(_SALTS)
    level = ((scaled + fixed.salt) % _SALTS // STEP).astype(np.uint64) + np.uint64(1)
    total = np.cumsum(level * fixed.power, axis=1, dtype=np.uint64)
    w = int(fixed.window)
    total[:, w:] = total[:, w:] - total[:, :-w]
    return _mixed(total[:, w - 1 :])


def _mixed(x: Marks) -> Marks:
    """The output function of splitmix64 (Steele, Lea and Flood 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _usual(hashes: Marks) -> Marks:
    """The most frequent hash of each window where enough rows have it, else 0."""
    ordered = np.sort(hashes, axis=0)
    n, number = len(ordered), np.arange(len(ordered))[:, None]
    begins = np.ones(ordered.shape, np.bool_)
    begins[1:] = ordered[1:] != ordered[:-1]
    run = number - np.maximum.accumulate(np.where(begins, number, 0), axis=0) + 1
    last, column = run.argmax(axis=0), np.arange(ordered.shape[1])
    return np.where(run[last, column] >= max(_USUAL * n, 2), ordered[last, column], np.uint64(0))


def _threshold(fixed: FingerprintsFixed, rows: SingleArray, capacity: int) -> FingerprintsFixed:
    """The least number of shared marks of which honest rows have few enough."""
    table, n, size = Table(len(rows), int(fixed.kept)), len(rows), int(fixed.kept)
    every = marks(fixed, rows)
    if float(np.median((every != 0).sum(axis=1))) < size / 2:
        return fixed._replace(reason=np.array(Reason.NOT_APPLICABLE, np.int8))
    shared = np.array([table.shared(mine, i) for i, mine in enumerate(every)])
    least = np.arange(math.ceil(size / 2), math.floor(_HIGHEST * size) + 1)
    matches = (shared[:, None] >= least).sum(axis=0)
    bound = special.betaincinv(matches + 1.0, np.maximum(n - matches, 1e-9), _SURE)
    rate = np.minimum(bound * max(2 * capacity / n, 1.0), 1.0)
    good = np.flatnonzero(rate <= MOST_RATE)
    at = int(good[0]) if len(good) else len(least) - 1
    reason = Reason.OK if len(good) else Reason.CONSTANT_REFERENCE
    return fixed._replace(shared=np.array(least[at]), rate=np.array(rate[at]), reason=np.array(reason, np.int8))
