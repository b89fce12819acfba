"""A sender unlike the fleet (H16a-d): classes, margins, oddness and places of its rows, one window at a time.

Question: H0: the client's window is drawn like those of the fleet, clients differing from each other as they do anyway.
Statistic: for each block of counts D = sum (p - q)^2 / q, q being all others' (each with the weight of at most 256
rows), over its expectation 1/n + 1/N + tau^2: clients are different, and tau^2 is how much the median one is; n counts
as 256 at most, since of longer windows most peers do not show how much clients differ.
Null law: chi-square, whose degrees of freedom are lowered until its 90 % point lies where the peers' does; and plain
chi-square against the reference's own counts: a client must be unlike both, so that a drift of the whole fleet is
nobody's fault, nor is the rest of the fleet to blame where one client is most of it. Bonferroni over blocks. Rows of a
client that depend on each other make it differ more: near-duplicates do not count. At least 8 peers.
Sees / blind to: whoever asks other things, or gets other answers, than the others do; blind to queries drawn from the
fleet's own law, to what stands out only jointly, and to an attacker that is more than half of the peers.
Cost: a few passes over the peers' counts (1,000 at most) when a window is full. Source: failures.md 3.4 (H16 a-d);
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


def others(counts: FloatArray) -> Fleet:
    """The fleet without each client, from ``counts (c, b)``."""
    n = counts.sum(axis=1)
    peer = n >= LEAST_ROWS
    weight = np.where(peer, np.minimum(n, _MOST_WEIGHT), 0.0)
    p = counts / np.maximum(n, 1.0)[:, None]
    left = np.maximum(weight.sum() - weight, 1e-9)
    share = np.maximum((weight @ p - weight[:, None] * p) / left[:, None], 0.0)
    sampling = weight**2 / np.maximum(n, 1.0)
    variance = 1 / np.clip(n, 1.0, _MOST_WEIGHT) + (sampling.sum() - sampling) / left**2
    return Fleet(share, variance, 1 + ((weight**2).sum() - weight**2) / left**2)


def unlike(counts: FloatArray, reference: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Log p ``(c,)`` of being like the fleet, or like the reference, and D ``(c,)``; NaN with too few rows or peers.

    ``counts (c, b)`` of all clients, ``reference (b,)`` of the held-out reference.
    """
    nothing = np.full(len(counts), np.nan)
    judged = counts.sum(axis=1) >= LEAST_ROWS
    if judged.sum() < LEAST_PEERS + 1 or counts.shape[1] < 2:
        return nothing, nothing
    counts = counts[judged]
    fleet = others(counts)
    distance, expected = _distance(counts, fleet.share)
    ratio = _relative(distance, expected, fleet)
    degrees = np.maximum(expected, 1.0)
    log_p = _tail(ratio, degrees)
    if reference.sum() > 0:
        far, base = _distance(counts, reference[None] / reference.sum())
        spread = 1 / counts.sum(axis=1) + 1 / reference.sum()
        log_p = np.maximum(log_p, tails.chi2(far / spread, np.maximum(base, 1.0)))
    out, apart = nothing.copy(), nothing.copy()
    out[judged], apart[judged] = log_p, distance
    return out, apart


def _distance(counts: FloatArray, share: FloatArray) -> tuple[FloatArray, FloatArray]:
    """D ``(c,)``, and what it is on average, in units of the variance of one row's share."""
    p = counts / counts.sum(axis=1, keepdims=True)
    smooth = (1 - _SMOOTH) * share + _SMOOTH / share.shape[1]
    likely = (1 - _RARE) * share + _RARE / share.shape[1]
    return ((p - share) ** 2 / smooth).sum(axis=1), (likely * (1 - likely) / smooth).sum(axis=1)


def _relative(distance: FloatArray, expected: FloatArray, fleet: Fleet) -> FloatArray:
    """D over its expectation, what clients differ by anyway included: its median is that of a chi-square law."""
    typical = _median(np.maximum(expected, 1.0))
    seen = distance / (np.maximum(expected, 1e-9) * typical)
    tau = max(float(np.median((seen - fleet.variance) / fleet.factor)), 0.0)
    ratio: FloatArray = distance / (np.maximum(expected, 1e-9) * (fleet.variance + tau * fleet.factor))
    return ratio


def _tail(ratio: FloatArray, degrees: FloatArray) -> FloatArray:
    """Chi-square tail with as few degrees of freedom as the peers' 90 % point asks for."""
    fewer = _LOW_DEGREES
    if len(ratio) >= _MANY_PEERS:
        grid = 2.0 ** np.arange(0.0, 9.0)
        spread = special.chdtri(grid, 0.1) / special.chdtri(grid, 0.5)
        middle, high = np.quantile(ratio, [0.5, 0.9])
        fits = grid[spread >= high / max(middle, 1e-9)]
        fewer = float(fits[-1]) if len(fits) else 1.0
    fewer_of = np.minimum(degrees, fewer)
    scale = np.minimum(_median(fewer_of) / _median(degrees), 1.0)
    return tails.chi2(fewer_of * ratio * scale, np.maximum(fewer_of, 1.0))


def _median(degrees: FloatArray) -> FloatArray:
    """Median of a chi-square law over its mean."""
    median: FloatArray = special.chdtri(degrees, 0.5) / degrees
    return median
