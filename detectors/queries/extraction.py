"""Copying the model, inverting it, using it for something else: a client's window as a whole (H16, H13).

Question: H0 (extraction): at most one of coverage, classes and margins of the client is unlike the fleet's.
Statistic: coverage is how many of the 256 cells n rows visit (of more than 256 rows: any 256 of them, by rarefaction),
less what as many from all others' cells do, standardised, centred and scaled by median and deviations of the peers;
classes and margins as in `detectors.queries.client_shift`. Two of the three must be unlike: 2 p_(2).
Coverage growth alone is one-sided (more cells than the fleet). Confidence ascent: correlation with the order of rows of
confidence and of oddness, both rising by more than 0.5: model inversion climbs away from the data.
Null law: Student's with as many degrees of freedom as peers for coverage; for the correlation of confidence
Student's, too, with those of so many independent rows as tell as much, and none where it may be a random walk: what a
sensor sees wanders, and wandering looks like a trend (autocorrelation from von Neumann's ratio). Once a window.
Sees / blind to: synthetic, foreign and uncertainty-led queries; blind to natural queries in the fleet's proportions, to
an attacker whose windows are half ordinary, and to names with fewer rows than a window.
Cost: 256 powers and logarithms of gammas a peer when a window is full. Source: failures.md 3.4 (H16 e),
3.3 (H13); Orekondy et al. 2019; Benjamini and Heller 2008; Hurlbert 1971; Bartlett 1935, Dickey and Fuller
1979 (wandering).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.queries.client_shift import LEAST_PEERS, LEAST_ROWS, others
from detectors.types import FloatArray, IntArray

_LEAST_RISE = 0.5
_RAREFIED = 256.0
"""Rows at which coverage is compared: clients differ the more, the more rows they have."""
_LEAST_TREND = 30
_LEAST_DEGREES = 0.5
_WANDERS = 29.5
"""Below this n (1 - autocorrelation about the trend) may be a random walk's (Dickey and Fuller 1979, trend, 1 %)."""
_FLOOR = 1e-300
ODD, EFFECTIVE, FLIPS = 0.5, 2.0, 0.2
"""Reprogramming-like: over half of the rows among the oddest sixteenth, two effective classes, a fifth of flips."""


class Coverage(NamedTuple):
    """Cells visited and expected ``(c,)``, and log p of both sides and of the upper one ``(c,)``; NaN: not judged."""

    visited: FloatArray
    expected: FloatArray
    log_p: FloatArray
    log_p_more: FloatArray


def coverage(cells: FloatArray, standing: FloatArray) -> Coverage:
    """Judge the growth of coverage of all clients at once, from counts by cell ``(c, 256)``.

    ``cells`` are judged, ``standing`` says what the clients are like.
    """
    n, rows = cells.sum(axis=1), standing.sum(axis=1)
    judged, peers = n >= LEAST_ROWS, rows >= LEAST_ROWS
    visited = _rarefied(cells, n, np.minimum(n, _RAREFIED))
    expected, log_p, more = (np.full(len(n), np.nan) for _ in range(3))
    if peers.sum() < LEAST_PEERS + 1 or not judged.any():
        return Coverage(visited, expected, log_p, more)
    usual, _ = _growth(standing, standing)
    middle = float(np.median(usual[peers]))
    scale = max(1.4826 * float(np.median(np.abs(usual[peers] - middle))), 1.0)
    grown, known = _growth(cells, standing)
    z, expected[judged] = (grown[judged] - middle) / scale, known[judged]
    degrees = int(peers.sum()) - 1
    log_p[judged] = np.minimum(np.log(2.0) + _student(-np.abs(z), degrees), 0.0)
    more[judged] = _student(-z, degrees)
    return Coverage(visited, expected, log_p, more)


def _growth(cells: FloatArray, standing: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cells visited less those expected of all others, over the deviation, and those expected, ``(c,)`` each."""
    n = cells.sum(axis=1)
    size = np.minimum(n, _RAREFIED)
    missed = np.exp(size[:, None] * np.log1p(-np.minimum(others(standing, n).share, 1 - 1e-12)))
    expected = (1 - missed).sum(axis=1)
    spread = np.sqrt(np.maximum((missed * (1 - missed)).sum(axis=1), 1.0))
    return (_rarefied(cells, n, size) - expected) / spread, expected


def _rarefied(cells: FloatArray, n: FloatArray, size: FloatArray) -> FloatArray:
    """Cells that ``size (c,)`` of the ``n (c,)`` rows visit on average (Hurlbert 1971)."""
    left = n[:, None] - cells
    some = left >= size[:, None]
    log_missed = special.gammaln(left + 1) - special.gammaln(np.where(some, left - size[:, None], 0.0) + 1)
    log_missed += (special.gammaln(n - size + 1) - special.gammaln(n + 1))[:, None]
    missed = np.where(some, np.exp(np.minimum(log_missed, 0.0)), 0.0)
    visited: FloatArray = (1 - missed).sum(axis=1)
    return visited


def _student(z: FloatArray, degrees: int | FloatArray) -> FloatArray:
    tail: FloatArray = np.log(np.maximum(special.stdtr(degrees, z), _FLOOR))
    return tail


def two_of_three(log_p: FloatArray) -> FloatArray:
    """Log p of "at most one null of the three is wrong", from ``(c, 3)``; NaN where fewer than two are known."""
    second = np.sort(np.where(np.isnan(log_p), 0.0, log_p), axis=1)[:, 1]
    known = (~np.isnan(log_p)).sum(axis=1) >= 2
    return np.where(known, np.minimum(np.log(2.0) + second, 0.0), np.nan)


def ascent(trend: FloatArray, rows: IntArray) -> tuple[FloatArray, FloatArray]:
    """Correlations with the order ``(c, 2)`` of confidence and oddness; log p ``(c,)`` of confidence's, if both rise.

    ``trend (c, 2, 6)`` are the `profile.SUMS`, ``rows (c,)`` all rows of the window.
    """
    total, square, product, known, _, steps = np.moveaxis(trend, 2, 0)
    n = np.maximum(rows.astype(np.float64), 2.0)[:, None]
    whole = (known == rows[:, None]) & (n >= _LEAST_TREND)
    slope = product / n - total / n * (n - 1) / 2
    variance = np.maximum(square / n - (total / n) ** 2, 0.0)
    spread = np.sqrt(variance * (n**2 - 1) / 12)
    r = np.divide(slope, spread, out=np.zeros_like(slope), where=whole & (spread > 1e-9))
    r = np.clip(r, -1 + 1e-9, 1 - 1e-9)
    follows = np.clip(1 - steps / np.maximum(2 * n * variance * (1 - r**2), 1e-300), 0.0, 1.0)
    degrees = np.maximum(n * (1 - follows) / (1 + follows) - 2, _LEAST_DEGREES)
    log_p = np.where(n * (1 - follows) < _WANDERS, 0.0, _student(-r * np.sqrt(degrees / (1 - r**2)), degrees))[:, 0]
    rising = whole.all(axis=1) & (r >= _LEAST_RISE).all(axis=1)
    return np.where(whole, r, np.nan), np.where(rising, log_p, np.where(whole.all(axis=1), 0.0, np.nan))


def effective(counts: FloatArray) -> FloatArray:
    """Exponential of the entropy of counts ``(c, b)``: how many classes or places are really used."""
    p = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    found: FloatArray = np.exp(special.entr(p).sum(axis=1))
    return found


def reprogramming_like(tally: dict[str, FloatArray], classes: FloatArray, known: int) -> NDArray[np.bool_]:
    """Foreign inputs, much alike, whose answers jump between a few of many classes; ``(c,)`` each."""
    rows, near = np.maximum(tally["rows"], 1.0), np.maximum(tally["near"], 1.0)
    few = (classes >= EFFECTIVE - 0.5) & (classes <= known / 2)
    like: NDArray[np.bool_] = (tally["odd"] / rows > ODD) & (tally["flips"] / near > FLIPS) & few
    return like & (tally["near"] / rows > FLIPS)
