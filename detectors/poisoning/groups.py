"""H19 and H20 in a stream: the newest labelled rows, looked at class by class now and then.

Question: as in `spectral` and `clusters_against`, of the newest `KEPT` labelled rows.
Null law: their p-values, times the classes and times k (k + 1) at the k-th look: over all looks together they keep the
level that is asked for. A look comes after every `EVERY` labelled rows, wherever a batch ends.
Sees / blind to: a group of rows with one label that lies apart, also with right labels; blind to one that is spread
over more rows than are kept, and if most classes are poisoned alike (that looks like a shift of the inputs); a new
honest sub-population of one class looks like poison.
Memory: `KEPT` times (4 d + 20) bytes. Cost: a look about 2 ms a class, 50 ms more at its first look of a size.
Source: failures.md H19, H20.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors.poisoning import clusters, spectral
from detectors.queries.suspicion import Suspicion
from detectors.rows.layout import DigestArray
from detectors.types import CodeArray, FloatArray, IntArray, SingleArray

KEPT = 2_048
EVERY = 1_024
HEURISTICS = ("spectral_signature", "activation_clustering")
MEMBERS = 8


class Groups:
    """The newest labelled rows of one model, and what the last look found."""

    def __init__(self, rows: SingleArray, label: CodeArray, classes: int, seed: int = 0) -> None:
        """Compare with trusted ``rows (m, d)`` and their ``label (m,)``; the seed decides the bootstrap."""
        self._rows, self._own, self._classes, self._seed = rows, label, classes, seed
        self._z = np.zeros((KEPT, rows.shape[1]), np.float32)
        self._label = np.full(KEPT, -1, np.int32)
        self._source = np.zeros(KEPT, np.uint64)
        self._number = np.full(KEPT, -1)
        self._log_p = np.full((len(HEURISTICS), classes), np.nan)
        self._effect = np.full((len(HEURISTICS), classes), np.nan)
        self._members = np.full((len(HEURISTICS), classes, MEMBERS), -1)
        self._nulls: dict[tuple[int, int], tuple[spectral.Null, FloatArray]] = {}
        self._seen = self._looks = 0

    def add(self, z: SingleArray, label: CodeArray, source: DigestArray, number: IntArray) -> None:
        """Take labelled rows ``(n, d)``, finite, in order of arrival."""
        ends = [*range(EVERY - self._seen % EVERY, len(z), EVERY), len(z)]
        for start, end in zip([0, *ends], ends, strict=False):
            at = (self._seen + np.arange(end - start)) % KEPT
            self._z[at], self._label[at] = z[start:end], label[start:end]
            self._source[at], self._number[at] = source[start:end], number[start:end]
            self._seen += end - start
            if end > start and self._seen % EVERY == 0:
                self._look()

    def _look(self) -> None:
        self._looks += 1
        spent = np.log(self._looks) + np.log1p(self._looks) + np.log(len(HEURISTICS) * self._classes)
        used = self._number >= 0
        z, label, number = self._z[used], self._label[used], self._number[used]
        self._members[:] = -1
        sizes = np.bincount(label, minlength=self._classes)
        nulls = [self._null(c, int(sizes[c])) for c in range(self._classes)]
        groups = clusters.clusters_against([null[1] for null in nulls], z, label)
        for c in range(self._classes):
            mine = label == c
            found = spectral.spectrum(nulls[c][0], z[mine])
            self._log_p[:, c] = found.log_p + spent, groups.log_p[c] + spent
            self._effect[:, c] = found.ratio, groups.silhouette[c]
            far = np.argsort(-found.tau, kind="stable")[:MEMBERS]
            self._keep(0, c, number[mine][far] if len(found.tau) else number[:0])
            self._keep(1, c, number[mine & groups.smaller][-MEMBERS:])
        np.minimum(self._log_p, 0.0, out=self._log_p)

    def _null(self, c: int, size: int) -> tuple[spectral.Null, FloatArray]:
        """Trusted rows of a class for the next lower power of two of rows: measured once, in samples no larger."""
        size = 1 << max(size.bit_length() - 1, 0)
        if (c, size) not in self._nulls:
            rng, rows = np.random.default_rng([self._seed, c, size]), self._rows[self._own == c]
            self._nulls[c, size] = spectral.null_of(rows, size, rng), clusters.null_of(rows, size, rng)
        return self._nulls[c, size]

    def _keep(self, heuristic: int, c: int, number: IntArray) -> None:
        self._members[heuristic, c, : len(number)] = number

    def suspicions(self, level: float) -> list[Suspicion]:
        """Classes whose p-value, corrected as said, is at most exp(-``level``) at the last look.

        None if that holds for most classes: inputs have moved, whatever their labels.
        """
        told = np.nan_to_num(self._log_p) <= -max(level, 1e-12)
        told &= (told.sum(axis=1) <= np.maximum(np.isfinite(self._log_p).sum(axis=1) / 2, 1))[:, None]
        return [self._suspicion(int(h), int(c)) for h, c in np.argwhere(told)]

    def _suspicion(self, heuristic: int, c: int) -> Suspicion:
        mine = (self._number >= 0) & (self._label == c)
        members = self._members[heuristic, c]
        members = members[members >= 0]
        who, rows = np.unique(self._source[np.isin(self._number, members)], return_counts=True)
        order = np.argsort(-rows, kind="stable")
        return Suspicion(
            heuristic=HEURISTICS[heuristic],
            about="fleet",
            who=c,
            log_e=float("nan"),
            log_p=float(self._log_p[heuristic, c]),
            rows=int(mine.sum()),
            hits=len(members),
            since=int(self._number[mine].min()) if mine.any() else -1,
            until=int(self._number[mine].max()) if mine.any() else -1,
            clients=tuple((int(who[k]), int(rows[k])) for k in order[:5]),
            facts={"target_class": float(c), ("spread", "silhouette")[heuristic]: float(self._effect[heuristic, c])},
            members=members,
        )

    def state(self) -> dict[str, NDArray[np.generic]]:
        """All that moves, as arrays of its own; of places only those that hold a row."""
        return {key: array.copy() for key, array in self._arrays().items()} | {"z": self._z[self._number >= 0]}

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        """All but the places."""
        return {
            "label": self._label, "source": self._source, "number": self._number,
            "log_p": self._log_p, "effect": self._effect, "members": self._members,
            "totals": np.array([self._seen, self._looks]),
        }  # fmt: skip

    def restore(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Go on from `state`; ValueError if it is of another reference."""
        for key, array in self._arrays().items():
            if key not in arrays or arrays[key].shape != array.shape:
                raise ValueError(f"feedback state does not fit: {key}")
            array[...] = arrays[key]
        held = self._number >= 0
        if arrays["z"].shape != self._z[held].shape:
            raise ValueError("feedback state does not fit: z")
        self._z[held] = arrays["z"]
        self._seen, self._looks = (int(x) for x in arrays["totals"])
