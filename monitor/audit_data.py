"""Two tables as the arrays that an audit compares: rows in one space, classes, sources, probabilities, digests."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types as at

from detectors.multivariate.encode import Encoder, columns_encoder, vector_encoder
from detectors.types import Block, CodeArray, SingleArray
from monitor.columns import unwrap
from monitor.decode import Decoder, labels_of
from monitor.errors import AuditError, ConfigError, ReferenceError_
from monitor.passes import decoded, taken, together
from monitor.reader import Tables
from monitor.reference import fit
from monitor.schema import LONGEST_VECTOR, Roles, family, is_vector
from monitor.vectors import lengths, vectors_of

MOST_CLASSES = 100
_AXES_ROWS = 5_000
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Odd constant of the hash (splitmix64)."""


@dataclass(frozen=True)
class Asked:
    """What the user asked for: paths and the names of columns."""

    data: tuple[str, ...]
    reference: tuple[str, ...]
    label: str
    embedding: str | None = None
    source: str | None = None
    probabilities: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()


@dataclass(frozen=True)
class Side:
    """One table: ``z (n, d)`` rows in the common space (NaN: no place), ``label (n,)`` its class (-1: none).

    ``digest (n,)`` of each row's inputs, ``source (n,)`` a place in ``sources`` (-1: none), ``probabilities (n, C)``.
    ``unknown`` rows have a label that the trusted table does not know.
    """

    z: SingleArray
    label: CodeArray
    digest: NDArray[np.uint64]
    source: CodeArray
    sources: tuple[str, ...]
    probabilities: NDArray[np.float64] | None
    unknown: NDArray[np.bool_]


@dataclass(frozen=True)
class Prepared:
    """Both tables; ``trusted`` is ``new`` itself where no reference was given. ``notes`` are sentences for people."""

    new: Side
    trusted: Side
    classes: tuple[str, ...]
    space: str
    notes: tuple[str, ...]


def prepare(asked: Asked, rng: np.random.Generator) -> Prepared:
    """Read both tables; `AuditError` names the option and the fix where one cannot be used."""
    new = _read(asked.data, "--data", asked)
    trusted = _read(asked.reference, "--reference", asked) if asked.reference else new
    names, given = _labels(trusted, asked.label)
    classes = _classes(names, given, asked.label)
    notes: list[str] = []
    if asked.embedding is not None:
        pair, space = _embedded(asked.embedding, (trusted, new), rng), f"embedding {asked.embedding}"
    else:
        pair, space = _encoded(asked, (trusted, new), notes)
    sides = [_side(asked, table, classes, place) for table, place in zip((trusted, new), pair, strict=True)]
    if not (sides[1].label >= 0).any():
        raise AuditError(
            f"--label: no row of --data has a class in {asked.label!r} that the trusted rows have, which are: "
            f"{', '.join(classes[:12])}; write the labels of both tables alike"
        )
    return Prepared(sides[1], sides[0] if asked.reference else sides[1], classes, space, tuple(notes))


def _read(paths: tuple[str, ...], option: str, asked: Asked) -> pa.RecordBatch:
    """All rows of some files as one batch that has the columns asked for."""
    try:
        tables = Tables(paths)
        names = tables.schema.names
        for key, column in _named(asked):
            if column not in names and (option == "--data" or key in ("--label", "--embedding")):
                raise AuditError(f"{key}: no column {column!r} in {option} {paths[0]}; {_near(column, names)}")
        batches = list(tables.batches())
    except ReferenceError_ as error:
        raise AuditError(f"{option}: {error}") from None
    table = pa.Table.from_batches(batches, schema=tables.schema).combine_chunks()
    if not table.num_rows:
        raise AuditError(f"{option}: {paths[0]} has no rows; name a table with some")
    whole = table.to_batches(max_chunksize=None)
    if len(whole) > 1:
        raise AuditError(f"{option}: a column holds more than 2 GB of text; leave it out, or audit the rows in parts")
    return whole[0]


def _named(asked: Asked) -> Iterable[tuple[str, str]]:
    yield "--label", asked.label
    for key, one in (("--embedding", asked.embedding), ("--source", asked.source)):
        if one is not None:
            yield key, one
    yield from (("--probabilities", one) for one in asked.probabilities)
    yield from (("--ignore", one) for one in asked.ignore)


def _near(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names[:12])}{more}"


def _labels(table: pa.RecordBatch, label: str) -> tuple[tuple[str, ...], CodeArray]:
    column = unwrap(table.column(label))
    if at.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    found = labels_of(column)
    return tuple(_plain(name) for name in found.values), found.codes


def _plain(name: str) -> str:
    """One spelling of whole numbers, whatever type a file gives them."""
    return name[:-2] if name.endswith(".0") and name[:-2].lstrip("-").isdigit() else name


def _classes(names: tuple[str, ...], codes: CodeArray, label: str) -> tuple[str, ...]:
    """Classes of the trusted rows, numbers in their order."""
    used = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(names)))
    classes = {names[i] for i in used}
    if len(classes) < 2:
        raise AuditError(f"--label: {label!r} has {len(classes)} class in the trusted rows; at least two are needed")
    if len(classes) > MOST_CLASSES:
        raise AuditError(
            f"--label: {label!r} has {len(classes):,} different values in the trusted rows, at most {MOST_CLASSES} can "
            "be told apart; name the column with the class, or put a predicted number into classes first"
        )
    number = all(name.lstrip("-").isdigit() for name in classes)
    return tuple(sorted(classes, key=int)) if number else tuple(sorted(classes))


def _embedded(
    name: str, tables: tuple[pa.RecordBatch, pa.RecordBatch], rng: np.random.Generator
) -> list[tuple[SingleArray, NDArray[np.uint64]]]:
    """Leading axes of an embedding, found in equal parts of both tables: neither is nearer to them."""
    for table in tables:
        if not is_vector(table.schema.field(name).type):
            kind = table.schema.field(name).type
            raise AuditError(f"--embedding: column {name!r} is {kind}; it must hold lists of numbers of one length")
    found = lengths(tables[0].column(name))
    length = max(found, key=lambda one: found[one], default=0)
    if not 0 < length <= LONGEST_VECTOR:
        raise AuditError(f"--embedding: vectors of {length} numbers in {name!r}; 1 to {LONGEST_VECTOR} can be used")
    vectors = [vectors_of(table.column(name), length) for table in tables]
    size = min(_AXES_ROWS, *(len(one) for one in vectors))
    some = np.concatenate([one[rng.choice(len(one), size, replace=False)] for one in vectors])
    encoder = vector_encoder(0, some[np.isfinite(some).all(axis=1)], rng)
    if encoder is None:
        raise AuditError(f"--embedding: the vectors in {name!r} do not differ from each other; name another column")
    out = []
    for one in vectors:
        z = encoder.encode(_vectors(one))
        z[~np.isfinite(one).all(axis=1)] = np.nan
        out.append((z, digests(one)))
    return out


def _vectors(rows: SingleArray) -> Block:
    n = len(rows)
    return Block(np.zeros((n, 0)), np.zeros((n, 0), np.int32), np.zeros(0, np.int64), vectors=(rows,))


def _encoded(
    asked: Asked, tables: tuple[pa.RecordBatch, pa.RecordBatch], notes: list[str]
) -> tuple[list[tuple[SingleArray, NDArray[np.uint64]]], str]:
    """All columns that both tables have and that say something, each about one in variance."""
    features = _features(asked, tables, notes)
    trusted, new = (table.select(features) for table in tables)
    try:
        fitted = fit(lambda: iter([trusted]), Roles())
    except (ReferenceError_, ConfigError) as error:
        raise AuditError(f"--reference: {error}") from None
    grid = fitted.reference.grid
    reader = Decoder(fitted.plan, grid, fitted.vocabularies)
    blocks = [_block(table, reader, len(features)) for table in (trusted, new)]
    some = np.arange(0, blocks[0].rows, max(blocks[0].rows // 10_000, 1))
    encoder: Encoder = columns_encoder(grid, fitted.reference.summary, taken(blocks[0], some))
    if not len(encoder.unit):
        raise AuditError("--reference: no column varies in the trusted rows; there is nothing to compare rows by")
    out = [(encoder.encode(block), digests(block.numeric, block.codes)) for block in blocks]
    return out, f"{len(features)} columns"


def _block(table: pa.RecordBatch, reader: Decoder, columns: int) -> Block:
    return together([one.block for one in decoded(lambda: iter([table]), reader, columns)])


def _features(asked: Asked, tables: tuple[pa.RecordBatch, pa.RecordBatch], notes: list[str]) -> list[str]:
    """Columns to compare rows by; why others are left out goes to ``notes``."""
    given = {column for _, column in _named(asked)}
    why: dict[str, list[str]] = {}
    chosen = []
    for field in tables[0].schema:
        reason = "in one of the tables only" if field.name not in tables[1].schema.names else _useless(tables[0], field)
        if field.name not in given and reason:
            why.setdefault(reason, []).append(field.name)
        elif field.name not in given:
            chosen.append(field.name)
    why.setdefault("in one of the tables only", []).extend(
        name for name in tables[1].schema.names if name not in tables[0].schema.names and name not in given
    )
    notes.extend(f"left out, {reason}: {', '.join(names)}" for reason, names in why.items() if names)
    if not chosen:
        raise AuditError(
            "--data and --reference: no column is left to compare rows by (lists of numbers are named by --embedding); "
            + "; ".join(notes)
        )
    return chosen


def _useless(table: pa.RecordBatch, field: pa.Field) -> str:
    """Why a column cannot tell like rows from unlike ones; nothing if it can."""
    group, column = family(field.type), unwrap(table.column(field.name))
    if group in ("nested", "binary", "null", "time"):
        return {"time": "a time", "null": "no value in the trusted rows"}.get(group, "nested or binary")
    if group == "text" and len(labels_of(column).values) > max(0.5 * len(column), 20):
        return "nearly every value is different: a name or a text"
    if at.is_integer(field.type) and len(column) > 20 and column.null_count == 0:
        values = column.to_numpy(zero_copy_only=False)
        if (np.diff(values) > 0).all():
            return "counts the rows"
    return ""


def _side(
    asked: Asked,
    table: pa.RecordBatch,
    classes: tuple[str, ...],
    place: tuple[SingleArray, NDArray[np.uint64]],
) -> Side:
    names, codes = _labels(table, asked.label)
    lookup = {name: i for i, name in enumerate(classes)}
    slots = np.array([lookup.get(name, -1) for name in names] + [-1], np.int32)
    label = slots[codes]
    source, sources = np.full(table.num_rows, -1, np.int32), tuple[str, ...]()
    if asked.source is not None and asked.source in table.schema.names:
        found = labels_of(table.column(asked.source))
        source, sources = found.codes, found.values
    return Side(
        place[0], label, place[1], source, sources, _probabilities(asked, table, len(classes)),
        (codes >= 0) & (label < 0),
    )  # fmt: skip


def _probabilities(asked: Asked, table: pa.RecordBatch, classes: int) -> NDArray[np.float64] | None:
    """Probabilities ``(n, C)`` from one column of lists or from C columns."""
    if not asked.probabilities or any(name not in table.schema.names for name in asked.probabilities):
        return None
    columns = [table.column(name) for name in asked.probabilities]
    if len(columns) == 1 and is_vector(columns[0].type):
        return vectors_of(columns[0], classes).astype(np.float64)
    if len(columns) != classes:
        raise AuditError(
            f"--probabilities: {len(columns)} columns for {classes} classes; name one for each class of the trusted "
            "rows in their order, or one column of lists"
        )
    try:
        given = [pc.cast(unwrap(one), pa.float64()).to_numpy(zero_copy_only=False) for one in columns]
    except pa.ArrowException:
        raise AuditError("--probabilities: the columns must hold numbers") from None
    return np.stack(given, axis=1)


def digests(*parts: NDArray[np.generic]) -> NDArray[np.uint64]:
    """Hash each row ``(n,)`` of some matrices: equal rows have equal ones; NaN is equal to NaN."""
    total = np.zeros(len(parts[0]), np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            for j in range(part.shape[1]):
                word = (part[:, j].astype(np.float64) + 0.0).copy()
                word[np.isnan(word)] = np.nan
                total = _mixed(total + _mixed(word.view(np.uint64) + _GOLDEN * np.uint64(j + 1)))
    return total


def _mixed(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))
