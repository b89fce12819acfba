"""Golden set: the same inputs, asked of each version of the model.

Question: does this version answer inputs with known answers as the reference did, and does it always answer alike?
Statistic: of the golden inputs that a version answered, the share whose class changed (whose answer differs, where only
numbers are logged), the greatest change of a probability, the change of Brier score and of mean confidence less
accuracy where labels are known; and the share of golden answers that are not the version's own first one.
Null law: binomial. A new version may change the classes of ``tolerated`` of all inputs, and a version may contradict
itself on 1 % of repeats; one-sided tails at 20, 40, 80, ... answers and at the whole set, the k-th look that is
taken spending 1/(k (k + 1)) of the level. Rates have Clopper-Pearson intervals.
Sees / blind to: a swapped or re-trained model, broken preprocessing, non-determinism; blind to a backdoored model,
which answers clean probes as it should unless its trigger is among them.
Cost: a binary search a row. Memory: 16 versions times the golden answers, at most 1,000 of 64 numbers (4 MB).
Source: H21.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.maths import binomial
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray, Layout, Rows
from detectors.rows.outputs import SAME, UNSTABLE, WIDTH, answers, shortened
from detectors.types import CodeArray, FloatArray, IntArray, SingleArray

MOST: Final = 1_000
"""Golden inputs at most."""
VERSIONS: Final = 16
"""Versions whose answers are kept; the one unheard of for longest is forgotten first."""
LEAST: Final = 20
"""Golden answers that a version must have given before it is judged."""
_LEVEL = 0.025
_NOBODY = np.iinfo(np.int64).min


class GoldenFixed(NamedTuple):
    """Golden inputs by ascending ``digest (g,)``: their ``answer (g, c)``, ``predicted (g,)`` and ``label (g,)``.

    ``row (g,)`` is each one's place in the rows they were chosen from; ``simplex ()``: answers
    are probabilities.
    """

    digest: DigestArray
    answer: SingleArray
    predicted: CodeArray
    label: CodeArray
    row: IntArray
    simplex: NDArray[np.bool_]


class Comparison(NamedTuple):
    """One version against the reference's answers, and against its own first ones.

    ``asked`` golden inputs were answered, ``changed`` otherwise: the share lies in ``[low, high]`` (95 %). ``greatest``
    and ``mean`` are changes of a probability (of a number, where none is logged). ``brier`` and ``calibration`` are
    changes (later less reference) of the Brier score and of confidence less accuracy over the ``labelled`` ones, with
    ``brier_low`` and ``brier_high``. ``repeats`` later answers came, ``unstable`` of them unlike the first.
    """

    version: int
    asked: int
    changed: int
    low: float
    high: float
    greatest: float
    mean: float
    labelled: int
    brier: float
    brier_low: float
    brier_high: float
    calibration: float
    repeats: int
    unstable: int


def fit(layout: Layout, rows: Rows, rng: np.random.Generator, most: int = 400) -> GoldenFixed:
    """Choose golden inputs from reference rows with whole answers, at random among different inputs."""
    given = answers(layout, rows)
    whole = np.flatnonzero(np.logical_and.reduce(np.isfinite(given), axis=1, initial=given.shape[1] > 0))
    digest, first, counts = np.unique(rows.digest[whole], return_index=True, return_counts=True)
    once = whole[first]
    same = np.ones(len(digest), np.bool_)
    for i in np.flatnonzero(counts > 1):  # inputs that the reference itself answered in several ways teach nothing
        every = given[whole[rows.digest[whole] == digest[i]]]
        same[i] = bool((np.abs(every - every[0]) <= SAME).all())
    places = np.sort(rng.permutation(np.flatnonzero(same))[: min(most, MOST)])
    chosen = once[places]
    nobody = np.full(len(rows.digest), -1, np.int32)
    return GoldenFixed(
        digest=digest[places],
        answer=shortened(given)[chosen],
        predicted=_classes(rows, given)[chosen],
        label=(nobody if rows.label is None else rows.label)[chosen],
        row=chosen.astype(np.int64),
        simplex=np.array(rows.probabilities is not None and 2 <= given.shape[1] <= WIDTH),
    )


class Golden:
    """Follows the answers to golden inputs, from the log or from probes, whichever client asks.

    Results do not depend on how rows are batched, but for versions beyond the sixteenth that come in one batch.
    """

    def __init__(self, fixed: GoldenFixed, tolerated: float = 0.05) -> None:
        """Let a version change the class of a share ``tolerated`` of the inputs."""
        self._fixed, self._tolerated = fixed, tolerated
        g, c = fixed.answer.shape
        self._version = np.full(VERSIONS, _NOBODY)
        self._seen = np.zeros((VERSIONS, g), np.bool_)
        self._answer = np.zeros((VERSIONS, g, c), np.float32)
        self._predicted = np.full((VERSIONS, g), -1, np.int32)
        self._counts = np.zeros((VERSIONS, 3), np.int64)  # repeats, unstable ones, last row
        self._looks = np.zeros((VERSIONS, 2, 2), np.int64)  # at answers and at repeats: which was the last, how many
        self._rows = 0

    def add(self, layout: Layout, rows: Rows) -> NDArray[np.bool_]:
        """Take answers in; which rows ``(n,)`` are golden inputs whose answer is not the version's first one."""
        given, base = answers(layout, rows), self._rows
        self._rows += len(rows.digest)
        place = np.searchsorted(self._fixed.digest, rows.digest)
        golden = np.zeros(len(given), np.bool_)
        if len(self._fixed.digest) and given.shape[1]:
            golden = self._fixed.digest[np.minimum(place, len(self._fixed.digest) - 1)] == rows.digest
            golden &= np.isfinite(given).all(axis=1)
        odd = np.zeros(len(given), np.bool_)
        which = np.flatnonzero(golden)
        if not len(which):
            return odd
        short, classes = self._comparable(shortened(given[which])), _classes(rows, given)[which]
        versions = np.zeros(len(which), np.int64) if rows.version is None else rows.version[which].astype(np.int64)
        for version in np.unique(versions):
            mine = versions == version
            odd[which[mine]] = self._take(int(version), place[which[mine]], short[mine], classes[mine])
            self._counts[self._slot(int(version)), 2] = base + int(which[mine][-1])
        return odd

    def comparison(self, version: int) -> Comparison | None:
        """What is known of a version; None if it has answered nothing (lately)."""
        found = np.flatnonzero(self._version == version)
        return self._comparison(int(found[0])) if len(found) else None

    @property
    def versions(self) -> tuple[int, ...]:
        """Versions that are known, ascending."""
        return tuple(sorted(int(version) for version in self._version if version != _NOBODY))

    def suspicions(self) -> list[Suspicion]:
        """Judge the versions that are due for a look: at 20, 40, 80, ... answers or repeats, and at the whole set."""
        found: list[Suspicion] = []
        for slot in np.flatnonzero(self._version != _NOBODY):
            said = self._comparison(int(slot))
            for kind, tries, hits, chance, heuristic in (
                (0, said.asked, said.changed, self._tolerated, "golden_set"),
                (1, said.repeats, said.unstable, UNSTABLE, "output_integrity"),
            ):
                due = _looks(tries, 0 if kind else len(self._fixed.digest))
                if due > self._looks[slot, kind, 0]:
                    self._looks[slot, kind] = due, self._looks[slot, kind, 1] + 1
                    tried = tries, hits, chance, int(self._looks[slot, kind, 1])
                    found.append(self._suspicion(int(slot), said, heuristic, tried))
        return found

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that moves."""
        return {
            "version": self._version.copy(),
            "seen": self._seen.copy(),
            "answer": self._answer.copy(),
            "predicted": self._predicted.copy(),
            "counts": self._counts.copy(),
            "looks": self._looks.copy(),
            "rows": np.array(self._rows, np.int64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave; ValueError if it is of another golden set."""
        if arrays["answer"].shape != self._answer.shape:
            raise ValueError(f"`arrays` holds answers {arrays['answer'].shape}, not {self._answer.shape}")
        self._version, self._seen = arrays["version"].copy(), arrays["seen"].copy()
        self._answer, self._predicted = arrays["answer"].copy(), arrays["predicted"].copy()
        self._counts, self._looks = arrays["counts"].copy(), arrays["looks"].copy()
        self._rows = int(arrays["rows"])

    def _slot(self, version: int) -> int:
        """Where a version is kept; a new one takes the place of the one unheard of for longest."""
        found = np.flatnonzero(self._version == version)
        if len(found):
            return int(found[0])
        free = np.flatnonzero(self._version == _NOBODY)
        slot = int(free[0]) if len(free) else int(np.argmin(self._counts[:, 2]))
        self._version[slot] = version
        self._seen[slot], self._predicted[slot], self._answer[slot] = False, -1, 0.0
        self._counts[slot], self._looks[slot] = 0, 0
        return slot

    def _comparable(self, given: SingleArray) -> SingleArray:
        """Answers of the reference's kind; of another kind (classes alone, for probabilities) nothing but the class."""
        width = self._fixed.answer.shape[1]
        return given if given.shape[1] == width else np.full((len(given), width), np.nan, np.float32)

    def _take(self, version: int, place: IntArray, given: SingleArray, classes: CodeArray) -> NDArray[np.bool_]:
        """Keep first answers, compare later ones with them."""
        slot = self._slot(version)
        new, first = np.unique(place, return_index=True)
        new, first = new[~self._seen[slot, new]], first[~self._seen[slot, new]]
        repeat = np.ones(len(place), np.bool_)
        repeat[first] = False
        self._seen[slot, new] = True
        self._answer[slot, new], self._predicted[slot, new] = given[first], classes[first]
        with np.errstate(over="ignore", invalid="ignore"):
            odd: NDArray[np.bool_] = (np.abs(given - self._answer[slot, place]) > SAME).any(axis=1)
        odd = (odd | (classes != self._predicted[slot, place])) & repeat
        self._counts[slot, :2] += [int(repeat.sum()), int(odd.sum())]
        return odd

    def _comparison(self, slot: int) -> Comparison:
        seen, fixed = self._seen[slot], self._fixed
        before, after = fixed.answer[seen].astype(np.float64), self._answer[slot, seen].astype(np.float64)
        apart = np.abs(after - before).max(axis=1, initial=0.0)
        numbers = apart[np.isfinite(apart)]
        was, now = fixed.predicted[seen], self._predicted[slot, seen]
        changed = np.where((was >= 0) & (now >= 0), was != now, apart > SAME)
        hits, asked = int(changed.sum()), int(seen.sum())
        label, simplex = fixed.label[seen], bool(fixed.simplex)
        brier = _brier(after, now, label, simplex=simplex) - _brier(before, was, label, simplex=simplex)
        known = brier[np.isfinite(brier)]
        calibration = _calibration(after, now, label) - _calibration(before, was, label) if simplex else np.nan
        error = 1.96 * float(known.std(ddof=1)) / np.sqrt(len(known)) if len(known) > 1 else np.nan
        mean = float(known.mean()) if len(known) else np.nan
        repeats, unstable = (int(count) for count in self._counts[slot, :2])
        low, high = float(binomial.lower(hits, asked, _LEVEL)), float(binomial.upper(hits, asked, _LEVEL))
        greatest, usual = float(numbers.max(initial=0.0)), float(numbers.mean()) if len(numbers) else np.nan
        return Comparison(
            int(self._version[slot]), asked, hits, low, high, greatest, usual,
            len(known), mean, mean - error, mean + error, calibration, repeats, unstable,
        )  # fmt: skip

    def _suspicion(self, slot: int, said: Comparison, heuristic: str, tried: tuple[int, int, float, int]) -> Suspicion:
        tries, hits, chance, look = tried
        log_p = float(binomial.log_tail(hits, tries, chance)) + float(np.log(look * (look + 1.0)))
        facts = {name: float(value) for name, value in said._asdict().items() if name != "version"}
        changed = self._seen[slot] & (self._fixed.predicted != self._predicted[slot])
        last = int(self._counts[slot, 2])
        return Suspicion(
            heuristic, "fleet", said.version, float("nan"), min(log_p, 0.0), tries, hits, 0, last, (),
            facts | {"tolerated": chance}, self._fixed.row[changed][:32],
        )  # fmt: skip


def _looks(tries: int, whole: int) -> int:
    """How many looks are due: one at 20, 40, 80, ... and one at the whole set, if that has as many."""
    if tries < LEAST:
        return 0
    return int(np.log2(tries / LEAST)) + (2 if whole and tries >= whole else 1)


def _classes(rows: Rows, given: SingleArray) -> CodeArray:
    """Answered classes; the likeliest where none is logged, -1 where only a number is."""
    if rows.predicted is not None:
        return rows.predicted
    if given.shape[1] < 2:
        return np.full(len(given), -1, np.int32)
    likeliest: CodeArray = given.argmax(axis=1).astype(np.int32)
    return likeliest


def _brier(p: FloatArray, predicted: CodeArray, label: CodeArray, *, simplex: bool) -> FloatArray:
    """Brier score of each answer with a label; of its class alone, where no probabilities are kept in full."""
    known = (label >= 0) & (predicted >= 0)
    wrong = np.where(known, predicted != label, np.nan) * 2.0
    if not simplex or int(label.max(initial=-1)) >= p.shape[1]:
        return wrong
    truth = np.where(known, label, 0)
    own = p[np.arange(len(p)), truth]
    return np.where(known, (p**2).sum(axis=1) - 2.0 * own + 1.0, np.nan)


def _calibration(p: FloatArray, predicted: CodeArray, label: CodeArray) -> float:
    """Mean confidence less accuracy; NaN without labels."""
    known = (label >= 0) & (predicted >= 0)
    if not known.any():
        return float("nan")
    return float((p[known].max(axis=1) - (predicted[known] == label[known])).mean())
