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
Cost: an eigendecomposition (d, d) and O(m d^2) once, O((n + m) d^2) a finding; only after an alarm.
Source: Ilyas et al. 2019 and Engstrom et al. 2019 (features, not bugs); Hendrycks and Gimpel 2016; Fieller 1954;
failures.md 2.2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy import special

from detectors.types import CodeArray, FloatArray, IntArray, Sample, SingleArray, View

STRONG = 0.8
"""Share of the variance that the strong axes have together."""
DATA_LIKE = 0.95
"""Quantile of the share of shifts that are like the data's own variation."""
FEWEST_RUNS = 8
"""Runs a side, at least: their spread is the noise."""
_Z = 1.959963984540054
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
    odd = view.sample.run % 2 == 1
    d = view.sample.rows.shape[1]
    if odd.sum() <= d or (~odd).sum() <= d:
        return RobustFixed(np.zeros((d, 0)), np.array(0))
    rows = _residuals(view.sample)
    axes = np.linalg.eigh(np.cov(rows[odd].T).reshape(d, d))[1]
    variance = (rows[~odd] @ axes).var(axis=0)
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
    z = _Z**2
    a, b, c = whole**2 - z * spread[1, 1], weak * whole - z * spread[0, 1], weak**2 - z * spread[0, 0]
    half = math.sqrt(max(b**2 - a * c, 0.0))
    return min(max((b - half) / a, 0.0), 1.0), min(max((b + half) / a, 0.0), 1.0)


def _shift(fixed: RobustFixed, view: View, sample: Sample) -> tuple[FloatArray, FloatArray]:
    """Difference of the whitened means ``(r,)`` at the window's mix of strata, and its covariance ``(r, r)``.

    Nothing where either side has too few runs in the strata that both have.
    """
    shared = np.intersect1d(sample.strata, view.sample.strata)
    window, reference = _within(sample, shared), _within(view.sample, shared)
    if min(_runs(window.run), _runs(reference.run)) < FEWEST_RUNS:
        return np.zeros(0), np.zeros((0, 0))
    mix, there = (np.bincount(one.strata, minlength=int(shared.max()) + 1) for one in (window, reference))
    weight = mix[reference.strata] / len(window.rows) / there[reference.strata]
    parts = _parts(window, np.full(len(window.rows), 1 / len(window.rows))), _parts(reference, weight)
    shift = (_mean(window.rows) - weight @ reference.rows.astype(np.float64)) @ fixed.axes
    noise = sum((one @ fixed.axes).T @ (one @ fixed.axes) * len(one) / (len(one) - 1) for one in parts)
    return shift, np.asarray(noise)


def _parts(sample: Sample, weight: FloatArray) -> FloatArray:
    """What each run adds to the error of the weighted mean ``(runs, d)``."""
    starts = np.flatnonzero(np.diff(sample.run, prepend=sample.run[0] - 1))
    return np.add.reduceat(_residuals(sample) * weight[:, None], starts, axis=0)


def _residuals(sample: Sample) -> FloatArray:
    """Rows less the mean of their stratum, ``(n, d)``."""
    rows = sample.rows.astype(np.float64)
    for stratum in np.unique(sample.strata):
        mine = sample.strata == stratum
        rows[mine] -= rows[mine].mean(axis=0)
    return rows


def _within(sample: Sample, strata: CodeArray) -> Sample:
    """Rows in known strata that are among ``strata``."""
    mine = np.isin(sample.strata, strata) & (sample.strata >= 0)
    return Sample(sample.rows[mine], sample.run[mine], sample.strata[mine])


def _runs(run: IntArray) -> int:
    return len(np.unique(run))


def _mean(rows: SingleArray) -> FloatArray:
    mean: FloatArray = rows.mean(axis=0, dtype=np.float64)
    return mean
