"""Change of the mix: the shares of the strata themselves, window against reference.

Question: H0: within each hour the window's rows come from the strata in the reference's shares; H1: in others.
Statistic: G = 2 sum over strata of n ln(n / (N s)) + m ln(m / (M s)), N and M the hour's rows in window and reference,
s the stratum's share of both together. Strata of fewer than five expected rows on either side are counted as one, of
all hours together: by G, or by the binomial law of how many of them lie in the window where that is less sure.
Null law: chi-square with a degree of freedom for each further stratum of an hour, and one for the rare ones; counts of
dependent rows are divided by tau. How many rows an hour has is no matter of the mix: a window of ten hours never has
the week's.
Sees / blind to: tenants, countries or versions that grow, shrink, appear or vanish; blind to what their rows say.
Cost: O(C). Source: Wilks 1938 (the G-test).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.maths import tails
from detectors.types import FloatArray, IntArray

_LEAST_EXPECTED = 5.0


class MixChange(NamedTuple):
    """The test's answer, and the strata's part in it.

    ``share`` and ``expected`` are each stratum's share of the window and what the reference lets expect in the same
    hours, ``z`` the difference in standard errors (NaN where there is nothing to compare), ``(c,)`` each.
    """

    statistic: float
    df: int
    log_p: float
    share: FloatArray
    expected: FloatArray
    z: FloatArray


def mix_change(window: IntArray, reference: IntArray, cell: IntArray | None = None, tau: float = 1.0) -> MixChange:
    """Compare the rows by stratum ``(c,)`` of window and reference; ``cell (c,)`` numbers the hours of the strata."""
    hour = np.zeros(len(window), np.int64) if cell is None else cell
    counts = np.stack([window, reference]) / tau
    total = _by(hour, counts)
    both = (total.min(axis=0) > 0)[hour]
    pooled = _share(counts.sum(axis=0), total.sum(axis=0)[hour])
    statistic, df = _g(np.where(both, counts, 0.0), np.where(both, total[:, hour] * pooled, 0.0), hour)
    ours = total[0][hour]
    expected = ours * _share(counts[1], total[1][hour])
    spread = pooled * (1 - pooled) * ours * (1 + _share(ours, total[1][hour]))
    z = np.divide(counts[0] - expected, np.sqrt(spread), out=np.full(len(hour), np.nan), where=both & (spread > 0))
    log_p = float(tails.chi2(np.array([statistic]), np.array([float(df)]))[0]) if df else 0.0
    everyone = max(counts[0].sum(), 1e-300)
    return MixChange(statistic, df, log_p, counts[0] / everyone, expected / everyone, z)


def _g(counts: FloatArray, hoped: FloatArray, hour: IntArray) -> tuple[float, int]:
    """The statistic and its degrees of freedom; observed and expected rows are ``(2, c)``."""
    often = hoped.min(axis=0) >= _LEAST_EXPECTED
    some, where = counts[:, often], hour[often]
    total = _by(where, some)
    statistic = _deviance(some, total[:, where] * _share(some.sum(axis=0), total.sum(axis=0)[where]))
    df = int(often.sum()) - len(np.unique(where))
    rest = hoped[:, ~often].sum(axis=1)
    if not (often.any() and rest.all()):
        return statistic, df
    everyone = counts.sum(axis=1)
    seen = counts[:, ~often].sum(axis=1)
    alike = _deviance(np.stack([seen, everyone - seen]), np.stack([rest, everyone - rest]))
    return statistic + min(alike, _of_binomial(float(seen[0]), float(seen.sum()), float(rest[0] / rest.sum()))), df + 1


def _of_binomial(hits: float, rows: float, chance: float) -> float:
    """The chi-square value (one degree of freedom) of a binomial count's two-sided p-value."""
    upper = special.betainc(hits, rows - hits + 1, chance) if hits > 0 else 1.0
    lower = special.betaincc(hits + 1, rows - hits, chance) if hits < rows else 1.0
    return float(special.chdtri(1, min(2 * min(upper, lower), 1.0)))


def _deviance(seen: FloatArray, hoped: FloatArray) -> float:
    return float(2 * (seen * np.log(np.divide(seen, hoped, out=np.ones_like(seen), where=seen > 0))).sum())


def _by(group: IntArray, counts: FloatArray) -> FloatArray:
    """Sums ``(2, groups)`` of counts ``(2, c)``."""
    return np.array([np.bincount(group, row) for row in counts], np.float64)


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
