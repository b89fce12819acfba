"""An index told in the plainest way, row by row in dictionaries, and streams of predictions and labels to feed both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from monitor.outcomes.index import Index
from monitor.outcomes.joined import LABELS, LEFT, PREDICTIONS, Joined
from monitor.outcomes.truths import Truths

KEY = b"0123456789abcdef0123456789abcdef"
FIELDS = {"prediction": "f8", "score": "f8", "stratum": "i4"}
NOW = 1_700_000_000.0


def opened(folder: Path, state: bytes | None = None, *, rows: int = 100_000, hours: float = 24 * 400.0) -> Index:
    index = Index(folder, FIELDS, key=KEY, rows=rows, hours=hours)
    assert index.restore(state)
    return index


class Prediction(NamedTuple):
    id: str | None
    time: float
    score: float


class Label(NamedTuple):
    id: str | None
    truth: float | None
    time: float
    """A truth of None is missing, infinity is no label."""


class Batch(NamedTuple):
    """One delivery: predictions or labels, and when it came."""

    now: float
    rows: tuple[Prediction | Label, ...]


def feed(index: Index, batch: Batch) -> Joined:
    """Give a delivery to the index."""
    ids = pa.array([row.id for row in batch.rows], pa.string())
    time = np.array([row.time for row in batch.rows], np.float64)
    if isinstance(batch.rows[0], Prediction):
        score = np.array([row.score for row in batch.rows if isinstance(row, Prediction)])
        values = {"prediction": score > 0.5, "score": score, "stratum": np.rint(score * 1000).astype(np.int32)}
        return index.predicted(ids, time, values, batch.now).joined
    truth = [row.truth for row in batch.rows if isinstance(row, Label)]
    wrong = np.array([one is not None and np.isinf(one) for one in truth])
    values_ = np.array([np.nan if one is None or np.isinf(one) else one for one in truth])
    return index.labelled(ids, Truths(values_, wrong), batch.now, time)


@dataclass
class Oracle:
    """What an index without bounds holds: of each id its prediction, its label, or the label that waits."""

    predictions: dict[str, Prediction] = field(default_factory=dict)
    labels: dict[str, tuple[float, float]] = field(default_factory=dict)
    counts: list[dict[str, int]] = field(
        default_factory=lambda: [dict.fromkeys(names, 0) for names in (PREDICTIONS, LABELS, LEFT)]
    )

    def feed(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            for row in batch.rows:
                if isinstance(row, Prediction):
                    self._predict(row)
                else:
                    self._label(row, batch.now)

    def _predict(self, row: Prediction) -> None:
        counts = self.counts[0]
        if not row.id:
            counts["no_id"] += 1
        elif row.id in self.predictions:
            counts["repeated" if self.predictions[row.id].score == row.score else "conflicting"] += 1
        else:
            self.predictions[row.id] = row
            counts["kept"] += 1
            self.counts[1]["joined"] += row.id in self.labels

    def _label(self, row: Label, now: float) -> None:
        counts, time = self.counts[1], min(row.time, now)
        if not row.id:
            counts["no_id"] += 1
        elif row.truth is None:
            counts["missing"] += 1
        elif np.isinf(row.truth):
            counts["wrong_type"] += 1
        elif row.id not in self.labels:
            self.labels[row.id] = (time, row.truth)
            counts["joined"] += row.id in self.predictions
        else:
            held, truth = self.labels[row.id]
            kind = "repeated" if truth == row.truth else "corrected" if time >= held else "stale"
            counts[kind] += 1
            if time >= held:
                self.labels[row.id] = (time, row.truth)

    @property
    def outcomes(self) -> dict[float, tuple[float, float]]:
        """Score and label of every prediction that has one, by its score."""
        both = self.predictions.keys() & self.labels.keys()
        return {self.predictions[one].score: (self.predictions[one].time, self.labels[one][1]) for one in both}


@dataclass
class Follower:
    """Adds up what an index gives, as windows do: what was before is taken out again."""

    outcomes: dict[float, tuple[float, float]] = field(default_factory=dict)
    counted: dict[tuple[bool, float], int] = field(default_factory=dict)

    def take(self, joined: Joined) -> None:
        values: Mapping[str, np.ndarray] = joined.values
        for place in range(joined.rows):
            score, before = float(values["score"][place]), float(joined.before[place])
            assert values["stratum"][place] == round(score * 1000)
            assert bool(values["prediction"][place]) == (score > 0.5)
            if np.isnan(before):
                assert score not in self.outcomes
            else:
                assert self.outcomes[score][1] == before
                self._count(score, before, -1)
            self.outcomes[score] = (float(joined.time[place]), float(joined.truth[place]))
            self._count(score, float(joined.truth[place]), 1)

    def _count(self, score: float, truth: float, by: int) -> None:
        key = (score > 0.5, truth)
        self.counted[key] = self.counted.get(key, 0) + by


def stream(rng: np.random.Generator, rows: int, batch: int) -> list[Batch]:
    """Predictions and labels in any order: late, early, twice, corrected, of nobody, of no use."""
    ids = [f"request-{one}" for one in rng.permutation(10 * rows)[:rows]]
    predictions = [Prediction(one, NOW - float(rng.integers(0, 10**6)), float(rng.random())) for one in ids]
    rest = [Prediction(one.id, one.time + 1, one.score) for one in predictions[::7]]
    rest += [Prediction(one.id, one.time, float(rng.random())) for one in predictions[::11]]
    rest += [Prediction(one, NOW, 0.25) for one in (None, "")]
    labels = [Label(one, float(rng.integers(0, 3)), NOW + i * 0.25) for i, one in enumerate(ids[: rows * 3 // 4])]
    more = [labels[i] for i in rng.integers(0, len(labels), rows // 3)]
    more += [
        Label(labels[i].id, float(rng.integers(0, 3)), NOW + 1e4 + one * 0.25)
        for one, i in enumerate(rng.integers(0, len(labels), rows // 2))
    ]
    more += [Label(f"nobody-{one}", 1.0, NOW) for one in range(rows // 10)]
    more += [Label(ids[0], None, NOW), Label(ids[1], float("inf"), NOW), Label(None, 1.0, NOW), Label("", 1.0, NOW)]
    chopped = [*_chopped(rng, predictions + rest, batch), *_chopped(rng, labels + more, batch)]
    order = rng.permutation(len(chopped))
    return [Batch(NOW + 1e6 + place, chopped[one]) for place, one in enumerate(order)]


def _chopped(
    rng: np.random.Generator, rows: Sequence[Prediction | Label], batch: int
) -> list[tuple[Prediction | Label, ...]]:
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    return [tuple(shuffled[start : start + batch]) for start in range(0, len(rows), batch)]
