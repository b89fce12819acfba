"""Scores by class against given labels: a ruler measured on trusted rows, bin by bin of how sure the scores are.

A classifier's scores ``(n, C)`` say what a row ``looks`` like (its best class) and how surely (the lead over the second
class). On trusted rows, judged by a classifier that has not seen them, the ruler learns how often labels contradict
that in up to ten bins of sureness. Comparing bin by bin, rows that are merely harder than the trusted ones are no
evidence; labels that are wrong on rows of which trusted rows are sure are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.poisoning import rates
from detectors.types import CodeArray, FloatArray, IntArray

BINS = 10
A_BIN = 200
"""Trusted rows in a bin of sureness at least."""


class Ruler(NamedTuple):
    """What trusted rows showed: ``cuts (b - 1,)`` between bins of sureness and their rows ``size (b,)``.

    ``hits (b,)`` of these have another label than they look like; ``into (b, C)`` of the ``others (b, C)`` rows that do
    not look like class c are labelled c. ``looks (C,)`` is the share that looks like each class, ``scores (m,)`` the
    contradictions of all trusted rows, sorted.
    """

    cuts: FloatArray
    size: IntArray
    hits: IntArray
    others: IntArray
    into: IntArray
    looks: FloatArray
    scores: FloatArray

    @property
    def bounds(self) -> FloatArray:
        """Largest chance of a contradiction in each bin, ``(b,)``."""
        return rates.falling(self.hits, self.size)


class Doubts(NamedTuple):
    """Some rows on that ruler, ``(n,)`` each.

    ``score`` is the best other class's score less that of the own label, ``p`` its conformal p-value; ``looks`` and
    ``bin`` as above; ``wrong``: the label is not what the row looks like. All of it means nothing where not ``known``.
    """

    score: FloatArray
    p: FloatArray
    looks: IntArray
    bin: IntArray
    wrong: NDArray[np.bool_]
    known: NDArray[np.bool_]


class Counts(NamedTuple):
    """Rows and contradictions by bin: ``size``, ``hits (b,)``, ``others``, ``into (b, C)`` as in `Ruler`."""

    size: IntArray
    hits: IntArray
    others: IntArray
    into: IntArray


def measure(scores: FloatArray, own: CodeArray) -> Ruler:
    """Make the ruler from trusted rows' scores ``(m, C)`` and labels 0..C-1."""
    m, classes = scores.shape
    looks, sure = leader(scores)
    bins = int(np.clip(m // A_BIN, 1, BINS))
    cuts = np.quantile(sure, np.arange(1, bins) / bins) if bins > 1 else np.zeros(0)
    where = np.searchsorted(cuts, sure, side="right")
    share = np.bincount(looks, minlength=classes) / max(m, 1)
    counted = _counted(where, looks, own, bins, classes)
    return Ruler(cuts, *counted, share, np.sort(contradiction(scores, own)))


def read(ruler: Ruler, scores: FloatArray, label: CodeArray) -> Doubts:
    """Lay rows on the ruler; labels outside 0..C-1 and scores that are not finite are not known."""
    known = (label >= 0) & (label < len(ruler.looks)) & np.isfinite(scores).all(axis=1)
    own, scores = np.where(known, label, 0), np.where(known[:, None], scores, 0.0)
    looks, sure = leader(scores)
    score, m = contradiction(scores, own), len(ruler.scores)
    return Doubts(
        score=score,
        p=(1 + m - np.searchsorted(ruler.scores, score, side="left")) / (m + 1),
        looks=looks,
        bin=np.searchsorted(ruler.cuts, sure, side="right"),
        wrong=known & (looks != own),
        known=known,
    )


def count(ruler: Ruler, doubts: Doubts, label: CodeArray, chosen: NDArray[np.bool_]) -> Counts:
    """Count the known ones of the ``chosen (n,)`` rows."""
    mine = chosen & doubts.known
    return _counted(doubts.bin[mine], doubts.looks[mine], label[mine], len(ruler.size), len(ruler.looks))


def evidence(ruler: Ruler, counts: Counts) -> float:
    """Log e-value that labels contradict the trusted rows more often than these allow."""
    return float(rates.log_e(counts.hits[None], counts.size[None], ruler.bounds)[0])


def evidence_into(ruler: Ruler, counts: Counts) -> FloatArray:
    """Log e-values ``(C,)`` that rows were turned into each class.

    If more rows look like a class than among the trusted ones, more are honestly mistaken for it: the bound grows with
    that ratio.
    """
    looks = (counts.size[:, None] - counts.others).sum(axis=0) / max(int(counts.size.sum()), 1)
    more = np.maximum(looks / np.maximum(ruler.looks, 1 / max(len(ruler.scores), 1)), 1.0)
    bounds = np.minimum(rates.falling(ruler.into, ruler.others) * more, rates.HIGHEST)
    return rates.log_e(counts.into.T, counts.others.T, bounds.T)


def evidence_of_source(ruler: Ruler, counts: Counts) -> float:
    """Log e-value of one source: half of it on contradictions of any kind, half on those into one class."""
    into = special.logsumexp(evidence_into(ruler, counts)) - np.log(len(ruler.looks))
    return float(np.logaddexp(evidence(ruler, counts), into) - np.log(2))


def without(ruler: Ruler, whole: Counts, counts: Counts) -> Ruler:
    """The ruler of all other rows: what a source is compared with where no trusted rows are known."""
    others = Counts(*(a - b for a, b in zip(whole, counts, strict=True)))
    return ruler._replace(size=others.size, hits=others.hits, others=others.others, into=others.into)


def expected(ruler: Ruler, counts: Counts) -> float:
    """Contradictions that as many trusted rows in the same bins have."""
    return float((ruler.hits / np.maximum(ruler.size, 1) * counts.size).sum())


def leader(scores: FloatArray) -> tuple[IntArray, FloatArray]:
    """Best class ``(n,)`` and its lead over the second."""
    two = np.partition(scores, scores.shape[1] - 2, axis=1)[:, -2:]
    return scores.argmax(axis=1), two[:, 1] - two[:, 0]


def contradiction(scores: FloatArray, own: NDArray[np.integer]) -> FloatArray:
    """Best other class's score less that of the own label, ``(n,)``."""
    at = np.arange(len(own))
    others = scores.astype(np.float64)
    mine = others[at, own].copy()
    others[at, own] = -np.inf
    lead: FloatArray = others.max(axis=1, initial=-np.inf) - mine
    return lead


def _counted(where: IntArray, looks: IntArray, own: NDArray[np.integer], bins: int, classes: int) -> Counts:
    size, wrong = np.bincount(where, minlength=bins), looks != own
    table = bins * classes
    into = np.bincount(where[wrong] * classes + own[wrong], minlength=table).reshape(bins, classes)
    look = np.bincount(where * classes + looks, minlength=table).reshape(bins, classes)
    return Counts(size, np.bincount(where[wrong], minlength=bins), size[:, None] - look, into)
