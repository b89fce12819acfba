"""H19 `spectral_signature`: a direction in which rows of a class spread far more than trusted ones do.

Question: H0: rows labelled c spread like trusted rows labelled c, up to a quarter more. H1: some of them lie apart.
Statistic: largest eigenvalue of their second moment about the trusted class mean, in the trusted class's whitened
space; a row's own score is its squared place along that direction (Tran, Li and Madry centre at the class itself, which
hides poison from itself; whitening by the trusted rows follows SPECTRE).
Null law: the same for `DRAWS` bootstrap samples of trusted rows that took no part in the whitening; a Gumbel law with
the mean and deviation of their logarithms, the class's number of rows or fewer in each.
Sees / blind to: backdoors, also with right labels, and flips that lie together; blind to a few rows spread over all
directions, and to poison that spreads less than the class does (a blended trigger). A real new sub-population of a
class looks the same: look at the rows.
Cost: a class 61 times n k^2, k <= 32. Source: Tran, Li and Madry 2018; Hayase et al. 2021 (SPECTRE); failures.md H19.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detectors.poisoning import rates
from detectors.types import FloatArray, SingleArray

DRAWS = 60
AXES = 32
LEAST_ROWS = 60
"""Trusted rows of a class at least."""
LEAST_NEW = 20
TOLERATED = 1.25
"""A spread this many times larger is no sign of anything."""
_RIDGE = 0.1


class Spectrum(NamedTuple):
    """Spread of one class, NaN and empty where there are too few rows.

    ``ratio`` of the eigenvalue to the null's median, its ``log_p``, and rows' scores ``tau (n,)`` in units of the 99 %
    quantile of trusted rows along the same direction.
    """

    ratio: float
    log_p: float
    tau: FloatArray


class Null(NamedTuple):
    """What trusted rows of one class show: ``held (m / 2, k)``, whitened by the other half, and log ``draws (60,)``.

    ``centre (d,)`` and ``white (d, k)`` take rows there; all of it empty with too few trusted rows.
    """

    centre: FloatArray
    white: FloatArray
    held: FloatArray
    draws: FloatArray


def null_of(trusted: SingleArray, size: int, rng: np.random.Generator) -> Null:
    """Measure trusted rows ``(m, d)`` of a class, finite, for comparisons with some ``size`` rows."""
    if len(trusted) < LEAST_ROWS:
        return Null(*(np.zeros(0),) * 4)
    order = rng.permutation(len(trusted))
    half = len(trusted) // 2
    centre, white = _whitening(trusted[order[:half]].astype(np.float64))
    held = (trusted[order[half:]].astype(np.float64) - centre) @ white
    size = min(max(size, LEAST_NEW), len(held))
    drawn = [_top(held[rng.integers(0, len(held), size)])[0] for _ in range(DRAWS)]
    return Null(centre, white, held, np.log(np.maximum(drawn, 1e-300)))


def spectrum(null: Null, rows: SingleArray) -> Spectrum:
    """Compare the rows ``(n, d)`` of one class, finite, with trusted ones."""
    if not len(null.draws) or len(rows) < LEAST_NEW:
        return Spectrum(np.nan, np.nan, np.zeros(0))
    inside = (rows.astype(np.float64) - null.centre) @ null.white
    value, direction = _top(inside)
    log_p = rates.upper_tail(float(np.log(max(value, 1e-300) / TOLERATED)), null.draws)
    usual = max(float(np.quantile(np.square(null.held @ direction), 0.99)), 1e-12)
    return Spectrum(float(value / np.exp(np.median(null.draws))), log_p, np.square(inside @ direction) / usual)


def _whitening(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centre and a matrix ``(d, k)`` onto the leading axes of the rows, each about one in variance."""
    centre = rows.mean(axis=0)
    values, turn = np.linalg.eigh(np.cov(rows - centre, rowvar=False, bias=True).reshape(rows.shape[1], -1))
    values, turn = values[::-1][:AXES], turn[:, ::-1][:, :AXES]
    floor = _RIDGE * max(float(values.mean()), 1e-12)
    return centre, turn / np.sqrt(np.maximum(values, 0) + floor)


def _top(rows: FloatArray) -> tuple[float, FloatArray]:
    values, turn = np.linalg.eigh(rows.T @ rows / len(rows))
    return float(values[-1]), turn[:, -1]
