"""Along which direction of an embedding a model fails, for each true class, and how much of the traffic lies there.

Question: are the rows of a class that are answered wrong apart from those answered right, in an embedding that is not
the model's own? H0 of each class: they are not. And without labels: does more of the traffic lie on the hard side?
Statistic: embeddings whitened by the reference (mean and spread of each dimension), of length 1, on at most `AXES`
principal axes; of each true class the cut of `separator`, its balanced accuracy in cross-validation. The value of a row
is its signed distance: negative is hard. Drift along a direction: counts of all traffic between the deciles of the
reference (chi-square with the reference's own noise), and the share beyond its hardest tenth.
Null law: permutations of right and wrong within the class, family-wise over the classes. A quarter of the reference
takes no part in the directions: deciles and ``auroc`` come from it.
Sees / blind to: a consistent failure that one cut can part. An embedding that is the model's last layer learns its
boundary again (balanced accuracy .9 and no news): ``auroc`` stands beside that of the confidence alone. Traffic is of
all classes, as nobody knows the true one: a new mix of the classes is drift too. Classes with fewer than `LEAST` rows
of either kind are not tested. Rows may not depend on each other; ``tau`` divides the chi-square.
Cost: 0.02 CPU s a class of 500 rows and 64 axes; for traffic 20 us a row of 512 dimensions.
Source: Jain, Lawrence, Moitra and Madry 2023 (failure directions); failures.md 7.1.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.maths import tails
from detectors.performance import intervals
from detectors.performance.types import Figure
from detectors.slices import separator
from detectors.types import FloatArray, IntArray, SingleArray

AXES: Final = 64
LEAST: Final = 20
"""Rows of a class answered wrong, and right, at least."""
MOST_ROWS: Final = 2_000
"""Rows of a class answered wrong, and right, at most: a sample of the others."""
LEVEL: Final = 0.05
HARD: Final = 0.1
ALIKE: Final = 0.98
"""Cosine from which on two exemplars are one."""
_SAMPLE: Final = 20_000
_FAR: Final = 1e100
_LONG: Final = 8.0
"""Rows with a value so many times that of the median row do not say what is usual."""
_TENTHS: Final = 10
_WIDE: Final = 1.959964


class DirectionsFixed(NamedTuple):
    """``centre``, ``inverse (d,)`` and ``turn (d, k)`` take embeddings to k axes.

    Of the ``tested (t,)`` classes: cross-validated balanced accuracy ``balanced``, its mean over permutations
    ``chance``, and family-wise ``p``. Of the ``classes (c,)`` with a direction: ``normal (c, k)``, ``offset``,
    ``deciles (c, 9)`` of the ``held ()`` rows, and on those the ``auroc`` of wrong against right by the direction and
    by ``confidence`` (NaN where unknown).
    """

    centre: FloatArray
    inverse: FloatArray
    turn: FloatArray
    tested: IntArray
    balanced: FloatArray
    chance: FloatArray
    p: FloatArray
    classes: IntArray
    normal: FloatArray
    offset: FloatArray
    deciles: FloatArray
    held: IntArray
    auroc: FloatArray
    confidence: FloatArray


class Exemplars(NamedTuple):
    """Rows furthest on the hard and on the easy side, no two of them alike, most extreme first."""

    hard: IntArray
    easy: IntArray


class Drift(NamedTuple):
    """Traffic along the direction of a class.

    ``hard``: the share beyond the reference's hardest tenth; ``more``: less a tenth, whose error knows that the tenth
    was measured too; log p of no drift.
    """

    label: int
    hard: Figure
    more: Figure
    log_p: float


def fit(
    embedding: FloatArray | SingleArray,
    truth: IntArray,
    wrong: NDArray[np.bool_],
    rng: np.random.Generator,
    confidence: FloatArray | None = None,
) -> DirectionsFixed:
    """Measure labelled reference rows: ``embedding (n, d)``, class ``truth (n,)`` (-1: unknown), ``wrong (n,)``."""
    usable = np.flatnonzero(_usable(embedding) & (truth >= 0))
    centre, inverse, turn = _whitening(embedding, rng.permutation(usable)[:_SAMPLE])
    places = _placed(embedding[usable], centre, inverse, turn)
    label, bad = truth[usable], wrong[usable]
    sure = np.full(len(usable), np.nan) if confidence is None else confidence[usable]
    held = rng.permutation(len(usable)) % 4 == 0
    tested, verdicts, cuts = [], [], []
    for one in np.unique(label).tolist():
        mine = np.flatnonzero((label == one) & ~held)
        kinds = [rng.permutation(mine[bad[mine] == kind])[:MOST_ROWS] for kind in (False, True)]
        if min(len(kind) for kind in kinds) < LEAST:
            continue
        some = np.sort(np.concatenate(kinds))
        kind = bad[some].astype(np.float64)
        verdict = separator.crossed(places[some], kind, rng)
        tested.append(one)
        verdicts.append(verdict)
        cuts.append(separator.cut(places[some], kind, verdict.ridge))
    p = separator.family(verdicts)
    told = np.flatnonzero(p <= LEVEL)
    normal = np.array([cuts[i].normal for i in told]).reshape(len(told), turn.shape[1])
    offset = np.array([cuts[i].offset for i in told])
    classes = np.array(tested, np.int64)[told]
    values = offset - places[held] @ normal.T
    return DirectionsFixed(
        centre,
        inverse,
        turn,
        np.array(tested, np.int64),
        np.array([one.balanced for one in verdicts]),
        np.array([one.permuted.mean() for one in verdicts]),
        p,
        classes,
        normal,
        offset,
        _deciles(values),
        np.array(held.sum(), np.int64),
        _areas(classes, values, label[held], bad[held]),
        _areas(classes, np.repeat(sure[held, None], len(classes), axis=1), label[held], bad[held]),
    )


def values(fixed: DirectionsFixed, embedding: FloatArray | SingleArray) -> FloatArray:
    """Signed distances ``(n, c)`` of rows ``(n, d)``: negative is hard; NaN where the embedding is not finite."""
    usable = _usable(embedding)
    out = np.full((len(embedding), len(fixed.classes)), np.nan)
    places = _placed(embedding[usable], fixed.centre, fixed.inverse, fixed.turn)
    out[usable] = fixed.offset - places @ fixed.normal.T
    return out


def drift(fixed: DirectionsFixed, found: FloatArray, tau: float = 1.0) -> tuple[Drift, ...]:
    """How the traffic, of which `values` are ``found (n, c)``, lies along each direction."""
    return tuple(
        _drift(int(label), fixed.deciles[i], int(fixed.held), found[np.isfinite(found[:, i]), i], max(tau, 1.0))
        for i, label in enumerate(fixed.classes)
    )


def exemplars(
    fixed: DirectionsFixed, embedding: FloatArray | SingleArray, found: FloatArray, number: int = 20
) -> Exemplars:
    """The hardest and the easiest rows by ``found (n,)``, one column of `values`; NaN leaves a row out."""
    known = np.flatnonzero(np.isfinite(found) & _usable(embedding))
    order = known[np.argsort(found[known], kind="stable")]
    return Exemplars(*(_unlike(fixed, embedding, some, number) for some in (order, order[::-1])))


def captions(fixed: DirectionsFixed, embedding: FloatArray | SingleArray, which: int, number: int = 5) -> Exemplars:
    """Captions ``(m, d)``, embedded as the rows are, that lie furthest on either side of direction ``which``.

    They are compared with their own mean, as words do not lie where pictures do.
    """
    usable = np.flatnonzero(_usable(embedding))
    shown = embedding[usable].astype(np.float64)
    apart = (shown - shown.mean(axis=0)) * fixed.inverse if len(usable) else shown
    order = usable[np.argsort(-(_unit(apart) @ fixed.turn) @ fixed.normal[which], kind="stable")]
    return Exemplars(order[:number], order[::-1][:number])


def _drift(label: int, deciles: FloatArray, held: int, found: FloatArray, tau: float) -> Drift:
    n = len(found)
    if not n or not held:
        hard, more = (intervals.none(name, n, intervals.NO_ROWS) for name in ("hard", "more"))
        return Drift(label, hard, more, math.nan)
    counts = np.bincount(np.searchsorted(deciles, found, side="right"), minlength=_TENTHS)
    share = counts / n
    statistic = _TENTHS * float(np.square(share - 1 / _TENTHS).sum()) / (1 / n + 1 / held) / tau
    log_p = tails.chi2(np.array(statistic), np.array(_TENTHS - 1.0))
    hard = intervals.share("hard", float(share[0]), n, n / tau)
    own, apart = math.sqrt(HARD * (1 - HARD) / held), hard.value - HARD
    down, up = (math.hypot(end - hard.value, _WIDE * own) for end in (hard.low, hard.high))
    more = Figure("more", apart, apart - down, apart + up, math.hypot(hard.error, own), n)
    return Drift(label, hard, more, float(log_p))


def _usable(embedding: FloatArray | SingleArray) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray((np.abs(embedding) < _FAR).all(axis=1), np.bool_)


def _whitening(embedding: FloatArray | SingleArray, some: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Centre and inverse spread of each dimension, and the principal axes of what comes of it."""
    d = embedding.shape[1]
    rows = embedding[some].astype(np.float64)
    if not len(rows):
        return np.zeros(d), np.zeros(d), np.eye(d)[:, : min(d, AXES)]
    size = np.abs(rows).max(axis=1)
    rows = rows[size <= _LONG * np.median(size)]
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    flat = ~(spread > 1e-9 * np.maximum(np.abs(centre), 1e-290))
    inverse = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, spread))
    if d <= AXES:
        return centre, inverse, np.eye(d)
    inside = _unit((rows - centre) * inverse)
    return centre, inverse, np.linalg.eigh(inside.T @ inside)[1][:, ::-1][:, :AXES]


def _placed(rows: FloatArray | SingleArray, centre: FloatArray, inverse: FloatArray, turn: FloatArray) -> FloatArray:
    return _unit((rows.astype(np.float64) - centre) * inverse) @ turn


def _unit(rows: FloatArray) -> FloatArray:
    """Rows of length 1; what is 0 stays."""
    most = np.abs(rows).max(axis=1, initial=0.0)
    rows = rows / np.where(most > 0, most, 1.0)[:, None]
    length = np.linalg.norm(rows, axis=1)
    return rows / np.where(length > 0, length, 1.0)[:, None]


def _deciles(found: FloatArray) -> FloatArray:
    """Inner deciles of each column ``(c, 9)``."""
    if not len(found):
        return np.full((found.shape[1], _TENTHS - 1), np.nan)
    at = np.arange(1, _TENTHS) / _TENTHS
    return np.quantile(found, at, axis=0).T


def _areas(classes: IntArray, found: FloatArray, label: IntArray, bad: NDArray[np.bool_]) -> FloatArray:
    """Chance that a wrong row of the class has the smaller value than a right one ``(c,)``."""
    out = []
    for i, one in enumerate(classes.tolist()):
        mine = (label == one) & np.isfinite(found[:, i])
        out.append(separator.auroc(-found[mine, i], bad[mine].astype(np.float64)))
    return np.array(out)


def _unlike(fixed: DirectionsFixed, embedding: FloatArray | SingleArray, order: IntArray, number: int) -> IntArray:
    """The first rows of an order that are not alike."""
    taken: list[int] = []
    kept = np.zeros((number, len(fixed.centre)))
    for row in order.tolist():
        if len(taken) == number:
            break
        place = _unit((embedding[[row]].astype(np.float64) - fixed.centre) * fixed.inverse)[0]
        if not (kept[: len(taken)] @ place > ALIKE).any():
            kept[len(taken)] = place
            taken.append(row)
    return np.array(taken, np.int64)
