"""Output integrity: answers that no sound model gives, other answers to the same input, the same answer to all.

Question: are the answers whole, are they the model's own function of the input, and do they still depend on it?
Statistic: of each row, whether its answer is missing or not finite, off the simplex by more than 1e-3, whether the
answered class is not the likeliest, the probabilities not the softmax of the logits, the answer another than the one
that the same version gave to the same input (beyond 1e-5, or what repeats in the reference differ by), the answer later
than 99.9 % of the reference's. Of the stream, how long a run of equal answers to different inputs is.
Calibration: a check that more than 0.1 % of the reference's rows fail is none; `null_rates` bounds the others' benign
rates. The run of equal answers to inputs that did not come before has the e-value sum_s q^-(rows since s) / (s (s + 1))
over its rows s, and 1 / (t + 1) for the starts to come after t inputs: valid at any time (Ville) if an answer repeats
the one before with chance at most q, whatever came before; q is the greater of the most frequent answer's share in the
reference and of the share of neighbours there with equal answers, both from above.
Sees / blind to: broken or tampered serving, swapped weights, non-determinism, a dead model; blind to an exploit that
leaves answers as they were, and to other answers to inputs that never come twice.
Cost: 3 us a row of 10 classes. Memory: `capacity` answers of at most 64 numbers (4 MB by default), oldest replaced.
Source: H6; OWASP ML09; Waudby-Smith and Ramdas 2023 (betting) and Shin, Ramdas and Rinaldo 2022 (late starts).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.rows.layout import Layout, Rows
from detectors.types import FloatArray, IntArray, SingleArray

KINDS: Final = ("output_missing", "simplex", "not_likeliest", "not_softmax", "other_answer", "slow")
"""Bit i of a mask is kind i."""
MISSING, SIMPLEX, LIKELIEST, SOFTMAX, OTHER, SLOW = (1 << i for i in range(len(KINDS)))
CAPACITY: Final = 16_384
WIDTH: Final = 64
"""Numbers of an answer that are kept; longer ones are summed up in so many parts."""
RARE: Final = 0.001
OFF_SIMPLEX: Final = 1e-3
SAME: Final = 1e-5
"""Answers that differ by no more are the same."""
UNSTABLE: Final = 0.01
"""Share of repeats that a sound server may answer otherwise where the reference shows no repeats."""
_LATE = 0.999
_NOISE = 0.01
"""Answers to the same input that differ by more do so for another reason than the arithmetic."""


class OutputsFixed(NamedTuple):
    """``checked ()`` is a mask of the kinds that are checked; ``flagged (K,)`` of ``asked (K,)`` rows fail each.

    ``same ()`` is the difference up to which answers are the same, ``repeat ()`` bounds the chance that an answer
    equals the one before, ``late ()`` is the latency that one row in 1,000 exceeds (NaN: not known).
    """

    checked: NDArray[np.uint8]
    same: FloatArray
    repeat: FloatArray
    late: FloatArray
    flagged: IntArray
    asked: IntArray


class Checked(NamedTuple):
    """What is wrong with some answers, ``(n,)`` each.

    ``kinds`` are masks, ``difference`` how far the answer is from the one that the same version gave to the same input
    (NaN: no repeat), ``log_e`` the evidence after each row that answers do not depend on inputs any more and ``run``
    how many rows with an input of their own have had this answer in a row.
    """

    kinds: NDArray[np.uint8]
    difference: FloatArray
    log_e: FloatArray
    run: IntArray

    @property
    def flags(self) -> NDArray[np.bool_]:
        """Whether each row fails each kind, ``(n, K)``."""
        bits: NDArray[np.bool_] = (self.kinds[:, None] >> np.arange(len(KINDS), dtype=np.uint8)) & 1 != 0
        return bits


def answers(layout: Layout, rows: Rows) -> SingleArray:
    """Answers ``(n, c)``: probabilities, else logits, else the score, else the class; no column if none is logged."""
    if rows.probabilities is not None:
        return rows.probabilities
    if rows.logits is not None:
        return rows.logits
    if int(layout.score) >= 0:
        with np.errstate(over="ignore"):
            return rows.block.numeric[:, [int(layout.score)]].astype(np.float32)
    if rows.predicted is not None:
        return np.where(rows.predicted < 0, np.nan, rows.predicted).astype(np.float32)[:, None]
    return np.zeros((len(rows.digest), 0), np.float32)


def fit(layout: Layout, rows: Rows, latency: FloatArray | None = None) -> OutputsFixed:
    """Learn from reference rows in order, and their latencies ``(m,)`` in seconds, what is usual."""
    given = answers(layout, rows)
    late = _late(latency)
    kinds = ((1 << len(KINDS)) - 1 if given.shape[1] else SLOW) & ~(0 if math.isfinite(late) else SLOW)
    open_minded = OutputsFixed(
        checked=np.array(kinds, np.uint8),
        same=np.array(SAME),
        repeat=np.array(_repeat(shortened(given))),
        late=np.array(late),
        flagged=np.zeros(len(KINDS), np.int64),
        asked=np.zeros(len(KINDS), np.int64),
    )
    first = Outputs(open_minded, layout, max(CAPACITY, len(given))).add(rows, latency)
    repeats = first.difference[np.isfinite(first.difference)]
    fixed = open_minded._replace(same=np.array(_same(repeats)))
    seen = Outputs(fixed, layout, max(CAPACITY, len(given))).add(rows, latency)
    asked = np.full(len(KINDS), len(given), np.int64)
    asked[KINDS.index("other_answer")] = len(repeats)
    asked[KINDS.index("slow")] = 0 if latency is None else int(np.isfinite(latency).sum())
    flagged = seen.flags.sum(axis=0).astype(np.int64)
    rare = np.where(flagged <= RARE * np.maximum(asked, 1), 1 << np.arange(len(KINDS)), 0).sum()
    return fixed._replace(checked=np.array(fixed.checked & np.uint8(rare)), flagged=flagged, asked=asked)


def null_rates(fixed: OutputsFixed, level: float = 0.05) -> FloatArray:
    """Upper confidence bound of the benign share of rows (of repeats, for other answers) that fail, ``(K,)``."""
    passed = np.maximum(fixed.asked - fixed.flagged, 1).astype(np.float64)
    rates = np.asarray(special.betaincinv(fixed.flagged + 1.0, passed, 1 - level), np.float64)
    other = KINDS.index("other_answer")
    rates[other] = min(rates[other], UNSTABLE) if fixed.asked[other] == 0 else rates[other]
    return rates


class Outputs:
    """Judges answers in order; results do not depend on how rows are batched."""

    def __init__(self, fixed: OutputsFixed, layout: Layout, capacity: int = CAPACITY) -> None:
        """Remember the answers to at most ``capacity`` inputs."""
        self._fixed, self._layout, self._capacity = fixed, layout, max(capacity, 1)
        self._digest = np.zeros(self._capacity, np.uint64)
        self._version = np.full(self._capacity, np.iinfo(np.int32).min, np.int32)  # nobody's: an empty place
        self._answer = np.zeros((self._capacity, 0), np.float32)
        self._last = np.zeros(0, np.float32)
        self._begun, self._run, self._inputs = -math.inf, 0, 0

    def add(self, rows: Rows, latency: FloatArray | None = None) -> Checked:
        """Judge the next rows; ``latency (n,)`` is in seconds."""
        given = answers(self._layout, rows)
        whole: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(given), axis=1, initial=given.shape[1] > 0)
        kinds = np.where(whole, 0, MISSING) | _simplex(rows) | _likeliest(rows) | _softmax(rows)
        difference = self._repeats(rows, shortened(given), whole)
        with np.errstate(invalid="ignore"):
            kinds |= np.where(difference > self._fixed.same, OTHER, 0)
            kinds |= 0 if latency is None else np.where(latency > self._fixed.late, SLOW, 0)
        log_e, run = self._runs(shortened(given), whole & np.isnan(difference))
        return Checked(kinds.astype(np.uint8) & self._fixed.checked, difference, log_e, run)

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that moves."""
        return {
            "digest": self._digest.copy(),
            "version": self._version.copy(),
            "answer": self._answer.copy(),
            "last": self._last.copy(),
            "run": np.array([self._begun, self._run, self._inputs], np.float64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave; ValueError if it remembers another number of answers."""
        if arrays["digest"].shape != (self._capacity,):
            raise ValueError(f"`arrays` remembers {len(arrays['digest'])} answers, not {self._capacity}")
        self._digest, self._version = arrays["digest"].copy(), arrays["version"].copy()
        self._answer, self._last = arrays["answer"].copy(), arrays["last"].copy()
        self._begun, run, inputs = (float(value) for value in arrays["run"])
        self._run, self._inputs = int(run), int(inputs)

    def _repeats(self, rows: Rows, given: SingleArray, whole: NDArray[np.bool_]) -> FloatArray:
        """Difference to the first answer of the same version to the same input, as far as it is remembered.

        Each input has one place; within a place rows follow each other, and a row that is not of the same input and
        version as the one before takes the place.
        """
        difference = np.full(len(given), np.nan)
        which = np.flatnonzero(whole)
        if not len(which):
            return difference
        if self._answer.shape[1] != given.shape[1]:
            self._answer = np.full((self._capacity, given.shape[1]), np.nan, np.float32)
            self._version[:] = np.iinfo(np.int32).min
        version = np.zeros(len(given), np.int32) if rows.version is None else rows.version
        place = (rows.digest[which] % np.uint64(self._capacity)).astype(np.int64)
        order = np.argsort(place, kind="stable")
        which, place = which[order], place[order]
        digest, version, mine = rows.digest[which], version[which].astype(np.int32), given[which]
        first = np.append(True, place[1:] != place[:-1])
        starts = first | np.append(True, (digest[1:] != digest[:-1]) | (version[1:] != version[:-1]))
        known = first & (digest == self._digest[place]) & (version == self._version[place])
        leader = np.maximum.accumulate(np.where(starts, np.arange(len(which)), 0))
        stored = np.where(known[leader][:, None], self._answer[place], mine[leader])
        repeat = ~starts | known
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.abs(mine.astype(np.float64) - stored).max(axis=1, initial=0.0)
        difference[which[repeat]] = apart[repeat]
        last = np.append(place[1:] != place[:-1], True)
        self._digest[place[last]], self._version[place[last]] = digest[last], version[last]
        self._answer[place[last]] = stored[last]
        return difference

    def _runs(self, given: SingleArray, new: NDArray[np.bool_]) -> tuple[FloatArray, IntArray]:
        """Evidence and length of the run of equal answers after each row; an input that came before says nothing."""
        log_e, run = np.empty(len(given)), np.empty(len(given), np.int64)
        gain = -math.log(float(self._fixed.repeat))
        last = self._last if len(self._last) == given.shape[1] else np.full(given.shape[1], np.nan, np.float32)
        chain = np.concatenate([last[None], given[new]])
        equal = np.zeros(len(given), np.bool_)
        equal[new] = (chain[1:] == chain[:-1]).all(axis=1)
        for i, (counts, same) in enumerate(zip(new.tolist(), equal.tolist(), strict=True)):  # each needs the one before
            if counts:
                self._inputs += 1
                start = -math.log(self._inputs * (self._inputs + 1.0))
                self._begun = float(np.logaddexp(self._begun + gain, start)) if same else start
                self._run = self._run + 1 if same else 1
            log_e[i] = np.logaddexp(self._begun, -math.log(self._inputs + 1.0))  # and the starts that are still to come
            run[i] = self._run
        self._last = chain[-1].copy()
        return log_e, run


def _simplex(rows: Rows) -> IntArray:
    """Probabilities that are none; missing ones are told elsewhere."""
    if rows.probabilities is None:
        return np.zeros(len(rows.digest), np.int64)
    p = rows.probabilities.astype(np.float64)
    with np.errstate(invalid="ignore"):
        off = (np.abs(p.sum(axis=1) - 1) > OFF_SIMPLEX) | (p < -OFF_SIMPLEX).any(axis=1)
    return np.where(off, SIMPLEX, 0)


def _likeliest(rows: Rows) -> IntArray:
    """Answered classes that others are likelier than."""
    scores = rows.probabilities if rows.probabilities is not None else rows.logits
    if scores is None or rows.predicted is None or not scores.shape[1]:
        return np.zeros(len(rows.digest), np.int64)
    inside = (rows.predicted >= 0) & (rows.predicted < scores.shape[1])
    own = scores[np.arange(len(scores)), np.where(inside, rows.predicted, 0)]
    with np.errstate(invalid="ignore"):
        beaten = (scores.max(axis=1) > own + np.float32(SAME)) & inside
    return np.where(beaten | (rows.predicted >= scores.shape[1]), LIKELIEST, 0)


def _softmax(rows: Rows) -> IntArray:
    """Probabilities that are not the softmax of the logits."""
    p, logits = rows.probabilities, rows.logits
    if p is None or logits is None or p.shape != logits.shape or not p.shape[1]:
        return np.zeros(len(rows.digest), np.int64)
    wide = logits.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        wide = np.exp(wide - wide.max(axis=1, keepdims=True))
        off = np.abs(wide / wide.sum(axis=1, keepdims=True) - p).max(axis=1) > OFF_SIMPLEX
    return np.where(off, SOFTMAX, 0)


def shortened(given: SingleArray) -> SingleArray:
    """Answers of at most `WIDTH` numbers: neighbours of longer ones are summed up, weighted so that swaps are seen."""
    classes = given.shape[1]
    if classes <= WIDTH:
        return given
    part = np.arange(WIDTH) * classes // WIDTH
    weights = 1.0 + (np.arange(classes) * 0.6180339887498949) % 1.0
    return np.add.reduceat(given * weights, part, axis=1).astype(np.float32)


def _repeat(given: SingleArray) -> float:
    """Chance, from above, that an answer equals the one before."""
    whole = given[np.isfinite(given).all(axis=1)]
    if len(whole) < 2 or not whole.shape[1]:
        return 1.0
    _, counts = np.unique(whole, axis=0, return_counts=True)
    neighbours = int((whole[1:] == whole[:-1]).all(axis=1).sum())
    most = max(int(counts.max()) - 1, neighbours)
    return float(special.betaincinv(most + 1.0, max(len(whole) - most, 1.0), 0.975))


def _same(repeats: FloatArray) -> float:
    """Twice what repeats in the reference differ by, if that can be the arithmetic's noise."""
    usual = 2.0 * float(np.quantile(repeats, _LATE)) if len(repeats) else 0.0
    return usual if SAME < usual <= _NOISE else SAME


def _late(latency: FloatArray | None) -> float:
    """Latency that one row in 1,000 exceeds; NaN with fewer than 1,000."""
    known = np.zeros(0) if latency is None else latency[np.isfinite(latency)]
    return float(np.quantile(known, _LATE)) if len(known) >= 1_000 else float("nan")
