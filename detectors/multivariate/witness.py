"""Witness e-detector: the joint detector that pages, inside the budget of all the others and with their tolerance.

Question: H0: no event of the joint law has moved by more than delta. H1: the stream has left the reference, in a
direction that its past rows show.
Statistic: kernel values at L landmarks for three bandwidths, whitened on reference half A. For each of two half-lives
(with a ridge each) the direction is the decayed sum of past rows' features less what A expects of their strata,
normalised, fixed before the pane's rows are looked at. Rows of the pane and of half B are projected on it; ramps of the
projection are bet on (`ramps`): mean over half-lives, ramps and alternatives of Shiryaev-Roberts recursions.
Null law: E[R_t] <= t: mean run length >= A. The direction knows nothing of half B, so the error of B's means is that
of one function at a time: delta is the user's smallest shift plus this error's bound (rows divided by tau); evidence
is tempered by 1/tau.
Sees / blind to: any shift, marginal or joint, that moves mass above delta along a direction that some hundred rows
show; blind to one weak pair of correlated columns among many (60), to modes finer than the 5 % quantile of distances.
Cost: n L (d + 3 + 3 D) + 2 m D operations a pane, m rows of half B, D axes. State: 2 D + 100 numbers.
Source: Shekhar and Ramdas 2023 (betting with a learnt witness); Shin, Ramdas and Rinaldo 2022 (e-detectors);
methods.md 3.5. Why ramps: delays in panes at A = 10,000 for a mean shift of 0.15 deviations in 5 of 10 columns, exact
reference, tolerance 0 / 0.02 / 0.05: ramps 5.3 / 7.9 / 13.2, counts beyond four cuts (e-KS along the direction)
6.1 / 9.0 / 13.3, the projection clipped at 3 deviations of 3.5 6.6 / 11 / 88: a tolerance of mass costs a bet its
range. For one pair with rho 0.4: 9.5 / 16 / 32, 10.8 / 18 / 35 and 9.5 / 21 / never. (One
bandwidth and ridge for all three, 10 streams each, +- 10 %.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.multivariate import kernels, ramps
from detectors.multivariate.bins import half_a, half_b
from detectors.multivariate.protocol import Step
from detectors.sequential.recursion import LOG_E_CAP, R_CAP
from detectors.types import FloatArray, IntArray, Sample, SingleArray, View

HALF_LIVES = np.array([2.0, 10.0])
"""Of the directions, in panes of `PANE_ROWS` rows or more; smaller panes count for less."""
PANE_ROWS = 100.0
RIDGES = np.array([3e-3, 3e-4])
"""Of all variance of kernel values, by half-life: axes with less of it count for less. What is learnt from few rows
must be simple; the last ridge is that of the features.
"""
BANDWIDTHS = 3
"""In equal ratios from the 5 % quantile of distances to their median: modes need narrow kernels."""
FEWEST = 100
"""Rows of each half below which nothing is said."""
_LEAST = 1e-7
"""Variance of kernel values below which rows are constant: rounding."""


class WitnessFixed(NamedTuple):
    """The feature map and half B under it.

    ``landmarks (L, d + 2)`` extended for the kernel, ``centre (d,)``, ``bandwidths (j,)``, ``basis (j L, D)`` to
    whitened features, ``taming (h, D)`` of them by each half-life's ridge, ``expected (c + 1, D)`` features of half A
    by stratum, the last for rows of no known stratum; ``base (D, m)`` features of half B sorted by stratum, ``rows
    (c,)`` of each; ``tau ()``. D is 0 where the reference has too few rows or is constant.
    """

    landmarks: SingleArray
    centre: SingleArray
    bandwidths: FloatArray
    basis: SingleArray
    taming: FloatArray
    expected: FloatArray
    base: SingleArray
    rows: FloatArray
    tau: FloatArray


class WitnessState(NamedTuple):
    """What moves.

    Decayed sums ``total (h, D)``; recursions, their CUSUM and its age ``(h, k, a)``; while an alarm is open the
    direction ``held (D,)``, else 0, and the recursions of the way ``back (k, b)``.
    """

    total: FloatArray
    r: FloatArray
    cusum: FloatArray
    age: FloatArray
    held: FloatArray
    back: FloatArray


class _Pane(NamedTuple):
    """A pane along directions: ramps of its rows, what the reference says of them, the most that the null allows."""

    height: SingleArray
    about: ramps.Expected
    m0: FloatArray

    @property
    def moved(self) -> FloatArray:
        """Mass moved beyond the reference's, ``(h, k)``."""
        mean: FloatArray = self.height.mean(axis=-1, dtype=np.float64)
        return mean - self.about.mean


@dataclass(frozen=True, slots=True)
class Witness:
    """Catalogue entry; ``tolerance`` is the user's smallest shift (probability mass).

    ``known`` declares the reference exact (a law, not a sample): then only the tolerance counts. ``landmarks`` and
    ``axes`` are the sizes L and D of the feature map.
    """

    tolerance: float = 0.05
    known: bool = False
    landmarks: int = 128
    axes: int = 80
    name: str = "e_witness"
    failure_modes: tuple[str, ...] = ("distributional_shift",)

    def fit(self, view: View, rng: np.random.Generator) -> WitnessFixed:
        """Learn the map on half A, keep half B under it."""
        mine, blocks = half_a(view), half_b(view)
        theirs, learnt = blocks.rows.reshape(-1), view.sample.rows[mine]
        if min(len(mine), len(theirs)) < FEWEST:
            return _silent(view)
        bare = _map(learnt, rng, self.landmarks, self.axes, view.tau)
        if not bare.basis.shape[1]:
            return _silent(view)
        number = 1 + int(view.sample.strata.max(initial=0))
        base = _features(bare, view.sample.rows[theirs])
        rows = np.bincount(np.repeat(blocks.strata, blocks.rows.shape[1]), minlength=number)
        expected = _by_stratum(_features(bare, learnt), view.sample.strata[mine], number, view.tau)
        centred = np.ascontiguousarray((base - expected[-1].astype(np.float32)).T)
        return bare._replace(expected=expected, base=centred, rows=rows.astype(np.float64))

    def start(self, fixed: WitnessFixed) -> WitnessState:
        """Begin with no evidence and no direction."""
        axes = fixed.basis.shape[1]
        zeros = np.zeros((len(HALF_LIVES), len(ramps.QUANTILES), len(ramps.STEPS)))
        back = np.zeros((len(ramps.QUANTILES), len(ramps.BETWEEN)))
        return WitnessState(np.zeros((len(HALF_LIVES), axes)), zeros, zeros, zeros, np.zeros(axes), back)

    def score(self, fixed: WitnessFixed, state: WitnessState, fresh: Sample) -> tuple[WitnessState, Step]:
        """Take in the newest pane's rows: first bet along the directions known before, then learn from them."""
        rows = len(fresh.rows)
        if not fixed.basis.shape[1]:
            return state, Step(np.nan, np.nan, np.nan, np.nan, rows)
        if not rows:
            return state, _said(state, np.nan, 0)
        strata = _codes(fresh.strata, len(fixed.rows))
        features = _features(fixed, fresh.rows) - fixed.expected[-1].astype(np.float32)
        moved = np.nan
        if state.held.any():
            pane = self._pane(fixed, state.held[None], features, strata)
            state = _follow(fixed, state, pane)
            return state, _said(state, float(pane.moved.max()), rows)
        if state.total.any():
            pane = self._pane(fixed, _directions(fixed, state), features, strata)
            state = _bet(fixed, state, pane)
            moved = float(pane.moved.reshape(-1)[state.r.sum(axis=2).argmax()])
        return _learn(fixed, state, features, strata), _said(state, moved, rows)

    def alarmed(self, fixed: WitnessFixed, state: WitnessState) -> WitnessState:
        """Drop the evidence, hold the direction that had most of it, and watch along it for the way back."""
        return self.start(fixed)._replace(held=_leading(fixed, state))

    def recovered(self, fixed: WitnessFixed, state: WitnessState) -> WitnessState:
        """Begin anew."""
        return self.start(fixed)

    def witness(self, fixed: WitnessFixed, state: WitnessState, rows: SingleArray) -> SingleArray:
        """How much each row ``(n, d)`` looks like the shifted stream, ``(n,)``: its place along the direction."""
        if not fixed.basis.shape[1]:
            return np.zeros(len(rows), np.float32)
        direction = _leading(fixed, state).astype(np.float32)
        place: SingleArray = (_features(fixed, rows) - fixed.expected[-1].astype(np.float32)) @ direction
        return place

    def _pane(self, fixed: WitnessFixed, direction: FloatArray, features: SingleArray, strata: IntArray) -> _Pane:
        """Ramps along directions ``(h, D)``, placed by half B."""
        turn = direction.astype(np.float32)
        base = turn @ fixed.base
        edge = ramps.edges(base)
        mix = ramps.mixes(strata, len(fixed.rows))
        about = ramps.expected(ramps.heights(base, edge), fixed.rows, mix, float(fixed.tau))
        return _Pane(
            ramps.heights(turn @ features.T, edge), about, ramps.bound(about, self.tolerance, known=self.known)
        )


def _silent(view: View) -> WitnessFixed:
    nothing = np.zeros((0, 0), np.float32)
    empty = np.zeros(0, np.float32)
    return WitnessFixed(
        nothing,
        empty,
        np.zeros(0),
        nothing,
        np.zeros((2, 0)),
        np.zeros((2, 0)),
        nothing,
        np.zeros(1),
        np.array(view.tau),
    )


def _map(rows: SingleArray, rng: np.random.Generator, landmarks: int, axes: int, tau: float) -> WitnessFixed:
    """Learn the feature map on ``rows (n, d)``; no axes where they are constant."""
    low, middle, _ = kernels.spread(kernels.pairs(rows, rng))
    chosen = rows[np.sort(rng.choice(len(rows), min(landmarks, len(rows)), replace=False))]
    centre = chosen.mean(axis=0)
    scales = np.geomspace(low, middle, BANDWIDTHS)
    width = len(scales) * len(chosen)
    bare = WitnessFixed(
        kernels.extended(chosen, centre)[1],
        centre,
        scales,
        np.zeros((width, 0), np.float32),
        np.zeros((len(RIDGES), 0)),
        np.zeros((1, 0)),
        np.zeros((0, 0), np.float32),
        np.zeros(1),
        np.array(tau),
    )
    sums, squares = np.zeros(width), np.zeros((width, width))
    for part in kernels.panels(len(rows), width):
        values = _values(bare, rows[part])
        sums += values.sum(axis=0)
        squares += values.T @ values
    mean = sums / len(rows)
    spectrum, turn = np.linalg.eigh(squares / len(rows) - np.outer(mean, mean))
    total = float(spectrum.sum())
    if total < _LEAST * width:
        return bare
    ridged = np.maximum(spectrum[-axes:], 0) + RIDGES[:, None] * total
    basis = turn[:, -axes:] / np.sqrt(ridged[-1])
    return bare._replace(basis=basis.astype(np.float32), taming=ridged[-1] / ridged)


def _values(fixed: WitnessFixed, rows: SingleArray) -> SingleArray:
    """Kernel values ``(n, j L)`` at all landmarks and bandwidths."""
    exponent = kernels.extended(rows, fixed.centre)[0] @ fixed.landmarks.T
    values: SingleArray = np.hstack([kernels.gaussian(exponent, float(one)) for one in fixed.bandwidths])
    return values


def _features(fixed: WitnessFixed, rows: SingleArray) -> SingleArray:
    """Whitened features ``(n, D)``, not centred."""
    out = np.empty((len(rows), fixed.basis.shape[1]), np.float32)
    for part in kernels.panels(len(rows), fixed.basis.shape[0]):
        out[part] = _values(fixed, rows[part]) @ fixed.basis
    return out


def _by_stratum(features: SingleArray, strata: NDArray[np.integer], number: int, tau: float) -> FloatArray:
    """Mean features of strata ``(c + 1, D)``, leaning on the mean of all, which is the last."""
    whole = features.mean(axis=0, dtype=np.float64)
    n = np.bincount(strata, minlength=number).astype(np.float64)
    sums = np.zeros((number, features.shape[1]))
    np.add.at(sums, strata, features)
    some = n > 0
    own, rows = (sums[some] / n[some, None]).T, n[some] / tau
    pseudo = ramps.pseudo_rows(own, rows, whole, features.var(axis=0, dtype=np.float64))[:, None]
    mean = np.tile(whole, (number + 1, 1))
    mean[:-1][some] = (own + (whole[:, None] - own) * (pseudo / (rows + pseudo))).T
    return mean


def _codes(strata: NDArray[np.integer], number: int) -> IntArray:
    """Strata of rows, ``number`` for those that the reference does not have."""
    return np.where((strata >= 0) & (strata < number), strata, number).astype(np.int64)


def _directions(fixed: WitnessFixed, state: WitnessState) -> FloatArray:
    tamed = fixed.taming * state.total
    unit: FloatArray = tamed / np.maximum(np.sqrt(np.square(tamed).sum(axis=1, keepdims=True)), 1e-300)
    return unit


def _leading(fixed: WitnessFixed, state: WitnessState) -> FloatArray:
    """The direction held, or else that with most evidence (without any: the slowest)."""
    if state.held.any():
        return state.held
    evidence = state.r.sum(axis=(1, 2))
    strongest: FloatArray = _directions(fixed, state)[int(evidence.argmax()) if evidence.any() else -1]
    return strongest


def _learn(fixed: WitnessFixed, state: WitnessState, features: SingleArray, strata: IntArray) -> WitnessState:
    """Let the sums decay and add the pane's rows, less what half A expects of their strata."""
    number = np.bincount(strata, minlength=len(fixed.expected)).astype(np.float64)
    expected = number @ (fixed.expected - fixed.expected[-1])
    fade = 0.5 ** (min(len(features) / PANE_ROWS, 1.0) / HALF_LIVES)
    return state._replace(total=fade[:, None] * state.total + (features.sum(axis=0, dtype=np.float64) - expected))


def _bet(fixed: WitnessFixed, state: WitnessState, pane: _Pane) -> WitnessState:
    """One step of the recursions; a ramp that cannot be passed has no evidence."""
    stake = ramps.stakes(pane.about, pane.m0)
    log_e = np.minimum(ramps.log_bets(pane.height, pane.m0, stake) / float(fixed.tau), LOG_E_CAP)
    cusum = np.maximum(state.cusum, 0) + log_e
    r = np.minimum((state.r + 1) * np.exp(log_e), R_CAP) * (stake > 0)
    return state._replace(r=r, cusum=cusum, age=(state.age + 1) * (cusum > 0))


def _follow(fixed: WitnessFixed, state: WitnessState, pane: _Pane) -> WitnessState:
    """One step of the recursions of the way back; ramps that cannot be passed are back at once."""
    stake = ramps.stakes_back(pane.about, pane.m0)
    log_e = np.minimum(ramps.log_bets(pane.height, pane.m0, stake) / float(fixed.tau), LOG_E_CAP)[0]
    r = np.minimum((state.back + 1) * np.exp(log_e), R_CAP)
    return state._replace(back=np.where(stake[0] < 0, r, R_CAP))


def _said(state: WitnessState, moved: float, rows: int) -> Step:
    with np.errstate(divide="ignore"):
        log_e = float(np.log(state.r.mean()))
        back = float(np.log(state.back.mean(axis=1).min())) if state.held.any() else np.nan
    strongest = int(state.cusum.argmax())
    since = float(state.age.reshape(-1)[strongest]) if state.cusum.reshape(-1)[strongest] > 0 else np.nan
    return Step(log_e, since, moved, back, rows)
