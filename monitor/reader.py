"""Stored tables as a stream of record batches: Parquet, Arrow IPC, CSV and JSON lines, with bounded memory.

A path is a file, a folder (all its tables, sorted by name) or any URI that `pyarrow.fs` understands. All batches have
one schema: fields are matched by name, and a type is widened where files, or parts of one file, disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from monitor.errors import ReferenceError_
from monitor.formats import FORMATS, File, conform, suffix, unify

BATCH_ROWS = 65_536
_BATCH_BYTES = 64 << 20
"""A batch of a wide table gets fewer rows, reckoned at 8 bytes a value."""
_SUFFIXES = {
    ".parquet": "parquet", ".pq": "parquet", ".arrow": "ipc", ".feather": "ipc", ".ipc": "ipc", ".arrows": "ipc",
    ".csv": "csv", ".tsv": "csv", ".jsonl": "json", ".ndjson": "json", ".json": "json",
}  # fmt: skip
T = TypeVar("T")


class Tables:
    """The tables behind some paths, opened lazily: ``schema`` reads the least that it can, ``batches`` all."""

    def __init__(
        self, paths: Sequence[str], *, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> None:
        """Find the files; `ReferenceError_` names the path that is not there or holds no table."""
        self._files = [file for path in paths for file in _find(path)]
        self._wanted = columns
        self._batch_rows = batch_rows
        if not paths:
            raise ReferenceError_("no path was given; name a file, a folder or a URI")

    @property
    def names(self) -> list[str]:
        """Paths of the files, in reading order."""
        return [file.path for file in self._files]

    @cached_property
    def schemas(self) -> list[pa.Schema]:
        """Schema of each file; CSV and JSON are read through once, because their types show only at the end."""
        return [_guarded(file, partial(_schema, file)) for file in self._files]

    def parted(self, wanted: Callable[[pa.Schema], bool]) -> tuple[Tables, Tables]:
        """The files whose schema is wanted, and the others: each part has a schema of its own."""
        chosen = [wanted(schema) for schema in self.schemas]
        return self._some(chosen), self._some([not one for one in chosen])

    def _some(self, chosen: Sequence[bool]) -> Tables:
        made = copy(self)
        vars(made).pop("schema", None)
        both = [pair for pair, mine in zip(zip(self._files, self.schemas, strict=True), chosen, strict=True) if mine]
        vars(made).update(_files=[file for file, _ in both], schemas=[schema for _, schema in both])
        return made

    @cached_property
    def schema(self) -> pa.Schema:
        """One schema for all batches, in the order in which the columns were met."""
        schema = unify(self.schemas)
        if self._wanted is None:
            return schema
        if gone := [name for name in self._wanted if name not in schema.names]:
            raise ReferenceError_(f"no column {gone[0]!r} in {self.names[0]}; there are: {', '.join(schema.names)}")
        return pa.schema([schema.field(name) for name in self._wanted])

    @property
    def row_count(self) -> int | None:
        """Number of rows if the files say so without being read (Parquet), for progress bars."""
        if any(file.format != "parquet" for file in self._files):
            return None
        counts: list[int] = [
            _guarded(file, partial(pq.read_metadata, file.path, filesystem=file.system)).num_rows
            for file in self._files
        ]
        return sum(counts)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Read everything, in order, as batches of one schema."""
        rows = max(1, min(self._batch_rows, _BATCH_BYTES // (8 * max(len(self.schema), 1))))
        wanted = set(self.schema.names)
        for file, schema in zip(self._files, self.schemas, strict=True):
            names = [name for name in schema.names if name in wanted]
            stream = FORMATS[file.format][1](file, schema, names, rows)
            while (batch := _guarded(file, partial(next, stream, None))) is not None:
                whole = conform(batch, self.schema)
                for start in range(0, batch.num_rows, rows):
                    yield whole.slice(start, rows)


def read_batches(
    paths: Sequence[str], *, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Read all tables behind ``paths``; use `Tables` to read them more than once."""
    yield from Tables(paths, columns=columns, batch_rows=batch_rows).batches()


def _schema(file: File) -> pa.Schema:
    return unify([FORMATS[file.format][0](file)])


def _find(path: str) -> list[File]:
    """Files behind a path: itself, or all tables of the folder."""
    try:
        local = "://" not in path
        system, inner = pafs.FileSystem.from_uri(path) if not local else (pafs.LocalFileSystem(), path)
        info = system.get_file_info(inner)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ReferenceError_(
            f"{path}: cannot be reached ({_first_line(error)}); check the address and access"
        ) from None
    if info.type == pafs.FileType.NotFound:
        raise ReferenceError_(
            f"{path}: no such file or folder; check the path (those in a configuration are relative to its file)"
        )
    if info.type == pafs.FileType.File:
        return [File(system, inner, _format_of(system, inner))]
    inside = system.get_file_info(pafs.FileSelector(inner, recursive=True))
    found = sorted(f.path for f in inside if f.is_file and _is_table(PurePosixPath(f.path[len(inner) :].lstrip("/"))))
    if not found:
        raise ReferenceError_(
            f"{path}: no table in this folder; expected files ending in {', '.join(sorted(_SUFFIXES))}"
        )
    return [File(system, name, _format_of(system, name)) for name in found]


def _is_table(path: PurePosixPath) -> bool:
    """Whether a file of a folder is one of its tables: hidden and work files are not."""
    return suffix(path.name) in _SUFFIXES and not any(part.startswith((".", "_")) for part in path.parts)


def _format_of(system: pafs.FileSystem, path: str) -> str:
    """Format by the first bytes, else by the name."""
    try:
        with system.open_input_stream(path, compression=None) as stream:
            head = stream.read(8)
    except (pa.ArrowException, OSError) as error:
        raise ReferenceError_(f"{path}: cannot be opened ({_first_line(error)}); check its permissions") from None
    if head[:4] == b"PAR1":
        return "parquet"
    if head[:6] == b"ARROW1" or head[:4] == b"\xff\xff\xff\xff":
        return "ipc"
    named = _SUFFIXES.get(suffix(path))
    if named in ("csv", "json"):
        return named
    if head.lstrip()[:1] == b"{":
        return "json"
    what = f"is not the {named} file that its name says" if named else "is of no known format"
    raise ReferenceError_(f"{path}: {what}; write it as Parquet, Arrow IPC, CSV (.csv) or JSON lines (.jsonl)")


def _guarded(file: File, read: Callable[[], T]) -> T:
    """Call, and turn what Arrow says about a broken file into a sentence with its name."""
    try:
        return read()
    except ReferenceError_ as error:
        raise ReferenceError_(f"{file.path}: {error}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        hint = f"check that it is complete {file.format} and write it again"
        raise ReferenceError_(f"{file.path}: cannot be read: {_first_line(error)}; {hint}") from None


def _first_line(error: Exception) -> str:
    """What went wrong, without the offending row itself: values do not belong into messages."""
    text = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return re.sub(r"(got \d+):.*", r"\1", text)
