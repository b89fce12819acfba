"""What is remembered of one cluster of near-duplicates, of fixed size whatever it grows to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.queries import boundary, trend
from detectors.queries.suspicion import Suspicion
from detectors.types import FloatArray, SingleArray

_SAMPLE: Final = 64
_NAMES: Final = 16
_CLASSES: Final = 8
_BITS: Final = 1_024
_FIRST: Final = 8
_FORGET: Final = 1 / 16
_FEWEST_GAPS: Final = 8
_STEADY: Final = 0.2
_SMOOTH: Final = 4.0
_LONGEST: Final = 6
"""Numbers of one e-process: five alternatives and the steps."""


class Member(NamedTuple):
    """A query in a cluster: ``row`` its number, ``place`` its number among those that could have been hits.

    ``before`` is what its neighbour was answered with, ``distance`` how far that is (NaN for the first member).
    """

    row: int
    place: int
    client: int
    predicted: int
    margin: float
    lead: float
    time: float
    near: SingleArray
    before: int
    distance: float


class Cluster:
    """Counters, samples and evidence of one cluster."""

    def __init__(self, number: int, width: int, home: int) -> None:
        """Nothing yet; ``home`` is the class of the first answer."""
        self.number, self.home = number, home
        self.since = self.last = self.place = -1
        self.rows = self.exact = self.flips = self.low = self.looks = self.steps = self.gaps = 0
        self.log_sum = self.log_square = self.gap_sum = self.gap_square = 0.0
        self.began = self.latest = math.nan
        self.first = np.zeros(width)
        self.late = np.zeros(width)
        self.every = 1
        self.sample: list[tuple[int, float, float]] = []
        self.names: dict[int, int] = {}
        self.seen = 0
        self.classes: dict[int, int] = {}
        self.flipped: dict[int, int] = {}
        self.trend = trend.NOTHING
        self.growth: list[float] = []
        self.flipping: list[float] = []
        self.doubting: list[float] = []

    def gap(self, member: Member) -> int:
        """Queries since the last member that could have joined and did not."""
        return max(member.place - self.place - 1, 0)

    def take(self, member: Member, low: float) -> None:
        """One more member; a margin below ``low`` is low."""
        self.since = member.row if self.rows == 0 else self.since
        self._sample(member)
        self._move(member)
        self._time(member.time)
        self.rows += 1
        self.last, self.place = member.row, member.place
        self.low += member.margin < low
        _count(self.classes, member.predicted, _CLASSES)
        if member.client:
            _count(self.names, member.client, _NAMES)
            self.seen |= 1 << (member.client * 0x9E3779B97F4A7C15 >> 40) % _BITS
        if member.before >= 0 and member.predicted >= 0 and member.before != member.predicted:
            self.flips += 1
            _count(self.flipped, member.predicted, _CLASSES)

    def _sample(self, member: Member) -> None:
        """Keep every 2^k-th member, at most `_SAMPLE`."""
        if self.rows % self.every:
            return
        lead = member.lead if member.predicted == self.home else -member.lead
        self.sample.append((member.row, lead, member.margin))
        if len(self.sample) >= _SAMPLE:
            self.sample = self.sample[::2]
            self.every *= 2

    def _move(self, member: Member) -> None:
        """Where the first members were and where the last ones are, and how long the steps."""
        weight = 1 / (self.rows + 1)
        if self.rows < _FIRST:
            self.first += weight * (member.near - self.first)
        self.late += max(weight, _FORGET) * (member.near - self.late)
        if member.distance > 0:
            logarithm = math.log(member.distance)
            self.steps += 1
            self.log_sum += logarithm
            self.log_square += logarithm * logarithm

    def _time(self, time: float) -> None:
        if math.isnan(self.began):
            self.began = time
        gap = time - self.latest
        if gap >= 0:
            self.gaps += 1
            self.gap_sum += gap
            self.gap_square += gap * gap
        self.latest = self.latest if math.isnan(time) else time

    def leads(self) -> FloatArray:
        """Leads of the sampled members, in order."""
        return np.array([lead for _, lead, _ in self.sample])

    def move(self) -> FloatArray:
        """From the first members to the last."""
        return self.late - self.first

    def many_scales(self, fixed: boundary.BoundaryFixed) -> bool:
        """Whether steps are of more than one scale."""
        return boundary.many_scales(fixed, self.steps, self.log_sum, self.log_square)

    def typical_margin(self) -> float:
        """Median margin of the sampled members (NaN: unknown)."""
        known = [margin for _, _, margin in self.sample if not math.isnan(margin)]
        return float(np.median(known)) if known else math.nan

    def facts(self) -> dict[str, float]:
        """Named numbers about the members."""
        empty = _BITS - self.seen.bit_count()
        names = -_BITS * math.log(max(empty, 1) / _BITS)  # linear counting
        named = max(self.rows, 1)
        return {
            "rows": float(self.rows),
            "clients": float(max(round(names), len(self.names))),
            "span": self.latest - self.began,
            "exact_share": self.exact / (self.rows + self.exact) if self.rows else 0.0,
            "flips": float(self.flips),
            "flip_share": self.flips / named,
            "low_margin_share": self.low / named,
            "target_share": max(self.classes.values(), default=0) / named,
            "scale_spread": self._spread(),
            "frames_regular": float(self._regular()),
            "steps_smooth": float(self._smooth()),
        }

    def _spread(self) -> float:
        """Standard deviation of the logarithm of the steps."""
        if self.steps < 2:
            return math.nan
        return math.sqrt(max(self.log_square / self.steps - (self.log_sum / self.steps) ** 2, 0.0))

    def _regular(self) -> bool:
        """Whether members come at one steady interval."""
        if self.gaps < _FEWEST_GAPS or self.gap_sum <= 0:
            return False
        mean = self.gap_sum / self.gaps
        return self.gap_square / self.gaps - mean * mean < (_STEADY * mean) ** 2

    def _smooth(self) -> bool:
        """Whether they have gone further than a few steps, the way that honest rows differ."""
        if self.steps == 0 or self.trend.noise_log_p < 0:
            return False
        return float(np.linalg.norm(self.move())) > _SMOOTH * math.exp(self.log_sum / self.steps)

    def suspicion(
        self, heuristic: str, about: str, log_e: float, facts: Mapping[str, float], log_p: float = math.nan
    ) -> Suspicion:
        """Say it."""
        names = tuple(sorted(self.names.items(), key=lambda pair: -pair[1]))
        members = np.array([row for row, _, _ in self.sample], np.int64)
        return Suspicion(
            heuristic, about, self.number, log_e, log_p, self.rows + self.exact, max(self.rows - 1, 0),
            self.since, self.last + 1, names, dict(facts), members,
        )  # fmt: skip


_WHOLE: Final = (
    *("number", "home", "since", "last", "place", "rows", "exact", "flips", "low", "looks", "steps", "gaps", "every"),
)
_REAL: Final = ("log_sum", "log_square", "gap_sum", "gap_square", "began", "latest")
_COUNTED: Final = {"names": _NAMES, "classes": _CLASSES, "flipped": _CLASSES}
_EVIDENCE: Final = ("growth", "flipping", "doubting")


def packed(ones: Sequence[Cluster]) -> dict[str, NDArray[Any]]:
    """Clusters as arrays, one row each."""
    return {
        "whole": np.array([[getattr(one, name) for name in _WHOLE] for one in ones], np.int64),
        "real": np.array([[*(getattr(one, name) for name in _REAL), *one.trend] for one in ones], np.float64),
        "ends": np.array([[one.first, one.late] for one in ones], np.float64),
        "bits": np.array([np.frombuffer(one.seen.to_bytes(_BITS // 8, "little"), np.uint8) for one in ones]),
        "sample": np.stack([_padded([list(row) for row in one.sample], (_SAMPLE, 3)) for one in ones]),
        "evidence": np.stack(
            [np.stack([_padded(getattr(one, name), (_LONGEST,)) for name in _EVIDENCE]) for one in ones]
        ),
        **{name: np.stack([_pairs(getattr(one, name), most) for one in ones]) for name, most in _COUNTED.items()},
    }


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> list[Cluster]:
    """Clusters from `packed` arrays."""
    return [_unpacked({name: arrays[name][i] for name in arrays}) for i in range(len(arrays["whole"]))]


def _unpacked(row: Mapping[str, NDArray[Any]]) -> Cluster:
    one = Cluster(0, row["ends"].shape[1], 0)
    for name, value in zip(_WHOLE, row["whole"].tolist(), strict=True):
        setattr(one, name, value)
    for name, value in zip(_REAL, row["real"].tolist(), strict=False):
        setattr(one, name, value)
    one.trend = trend.Look(*row["real"][len(_REAL) :].tolist())
    one.first, one.late = row["ends"][0].copy(), row["ends"][1].copy()
    one.seen = int.from_bytes(row["bits"].tobytes(), "little")
    kept = row["sample"][~np.isnan(row["sample"][:, 0])].tolist()
    one.sample = [(int(number), lead, margin) for number, lead, margin in kept]
    for name, values in zip(_EVIDENCE, row["evidence"], strict=True):
        setattr(one, name, values[~np.isnan(values)].tolist())
    for name in _COUNTED:
        keys = row[name][:, 0] if name == "names" else row[name][:, 0].astype(np.int64)
        setattr(one, name, {int(key): int(count) for key, count in zip(keys, row[name][:, 1], strict=True) if count})
    return one


def _padded(values: Sequence[Any], shape: tuple[int, ...]) -> FloatArray:
    """Values with NaN behind them."""
    full = np.full(shape, np.nan)
    if len(values):
        full[: len(values)] = values
    return full


def _pairs(counts: Mapping[int, int], most: int) -> NDArray[np.uint64]:
    """Keys (modulo 2^64) and counts in their order, ``(most, 2)``, 0 behind them."""
    full = np.zeros((most, 2), np.uint64)
    for i, (key, count) in enumerate(counts.items()):
        full[i] = key % 2**64, count
    return full


def _count(counts: dict[int, int], key: int, most: int) -> None:
    """Count with room for ``most``: a new one takes the place, and the count, of the rarest (space saving)."""
    if key not in counts and len(counts) >= most:
        rarest = min(counts, key=counts.__getitem__)
        counts[key] = counts.pop(rarest)
    counts[key] = counts.get(key, 0) + 1
