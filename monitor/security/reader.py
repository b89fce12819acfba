"""Decoded batches into `Rows`: who asked, what, what was answered, and what turned out to be true.

A column that the log does not carry leaves its place empty; what needs it is silent, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from detectors.rows.layout import DigestArray, Rows
from detectors.types import MISSING_CODE, Block, CodeArray, FloatArray, SingleArray
from monitor import columns
from monitor.decode import Decoded, labels_of
from monitor.fitted import Fitted
from monitor.schema import is_vector
from monitor.security.layout import classes, layout_of
from monitor.security.pseudonyms import Pseudonyms

MOST_VERSIONS = 64
"""Versions with a number of their own; further ones share the last."""


class Reader:
    """Reads the rows of one model."""

    def __init__(self, fitted: Fitted, pseudonyms: Pseudonyms) -> None:
        """Keep what is where; `ConfigError` if the image's shape does not fit its vectors."""
        plan, grid = fitted.plan, fitted.reference.grid
        self._roles, self._layout, self._pseudonyms = plan.roles, layout_of(plan, grid), pseudonyms
        layout = self._layout
        self._p = len(grid.numeric_names)
        place = int(layout.prediction)
        names = grid.labels[place - self._p] if place >= 0 else ()
        vector = max(int(layout.probabilities), int(layout.logits))
        length = grid.vectors[vector][1] if vector >= 0 else 0
        known = names or tuple(str(one) for one in range(length))
        self.classes: Mapping[str, int] = classes(known, plan.roles.classes, length)
        self.versions: dict[str, int] = {}
        image = [int(layout.image[0])] if len(layout.image) else []
        embedding = [int(layout.embedding)] if int(layout.embedding) >= 0 and not image else []
        self._inputs = image or embedding

    def rows(self, decoded: Decoded, version: str = "") -> Rows:
        """All rows of a batch; ``version`` is the sender's word for rows without one."""
        block, batch, roles = decoded.block, decoded.batch, self._roles
        probabilities = self._probabilities(decoded)
        logits = self._vector(decoded, int(self._layout.logits), roles.logits)
        return Rows(
            block=block,
            digest=self._digest(block, batch),
            client=self._hashed(batch, roles.client),
            predicted=self._predicted(block, probabilities),
            label=self._label(batch),
            probabilities=probabilities,
            logits=logits,
            time=block.time,
            version=self._version(decoded, version),
            source=self._hashed(batch, roles.source),
            latency=self._latency(batch),
            model=self._hashed(batch, roles.artefact),
        )

    def secret(self, purpose: str) -> int:
        """A number that nobody without the key can tell, and no name's hash."""
        return self._pseudonyms.secret(purpose)

    def names(self, senders: Collection[int]) -> dict[int, str]:
        """Names of senders by their hashes, as far as they are remembered."""
        return self._pseudonyms.names(senders)

    def hidden(self, table: pa.Table) -> pa.Table:
        """The table with names of senders and of sources of labels replaced by their hashes."""
        named = {name for name in (self._roles.client, self._roles.source) if name}
        for place, column in enumerate(table.schema.names):
            if column in named or column.partition(" (")[0] in named:
                labels = labels_of(table.column(place).combine_chunks())
                hashes = self._pseudonyms.of_names(labels.codes, labels.values)
                told = pa.array([f"{one:016x}" if one else None for one in hashes.tolist()], pa.string())
                table = table.set_column(place, column, told)
        return table

    def _hashed(self, batch: pa.RecordBatch, role: str | None) -> DigestArray | None:
        if not role or (place := batch.schema.get_field_index(role)) < 0:
            return None
        labels = labels_of(batch.column(place))
        return self._pseudonyms.of_names(labels.codes, labels.values)

    def _digest(self, block: Block, batch: pa.RecordBatch) -> DigestArray:
        """The sender's digest of each input, where it gives one, else ours of the features as they were decoded.

        Inputs that the log has lost are not the same input: such rows differ where their answers or times do.
        """
        own = self._pseudonyms.of_inputs(block, self._layout.features, self._inputs)
        if (lost := self._lost(block)).any():
            known = [np.ascontiguousarray(part, np.float64).view(np.uint64) for part in self._beside(block)]
            own = np.where(lost, self._pseudonyms.of_words(known, block.rows), own)
        given = self._hashed(batch, self._roles.digest)
        return own if given is None else np.where(given == 0, own, given)

    def _lost(self, block: Block) -> NDArray[np.bool_]:
        """Rows of which no input is known."""
        features, p = self._layout.features, self._p
        gone = [np.isnan(block.numeric[:, features[features < p]]).all(axis=1)]
        gone.append((block.codes[:, features[features >= p] - p] == MISSING_CODE).all(axis=1))
        gone += [np.isnan(block.vectors[place]).all(axis=1) for place in self._inputs]
        lost: NDArray[np.bool_] = np.logical_and.reduce(gone)
        return lost

    def _beside(self, block: Block) -> list[FloatArray]:
        """What is known of rows but for their inputs."""
        time = np.zeros(block.rows) if block.time is None else block.time
        return [time[:, None], block.codes.astype(np.float64), *(one.astype(np.float64) for one in block.vectors)]

    @staticmethod
    def _vector(decoded: Decoded, place: int, role: str | None) -> SingleArray | None:
        """A vector column, None where the batch has no such column; a row that is missing is NaN."""
        at = decoded.batch.schema.get_field_index(role) if role and place >= 0 else -1
        return decoded.block.vectors[place] if at >= 0 and is_vector(decoded.batch.schema.types[at]) else None

    def _probabilities(self, decoded: Decoded) -> SingleArray | None:
        """As logged, or of two classes from the score of the last; a row that is missing is NaN."""
        layout, block = self._layout, decoded.block
        if int(layout.probabilities) >= 0:
            return self._vector(decoded, int(layout.probabilities), self._roles.probabilities)
        if int(layout.score) < 0 or len(self.classes) > 2:
            return None
        score = block.numeric[:, int(layout.score)]
        inside = np.where((score >= 0) & (score <= 1), score, np.nan).astype(np.float32)
        return np.stack([1 - inside, inside], axis=1)

    def _predicted(self, block: Block, probabilities: SingleArray | None) -> CodeArray | None:
        place = int(self._layout.prediction)
        if place >= 0:
            slots = block.codes[:, place - self._p]
            known = (slots >= 0) & (slots < len(self._layout.classes))
            return np.where(known, self._layout.classes[np.where(known, slots, 0)], -1).astype(np.int32)
        if probabilities is None:
            return None
        missing = np.isnan(probabilities).any(axis=1)
        return np.where(missing, -1, np.nan_to_num(probabilities).argmax(axis=1)).astype(np.int32)

    def _label(self, batch: pa.RecordBatch) -> CodeArray | None:
        role = self._roles.label
        if not role or not self.classes or (place := batch.schema.get_field_index(role)) < 0:
            return None
        labels = labels_of(batch.column(place))
        table = np.array([*(self._class(name) for name in labels.values), -1], np.int32)
        found: CodeArray = table[labels.codes]
        return found

    def _class(self, name: str) -> int:
        """Class of a name, whole numbers written as floats included; -1 if it is none."""
        return self.classes.get(name, self.classes.get(name.removesuffix(".0"), -1))

    def _version(self, decoded: Decoded, version: str) -> CodeArray:
        labels = decoded.version
        if labels is None:
            return np.full(decoded.block.rows, self._number(version), np.int32)
        table = np.array([*(self._number(name or version) for name in labels.values), self._number(version)], np.int32)
        found: CodeArray = table[labels.codes]
        return found

    def _number(self, version: str) -> int:
        if version not in self.versions and len(self.versions) < MOST_VERSIONS:
            self.versions[version] = len(self.versions)
        return self.versions.get(version, MOST_VERSIONS - 1)

    def _latency(self, batch: pa.RecordBatch) -> FloatArray | None:
        role = self._roles.latency
        if not role or (place := batch.schema.get_field_index(role)) < 0:
            return None
        values, _ = columns.floats(batch.column(place), times=False)
        seconds: FloatArray = values.to_numpy(zero_copy_only=False).astype(np.float64)
        return seconds
