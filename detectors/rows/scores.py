"""Scores of single rows, each against reference rows held out, and all of them together (H1-H4, H7).

Question: is this row, with the model's answer to it, unlike what the reference shows?
Statistic: the scores of `confidence`, `mahalanobis`, `neighbours`, `tail`, `pixels` and `atoms`, as far as the log
carries what they need, and T2 over all of them (`fusion`).
Calibration: the reference is split in pieces of 32 neighbouring rows: half fits means, axes and neighbours, a quarter
gives ranks and covariance, a quarter the law of T2. p-values are conformal: exact for rows exchangeable with the
reference's, never below 1 / (rows + 1).
Sees / blind to: outliers, corruption, attacks that stop at a boundary or are pixel noise. Blind to attacks that know
the scores, and weak on strong attacks where only the model's answers and its own embedding are logged: the scores are
worth more over a window (the view "row scores") than on a row.
Cost: 20 ms for 500 rows of 128 numbers. Memory: some 2,048 rows, two or three matrices and 5,000 x 20 ranks.
Source: failures.md 3.0-3.2, with the sources that the modules name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.grid import Grid
from detectors.rows import answers, atoms, confidence, fusion, mahalanobis, neighbours, pixels, spaces, tail
from detectors.rows.layout import Layout
from detectors.types import Block, CodeArray, FloatArray, IntArray, SingleArray, Summary

NAMES = (*confidence.NAMES, *mahalanobis.NAMES, *neighbours.NAMES, *tail.NAMES, *pixels.NAMES, *atoms.NAMES)
"""All scores, in the order in which they are computed."""
TWO_SIDED = frozenset((*confidence.NAMES, *pixels.NAMES, "moved_values"))
"""Scores that tell by being low as well; high values tell of the others."""
HEURISTICS: Mapping[str, tuple[str, ...]] = {
    "row_scores": (*confidence.NAMES, *mahalanobis.NAMES, "knn_distance", *atoms.NAMES),
    "tail_energy": tail.NAMES,
    "image_statistics": pixels.NAMES,
    "neighbour_disagreement": ("neighbour_disagreement",),
}
"""The scores of each heuristic."""
LEAST_ROWS = 400
"""Reference rows with fewer of which there are no scores."""
MOST_ROWS = 10_000
_PIECE = 32
_ADVERSARIAL = tail.NAMES[-1]
_PICTURE = [NAMES.index(name) for name in pixels.NAMES]


class RowsFixed(NamedTuple):
    """What the scores know of the reference; ``which (s,)`` are the positions in `NAMES` of those that it has.

    ``strong`` are the strongest axes of the model's inputs, in which its answers are compared with neighbours' labels.
    ``all`` is the law of T2 over all of them, ``picture`` over the numbers of a picture.
    """

    spaces: spaces.Spaces
    mahalanobis: mahalanobis.MahalanobisFixed
    embedded: neighbours.NeighboursFixed
    strong: spaces.Axes
    independent: neighbours.NeighboursFixed
    tail: tail.TailFixed
    pixels: pixels.PixelsFixed
    atoms: atoms.AtomsFixed
    which: IntArray
    ranks: fusion.Ranks
    all: fusion.Law
    picture: fusion.Law


class RowScores(NamedTuple):
    """Of n rows: ``scores (n, s)`` by ``names``, normal scores ``u``, p-values ``p``, T2 and its log p ``(n,)``.

    A score that cannot be is NaN, with u = 0 and p = 1. ``picture (n,)`` is the log p of the numbers of a picture.
    """

    names: tuple[str, ...]
    scores: FloatArray
    u: FloatArray
    p: FloatArray
    t2: FloatArray
    log_p: FloatArray
    picture: FloatArray


def fit(
    layout: Layout, grid: Grid, summary: Summary, block: Block, labels: CodeArray | None, rng: np.random.Generator
) -> RowsFixed:
    """Measure on reference rows ``block`` (10,000 are used), with ``labels (n,)``, -1 for unknown, where logged.

    With fewer than 400 rows, or nothing to score, there are no scores.
    """
    parts = _split(block.rows, rng)
    mine = [_some(block, rows) for rows in parts]
    known = spaces.fit(layout, grid, summary, mine[0], rng)
    fixed = _fitted(known, mine[0], None if labels is None else labels[parts[0]], rng)
    fixed = _gated(fixed, mine[1])
    first, second = _measured(fixed, mine[1]), _measured(fixed, mine[2])
    which = np.flatnonzero(_varies(first)) if block.rows >= LEAST_ROWS else np.zeros(0, np.int64)
    classes = [answers.predicted(layout, one) for one in mine[1:]]
    ranks = fusion.ranks(first[:, which], classes[0])
    u = fusion.ranked(ranks, first[:, which], classes[0]).u
    further = fusion.ranked(ranks, second[:, which], classes[1]).u
    every, picture = np.arange(len(which)), np.flatnonzero(np.isin(which, _PICTURE))
    laws = (fusion.law(u, further, columns) for columns in (every, picture))
    return fixed._replace(which=which, ranks=ranks, all=next(laws), picture=next(laws))


def score(fixed: RowsFixed, block: Block) -> RowScores:
    """Score rows; each row's numbers depend on it alone."""
    found = _measured(fixed, block)[:, fixed.which]
    ranked = fusion.ranked(fixed.ranks, found, answers.predicted(fixed.spaces.layout, block))
    both = np.minimum(2 * np.minimum(ranked.upper, ranked.lower), 1)
    kept = names(fixed)
    p = np.where([name in TWO_SIDED for name in kept], both, ranked.upper) if kept else ranked.upper
    t2, picture = (fusion.distances(law, ranked.u) for law in (fixed.all, fixed.picture))
    log_p = fusion.log_p(fixed.all, t2), fusion.log_p(fixed.picture, picture)
    return RowScores(kept, found, ranked.u, p, t2, *log_p)


def normal_scores(fixed: RowsFixed, block: Block) -> SingleArray:
    """The normal scores alone ``(n, s)``, at less cost."""
    found = _measured(fixed, block)[:, fixed.which]
    classes = answers.predicted(fixed.spaces.layout, block)
    return fusion.ranked(fixed.ranks, found, classes).u.astype(np.float32)


def names(fixed: RowsFixed) -> tuple[str, ...]:
    """Names of the scores that the log and the reference allow, in the order of their columns."""
    return tuple(NAMES[i] for i in fixed.which)


def flags(scored: RowScores, rate: float) -> tuple[tuple[str, ...], NDArray[np.bool_]]:
    """Heuristics with a score, and whether each row ``(n, k)`` is odd to them; at most ``rate`` of reference rows are.

    ``row_scores`` asks T2 of all scores, ``image_statistics`` that of a picture's numbers, ``tail_energy`` the last
    band. No heuristic is ever sure at a rate below 1 / (calibration rows + 1).
    """
    out = {}
    if scored.names:
        out["row_scores"] = scored.log_p <= np.log(rate)
    if set(scored.names) & set(pixels.NAMES):
        out["image_statistics"] = scored.picture <= np.log(rate)
    for heuristic, name in (("tail_energy", _ADVERSARIAL), ("neighbour_disagreement", "neighbour_disagreement")):
        if name in scored.names:
            out[heuristic] = scored.p[:, scored.names.index(name)] <= rate
    return tuple(out), np.stack(list(out.values()), axis=1) if out else np.zeros((len(scored.t2), 0), bool)


def _split(rows: int, rng: np.random.Generator) -> tuple[IntArray, IntArray, IntArray]:
    """Rows to fit on, to rank among, and for the law of T2: pieces of neighbours, in the ratio 2 : 1 : 1."""
    used = min(rows, MOST_ROWS)
    pieces = -(-rows // _PIECE)
    part = rng.permutation(np.arange(pieces) % 4)[np.arange(rows) // _PIECE]
    if rows > used:
        part[rng.permutation(rows)[used:]] = -1
    return np.flatnonzero((part == 0) | (part == 1)), np.flatnonzero(part == 2), np.flatnonzero(part == 3)


def _some(block: Block, rows: IntArray) -> Block:
    vectors = tuple(one[rows] for one in block.vectors)
    return Block(block.numeric[rows], block.codes[rows], block.faults, None, vectors)


def _fitted(known: spaces.Spaces, block: Block, labels: CodeArray | None, rng: np.random.Generator) -> RowsFixed:
    """All but ranks: what the scores are measured against."""
    answered = answers.predicted(known.layout, block)
    classes = answered if labels is None else np.where(labels >= 0, labels, answered).astype(np.int32)
    z, seen = spaces.embedding(known, block), spaces.inputs(known, block)
    strong = spaces.axes_of(seen, spaces.MOST_NEAR, rng)
    near = spaces.projected(strong, seen)
    near[classes < 0] = np.nan
    nothing = np.zeros((0, 0))
    return RowsFixed(
        known,
        mahalanobis.fit(z, classes, rng),
        neighbours.fit(neighbours.unit(z), classes, rng),
        strong,
        neighbours.fit(near, classes, rng),
        tail.fit(*_for_tail(known, z, seen), rng),
        pixels.fit(spaces.image(known.layout, block)),
        atoms.fit(block, known.layout.features),
        np.zeros(0, np.int64),
        fusion.ranks(nothing, np.zeros(0, np.int32)),
        *(fusion.law(nothing, nothing, np.zeros(0, np.int64)) for _ in range(2)),
    )


def _gated(fixed: RowsFixed, block: Block) -> RowsFixed:
    """Without H7 where the neighbours do not know the classes."""
    answered = answers.predicted(fixed.spaces.layout, block)
    voted = neighbours.voted(fixed.independent, spaces.projected(fixed.strong, spaces.inputs(fixed.spaces, block)))
    told = (voted >= 0) & (answered >= 0)
    several = len(np.unique(fixed.independent.classes)) > 1
    if several and told.any() and (voted == answered)[told].mean() >= neighbours.GATE:
        return fixed
    return fixed._replace(independent=neighbours.none())


def _for_tail(known: spaces.Spaces, z: SingleArray, seen: SingleArray) -> tuple[SingleArray, tuple[int, int, int]]:
    """What H4 looks at: the model's inputs, or its embedding where they are not logged."""
    if not seen.shape[1]:
        return z, (0, 0, 0)
    return seen, spaces.inputs_shape(known)


def _measured(fixed: RowsFixed, block: Block) -> FloatArray:
    """Every score ``(n, len(NAMES))``, NaN where it cannot be."""
    known = fixed.spaces
    answered = answers.predicted(known.layout, block)
    z, seen = spaces.embedding(known, block), spaces.inputs(known, block)
    near = spaces.projected(fixed.strong, seen) if len(fixed.independent.rows) else seen[:, :0]
    logits = answers.vector(known.layout.logits, block)
    return np.concatenate(
        [
            confidence.measures(answers.probabilities(known.layout, block), logits),
            mahalanobis.measures(fixed.mahalanobis, z, answered),
            neighbours.distance(fixed.embedded, neighbours.unit(z))[:, None],
            neighbours.disagreement(fixed.independent, near, answered)[:, None],
            tail.measures(fixed.tail, _for_tail(known, z, seen)[0]),
            pixels.measures(fixed.pixels, spaces.image(known.layout, block)),
            atoms.measures(fixed.atoms, block),
        ],
        axis=1,
    )


def _varies(scores: FloatArray) -> NDArray[np.bool_]:
    """Scores that are known of most rows and are not always the same."""
    if not len(scores):
        return np.zeros(scores.shape[1], bool)
    known = ~np.isnan(scores)
    low = np.where(known, scores, np.inf).min(axis=0)
    high = np.where(known, scores, -np.inf).max(axis=0)
    varies: NDArray[np.bool_] = (high > low) & (2 * known.sum(axis=0) >= len(scores))
    return varies
