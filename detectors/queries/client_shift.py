"""A sender unlike the fleet (H16a-d): classes, margins, oddness and places of its rows, one window at a time.

Question: H0: the client's window is drawn like those of the fleet, clients differing from each other as they do anyway.
Statistic: for each block of counts D = sum (p - q)^2 / q, q being all others' (each with the weight of at most 256
rows), over its expectation 1/n + 1/N + tau^2: clients are different, and tau^2 is how much the median one is; n counts
as 256 at most, since of longer windows most peers do not show how much clients differ.
Null law: F, with as many degrees of freedom below as peers, and so few above that its 90 % point lies where the peers'
does: clients are no sample of a normal law, and their number is all that speaks for its tail. And plain chi-square
against the reference's own counts: a client must be unlike both, so that a drift of the whole fleet is nobody's fault,
nor is the rest of the fleet to blame where one client is most of it. Bonferroni over blocks. Rows of a client that
depend on each other make it differ more: near-duplicates do not count. At least 8 peers, of their last two windows.
Sees / blind to: whoever asks other things, or gets other answers, than the others do; blind to queries drawn from the
fleet's own law, to what stands out only jointly, and to an attacker that is more than half of the peers.
Cost: a few passes over the peers' counts (500 at most) when a window is full. Source: failures.md 3.4 (H16 a-d);
DerSimonian and Laird 1986 (tau^2). Counts over cells and bins stand for the MMD of H16a: no row is kept.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.maths import tails
from detectors.queries.profile import GROUPS, ProfileFixed
from detectors.types import FloatArray

BLOCKS = ("classes", "margins", "oddness", "places")
LEAST_PEERS = 8
LEAST_ROWS = 64
"""A window with fewer rows that are no near-duplicates is neither judged nor anybody's peer."""
_MOST_WEIGHT = 256.0
_MANY_PEERS = 20
_LOW_DEGREES = 2.0
_SMOOTH = 0.05
_RARE = 0.01
"""Share of rows that may fall anywhere, in the denominator of D and in its expectation."""


class Fleet(NamedTuple):
    """All others' shares ``(c, b)``; the variance of sampling and the factor of tau^2 ``(c,)``."""

    share: FloatArray
    variance: FloatArray
    factor: FloatArray


def blocks_of(fixed: ProfileFixed, counts: FloatArray) -> list[FloatArray]:
    """The four blocks of ``counts (c, b)``, cells put together to groups."""
    parts = [counts[:, a:b] for a, b in zip(fixed.blocks[:-1], fixed.blocks[1:], strict=True)]
    parts[3] = grouped(fixed, parts[3])
    return parts


def grouped(fixed: ProfileFixed, cells: FloatArray) -> FloatArray:
    """Counts by group of cells ``(c, 32)``."""
    member = np.zeros((cells.shape[1], GROUPS))
    member[np.arange(len(fixed.group)), fixed.group] = 1.0
    return cells @ member


def others(standing: FloatArray, n: FloatArray) -> Fleet:
    """The fleet without each client, from ``standing (c, b)``, for windows of ``n (c,)`` rows."""
    rows = standing.sum(axis=1)
    weight = np.where(rows >= LEAST_ROWS, np.minimum(rows, _MOST_WEIGHT), 0.0)
    p = standing / np.maximum(rows, 1.0)[:, None]
    left = np.maximum(weight.sum() - weight, 1e-9)
    share = np.maximum((weight @ p - weight[:, None] * p) / left[:, None], 0.0)
    sampling = weight**2 / np.maximum(rows, 1.0)
    variance = 1 / np.clip(n, 1.0, _MOST_WEIGHT) + (sampling.sum() - sampling) / left**2
    return Fleet(share, variance, 1 + ((weight**2).sum() - weight**2) / left**2)


def unlike(counts: FloatArray, standing: FloatArray, reference: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log p ``(c,)`` of being like the fleet, or like the reference, and D ``(c,)``; NaN with too few rows or peers.

    ``counts (c, b)`` are judged; ``standing (c, b)`` says what the clients are like, ``reference (b,)`` what its
    held-out rows are.
    """
    log_p, apart = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    n, rows = counts.sum(axis=1), standing.sum(axis=1)
    judged, peers = n >= LEAST_ROWS, rows >= LEAST_ROWS
    if peers.sum() < LEAST_PEERS + 1 or counts.shape[1] < 2 or not judged.any():
        return log_p, apart
    law = _law(standing[peers], others(standing[peers], rows[peers]))
    fleet = Fleet._make(part[judged] for part in others(standing, n))
    apart[judged], expected = _distance(counts[judged], fleet.share)
    ratio = apart[judged] / (np.maximum(expected, 1e-9) * (fleet.variance + law.between * fleet.factor))
    log_p[judged] = np.maximum(_tail(ratio, expected, law), _against(counts[judged], reference))
    return log_p, apart


class _Law(NamedTuple):
    """How peers differ: tau^2, the degrees of freedom that their 90 % point asks for, and how many told of both."""

    between: float
    degrees: float
    peers: int


def _law(standing: FloatArray, fleet: Fleet) -> _Law:
    """Measured so that the median peer's ratio is that of a chi-square law."""
    distance, expected = _distance(standing, fleet.share)
    expected = np.maximum(expected, 1e-9)
    seen = distance / (expected * _median(np.maximum(expected, 1.0)))
    between = max(float(np.median((seen - fleet.variance) / fleet.factor)), 0.0)
    if len(distance) < _MANY_PEERS:
        return _Law(between, _LOW_DEGREES, len(distance))
    grid = 2.0 ** np.arange(0.0, 9.0)
    spread = special.chdtri(grid, 0.1) / special.chdtri(grid, 0.5)
    middle, high = np.quantile(distance / (expected * (fleet.variance + between * fleet.factor)), [0.5, 0.9])
    fits = grid[spread >= high / max(middle, 1e-9)]
    return _Law(between, float(fits[-1]) if len(fits) else 1.0, len(distance))


def _against(counts: FloatArray, reference: FloatArray) -> FloatArray:
    """Log p of being drawn from the reference's shares; certain to be unlike it where there are none."""
    if reference.sum() == 0:
        return np.full(len(counts), -np.inf)
    far, expected = _distance(counts, reference[None] / reference.sum())
    return tails.chi2(far / (1 / counts.sum(axis=1) + 1 / reference.sum()), np.maximum(expected, 1.0))


def _distance(counts: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """D ``(c,)``, and what it is on average, in units of the variance of one row's share."""
    p = counts / counts.sum(axis=1, keepdims=True)
    smooth = (1 - _SMOOTH) * share + _SMOOTH / share.shape[1]
    likely = (1 - _RARE) * share + _RARE / share.shape[1]
    return ((p - share) ** 2 / smooth).sum(axis=1), (likely * (1 - likely) / smooth).sum(axis=1)


def _tail(ratio: FloatArray, expected: FloatArray, law: _Law) -> FloatArray:
    """Tail of an F law with no more degrees of freedom than the peers allow, at the same median, over the peers'."""
    degrees = np.maximum(expected, 1.0)
    above, below = np.maximum(np.minimum(degrees, law.degrees), 1.0), float(law.peers - 1)
    x = above * ratio * np.minimum(_median(above) / _median(degrees), 1.0)
    tail = special.betainc(below / 2, above / 2, below / (below + x))
    log_p: FloatArray = np.log(np.maximum(tail, 1e-300))
    return log_p


def _median(degrees: FloatArray) -> FloatArray:
    """Median of a chi-square law over its mean."""
    median: FloatArray = special.chdtri(degrees, 0.5) / degrees
    return median
