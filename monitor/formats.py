"""How each kind of file tells its schema and gives its batches, and how batches of different files are made alike.

Every format is a pair of functions: the schema of a file (CSV and JSON lines are read through once for it, because
their types show only at the end), and its batches.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from monitor import columns as one
from monitor.errors import ReferenceError_
from monitor.schema import family, plain_type

COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
_BLOCK = 4 << 20
"""Bytes of text parsed at a time."""
_PAGE = 1 << 16
_LONGEST_LINE = 64 << 20
_NUMBERS = (pa.int64(), pa.float64())


@dataclass(frozen=True, slots=True)
class File:
    """One file: where it lives, its path there, and its format."""

    system: pafs.FileSystem
    path: str
    format: str

    @property
    def suffix(self) -> str:
        """Last part of the name that tells the format, in small letters, without that of a compression."""
        return suffix(self.path)

    def stream(self) -> pa.NativeFile:
        """Open for reading from the start, uncompressing by the name."""
        return self.system.open_input_stream(self.path, compression="detect")


def suffix(path: str) -> str:
    """Last part of a name that tells the format, in small letters: `.csv` for `A.CSV.gz`."""
    name = PurePosixPath(path)
    return (name.with_suffix("") if name.suffix.lower() in COMPRESSED else name).suffix.lower()


def unify(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Union of the fields by name; where types differ, the narrowest that holds the values of both."""
    kinds: dict[str, pa.DataType] = {}
    for schema in schemas:
        if len(set(schema.names)) < len(schema.names):
            twice = next(name for name in schema.names if schema.names.count(name) > 1)
            raise ReferenceError_(f"column `{twice}` occurs more than once; rename one of them")
        for field in schema:
            kinds[field.name] = _wider(kinds.get(field.name, pa.null()), field.type)
    return pa.schema(list(kinds.items()))


def _wider(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    a, b = plain_type(a), plain_type(b)
    if family(a) == family(b) and family(a) != "text":
        try:
            pair = [pa.schema([("x", kind)]) for kind in (a, b)]
            return pa.unify_schemas(pair, promote_options="permissive").field(0).type
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            if family(a) == "number":
                return pa.float64()
    return pa.binary() if "binary" in (family(a), family(b)) else pa.string()


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Give a batch the fields of ``schema``: absent ones null, others cast; what cannot be cast is null."""
    if batch.schema.equals(schema):
        return batch
    place = {name: i for i, name in reversed(list(enumerate(batch.schema.names)))}
    arrays = [
        _cast(batch.column(place[field.name]), field.type)
        if field.name in place
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    try:
        plain = one.unwrap(column)
        plain = plain.dictionary_decode() if pa.types.is_dictionary(plain.type) else plain
        if family(plain.type) == "nested" and pa.types.is_string(kind):
            return pa.array([v if v is None else json.dumps(v, default=str) for v in plain.to_pylist()], kind)
        return plain.cast(kind, safe=not pa.types.is_floating(kind))
    except (pa.ArrowException, ValueError, TypeError):
        return pa.nulls(len(column), kind)


def _parquet_schema(file: File) -> pa.Schema:
    return pq.read_schema(file.path, filesystem=file.system).remove_metadata()


def _parquet(file: File, _schema: pa.Schema, names: list[str], rows: int) -> Iterator[pa.RecordBatch]:
    # read page by page: the default fetches whole row groups ahead and keeps them (a gigabyte for 60 wide columns)
    with (
        file.system.open_input_file(file.path) as handle,
        pq.ParquetFile(handle, pre_buffer=False, buffer_size=_PAGE) as table,
    ):
        yield from table.iter_batches(batch_size=rows, columns=names, use_threads=False)


def _open_ipc(file: File) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    handle = file.system.open_input_file(file.path)
    try:
        return pa.ipc.open_file(handle)
    except pa.ArrowInvalid:
        handle.seek(0)
        return pa.ipc.open_stream(handle)


def _ipc_schema(file: File) -> pa.Schema:
    return _open_ipc(file).schema.remove_metadata()


def _ipc(file: File, _schema: pa.Schema, names: list[str], _rows: int) -> Iterator[pa.RecordBatch]:
    reader = _open_ipc(file)
    if isinstance(reader, pa.RecordBatchFileReader):
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches))
    else:
        batches = iter(reader)
    for batch in batches:
        yield one.sound(batch)[0].select(names)


def _open_csv(file: File, types: dict[str, pa.DataType]) -> pa_csv.CSVStreamingReader:
    """Empty fields are missing ones, in text columns too; broken UTF-8 is left for `columns.sound` to weed out."""
    tabs = file.suffix == ".tsv"
    return pa_csv.open_csv(
        file.stream(),
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK),
        parse_options=pa_csv.ParseOptions(delimiter="\t" if tabs else ","),
        convert_options=pa_csv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False, check_utf8=False
        ),
    )


def _csv_schema(file: File) -> pa.Schema:
    """Types that hold for every row: Arrow's guess from the first block, or a wider one if that breaks further down."""
    with _open_csv(file, {}) as reader:
        schema = reader.schema
        try:
            for _ in reader:
                pass
        except pa.ArrowInvalid as error:
            if "conversion error" not in str(error):
                raise
        else:
            return schema
    kinds = dict(zip(schema.names, schema.types, strict=True))
    with _open_csv(file, dict.fromkeys(kinds, pa.string())) as reader:
        for batch in reader:
            kinds = {name: _fitting(batch.column(name), kind) for name, kind in kinds.items()}
    return pa.schema(list(kinds.items()))


def _fitting(column: pa.Array, kind: pa.DataType) -> pa.DataType:
    """The narrowest type, from ``kind`` on, that the texts of a column convert to."""
    ladder: tuple[pa.DataType, ...] = (kind,)
    if pa.types.is_null(kind):
        ladder = (*_NUMBERS, pa.bool_())
    elif kind in _NUMBERS:
        ladder = _NUMBERS[_NUMBERS.index(kind) :]
    if column.null_count == len(column):
        return kind
    for candidate in ladder:
        try:
            column.cast(candidate)
        except pa.ArrowInvalid:
            continue
        return candidate
    return pa.string()


def _csv(file: File, schema: pa.Schema, names: list[str], _rows: int) -> Iterator[pa.RecordBatch]:
    with _open_csv(file, dict(zip(schema.names, schema.types, strict=True))) as reader:
        for batch in reader:
            yield one.sound(batch)[0].select(names)


def _json_blocks(file: File) -> Iterator[pa.Table]:
    """Tables of about 4 MB of whole lines each; their types may differ."""
    with file.stream() as stream:
        rest, line = b"", 1
        while chunk := stream.read(_BLOCK):
            whole, newline, tail = chunk.rpartition(b"\n")
            if not newline:
                rest += tail
                if len(rest) > _LONGEST_LINE:
                    raise ReferenceError_(
                        f"line {line} is longer than {_LONGEST_LINE >> 20} MB; write one object a line"
                    )
                continue
            block, rest = rest + whole, tail
            yield _json_table(block, line)
            line += block.count(b"\n") + 1
        if rest.strip():
            yield _json_table(rest, line)


def _json_table(block: bytes, line: int) -> pa.Table:
    """Parse lines fast, or one by one where a column mixes types (which then becomes text)."""
    if not block.strip():
        return pa.table({})
    try:
        options = pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1)
        return pa_json.read_json(io.BytesIO(block), read_options=options)
    except pa.ArrowInvalid:
        rows: list[dict[str, Any]] = []
    for number, text in enumerate(block.split(b"\n"), line):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ReferenceError_(f"line {number} is not a JSON object; write one object a line")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _json_column([row.get(name) for row in rows]) for name in names})


def _json_column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string())


def _json_schema(file: File) -> pa.Schema:
    schema = pa.schema([])
    for table in _json_blocks(file):
        schema = unify([schema, table.schema])
    return schema


def _json(file: File, schema: pa.Schema, names: list[str], _rows: int) -> Iterator[pa.RecordBatch]:
    for table in _json_blocks(file):
        for batch in table.combine_chunks().to_batches():
            yield conform(batch, schema).select(names)


Schema = Callable[[File], pa.Schema]
Batches = Callable[[File, pa.Schema, list[str], int], Iterator[pa.RecordBatch]]
FORMATS: Mapping[str, tuple[Schema, Batches]] = {
    "parquet": (_parquet_schema, _parquet),
    "ipc": (_ipc_schema, _ipc),
    "csv": (_csv_schema, _csv),
    "json": (_json_schema, _json),
}
"""How each format tells its schema, and its batches: (file, schema of the file, wanted names, rows)."""
