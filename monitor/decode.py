"""Record batches into blocks: the one place where Arrow's types end.

What to do with each column is worked out once per incoming schema and kept (`_Recipe`); a batch then costs one call for
all plain numeric columns together and about 10 us for each categorical one. The plan decides the kinds: a column that
is gone is all missing, one of another type is converted value by value; what does not convert is missing and counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types as at

from detectors.grid import Grid
from detectors.types import MISSING_CODE, NEW_CODE, Block, CodeArray, FloatArray, IntArray
from monitor import columns
from monitor.profiles import Profiles
from monitor.schema import Plan, family
from monitor.strata import Stratifier
from monitor.vectors import missing_vectors, vectors_of

_RECIPES = 16
"""Schemas remembered; a sender that changes its schema with every batch must not make the table grow."""
_HASHED = 512
"""From this many rows on (and a quarter of the vocabulary) Arrow's own hash look-up beats a Python dictionary."""
_SPARSE = 4
"""A dictionary this many times longer than the batch is not translated in full, only the entries in use."""


@dataclass(frozen=True, slots=True)
class Labels:
    """A column of names: ``codes (n,)`` int32 into ``values``, -1 where missing."""

    codes: CodeArray
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """One batch in the form the engine works on, with what was odd about its schema.

    ``batch`` is the batch as it came, except for columns that no row can be taken from and those whose memory was
    unsound. ``retyped`` maps a column to the type that came instead of the reference's.
    """

    block: Block
    batch: pa.RecordBatch
    version: Labels | None
    segments: Mapping[str, Labels]
    missing_columns: tuple[str, ...]
    extra_columns: tuple[str, ...]
    retyped: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What to do with the columns of one incoming schema; -1 for a column that it does not have.

    ``source`` is what others are derived from.
    """

    schema: pa.Schema
    awkward: bool
    numeric: tuple[int, ...]
    plain: bool
    slow: Mapping[int, bool]
    codes: tuple[int, ...]
    units: Mapping[int, int]
    vectors: tuple[int, ...]
    source: int
    time: int
    version: int
    segments: tuple[tuple[str, int], ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    retyped: Mapping[str, str]


class Decoder:
    """Decodes the batches of one model; not thread-safe, one per engine."""

    def __init__(self, plan: Plan, grid: Grid, vocabularies: Mapping[str, pa.Array]) -> None:
        """Keep the plan; ``vocabularies`` hold the known values, the first ``len(grid.labels[j])`` with own slots."""
        self._plan = plan
        self._grid = grid
        self._families = {column.name: column.family for column in plan.columns}
        self._profiles = Profiles(plan)
        self._numbers, self._names = (
            tuple(name for name in some if name not in self._profiles.names)
            for some in (grid.numeric_names, grid.code_names)
        )
        self._coders = [
            Coder(vocabularies[name], len(labels), open_vocabulary=bool(is_open))
            for name, labels, is_open in zip(grid.code_names, grid.labels, grid.open_vocabulary, strict=True)
            if name in self._names
        ]
        self._stratifier = None if plan.strata is None else Stratifier(plan.strata)
        self._recipes: list[_Recipe] = []

    def decode(self, batch: pa.RecordBatch) -> Decoded:
        """Decode one batch; never raises on bad values, they become missing and are counted in ``block.faults``."""
        batch, lost = columns.sound(batch)
        recipe = self._recipe(batch.schema)
        if recipe.awkward:
            batch = columns.takeable(batch)
            recipe = self._recipe(batch.schema)
        faults = np.zeros(len(self._grid.names), np.int64)
        for index, count in lost.items():
            if index in recipe.units:
                faults[recipe.units[index]] += count
        segments = {name: labels_of(batch.column(i)) for name, i in recipe.segments}
        time = columns.seconds(batch.column(recipe.time)) if recipe.time >= 0 else None
        vectors = {
            name: missing_vectors(batch.num_rows, length) if i < 0 else vectors_of(batch.column(i), length)
            for i, (name, length) in zip(recipe.vectors, self._grid.vectors, strict=True)
        }
        profile = self._profiles.of(batch, recipe.source, vectors)
        block = Block(
            numeric=self._numeric(batch, recipe, faults, profile.numbers),
            codes=self._codes(batch, recipe, faults, profile.answer),
            faults=faults,
            time=time,
            vectors=tuple(vectors.values()),
            strata=None if self._stratifier is None else self._stratifier.codes(segments, time, batch.num_rows),
        )
        return Decoded(
            block=block,
            batch=batch,
            version=labels_of(batch.column(recipe.version)) if recipe.version >= 0 else None,
            segments=segments,
            missing_columns=recipe.missing,
            extra_columns=recipe.extra,
            retyped=recipe.retyped,
        )

    def _numeric(
        self, batch: pa.RecordBatch, recipe: _Recipe, faults: IntArray, derived: tuple[pa.Array, ...]
    ) -> FloatArray:
        n, p = batch.num_rows, len(recipe.numeric) + len(derived)
        if not n or not p:
            return np.empty((n, p), np.float64, order="F")
        if recipe.plain:
            table = batch.select(recipe.numeric)
        else:
            arrays = []
            for unit, index in enumerate(recipe.numeric):
                if index < 0:
                    arrays.append(pa.nulls(n, pa.float64()))
                elif index in recipe.slow:
                    array, bad = columns.floats(batch.column(index), times=recipe.slow[index])
                    faults[unit] += bad
                    arrays.append(array)
                else:
                    arrays.append(batch.column(index))
            table = pa.RecordBatch.from_arrays(arrays, names=[""] * len(arrays))
        for array in derived:
            table = table.append_column("", array)
        # one call for all columns: it writes each into its place of a column-major matrix, nulls as NaN
        matrix = table.to_tensor(null_to_nan=True, row_major=False).to_numpy()
        return np.asfortranarray(matrix, np.float64)

    def _codes(self, batch: pa.RecordBatch, recipe: _Recipe, faults: IntArray, answer: CodeArray | None) -> CodeArray:
        q = len(self._grid.code_names)
        out = np.empty((q, batch.num_rows), np.int32)
        if answer is not None:
            out[-1] = answer
        for j, (coder, index) in enumerate(zip(self._coders, recipe.codes, strict=True)):
            if index < 0:
                out[j] = MISSING_CODE
            else:
                faults[j - q] += coder.code(batch.column(index), out[j])
        return out.T

    def _recipe(self, schema: pa.Schema) -> _Recipe:
        for recipe in self._recipes:
            if recipe.schema.equals(schema):
                return recipe
        recipe = self._plan_for(schema)
        self._recipes = [recipe, *self._recipes[: _RECIPES - 1]]
        return recipe

    def _plan_for(self, schema: pa.Schema) -> _Recipe:
        place: dict[str, int] = {}
        for i, name in enumerate(schema.names):
            if name not in self._profiles.names:
                place.setdefault(name, i)  # of columns with the same name the first counts
        names, roles = self._grid.names, self._plan.roles
        numeric = tuple(place.get(name, -1) for name in self._numbers)
        slow = {
            i: self._families[name] == "time"
            for name, i in zip(self._numbers, numeric, strict=True)
            if i >= 0 and not _is_plain(schema.field(i).type)
        }
        return _Recipe(
            schema=schema,
            awkward=not all(columns.can_be_taken(kind) for kind in schema.types),
            numeric=numeric,
            plain=not slow and -1 not in numeric,
            slow=slow,
            codes=tuple(place.get(name, -1) for name in self._names),
            units={place[name]: unit for unit, name in enumerate(names) if name in place},
            vectors=tuple(place.get(name, -1) for name, _ in self._grid.vectors),
            source=place.get(self._profiles.source, -1),
            time=place.get(roles.time or "", -1),
            version=place.get(roles.version or "", -1),
            segments=tuple((name, place[name]) for name in roles.segments if name in place),
            missing=tuple(c.name for c in self._plan.columns if c.monitored and not c.source and c.name not in place),
            extra=tuple(sorted(place.keys() - self._families.keys())),
            retyped=_retyped(schema, place, self._families, names),
        )


class Coder:
    """Codes one categorical column against the values that the reference showed."""

    def __init__(self, vocabulary: pa.Array, own: int, *, open_vocabulary: bool) -> None:
        """Give the first ``own`` values their own slots, the others the slot after them."""
        self._vocabulary = vocabulary
        self._own = own
        self._unknown = own if open_vocabulary else NEW_CODE
        self._hashed = not at.is_floating(vocabulary.type)  # Arrow tells -0.0 from 0.0 and finds NaN
        self._slots: dict[Any, int] = {}
        self._last: tuple[pa.Array, CodeArray, NDArray[np.bool_]] | None = None

    def code(self, column: pa.Array, out: CodeArray) -> int:
        """Write the codes of ``column`` to ``out`` and return how many values had the wrong type."""
        column = columns.unwrap(column)
        n, kind = len(column), column.type
        if kind == self._vocabulary.type and self._hashed and n >= max(_HASHED, len(self._vocabulary) // 4):
            out[:] = self._find(column)
            return 0
        if not at.is_dictionary(kind):
            if family(kind) in ("nested", "null"):
                out[:] = MISSING_CODE
                return 0 if at.is_null(kind) else n - column.null_count
            column = column.dictionary_encode()
        index, missing = columns.indices(column)
        if not len(column.dictionary):
            out[:] = MISSING_CODE
            return 0
        slots, faulty, index = self._translate(column.dictionary, index)
        slots.take(index, out=out, mode="clip")
        out[missing] = MISSING_CODE
        return int((faulty[index] & ~missing).sum()) if faulty.any() else 0

    def _translate(
        self, dictionary: pa.Array, index: NDArray[np.integer[Any]]
    ) -> tuple[CodeArray, NDArray[np.bool_], NDArray[np.integer[Any]]]:
        """Slots and faults of the dictionary's entries, and the index to take them with."""
        if self._last is not None and self._last[0].equals(dictionary):
            return self._last[1], self._last[2], index
        if len(dictionary) > _SPARSE * len(index):
            used, index = np.unique(index, return_inverse=True)
            dictionary = dictionary.take(pa.array(used))
            return *self._slots_of(dictionary), index
        slots, faulty = self._slots_of(dictionary)
        self._last = (dictionary, slots, faulty)
        return slots, faulty, index

    def _slots_of(self, values: pa.Array) -> tuple[CodeArray, NDArray[np.bool_]]:
        """Slot of each of a few distinct values, and which had the wrong type."""
        values, faulty = columns.values_as(values, self._vocabulary.type)
        if self._hashed and len(values) >= max(_HASHED, len(self._vocabulary) // 4):
            return self._find(values), faulty
        if not self._slots:
            known = enumerate(self._vocabulary.to_pylist())
            self._slots = {None: MISSING_CODE} | {value: min(i, self._own) for i, value in known}
        get, unknown = self._slots.get, self._unknown
        slots = np.array([get(value, unknown) for value in values.to_pylist()], np.int32)
        if not self._hashed:
            slots[np.isnan(values.to_numpy(zero_copy_only=False))] = MISSING_CODE
        return slots, faulty

    def _find(self, values: pa.Array) -> CodeArray:
        """Slots by Arrow's hash look-up."""
        found = pc.index_in(values, self._vocabulary)
        slots: CodeArray = np.minimum(found.fill_null(self._unknown).to_numpy(), self._own, dtype=np.int32)
        if values.null_count:
            slots[values.is_null().to_numpy(zero_copy_only=False)] = MISSING_CODE
        return slots


def labels_of(column: pa.Array) -> Labels:
    """Names of a column of any scalar type; all missing if it is nested."""
    column = columns.unwrap(column)
    if at.is_dictionary(column.type) and len(column.dictionary) > len(column):
        column = columns.unwrap(column.dictionary_decode())  # do not carry names that no row uses
    if family(column.type) in ("nested", "binary", "null"):
        return Labels(np.full(len(column), MISSING_CODE, np.int32), ())
    if not at.is_dictionary(column.type):
        column = column.dictionary_encode()
    index, missing = columns.indices(column)
    names, _ = columns.values_as(column.dictionary, pa.string())
    codes: CodeArray = index.astype(np.int32)
    codes[missing] = MISSING_CODE
    return Labels(codes, tuple(name or "" for name in names.to_pylist()))


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow can put the type into a float64 matrix by itself."""
    return bool(at.is_integer(kind) or at.is_float32(kind) or at.is_float64(kind))


def _retyped(
    schema: pa.Schema, place: Mapping[str, int], expected: Mapping[str, str], names: tuple[str, ...]
) -> dict[str, str]:
    """Monitored columns whose type is of another family than the reference's; all-null columns have none."""
    found = {name: schema.field(place[name]).type for name in names if name in place}
    return {
        name: str(kind)
        for name, kind in found.items()
        if family(kind) not in ("null", expected[name]) and expected[name] != "null"
    }


def named(version: str) -> str:
    """What the stream of a version is called; a slash is written %2F, for one sets segments apart."""
    return (version or "all").replace("%", "%25").replace("/", "%2F")
