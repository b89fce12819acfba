"""First pass over a reference: what values its columns hold and a fair sample of its rows, in bounded memory.

Categories are counted exactly up to 200,000 distinct values a column and 2,000,000 in all; then the rarer half is
dropped, which never loses a frequent one, and the column is known to have an open vocabulary. The sample is uniform, in
the order of the rows, and, unless its bytes limit it, the same for one seed however the rows are batched.
"""

from __future__ import annotations

import hashlib
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types as at

from detectors.grid import MAX_CATEGORIES
from monitor import columns, vectors
from monitor.formats import conform, unify
from monitor.schema import INTEGER_CODES, Facts, Roles, code_type, family, is_vector, plain_type

SAMPLE_ROWS = 10_000
SAMPLE_BYTES = 16 << 20
MAX_ENTRIES, ALL_ENTRIES = 200_000, 2_000_000
"""Distinct values counted per column and in all columns."""
MAX_ENTRY_BYTES = 32 << 20
"""Bytes of text kept as keys per column: a few very long texts weigh as much as many short ones."""
CLOSED_VALUES, CLOSED_BYTES = 10_000, 4 << 20
"""A vocabulary of more values or bytes is open: it is not stored, so a new value in it cannot be told."""
UNSEEN_SHARE, UNSEEN_VALUES = 0.005, 2
"""A vocabulary is open, too, if more rows than this share hold a value seen only once: by Good and Turing that is the
share of rows to come whose value is not in the reference, and being new is then no sign of anything."""
LEAST_SEEN = 5
"""In an open vocabulary rarer values get no slot: their shares in the reference are flukes that will not come again."""
LABEL_LENGTH = 100
Progress = Callable[[str, int], None]
"""Told the name of the pass and the rows read so far."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The known values of a categorical column, those with own slots first, and the names of these slots."""

    values: pa.Array
    labels: tuple[str, ...]
    is_open: bool
    ordered: bool


class WiderSchema(Exception):  # noqa: N818 - a request, not an error
    """A later batch has columns or types that ``schema`` has to make room for: survey again with that one."""

    def __init__(self, schema: pa.Schema) -> None:
        """Keep the schema that holds all batches up to this one."""
        super().__init__("the schema grew")
        self.schema = schema


class Survey:
    """Accumulates the first pass."""

    def __init__(self, schema: pa.Schema, roles: Roles, *, seed: int) -> None:
        """Prepare one counter per column that is, or may turn out to be, categorical."""
        self.schema = schema
        self.rows = 0
        forced = set(roles.categorical + roles.segments)
        self.counters: dict[str, Counter] = {}
        for field in schema:
            plain = plain_type(field.type)
            integer = at.is_integer(plain) and field.name not in forced
            if field.name not in roles.ignore and (
                family(plain) in ("text", "boolean") or integer or (field.name in forced and family(plain) != "nested")
            ):
                self.counters[field.name] = Counter(field.type, most=INTEGER_CODES if integer else None)
        self.lengths = {name: Tally[int]() for name in roles.vectors if name in schema.names}
        self.sample = Sample(_sampled(schema, roles), seed)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in one batch."""
        batch = columns.sound(batch)[0]
        if not batch.schema.equals(self.schema):
            wider = unify([self.schema, batch.schema])
            if not wider.equals(self.schema.remove_metadata()):
                raise WiderSchema(wider)
            batch = conform(batch, self.schema)
        self.rows += batch.num_rows
        for name, counter in self.counters.items():
            counter.add(batch.column(name))
        for name, found in self.lengths.items():
            found.update(vectors.lengths(batch.column(name)))
        while sum(len(c.counts) for c in self.counters.values()) > ALL_ENTRIES:
            max(self.counters.values(), key=lambda c: len(c.counts)).prune()
        self.sample.add(batch)

    def facts(self) -> dict[str, Facts]:
        """What `monitor.schema.build` needs to know."""
        facts = {name: Facts(c.present, None if c.many else len(c.counts)) for name, c in self.counters.items()}
        for name, found in self.lengths.items():
            facts[name] = Facts(found.total(), None, max(found, key=lambda length: found[length], default=0))
        return facts

    def vocabularies(self, names: Iterable[str], unordered: frozenset[str]) -> dict[str, Vocabulary]:
        """Vocabularies of the categorical columns; ``unordered`` ones were declared names, not numbers."""
        return {name: self.counters[name].vocabulary(named=name in unordered) for name in names}


class Counter:
    """Counts of the distinct values of one column; ``most``: give up beyond so many (the column is numeric then)."""

    def __init__(self, kind: pa.DataType, most: int | None = None) -> None:
        """Start empty for a column of Arrow type ``kind``."""
        self._type = code_type(kind)
        self._most = most
        self._bytes = 0
        self.counts: dict[Any, int] = {}
        self.present = 0
        self.many = False
        self.pruned = False

    def add(self, column: pa.Array) -> None:
        """Count the values of one column of a batch."""
        self.present += len(column) - column.null_count
        if self.many:
            return
        if self._most is not None and len(column) > 1024:  # most numeric columns show it at once
            self._count(column.slice(0, 1024), weight=0)
        if not self.many:
            self._count(column, weight=1)

    def _count(self, column: pa.Array, weight: int) -> None:
        column = columns.unwrap(column)
        if not at.is_dictionary(column.type):
            column = column.dictionary_encode()
        index, missing = columns.indices(column)
        values, _ = columns.values_as(column.dictionary, self._type)
        tally = np.bincount(index[~missing], minlength=len(values))
        counts = self.counts  # until `prune` makes another one
        for value, times in zip(values.to_pylist(), tally.tolist(), strict=True):
            if not times or value is None or value != value:  # noqa: PLR0124 - NaN is missing
                continue
            if value not in counts:
                self._bytes += _weight(value)
                counts[value] = 0
            counts[value] += times * weight
        if self._most is not None and len(counts) > self._most:
            self.many = True
            counts.clear()
        while len(self.counts) > MAX_ENTRIES or (self._bytes > MAX_ENTRY_BYTES and len(self.counts) > MAX_CATEGORIES):
            self.prune()

    def prune(self) -> None:
        """Drop the rarer half; from now on the vocabulary is open."""
        self.pruned = True
        ranked = sorted(self.counts.items(), key=lambda item: -item[1])
        self.counts = dict(ranked[: max(len(ranked) // 2, 1)])
        self._bytes = sum(map(_weight, self.counts))

    def vocabulary(self, *, named: bool) -> Vocabulary:
        """Known values by falling frequency; codes with an order of their own (numbers, truth values) in it."""
        counts, kind = self.counts, self._type
        if at.is_floating(kind) and all(value.is_integer() and abs(value) < 2**53 for value in counts):
            counts, kind = {int(value): times for value, times in counts.items()}, pa.int64()
        once = sum(times == 1 for times in counts.values())
        is_open = (
            self.pruned
            or len(counts) > CLOSED_VALUES
            or sum(map(_weight, counts)) > CLOSED_BYTES
            or once > max(UNSEEN_VALUES, UNSEEN_SHARE * self.present)
        )
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        own = [value for value in ranked[:MAX_CATEGORIES] if not is_open or counts[value] >= LEAST_SEEN]
        ordered = not named and not is_open and kind != pa.string() and len(ranked) <= MAX_CATEGORIES
        if ordered:
            own = sorted(own)
        values = pa.array(own if is_open else own + ranked[MAX_CATEGORIES:], kind)
        return Vocabulary(values, tuple(_label(value) for value in own), is_open, ordered)


def _weight(value: Any) -> int:
    return len(value) if isinstance(value, str) else 8


def _label(value: Any) -> str:
    """Name of a category for people; a very long one is cut, and told from others by a hash."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if len(text) <= LABEL_LENGTH:
        return text
    return f"{text[:LABEL_LENGTH]}... {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _sampled(schema: pa.Schema, roles: Roles) -> pa.Schema:
    """Columns that the sample keeps, with dictionaries resolved: neither ignored nor nested nor binary ones."""
    return pa.schema(
        [
            (field.name, pa.string() if at.is_string_view(plain_type(field.type)) else plain_type(field.type))
            for field in schema
            if field.name not in roles.ignore
            and (
                family(field.type) not in ("nested", "binary")
                or at.is_fixed_size_list(plain_type(field.type))
                or (field.name in roles.vectors and is_vector(field.type))
            )
        ]
    )


class Sample:
    """A uniform sample of rows: those with the smallest of random keys, given out in row order.

    ``numbers (n,)`` are the rows' places in the reference, once `batch` has been called.
    """

    def __init__(self, schema: pa.Schema, seed: int, *, rows: int = SAMPLE_ROWS, size: int = SAMPLE_BYTES) -> None:
        """Keep at most ``rows`` rows and about ``size`` bytes."""
        self._schema = schema
        self._rng = np.random.default_rng(seed)
        self._rows = rows
        self._size = size
        self._threshold = 1.0
        self._held = self._held_bytes = 0
        self._keys: list[NDArray[np.float64]] = []
        self._offered = 0
        self.numbers = np.zeros(0, np.int64)
        self._places: list[NDArray[np.int64]] = []
        self._parts: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Offer the rows of one batch."""
        keys = self._rng.random(batch.num_rows)
        chosen = np.flatnonzero(keys < self._threshold)
        first, self._offered = self._offered, self._offered + batch.num_rows
        if not chosen.size:
            return
        part = pa.RecordBatch.from_arrays(
            [columns.unwrap(batch.column(name)).take(pa.array(chosen)) for name in self._schema.names],
            names=self._schema.names,
        )
        self._parts.append(conform(part, self._schema))
        self._keys.append(keys[chosen])
        self._places.append(first + chosen)
        self._held += chosen.size
        self._held_bytes += self._parts[-1].nbytes
        if self._held > 2 * self._rows or self._held_bytes > 2 * self._size:
            self._compact()

    def _compact(self) -> None:
        """Keep the rows with the smallest keys, fewer than before if they are too large."""
        if not self._parts:
            return
        keys, places = np.concatenate(self._keys), np.concatenate(self._places)
        table = pa.Table.from_batches(self._parts, schema=self._schema).combine_chunks()
        while True:
            keep = np.sort(np.argsort(keys, kind="stable")[: self._rows])
            table, keys, places = table.take(pa.array(keep)), keys[keep], places[keep]
            if len(keys) >= self._rows:
                self._threshold = float(keys.max(initial=0.0))
            if table.nbytes <= self._size or len(keys) <= 1:
                break
            self._rows = max(1, int(len(keys) * self._size / table.nbytes))
        self._parts, self._keys, self._places = table.combine_chunks().to_batches(), [keys], [places]
        self.numbers = places
        self._held, self._held_bytes = len(keys), table.nbytes

    def batch(self) -> pa.RecordBatch:
        """The sample as one batch."""
        self._compact()
        table = pa.Table.from_batches(self._parts, schema=self._schema).combine_chunks()
        found: Mapping[int, pa.RecordBatch] = dict(enumerate(table.to_batches()))
        return found.get(0, pa.RecordBatch.from_pylist([], schema=self._schema))
