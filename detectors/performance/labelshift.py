"""Label shift: classes are more or less frequent than they were, rows of each class look as they did.

Question: H0: the window's scores are a mixture of the reference's, class by class. With which shares, and does it fit?
Statistic: shares by maximum likelihood (MLLS: EM on the cells of the scores) and by inversion of the confusion matrix
(BBSE); Pearson's chi-square of coarse cells against the best mixture, and against the reference as it is.
Error: inverse information of the shares, with the reference's own error in how a class looks (delta method, sandwich).
Null law: chi-square with cells - classes degrees of freedom, both samples' errors in the denominator.
Sees / blind to: the test sees mixtures of scores only. A shift of inputs that happens to move scores as a change of the
classes would is taken for one; small windows reject nothing.
Cost: O(cells x classes) a step of EM, whatever the number of rows.
Source: Saerens, Latinne and Decaestecker 2002 (EM); Alexandari, Kundaje and Shrikumar 2020 (MLLS); Lipton, Wang and
Smola 2018 (BBSE); methods.md section 5 (switch).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy import linalg

from detectors.maths import tails
from detectors.performance.calibrate import SURE, Known, Scale, Tally
from detectors.types import FloatArray, IntArray

COARSE: Final = 20
"""Bins of the score that fit is judged on, for two classes."""
LEAST_WORTH: Final = 0.2
"""With less, shares are told by so little that any shift of the scores can be taken for one of the classes."""
LEVEL: Final = 0.01
"""A law of the scores is rejected below this p."""
_EXPECTED: Final = 5.0
_STEPS: Final = 500
_CLOSE: Final = 1e-8
_LEAST: Final = 1e-6


class Looks(NamedTuple):
    """How classes look: ``ratio (k, J)`` P(class | cell) / P(class), ``mass (J,)`` reference rows, ``prior (k,)``.

    ``rows (k,)`` are the reference's by class, ``given (k, J)`` also by cell; ``coarse (J,)`` is the cell of the test.
    """

    ratio: FloatArray
    mass: FloatArray
    prior: FloatArray
    rows: FloatArray
    coarse: IntArray
    given: FloatArray


class Shift(NamedTuple):
    """Shares of the classes ``share (k,)`` with their ``covariance (k, k)``; log p of both laws.

    ``worth`` is how much a scored row says of the shares, relative to a labelled one: 1 if the model is never wrong.
    """

    share: FloatArray
    covariance: FloatArray
    worth: float
    log_p_none: float
    log_p_label: float


def verdict(log_p_none: float, log_p_label: float) -> str:
    """The simplest law that is not rejected: "none", "label", else "covariate"; "unknown" where nothing was judged."""
    level = math.log(LEVEL)
    if math.isnan(log_p_none):
        return "unknown"
    return "none" if log_p_none >= level else "label" if log_p_label >= level else "covariate"


def looks(scale: Scale, known: Known) -> Looks | None:
    """What the reference says of the classes; None where it lacks one or there are too many."""
    if int(scale.classes) == 2:
        rows, hits = known.tally.rows[0].sum(axis=0).astype(np.float64), known.hits[0].sum(axis=0).astype(np.float64)
        given = np.stack([rows - hits, hits])
        p = scale.chance[0, 0]
        chance = np.stack([1 - p, p])
        order = np.cumsum(rows) - rows / 2
        coarse = np.minimum(order * COARSE / max(rows.sum(), 1.0), COARSE - 1).astype(np.int64)
    else:
        given = known.given.astype(np.float64)
        mass, prior = given.sum(axis=0), given.sum(axis=1) / max(given.sum(), 1.0)
        chance = (given + prior[:, None]) / (mass + 1)
        coarse = _merged(mass)
    size = given.sum(axis=1)
    if not len(size) or not given.shape[1] or size.min() < 1:
        return None
    prior = size / size.sum()
    return Looks(chance / prior[:, None], given.sum(axis=0), prior, size, coarse, given)


def counts(scale: Scale, tally: Tally) -> FloatArray:
    """The window's rows in the cells ``(J,)``."""
    return (tally.rows[0].sum(axis=0) if int(scale.classes) == 2 else tally.joint).astype(np.float64)


def mlls(look: Looks, rows: FloatArray, tau: float = 1.0) -> Shift:
    """Shares of the classes in a window, by maximum likelihood, and how well they explain it."""
    share, n = _mixed(look, rows), float(rows.sum())
    covariance, worth = _covariance(look, rows, share)
    none, label = (_fit(look, rows, q, lost, tau) for q, lost in ((look.prior, 1), (share, len(share))))
    return Shift(share, covariance * max(tau, 1.0), worth, none if n else np.nan, label if n else np.nan)


def bbse(look: Looks, scale: Scale, tally: Tally, known: Known) -> FloatArray:
    """Shares of the classes ``(k,)`` from the predictions alone: the confusion matrix inverted, made a law again."""
    if int(scale.classes) == 2:
        hits, rows = known.hits[0].sum(axis=1), known.tally.rows[0].sum(axis=1)
        matrix = np.stack([rows - hits, hits], axis=1) / look.rows
        said = tally.rows[0].sum(axis=1)
    else:
        matrix = known.given.reshape(len(look.prior), -1, SURE).sum(axis=2).T / look.rows
        said = tally.joint.reshape(-1, SURE).sum(axis=1)
    solved, *_ = linalg.lstsq(matrix, said / max(said.sum(), 1))
    share: FloatArray = np.maximum(np.asarray(solved), 0.0)
    return share / share.sum() if share.sum() > 0 else look.prior


class Odds(NamedTuple):
    """Shifted chances ``(P, 2, G)``, their derivative ``by_chance`` by those before and ``by_share (P, 2, k)``.

    The derivative by a share is ``by_share`` times ``chance (1 - chance)``.
    """

    chance: FloatArray
    by_chance: FloatArray
    by_share: FloatArray


def shifted(scale: Scale, known: Known, look: Looks, share: FloatArray) -> Odds:
    """Chances of the classes where these have such shares."""
    up = np.maximum(share, _LEAST) / look.prior
    own, rest = _weights(scale, known, look)
    ratio = (own @ up) / (rest @ up)
    by_share = (own / (own @ up)[..., None] - rest / (rest @ up)[..., None]) / look.prior
    p = scale.chance
    odds = p / (1 - p) * ratio[..., None]
    made = odds / (1 + odds)
    return Odds(made, made * (1 - made) / (p * (1 - p)), by_share)


def _weights(scale: Scale, known: Known, look: Looks) -> tuple[FloatArray, FloatArray]:
    """Which classes the positives and the others of a problem are, by prediction: two laws ``(P, 2, k)``."""
    k = len(look.prior)
    if int(scale.classes) == 2:
        return np.tile([0.0, 1.0], (1, 2, 1)), np.tile([1.0, 0.0], (1, 2, 1))
    confusion = known.given.reshape(k, k, SURE).sum(axis=2) + look.prior[:, None]
    other = ~np.eye(k, dtype=np.bool_)
    said = (confusion * other).T  # of those predicted c, the other classes
    unsaid = np.where(other, confusion.sum(axis=1) - confusion.T, 0.0)
    rest = np.stack([unsaid, said], axis=1)
    return np.repeat(np.eye(k)[:, None], 2, axis=1), rest / rest.sum(axis=2, keepdims=True)


def _mixed(look: Looks, rows: FloatArray) -> FloatArray:
    share, n = look.prior.copy(), float(rows.sum())
    if not n:
        return share
    for _ in range(_STEPS):
        before = share
        share = share * (look.ratio @ (rows / (share @ look.ratio))) / n
        share = share / share.sum()
        if np.abs(share - before).max() < _CLOSE:
            break
    return share


def _covariance(look: Looks, rows: FloatArray, share: FloatArray) -> tuple[FloatArray, float]:
    """Covariance of the shares on their simplex, by the window's and the reference's errors, and a row's worth."""
    n, k = float(rows.sum()), len(share)
    if not n:
        return np.full((k, k), np.nan), np.nan
    at = look.mass > 0
    g = look.ratio[:, at] * look.mass[at] / look.mass.sum()
    whole = share @ g
    by = g / whole
    flat = np.linalg.svd(np.eye(k) - 1 / k)[0][:, : k - 1]  # directions that leave the sum as it is
    known = flat.T @ (by @ g.T) @ flat
    inverse = flat @ np.linalg.pinv(known) @ flat.T
    noise = (by @ g.T) / n
    for z in range(k):
        effect = (np.arange(k) == z)[:, None] - share[z] * by
        mean = effect @ g[z]
        noise = noise + ((effect * g[z]) @ effect.T - np.outer(mean, mean)) / look.rows[z]
    out: FloatArray = inverse @ noise @ inverse
    return out, _worth(flat.T @ (np.diag(share) - np.outer(share, share)) @ flat @ known)


def _worth(told: FloatArray) -> float:
    """Harmonic mean, over the directions in which shares may move, of what a scored row tells beside a labelled one."""
    parts = np.real(np.linalg.eigvals(told))
    return float(len(parts) / (1 / parts).sum()) if len(parts) and parts.min() > 1e-9 else 0.0


def _fit(look: Looks, rows: FloatArray, share: FloatArray, lost: int, tau: float) -> float:
    """Log p that the window's rows are drawn from a mixture with such shares, ``lost`` of the cells being used up."""
    bins = int(look.coarse.max()) + 1
    seen = np.bincount(look.coarse, rows, minlength=bins)
    looked = np.stack([np.bincount(look.coarse, one, minlength=bins) for one in look.given])
    law = looked / look.rows[:, None]
    n = float(rows.sum())
    expected = n * (share @ law)
    variance = expected + n * n * (np.square(share) / look.rows) @ law
    usable = variance > 0
    lone = seen[~usable].sum()  # rows where the reference has none
    statistic = float((np.square(seen - expected)[usable] / variance[usable]).sum() + lone**2) / max(tau, 1.0)
    return float(tails.chi2(np.array(statistic), np.array(float(usable.sum() - lost))))


def _merged(mass: FloatArray) -> IntArray:
    """Coarse cells ``(J,)``: those with too few reference rows for a chi-square share one."""
    own = mass >= 2 * _EXPECTED
    return np.where(own, np.cumsum(own), 0)
