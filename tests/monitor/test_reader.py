"""Stored tables: every format gives the same rows; what is broken is named with its file and a fix."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as pa_feather
import pyarrow.parquet as pq
import pytest

from monitor import formats
from monitor.errors import ReferenceError_
from monitor.formats import conform, unify
from monitor.reader import Tables, read_batches


def table(n: int = 1000, start: int = 0) -> pa.Table:
    rng = np.random.default_rng(start)
    return pa.table(
        {
            "i": pa.array(range(start, start + n)),
            "x": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
            "c": pa.array(np.array(["a", "bé", "c"])[rng.integers(0, 3, n)], mask=rng.random(n) < 0.1),
        }
    )


def as_stream(data: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), data.schema) as writer:
        writer.write_table(data)


def as_file(data: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(str(path), data.schema) as writer:
        writer.write_table(data)


def as_lines(data: pa.Table, path: Path) -> None:
    path.write_text("\n".join(json.dumps(row) for row in data.to_pylist()) + "\n")


def as_gzip(data: pa.Table, path: Path) -> None:
    with gzip.open(path, "wb") as out:
        pa_csv.write_csv(data, out)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "t.parquet": lambda data, path: pq.write_table(data, str(path), row_group_size=300),
    "t.arrow": as_file,
    "t.arrows": as_stream,
    "t.feather": lambda data, path: pa_feather.write_feather(data, str(path), compression="zstd"),
    "t.csv": lambda data, path: pa_csv.write_csv(data, str(path)),
    "t.csv.gz": as_gzip,
    "t.jsonl": as_lines,
    "no_suffix_parquet": lambda data, path: pq.write_table(data, str(path)),
    "no_suffix_lines": as_lines,
}


def read(*paths: Path, batch_rows: int = 65_536) -> pa.Table:
    return pa.Table.from_batches(read_batches([str(path) for path in paths], batch_rows=batch_rows))


@pytest.mark.filterwarnings("ignore:.*feather:FutureWarning", "ignore:.*feather:DeprecationWarning")
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](table(), path)
    got = read(path, batch_rows=256)
    assert got.combine_chunks().equals(table())
    assert max(batch.num_rows for batch in got.to_batches()) <= 256


def test_a_folder_is_read_in_order_of_names_without_hidden_and_work_files(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "_temporary").mkdir()
    pq.write_table(table(10, 0), str(tmp_path / "a.parquet"))
    as_lines(table(10, 10), tmp_path / "b.jsonl")
    as_stream(table(10, 20), tmp_path / "sub" / "c.arrow")
    for skipped in (".hidden.parquet", "_SUCCESS.csv", "notes.txt", "_temporary/d.parquet", "e.parquet.tmp"):
        (tmp_path / skipped).write_text("not a table")
    got = read(tmp_path)
    assert got["i"].to_pylist() == list(range(30))


def test_a_uri_is_read_like_a_path(tmp_path: Path) -> None:
    pq.write_table(table(), str(tmp_path / "t.parquet"))
    assert pa.Table.from_batches(read_batches([f"file://{tmp_path}/t.parquet"])).num_rows == 1000


def test_files_that_disagree_are_unified_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), str(tmp_path / "1.parquet"))
    pq.write_table(
        pa.table({"b": pa.array(["z"]).dictionary_encode(), "a": [2.5], "c": [True]}), str(tmp_path / "2.parquet")
    )
    pq.write_table(pa.table({"a": pa.nulls(1), "c": ["maybe"]}), str(tmp_path / "3.parquet"))
    got = read(tmp_path)
    assert got.schema == pa.schema([("a", pa.float64()), ("b", pa.string()), ("c", pa.string())])
    assert got.to_pydict() == {
        "a": [1.0, 2.0, 2.5, None],
        "b": ["x", "y", "z", None],
        "c": [None, None, "true", "maybe"],
    }


def test_chosen_columns_only_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    pq.write_table(table(), str(tmp_path / "t.parquet"))
    got = next(read_batches([str(tmp_path)], columns=["c", "i"]))
    assert got.schema.names == ["c", "i"]
    with pytest.raises(ReferenceError_, match="no column 'z'"):
        next(read_batches([str(tmp_path)], columns=["z"]))


def test_the_row_count_is_known_in_advance_only_where_it_is_cheap(tmp_path: Path) -> None:
    pq.write_table(table(), str(tmp_path / "t.parquet"))
    assert Tables([str(tmp_path)]).row_count == 1000
    as_lines(table(), tmp_path / "u.jsonl")
    assert Tables([str(tmp_path)]).row_count is None


def test_a_wide_table_comes_in_shorter_batches(tmp_path: Path) -> None:
    wide = pa.table({f"c{i}": np.arange(5000) for i in range(2000)})
    pq.write_table(wide, str(tmp_path / "w.parquet"), compression="none")
    sizes = [batch.num_rows for batch in read_batches([str(tmp_path)])]
    assert sum(sizes) == 5000
    assert max(sizes) * 2000 * 8 <= 64 << 20


def test_csv_types_hold_for_rows_far_from_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_BLOCK", 1 << 10)
    lines = ["whole,half,word,late,flag,when", *["1,1.5,3,,true,2020-01-01"] * 500, "2.5,x,four,7,false,9999-12-31"]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    got = read(tmp_path / "t.csv")
    assert [str(kind) for kind in got.schema.types] == ["double", "string", "string", "int64", "bool", "date32[day]"]
    assert got["whole"][500].as_py() == 2.5
    assert got["late"].null_count == 500


def test_empty_csv_fields_are_missing_in_text_columns_too(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('c,x\na,1\n,\n"",3\n')
    assert read(tmp_path / "t.csv").to_pydict() == {"c": ["a", None, ""], "x": [1, None, 3]}


def test_csv_text_that_is_not_utf8_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"c,x\nM\xfcller,1\nab,2\n")
    assert read(tmp_path / "t.csv")["c"].to_pylist() == [None, "ab"]


def test_json_columns_that_mix_types_become_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_BLOCK", 64)
    rows = [*[{"a": 1, "b": 1}] * 20, {"a": "one", "b": 2.5}, {"c": [1]}, {"a": {"deep": 1}, "c": 5}]
    (tmp_path / "t.jsonl").write_text("\n\n".join(json.dumps(row) for row in rows))
    got = read(tmp_path / "t.jsonl")
    assert got["a"].to_pylist() == ["1"] * 20 + ["one", None, '{"deep": 1}']
    assert got["b"].to_pylist() == [1.0] * 20 + [2.5, None, None]
    assert got.num_rows == 23


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("t.parquet", b"PAR1 and no more", "cannot be read"),
        ("t.parquet", b"", "is not the parquet file that its name says"),
        ("t.arrow", b"ARROW1\0\0 and no more", "cannot be read"),
        ("t.arrow", b"\xff\xff\xff\xff\xff\xff\xff\x7f", "cannot be read"),
        ("t.csv", b"", "cannot be read"),
        ("t.csv", b"a,b\n1\nsecret,2,3\n", "cannot be read"),
        ("t.csv", b"a,a\n1,2\n", "more than once"),
        ("t.jsonl", b'{"a": 1}\nnonsense\n', "line 2 is not a JSON object"),
        ("t.jsonl", b'{"a": 1}\n{"a": "x"}\n{"a"', "line 3 is not a JSON object"),
        ("t.json", b'[{"a": 1}]', "line 1 is not a JSON object; write one object a line"),
        ("t.json", b"\xff\xfe\x00", "line 1 is not a JSON object"),
        ("t.csv.gz", b"not gzip", "cannot be read"),
        ("t.bin", b"\0\1\2\3", "is of no known format"),
    ],
)
def test_a_broken_file_is_named_with_a_fix(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReferenceError_) as caught:
        read(tmp_path / name)
    message = str(caught.value)
    assert name in message
    assert complaint in message
    assert "secret" not in message


def test_a_path_that_is_not_there_or_holds_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReferenceError_, match="no such file or folder"):
        Tables([str(tmp_path / "gone.parquet")])
    with pytest.raises(ReferenceError_, match="no table in this folder"):
        Tables([str(tmp_path)])
    with pytest.raises(ReferenceError_, match="cannot be reached"):
        Tables(["nosuch://bucket/key"])
    with pytest.raises(ReferenceError_, match="no path"):
        Tables([])


def test_conform_fills_in_absent_columns_and_gives_up_on_what_cannot_be_cast() -> None:
    schema = pa.schema([("a", pa.float64()), ("b", pa.string()), ("n", pa.list_(pa.int64()))])
    got = conform(pa.record_batch({"n": [1, 2], "a": pa.array([1, 2]).dictionary_encode()}), schema)
    assert got.to_pydict() == {"a": [1.0, 2.0], "b": [None, None], "n": [None, None]}


def test_unify_widens_within_a_family_and_falls_back_to_text() -> None:
    def both(a: pa.DataType, b: pa.DataType) -> pa.DataType:
        return unify([pa.schema([("x", a)]), pa.schema([("x", b)])]).field(0).type

    assert both(pa.int8(), pa.int64()) == pa.int64()
    assert both(pa.int64(), pa.float32()) == pa.float64()
    assert both(pa.decimal128(30, 2), pa.float64()) == pa.float64()
    assert both(pa.int64(), pa.uint64()) in (pa.float64(), pa.int64(), pa.uint64())
    assert both(pa.timestamp("s"), pa.timestamp("ns")) == pa.timestamp("ns")
    assert both(pa.string(), pa.large_string()) == pa.string()
    assert both(pa.int64(), pa.bool_()) == pa.string()
    assert both(pa.null(), pa.bool_()) == pa.bool_()
