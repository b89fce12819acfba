"""Labelled feedback as it comes, before it reaches training: H17-H20 and floods, by source and for the fleet.

Each part says for itself what it sees and what its law is: `sources` (label_disagreement, label_noise), `copies`
(label_floods), `groups` (spectral_signature, activation_clustering). Only rows with a label are looked at, so a model
without labels in its log pays nothing. Memory is bounded by ``most_sources``; nothing here grows with the stream.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.poisoning import groups, labels, noise
from detectors.poisoning.copies import Copies
from detectors.poisoning.sources import Sources
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray, Rows
from detectors.types import CodeArray, FloatArray, IntArray, SingleArray


class FeedbackFixed(NamedTuple):
    """What was measured on the trusted rows: their labels, the model's probabilities on them (empty: not logged).

    ``digest (k,)``, sorted, are those of their inputs and ``times (k,)`` how often each came; ``trusted ()`` rows.
    """

    labels: labels.LabelsFixed
    noise: noise.NoiseFixed
    groups: groups.GroupsFixed
    digest: DigestArray
    times: IntArray
    trusted: IntArray


def fit(
    z: SingleArray,
    label: CodeArray,
    classes: int,
    rng: np.random.Generator,
    *,
    probabilities: FloatArray | SingleArray | None = None,
    digest: DigestArray | None = None,
) -> FeedbackFixed:
    """Measure trusted rows ``z (m, d)`` with classes in ``label (m,)`` (-1: none).

    ``probabilities (m, C)`` must come from a model that was not trained on these rows, ``digest (m,)`` be made as those
    of the stream. ValueError with fewer than `labels.LEAST_ROWS` usable rows.
    """
    measured = labels.fit(z, label, classes, rng)
    probable = noise.NOTHING
    if probabilities is not None and probabilities.shape[1] == classes and np.isfinite(probabilities).any():
        fine = np.isfinite(probabilities).all(axis=1) & (label >= 0)
        probable = noise.fit(probabilities, label) if fine.sum() >= labels.LEAST_ROWS else probable
    apart = groups.fit(measured.rows, measured.label, classes, rng)
    seen = np.zeros(0, np.uint64) if digest is None else digest
    known, times = np.unique(seen, return_counts=True)
    return FeedbackFixed(measured, probable, apart, known, times, np.array(len(label)))


class Feedback:
    """Everything that is kept of one model's labelled stream."""

    def __init__(self, fixed: FeedbackFixed, most_sources: int = 1_000) -> None:
        """Begin without rows; ``most_sources`` are remembered."""
        self._fixed = fixed
        self._by_rows = Sources(fixed.labels.ruler, "label_disagreement", most_sources)
        self._copies = Copies(fixed.digest, fixed.times, int(fixed.trusted))
        self._groups = groups.Groups(fixed.groups)
        self._parts: dict[str, Sources | Copies | groups.Groups] = {
            "rows": self._by_rows, "copies": self._copies, "groups": self._groups,
        }  # fmt: skip
        self._by_model = None
        if len(fixed.noise.thresholds):
            self._by_model = self._parts["model"] = Sources(fixed.noise.ruler, "label_noise", most_sources)
        self._seen = 0

    def add(self, rows: Rows, z: SingleArray, source: DigestArray | None = None) -> NDArray[np.bool_]:
        """Take rows in order of arrival with their place ``z (n, d)`` in the space of the trusted rows; flags ``(n,)``.

        ``source (n,)`` is a keyed hash of who labelled each row (0: unknown); without it the client counts. A row is
        flagged if its label contradicts the trusted rows more than 99 % of these do. Rows without label or place are no
        evidence, nor for label_disagreement rows unlike any trusted one.
        """
        number = self._seen + np.arange(len(z))
        self._seen += len(z)
        flags = np.zeros(len(z), bool)
        if rows.label is None or not (rows.label >= 0).any():
            return flags
        named = rows.client if source is None else source
        some = np.flatnonzero((rows.label >= 0) & np.isfinite(z).all(axis=1))
        who = np.zeros(len(some), np.uint64) if named is None else named[some]
        label, number, place = rows.label[some], number[some], z[some]
        judged = labels.judge(self._fixed.labels, place, label)
        flags[some] = self._by_rows.add(judged.doubts, label, who, number)
        if self._by_model is not None and rows.probabilities is not None:
            doubts, _ = noise.judge(self._fixed.noise, rows.probabilities[some], label)
            flags[some] |= self._by_model.add(doubts, label, who, number)
        self._copies.add(rows.digest[some], label, who, number)
        self._groups.add(place, label, who, number)
        return flags

    @property
    def born(self) -> int:
        """Keys that evidence was ever gathered for: each source once a ruler, all sources, all inputs, all classes."""
        rulers = [part for part in self._parts.values() if isinstance(part, Sources)]
        return sum(one.born + 1 for one in rulers) + 2

    def suspicions(self, level: float) -> list[Suspicion]:
        """What has a log e-value of at least ``level``, or a p-value of at most exp(-``level``), by heuristic."""
        return [one for part in self._parts.values() for one in part.suspicions(level)]

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that moves, as arrays of its own; keys are ``part.name``."""
        out = {f"{name}.{key}": one for name, part in self._parts.items() for key, one in part.state().items()}
        return {"seen": np.array(self._seen), **out}

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go on from `state`; ValueError if it is of another reference or other bounds."""
        for name, part in self._parts.items():
            head = f"{name}."
            part.restore({key[len(head) :]: one for key, one in arrays.items() if key.startswith(head)})
        self._seen = int(arrays["seen"])
