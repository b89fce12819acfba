"""Flooding (H16f): a client that suddenly asks far more than it ever did, and what kind of flood it is.

Question: H0: the client's rows between two looks are as many as in its own earlier looks; of a client with less than
two of them: all rows come at the pace (rows a second) that they always came at.
Statistic: log(1 + rows), or the log of the pace of all rows, less its mean over earlier looks, over the deviation (of a
client at least the fleet's typical one, and never less than 0.3).
Null law: Student's. A look counts only where the client sent a tenth of all rows; level is spent over a client's looks
by 1 / (j (j + 1)). This is the one place where the past of live traffic sets a bar: it concerns volume alone, and no
other evidence depends on it. A flood is never an attack by itself.
Kind: *load test* where arrivals are regular (logarithms of gaps deviate half as much as a Poisson stream's) or most
rows are exact repeats, and no content of it is suspicious; else *volume*.
Sees / blind to: a name that floods; blind to a slow rise, and to a flood under many names.
Cost: a few operations a remembered client and look. Memory: 72 bytes a client. Source: failures.md 3.4 (H16 f).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from detectors.types import FloatArray, IntArray

LEAST_SHARE = 0.1
"""Nobody with less of the rows between two looks floods."""
REGULAR, REPEATED = 0.5, 0.5
_LEAST_ROWS = 64
_LEAST_SPREAD = 0.3
_LEAST_PAST = 4
_SHORTEST = 1e-6
"""Seconds: shorter gaps count as this."""
_NAMES = ("rows", "exact", "gaps", "gap", "log", "square", "looks", "mean", "spread")


class Floods(NamedTuple):
    """Per client ``(c,)``: log p (level spent), rows, share of all rows, variation of gaps, share of repeats, rate."""

    log_p: FloatArray
    rows: FloatArray
    share: FloatArray
    variation: FloatArray
    repeats: FloatArray
    per_second: FloatArray


class Volume:
    """How much each client sends, by slot."""

    def __init__(self, slots: int) -> None:
        """Nobody has sent anything."""
        self._now = {name: np.zeros(slots) for name in _NAMES}
        self._last = np.full(slots, np.nan)
        self._pace = np.array([0.0, np.nan, np.nan, 0.0, 0.0, 0.0])  # rows, first time, last time; looks, mean, spread

    def add(self, slots: IntArray, key: IntArray, time: FloatArray, exact: NDArray[np.bool_]) -> None:
        """Count rows ``(n,)`` in order of arrival of the clients in ``slots (c,)``; ``key (n,)`` says whose each is."""
        self._count(time)
        order = np.argsort(key, kind="stable")
        whose, at = key[order], time[order]
        first = np.diff(whose, prepend=-1) > 0
        before = np.where(first, self._last[slots[whose]], np.concatenate([[np.nan], at[:-1]]))
        gap = np.maximum(at - before, 0.0)
        known = np.isfinite(gap) & (gap < 1e12)
        gap = np.where(known, gap, 0.0)
        log = np.where(known, np.log(np.maximum(gap, _SHORTEST)), 0.0)
        found = {
            "rows": np.ones(len(key)),
            "exact": exact[order],
            "gaps": known,
            "gap": gap,
            "log": log,
            "square": log**2,
        }
        for name, values in found.items():
            self._now[name][slots] += np.bincount(whose, values, len(slots))
        self._last[slots] = at[np.append(first[1:], True)]

    def _count(self, time: FloatArray) -> None:
        known = time[np.isfinite(time)]
        self._pace[0] += len(time)
        if len(known):
            self._pace[1] = np.fmin(self._pace[1], known.min())
            self._pace[2] = np.fmax(self._pace[2], known.max())

    def look(self, used: IntArray) -> Floods:
        """Judge the rows since the last look, of the clients in ``used (c,)``, and begin anew."""
        now = {name: store[used] for name, store in self._now.items()}
        share = now["rows"] / max(self._pace[0], 1.0)
        log_p = np.where((share >= LEAST_SHARE) & (now["rows"] >= _LEAST_ROWS), _risen(now, self._faster()), np.nan)
        told = Floods(
            log_p, now["rows"], share, _variation(now), _over(now["exact"], now["rows"]), _over(now["gaps"], now["gap"])
        )
        self._learn(used, now)
        return told

    def _faster(self) -> float:
        """Log p of the pace of all rows against its past, which it then joins; 0 where either is unknown."""
        rows, first, last, looks, mean, spread = self._pace.tolist()
        level = float(np.log(rows / (last - first))) if last > first and rows > 1 else np.nan
        self._pace[:3] = 0.0, np.nan, np.nan
        if np.isnan(level):
            return 0.0
        self._pace[3] += 1
        self._pace[4] += (level - mean) / (looks + 1)
        self._pace[5] += (level - mean) * (level - self._pace[4])
        if looks < _LEAST_PAST:
            return 0.0
        z = (level - mean) / max(np.sqrt(spread / (looks - 1)), _LEAST_SPREAD)
        return float(np.log(max(float(special.stdtr(looks - 1, -z)), 1e-300)))

    def _learn(self, used: IntArray, now: dict[str, FloatArray]) -> None:
        """Welford's mean and spread of log(1 + rows) over looks in which a client sent something."""
        sent = used[now["rows"] > 0]
        level = np.log1p(self._now["rows"][sent])
        self._now["looks"][sent] += 1
        off = level - self._now["mean"][sent]
        self._now["mean"][sent] += off / self._now["looks"][sent]
        self._now["spread"][sent] += off * (level - self._now["mean"][sent])
        for name in ("rows", "exact", "gaps", "gap", "log", "square"):
            self._now[name][used] = 0.0

    def clear(self, slots: IntArray) -> None:
        """Somebody else has these slots now."""
        for store in self._now.values():
            store[slots] = 0.0
        self._last[slots] = np.nan

    def state(self, used: IntArray) -> dict[str, NDArray[np.generic]]:
        """Everything that moves, of the slots in use."""
        return {
            **{name: store[used] for name, store in self._now.items()},
            "last": self._last[used],
            "pace": self._pace.copy(),
        }

    def restore(self, used: IntArray, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state."""
        for name, store in self._now.items():
            store[used] = arrays[name]
        self._last[used] = arrays["last"]
        self._pace[:] = arrays["pace"]


def _risen(now: dict[str, FloatArray], faster: float) -> FloatArray:
    """Log p of so many rows against the own past; of a client without one, of the pace of all."""
    looks = now["looks"]
    old = looks >= 2
    variance = now["spread"] / np.maximum(looks - 1, 1)
    typical = max(float(np.median(np.sqrt(variance[old]))) if old.any() else 0.0, _LEAST_SPREAD)
    z = (np.log1p(now["rows"]) - now["mean"]) / np.sqrt(np.maximum(variance, typical**2))
    degrees = np.maximum(looks - 1, max(int(old.sum()) - 1, 1))
    tail = np.log(np.maximum(special.stdtr(degrees, -z), 1e-300))
    log_p: FloatArray = np.minimum(np.where(old, tail, faster) + np.log((looks + 1) * (looks + 2)), 0.0)
    return log_p


def _variation(now: dict[str, FloatArray]) -> FloatArray:
    """Deviation of the logarithms of gaps between rows, 1 for a Poisson stream; NaN for few."""
    mean = _over(now["log"], now["gaps"])
    variance = np.maximum(_over(now["square"], now["gaps"]) - mean**2, 0.0)
    return np.where(now["gaps"] >= _LEAST_ROWS / 2, np.sqrt(variance) * np.sqrt(6) / np.pi, np.nan)


def _over(part: FloatArray, whole: FloatArray) -> FloatArray:
    ratio: FloatArray = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return ratio
