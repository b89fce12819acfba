"""Online MMD: a sliding window of single rows against a reference, with a stated expected run length.

Question: H0: the newest ``window`` rows come from the reference's law.
Statistic: unbiased MMD^2 (Gaussian kernel, bandwidth the median distance over sqrt 2) between a fixed part of the
reference and the window, moved on row by row. The window begins with rows of the reference.
Null law: thresholds by bootstrap: of many draws of 2 W - 1 reference rows, read as W overlapping windows, the share
1 / ``run_length`` that is highest passes the threshold of each step and is left out of the next. So each step alarms
with chance 1 / run_length given that none did before. They are thresholds for this one reference: a run length of
about the stated one (10 %), no bound, and false alarms of two streams against one reference depend on each other.
Sees / blind to: any shift at the scale of the median distance that fills a good part of the window; small ones never.
Cost: one kernel column against the reference a row; m^2 kernel values once. State: the window.
Source: Cobb, Van Looveren and Klaise 2022 (Sequential multivariate change detection with calibrated and memoryless
false detection rates), as in alibi-detect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from detectors.multivariate import kernels
from detectors.types import FloatArray, IntArray, SingleArray

MOST_ROWS = 5_000
"""Reference rows that are used, drawn at random where there are more."""
_ENTRIES = 1 << 21
_AT_ONCE = 128
_ROUNDING = 1e-12


class OnlineMMDFixed(NamedTuple):
    """``reference (m, d)`` rows, the mean kernel value ``inside ()`` of two of them, and ``bandwidth ()``.

    ``thresholds (W,)`` are those after 0, 1, ... rows, the last one for ever after. ``first (W, d)`` are the reference
    rows that the window begins with.
    """

    reference: FloatArray
    inside: FloatArray
    bandwidth: FloatArray
    thresholds: FloatArray
    first: FloatArray


class OnlineMMDState(NamedTuple):
    """The ``window (W, d)``, mean kernel values ``towards (W,)`` the reference, rows ``seen ()`` since its start."""

    window: FloatArray
    towards: FloatArray
    seen: FloatArray


class OnlineMMDStep(NamedTuple):
    """State; alarms among the rows; row of the first one, from 0, NaN without; the newest statistic."""

    state: OnlineMMDState
    alarms: int
    first: float
    statistic: float


@dataclass(frozen=True, slots=True)
class OnlineMMD:
    """``window`` rows W; ``run_length`` expected rows between false alarms; ``draws`` of the bootstrap."""

    window: int = 20
    run_length: float = 1_000.0
    draws: int = 2_500
    name: str = "online_mmd"

    def __post_init__(self) -> None:
        """Refuse what has no statistic or no threshold."""
        if self.window < 2 or self.run_length <= 1 or self.draws < 1:
            msg = "online MMD needs a window of 2 rows, a run length above 1 and a draw at least"
            raise ValueError(msg)

    def fit(self, rows: FloatArray | SingleArray, rng: np.random.Generator) -> OnlineMMDFixed:
        """Measure thresholds on reference rows ``(m, d)``; ValueError where m < 4 W."""
        if len(rows) < 4 * self.window:
            msg = f"{len(rows)} reference rows are too few for a window of {self.window}"
            raise ValueError(msg)
        chosen = rng.permutation(len(rows))[:MOST_ROWS]
        pool = np.asarray(rows[chosen], np.float64)
        scale = kernels.median_heuristic(kernels.pairs(pool, rng)) / np.sqrt(2)
        sums = _column_sums(pool, scale)
        thresholds = self._thresholds(pool, sums, scale, rng)
        return self._begin(pool, sums, scale, thresholds, rng)

    def start(self, fixed: OnlineMMDFixed) -> OnlineMMDState:
        """Begin with a window of reference rows."""
        return OnlineMMDState(fixed.first, _towards(fixed, fixed.first), np.array(0.0))

    def update(self, fixed: OnlineMMDFixed, state: OnlineMMDState, rows: FloatArray | SingleArray) -> OnlineMMDStep:
        """Take in consecutive rows ``(n, d)``; after an alarm the window begins anew."""
        rows = np.asarray(rows, np.float64)
        alarms, first, done, statistic = 0, np.nan, 0, np.nan
        while done < len(rows):
            state, stop, statistic = self._until(fixed, state, rows[done:])
            done += stop
            if not statistic <= self._threshold(fixed, state.seen):
                alarms += 1
                first = float(done - 1) if alarms == 1 else first
                state = self.start(fixed)
        return OnlineMMDStep(state, alarms, first, statistic)

    def _until(
        self, fixed: OnlineMMDFixed, state: OnlineMMDState, rows: FloatArray
    ) -> tuple[OnlineMMDState, int, float]:
        """Go on to the first alarm or the end: state, rows taken in, and the statistic there."""
        some = rows[:_AT_ONCE]
        line = np.concatenate([state.window, some])
        towards = np.concatenate([state.towards, _towards(fixed, some)])
        about = np.lib.stride_tricks.sliding_window_view(towards, self.window)[1:].mean(axis=1)
        statistics = float(fixed.inside) + _within(line, self.window, float(fixed.bandwidth)) - 2 * about
        seen = state.seen + np.arange(1, len(some) + 1)
        over = np.flatnonzero(~(statistics <= self._threshold(fixed, seen)))
        stop = int(over[0]) + 1 if len(over) else len(some)
        new = OnlineMMDState(line[stop : stop + self.window], towards[stop : stop + self.window], seen[stop - 1])
        return new, stop, float(statistics[stop - 1])

    def _threshold(self, fixed: OnlineMMDFixed, seen: FloatArray) -> FloatArray:
        return fixed.thresholds[np.minimum(seen, self.window - 1).astype(np.int64)] + _ROUNDING

    def _thresholds(self, pool: FloatArray, sums: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
        """Thresholds ``(W,)``: at each step the highest of the draws that are still below all earlier ones go."""
        extended = 2 * self.window - 1
        parts = [
            self._windows(pool, sums, scale, np.stack([rng.choice(len(pool), extended, replace=False) for _ in some]))
            for some in np.array_split(np.arange(self.draws), -(-self.draws * extended**2 // _ENTRIES))
        ]
        statistics = np.concatenate(parts)
        thresholds = []
        for step in range(self.window):
            thresholds.append(np.quantile(statistics[:, step], 1 - 1 / self.run_length))
            kept = statistics[statistics[:, step] <= thresholds[-1]]
            statistics = kept
        return np.array(thresholds)

    def _windows(self, pool: FloatArray, sums: FloatArray, scale: float, drawn: IntArray) -> FloatArray:
        """Statistics ``(b, W)`` of the overlapping windows of draws ``(b, 2 W - 1)`` against all other rows."""
        kernel = np.stack([_kernel(pool[one], pool[one], scale) for one in drawn])
        kernel[:, np.arange(drawn.shape[1]), np.arange(drawn.shape[1])] = 0
        others, w = len(pool) - drawn.shape[1], self.window
        across = sums[drawn] - kernel.sum(axis=1)
        inside = (sums.sum() - 2 * sums[drawn].sum(axis=1) + kernel.sum(axis=(1, 2))) / (others * (others - 1))
        return np.stack(
            [
                inside
                + kernel[:, i : i + w, i : i + w].sum(axis=(1, 2)) / (w * (w - 1))
                - 2 * across[:, i : i + w].sum(axis=1) / (others * w)
                for i in range(w)
            ],
            axis=1,
        )

    def _begin(
        self, pool: FloatArray, sums: FloatArray, scale: float, thresholds: FloatArray, rng: np.random.Generator
    ) -> OnlineMMDFixed:
        """Split off the rows that the window begins with: of a few splits the first that raises no alarm at once."""
        extended = 2 * self.window - 1
        for _ in range(100):
            order = rng.permutation(len(pool))
            drawn = order[:extended]
            if self._windows(pool, sums, scale, drawn[None])[0, 0] < thresholds[0]:
                break
        rest = order[extended:]
        within = _kernel(pool[drawn], pool[drawn], scale).sum() - extended
        inside = (sums.sum() - 2 * sums[drawn].sum() + within) / (len(rest) * (len(rest) - 1))
        return OnlineMMDFixed(pool[rest], np.array(inside), np.array(scale), thresholds, pool[drawn[: self.window]])


def _kernel(x: FloatArray, y: FloatArray, scale: float) -> FloatArray:
    values: FloatArray = kernels.gaussian(-0.5 * np.square(kernels.euclidean(x, y)), scale).astype(np.float64)
    return values


def _column_sums(pool: FloatArray, scale: float) -> FloatArray:
    """Sum of each row's kernel values with all other rows, ``(m,)``."""
    sums = [_kernel(pool[part], pool, scale).sum(axis=1) - 1 for part in kernels.panels(len(pool), len(pool), _ENTRIES)]
    return np.concatenate(sums)


def _towards(fixed: OnlineMMDFixed, rows: FloatArray) -> FloatArray:
    """Mean kernel value of each row with the reference, ``(n,)``."""
    mean: FloatArray = _kernel(rows, fixed.reference, float(fixed.bandwidth)).mean(axis=1)
    return mean


def _within(line: FloatArray, window: int, scale: float) -> FloatArray:
    """Mean kernel value of two rows of each window that ends at the rows ``line[W:]``, ``(n,)``."""
    number = len(line) - window
    total = np.zeros(number)
    for lag in range(1, window):
        exponent = -0.5 * np.square(line[lag + 1 :] - line[1:-lag]).sum(axis=1)
        pairs = kernels.gaussian(exponent, scale)
        total += np.lib.stride_tricks.sliding_window_view(pairs, window - lag).sum(axis=1)
    return 2 * total / (window * (window - 1))
