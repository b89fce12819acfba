"""Robust or non-robust directions: where in a view the mean moved, along its strong axes or along its weak ones.

Question: a joint test has rejected; does the shift follow the directions in which the data itself varies, as natural
shifts do, or the ones in which it hardly does, which predict but are not robust, as perturbations do?
Statistic: share of the whitened mean-shift energy sum_j d_j^2 / v_j beyond the strong axes. Axes are the principal ones
of half of the reference's runs, v_j the variance along them of the other half (so that no axis owes its small variance
to the rows it was chosen from); strong are the fewest axes with 80 % of the variance. Strata have the window's weights.
Null law (or calibration): noise adds Var(d_j) / v_j to each d_j^2, which without drift makes the share (d - k) / d; it
is measured between runs, which keep what dependence there is, and taken off: the energies are unbiased. Interval:
Fieller's for the ratio, 4 d'ACAd for the variance of a quadratic form d'Ad (above the delta method's by the noise term,
hence wide when the drift is small). Without an energy that is itself beyond its interval, the share is not established.
What to compare with: a shift in a direction drawn like the data's own variation has a share of law
Beta((d - k) / 2, k / 2), mean (d - k) / d. Natural: the whole interval is below that mean. Perturbation-like: the whole
interval is above 95 % of that law. Otherwise mixed.
Sees / blind to: the mean of the view only, and of an embedding only the axes that the encoder keeps. A perturbation
without a mean (random signs, another direction for every row), or one that was confined to strong directions, is not
told; a harmless change of the pipeline (noise, another codec) is perturbation-like too, and so is data of another kind.
Cost: an eigendecomposition (d, d) and O(m d^2) once (20,000 rows of 256 dimensions: .5 s), O(d (n + m)) and
O(runs d^2) a finding (.3 s); only after an alarm.
Source: Ilyas et al. 2019 and Engstrom et al. 2019 (features, not bugs); Hendrycks and Gimpel 2016; Fieller 1954;
failures.md 2.2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.types import CodeArray, FloatArray, IntArray, Sample, View

STRONG = 0.8
"""Share of the variance that the strong axes have together."""
DATA_LIKE = 0.95
"""Quantile of the share of shifts that are like the data's own variation."""
FEWEST_RUNS = 8
"""Runs a side, at least: their spread is the noise."""
_Z = 1.959963984540054
_TILE = 4096
_FLAT = 1e-6
"""An axis with less than this share of the first one's variance is noise of the arithmetic."""

NATURAL, PERTURBATION, MIXED, NOT_ESTABLISHED = "natural", "perturbation-like", "mixed", "not established"


class RobustFixed(NamedTuple):
    """A view's axes ``(d, r)`` in units of their deviations, falling; ``strong ()`` of them are the strong ones."""

    axes: FloatArray
    strong: IntArray


class RobustShare(NamedTuple):
    """The share of the energy along weak axes with its 95 % interval, and what it says.

    ``energy`` is the squared whitened length of the shift, without noise. ``expected`` is the share of a shift that is
    like the data's own variation, ``most`` what 95 % of such shifts stay below; ``strong`` of ``axes`` axes are strong.
    Share and interval are NaN where ``character`` is `NOT_ESTABLISHED`.
    """

    share: float
    low: float
    high: float
    energy: float
    expected: float
    most: float
    strong: int
    axes: int
    character: str

    @property
    def sentence(self) -> str:
        """For a person."""
        if self.character == NOT_ESTABLISHED:
            return (
                "Whether it moved along strong or weak directions is not established: too little mean shift for that."
            )
        directions = f"{self.axes - self.strong} of {self.axes} directions that carry the least variance"
        share = (
            f"{self.share:.0%} ({self.low:.0%} to {self.high:.0%}) of the mean shift's energy lies in the {directions}"
        )
        like = f"a shift like the data's own variation has {self.expected:.0%}, hardly more than {self.most:.0%}"
        return f"{share}; {like}. {_SAYS[self.character]}"


_SAYS = {
    NATURAL: "It moved along the strong directions, as natural shifts do.",
    PERTURBATION: "It moved along the weak directions, as perturbations do: noise, another pipeline, or an attack.",
    MIXED: "It moved along both strong and weak directions.",
}


def fit(view: View) -> RobustFixed:
    """Measure a view's axes; none if it has too few runs or does not vary."""
    parts = _parts(view.sample)
    odd = np.unique(parts.run, return_inverse=True)[1] % 2 == 1
    halves = [np.isin(view.sample.run, parts.run[half]) for half in (odd, ~odd)]
    d = view.sample.rows.shape[1]
    if min(int(half.sum()) for half in halves) <= d:
        return RobustFixed(np.zeros((d, 0)), np.array(0))
    one, other = (_covariance(view.sample, half) for half in halves)
    axes = np.linalg.eigh(one)[1]
    variance = np.einsum("dr,de,er->r", axes, other, axes, optimize=True)
    order = np.argsort(-variance, kind="stable")
    order = order[variance[order] > _FLAT * variance.max(initial=0.0)]
    carried = np.cumsum(variance[order])
    strong = np.searchsorted(carried, STRONG * carried[-1]) + 1 if len(order) else 0
    return RobustFixed(axes[:, order] / np.sqrt(variance[order]), np.array(strong, np.int64))


def robust_share(fixed: RobustFixed, view: View, sample: Sample) -> RobustShare:
    """Where the window's mean moved; ``sample`` is a window of the view's encoded rows."""
    r, k = fixed.axes.shape[1], int(fixed.strong)
    base = (r, k, *_law(r, k))
    shift, noise = _shift(fixed, view, sample)
    if r in (0, k) or not len(shift):
        return _unknown(math.nan, *base)
    excess = shift**2 - np.diag(noise)
    whole, weak = float(excess.sum()), float(excess[k:].sum())
    after = np.where(np.arange(r) >= k, shift, 0.0)
    spread = 4 * np.array([[a @ noise @ b for b in (after, shift)] for a in (after, shift)])
    if not whole > _Z * math.sqrt(spread[1, 1]):
        return _unknown(whole, *base)
    low, high = _fieller(weak, whole, spread)
    return RobustShare(
        min(max(weak / whole, 0.0), 1.0), low, high, whole, base[2], base[3], k, r, _character(low, high, *base[2:])
    )


def _character(low: float, high: float, expected: float, most: float) -> str:
    if high < expected:
        return NATURAL
    return PERTURBATION if low > most else MIXED


def _law(axes: int, strong: int) -> tuple[float, float]:
    """Mean and upper quantile of the share of a shift in a direction drawn like the data's own variation."""
    weak = axes - strong
    if not 0 < weak < axes:
        return math.nan, math.nan
    return weak / axes, float(special.betaincinv(weak / 2, strong / 2, DATA_LIKE))


def _unknown(energy: float, axes: int, strong: int, expected: float, most: float) -> RobustShare:
    nan = math.nan
    return RobustShare(nan, nan, nan, energy, expected, most, strong, axes, NOT_ESTABLISHED)


def _fieller(weak: float, whole: float, spread: FloatArray) -> tuple[float, float]:
    """All s in [0, 1] for which weak - s * whole is within 1.96 of its standard errors of 0."""
    (first, both), (_, second) = (_Z**2 * spread).tolist()
    a, b, c = whole**2 - second, weak * whole - both, weak**2 - first
    half = math.sqrt(max(b**2 - a * c, 0.0))
    return min(max((b - half) / a, 0.0), 1.0), min(max((b + half) / a, 0.0), 1.0)


def _shift(fixed: RobustFixed, view: View, sample: Sample) -> tuple[FloatArray, FloatArray]:
    """Difference of the whitened means ``(r,)`` at the window's mix of strata, and its covariance ``(r, r)``.

    Nothing where either side has too few runs in the strata that both have.
    """
    shared = np.intersect1d(sample.strata, view.sample.strata)
    window, reference = (_parts(one, shared) for one in (sample, view.sample))
    if min(len(np.unique(one.run)) for one in (window, reference)) < FEWEST_RUNS:
        return np.zeros(0), np.zeros((0, 0))
    mix = np.bincount(window.stratum, window.rows)
    means, noise = [], []
    for one in (window, reference):
        weight = (mix / mix.sum() / np.maximum(np.bincount(one.stratum, one.rows), 1.0))[one.stratum, None]
        means.append((weight * one.sums).sum(axis=0) @ fixed.axes)
        errors = _by_run(one, weight * (one.sums - one.rows[:, None] * _means(one))) @ fixed.axes
        noise.append(errors.T @ errors * len(errors) / (len(errors) - 1))
    return means[0] - means[1], noise[0] + noise[1]


class _Parts(NamedTuple):
    """Rows of one run and one stratum added up: ``sums (g, d)``, their number ``rows (g,)``, sorted by ``run (g,)``."""

    sums: FloatArray
    rows: FloatArray
    run: IntArray
    stratum: CodeArray


def _parts(sample: Sample, strata: CodeArray | None = None) -> _Parts:
    """A sample in parts; only those of ``strata``, if given, and of known strata."""
    order = np.lexsort((sample.strata, sample.run))
    keep = sample.strata[order] >= 0
    order = order[keep if strata is None else keep & np.isin(sample.strata[order], strata)]
    run, stratum = sample.run[order], sample.strata[order]
    starts = np.flatnonzero((np.diff(run, prepend=-1) != 0) | (np.diff(stratum, prepend=-1) != 0))
    if not len(starts):
        return _Parts(np.zeros((0, sample.rows.shape[1])), np.zeros(0), run, stratum)
    sums = np.add.reduceat(sample.rows[order], starts, axis=0, dtype=np.float64)
    return _Parts(sums, np.diff(starts, append=len(order)).astype(np.float64), run[starts], stratum[starts])


def _means(parts: _Parts) -> FloatArray:
    """Mean of each part's stratum ``(g, d)``."""
    means = np.zeros((int(parts.stratum.max(initial=0)) + 1, parts.sums.shape[1]))
    np.add.at(means, parts.stratum, parts.sums)
    means /= np.maximum(np.bincount(parts.stratum, parts.rows, len(means)), 1.0)[:, None]
    every: FloatArray = means[parts.stratum]
    return every


def _by_run(parts: _Parts, values: FloatArray) -> FloatArray:
    """Values of the parts ``(g, d)`` added up to runs."""
    added: FloatArray = np.add.reduceat(values, np.flatnonzero(np.diff(parts.run, prepend=-1)), axis=0)
    return added


def _covariance(sample: Sample, chosen: NDArray[np.bool_]) -> FloatArray:
    """Covariance ``(d, d)`` of the chosen rows around the means of their strata, a few thousand rows at a time."""
    chosen = chosen & (sample.strata >= 0)
    rows = sample.rows[chosen]
    parts = _parts(Sample(rows, sample.run[chosen], sample.strata[chosen]))
    total = np.zeros((rows.shape[1],) * 2)
    for start in range(0, len(rows), _TILE):
        some = rows[start : start + _TILE].astype(np.float64)
        total += some.T @ some
    total -= (parts.sums.T @ _means(parts) + _means(parts).T @ parts.sums) / 2
    covariance: FloatArray = total / max(len(rows), 1)
    return covariance
