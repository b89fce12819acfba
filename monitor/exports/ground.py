"""What an export stands on: a model with its reference, a finding, a span of kept rows, and who may see what."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version as installed
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from detectors.multivariate.encode import Encoder, columns_encoder
from detectors.types import Block, SingleArray
from monitor import kept
from monitor.archive import Archive
from monitor.config import Config, Model, fingerprint, limits_of
from monitor.decode import Decoded, Decoder
from monitor.errors import ConfigError, ReferenceError_
from monitor.exports.asked import Asked
from monitor.fitted import Fitted
from monitor.joint_reference import MOST_TAU
from monitor.outcomes.door import judged
from monitor.passes import decoded
from monitor.records import FindingRow
from monitor.security.layout import layout_of
from monitor.security.pseudonyms import KEY_BYTES, Pseudonyms, known_key
from monitor.security.reader import Reader

MOST_ROWS = 1_000_000
"""Rows of an export that may be asked for."""


class Places(NamedTuple):
    """Rows of inputs as rows of numbers: columns and embeddings; neither answers nor scores."""

    encoders: tuple[Encoder, ...]
    names: tuple[str, ...]
    left_out: tuple[str, ...]

    def of(self, block: Block) -> SingleArray:
        """Places ``(n, d)``; ``names`` has the column of each dimension."""
        parts = [encoder.encode(block) for encoder in self.encoders]
        return np.hstack(parts) if parts else np.zeros((block.rows, 0), np.float32)


@dataclass(frozen=True)
class Ground:
    """Everything that an export needs to know."""

    config: Config
    model: Model
    fitted: Fitted
    archive: Archive
    asked: Asked
    finding: FindingRow | None = None

    @cached_property
    def document(self) -> dict[str, Any]:
        """The finding's own, empty without one."""
        found: dict[str, Any] = {} if self.finding is None else json.loads(self.finding.document)
        return found

    @cached_property
    def decoder(self) -> Decoder:
        """For rows of the log and of the reference alike."""
        return Decoder(self.fitted.plan, self.fitted.reference.grid, self.fitted.vocabularies)

    @property
    def none(self) -> pa.RecordBatch:
        """No rows, with the columns that the model's rows have."""
        return self.fitted.sample.slice(0, 0)

    @cached_property
    def pseudonyms(self) -> Pseudonyms:
        """Under the key of the state folder; where there is none yet, under one that nobody knows."""
        return Pseudonyms(known_key(self.config.store.path) or os.urandom(KEY_BYTES))

    @cached_property
    def reader(self) -> Reader:
        """Reads answers and labels, and hides names."""
        return Reader(self.fitted, self.pseudonyms)

    @cached_property
    def trusted(self) -> Decoded:
        """The reference's sample."""
        return self.decoder.decode(self.fitted.sample)

    @cached_property
    def places(self) -> Places:
        """How inputs are compared; `ReferenceError_` if none of them varies."""
        plan, reference = self.fitted.plan, self.fitted.reference
        grid, layout = reference.grid, layout_of(plan, reference.grid)
        slow = np.maximum(reference.tau, reference.tau_missing) > MOST_TAU
        mine = layout.features[~slow[layout.features]]
        made = columns_encoder(grid, reference.summary, self.trusted.block, mine)
        inputs = (*plan.roles.embeddings, *((plan.roles.image,) if plan.roles.image else ()))
        vectors = {view.name: view.encoder for view in reference.views if view.name in inputs}
        encoders = ((made,) if len(made.unit) else ()) + tuple(vectors.values())
        if not encoders:
            problem = "no input column varies in the reference: there is nothing to compare rows by"
            raise ReferenceError_(f"models.{self.model.name}.reference: {problem}")
        names = [grid.names[unit] for unit in made.unit] + [n for n, one in vectors.items() for _ in one.unit]
        return Places(
            encoders, tuple(names), tuple(grid.names[unit] for unit in layout.features[slow[layout.features]])
        )

    @property
    def about(self) -> dict[str, Any]:
        """What every export says about itself."""
        ends = {"since": self.since, "until": self.until}
        return {
            "kind": self.asked.kind,
            "model": self.model.name,
            "finding": self.asked.finding,
            **{name: end if math.isfinite(end) else None for name, end in ends.items()},
            "made": round(time.time(), 3),
            "reference": self.fitted.reference.grid.id,
            "config": fingerprint(self.config),
            "version": installed("driftwarden"),
            "values": self.asked.values,
        }

    @property
    def since(self) -> float:
        """Where the span begins: as asked, or with what the finding is about."""
        if self.asked.since is not None:
            return self.asked.since
        began = self.document.get("since_time")
        return -math.inf if began is None else float(began)

    @property
    def until(self) -> float:
        """Where the span ends."""
        return math.inf if self.asked.until is None else self.asked.until

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The kept rows of the span, in order."""
        span, time, types = kept.Span(self.since, self.until), self.model.columns.time, self.fitted.sample.schema
        where = kept.folder_of(self.config)
        found = kept.rows(where, self.model.name, span, time=time, limits=limits_of(self.config), types=types)
        return judged(self.model.columns, found)

    def rows(self) -> Iterator[Decoded]:
        """The same, decoded some at a time."""
        grid = self.fitted.reference.grid
        return decoded(self.batches, self.decoder, len(grid.names) + sum(length for _, length in grid.vectors))

    def shown(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The columns that who asks may see: all of them with hidden names, or what says which row it is."""
        roles = self.fitted.plan.roles
        known = [name for name in (roles.id, roles.time) if name and name in batch.schema.names]
        if not self.asked.values:
            return batch.select(list(dict.fromkeys(known)))
        if self.model.security.client_names == "plain" or not batch.num_rows:
            return batch
        return self.reader.hidden(pa.Table.from_batches([batch])).combine_chunks().to_batches()[0]


def ground(config: Config, archive: Archive, asked: Asked) -> Ground:
    """Find what is asked for; `ConfigError` if it is not there, `ReferenceError_` if the model has no reference yet."""
    from monitor.coverage import measured

    finding = None if asked.finding is None else archive.finding(asked.finding)
    if asked.finding is not None and finding is None:
        raise ConfigError(
            [f"finding: {asked.finding!r} is not in the store; `driftwarden report` lists those that are"]
        )
    if not 1 <= asked.rows <= MOST_ROWS:
        raise ConfigError([f"rows: {asked.rows} is not between 1 and {MOST_ROWS:,}"])
    model = chosen(config, asked.model if finding is None else finding.model)
    fitted = measured(model, config.store.path)
    if fitted is None:
        problem = "is not measured yet; start the agent once, or run `driftwarden fit` and name the artefact here"
        raise ReferenceError_(f"models.{model.name}.reference: {problem}")
    return Ground(config, model, fitted, archive, asked, finding)


def chosen(config: Config, name: str | None) -> Model:
    """The model of that name, or the only one; `ConfigError` with those that there are."""
    found = [model for model in config.models if name in (None, model.name)]
    if len(found) != 1:
        known = ", ".join(model.name for model in config.models)
        problem = "is missing; there are several" if name is None else f"{name!r} is not configured"
        raise ConfigError([f"model: {problem}; choose one of {known}"])
    return found[0]
